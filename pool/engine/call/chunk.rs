//! How many tasks travel together, and how many frames wait at a worker. Pure arithmetic.

/// One frame should be about this much work, in nanoseconds: long enough to hide the cost of a frame, short enough that
/// the end of a job is even.
const FRAME: f64 = 1_000_000.0;

/// Tasks longer than this, in nanoseconds, do not wait at a worker: each goes to the next one that is free.
const LONG: f64 = 200_000.0;

/// As much work as should wait at a worker, in nanoseconds, so that it does not run dry while the pool is asleep.
const AHEAD: f64 = 400_000.0;

/// The most frames that wait at a worker.
const MOST_AHEAD: f64 = 64.0;

/// Frames that take a worker less than this, in nanoseconds, take the thread that hands them out longer.
const SHORT: f64 = 500.0;

/// Frames that take a worker less than this, in nanoseconds, take less than it costs to wake a worker that sleeps.
const QUICK: f64 = 20_000.0;

/// A frame grows by at most this factor over the one before: one short task says little about the next.
const GROWTH: u32 = 8;

/// The bytes of one frame's payload, beyond which no further task is added: larger frames fall out of the cache.
pub(crate) const FRAME_BYTES: usize = 64 * 1024;

/// The most tasks in a frame: their number travels as half of a 32-bit word.
pub(crate) const MOST: u32 = 1 << 30;

/// The number of tasks in the next frame of a job.
///
/// `nanos` is the measured time of one task, `last` the size of the job's last frame (`None` if that says nothing about the
/// next one), `left` how many tasks there are
/// left at most (if known), `workers` how many share them.
pub(crate) fn size(nanos: Option<f64>, last: Option<u32>, left: Option<u64>, workers: usize) -> u32 {
    let Some(nanos) = nanos else { return 1 };
    let wanted = (FRAME / nanos.max(1.0)).clamp(1.0, f64::from(MOST)) as u32;
    let grown = last.map_or(wanted, |last| wanted.min(last.max(1).saturating_mul(GROWTH)));
    // Towards the end frames shrink, so that all workers end together.
    let share = left.map_or(u64::MAX, |left| left.div_ceil(2 * workers.max(1) as u64));
    grown.min(u32::try_from(share).unwrap_or(MOST)).clamp(1, MOST)
}

/// How many frames of `count` tasks may wait at one worker. A frame and its answer are on their way for `delay` nanoseconds:
/// for twice that time there should be work, and tasks are long that take twenty times as long.
pub(crate) fn depth(nanos: Option<f64>, count: u32, delay: f64) -> usize {
    match nanos {
        None => 1,
        Some(nanos) if nanos > LONG.max(20.0 * delay) => 1,
        Some(nanos) => (AHEAD.max(2.0 * delay) / (nanos * f64::from(count)).max(1.0)).clamp(2.0, MOST_AHEAD) as usize,
    }
}

/// How long a frame takes a worker, its way there and back included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// Less time than the thread that hands it out.
    Short,
    /// Less time than it costs to wake a worker that sleeps.
    Quick,
    /// Longer, or that is not known.
    Long,
}

/// The pace of a frame of `count` tasks.
pub(crate) fn pace(nanos: Option<f64>, count: u32, delay: f64) -> Pace {
    match nanos.map(|nanos| nanos * f64::from(count) + delay) {
        Some(nanos) if nanos < SHORT => Pace::Short,
        Some(nanos) if nanos < QUICK => Pace::Quick,
        _ => Pace::Long,
    }
}

/// The estimate after a frame of `count` tasks took `nanos` nanoseconds. One task alone may have waited for a CPU: that it was
/// slow is believed by and by, since frames of one task cannot be too large.
pub(crate) fn learn(old: Option<f64>, nanos: u64, count: u32) -> f64 {
    let new = (nanos as f64 / f64::from(count.max(1))).max(1.0);
    match old {
        None => new,
        // Slower is believed at once, faster by and by: too small a frame costs little, too large a one much.
        Some(old) if new > 4.0 * old && count > 1 => new,
        Some(old) if new > 4.0 * old => 4.0 * old,
        Some(old) => old + (new - old) / 4.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_is_one_task() {
        assert_eq!(size(None, Some(0), Some(1_000_000), 2), 1);
        assert_eq!(depth(None, 1, 0.0), 1);
    }

    #[test]
    fn frames_grow_towards_a_millisecond() {
        let mut last = 1;
        let mut sizes = Vec::new();
        for _ in 0..6 {
            last = size(Some(100.0), Some(last), None, 2);
            sizes.push(last);
        }
        assert_eq!(sizes, [8, 64, 512, 4096, 10_000, 10_000]);
        assert_eq!(size(Some(100.0), None, None, 2), 10_000);
        assert_eq!(size(Some(5_000_000.0), Some(10_000), None, 2), 1);
    }

    #[test]
    fn frames_shrink_towards_the_end() {
        assert_eq!(size(Some(1.0), Some(100_000), Some(400), 2), 100);
        assert_eq!(size(Some(1.0), Some(100_000), Some(3), 2), 1);
        assert_eq!(size(Some(1.0), Some(100_000), Some(0), 2), 1);
    }

    #[test]
    fn long_tasks_do_not_wait_at_a_worker() {
        assert_eq!(depth(Some(5_000_000.0), 1, 0.0), 1);
        assert_eq!(depth(Some(100_000.0), 1, 0.0), 4);
        assert_eq!(depth(Some(100.0), 10_000, 0.0), 2);
        assert_eq!(depth(Some(100.0), 1, 0.0), 64);
    }

    #[test]
    fn far_workers_have_work_for_two_round_trips() {
        assert_eq!(depth(Some(5_000_000.0), 1, 100_000.0), 1);
        assert_eq!(depth(Some(5_000_000.0), 1, 5_000_000.0), 2);
        assert_eq!(depth(Some(1_000_000.0), 1, 5_000_000.0), 10);
        assert_eq!(pace(Some(100.0), 1, 20_000.0), Pace::Long);
    }

    #[test]
    fn short_is_what_is_known_to_be() {
        let pace = |nanos, count| pace(nanos, count, 0.0);
        assert_eq!([pace(Some(100.0), 4), pace(Some(100.0), 5)], [Pace::Short, Pace::Quick]);
        assert_eq!([pace(Some(100.0), 200), pace(None, 1)], [Pace::Long, Pace::Long]);
    }

    #[test]
    fn a_slow_task_is_believed_at_once() {
        assert_eq!(learn(None, 800, 8), 100.0);
        assert_eq!(learn(Some(100.0), 2_000_000, 2), 1_000_000.0);
        assert_eq!(learn(Some(100.0), 1_000_000, 1), 400.0);
        assert_eq!(learn(Some(200.0), 100, 1), 175.0);
    }
}
