//! A job: one call of the pool, from its first task to its last result.

use crate::codec::Packed;
use crate::engine::call::checkpoint::Checkpoint;
use crate::engine::call::chunk::{self, Pace};
use crate::engine::call::job_stats::Clock;
use crate::engine::call::progress::{Listener, Reporter};
use crate::engine::call::retry::Retry;
use crate::engine::call::submission::Submission;
use crate::engine::call::traceparent;
use crate::engine::callbacks::{self, Callback};
use crate::engine::watch::records::CallSpan;
use crate::engine::worker::work::Run;
use crate::error::{Earlier, Error, Failure, TaskError, TaskKind};
use crate::heap::scope::Pins;
use crate::identity::{Entry, FnRef};
use crate::ipc::link::Payload;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
#[cfg(feature = "stream")]
use std::task::Waker;
use std::time::Duration;

/// What a worker must know to run the tasks of a job: which function, and its context.
///
/// Calls of one function without context, trace and subscriber share one header.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) function: FnRef,
    pub(crate) name: &'static str,
    pub(crate) context: Option<Arc<Packed>>,
    /// Which trace the call belongs to.
    pub(crate) traceparent: Option<Arc<str>>,
    /// In which span the call was made.
    pub(crate) span: Option<Arc<CallSpan>>,
    /// The estimated time of one task in nanoseconds, as the bits of an `f64`; 0 = unknown. Changed under the core's
    /// lock only. All calls of one function without context share it.
    nanos: Arc<AtomicU64>,
}

impl Header {
    /// That of all calls of a function that have neither context nor trace.
    pub(crate) fn new(id: u64, entry: &'static Entry<Run>) -> Result<Header, Error> {
        let (function, nanos) = (FnRef::of(entry)?, Arc::default());
        Ok(Header { id, function, name: entry.name(), context: None, traceparent: None, span: None, nanos })
    }

    /// That of one call of the same function.
    pub(crate) fn of_one_call(
        &self,
        id: u64,
        context: Option<Arc<Packed>>,
        traceparent: Option<Arc<str>>,
        span: Option<Arc<CallSpan>>,
    ) -> Header {
        // What a function does with a context may take any time.
        let nanos = if context.is_none() { Arc::clone(&self.nanos) } else { Arc::default() };
        Header { id, function: self.function.clone(), name: self.name, context, traceparent, span, nanos }
    }

    /// Whether it is that of one call, and is to be forgotten with it.
    pub(crate) fn is_of_one_call(&self) -> bool {
        self.context.is_some() || self.traceparent.is_some() || self.span.is_some()
    }

    #[inline]
    pub(crate) fn nanos(&self) -> Option<f64> {
        match self.nanos.load(Relaxed) {
            0 => None,
            bits => Some(f64::from_bits(bits)),
        }
    }

    pub(crate) fn set_nanos(&self, nanos: f64) {
        self.nanos.store(nanos.to_bits(), Relaxed);
    }
}

/// What a call may be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Tasks per frame; by measurement if not given.
    pub(crate) chunksize: Option<usize>,
    /// How long one task may run.
    pub(crate) timeout: Option<Duration>,
    /// After how long a task is told to end.
    pub(crate) soft_timeout: Option<Duration>,
    /// Which tasks that have failed are run again; `None` if no task is.
    pub(crate) retry: Option<Retry>,
    /// The first failure ends the call.
    pub(crate) fail_fast: bool,
    /// Its items have keys.
    pub(crate) keyed: bool,
    /// Its tasks are handed out before those of calls with a lower one.
    pub(crate) priority: i8,
    /// The most tasks that may be under way or wait to be taken, for calls that are consumed piece by piece.
    pub(crate) buffersize: Option<usize>,
    /// Which trace it belongs to.
    pub(crate) traceparent: Option<Arc<str>>,
    /// In which span it was made.
    pub(crate) span: Option<Arc<CallSpan>>,
    /// The file that results are kept in.
    pub(crate) checkpoint: Option<Arc<Checkpoint>>,
    /// Who is told how far it has come.
    pub(crate) progress: Option<Listener>,
}

impl Options {
    /// Whether its tasks have a time limit, of whichever kind.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.timeout.is_some() || self.soft_timeout.is_some()
    }

    /// Refuses what no call can do. The one place for it: a call is described by chained methods that return no `Result`, so
    /// an absurd option is the error of the delivery.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Options { chunksize: Some(n), .. } if !(1..=chunk::MOST as usize).contains(n) => {
                Err(Error::invalid_argument(format!("the chunk size must be at least 1 and at most 2^30, not {n}")))
            }
            Options { traceparent: Some(text), .. } if !traceparent::is_valid(text) => {
                Err(Error::invalid_argument(format!("{text:?} is no W3C traceparent")))
            }
            Options { buffersize: Some(0), .. } => Err(Error::invalid_argument("the buffer must hold at least 1 item")),
            _ => Ok(()),
        }
    }
}

/// Why a job ends before all its tasks have ended.
#[derive(Clone, Debug)]
pub(crate) enum Halt {
    Terminated,
    Broken(String),
    /// By its caller, or after its first failure.
    Cancelled,
    /// Its checkpoint cannot be used any further.
    Checkpoint(String),
}

impl Halt {
    pub(crate) fn task_kind(&self) -> TaskKind {
        match self {
            Halt::Terminated => TaskKind::Terminated,
            Halt::Broken(cause) => TaskKind::Broken { cause: cause.clone() },
            Halt::Cancelled => TaskKind::Cancelled,
            Halt::Checkpoint(text) => TaskKind::Checkpoint { text: text.clone() },
        }
    }

    pub(crate) fn error(&self) -> Error {
        match self {
            Halt::Terminated => Error::terminated(),
            Halt::Broken(cause) => Error::broken(cause),
            Halt::Cancelled => Error::cancelled(),
            Halt::Checkpoint(text) => Error::checkpoint(text),
        }
    }
}

/// What is to become of a task that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The failure is its outcome.
    Settle,
    /// It is run again.
    Repeat,
    /// The program says which.
    Ask,
}

/// What arrived for a job while another thread was collecting: decoded by the job's own thread.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// With what the values refer to, kept until they were read.
    Values {
        first: u64,
        count: u32,
        payload: Payload,
        pins: Pins,
    },
    Failure {
        index: u64,
        error: TaskError,
    },
}

/// The place of a call that is not under way.
pub(crate) const NOWHERE: usize = usize::MAX;

/// One call of the pool.
pub(crate) struct Job {
    pub(crate) header: Arc<Header>,
    pub(crate) options: Options,
    /// Tasks that were handed in and have no outcome yet. Changed under the core's lock only.
    outstanding: AtomicU64,
    inbox: Mutex<Vec<Delivery>>,
    /// Whether there may be anything in the inbox: set with its lock held, and looked at before that is taken.
    delivered: AtomicBool,
    /// Why it ends before its time. Never unset.
    halted: OnceLock<Halt>,
    /// Nobody will ask for results.
    discard: AtomicBool,
    /// What has not begun will not, and no task is run again: its pool drains, or the program has cancelled it.
    drained: AtomicBool,
    /// Its thread has more input and found no room for it. Changed under the core's lock only.
    pub(crate) hungry: AtomicBool,
    /// Where it is among the calls under way, and whether it is in line to have its tasks handed in: see `core/queue.rs`.
    /// Changed under the core's lock only.
    pub(crate) place: AtomicUsize,
    pub(crate) in_line: AtomicBool,
    /// Of tasks that are run again: how each run before has failed. Changed under the core's lock only.
    attempts: Mutex<BTreeMap<u64, Earlier>>,
    /// What it has done so far.
    pub(crate) clock: Clock,
    submitted: bool,
    pub(crate) reporter: Option<Reporter>,
    /// Of a call that nobody waits in: the input that was not handed in yet. Taken under the core's lock only.
    pub(crate) submission: Mutex<Option<Submission>>,
    /// The task that takes its results one by one, and waits.
    #[cfg(feature = "stream")]
    waker: Mutex<Option<Waker>>,
    /// What is to be done when it is complete; `None` once it is.
    callbacks: Mutex<Option<Vec<Callback>>>,
    /// Waits with the core's lock: for an outcome, for room for more input, or for the driver's seat.
    pub(crate) changed: Condvar,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Job");
        out.field("function", &self.header.name).field("outstanding", &self.outstanding());
        out.field("halted", &self.halted()).finish_non_exhaustive()
    }
}

/// What the program has given it ends where callbacks run: the last to hold a call that nobody waits in may be who drives the
/// pool, under its lock, where no code of the program runs.
impl Drop for Job {
    fn drop(&mut self) {
        let given = (self.options.retry.take(), self.options.progress.take(), self.reporter.take());
        if self.submitted && (given.0.is_some() || given.1.is_some()) {
            callbacks::post(move || drop(given));
        }
    }
}

impl Job {
    pub(crate) fn new(header: Arc<Header>, options: Options, submission: Option<Submission>) -> Job {
        let reporter = options.progress.clone().map(Reporter::new);
        let clock = Clock::new(header.name);
        Job {
            header,
            options,
            outstanding: AtomicU64::new(0),
            inbox: Mutex::default(),
            delivered: AtomicBool::new(false),
            halted: OnceLock::new(),
            discard: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            hungry: AtomicBool::new(false),
            place: AtomicUsize::new(NOWHERE),
            in_line: AtomicBool::new(false),
            attempts: Mutex::default(),
            clock,
            submitted: submission.is_some(),
            reporter,
            submission: Mutex::new(submission),
            #[cfg(feature = "stream")]
            waker: Mutex::new(None),
            callbacks: Mutex::new(Some(Vec::new())),
            changed: Condvar::new(),
        }
    }

    /// How many tasks the next frame should have.
    pub(crate) fn chunk(&self, last: Option<u32>, left: Option<u64>, workers: usize) -> u32 {
        match self.options {
            // A task with a time limit is alone at its worker: stopping that must cost nobody else.
            _ if self.options.is_limited() => 1,
            // The next one may belong to another worker.
            Options { keyed: true, .. } => 1,
            Options { chunksize: Some(count), .. } => u32::try_from(count).unwrap_or(chunk::MOST),
            _ => chunk::size(self.header.nanos(), last, left, workers),
        }
    }

    /// How many frames of `count` tasks may wait at a worker that is `delay` nanoseconds away.
    pub(crate) fn depth(&self, count: u32, delay: f64) -> usize {
        if self.options.is_limited() { 1 } else { chunk::depth(self.header.nanos(), count, delay) }
    }

    /// How long a frame of `count` tasks takes a worker that is `delay` nanoseconds away.
    pub(crate) fn pace(&self, count: u32, delay: f64) -> Pace {
        if self.options.is_limited() { Pace::Long } else { chunk::pace(self.header.nanos(), count, delay) }
    }

    /// Whether it was handed in whole, and nobody waits in it.
    pub(crate) fn is_submitted(&self) -> bool {
        self.submitted
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding.load(Relaxed)
    }

    pub(crate) fn add_outstanding(&self, count: u64) {
        // Under the core's lock, so that nobody else is between the two steps.
        self.outstanding.store(self.outstanding() + count, Relaxed);
    }

    /// Counts `count` tasks as ended; whether these were the last.
    #[inline]
    pub(crate) fn settle(&self, count: u64) -> bool {
        let left = self.outstanding().saturating_sub(count);
        self.outstanding.store(left, Relaxed);
        left == 0
    }

    pub(crate) fn deliver(&self, delivery: Delivery) {
        if !self.discard.load(Relaxed) {
            let mut inbox = self.inbox.lock();
            inbox.push(delivery);
            self.delivered.store(true, Relaxed);
        }
    }

    /// Whether anything was delivered. The thread that asks has the core's lock, or has come by the job since: so it sees what
    /// was delivered before.
    #[inline]
    pub(crate) fn has_deliveries(&self) -> bool {
        self.delivered.load(Relaxed)
    }

    pub(crate) fn take_deliveries(&self) -> Vec<Delivery> {
        let mut inbox = self.inbox.lock();
        self.delivered.store(false, Relaxed);
        std::mem::take(&mut *inbox)
    }

    /// Nobody will ask for results any more.
    pub(crate) fn discard(&self) {
        self.discard.store(true, Relaxed);
        self.inbox.lock().clear();
    }

    /// Nothing of it begins any more.
    pub(crate) fn drain(&self) {
        self.drained.store(true, Relaxed);
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.drained.load(Relaxed)
    }

    /// Ends it before its time. Only the first reason counts.
    pub(crate) fn halt(&self, halt: Halt) {
        let _ = self.halted.set(halt);
        self.complete();
    }

    pub(crate) fn halted(&self) -> Option<Halt> {
        self.halted.get().cloned()
    }

    #[inline]
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.get().is_some()
    }

    /// All its tasks have an outcome, or will never have one: tells whoever waits for that.
    pub(crate) fn complete(&self) {
        if let Some(callbacks) = self.callbacks.lock().take() {
            if !callbacks.is_empty() {
                callbacks::send(callbacks);
            }
        }
        self.changed.notify_all();
        #[cfg(feature = "stream")]
        self.wake();
    }

    /// Has a task woken, once, when something changes for it. The one that was to be woken is given back: it is code of a
    /// runtime's.
    #[cfg(feature = "stream")]
    pub(crate) fn wake_later(&self, waker: Waker) -> Option<Waker> {
        self.waker.lock().replace(waker)
    }

    /// Wakes the task that waits, where callbacks run.
    #[cfg(feature = "stream")]
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.lock().take() {
            callbacks::post(move || waker.wake());
        }
    }

    /// Whether it is complete, for a call that nobody waits in.
    pub(crate) fn is_complete(&self) -> bool {
        self.callbacks.lock().is_none()
    }

    /// Has something done when it is complete; gives it back if it is already.
    pub(crate) fn when_complete(&self, callback: Callback) -> Result<(), Callback> {
        match &mut *self.callbacks.lock() {
            Some(callbacks) => {
                callbacks.push(callback);
                Ok(())
            }
            None => Err(callback),
        }
    }

    /// What is to become of a task that has failed with this error.
    pub(crate) fn verdict(&self, kind: &TaskKind, index: u64) -> Verdict {
        let pays = matches!(
            kind,
            TaskKind::Failure(Failure::Panicked(_) | Failure::Failed { .. })
                | TaskKind::WorkerLost { .. }
                | TaskKind::NodeLost { .. }
                | TaskKind::TimedOut { .. }
        );
        let goes_on = || !self.is_drained() && !self.is_halted();
        let Some(retry) = self.options.retry.as_ref().filter(|_| pays && goes_on()) else {
            return Verdict::Settle;
        };
        let before = self.attempts.lock().get(&index).map_or(0, Earlier::runs);
        if before >= u64::from(retry.times()) {
            Verdict::Settle
        } else if retry.asks() {
            Verdict::Ask
        } else {
            Verdict::Repeat
        }
    }

    /// Notes how a run of a task has failed that is run again. Returns the pause before that.
    pub(crate) fn note_attempt(&self, error: TaskError) -> Duration {
        let mut attempts = self.attempts.lock();
        let before = attempts.entry(error.index()).or_default();
        let pause = self.options.retry.as_ref().map_or(Duration::ZERO, |retry| retry.pause(before.runs()));
        before.add(error);
        pause
    }

    /// Tasks have a value: how they have failed before that does not matter any more.
    pub(crate) fn forget_attempts(&self, first: u64, count: u32) {
        let mut attempts = self.attempts.lock();
        if !attempts.is_empty() {
            (first..first + u64::from(count)).for_each(|index| drop(attempts.remove(&index)));
        }
    }

    /// How the runs of a task before its last one have failed. They are forgotten here: the task has its outcome.
    pub(crate) fn take_attempts(&self, index: u64) -> Earlier {
        self.attempts.lock().remove(&index).unwrap_or_default()
    }

    /// How often a task was begun, if it is begun now; `None` for the first time.
    #[inline]
    pub(crate) fn attempt(&self, index: u64) -> Option<u32> {
        self.options.retry.as_ref()?;
        self.later_attempt(index)
    }

    fn later_attempt(&self, index: u64) -> Option<u32> {
        let failed = self.attempts.lock().get(&index).map(Earlier::runs)?;
        Some(u32::try_from(failed + 1).unwrap_or(u32::MAX))
    }

    pub(crate) fn error(&self, kind: TaskKind, index: u64, worker: Option<i32>) -> TaskError {
        TaskError::new(kind, self.header.name, index, worker)
    }
}
