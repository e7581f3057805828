//! What can go wrong: [`Error`] for calls, [`TaskError`] for single tasks, [`ProcessError`] for processes,
//! [`RemoteError`] for errors of user code.

mod barrier;
mod collection;
#[cfg(feature = "remote")]
mod connection;
mod crash;
mod earlier;
mod exit;
mod failure;
mod io_kind;
mod lock;
mod make;
mod manager;
mod process;
mod queue;
mod remote;
#[cfg(feature = "remote")]
mod remote_call;
mod submit;
mod task;

pub use barrier::BrokenBarrierError;
pub use collection::CollectionError;
pub(crate) use collection::CollectionKind;
#[cfg(feature = "remote")]
pub use connection::ConnectionError;
#[cfg(feature = "remote")]
pub(crate) use connection::ConnectionKind;
#[cfg(feature = "backtrace")]
pub(crate) use crash::Frame;
pub(crate) use crash::{Cause, Crash, Death, Kill, Stack, Use};
pub(crate) use earlier::Earlier;
pub(crate) use exit::Exit;
pub(crate) use failure::{Failure, Panic};
use io_kind::IoKind;
pub use lock::LockError;
pub use manager::ManagerError;
pub(crate) use manager::ManagerKind;
pub use process::ProcessError;
pub(crate) use process::ProcessKind;
pub(crate) use queue::QueueKind;
pub use queue::{GetError, PutError};
pub use remote::RemoteError;
#[cfg(feature = "remote")]
pub use remote_call::RemoteCallError;
#[cfg(feature = "remote")]
pub(crate) use remote_call::RemoteCallKind;
pub use submit::TrySubmitError;
pub use task::TaskError;
pub(crate) use task::{FAILED_ALLOCATION, TaskKind};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// The result of a call into this library.
///
/// The error type is a default, so that `use multiproc::*` does not break `Result<A, B>`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// Plain data: it can be cloned, compared as text, and returned from a task. What happened is asked by predicates; a
/// task's failure is inside as [`TaskError`].
///
/// ```
/// let error = multiproc::Pool::new(0).unwrap_err();
/// assert!(error.is_invalid_argument());
/// assert_eq!(error.to_string(), "a pool needs at least 1 process, not 0");
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Error {
    kind: Box<Kind>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Kind {
    InvalidArgument {
        text: String,
    },
    Context {
        text: String,
    },
    Start {
        text: String,
    },
    /// A process ended before it was ready.
    Died {
        text: String,
        death: Death,
    },
    Initializer {
        source: TaskError,
    },
    ForeignHost,
    NotInitialized,
    Daemonic,
    NotRunning,
    StillRunning,
    Full,
    Terminated,
    Broken {
        cause: String,
    },
    Cancelled,
    Checkpoint {
        text: String,
    },
    SharedMemory {
        text: String,
    },
    Lock {
        source: LockError,
    },
    Barrier {
        source: BrokenBarrierError,
    },
    Queue {
        source: GetError,
    },
    #[cfg(feature = "remote")]
    Connection {
        source: ConnectionError,
    },
    #[cfg(feature = "remote")]
    RemoteCall {
        source: RemoteCallError,
    },
    Collection {
        source: CollectionError,
    },
    Manager {
        source: ManagerError,
    },
    Task {
        source: TaskError,
    },
    Process {
        source: ProcessError,
    },
    Io {
        kind: IoKind,
        text: String,
    },
}

impl Error {
    /// Returns whether an argument or an option of the call was wrong.
    pub fn is_invalid_argument(&self) -> bool {
        matches!(*self.kind, Kind::InvalidArgument { .. } | Kind::Context { .. })
    }

    /// Returns whether a process could not be started: the program could not be executed, the new process died before
    /// it was ready, or did not answer in time.
    pub fn is_start(&self) -> bool {
        matches!(*self.kind, Kind::Start { .. } | Kind::Died { .. })
    }

    /// Returns whether the initializer of a worker failed.
    pub fn is_initializer(&self) -> bool {
        matches!(*self.kind, Kind::Initializer { .. })
    }

    /// Returns whether this library was loaded by a program that it is not part of (a Python extension, a plugin):
    /// that program cannot be started again as a worker.
    pub fn is_foreign_host(&self) -> bool {
        matches!(*self.kind, Kind::ForeignHost)
    }

    /// Returns whether `multiproc::init()` is missing in `main` (needed without the feature `auto`).
    pub fn is_not_initialized(&self) -> bool {
        matches!(*self.kind, Kind::NotInitialized)
    }

    /// Returns whether this is a daemonic process, which is not allowed to have children.
    pub fn is_daemonic(&self) -> bool {
        matches!(*self.kind, Kind::Daemonic)
    }

    /// Returns whether the pool takes no more calls, since it was closed.
    pub fn is_not_running(&self) -> bool {
        matches!(*self.kind, Kind::NotRunning)
    }

    /// Returns whether `join` was called before `close` or `terminate`.
    pub fn is_still_running(&self) -> bool {
        matches!(*self.kind, Kind::StillRunning)
    }

    /// Returns whether there was no room for the call: see [`TrySubmitError::Full`].
    pub fn is_full(&self) -> bool {
        matches!(*self.kind, Kind::Full)
    }

    /// Returns whether the pool was terminated, before the call or while it ran.
    pub fn is_terminated(&self) -> bool {
        match &*self.kind {
            Kind::Terminated => true,
            Kind::Task { source } => source.is_terminated(),
            _ => false,
        }
    }

    /// Returns whether the pool gave up: its workers could not be replaced.
    pub fn is_broken(&self) -> bool {
        match &*self.kind {
            Kind::Broken { .. } => true,
            Kind::Task { source } => source.is_broken(),
            _ => false,
        }
    }

    /// Returns whether the file of a call cannot be used: it is of another call, damaged, in use, or cannot be read or written.
    /// See [`Call::checkpoint`](crate::Call::checkpoint).
    pub fn is_checkpoint(&self) -> bool {
        match &*self.kind {
            Kind::Checkpoint { .. } => true,
            Kind::Task { source } => source.is_checkpoint(),
            _ => false,
        }
    }

    /// Returns whether there is no shared memory for what was asked for: it is exhausted, or this process has none
    /// (memory files are forbidden or limited here, or this process was forked).
    pub fn is_shared_memory(&self) -> bool {
        matches!(*self.kind, Kind::SharedMemory { .. })
    }

    /// Returns the failure of a lock, if that is what this error is.
    pub fn lock(&self) -> Option<&LockError> {
        match &*self.kind {
            Kind::Lock { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the failure of a barrier, if that is what this error is.
    pub fn barrier(&self) -> Option<&BrokenBarrierError> {
        match &*self.kind {
            Kind::Barrier { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the failure of a queue or channel, if that is what this error is; what could not be put is not in it.
    pub fn queue(&self) -> Option<&GetError> {
        match &*self.kind {
            Kind::Queue { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the failure of a connection to another program, if that is what this error is.
    #[cfg(feature = "remote")]
    pub fn connection(&self) -> Option<&ConnectionError> {
        match &*self.kind {
            Kind::Connection { source } => Some(source),
            Kind::RemoteCall { source } => source.connection(),
            _ => None,
        }
    }

    /// The failure of a call of an object of a manager in another program, if that is what this error is.
    #[cfg(feature = "remote")]
    pub fn remote_call(&self) -> Option<&RemoteCallError> {
        match &*self.kind {
            Kind::RemoteCall { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the failure of an operation on a shared map or list, if that is what this error is.
    pub fn collection(&self) -> Option<&CollectionError> {
        match &*self.kind {
            Kind::Collection { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the failure of a call of a manager's object, if that is what this error is.
    pub fn manager(&self) -> Option<&ManagerError> {
        match &*self.kind {
            Kind::Manager { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the failure of a task, if that is what this error is.
    pub fn task(&self) -> Option<&TaskError> {
        match &*self.kind {
            Kind::Task { source } | Kind::Initializer { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the failure of a process, if that is what this error is.
    pub fn process(&self) -> Option<&ProcessError> {
        match &*self.kind {
            Kind::Process { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the kind of the system's error, if that is what this error is.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match &*self.kind {
            Kind::Io { kind, .. } => Some(kind.0),
            #[cfg(feature = "remote")]
            Kind::Connection { source } => source.io_kind(),
            _ => None,
        }
    }
}

impl From<Kind> for Error {
    #[cold]
    fn from(kind: Kind) -> Error {
        Error { kind: Box::new(kind) }
    }
}

impl From<TaskError> for Error {
    fn from(source: TaskError) -> Error {
        Kind::Task { source }.into()
    }
}

impl From<ProcessError> for Error {
    fn from(source: ProcessError) -> Error {
        Kind::Process { source }.into()
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Kind::Io { kind: IoKind(error.kind()), text: error.to_string() }.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            Kind::Context { text } => write!(f, "the context of `with` could not be serialised: {text}"),
            Kind::InvalidArgument { text }
            | Kind::Start { text }
            | Kind::Checkpoint { text }
            | Kind::SharedMemory { text }
            | Kind::Io { text, .. } => f.write_str(text),
            Kind::Died { text, death } => write!(f, "{text}{}", death.why()),
            Kind::Initializer { source } => write!(f, "the initializer of a worker failed: {source}"),
            Kind::ForeignHost => f.write_str(
                "this library was loaded by a program that it is not linked into (a Python extension or a plugin); that \
                 program cannot be started again as a worker",
            ),
            Kind::NotInitialized => f.write_str(
                "this program cannot recognise its own workers: call `multiproc::init()` first in `main`, or switch the \
                 feature `auto` on; and start no process before `main`",
            ),
            Kind::Daemonic => f.write_str("daemonic processes are not allowed to have children"),
            Kind::NotRunning => f.write_str("the pool is not running: it was closed"),
            Kind::StillRunning => f.write_str("the pool is still running: call `close()` or `terminate()` before `join()`"),
            Kind::Full => f.write_str("as many calls are under way as the pool may have"),
            Kind::Terminated => f.write_str("the pool was terminated"),
            Kind::Cancelled => f.write_str("the call was cancelled"),
            Kind::Broken { cause } => write!(f, "the pool is broken: {cause}"),
            Kind::Lock { source } => source.fmt(f),
            Kind::Barrier { source } => source.fmt(f),
            Kind::Queue { source } => source.fmt(f),
            #[cfg(feature = "remote")]
            Kind::Connection { source } => source.fmt(f),
            #[cfg(feature = "remote")]
            Kind::RemoteCall { source } => source.fmt(f),
            Kind::Collection { source } => source.fmt(f),
            Kind::Manager { source } => source.fmt(f),
            Kind::Task { source } => source.fmt(f),
            Kind::Process { source } => source.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            // The text of a task's error is the text of this one already: its own source comes next.
            Kind::Task { source } => source.source(),
            Kind::Process { source } => source.source(),
            Kind::Manager { source } => source.source(),
            Kind::Initializer { source } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_plain_data() {
        fn plain<T: Clone + Serialize + serde::de::DeserializeOwned + std::error::Error + Send + Sync + 'static>() {}
        plain::<Error>();
        plain::<TaskError>();
        plain::<ProcessError>();
        plain::<RemoteError>();
    }
}
