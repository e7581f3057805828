//! What the handles have in common: making a block for a structure, finding it again, and telling how an attempt to take it
//! ended.

use crate::error::{Error, LockError};
use crate::heap::block::{Block, Shared};
use crate::heap::kind::Kind;
use crate::sync::algorithm::word::Outcome;
use crate::sys::memory::Atomics;
use serde::{Deserialize, Deserializer};

/// A new block with a structure in it, all zero.
pub(crate) fn make<T: Atomics>(kind: Kind) -> Result<Shared<T>, Error> {
    let block = Block::new(kind, size_of::<T>())?;
    Shared::new(block, &[kind]).ok_or_else(|| Error::shared_memory("a new block is not as it was asked for"))
}

/// The structure that a handle refers to; `what` it should be, for people.
pub(super) fn read<'de, T: Atomics, D: Deserializer<'de>>(
    deserializer: D,
    kind: Kind,
    what: &str,
) -> Result<Shared<T>, D::Error> {
    read_block(Block::deserialize(deserializer)?, kind, what)
}

/// The structure in a block that a handle refers to.
pub(crate) fn read_block<T: Atomics, E: serde::de::Error>(
    block: Block,
    kind: Kind,
    what: &str,
) -> Result<Shared<T>, E> {
    Shared::new(block, &[kind]).ok_or_else(|| E::custom(format!("the handle refers to something that is no {what}")))
}

/// For `new()`, which panics where `try_new()` gives an error.
pub(crate) fn expect<T>(made: Result<T, Error>, what: &str) -> T {
    match made {
        Ok(made) => made,
        Err(error) => panic!("no {what} could be made: {error}"),
    }
}

impl Outcome {
    /// Returns whether the caller holds the lock now; it does not if it did not want to wait any longer. A lock that is
    /// poisoned is given back by `give_back`, and keeps its poison.
    ///
    /// # Errors
    ///
    /// The caller would have waited for itself, or a holder has died.
    #[inline]
    pub(super) fn into_held(self, give_back: impl FnOnce()) -> Result<bool, LockError> {
        match self {
            Outcome::Acquired => Ok(true),
            Outcome::AcquiredPoisoned => {
                give_back();
                Err(LockError::OWNER_DIED)
            }
            Outcome::WouldDeadlock => Err(LockError::WOULD_DEADLOCK),
            Outcome::TimedOut | Outcome::Busy => Ok(false),
        }
    }

    /// Like [`Outcome::into_held`], for a lock that `guard` holds and whose drop gives it back.
    #[inline]
    pub(super) fn into_guard<G>(self, guard: impl Fn() -> G) -> Result<Option<G>, LockError> {
        Ok(self.into_held(|| drop(guard()))?.then(guard))
    }
}
