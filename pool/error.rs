//! What can go wrong: [`Error`] for calls, [`TaskError`] for single tasks, [`ProcessError`] for processes,
//! [`RemoteError`] for errors of user code.

mod process;

pub use process::ProcessError;
pub(crate) use process::ProcessKind;

mod lock;

pub use lock::LockError;

mod barrier;

pub use barrier::BrokenBarrierError;

#[cfg(feature = "remote")]
mod connection;

#[cfg(feature = "remote")]
pub use connection::ConnectionError;
#[cfg(feature = "remote")]
pub(crate) use connection::ConnectionKind;

mod manager;

pub use manager::ManagerError;
pub(crate) use manager::ManagerKind;

mod queue;

pub(crate) use queue::QueueKind;
pub use queue::{GetError, PutError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::time::Duration;

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
    Initializer {
        source: TaskError,
    },
    ForeignHost,
    NotInitialized,
    Daemonic,
    NotRunning,
    StillRunning,
    Terminated,
    Broken {
        cause: String,
    },
    Cancelled,
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
    #[cold]
    pub(crate) fn invalid_argument(text: impl Into<String>) -> Error {
        Kind::InvalidArgument { text: text.into() }.into()
    }

    /// The context of a call could not be serialised.
    #[cold]
    pub(crate) fn context(text: impl Into<String>) -> Error {
        Kind::Context { text: text.into() }.into()
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
    pub(crate) fn shared_memory(text: impl Into<String>) -> Error {
        Kind::SharedMemory { text: text.into() }.into()
    }

    #[cold]
    fn of_lock(source: LockError) -> Error {
        Kind::Lock { source }.into()
    }

    #[cold]
    fn of_barrier(source: BrokenBarrierError) -> Error {
        Kind::Barrier { source }.into()
    }

    #[cold]
    fn of_queue(source: GetError) -> Error {
        Kind::Queue { source }.into()
    }

    #[cfg(feature = "remote")]
    #[cold]
    fn of_connection(source: ConnectionError) -> Error {
        Kind::Connection { source }.into()
    }

    #[cold]
    fn of_manager(source: ManagerError) -> Error {
        Kind::Manager { source }.into()
    }

    /// What a task's error is when this error has refused the whole call.
    pub(crate) fn refusal(&self) -> TaskKind {
        match &*self.kind {
            Kind::NotRunning => TaskKind::NotRunning,
            Kind::Terminated => TaskKind::Terminated,
            Kind::Broken { cause } => TaskKind::Broken { cause: cause.clone() },
            Kind::InvalidArgument { text } => TaskKind::InvalidArgument { text: text.clone() },
            Kind::Context { text } => TaskKind::Encode { text: format!("the context of `with`: {text}") },
            _ => TaskKind::Broken { cause: self.to_string() },
        }
    }

    /// Whether an argument or an option of the call was wrong.
    pub fn is_invalid_argument(&self) -> bool {
        matches!(*self.kind, Kind::InvalidArgument { .. } | Kind::Context { .. })
    }

    /// Whether a process could not be started: the program could not be executed, the new process died before it was
    /// ready, or did not answer in time.
    pub fn is_start(&self) -> bool {
        matches!(*self.kind, Kind::Start { .. })
    }

    /// Whether the initializer of a worker failed.
    pub fn is_initializer(&self) -> bool {
        matches!(*self.kind, Kind::Initializer { .. })
    }

    /// Whether this library was loaded by a program that it is not part of (a Python extension, a plugin): that
    /// program cannot be started again as a worker.
    pub fn is_foreign_host(&self) -> bool {
        matches!(*self.kind, Kind::ForeignHost)
    }

    /// Whether `multiproc::init()` is missing in `main` (needed without the feature `auto`).
    pub fn is_not_initialized(&self) -> bool {
        matches!(*self.kind, Kind::NotInitialized)
    }

    /// Whether this is a daemonic process, which is not allowed to have children.
    pub fn is_daemonic(&self) -> bool {
        matches!(*self.kind, Kind::Daemonic)
    }

    /// Whether the pool takes no more calls, since it was closed.
    pub fn is_not_running(&self) -> bool {
        matches!(*self.kind, Kind::NotRunning)
    }

    /// Whether `join` was called before `close` or `terminate`.
    pub fn is_still_running(&self) -> bool {
        matches!(*self.kind, Kind::StillRunning)
    }

    /// Whether the pool was terminated, before the call or while it ran.
    pub fn is_terminated(&self) -> bool {
        match &*self.kind {
            Kind::Terminated => true,
            Kind::Task { source } => source.is_terminated(),
            _ => false,
        }
    }

    /// Whether the pool gave up: its workers could not be replaced.
    pub fn is_broken(&self) -> bool {
        match &*self.kind {
            Kind::Broken { .. } => true,
            Kind::Task { source } => source.is_broken(),
            _ => false,
        }
    }

    /// Whether there is no shared memory for what was asked for: it is exhausted, or this process has none (memory
    /// files are forbidden or limited here, or this process was forked).
    pub fn is_shared_memory(&self) -> bool {
        matches!(*self.kind, Kind::SharedMemory { .. })
    }

    /// The failure of a lock, if that is what this error is.
    pub fn lock(&self) -> Option<&LockError> {
        match &*self.kind {
            Kind::Lock { source } => Some(source),
            _ => None,
        }
    }

    /// The failure of a barrier, if that is what this error is.
    pub fn barrier(&self) -> Option<&BrokenBarrierError> {
        match &*self.kind {
            Kind::Barrier { source } => Some(source),
            _ => None,
        }
    }

    /// The failure of a queue or channel, if that is what this error is; what could not be put is not in it.
    pub fn queue(&self) -> Option<&GetError> {
        match &*self.kind {
            Kind::Queue { source } => Some(source),
            _ => None,
        }
    }

    /// The failure of a connection to another program, if that is what this error is.
    #[cfg(feature = "remote")]
    pub fn connection(&self) -> Option<&ConnectionError> {
        match &*self.kind {
            Kind::Connection { source } => Some(source),
            _ => None,
        }
    }

    /// The failure of a call of a manager's object, if that is what this error is.
    pub fn manager(&self) -> Option<&ManagerError> {
        match &*self.kind {
            Kind::Manager { source } => Some(source),
            _ => None,
        }
    }

    /// The failure of a task, if that is what this error is.
    pub fn task(&self) -> Option<&TaskError> {
        match &*self.kind {
            Kind::Task { source } | Kind::Initializer { source } => Some(source),
            _ => None,
        }
    }

    /// The failure of a process, if that is what this error is.
    pub fn process(&self) -> Option<&ProcessError> {
        match &*self.kind {
            Kind::Process { source } => Some(source),
            _ => None,
        }
    }

    /// The kind of the system's error, if that is what this error is.
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
            Kind::InvalidArgument { text } | Kind::Start { text } | Kind::SharedMemory { text } | Kind::Io { text, .. } => {
                f.write_str(text)
            }
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
            Kind::Terminated => f.write_str("the pool was terminated"),
            Kind::Cancelled => f.write_str("the call was cancelled"),
            Kind::Broken { cause } => write!(f, "the pool is broken: {cause}"),
            Kind::Lock { source } => source.fmt(f),
            Kind::Barrier { source } => source.fmt(f),
            Kind::Queue { source } => source.fmt(f),
            #[cfg(feature = "remote")]
            Kind::Connection { source } => source.fmt(f),
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

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal(signal) => {
                write!(f, "was killed by signal {signal}")?;
                match signal_name(signal) {
                    Some(name) => write!(f, " ({name})"),
                    None => Ok(()),
                }
            }
            Exit::Unknown => f.write_str("ended; how is unknown, since something else in this program reaped it"),
        }
    }
}

impl Exit {
    /// Whether a failed allocation may be behind it: Rust aborts then, others stumble over a null pointer.
    fn may_be_memory(self) -> bool {
        matches!(self, Exit::Signal(6 | 7 | 9 | 11))
    }

    /// What is probably behind it, to be appended to a message.
    fn hint(self) -> &'static str {
        match self {
            Exit::Signal(9) => "; if nobody sent it, the system was probably out of memory",
            Exit::Signal(7 | 11) => "; a stack overflow or a bad memory access",
            _ => "",
        }
    }
}

/// The names of the signals that end processes. `signal(7)`.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// A panic of user code, as plain data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Panic {
    pub(crate) message: String,
    /// `file:line:column`.
    pub(crate) location: Option<String>,
    /// Only if `RUST_BACKTRACE` asked for one.
    pub(crate) backtrace: Option<String>,
}

impl From<Panic> for TaskKind {
    fn from(Panic { message, location, backtrace }: Panic) -> TaskKind {
        TaskKind::Panicked { message, location, backtrace }
    }
}

/// Why one task has no result.
///
/// ```
/// use multiproc::Pool;
///
/// let pool = Pool::new(1)?;
/// let error = pool.apply(|x: i32| { assert!(x > 0, "too small"); x }, (-1,)).unwrap_err();
/// let task = error.task().unwrap();
/// assert!(task.is_panic());
/// assert_eq!(task.message(), Some("too small"));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct TaskError {
    inner: Box<TaskInner>,
}

#[derive(Clone, Serialize, Deserialize)]
struct TaskInner {
    kind: TaskKind,
    function: String,
    index: u64,
    worker: Option<i32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum TaskKind {
    Panicked { message: String, location: Option<String>, backtrace: Option<String> },
    Failed { source: RemoteError },
    WorkerLost { exit: Exit, reason: Option<String>, memory: Option<u64>, output: Option<String> },
    TimedOut { limit: Duration },
    Cancelled,
    Decode { text: String },
    Encode { text: String },
    Terminated,
    NotRunning,
    Broken { cause: String },
    InvalidArgument { text: String },
    Deadlock,
}

impl TaskError {
    #[cold]
    pub(crate) fn new(kind: TaskKind, function: &str, index: u64, worker: Option<i32>) -> TaskError {
        TaskError { inner: Box::new(TaskInner { kind, function: function.to_owned(), index, worker }) }
    }

    /// The name of the function, as `std::any::type_name` gives it.
    pub fn function(&self) -> &str {
        &self.inner.function
    }

    /// The number of the task in its call, from 0; 0 for `apply`.
    pub fn index(&self) -> u64 {
        self.inner.index
    }

    /// The process id of the worker that ran it, if one did.
    pub fn worker(&self) -> Option<i32> {
        self.inner.worker
    }

    /// Whether the function panicked. The worker lives on.
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Panicked { .. })
    }

    /// Whether the function of a `try_` call returned an `Err`; [`source`](std::error::Error::source) is then a
    /// [`RemoteError`].
    pub fn is_error(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Failed { .. })
    }

    /// Whether the worker process died while it ran this task: killed, out of memory, `exit`, `abort`.
    pub fn is_worker_lost(&self) -> bool {
        matches!(self.inner.kind, TaskKind::WorkerLost { .. })
    }

    /// Whether the argument or the result could not be serialised.
    pub fn is_encode(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Encode { .. })
    }

    /// Whether the argument or the result could not be deserialised.
    pub fn is_decode(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Decode { .. })
    }

    /// Whether it did not end within its time limit; the worker was stopped and replaced.
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, TaskKind::TimedOut { .. })
    }

    /// Whether it was cancelled before it had begun: by [`AsyncResult::cancel`](crate::AsyncResult::cancel), or since
    /// another task of a call with [`Call::fail_fast`](crate::Call::fail_fast) has failed.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Cancelled)
    }

    /// Whether the pool was terminated before the task had a result.
    pub fn is_terminated(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Terminated)
    }

    /// Whether the pool had been closed, so that the task was not even queued.
    pub fn is_not_running(&self) -> bool {
        matches!(self.inner.kind, TaskKind::NotRunning)
    }

    /// Whether the call was refused for an argument or an option that makes no sense.
    pub fn is_invalid_argument(&self) -> bool {
        matches!(self.inner.kind, TaskKind::InvalidArgument { .. })
    }

    /// Whether the pool gave up before the task had a result, since its workers could not be replaced.
    pub fn is_broken(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Broken { .. })
    }

    /// Whether the result was asked for in a callback that it waits for: see
    /// [`AsyncResult::callback`](crate::AsyncResult::callback).
    pub fn is_deadlock(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Deadlock)
    }

    /// The message of the panic.
    pub fn message(&self) -> Option<&str> {
        match &self.inner.kind {
            TaskKind::Panicked { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Where the function panicked: `file:line:column`.
    pub fn location(&self) -> Option<&str> {
        match &self.inner.kind {
            TaskKind::Panicked { location, .. } => location.as_deref(),
            _ => None,
        }
    }

    /// The backtrace of the panic, if `RUST_BACKTRACE` is set.
    pub fn backtrace(&self) -> Option<&str> {
        match &self.inner.kind {
            TaskKind::Panicked { backtrace, .. } => backtrace.as_deref(),
            _ => None,
        }
    }

    /// The signal that killed the worker.
    pub fn signal(&self) -> Option<i32> {
        match self.inner.kind {
            TaskKind::WorkerLost { exit: Exit::Signal(signal), .. } => Some(signal),
            _ => None,
        }
    }

    /// The last lines that the lost worker has written to stderr, if the pool was to read them: see
    /// [`PoolBuilder::capture_output`](crate::PoolBuilder::capture_output).
    pub fn output(&self) -> Option<&str> {
        match &self.inner.kind {
            TaskKind::WorkerLost { output, .. } => output.as_deref(),
            _ => None,
        }
    }

    /// The code with which the worker exited in the middle of the task.
    pub fn exit_code(&self) -> Option<i32> {
        match self.inner.kind {
            TaskKind::WorkerLost { exit: Exit::Code(code), .. } => Some(code),
            _ => None,
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskInner { kind, function, index, worker } = &*self.inner;
        write!(f, "task {index} of `{function}` ")?;
        match kind {
            TaskKind::Panicked { message, location, .. } => {
                write!(f, "panicked")?;
                if let Some(location) = location {
                    write!(f, " at {location}")?;
                }
                write!(f, ": {message}")
            }
            TaskKind::Failed { source } => write!(f, "failed: {source}"),
            TaskKind::WorkerLost { exit, reason, memory, .. } => {
                write!(f, "lost its worker: process {} ", worker.unwrap_or_default())?;
                if let Some(reason) = reason {
                    return write!(f, "wrote garbage into its link ({reason}) and was killed");
                }
                match memory {
                    Some(bytes) if exit.may_be_memory() => {
                        write!(f, "{exit}; its memory is limited to {} MiB more than a fresh worker has", bytes >> 20)
                    }
                    _ => write!(f, "{exit}{}", exit.hint()),
                }
            }
            TaskKind::TimedOut { limit } => write!(f, "did not end within its time limit of {limit:?}"),
            TaskKind::Cancelled => f.write_str("was cancelled"),
            TaskKind::Decode { text } => write!(f, "could not be deserialised: {text}"),
            TaskKind::Encode { text } => write!(f, "could not be serialised: {text}"),
            TaskKind::Terminated => f.write_str("has no result: the pool was terminated"),
            TaskKind::NotRunning => f.write_str("was not run: the pool was closed"),
            TaskKind::Broken { cause } => write!(f, "has no result: the pool is broken: {cause}"),
            TaskKind::InvalidArgument { text } => write!(f, "was not run: {text}"),
            TaskKind::Deadlock => f.write_str("has no result yet: the callback that asks for it has to end first"),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskError({self})")
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.inner.kind {
            TaskKind::Failed { source } => Some(source),
            _ => None,
        }
    }
}

/// An error that user code returned in another process: its text and the texts of its causes.
///
/// The error's own type stays behind in the worker; what crosses is plain data that always arrives.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct RemoteError {
    text: String,
    source: Option<Box<RemoteError>>,
}

impl RemoteError {
    /// Longest chain of causes that is kept; a cycle or an endless chain ends here.
    const MAX_DEPTH: usize = 32;

    pub(crate) fn new(error: &(dyn std::error::Error + 'static)) -> RemoteError {
        let mut texts = vec![error.to_string()];
        let mut next = error.source();
        while let Some(cause) = next.filter(|_| texts.len() < Self::MAX_DEPTH) {
            texts.push(cause.to_string());
            next = cause.source();
        }
        texts.into()
    }

    /// The texts, the outermost first.
    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |it| it.source.as_deref()).map(|it| it.text.as_str())
    }
}

// On the wire it is a flat list, so that no bytes from a worker can nest deeper than the parent's stack.
impl From<Vec<String>> for RemoteError {
    fn from(mut texts: Vec<String>) -> RemoteError {
        texts.truncate(Self::MAX_DEPTH);
        let last = RemoteError { text: texts.pop().unwrap_or_default(), source: None };
        texts.into_iter().rev().fold(last, |cause, text| RemoteError { text, source: Some(Box::new(cause)) })
    }
}

impl From<RemoteError> for Vec<String> {
    fn from(error: RemoteError) -> Vec<String> {
        error.texts().map(str::to_owned).collect()
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteError({})", self.texts().collect::<Vec<_>>().join(": "))
    }
}

impl std::error::Error for RemoteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

/// [`io::ErrorKind`] as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IoKind(io::ErrorKind);

const IO_KINDS: [io::ErrorKind; 17] = [
    io::ErrorKind::Other,
    io::ErrorKind::NotFound,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::NotConnected,
    io::ErrorKind::AddrInUse,
    io::ErrorKind::AddrNotAvailable,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::AlreadyExists,
    io::ErrorKind::WouldBlock,
    io::ErrorKind::InvalidInput,
    io::ErrorKind::InvalidData,
    io::ErrorKind::TimedOut,
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::OutOfMemory,
];

impl Serialize for IoKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let at = IO_KINDS.iter().position(|kind| *kind == self.0).unwrap_or(0);
        serializer.serialize_u8(u8::try_from(at).unwrap_or(0))
    }
}

impl<'de> Deserialize<'de> for IoKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<IoKind, D::Error> {
        let at = u8::deserialize(deserializer)?;
        Ok(IoKind(IO_KINDS.get(usize::from(at)).copied().unwrap_or(io::ErrorKind::Other)))
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

    #[test]
    fn a_chain_of_causes_crosses_as_text() {
        let inner = "x".parse::<i32>().unwrap_err();
        let outer = io::Error::new(io::ErrorKind::InvalidData, inner);
        let wrapped =
            Error::from(TaskError::new(TaskKind::Failed { source: RemoteError::new(&outer) }, "parse", 3, Some(42)));
        assert_eq!(wrapped.to_string(), "task 3 of `parse` failed: invalid digit found in string");
        let source = std::error::Error::source(&wrapped).unwrap();
        assert!(source.downcast_ref::<RemoteError>().is_some());
    }

    #[test]
    fn a_lost_worker_names_the_signal() {
        let error = TaskError::new(
            TaskKind::WorkerLost { exit: Exit::Signal(9), reason: None, memory: None, output: None },
            "f",
            7,
            Some(1234),
        );
        assert!(
            error
                .to_string()
                .starts_with("task 7 of `f` lost its worker: process 1234 was killed by signal 9 (SIGKILL)")
        );
        assert_eq!(error.signal(), Some(9));
    }
}
