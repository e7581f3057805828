//! What the handles have in common: making a block for a structure, and finding it again.

use crate::error::Error;
use crate::heap::block::{Block, Shared};
use crate::heap::kind::Kind;
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
