//! Telling how far a call has come, at a bounded rate and never under the core's lock.

use crate::engine::call::job::Job;
use crate::engine::callbacks::{self, Callback};
use crate::engine::core::state::Core;
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How far a call has come, for [`Job::progress`](crate::Job::progress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Tasks that have an outcome.
    pub done: u64,
    /// Those of them that have failed.
    pub failed: u64,
    /// How many tasks there are. `None` if the input does not know; and not more than a bound as long as the input does
    /// not know better ([`Iterator::size_hint`]).
    pub total: Option<u64>,
}

/// At least so much time lies between two reports.
const INTERVAL: Duration = Duration::from_millis(50);

/// What is to be called.
#[derive(Clone)]
pub(crate) struct Listener(pub(crate) Arc<dyn Fn(Progress) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// How far one call has come.
#[derive(Debug)]
pub(crate) struct Reporter {
    listener: Listener,
    done: AtomicU64,
    failed: AtomicU64,
    /// How many tasks there are, for a call that was handed in whole.
    total: OnceLock<u64>,
    /// When it was last told, and what was told.
    last: Mutex<(Instant, Option<Progress>)>,
    /// It is about to be told where callbacks run.
    queued: AtomicBool,
}

impl Reporter {
    pub(crate) fn new(listener: Listener) -> Reporter {
        Reporter {
            listener,
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            total: OnceLock::new(),
            last: Mutex::new((Instant::now(), None)),
            queued: AtomicBool::new(false),
        }
    }

    /// One of the tasks that have an outcome, or will be counted as such at once, has failed.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// A task has failed before it became part of any frame.
    pub(crate) fn refused(&self) {
        self.failed();
        self.done.fetch_add(1, Relaxed);
    }

    /// Whether it is time to tell; the next time is counted from now then.
    fn is_due(&self) -> bool {
        let (at, _) = &mut *self.last.lock();
        let due = at.elapsed() >= INTERVAL;
        if due {
            *at = Instant::now();
        }
        due
    }

    /// Tells, unless just that was told already. Runs code of the user's.
    fn tell(&self, total: Option<u64>) {
        let progress = Progress { done: self.done.load(Relaxed), failed: self.failed.load(Relaxed), total };
        if self.last.lock().1.replace(progress) != Some(progress) {
            (self.listener.0)(progress);
        }
    }
}

/// A call whose caller feeds it: tells if it is time, or at the `end`. `total` is the number of tasks, if known.
pub(crate) fn tell(core: &mut MutexGuard<'_, Core>, job: &Job, end: bool, total: impl FnOnce() -> Option<u64>) {
    if let Some(reporter) = job.reporter.as_ref().filter(|reporter| reporter.is_due() || end) {
        MutexGuard::unlocked(core, || reporter.tell(total()));
    }
}

/// A call that nobody waits in has `total` tasks: its progress is told where callbacks run, for the last time at its end.
pub(crate) fn tell_later(job: &Arc<Job>, total: u64) {
    let Some(reporter) = &job.reporter else { return };
    let _ = reporter.total.set(total);
    let later = Arc::clone(job);
    // It was just made, and is not complete yet.
    let _ = job.when_complete(Box::new(move || {
        if let Some(reporter) = &later.reporter {
            reporter.tell(reporter.total.get().copied());
        }
    }));
}

/// `count` tasks of a call have an outcome.
pub(crate) fn settled(job: &Arc<Job>, count: u64) {
    let Some(reporter) = &job.reporter else { return };
    reporter.done.fetch_add(count, Relaxed);
    if job.is_submitted() && reporter.is_due() && !reporter.queued.swap(true, Relaxed) {
        let later = Arc::clone(job);
        let callback: Callback = Box::new(move || {
            if let Some(reporter) = &later.reporter {
                reporter.queued.store(false, Relaxed);
                reporter.tell(reporter.total.get().copied());
            }
        });
        callbacks::send([callback]);
    }
}
