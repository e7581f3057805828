//! What a task may know and say of itself while it runs.

use crate::engine::watch::records::Running;
use crate::ipc::desk::Desk;
use crate::ipc::worker_end::WorkerEnd;
use crate::sys::time::Deadline;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    /// Of a thread that runs tasks.
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
    /// The number of the frame that this thread runs, and that of its first task in the call. What it stores for the frames is
    /// all that a task costs that does not ask.
    static FRAME: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// The trace that the call of this frame belongs to, if it belongs to one.
    static TRACEPARENT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// From now on this thread runs the tasks that come over a link.
pub(super) fn begin(link: &WorkerEnd) {
    DESK.set(link.desk());
}

/// Runs frames that come over a link on a thread that may be in a task of another one.
pub(crate) fn within<R>(link: &mut WorkerEnd, run: impl FnOnce(&mut WorkerEnd) -> R) -> R {
    let outer = (DESK.replace(link.desk()), FRAME.get(), TRACEPARENT.take());
    let result = run(link);
    DESK.set(outer.0);
    FRAME.set(outer.1);
    TRACEPARENT.set(outer.2);
    result
}

/// From now on this thread runs the tasks of the frame that came last.
#[inline]
pub(super) fn note_frame(link: &WorkerEnd, first: u64) {
    FRAME.set((link.seq(), first));
}

/// The tasks of this thread belong to a trace, until this is dropped.
pub(super) struct InTrace(Option<Arc<str>>);

impl Drop for InTrace {
    fn drop(&mut self) {
        TRACEPARENT.set(self.0.take());
    }
}

/// From now on the tasks of this thread belong to a trace.
#[cold]
pub(super) fn within_trace(traceparent: &Arc<str>) -> InTrace {
    InTrace(TRACEPARENT.replace(Some(Arc::clone(traceparent))))
}

/// The task that is running on this thread, for what it has to say.
pub(super) fn running() -> Option<Running> {
    let task = current_task()?;
    Some(Running::new((task.seq, task.at), task.index, task.attempt()))
}

/// Returns the task that is running on this thread: its number, whether anybody still waits for it, and what it may say of
/// itself; `None` where no task runs.
///
/// The value may be handed to other threads of the task.
///
/// ```
/// use multiproc::{Pool, current_task};
///
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.map(|_: char| current_task().unwrap().index(), ['a', 'b', 'c'])?, [0, 1, 2]);
/// assert!(current_task().is_none());
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn current_task() -> Option<CurrentTask> {
    let desk = DESK.with_borrow(Option::clone)?;
    let ((low, at), (seq, first)) = (desk.running()?, FRAME.get());
    // Otherwise nothing but a stray write has brought it there.
    (low == seq as u32).then(|| {
        let (index, traceparent) = (first.saturating_add(u64::from(at)), TRACEPARENT.with_borrow(Clone::clone));
        CurrentTask { desk, seq, at, index, traceparent }
    })
}

/// A task that runs, from [`current_task`].
///
/// ```
/// use multiproc::{Pool, current_task};
///
/// let work = |item: u64| {
///     let task = current_task().expect("a task runs");
///     for step in 0..10 {
///         task.progress(step, 10); // For `Pool::stats` and `multiproc-top`.
///         if task.is_cancelled() {
///             break;
///         }
///     }
///     (task.index(), task.attempt(), item)
/// };
/// assert_eq!(Pool::new(2)?.map(work, [30, 40])?, [(0, 1, 30), (1, 1, 40)]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone)]
pub struct CurrentTask {
    desk: Desk,
    seq: u64,
    at: u32,
    index: u64,
    traceparent: Option<Arc<str>>,
}

impl CurrentTask {
    /// Returns the number of the task in its call, from 0 on.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Returns how often the task was begun, this time included: more than 1 after a failure, with
    /// [`Call::retries`](crate::Call::retries). It counts up to 32,767.
    ///
    /// ```
    /// use multiproc::{Pool, current_task};
    ///
    /// let flaky = || match current_task().unwrap().attempt() {
    ///     3 => "at last".to_owned(),
    ///     _ => panic!("not yet"),
    /// };
    /// assert_eq!(Pool::new(1)?.task(flaky, ()).retries(2).run()?, "at last");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn attempt(&self) -> u32 {
        self.desk.attempt(self.seq)
    }

    /// Returns the trace that the call of the task belongs to, as the W3C header `traceparent`: that of the span in which the
    /// call was made, if [`PoolBuilder::traceparent`](crate::PoolBuilder::traceparent) or
    /// [`Call::traceparent`](crate::Call::traceparent) has said so.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Returns whether the task should end early: its soft time limit is over ([`Call::soft_timeout`]), its call was cancelled,
    /// or has failed with [`Call::fail_fast`], nobody waits for its result any more, or the pool was terminated. A task that
    /// has ended counts.
    ///
    /// It costs a look into memory. A task that ends early delivers its value as any other, if somebody waits for that.
    ///
    /// [`Call::soft_timeout`]: crate::Call::soft_timeout
    /// [`Call::fail_fast`]: crate::Call::fail_fast
    ///
    /// ```
    /// use multiproc::{Pool, current_task};
    ///
    /// let pool = Pool::new(1)?;
    /// let call = pool.apply_async(|| while !current_task().unwrap().is_cancelled() {}, ())?;
    /// call.cancel();
    /// // The worker is free again.
    /// assert_eq!(pool.apply(|| 1 + 1, ())?, 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.desk.is_cancelled(self.seq, self.at)
    }

    /// Waits until the task should end early, for at most `timeout`; whether that came true. In place of a sleep.
    ///
    /// ```
    /// use multiproc::{Pool, current_task};
    /// use std::time::Duration;
    ///
    /// let poll = || current_task().unwrap().cancelled_within(Duration::from_millis(10));
    /// assert!(!Pool::new(1)?.apply(poll, ())?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn cancelled_within(&self, timeout: Duration) -> bool {
        self.desk.wait_cancelled(self.seq, self.at, Deadline::after(timeout))
    }

    /// Waits until the task should end early: for a thread of the task that stops something else then.
    ///
    /// It returns when the task has ended, too.
    ///
    /// ```
    /// use multiproc::{Pool, current_task};
    /// use std::process::Command;
    /// use std::time::Duration;
    ///
    /// let run = || {
    ///     let (task, mut child) = (current_task().unwrap(), Command::new("sleep").arg("1000").spawn().unwrap());
    ///     task.cancelled();
    ///     child.kill().unwrap();
    ///     child.wait().unwrap().success()
    /// };
    /// let success = Pool::new(1)?.task(run, ()).soft_timeout(Duration::from_millis(50)).run()?;
    /// assert!(!success);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn cancelled(&self) {
        self.desk.wait_cancelled(self.seq, self.at, Deadline::NEVER);
    }

    /// Asks for more time: the time limit of the task is not over before `more` from now. Where it has a soft limit as well,
    /// that is as much earlier as before.
    ///
    /// A limit that is over already stays so, and one that is later anyway does not change.
    ///
    /// ```
    /// use multiproc::{Pool, current_task};
    /// use std::time::Duration;
    ///
    /// let work = |steps: u32| {
    ///     for _ in 0..steps {
    ///         current_task().unwrap().extend_deadline(Duration::from_secs(60));
    ///         std::thread::sleep(Duration::from_millis(50));
    ///     }
    ///     steps
    /// };
    /// assert_eq!(Pool::new(1)?.task(work, (10,)).timeout(Duration::from_millis(200)).run()?, 10);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn extend_deadline(&self, more: Duration) {
        if self.desk.is_running(self.seq, self.at) {
            self.desk.need(self.seq, self.at, more);
        }
    }

    /// Says how far the task is: `done` of `total`, in whatever unit. [`RunningTask::progress`](crate::RunningTask::progress)
    /// has it.
    ///
    /// It costs three writes to memory.
    pub fn progress(&self, done: u64, total: u64) {
        if self.desk.is_running(self.seq, self.at) {
            self.desk.set_progress(self.seq, self.at, done, total);
        }
    }
}

impl fmt::Debug for CurrentTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CurrentTask");
        out.field("index", &self.index).field("attempt", &self.attempt());
        out.field("is_cancelled", &self.is_cancelled()).finish()
    }
}
