//! [`Histogram`]: how many tasks took how long, in buckets whose width grows with the time.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Each doubling of the time has so many buckets of the same width.
const PARTS: usize = 8;

/// Times below this many nanoseconds, as a power of two, are in the first bucket: about a microsecond.
const LEAST: u32 = 10;

/// Times from this power of two on are in the last bucket: about an hour.
const MOST: u32 = 42;

const BUCKETS: usize = (MOST - LEAST) as usize * PARTS + 1;

/// How many tasks took how long, in [`PoolStats::run_times`](crate::PoolStats::run_times).
///
/// A bucket is at most an eighth wider than the times in it, from a microsecond to an hour. Tasks that have travelled together
/// count with the mean of their times.
///
/// ```
/// let pool = multiproc::Pool::new(2)?;
/// pool.tasks(|ms: u64| std::thread::sleep(std::time::Duration::from_millis(ms)), [5; 20]).chunksize(1).run()?;
/// let times = pool.stats().run_times;
/// assert_eq!(times.count(), 20);
/// assert!(times.quantile(0.5).unwrap().as_millis() >= 5);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// One number for each bucket; none as long as there are no times. Bytes of others may hold any number of them.
    counts: Vec<u64>,
    /// The sum of all times, in nanoseconds.
    total: u64,
}

impl Histogram {
    pub(crate) const fn new() -> Histogram {
        Histogram { counts: Vec::new(), total: 0 }
    }

    /// `count` tasks have taken so many nanoseconds, together.
    #[inline]
    pub(crate) fn note(&mut self, count: u32, nanos: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        // Most tasks travel alone, and a division costs as much as all the rest of this.
        let each = if count <= 1 { nanos } else { nanos / u64::from(count) };
        self.counts[bucket(each)] += u64::from(count);
        self.total = self.total.saturating_add(nanos);
    }

    /// Returns how many tasks there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns how long they took together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total)
    }

    /// Returns how long the given part of the tasks took at most: the median for 0.5. `None` if there were no tasks.
    ///
    /// The time is the end of a bucket, and so up to an eighth too long. A part below 0 counts as 0, above 1 as 1.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        self.cumulative().find(|(_, below)| *below >= rank).map(|(end, _)| end)
    }

    /// The end of each bucket, and how many tasks took no longer than that.
    fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let sums = self.counts.iter().scan(0u64, |sum, count| {
            *sum = sum.saturating_add(*count);
            Some(*sum)
        });
        (0..BUCKETS).map(end).zip(sums)
    }

    /// The ends of those buckets behind which the time doubles, and how many tasks took no longer than that.
    pub(crate) fn by_doublings(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.cumulative().step_by(PARTS)
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most] = [0.5, 0.99].map(|part| self.quantile(part));
        write!(f, "Histogram({} tasks, median {half:?}, 99 % {most:?})", self.count())
    }
}

/// Returns the mean of so many times that are so long together; `None` if there are none.
pub(crate) fn mean(total: Duration, count: u64) -> Option<Duration> {
    (count > 0).then(|| total.div_f64(count as f64))
}

/// The place of the bucket of a time.
#[inline]
fn bucket(nanos: u64) -> usize {
    let power = nanos.checked_ilog2().unwrap_or(0);
    if power < LEAST {
        return 0;
    }
    if power >= MOST {
        return BUCKETS - 1;
    }
    // The three digits behind the first one.
    let part = (nanos >> (power - 3)) as usize & (PARTS - 1);
    1 + (power - LEAST) as usize * PARTS + part
}

/// Where a bucket ends.
fn end(bucket: usize) -> Duration {
    let (doublings, parts) = (bucket / PARTS, (bucket % PARTS) as u64);
    let width = 1u64 << (LEAST as usize + doublings - 3);
    Duration::from_nanos(width * (PARTS as u64 + parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_the_bucket_that_ends_behind_it() {
        for power in 0..50 {
            for nanos in [1u64 << power, (1 << power) + 1, (1 << power) | ((1 << power) >> 1), (2 << power) - 1] {
                let time = Duration::from_nanos(nanos);
                let place = bucket(nanos);
                assert!(place == BUCKETS - 1 || time <= end(place), "{time:?} in {place}");
                assert!(place == 0 || end(place - 1) <= time, "{time:?} in {place}");
                let is_close = end(place).as_nanos() as f64 <= 1.125 * nanos as f64 + 1.0;
                assert!(place == 0 || place == BUCKETS - 1 || is_close, "{time:?} below {:?}", end(place));
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut times = Histogram::new();
        assert_eq!((times.count(), times.quantile(0.5)), (0, None));
        (1..=100).for_each(|ms| times.note(1, ms * 1_000_000));
        times.note(100, 100_000_000_000);
        assert_eq!((times.count(), times.total()), (200, Duration::from_millis(5050 + 100_000)));
        let close = |part: f64, ms: f64| {
            let found = times.quantile(part).unwrap().as_secs_f64() * 1e3;
            assert!(found >= ms && found <= 1.13 * ms, "{part}: {found} ms instead of {ms}");
        };
        close(0.0, 1.0);
        close(0.25, 50.0);
        close(0.5, 100.0);
        close(0.51, 1000.0);
        close(1.0, 1000.0);
        close(7.0, 1000.0);
        assert!(times.by_doublings().is_sorted());
    }

    #[test]
    fn one_that_another_program_has_written_is_read_without_panic() {
        let mut times = Histogram { counts: vec![u64::MAX; 1000], total: u64::MAX };
        assert!(times.quantile(f64::NAN).is_some() && times.count() == u64::MAX);
        times.counts.clear();
        assert_eq!(times.quantile(0.5), None);
    }
}
