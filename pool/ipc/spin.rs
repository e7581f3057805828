//! The rule when to spin before sleeping.
//!
//! A party of a pool that wants to wait may spin only while fewer parties are awake than there are CPUs, since a spinning
//! process otherwise takes the CPU from the one that it waits for.

use crate::ipc::bell::Bell;
use crate::sys::cpu::known_count;
use std::time::{Duration, Instant};

/// How long a party spins before it sleeps, at most.
const SPIN: Duration = Duration::from_micros(20);

/// A party that has not got on for so long does not run.
const STANDSTILL: Duration = Duration::from_micros(100);

/// When to spin: not again after fruitless spins until a wait turns out short enough that a spin would have paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spinner {
    fruitless: u32,
    cpus: u32,
}

impl Spinner {
    /// Fruitless spins in a row after which spinning stops.
    const PATIENCE: u32 = 3;

    pub(crate) fn new() -> Spinner {
        Spinner { fruitless: 0, cpus: u32::try_from(known_count()).unwrap_or(u32::MAX) }
    }

    /// How many CPUs there are beside the one that this thread runs on; one at least.
    pub(crate) fn other_cpus(&self) -> usize {
        self.cpus.saturating_sub(1).max(1) as usize
    }

    /// Looks again and again for a short time, if that is likely to pay; whether `found` came true.
    pub(crate) fn spin(&mut self, bell: &Bell, mut found: impl FnMut() -> bool) -> bool {
        if self.fruitless >= Self::PATIENCE || !bell.may_spin(self.cpus) {
            return false;
        }
        let start = Instant::now();
        loop {
            for _ in 0..8 {
                for _ in 0..8 {
                    std::hint::spin_loop();
                }
                if found() {
                    self.fruitless = 0;
                    return true;
                }
            }
            let spun = start.elapsed();
            if spun > SPIN || !bell.may_spin(self.cpus) {
                self.fruitless += 1;
                return false;
            }
            // A party that wakes on a quiet CPU has answered by then. Where other programs have all CPUs, it may stand in line
            // for this one.
            if spun > SPIN / 2 {
                std::thread::yield_now();
            }
        }
    }

    /// Looks again and again while another party gets on with what this one waits for; `look` tells how far it is, and `None`
    /// once that is far enough. Returns whether it was, before the other one stood still.
    pub(crate) fn follow(&self, bell: &Bell, mut look: impl FnMut() -> Option<usize>) -> bool {
        let Some(mut seen) = look() else { return true };
        let mut since = Instant::now();
        while bell.may_spin(self.cpus) {
            for _ in 0..64 {
                std::hint::spin_loop();
            }
            match look() {
                None => return true,
                Some(now) if now != seen => (seen, since) = (now, Instant::now()),
                Some(_) if since.elapsed() > STANDSTILL => return false,
                Some(_) => {}
            }
        }
        false
    }

    /// Tells how long a sleep has lasted that followed.
    pub(crate) fn slept(&mut self, lasted: Duration) {
        // A wake-up from sleep takes some 20 us by itself, so a sleep up to this long was a wait that a spin may catch.
        if lasted < 3 * SPIN {
            self.fruitless = 0;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::memory::create_mapped;
    use std::sync::Arc;

    #[test]
    fn spinning_stops_when_it_does_not_pay() {
        let memory = Arc::new(create_mapped("test", Bell::LEN).unwrap().1);
        let (pool, worker) = (Bell::new(Arc::clone(&memory), 0), Bell::new(memory, 1));
        worker.set_awake(false);
        let mut spinner = Spinner { fruitless: 0, cpus: 2 };
        let mut looks = 0;
        while spinner.fruitless < Spinner::PATIENCE {
            assert!(!spinner.spin(&pool, || false));
        }
        assert!(!spinner.spin(&pool, || {
            looks += 1;
            true
        }));
        assert_eq!(looks, 0);
        spinner.slept(Duration::from_micros(1));
        assert!(spinner.spin(&pool, || true));
        assert!(spinner.follow(&pool, || None) && !spinner.follow(&pool, || Some(7)));
        let mut left = 3 * STANDSTILL.as_micros() as usize;
        assert!(spinner.follow(&pool, || {
            left = left.checked_sub(1)?;
            Some(left)
        }));
        worker.set_awake(true);
        let spinner = Spinner { cpus: 1, ..spinner };
        assert!(spinner.follow(&pool, || None) && !spinner.follow(&pool, || Some(7)));
    }
}
