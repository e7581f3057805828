//! [`ManagerError`]: why a call of an object that a manager holds failed.

use super::{Kind, Panic, RemoteError};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a call of an object that a [`Manager`](crate::Manager) holds has no result.
///
/// ```
/// let manager = multiproc::Manager::new()?;
/// let list = manager.list([1, 2, 3])?;
/// let error = list.call(|list: &mut Vec<i32>, at: usize| list[at], (5,)).unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.message(), Some("index out of bounds: the len is 3 but the index is 5"));
/// manager.shutdown();
/// assert!(list.len().unwrap_err().is_gone());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct ManagerError {
    inner: Box<Inner>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    kind: ManagerKind,
    function: String,
}

/// What went wrong with a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ManagerKind {
    Gone { pid: u64 },
    TimedOut,
    WouldDeadlock,
    UnknownObject,
    Refused { text: String },
    Panicked(Panic),
    Failed { source: RemoteError },
    Encode { text: String },
    Decode { text: String },
    SharedMemory { text: String },
}

impl ManagerError {
    #[cold]
    pub(crate) fn new(kind: ManagerKind, function: &str) -> ManagerError {
        ManagerError { inner: Box::new(Inner { kind, function: function.to_owned() }) }
    }

    /// Returns the name of the function that was to be called, as `std::any::type_name` gives it.
    pub fn function(&self) -> &str {
        &self.inner.function
    }

    /// Returns whether the manager's server has ended, before the call or in the middle of it: it was shut down, was
    /// killed, or a function has ended it. Python's `EOFError`, `BrokenPipeError` or `ConnectionRefusedError`.
    pub fn is_gone(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::Gone { .. })
    }

    /// Returns whether the time limit of the proxy has passed. If the function had begun by then it goes on to its
    /// end.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::TimedOut)
    }

    /// Returns whether a function has called the very object that it was called on, through a proxy, and would have
    /// waited for ever.
    pub fn is_would_deadlock(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::WouldDeadlock)
    }

    /// Returns whether the server has no such object.
    pub fn is_unknown_object(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::UnknownObject)
    }

    /// Returns whether the server could not carry the call out: it has no thread left for another client.
    pub fn is_refused(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::Refused { .. })
    }

    /// Returns whether the function panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::Panicked(_))
    }

    /// Returns whether the function of [`Proxy::try_call`](crate::Proxy::try_call) returned an `Err`;
    /// [`source`](std::error::Error::source) is then a [`RemoteError`].
    pub fn is_error(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::Failed { .. })
    }

    /// Returns whether the arguments or the result could not be serialised.
    pub fn is_encode(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::Encode { .. })
    }

    /// Returns whether the arguments or the result could not be deserialised, or the object is of another type.
    pub fn is_decode(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::Decode { .. })
    }

    /// Returns whether there is no shared memory for the call, see [`Error::is_shared_memory`].
    pub fn is_shared_memory(&self) -> bool {
        matches!(self.inner.kind, ManagerKind::SharedMemory { .. })
    }

    fn panic(&self) -> Option<&Panic> {
        match &self.inner.kind {
            ManagerKind::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// Returns what the function has said: the message of its panic, or the text of the `Err` that it returned.
    ///
    /// ```
    /// let manager = multiproc::Manager::new()?;
    /// let text = manager.value("x".to_owned())?;
    /// let error = text.try_call(|text: &mut String| text.parse::<u8>(), ()).unwrap_err();
    /// assert_eq!(error.message(), Some("invalid digit found in string"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn message(&self) -> Option<&str> {
        match &self.inner.kind {
            ManagerKind::Panicked(panic) => Some(&panic.message),
            ManagerKind::Failed { source } => Some(source.text()),
            _ => None,
        }
    }

    /// Returns where the function panicked: `file:line:column`.
    pub fn location(&self) -> Option<&str> {
        self.panic()?.location.as_deref()
    }

    /// Returns the backtrace of the panic, if `RUST_BACKTRACE` is set.
    pub fn backtrace(&self) -> Option<&str> {
        self.panic()?.backtrace.as_deref()
    }
}

impl From<ManagerError> for Error {
    #[cold]
    fn from(source: ManagerError) -> Error {
        match source.inner.kind {
            ManagerKind::SharedMemory { text } => Error::shared_memory(text),
            _ => Kind::Manager { source }.into(),
        }
    }
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = &self.inner.function;
        match &self.inner.kind {
            ManagerKind::Gone { pid } => {
                write!(f, "the manager that was to call `{function}` has ended (its server was process {pid})")
            }
            ManagerKind::TimedOut => write!(f, "the manager did not answer in time: it was to call `{function}`"),
            ManagerKind::WouldDeadlock => write!(
                f,
                "`{function}` would wait for ever: it was called through a proxy on the object whose call this is part of"
            ),
            ManagerKind::UnknownObject => write!(f, "the manager has no such object to call `{function}` on"),
            ManagerKind::Refused { text } => write!(f, "the manager could not call `{function}`: {text}"),
            ManagerKind::Panicked(Panic { message, location, .. }) => {
                write!(f, "`{function}` panicked in the manager")?;
                if let Some(location) = location {
                    write!(f, " at {location}")?;
                }
                write!(f, ": {message}")
            }
            ManagerKind::Failed { source } => write!(f, "`{function}` failed in the manager: {source}"),
            ManagerKind::Encode { text } => {
                write!(f, "the arguments or the result of `{function}` could not be serialised: {text}")
            }
            ManagerKind::Decode { text } => {
                write!(f, "the arguments or the result of `{function}` could not be deserialised: {text}")
            }
            ManagerKind::SharedMemory { text } => f.write_str(text),
        }
    }
}

impl fmt::Debug for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManagerError({self})")
    }
}

impl std::error::Error for ManagerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.inner.kind {
            ManagerKind::Failed { source } => Some(source),
            _ => None,
        }
    }
}
