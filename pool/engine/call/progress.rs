//! Telling how far a call has come, at a bounded rate and never under the core's lock.

use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How far a call has come, for [`Call::progress`](crate::Call::progress).
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

    /// `count` tasks have an outcome.
    pub(crate) fn settled(&self, count: u64) {
        self.done.fetch_add(count, Relaxed);
    }

    /// There are `total` tasks, and no more.
    pub(crate) fn set_total(&self, total: u64) {
        let _ = self.total.set(total);
    }

    /// Returns whether it is time to tell; the next time is counted from now then.
    pub(crate) fn is_due(&self) -> bool {
        let (at, _) = &mut *self.last.lock();
        let due = at.elapsed() >= INTERVAL;
        if due {
            *at = Instant::now();
        }
        due
    }

    /// Returns whether it is time to have it told where callbacks run, and [`Reporter::tell_queued`] is not on its way yet.
    pub(crate) fn queue(&self) -> bool {
        self.is_due() && !self.queued.swap(true, Relaxed)
    }

    /// Tells what was queued. Runs user code.
    pub(crate) fn tell_queued(&self) {
        self.queued.store(false, Relaxed);
        self.tell(self.total.get().copied());
    }

    /// Tells, unless just that was told already. Runs user code.
    pub(crate) fn tell(&self, total: Option<u64>) {
        let progress = Progress { done: self.done.load(Relaxed), failed: self.failed.load(Relaxed), total };
        if self.last.lock().1.replace(progress) != Some(progress) {
            (self.listener.0)(progress);
        }
    }
}
