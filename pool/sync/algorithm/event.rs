//! An event: a flag that many wait for.
//!
//! One word: the flag, a mark that somebody may sleep, and a generation that counts how often the flag went up. A waiter
//! remembers the generation that it saw first, so it never misses a `set()`, not even if `clear()` follows before it has
//! woken up. (Of 2^30 in a row while it does not run at all it could.) Nobody holds anything here, so a death leaves
//! nothing behind: who is killed between raising the flag and waking the sleepers costs them a slice.
//!
//! ## Memory ordering
//!
//! Raising the flag is Release, seeing it is Acquire: what was written before `set()` is seen after `wait()`
//! (`// SYNC: event`). Whether to sleep is decided by the kernel on the same word, so nothing else needs an order.

use crate::sync::algorithm::word::{Spin, kill};
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::futex::{self, Slices};
use crate::sys::time::Deadline;
use Ordering::{Acquire, Relaxed, Release};
use std::fmt;

const SET: u32 = 1 << 31;
const SLEEPERS: u32 = 1 << 30;
const GENERATION: u32 = SLEEPERS - 1;

/// The shared part. All zero is an event that is not set.
#[repr(transparent)]
pub(crate) struct Event(AtomicU32);

impl Event {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> Event {
        Event(AtomicU32::new(0))
    }

    pub(crate) fn is_set(&self) -> bool {
        // SYNC: event
        self.0.load(Acquire) & SET != 0
    }

    /// Raises the flag and wakes all who wait.
    pub(crate) fn set(&self) {
        loop {
            let word = self.0.load(Relaxed);
            // If it is up already there are no sleepers; but what the caller wrote must be published all the same.
            let raised = if word & SET == 0 { SET | ((word + 1) & GENERATION) } else { word };
            // SYNC: event
            if self.0.compare_exchange(word, raised, Release, Relaxed).is_ok() {
                kill::point();
                if word & SLEEPERS != 0 {
                    futex::wake(&self.0, i32::MAX as u32);
                }
                return;
            }
        }
    }

    /// Takes the flag down. Who has waited at the time of an earlier `set()` has seen that one.
    pub(crate) fn clear(&self) {
        self.0.fetch_and(!SET, Relaxed);
    }

    /// Waits until the flag is up, or went up since the call; false = the deadline has passed.
    pub(crate) fn wait_until(&self, deadline: Deadline) -> bool {
        self.wait_since(self.0.load(Relaxed), deadline)
    }

    fn wait_since(&self, first: u32, deadline: Deadline) -> bool {
        let mut slices = Slices::new(deadline);
        let mut spin = Spin::new();
        loop {
            // SYNC: event
            let word = self.0.load(Acquire);
            if word & SET != 0 || (word ^ first) & GENERATION != 0 {
                return true;
            }
            if word & SLEEPERS == 0 {
                if spin.once() {
                    continue;
                }
                if self.0.compare_exchange(word, word | SLEEPERS, Relaxed, Relaxed).is_err() {
                    continue;
                }
                kill::point();
            }
            if !slices.sleep(&self.0, word | SLEEPERS) {
                return false;
            }
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::algorithm::testing::kill;
    use std::time::{Duration, Instant};

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(20))
    }

    #[test]
    fn a_flag_goes_up_and_down() {
        let event = Event::new();
        assert!(!event.is_set() && !event.wait_until(Deadline::after(Duration::ZERO)));
        let start = Instant::now();
        assert!(!event.wait_until(soon()));
        assert!(start.elapsed() >= Duration::from_millis(19));
        event.set();
        event.set();
        assert!(event.is_set() && event.wait_until(soon()) && event.wait_until(Deadline::NEVER));
        event.clear();
        event.clear();
        assert!(!event.is_set() && !event.wait_until(soon()));
    }

    #[test]
    fn all_who_wait_see_a_set_that_is_cleared_at_once() {
        let event = Event::new();
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..6).map(|_| scope.spawn(|| event.wait_until(Deadline::NEVER))).collect();
            std::thread::sleep(Duration::from_millis(50));
            event.set();
            event.clear();
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        });
        assert!(!event.is_set());
    }

    #[test]
    fn killed_at_every_step_a_setter_or_waiter_keeps_nobody() {
        let steps = kill::at_every_step(Event::new, |_, event, victim| {
            let waiter = std::thread::spawn(|| event.wait_until(Deadline::NEVER));
            std::thread::sleep(Duration::from_millis(2));
            let killed = victim.run(|_| event.set()).wait();
            assert!(waiter.join().unwrap());
            killed
        });
        assert_eq!(steps, 1);
        kill::at_every_step(Event::new, |_, event, victim| {
            let victim = victim.run(|_| assert!(event.wait_until(Deadline::NEVER)));
            let waiter = std::thread::spawn(|| event.wait_until(Deadline::NEVER));
            std::thread::sleep(Duration::from_millis(2));
            event.set();
            assert!(waiter.join().unwrap());
            victim.wait()
        });
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sync::algorithm::testing::check;
    use loom::sync::Arc;
    use loom::thread;

    /// Two who had begun to wait before; one sets and clears. Slices do not end: a lost wake-up would be a deadlock.
    #[test]
    fn nobody_misses_a_set_that_is_cleared_at_once() {
        check(3, || {
            let (event, data) = (Arc::new(Event::new()), Arc::new(AtomicU32::new(0)));
            let waiters = [(); 2].map(|()| {
                let (event, data) = (Arc::clone(&event), Arc::clone(&data));
                thread::spawn(move || {
                    assert!(event.wait_since(0, Deadline::NEVER));
                    assert_eq!(data.load(Relaxed), 1, "what was written before the set");
                })
            });
            data.store(1, Relaxed);
            event.set();
            event.clear();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
    }

    #[test]
    fn a_late_waiter_sees_the_flag_itself() {
        check(3, || {
            let event = Arc::new(Event::new());
            let waiter = {
                let event = Arc::clone(&event);
                thread::spawn(move || assert!(event.wait_until(Deadline::NEVER)))
            };
            let other = {
                let event = Arc::clone(&event);
                thread::spawn(move || event.clear())
            };
            event.set();
            other.join().unwrap();
            event.set();
            waiter.join().unwrap();
        });
    }
}
