//! [`CollectionError`]: why an operation on a map or list in shared memory was not done.

use super::{Kind, QueueKind};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why an operation on a [`SharedDict`](crate::SharedDict) or [`SharedList`](crate::SharedList) was not done.
///
/// ```
/// let dict = multiproc::SharedDict::<String, u64>::new();
/// let inside = dict.update("a", |_| dict.get("b"))?;
/// assert!(inside.unwrap_err().is_would_deadlock());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct CollectionError {
    kind: CollectionKind,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CollectionKind {
    TimedOut,
    WouldDeadlock,
    Full,
    Encode { text: String },
    Decode { text: String },
    Damaged,
    SharedMemory { text: String },
}

impl CollectionError {
    #[cold]
    pub(crate) fn new(kind: CollectionKind) -> CollectionError {
        CollectionError { kind }
    }

    /// Returns whether the time limit has passed, see [`SharedDict::with_timeout`](crate::SharedDict::with_timeout):
    /// somebody else is changing it.
    pub fn is_timed_out(&self) -> bool {
        self.kind == CollectionKind::TimedOut
    }

    /// Returns whether this was called inside of an `update` of the same map or list, and would have waited for ever.
    pub fn is_would_deadlock(&self) -> bool {
        self.kind == CollectionKind::WouldDeadlock
    }

    /// Returns whether there is no room: a map or list has room for some millions of entries.
    pub fn is_full(&self) -> bool {
        self.kind == CollectionKind::Full
    }

    /// Returns whether the key or value cannot travel: its `Serialize` implementation refused, it contains an end of
    /// ipc-channel, or the key contains a handle.
    pub fn is_encode(&self) -> bool {
        matches!(self.kind, CollectionKind::Encode { .. })
    }

    /// Returns whether what is stored there cannot be read as a value of the type.
    pub fn is_decode(&self) -> bool {
        matches!(self.kind, CollectionKind::Decode { .. })
    }

    /// Returns whether a process has written over it.
    pub fn is_damaged(&self) -> bool {
        self.kind == CollectionKind::Damaged
    }

    /// Returns whether there is no shared memory for it, see [`Error::is_shared_memory`].
    pub fn is_shared_memory(&self) -> bool {
        matches!(self.kind, CollectionKind::SharedMemory { .. })
    }
}

impl From<QueueKind> for CollectionError {
    #[cold]
    fn from(kind: QueueKind) -> CollectionError {
        CollectionError::new(match kind {
            QueueKind::Encode { text } => CollectionKind::Encode { text },
            QueueKind::Decode { text } => CollectionKind::Decode { text },
            QueueKind::SharedMemory { text } => CollectionKind::SharedMemory { text },
            _ => CollectionKind::Damaged,
        })
    }
}

impl From<Error> for CollectionError {
    #[cold]
    fn from(error: Error) -> CollectionError {
        CollectionError::new(CollectionKind::SharedMemory { text: error.to_string() })
    }
}

impl From<CollectionError> for Error {
    #[cold]
    fn from(source: CollectionError) -> Error {
        match source.kind {
            CollectionKind::SharedMemory { text } => Error::shared_memory(text),
            kind => Kind::Collection { source: CollectionError { kind } }.into(),
        }
    }
}

impl fmt::Display for CollectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            CollectionKind::TimedOut => f.write_str("somebody else was changing it all the time"),
            CollectionKind::WouldDeadlock => {
                f.write_str("this would wait for ever: it was called inside of an `update` of the same map or list")
            }
            CollectionKind::Full => f.write_str("there is no room for another entry"),
            CollectionKind::Encode { text } => write!(f, "the entry could not be serialised: {text}"),
            CollectionKind::Decode { text } => write!(f, "the entry could not be read: {text}"),
            CollectionKind::Damaged => f.write_str("what stands there is no entry: a process has written over it"),
            CollectionKind::SharedMemory { text } => f.write_str(text),
        }
    }
}

impl fmt::Debug for CollectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CollectionError({self})")
    }
}

impl std::error::Error for CollectionError {}
