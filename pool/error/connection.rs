//! [`ConnectionError`].

use super::Kind;
use super::io_kind::IoKind;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Why a connection to another program could not be made, or a message not be sent or received.
///
/// ```
/// use multiproc::{Client, Listener};
/// use std::time::Duration;
///
/// let listener = Listener::bind(("localhost", 0), "the right key")?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || Client::connect(address, "a wrong key"));
/// assert!(listener.accept().unwrap_err().is_authentication());
/// let error = client.join().unwrap().unwrap_err();
/// assert!(error.connection().unwrap().is_authentication());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct ConnectionError {
    kind: Box<ConnectionKind>,
}

/// What went wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConnectionKind {
    Disconnected,
    CutShort { got: u64, len: Option<u64> },
    TooLong { len: u64, most: u64 },
    Protocol { text: String },
    Authentication { text: String },
    TimedOut { what: String },
    OutOfStep { text: String },
    Encode { text: String },
    Decode { text: String },
    Io { kind: IoKind, text: String },
}

impl ConnectionError {
    #[cold]
    pub(crate) fn new(kind: ConnectionKind) -> ConnectionError {
        ConnectionError { kind: Box::new(kind) }
    }

    /// The one that is in there, or the failure of the system that has prevented a connection.
    #[cold]
    pub(crate) fn of(error: &Error) -> ConnectionError {
        error.connection().cloned().unwrap_or_else(|| {
            let kind = IoKind(error.io_kind().unwrap_or(io::ErrorKind::Other));
            ConnectionError::new(ConnectionKind::Io { kind, text: error.to_string() })
        })
    }

    #[cold]
    pub(crate) fn authentication(text: impl Into<String>) -> ConnectionError {
        ConnectionError::new(ConnectionKind::Authentication { text: text.into() })
    }

    #[cold]
    pub(crate) fn protocol(text: impl Into<String>) -> ConnectionError {
        ConnectionError::new(ConnectionKind::Protocol { text: text.into() })
    }

    #[cold]
    pub(crate) fn encode(text: impl Into<String>) -> ConnectionError {
        ConnectionError::new(ConnectionKind::Encode { text: text.into() })
    }

    #[cold]
    pub(crate) fn decode(text: impl Into<String>) -> ConnectionError {
        ConnectionError::new(ConnectionKind::Decode { text: text.into() })
    }

    #[cold]
    pub(crate) fn timed_out(what: impl Into<String>) -> ConnectionError {
        ConnectionError::new(ConnectionKind::TimedOut { what: what.into() })
    }

    /// Returns whether the other end is gone, and all that it has sent was received: Python's `EOFError`.
    pub fn is_disconnected(&self) -> bool {
        *self.kind == ConnectionKind::Disconnected
    }

    /// Returns whether the other end has gone in the middle of a message: Python's `OSError('got end of file during
    /// message')`.
    pub fn is_cut_short(&self) -> bool {
        matches!(*self.kind, ConnectionKind::CutShort { .. })
    }

    /// Returns whether a message had more bytes than were allowed: Python's `OSError('bad message length')`. As there
    /// the connection is closed then: its next message could not be found without reading all of this one.
    pub fn is_too_long(&self) -> bool {
        matches!(*self.kind, ConnectionKind::TooLong { .. })
    }

    /// Returns whether what came is no message, or not the one that was expected: no program that speaks as Python
    /// does is at the other end.
    pub fn is_protocol(&self) -> bool {
        matches!(*self.kind, ConnectionKind::Protocol { .. })
    }

    /// Returns whether the two sides do not have the same key, or do not agree on a digest: Python's
    /// `AuthenticationError`.
    pub fn is_authentication(&self) -> bool {
        matches!(*self.kind, ConnectionKind::Authentication { .. })
    }

    /// Returns whether the other end has not answered in the time that was given for connecting or for
    /// authentication, or has not read enough for a message to be sent as a whole.
    pub fn is_timeout(&self) -> bool {
        matches!(*self.kind, ConnectionKind::TimedOut { .. })
    }

    /// Returns whether an earlier error has left the connection in the middle of a message: it can be used no more in
    /// this direction.
    pub fn is_out_of_step(&self) -> bool {
        matches!(*self.kind, ConnectionKind::OutOfStep { .. })
    }

    /// Returns whether a value cannot be sent: its `Serialize` implementation refuses, or it is nested too deep.
    pub fn is_encode(&self) -> bool {
        matches!(*self.kind, ConnectionKind::Encode { .. })
    }

    /// Returns whether a message is no pickle, is one of something that is no plain value, or of a value that is not
    /// of the type that was asked for. The message is gone, the next ones can be received.
    pub fn is_decode(&self) -> bool {
        matches!(*self.kind, ConnectionKind::Decode { .. })
    }

    /// Returns the kind of the system's error, if that is what this error is.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match &*self.kind {
            ConnectionKind::Io { kind, .. } => Some(kind.0),
            _ => None,
        }
    }
}

impl From<io::Error> for ConnectionError {
    #[cold]
    fn from(error: io::Error) -> ConnectionError {
        ConnectionError::new(match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ConnectionKind::Disconnected,
            io::ErrorKind::TimedOut => ConnectionKind::TimedOut { what: error.to_string() },
            kind => ConnectionKind::Io { kind: IoKind(kind), text: error.to_string() },
        })
    }
}

impl From<ConnectionError> for Error {
    #[cold]
    fn from(source: ConnectionError) -> Error {
        Kind::Connection { source }.into()
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            ConnectionKind::Disconnected => f.write_str("the other end has closed the connection"),
            ConnectionKind::CutShort { got, len: Some(len) } => {
                write!(f, "the connection ended in the middle of a message, after {got} of its {len} bytes")
            }
            ConnectionKind::CutShort { got, len: None } => {
                write!(f, "the connection ended in the middle of a message's length, after {got} bytes of it")
            }
            ConnectionKind::TooLong { len, most } => {
                write!(f, "the message has {len} bytes, and {most} were allowed; the connection was closed")
            }
            ConnectionKind::Protocol { text } => f.write_str(text),
            ConnectionKind::Authentication { text } => write!(f, "authentication failed: {text}"),
            ConnectionKind::TimedOut { what } => f.write_str(what),
            ConnectionKind::OutOfStep { text } => {
                write!(f, "the connection can be used no more since an earlier error: {text}")
            }
            ConnectionKind::Encode { text } => write!(f, "the value could not be pickled: {text}"),
            ConnectionKind::Decode { text } => write!(f, "the message could not be read: {text}"),
            ConnectionKind::Io { text, .. } => f.write_str(text),
        }
    }
}

impl fmt::Debug for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionError({self})")
    }
}

impl std::error::Error for ConnectionError {}
