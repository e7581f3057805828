//! Errors of calls, where this library makes them.

use super::{Death, Error, Failure, Kind, TaskError, TaskKind};
use std::fmt;

impl Error {
    #[cold]
    pub(crate) fn invalid_argument(text: impl Into<String>) -> Error {
        Kind::InvalidArgument { text: text.into() }.into()
    }

    /// The context of a call could not be serialised.
    #[cold]
    pub(crate) fn context(text: impl Into<String>) -> Error {
        Kind::Context { text: text.into() }.into()
    }

    /// The error of a start that failed since the process ended. What is known of its end is written behind the text when
    /// somebody reads it, since that may take a while.
    #[cold]
    pub(crate) fn died(text: impl Into<String>, death: Death) -> Error {
        Kind::Died { text: text.into(), death }.into()
    }

    #[cold]
    pub(crate) fn start(text: impl Into<String>) -> Error {
        Kind::Start { text: text.into() }.into()
    }

    #[cold]
    pub(crate) fn initializer(source: TaskError) -> Error {
        Kind::Initializer { source }.into()
    }

    #[cold]
    pub(crate) fn foreign_host() -> Error {
        Kind::ForeignHost.into()
    }

    #[cold]
    pub(crate) fn not_initialized() -> Error {
        Kind::NotInitialized.into()
    }

    #[cold]
    pub(crate) fn daemonic() -> Error {
        Kind::Daemonic.into()
    }

    #[cold]
    pub(crate) fn not_running() -> Error {
        Kind::NotRunning.into()
    }

    #[cold]
    pub(crate) fn still_running() -> Error {
        Kind::StillRunning.into()
    }

    #[cold]
    pub(crate) fn full() -> Error {
        Kind::Full.into()
    }

    #[cold]
    pub(crate) fn terminated() -> Error {
        Kind::Terminated.into()
    }

    #[cold]
    pub(crate) fn broken(cause: impl fmt::Display) -> Error {
        Kind::Broken { cause: cause.to_string() }.into()
    }

    #[cold]
    pub(crate) fn cancelled() -> Error {
        Kind::Cancelled.into()
    }

    #[cold]
    pub(crate) fn checkpoint(text: impl Into<String>) -> Error {
        Kind::Checkpoint { text: text.into() }.into()
    }

    #[cold]
    pub(crate) fn shared_memory(text: impl Into<String>) -> Error {
        Kind::SharedMemory { text: text.into() }.into()
    }

    /// What a task's error is when this error has refused the whole call.
    pub(crate) fn refusal(&self) -> TaskKind {
        match &*self.kind {
            Kind::NotRunning => TaskKind::NotRunning,
            Kind::Terminated => TaskKind::Terminated,
            Kind::Broken { cause } => TaskKind::Broken { cause: cause.clone() },
            Kind::InvalidArgument { text } => TaskKind::InvalidArgument { text: text.clone() },
            Kind::Checkpoint { text } => TaskKind::Checkpoint { text: text.clone() },
            Kind::Context { text } => Failure::Encode { text: format!("the context of `with`: {text}") }.into(),
            _ => TaskKind::Broken { cause: self.to_string() },
        }
    }
}
