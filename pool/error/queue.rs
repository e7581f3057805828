//! [`PutError`] and [`GetError`].

use super::Kind;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why something could not be put into a queue or sent; gives it back.
///
/// ```
/// let queue = multiproc::Queue::bounded(1);
/// queue.put("first".to_owned())?;
/// let error = queue.try_put("second".to_owned()).unwrap_err();
/// assert!(error.is_full());
/// assert_eq!(error.into_inner(), "second");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct PutError<T> {
    kind: QueueKind,
    value: T,
}

/// Why nothing could be taken from a queue or received.
///
/// ```
/// let queue = multiproc::Queue::<u64>::new();
/// queue.close()?;
/// assert!(queue.get().unwrap_err().is_closed());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct GetError {
    kind: QueueKind,
}

/// What went wrong with a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum QueueKind {
    Full,
    Closed,
    Disconnected,
    TooManyDone,
    TooLong { len: usize, most: usize },
    Encode { text: String },
    Decode { text: String },
    Damaged,
    SharedMemory { text: String },
}

impl<T> PutError<T> {
    #[cold]
    pub(crate) fn new(kind: QueueKind, value: T) -> PutError<T> {
        PutError { kind, value }
    }

    pub(crate) fn into_kind(self) -> QueueKind {
        self.kind
    }

    /// Returns the value that could not be put.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Returns whether there was no room, at the moment or in the time given: Python's `queue.Full`.
    pub fn is_full(&self) -> bool {
        self.kind == QueueKind::Full
    }

    /// Returns whether the queue was closed: Python's `queue.ShutDown`.
    pub fn is_closed(&self) -> bool {
        self.kind == QueueKind::Closed
    }

    /// Returns whether no process is left that could receive it.
    pub fn is_disconnected(&self) -> bool {
        self.kind == QueueKind::Disconnected
    }

    /// Returns whether the value cannot travel: its `Serialize` implementation refused, or it contains an end of
    /// ipc-channel.
    pub fn is_encode(&self) -> bool {
        matches!(self.kind, QueueKind::Encode { .. })
    }

    /// Returns whether a process has written over the queue.
    pub fn is_damaged(&self) -> bool {
        self.kind == QueueKind::Damaged
    }

    /// Returns whether there is no shared memory for it, see [`Error::is_shared_memory`].
    pub fn is_shared_memory(&self) -> bool {
        matches!(self.kind, QueueKind::SharedMemory { .. })
    }
}

impl GetError {
    pub(crate) fn new(kind: QueueKind) -> GetError {
        GetError { kind }
    }

    pub(crate) fn into_kind(self) -> QueueKind {
        self.kind
    }

    /// Returns whether the queue was closed and is empty: Python's `queue.ShutDown`.
    pub fn is_closed(&self) -> bool {
        self.kind == QueueKind::Closed
    }

    /// Returns whether no process is left that could send anything, and all that was sent is received: Python's
    /// `EOFError`.
    pub fn is_disconnected(&self) -> bool {
        self.kind == QueueKind::Disconnected
    }

    /// Returns whether a task was said to be done that nobody has taken: Python's `task_done() called too many
    /// times`.
    pub fn is_too_many_done(&self) -> bool {
        self.kind == QueueKind::TooManyDone
    }

    /// Returns whether a message had more bytes than were allowed: Python's `OSError('bad message length')`. It is
    /// gone, the next ones can be received.
    pub fn is_too_long(&self) -> bool {
        matches!(self.kind, QueueKind::TooLong { .. })
    }

    /// Returns whether an item was taken that cannot be read as a value of the type: it is gone, the next ones can be
    /// taken.
    pub fn is_decode(&self) -> bool {
        matches!(self.kind, QueueKind::Decode { .. })
    }

    /// Returns whether a process has written over the queue.
    pub fn is_damaged(&self) -> bool {
        self.kind == QueueKind::Damaged
    }

    /// Returns whether this process has no part in the shared memory, see [`Error::is_shared_memory`], or cannot map
    /// more of it.
    pub fn is_shared_memory(&self) -> bool {
        matches!(self.kind, QueueKind::SharedMemory { .. })
    }
}

impl From<Error> for GetError {
    #[cold]
    fn from(error: Error) -> GetError {
        GetError { kind: QueueKind::SharedMemory { text: error.to_string() } }
    }
}

impl From<GetError> for Error {
    #[cold]
    fn from(source: GetError) -> Error {
        match source.kind {
            QueueKind::SharedMemory { text } => Error::shared_memory(text),
            kind => Kind::Queue { source: GetError { kind } }.into(),
        }
    }
}

impl<T> From<PutError<T>> for Error {
    #[cold]
    fn from(source: PutError<T>) -> Error {
        GetError { kind: source.kind }.into()
    }
}

impl fmt::Display for QueueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueKind::Full => f.write_str("the queue is full"),
            QueueKind::Closed => f.write_str("the queue is closed"),
            QueueKind::Disconnected => f.write_str("no process is left at the other end"),
            QueueKind::TooLong { len, most } => write!(f, "the message has {len} bytes, and {most} were allowed"),
            QueueKind::TooManyDone => f.write_str(
                "task_done() called too many times: a task is done by itself when the guard that `get` has returned is dropped; \
                 `leave_open()` of the guard leaves it to `task_done()`",
            ),
            QueueKind::Encode { text } => write!(f, "the value could not be serialised: {text}"),
            QueueKind::Decode { text } => write!(f, "the item could not be read: {text}"),
            QueueKind::Damaged => f.write_str("what stands in the queue is no item: a process has written over it"),
            QueueKind::SharedMemory { text } => f.write_str(text),
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// Does not show the value, so that any type will do.
impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PutError({self})")
    }
}

impl<T> std::error::Error for PutError<T> {}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Debug for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GetError({self})")
    }
}

impl std::error::Error for GetError {}
