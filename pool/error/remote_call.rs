//! [`RemoteCallError`].

use super::Kind;
use crate::error::{ConnectionError, Error};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a call of an object of a manager in another program has no result.
///
/// ```no_run
/// use multiproc::RemoteManager;
///
/// let manager = RemoteManager::connect(("localhost", 50000), "abracadabra")?;
/// let ages = manager.create("get_ages", ())?; // a dict
/// let age: Result<u8, _> = ages.call("__getitem__", ("nobody".to_owned(),));
/// let error = age.unwrap_err();
/// assert_eq!(error.exception(), Some("KeyError"));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct RemoteCallError {
    inner: Box<Inner>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    kind: RemoteCallKind,
    /// What was to be called.
    method: String,
}

/// What went wrong with a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum RemoteCallKind {
    Connection { source: ConnectionError },
    TimedOut,
    Raised { class: String, text: String },
    Failed { traceback: String },
    Encode { text: String },
    Decode { text: String },
}

impl RemoteCallError {
    #[cold]
    pub(crate) fn new(kind: RemoteCallKind, method: &str) -> RemoteCallError {
        RemoteCallError { inner: Box::new(Inner { kind, method: method.to_owned() }) }
    }

    /// Returns the name of the method, or of the type that was to be created.
    pub fn method(&self) -> &str {
        &self.inner.method
    }

    /// Returns what went wrong with the connection, if that is what this error is: the manager has ended, say, or does not
    /// have the same key. Whether the method was called is not known then.
    pub fn connection(&self) -> Option<&ConnectionError> {
        match &self.inner.kind {
            RemoteCallKind::Connection { source } => Some(source),
            _ => None,
        }
    }

    /// Returns whether the time limit of the proxy has passed. If the method was called, it goes on to its end.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.inner.kind, RemoteCallKind::TimedOut)
    }

    /// Returns the class of the exception that the method has raised, if it has: `"KeyError"`, `"queue.Empty"`.
    pub fn exception(&self) -> Option<&str> {
        match &self.inner.kind {
            RemoteCallKind::Raised { class, .. } => Some(class.strip_prefix("builtins.").unwrap_or(class)),
            _ => None,
        }
    }

    /// Returns what the exception says, if the method has raised one.
    pub fn exception_text(&self) -> Option<&str> {
        match &self.inner.kind {
            RemoteCallKind::Raised { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns the traceback that the manager sent, if it failed outside of the method: there is no such object or method,
    /// or the result cannot be pickled. Python's `RemoteError`.
    pub fn traceback(&self) -> Option<&str> {
        match &self.inner.kind {
            RemoteCallKind::Failed { traceback } => Some(traceback),
            _ => None,
        }
    }

    /// Returns whether the arguments could not be sent.
    pub fn is_encode(&self) -> bool {
        matches!(self.inner.kind, RemoteCallKind::Encode { .. })
    }

    /// Returns whether the result is no plain value, or not of the type that was asked for.
    pub fn is_decode(&self) -> bool {
        matches!(self.inner.kind, RemoteCallKind::Decode { .. })
    }
}

impl From<RemoteCallError> for Error {
    #[cold]
    fn from(source: RemoteCallError) -> Error {
        Kind::RemoteCall { source }.into()
    }
}

impl fmt::Display for RemoteCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = &self.inner.method;
        match &self.inner.kind {
            RemoteCallKind::Connection { source } => {
                write!(f, "the manager could not be asked for `{method}`: {source}")
            }
            RemoteCallKind::TimedOut => write!(f, "the manager did not answer in time: it was asked for `{method}`"),
            RemoteCallKind::Raised { class, text } => {
                write!(f, "`{method}` raised {}: {text}", class.strip_prefix("builtins.").unwrap_or(class))
            }
            RemoteCallKind::Failed { traceback } => {
                // Python's tracebacks end with what matters most.
                let last = traceback.trim_end().lines().next_back().unwrap_or_default();
                write!(f, "the manager could not call `{method}`: {}", last.trim())
            }
            RemoteCallKind::Encode { text } => write!(f, "the arguments of `{method}` could not be sent: {text}"),
            RemoteCallKind::Decode { text } => write!(f, "the result of `{method}` could not be read: {text}"),
        }
    }
}

impl fmt::Debug for RemoteCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteCallError({self})")
    }
}

impl std::error::Error for RemoteCallError {}
