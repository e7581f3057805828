//! The driver's seat: who has it, who waits for it, and the news that a driver has to hear.

use crate::engine::call::job::Job;
use crate::engine::launch::launcher::News;
use crate::ipc::spin::Spinner;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A driver that never gets to sleep looks after workers that do not get on every so many turns.
const LOOK_AFTER: u64 = 1024;

/// A driver that sleeps now and then does so once in this time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// News of a worker: its slot, the incarnation that is meant, and what has happened.
pub(crate) type WorkerNews = (usize, u64, News);

/// The driver's seat.
#[derive(Debug)]
pub(crate) struct Seat {
    /// A thread is driving, or the pool is being built. Set and unset under the core's lock, by the same thread; nobody
    /// else takes answers meanwhile, even while the lock is released.
    taken: bool,
    /// Calls whose threads wait for their condition variable, in the order in which they came: the first gets the seat
    /// next. A call is here once for each of its threads that wait.
    waiting: Vec<Arc<Job>>,
    /// Calls whose results a task takes, which waits. Each is told of the next change, and is not here any more then.
    #[cfg(feature = "stream")]
    polled: Vec<Arc<Job>>,
    /// What the reactor's thread has told and no driver has heard yet, oldest first.
    news: VecDeque<WorkerNews>,
    /// Turns of driving so far.
    turns: u64,
    /// When a driver that had slept has last looked after the workers.
    looked: Instant,
    /// Something has happened since the driver last went to sleep.
    pub(super) fresh: bool,
    pub(super) spinner: Spinner,
}

impl Seat {
    pub(super) fn new() -> Seat {
        let (waiting, news) = (Vec::new(), VecDeque::new());
        Seat {
            taken: false,
            waiting,
            #[cfg(feature = "stream")]
            polled: Vec::new(),
            news,
            turns: 0,
            looked: Instant::now(),
            fresh: false,
            spinner: Spinner::new(),
        }
    }

    /// Whether a thread is driving.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Takes the seat, which was found free under the same lock.
    #[inline]
    pub(super) fn take(&mut self) -> Occupied {
        debug_assert!(!self.taken, "two drivers");
        self.taken = true;
        Occupied
    }

    /// Gives the seat back.
    #[inline]
    pub(super) fn leave(&mut self, occupied: Occupied) {
        std::mem::forget(occupied);
        self.taken = false;
    }

    /// Keeps the seat empty: while a pool is being built nothing is there to be driven.
    pub(super) fn close(&mut self) {
        self.taken = true;
    }

    /// Lets the next thread have it that asks.
    pub(super) fn open(&mut self) {
        self.taken = false;
    }

    /// Whether it is time, for a driver that has slept, to look after the workers.
    pub(super) fn is_time_to_look(&mut self, now: Instant) -> bool {
        let due = now - self.looked >= LOOK_EVERY;
        if due {
            self.looked = now;
        }
        due
    }

    /// Counts a turn. Returns whether it is time to look after the workers.
    #[inline]
    pub(super) fn count_turn(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        self.turns % LOOK_AFTER == 0
    }

    /// Gets in line for the seat.
    pub(super) fn line_up(&mut self, job: &Arc<Job>) {
        self.waiting.push(Arc::clone(job));
    }

    /// Leaves the line, once: several threads may wait for one call.
    pub(super) fn leave_line(&mut self, job: &Arc<Job>) {
        if let Some(at) = self.waiting.iter().position(|it| Arc::ptr_eq(it, job)) {
            self.waiting.remove(at);
        }
    }

    /// The call whose thread gets the seat next.
    pub(super) fn first_in_line(&self) -> Option<&Arc<Job>> {
        self.waiting.first()
    }

    /// Wakes all threads in line, so that they look whether there is room for more of their input.
    #[inline]
    pub(super) fn wake_line(&mut self) {
        for job in &self.waiting {
            job.changed.notify_all();
        }
        #[cfg(feature = "stream")]
        self.polled.drain(..).for_each(|job| job.wake());
    }

    /// Has the task that takes the results of a call told of the next change.
    #[cfg(feature = "stream")]
    pub(super) fn poll(&mut self, job: &Arc<Job>) {
        if !self.polled.iter().any(|it| Arc::ptr_eq(it, job)) {
            self.polled.push(Arc::clone(job));
        }
    }

    /// Keeps news for the driver.
    pub(super) fn tell(&mut self, news: WorkerNews) {
        self.news.push_back(news);
    }

    #[inline]
    pub(super) fn next_news(&mut self) -> Option<WorkerNews> {
        self.news.pop_front()
    }

    #[inline]
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }
}

/// Held by the thread that drives. Dropped only by a panic in the driving itself, which nothing survives in order: better no
/// pool than half a pool.
#[must_use]
pub(super) struct Occupied;

impl Drop for Occupied {
    fn drop(&mut self) {
        eprintln!("multiproc: a thread panicked while it was driving a pool; this is a bug in multiproc");
        std::process::abort();
    }
}
