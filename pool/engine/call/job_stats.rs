//! What the calls of a pool have done: how long their tasks took, and which were the slowest.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What one call of a pool has done so far, from [`PoolStats::jobs`](crate::PoolStats::jobs).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobStats {
    /// The name of its function.
    pub function: String,
    /// Whether it has ended.
    pub ended: bool,
    /// Tasks that workers have run to their end, be that a value or an error.
    pub tasks: u64,
    /// Tasks that were handed in and have no outcome yet. Of a call that reads its input as it goes on these are few.
    pub waiting: u64,
    /// How long workers have run them, together.
    pub busy: Duration,
    /// How long the call has lasted.
    pub elapsed: Duration,
    /// The slowest tasks, the slowest one first: three at most.
    pub slowest: Vec<SlowTask>,
}

/// One of the slowest tasks of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SlowTask {
    /// Its place among the items of the call. Of tasks that have travelled together: that of the first of them.
    pub index: u64,
    /// How long it took. Of tasks that have travelled together: their mean.
    pub time: Duration,
}

impl fmt::Display for JobStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobStats { function, ended, tasks, busy, elapsed, slowest, .. } = self;
        let state = if *ended { "ended after" } else { "running for" };
        write!(f, "{function}: {state} {elapsed:.1?}, {tasks} tasks in {busy:.1?}")?;
        if let Some(SlowTask { index, time }) = slowest.first() {
            write!(f, ", the slowest {time:.1?} (task {index})")?;
        }
        Ok(())
    }
}

/// What a call has done so far. Changed under the core's lock only, so the words need no order, and no step of their own between
/// reading and writing.
#[derive(Debug)]
pub(crate) struct Clock {
    function: &'static str,
    since: Instant,
    tasks: AtomicU64,
    /// In nanoseconds.
    busy: AtomicU64,
    /// A time of fewer nanoseconds is none of the slowest.
    bar: AtomicU64,
    slowest: Mutex<[Option<Slow>; SLOWEST]>,
}

/// So many of the slowest tasks are known.
const SLOWEST: usize = 3;

/// The number of a task, and how many nanoseconds it took.
type Slow = (u64, u64);

/// What a call has done, as it was at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    function: &'static str,
    since: Instant,
    /// How long it lasted, once it has ended.
    lasted: Option<Duration>,
    tasks: u64,
    busy: u64,
    slowest: [Option<Slow>; SLOWEST],
}

impl Clock {
    pub(crate) fn new(function: &'static str) -> Clock {
        let [tasks, busy, bar] = [0; 3].map(AtomicU64::new);
        Clock { function, since: Instant::now(), tasks, busy, bar, slowest: Mutex::default() }
    }

    /// When the call was made.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// `count` tasks that have travelled together, from `index` on, have ended after so many nanoseconds.
    #[inline]
    pub(crate) fn note(&self, index: u64, count: u32, nanos: u64) {
        let add = |word: &AtomicU64, more| word.store(word.load(Relaxed).saturating_add(more), Relaxed);
        add(&self.tasks, u64::from(count));
        add(&self.busy, nanos);
        let each = if count <= 1 { nanos } else { nanos / u64::from(count) };
        if each >= self.bar.load(Relaxed) {
            self.note_slow((index, each));
        }
    }

    #[cold]
    fn note_slow(&self, mut slow: Slow) {
        let mut slowest = self.slowest.lock();
        for place in &mut *slowest {
            match place {
                Some(known) if known.1 >= slow.1 => {}
                Some(known) => std::mem::swap(known, &mut slow),
                None => {
                    *place = Some(slow);
                    break;
                }
            }
        }
        // Of tasks that took as long, the first ones stay.
        let last = slowest[SLOWEST - 1].map_or(0, |(_, nanos)| nanos.saturating_add(1));
        self.bar.store(last, Relaxed);
    }

    /// What the call has done by now.
    pub(crate) fn account(&self) -> Account {
        let Clock { function, since, .. } = *self;
        let [tasks, busy] = [&self.tasks, &self.busy].map(|word| word.load(Relaxed));
        Account { function, since, lasted: None, tasks, busy, slowest: *self.slowest.lock() }
    }
}

impl Account {
    /// When the call was made.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// The same account of a call that ends now.
    pub(crate) fn closed(self) -> Account {
        Account { lasted: Some(self.since.elapsed()), ..self }
    }

    /// What people are shown, of a call of which so many tasks have no outcome yet.
    pub(crate) fn stats(&self, waiting: u64) -> JobStats {
        let slowest = self.slowest.into_iter().flatten();
        JobStats {
            function: self.function.to_owned(),
            ended: self.lasted.is_some(),
            tasks: self.tasks,
            waiting,
            busy: Duration::from_nanos(self.busy),
            elapsed: self.lasted.unwrap_or_else(|| self.since.elapsed()),
            slowest: slowest.map(|(index, time)| SlowTask { index, time: Duration::from_nanos(time) }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_are_kept_in_order() {
        let clock = Clock::new("f");
        for (index, ms) in [(0, 5), (1, 1), (2, 9), (3, 7), (4, 2), (5, 5)] {
            clock.note(index, 1, ms * 1_000_000);
        }
        clock.note(10, 4, 24_000_000);
        let stats = clock.account().stats(3);
        assert_eq!((stats.tasks, stats.waiting, stats.busy), (10, 3, Duration::from_millis(53)));
        let slowest: Vec<_> = stats.slowest.iter().map(|slow| (slow.index, slow.time.as_millis())).collect();
        assert_eq!(slowest, [(2, 9), (3, 7), (10, 6)]);
    }
}
