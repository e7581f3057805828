//! What happens to the workers of a pool, and who is told.

use crate::engine::callbacks;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What has happened to a worker of a pool: what [`PoolBuilder::on_worker`](crate::PoolBuilder::on_worker) is told.
///
/// `worker` is the number of the worker, counted from 0 ([`worker_number`](crate::worker_number)), `pid` its process; threads
/// have none.
///
/// For each worker come `Started`, then `Ready`, then `Left` or `Died`; a worker that does not become ready has no `Ready`,
/// and what cannot even be started has only `Died`, without a process. `Replaced` comes directly behind `Ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEvent {
    /// Its process exists.
    #[non_exhaustive]
    Started {
        /// The number of the worker.
        worker: usize,
        /// Its process.
        pid: Option<i32>,
    },
    /// It takes tasks: initializer and state are done.
    #[non_exhaustive]
    Ready {
        /// The number of the worker.
        worker: usize,
        /// Its process.
        pid: Option<i32>,
        /// How long that took.
        startup: Duration,
    },
    /// It takes the place of a worker that has left or died.
    #[non_exhaustive]
    Replaced {
        /// The number of both workers.
        worker: usize,
        /// The process of the new worker.
        pid: Option<i32>,
        /// The process of the worker before.
        before: i32,
    },
    /// It was told to leave, and has left.
    #[non_exhaustive]
    Left {
        /// The number of the worker.
        worker: usize,
        /// Its process.
        pid: Option<i32>,
        /// Why it was told, as text: `it has had its share of tasks`.
        cause: String,
    },
    /// It has ended without being told.
    #[non_exhaustive]
    Died {
        /// The number of the worker.
        worker: usize,
        /// Its process.
        pid: Option<i32>,
        /// The code with which it exited, if it did.
        exit_code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
        /// What is known of the cause, as text: `was killed by signal 9 (SIGKILL)`.
        cause: String,
    },
}

impl WorkerEvent {
    /// Returns the number of the worker, counted from 0.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    ///
    /// let (tell, told) = channel();
    /// let pool = multiproc::Pool::builder().processes(1).on_worker(move |event| drop(tell.send(event.clone()))).build()?;
    /// assert_eq!(told.recv().unwrap().worker(), 0);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn worker(&self) -> usize {
        match *self {
            WorkerEvent::Started { worker, .. }
            | WorkerEvent::Ready { worker, .. }
            | WorkerEvent::Replaced { worker, .. }
            | WorkerEvent::Left { worker, .. }
            | WorkerEvent::Died { worker, .. } => worker,
        }
    }

    /// Returns the process id of the worker; `None` for a thread, and for a process that could not be started.
    pub fn pid(&self) -> Option<i32> {
        match *self {
            WorkerEvent::Started { pid, .. }
            | WorkerEvent::Ready { pid, .. }
            | WorkerEvent::Replaced { pid, .. }
            | WorkerEvent::Left { pid, .. }
            | WorkerEvent::Died { pid, .. } => pid,
        }
    }
}

impl fmt::Display for WorkerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.worker())?;
        if let Some(pid) = self.pid() {
            write!(f, " (process {pid})")?;
        }
        match self {
            WorkerEvent::Started { .. } => f.write_str(" was started"),
            WorkerEvent::Ready { startup, .. } => write!(f, " is ready after {startup:.1?}"),
            WorkerEvent::Replaced { before, .. } => write!(f, " replaces process {before}"),
            WorkerEvent::Left { cause, .. } => write!(f, " has left: {cause}"),
            WorkerEvent::Died { cause, .. } => write!(f, " has died: {cause}"),
        }
    }
}

/// The function of the user that is told.
#[derive(Clone)]
pub(crate) struct WorkerHook(Arc<dyn Fn(&WorkerEvent) + Send + Sync>);

impl WorkerHook {
    pub(crate) fn new(f: impl Fn(&WorkerEvent) + Send + Sync + 'static) -> WorkerHook {
        WorkerHook(Arc::new(f))
    }

    /// Has it told, on the thread where callbacks run.
    pub(crate) fn tell(&self, event: WorkerEvent) {
        let WorkerHook(hook) = self.clone();
        callbacks::post(move || hook(&event));
    }
}

impl fmt::Debug for WorkerHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerHook(..)")
    }
}
