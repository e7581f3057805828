//! What the calls of a pool have done: how long their tasks took, and which were the slowest.

use serde::{Deserialize, Serialize};
use std::fmt;
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

/// What a call has done so far; changed under the core's lock only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    function: &'static str,
    since: Instant,
    /// How long it lasted, once it has ended.
    lasted: Option<Duration>,
    tasks: u64,
    busy: Duration,
    slowest: [Option<SlowTask>; 3],
}

impl Clock {
    pub(crate) fn new(function: &'static str) -> Clock {
        Clock { function, since: Instant::now(), lasted: None, tasks: 0, busy: Duration::ZERO, slowest: [None; 3] }
    }

    /// When the call was made.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// `count` tasks that have travelled together, from `index` on, have ended.
    pub(crate) fn note(&mut self, index: u64, count: u32, time: Duration) {
        self.tasks += u64::from(count);
        self.busy += time;
        let mut slow = SlowTask { index, time: time / count.max(1) };
        for place in &mut self.slowest {
            match place {
                Some(known) if known.time >= slow.time => {}
                Some(known) => std::mem::swap(known, &mut slow),
                None => {
                    *place = Some(slow);
                    return;
                }
            }
        }
    }

    /// The same clock for a call that ends now.
    pub(crate) fn stopped(self) -> Clock {
        Clock { lasted: Some(self.since.elapsed()), ..self }
    }

    /// What people are shown, of a call of which so many tasks have no outcome yet.
    pub(crate) fn stats(&self, waiting: u64) -> JobStats {
        JobStats {
            function: self.function.to_owned(),
            ended: self.lasted.is_some(),
            tasks: self.tasks,
            waiting,
            busy: self.busy,
            elapsed: self.lasted.unwrap_or_else(|| self.since.elapsed()),
            slowest: self.slowest.into_iter().flatten().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_are_kept_in_order() {
        let mut clock = Clock::new("f");
        for (index, ms) in [(0, 5), (1, 1), (2, 9), (3, 7), (4, 2)] {
            clock.note(index, 1, Duration::from_millis(ms));
        }
        clock.note(10, 4, Duration::from_millis(24));
        let stats = clock.stats(3);
        assert_eq!((stats.tasks, stats.waiting, stats.busy), (9, 3, Duration::from_millis(48)));
        let slowest: Vec<_> = stats.slowest.iter().map(|slow| (slow.index, slow.time.as_millis())).collect();
        assert_eq!(slowest, [(2, 9), (3, 7), (10, 6)]);
    }
}
