//! When a frame was handed in, in the half of a word that frames have for it.

use std::time::{Duration, Instant};

/// One step of a stamp, as a power of two of nanoseconds: 16.4 microseconds.
const STEP: u32 = 14;

/// When a frame was handed in; 0 if nobody wants to know, or it is not known.
///
/// It counts steps since the pool was made, and begins anew after 19.5 hours; a wait of more than half of that counts as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

impl Stamp {
    /// Not known.
    pub(crate) const NONE: Stamp = Stamp(0);

    /// The stamp of a point of time in a pool that was made at `epoch`.
    pub(super) fn of(at: Instant, epoch: Instant) -> Stamp {
        Stamp(steps(at, epoch).max(1))
    }

    /// How long it was from here to `end`, if that is known. Less than a step is nothing.
    pub(super) fn until(self, end: Instant, epoch: Instant) -> Option<Duration> {
        if self == Stamp::NONE {
            return None;
        }
        let distance = steps(end, epoch).max(1).wrapping_sub(self.0);
        // The begin of a frame is an estimate, and may seem to be earlier than what came before it.
        let distance = if distance > u32::MAX / 2 { 0 } else { distance };
        Some(Duration::from_nanos(u64::from(distance) << STEP))
    }
}

fn steps(at: Instant, epoch: Instant) -> u32 {
    (at.saturating_duration_since(epoch).as_nanos() >> STEP) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_as_long_as_it_was() {
        let epoch = Instant::now();
        let at = |seconds: f64| epoch + Duration::from_secs_f64(seconds);
        let step = Duration::from_nanos(1 << STEP);
        for (from, to) in
            [(0.0, 0.0), (0.0, 1.0), (5.0, 5.5), (70_000.0, 70_001.0), (70_360.0, 70_380.0), (1e6, 1e6 + 9.0)]
        {
            let wait = Stamp::of(at(from), epoch).until(at(to), epoch).unwrap();
            let true_wait = Duration::from_secs_f64(to - from);
            assert!(wait <= true_wait + 2 * step && true_wait <= wait + 2 * step, "{from} to {to}: {wait:?}");
        }
        assert_eq!(Stamp::of(at(2.0), epoch).until(at(1.0), epoch), Some(Duration::ZERO));
        assert_eq!(Stamp::NONE.until(at(1.0), epoch), None);
    }
}
