//! [`Deadline`]: a timeout that was turned into an instant once.

use parking_lot::{Condvar, MutexGuard};
use std::time::{Duration, Instant};

/// The instant at which a wait gives up; `NEVER` waits without limit.
///
/// A timeout too large for the clock means "without limit", as in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// No limit.
    pub(crate) const NEVER: Deadline = Deadline(None);

    /// `timeout` from now.
    pub(crate) fn after(timeout: Duration) -> Deadline {
        Deadline::since(Instant::now(), timeout)
    }

    /// `timeout` from now, if there is one.
    pub(crate) fn within(timeout: Option<Duration>) -> Deadline {
        timeout.map_or(Deadline::NEVER, Deadline::after)
    }

    /// `timeout` from `start`.
    pub(crate) fn since(start: Instant, timeout: Duration) -> Deadline {
        Deadline(start.checked_add(timeout))
    }

    /// At that instant.
    pub(crate) fn at(instant: Instant) -> Deadline {
        Deadline(Some(instant))
    }

    /// What is left: `None` = without limit, zero = over.
    pub(crate) fn remaining(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether it is over.
    pub(crate) fn passed(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }

    /// The instant itself; `None` = without limit.
    pub(crate) fn instant(self) -> Option<Instant> {
        self.0
    }

    /// Waits for a notification of the condition, but no longer than this.
    pub(crate) fn wait<T: ?Sized>(self, condition: &Condvar, guard: &mut MutexGuard<'_, T>) {
        match self.0 {
            Some(at) => drop(condition.wait_until(guard, at)),
            None => condition.wait(guard),
        }
    }

    /// The later of the two.
    pub(crate) fn later(self, other: Deadline) -> Deadline {
        Deadline(self.0.zip(other.0).map(|(a, b)| a.max(b)))
    }

    /// The earlier of the two.
    pub(crate) fn earlier(self, other: Deadline) -> Deadline {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Deadline(Some(a.min(b))),
            (a, b) => Deadline(a.or(b)),
        }
    }
}

/// The nanoseconds of a time, of which 64 bits hold 500 years.
#[inline]
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds by a clock that all processes share, which nobody sets. In models no time passes.
#[inline]
pub(crate) fn shared_nanos() -> u64 {
    if cfg!(loom) {
        return 0;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Milliseconds by the same clock.
pub(crate) fn shared_millis() -> u64 {
    shared_nanos() / 1_000_000
}

/// The same modulo 2^32.
pub(crate) fn millis() -> u32 {
    shared_millis() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_beyond_the_clock_is_no_limit() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert_eq!(Deadline::NEVER.remaining(), None);
    }

    #[test]
    fn zero_has_passed_at_once() {
        assert!(Deadline::after(Duration::ZERO).passed());
        assert!(!Deadline::NEVER.passed());
    }

    #[test]
    fn the_earlier_one_wins() {
        let soon = Deadline::after(Duration::from_secs(1));
        let late = Deadline::after(Duration::from_secs(100));
        assert_eq!(soon.earlier(late), soon);
        assert_eq!(late.earlier(soon), soon);
        assert_eq!(Deadline::NEVER.earlier(soon), soon);
        assert_eq!((soon.later(late), late.later(soon)), (late, late));
        assert_eq!((Deadline::NEVER.later(soon), soon.later(Deadline::NEVER)), (Deadline::NEVER, Deadline::NEVER));
    }
}
