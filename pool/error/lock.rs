//! [`LockError`].

use super::Kind;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a lock could not be taken or released.
///
/// ```
/// let lock = multiproc::Lock::new();
/// let held = lock.lock()?;
/// assert!(lock.lock().unwrap_err().is_would_deadlock());
/// drop(held);
/// assert!(lock.release().unwrap_err().is_not_held());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct LockError {
    kind: LockKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum LockKind {
    OwnerDied,
    WouldDeadlock,
    NotHeld,
    HeldByGuard,
    NotOwner,
    NotInside,
    Full,
    Lent,
    TooMany,
    Damaged,
    SharedMemory { text: String },
}

impl LockError {
    pub(crate) const OWNER_DIED: LockError = LockError { kind: LockKind::OwnerDied };
    pub(crate) const WOULD_DEADLOCK: LockError = LockError { kind: LockKind::WouldDeadlock };
    pub(crate) const NOT_HELD: LockError = LockError { kind: LockKind::NotHeld };
    pub(crate) const HELD_BY_GUARD: LockError = LockError { kind: LockKind::HeldByGuard };
    pub(crate) const NOT_OWNER: LockError = LockError { kind: LockKind::NotOwner };
    pub(crate) const NOT_INSIDE: LockError = LockError { kind: LockKind::NotInside };
    pub(crate) const FULL: LockError = LockError { kind: LockKind::Full };
    pub(crate) const LENT: LockError = LockError { kind: LockKind::Lent };
    pub(crate) const TOO_MANY: LockError = LockError { kind: LockKind::TooMany };
    pub(crate) const DAMAGED: LockError = LockError { kind: LockKind::Damaged };

    /// Returns whether a process died while it held the lock: what the lock protects may be half changed. See
    /// [`Lock::lock_poisoned`](crate::Lock::lock_poisoned).
    pub fn is_owner_died(&self) -> bool {
        self.kind == LockKind::OwnerDied
    }

    /// Returns whether the calling thread holds the lock itself, and would have waited for ever.
    pub fn is_would_deadlock(&self) -> bool {
        self.kind == LockKind::WouldDeadlock
    }

    /// Returns whether something was to be released that the caller does not hold, or a condition was used by a
    /// thread that does not hold its lock.
    pub fn is_not_held(&self) -> bool {
        use LockKind::{Full, HeldByGuard, NotHeld, NotInside, NotOwner};
        matches!(self.kind, NotHeld | HeldByGuard | NotOwner | NotInside | Full)
    }

    /// Returns whether a condition was to let go of a lock that this thread holds through the guard of a
    /// [`Value`](crate::Value) or [`Array`](crate::Array).
    pub fn is_lent(&self) -> bool {
        self.kind == LockKind::Lent
    }

    /// Returns whether a limit was reached: 960 threads wait for one condition, or a thread has taken a recursive
    /// lock 65535 times.
    pub fn is_too_many(&self) -> bool {
        self.kind == LockKind::TooMany
    }

    /// Returns whether the bytes in shared memory are no value of the type: a process has written over them.
    pub fn is_damaged(&self) -> bool {
        self.kind == LockKind::Damaged
    }

    /// Returns whether this process has no part in the shared memory, see [`Error::is_shared_memory`].
    pub fn is_shared_memory(&self) -> bool {
        matches!(self.kind, LockKind::SharedMemory { .. })
    }
}

impl From<Error> for LockError {
    #[cold]
    fn from(error: Error) -> LockError {
        LockError { kind: LockKind::SharedMemory { text: error.to_string() } }
    }
}

impl From<LockError> for Error {
    #[cold]
    fn from(source: LockError) -> Error {
        match source.kind {
            LockKind::SharedMemory { text } => Error::shared_memory(text),
            _ => Kind::Lock { source }.into(),
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            LockKind::OwnerDied => {
                "a process died while it held the lock: take it with `lock_poisoned()` (`write_poisoned()` for a `RwLock`), \
                 repair what it protects, and call `clear_poison()`"
            }
            LockKind::WouldDeadlock => "this thread holds the lock already, and would wait for itself for ever",
            LockKind::NotHeld => "the lock is released too many times: nobody holds it",
            LockKind::HeldByGuard => {
                "the lock is held through a guard, and only dropping that releases it; if its holder has died, \
                 `lock_poisoned()` takes it"
            }
            LockKind::NotOwner => "the lock is held by another thread, which alone can release it",
            LockKind::NotInside => {
                "this thread does not hold the lock of the condition: take it before `wait()` and `notify()`"
            }
            LockKind::Full => "the semaphore is released too many times: it would have more permits than it may have",
            LockKind::Lent => {
                "this thread holds the lock through the guard of a value or array: drop that before it waits for the condition"
            }
            LockKind::TooMany => {
                "too many threads wait for the condition, or this thread has taken the lock too many times without giving it back"
            }
            LockKind::Damaged => "the bytes in shared memory are no value of this type: a process has written over them",
            LockKind::SharedMemory { text } => text,
        })
    }
}

impl fmt::Debug for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockError({self})")
    }
}

impl std::error::Error for LockError {}
