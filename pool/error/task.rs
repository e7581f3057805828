//! [`TaskError`]: why a task has no result.

#[cfg(doc)]
use super::RemoteError;
use super::{Death, Earlier, Exit, Failure, Panic};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

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
    earlier: Earlier,
    /// The machine of the worker, if that is another one.
    host: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum TaskKind {
    Failure(Failure),
    WorkerLost {
        death: Death,
        reason: Option<String>,
        memory: Option<u64>,
        /// Its node was to end, and killed it when its time was over.
        is_drained: bool,
        output: Option<String>,
    },
    /// The machine of the worker, or the way there, and with it the account of what ran.
    NodeLost {
        cause: String,
    },
    TimedOut {
        limit: Duration,
    },
    Cancelled,
    Terminated,
    NotRunning,
    Broken {
        cause: String,
    },
    InvalidArgument {
        text: String,
    },
    Checkpoint {
        text: String,
    },
    Deadlock,
}

impl From<Failure> for TaskKind {
    fn from(failure: Failure) -> TaskKind {
        TaskKind::Failure(failure)
    }
}

impl TaskError {
    #[cold]
    pub(crate) fn new(kind: TaskKind, function: &str, index: u64, worker: Option<i32>) -> TaskError {
        let earlier = Earlier::default();
        let function = function.to_owned();
        TaskError { inner: Box::new(TaskInner { kind, function, index, worker, host: None, earlier }) }
    }

    /// The error of the last run of a task that was run before, and has failed each time.
    pub(crate) fn after(mut self, earlier: Earlier) -> TaskError {
        self.inner.earlier = earlier;
        self
    }

    pub(crate) fn kind(&self) -> &TaskKind {
        &self.inner.kind
    }

    /// The same error, of a worker on that machine; `None` = on this one.
    pub(crate) fn on(mut self, host: Option<&str>) -> TaskError {
        self.inner.host = host.map(str::to_owned);
        self
    }

    /// Returns the name of the function, as `std::any::type_name` gives it.
    pub fn function(&self) -> &str {
        &self.inner.function
    }

    /// Returns the number of the task in its call, from 0; 0 for `apply`.
    pub fn index(&self) -> u64 {
        self.inner.index
    }

    /// Returns the process id of the worker that ran the task, if one did.
    pub fn worker(&self) -> Option<i32> {
        self.inner.worker
    }

    /// Returns how the task has failed before: one error for each time it was run again ([`Call::retry`](crate::Call::retry)),
    /// the first run first, and at most 100. This error is that of the last run.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let results = pool.tasks(|x: u32| 12 / x, [0]).retries(2).each();
    /// assert_eq!(results[0].as_ref().unwrap_err().earlier_attempts().len(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn earlier_attempts(&self) -> &[TaskError] {
        self.inner.earlier.errors()
    }

    /// Returns the name of the machine on which the worker ran the task, if that is another one than this, or was reached as
    /// another one is.
    pub fn host(&self) -> Option<&str> {
        self.inner.host.as_deref()
    }

    /// Returns whether the task may have had effects, in part or as a whole: not if it is known that it was never begun.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// let lost = pool.apply(|| std::process::abort(), ()).map(|(): ()| ()).unwrap_err();
    /// assert!(lost.task().unwrap().may_have_run());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn may_have_run(&self) -> bool {
        match &self.inner.kind {
            TaskKind::Failure(Failure::Panicked(_) | Failure::Failed { .. } | Failure::Decode { .. })
            | TaskKind::WorkerLost { .. }
            | TaskKind::NodeLost { .. }
            | TaskKind::TimedOut { .. }
            | TaskKind::Terminated
            | TaskKind::Checkpoint { .. }
            | TaskKind::Broken { .. } => true,
            // A worker encodes results, and whoever calls the arguments.
            TaskKind::Failure(Failure::Encode { .. }) => self.inner.worker.is_some(),
            TaskKind::Cancelled | TaskKind::NotRunning | TaskKind::InvalidArgument { .. } | TaskKind::Deadlock => false,
        }
    }

    /// Returns whether the function panicked. The worker lives on.
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Failure(Failure::Panicked(_)))
    }

    /// Returns whether the function of a fallible call returned an `Err`; [`source`](std::error::Error::source) is
    /// then a [`RemoteError`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let results = pool.tasks(|text: String| text.parse::<u8>(), ["1", "x"].map(String::from)).fallible().each();
    /// assert!(results[0].is_ok() && results[1].as_ref().unwrap_err().is_error());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn is_error(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Failure(Failure::Failed { .. }))
    }

    /// Returns whether the worker process died while it ran this task: killed, out of memory, `exit`, `abort`.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let results = pool.map_each(|x: u32| if x == 1 { std::process::exit(3) } else { x }, 0..3);
    /// let lost = results[1].as_ref().unwrap_err();
    /// assert!(lost.is_worker_lost() && lost.exit_code() == Some(3));
    /// assert!(results[0].is_ok() && results[2].is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn is_worker_lost(&self) -> bool {
        matches!(self.inner.kind, TaskKind::WorkerLost { .. } | TaskKind::NodeLost { .. })
    }

    /// Returns whether the argument or the result could not be serialised.
    pub fn is_encode(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Failure(Failure::Encode { .. }))
    }

    /// Returns whether the argument or the result could not be deserialised.
    pub fn is_decode(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Failure(Failure::Decode { .. }))
    }

    /// Returns whether the task did not end within its time limit; the pool has stopped and replaced its worker.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    /// let results = pool.tasks(sleep, [1, 60_000]).timeout(Duration::from_millis(200)).each();
    /// assert!(results[0].is_ok() && results[1].as_ref().unwrap_err().is_timeout());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, TaskKind::TimedOut { .. })
    }

    /// Returns whether the task was cancelled before it had begun: by
    /// [`AsyncResult::cancel`](crate::AsyncResult::cancel), or because another task of a call with
    /// [`Call::fail_fast`](crate::Call::fail_fast) has failed, because its pool was drained ([`Pool::drain`](crate::Pool::drain)),
    /// or because the only worker that might run it is gone.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Cancelled)
    }

    /// Returns whether the pool was terminated before the task had a result.
    pub fn is_terminated(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Terminated)
    }

    /// Returns whether the pool had been closed, so that the task was not even queued.
    pub fn is_not_running(&self) -> bool {
        matches!(self.inner.kind, TaskKind::NotRunning)
    }

    /// Returns whether the call was refused for an argument or an option that makes no sense.
    pub fn is_invalid_argument(&self) -> bool {
        matches!(self.inner.kind, TaskKind::InvalidArgument { .. })
    }

    /// Returns whether the call ended since its file cannot be used, or not any further: see
    /// [`Call::checkpoint`](crate::Call::checkpoint).
    pub fn is_checkpoint(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Checkpoint { .. })
    }

    /// Returns whether the pool gave up before the task had a result, since its workers could not be replaced.
    pub fn is_broken(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Broken { .. })
    }

    /// Returns whether the result was asked for in a callback that it waits for: see
    /// [`AsyncResult::callback`](crate::AsyncResult::callback).
    pub fn is_deadlock(&self) -> bool {
        matches!(self.inner.kind, TaskKind::Deadlock)
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.inner.kind {
            TaskKind::Failure(failure) => Some(failure),
            _ => None,
        }
    }

    /// Returns what the function has said: the message of its panic, or the text of the `Err` that it returned. The causes of
    /// an `Err` are behind [`source`](std::error::Error::source).
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let errors = pool.tasks(|text: String| text.parse::<u8>(), ["x".to_owned()]).fallible().each();
    /// assert_eq!(errors[0].as_ref().unwrap_err().message(), Some("invalid digit found in string"));
    /// let errors = pool.map_each(|x: i32| 12 / x, [0]);
    /// assert_eq!(errors[0].as_ref().unwrap_err().message(), Some("attempt to divide by zero"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn message(&self) -> Option<&str> {
        self.failure()?.message()
    }

    /// Returns where the function panicked: `file:line:column`.
    pub fn location(&self) -> Option<&str> {
        self.failure()?.panic()?.location.as_deref()
    }

    /// Returns the calls that led to the end of the task, the last one first: of a panic, if `RUST_BACKTRACE` is set; of a
    /// crash of the worker (a bad memory access, a stack overflow, `abort` ..), with the feature `backtrace`.
    ///
    /// The names of the functions of a crash are looked up at the first call, which reads the debug information of this
    /// program.
    pub fn backtrace(&self) -> Option<&str> {
        match self.death() {
            Some(death) => death.backtrace(),
            None => self.failure()?.panic()?.backtrace.as_deref(),
        }
    }

    /// How the worker died that ran the task.
    fn death(&self) -> Option<&Death> {
        match &self.inner.kind {
            TaskKind::WorkerLost { death, .. } => Some(death),
            _ => None,
        }
    }

    /// Returns whether the worker that ran the task died since there was no memory: an allocation failed, at
    /// [`PoolBuilder::memory_limit`](crate::PoolBuilder::memory_limit) say, or the kernel has counted that it killed a
    /// process of this control group for that reason.
    ///
    /// It is told of a worker only if there is a proof: for a failed allocation the names of functions, with the feature
    /// `backtrace` and a program that has symbols, or the allocator's message on stderr, with
    /// [`PoolBuilder::capture_output`](crate::PoolBuilder::capture_output).
    pub fn is_out_of_memory(&self) -> bool {
        self.inner.is_out_of_memory()
    }

    /// Returns the signal that killed the worker.
    pub fn signal(&self) -> Option<i32> {
        match self.death()?.exit {
            Exit::Signal(signal) => Some(signal),
            _ => None,
        }
    }

    /// What the task did, or what was done to it, without the runs before.
    pub(crate) fn reason(&self) -> impl fmt::Display {
        Reason(&self.inner)
    }

    /// What it has in common with other failures of one cause: nothing of the item, nor of the process. Looks nothing up.
    pub(crate) fn cause(&self) -> String {
        match &self.inner.kind {
            TaskKind::Failure(Failure::Panicked(Panic { location: Some(location), .. })) => {
                format!("panic at {location}")
            }
            TaskKind::Failure(failure) => failure.to_string(),
            TaskKind::WorkerLost { death, .. } => {
                let crash = death.crash.as_ref().map(|crash| crash.cause.to_string()).unwrap_or_default();
                format!("{} {crash}", death.exit)
            }
            TaskKind::TimedOut { .. } => "timeout".to_owned(),
            TaskKind::Cancelled => "cancelled".to_owned(),
            kind => format!("{kind:?}"),
        }
    }

    /// Returns the last lines that the lost worker has written to stderr, if the pool reads them: see
    /// [`PoolBuilder::capture_output`](crate::PoolBuilder::capture_output).
    pub fn output(&self) -> Option<&str> {
        match &self.inner.kind {
            TaskKind::WorkerLost { output, .. } => output.as_deref(),
            _ => None,
        }
    }

    /// Returns the code with which the worker exited in the middle of the task.
    pub fn exit_code(&self) -> Option<i32> {
        match self.death()?.exit {
            Exit::Code(code) => Some(code),
            _ => None,
        }
    }
}

/// So many earlier runs are shown; [`TaskError::earlier_attempts`] has more.
const SHOWN: usize = 8;

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskInner { function, index, earlier, host, .. } = &*self.inner;
        write!(f, "task {index} of `{function}` ")?;
        if let Some(host) = host {
            write!(f, "on {host} ")?;
        }
        self.inner.write_reason(f)?;
        if earlier.runs() == 0 {
            return Ok(());
        }
        write!(f, "; it was set aside after {} attempts: before this one it ", earlier.runs().saturating_add(1))?;
        for (place, attempt) in earlier.errors().iter().take(SHOWN).enumerate() {
            f.write_str(if place > 0 { "; " } else { "" })?;
            attempt.inner.write_reason(f)?;
        }
        f.write_str(if earlier.runs() > SHOWN as u64 { "; and so on" } else { "" })
    }
}

/// The part of the text that says what happened.
struct Reason<'a>(&'a TaskInner);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_reason(f)
    }
}

/// How the message begins with which Rust's allocation failures end a program.
pub(crate) const FAILED_ALLOCATION: &str = "memory allocation of ";

impl TaskInner {
    fn is_out_of_memory(&self) -> bool {
        let TaskKind::WorkerLost { death, output, .. } = &self.kind else { return false };
        let is_said = |output: &String| output.lines().any(|line| line.starts_with(FAILED_ALLOCATION));
        death.is_out_of_memory() || death.exit == Exit::Signal(6) && output.as_ref().is_some_and(is_said)
    }

    /// Writes what the task did, or what was done to it.
    fn write_reason(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TaskKind::Failure(failure) => write!(f, "{failure}"),
            TaskKind::WorkerLost { death, reason, memory, is_drained, .. } => {
                write!(f, "lost its worker: process {} ", self.worker.unwrap_or_default())?;
                if let Some(reason) = reason {
                    return write!(f, "wrote garbage into its link ({reason}) and was killed");
                }
                let exit = death.exit;
                if *is_drained {
                    return write!(
                        f,
                        "{exit}, since its node was to end, and it had not ended within the grace period"
                    );
                }
                write!(f, "{exit}{}", death.why())?;
                match memory {
                    Some(bytes) if self.is_out_of_memory() => {
                        write!(f, "; its memory is limited to {} MiB more than a fresh worker has", bytes >> 20)
                    }
                    _ => Ok(()),
                }
            }
            TaskKind::NodeLost { cause } => write!(f, "was lost with its node, and may have run: {cause}"),
            TaskKind::TimedOut { limit } => write!(f, "did not end within its time limit of {limit:?}"),
            TaskKind::Cancelled => f.write_str("was cancelled"),
            TaskKind::Terminated => f.write_str("has no result: the pool was terminated"),
            TaskKind::NotRunning => f.write_str("was not run: the pool was closed"),
            TaskKind::Broken { cause } => write!(f, "has no result: the pool is broken: {cause}"),
            TaskKind::InvalidArgument { text } => write!(f, "was not run: {text}"),
            TaskKind::Checkpoint { text } => write!(f, "has no result: {text}"),
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
        self.failure()?.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, RemoteError};
    use std::io;

    #[test]
    fn a_chain_of_causes_crosses_as_text() {
        let inner = "x".parse::<i32>().unwrap_err();
        let outer = io::Error::new(io::ErrorKind::InvalidData, inner);
        let wrapped = Error::from(TaskError::new(
            Failure::Failed { source: RemoteError::new(&outer) }.into(),
            "parse",
            3,
            Some(42),
        ));
        assert_eq!(wrapped.to_string(), "task 3 of `parse` failed: invalid digit found in string");
        let source = std::error::Error::source(&wrapped).unwrap();
        assert!(source.downcast_ref::<RemoteError>().is_some());
    }

    #[test]
    fn a_lost_worker_names_the_signal() {
        let error = TaskError::new(
            TaskKind::WorkerLost {
                death: Exit::Signal(9).into(),
                reason: None,
                memory: None,
                is_drained: false,
                output: None,
            },
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
