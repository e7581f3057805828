//! Why a function has no value that travels, as the process that ran it tells: the common part of
//! [`TaskError`](super::TaskError) and [`ProcessError`](super::ProcessError).

use super::RemoteError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A panic of user code, as plain data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Panic {
    pub(crate) message: String,
    /// `file:line:column`.
    pub(crate) location: Option<String>,
    /// Only if `RUST_BACKTRACE` asked for one.
    pub(crate) backtrace: Option<String>,
}

/// Why a function has no value, as the process that ran it tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Panicked(Panic),
    Failed { source: RemoteError },
    Decode { text: String },
    Encode { text: String },
}

impl From<Panic> for Failure {
    fn from(panic: Panic) -> Failure {
        Failure::Panicked(panic)
    }
}

impl Failure {
    pub(super) fn panic(&self) -> Option<&Panic> {
        match self {
            Failure::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// What user code has said: in a panic, or by the error that it has returned.
    pub(super) fn message(&self) -> Option<&str> {
        match self {
            Failure::Panicked(panic) => Some(&panic.message),
            Failure::Failed { source } => Some(source.text()),
            Failure::Decode { .. } | Failure::Encode { .. } => None,
        }
    }

    /// The error that user code has returned.
    pub(super) fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Failed { source } => Some(source),
            _ => None,
        }
    }
}

/// What is said of the task or process.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Panicked(Panic { message, location: Some(location), .. }) => {
                write!(f, "panicked at {location}: {message}")
            }
            Failure::Panicked(Panic { message, location: None, .. }) => write!(f, "panicked: {message}"),
            Failure::Failed { source } => write!(f, "failed: {source}"),
            Failure::Decode { text } => write!(f, "has a value that could not be deserialised: {text}"),
            Failure::Encode { text } => write!(f, "has a value that could not be serialised: {text}"),
        }
    }
}
