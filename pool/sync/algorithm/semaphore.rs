//! A semaphore whose permits come back when a process dies that holds some through guards.
//!
//! The count alone could not tell whose permits are missing. So the cells hold, beside the count, how many permits each
//! process holds through guards; count and table change in one commit. A permit that was acquired raw is nobody's, as in
//! Python: any process may release it, or one more than were acquired, unless the semaphore is bounded.
//!
//! Who finds no permit looks for dead holders before it sleeps, and again after every slice.
//!
//! ## Memory ordering
//!
//! That of the cells: what a process wrote before it released a permit is seen by whoever opens the cells later.

use crate::sync::algorithm::cells::{Cells, Line, Open, even, with_grace};
use crate::sync::algorithm::word::{Caller, MAX_SLOTS, NotReleased, Outcome, Spin};
use crate::sys::futex::Slices;
use crate::sys::time::Deadline;
use std::fmt;

/// Free permits.
const COUNT: usize = 0;
/// The most permits there may be.
const BOUND: usize = 1;
/// Permits held through guards, by all processes.
const HELD: usize = 2;
const LINE: Line = Line { mark: 3, turn: 4 };
/// Permits held through guards by the process of each slot; slots begin with 1.
const HELD_BY: usize = 4;
const CELLS: usize = even(HELD_BY + MAX_SLOTS + 1);

/// The most permits.
pub(crate) const MAX_COUNT: u32 = i32::MAX as u32;

/// The shared part. All zero is a semaphore bounded by no permits at all; see [`Semaphore::init`].
#[repr(transparent)]
pub(crate) struct Semaphore {
    cells: Cells<CELLS>,
}

/// Whether a permit belongs to the process, or to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Through a guard: it comes back if the process dies.
    Guard,
    /// Nobody's: it stays away until somebody releases one.
    Raw,
}

impl Semaphore {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> Semaphore {
        Semaphore { cells: Cells::new() }
    }

    /// Gives it its permits, before it is shared. Counts above [`MAX_COUNT`] are the caller's mistake.
    pub(crate) fn init(&self, count: u32, bounded: bool) {
        self.cells.init(COUNT, count);
        self.cells.init(BOUND, if bounded { count } else { MAX_COUNT });
    }

    /// Takes a permit; waits for one until the deadline.
    pub(crate) fn acquire_until(&self, caller: &impl Caller, hold: Hold, deadline: Deadline) -> Outcome {
        let mut slices = Slices::new(deadline);
        let mut spin = Spin::new();
        let mut slept = false;
        loop {
            while self.value() == 0 && spin.once() {}
            let Some(mut open) = self.cells.open_until(caller, || with_grace(Some(deadline))) else {
                // Its last wake-up may have been meant for one of several.
                if slept {
                    self.cells.wake(LINE, 1);
                }
                return Outcome::TimedOut;
            };
            if slept {
                open.woken(LINE);
            }
            if open.get(COUNT) > 0 {
                self.take(open, caller, hold, slept);
                return Outcome::Acquired;
            }
            let turn = open.line_up(LINE);
            open.commit();
            // After lining up, so that whoever returns permits here wakes the others in the line, too.
            if self.sweep(caller, Some(deadline)) {
                continue;
            }
            if !slices.sleep(self.cells.number(LINE.turn), turn) {
                return Outcome::TimedOut;
            }
            slept = true;
        }
    }

    /// Takes a permit if there is one.
    pub(crate) fn try_acquire(&self, caller: &impl Caller, hold: Hold) -> Outcome {
        loop {
            // Somebody was stopped in the middle of a change: nobody can say whether there is one.
            let Some(open) = self.cells.open_until(caller, || with_grace(None)) else { return Outcome::Busy };
            if open.get(COUNT) > 0 {
                self.take(open, caller, hold, false);
                return Outcome::Acquired;
            }
            drop(open);
            if !self.sweep(caller, None) {
                return Outcome::Busy;
            }
        }
    }

    fn take(&self, mut open: Open<'_, CELLS>, caller: &impl Caller, hold: Hold, slept: bool) {
        open.add(COUNT, -1);
        if hold == Hold::Guard {
            open.add(HELD, 1);
            open.add(HELD_BY + usize::from(caller.me().slot()), 1);
        }
        // Of several releases in a row only the first has woken somebody: this thread, which wakes the next.
        let call = slept && open.get(COUNT) > 0 && open.call(LINE);
        open.commit();
        if call {
            self.cells.wake(LINE, 1);
        }
    }

    /// Gives one permit back.
    ///
    /// # Errors
    ///
    /// Through a guard: this process holds none. Raw: there would be more than the bound allows, those counted that
    /// guards hold.
    pub(crate) fn release(&self, caller: &impl Caller, hold: Hold) -> Result<(), NotReleased> {
        if hold == Hold::Raw {
            return self.release_many(caller, 1);
        }
        let mut open = self.cells.open(caller);
        let own = HELD_BY + usize::from(caller.me().slot());
        if open.get(own) == 0 {
            return Err(NotReleased::NotYours);
        }
        open.add(HELD, -1);
        open.add(own, -1);
        self.put_back(open, 1);
        Ok(())
    }

    /// Gives so many permits back raw, or none.
    ///
    /// # Errors
    ///
    /// There would be more than the bound allows, those counted that guards hold.
    pub(crate) fn release_many(&self, caller: &impl Caller, count: u32) -> Result<(), NotReleased> {
        let open = self.cells.open(caller);
        let all = [open.get(COUNT), open.get(HELD), count].iter().try_fold(0_u32, |sum, it| sum.checked_add(*it));
        if all.is_none_or(|all| all > open.get(BOUND)) {
            return Err(NotReleased::Free);
        }
        if count > 0 {
            self.put_back(open, count);
        }
        Ok(())
    }

    fn put_back(&self, mut open: Open<'_, CELLS>, count: u32) {
        open.add(COUNT, count as i32);
        let call = open.call(LINE);
        open.commit();
        if call {
            self.cells.wake(LINE, count);
        }
    }

    /// Returns the permits that the dead process of this slot holds; whether there were any. For whoever clears up after
    /// it, before the slot has a new owner. `None` = the cells could not be opened.
    pub(crate) fn reclaim(&self, caller: &impl Caller, slot: u16, deadline: Deadline) -> Option<bool> {
        let mut open = self.cells.open_until(caller, || deadline)?;
        let own = HELD_BY + usize::from(slot);
        let held = open.get(own);
        // Asked once more, as somebody else may have cleared up in between, and the slot have a new owner.
        // SYNC: death
        if held == 0 || !caller.is_dead(slot) {
            return Some(false);
        }
        open.set(own, 0);
        // Whatever stands there: a process may have written over it.
        open.add(HELD, held.wrapping_neg() as i32);
        open.add(COUNT, held as i32);
        let call = open.call(LINE);
        open.commit();
        if call {
            self.cells.wake(LINE, held);
        }
        Some(true)
    }

    /// Looks for dead holders; whether permits came back.
    #[cold]
    fn sweep(&self, caller: &impl Caller, deadline: Option<Deadline>) -> bool {
        if self.cells.peek(HELD) == 0 {
            return false;
        }
        let mut found = false;
        for slot in 1..=MAX_SLOTS as u16 {
            if self.cells.peek(HELD_BY + usize::from(slot)) != 0 && caller.is_dead(slot) {
                found |= self.reclaim(caller, slot, with_grace(deadline)) == Some(true);
            }
        }
        found
    }

    /// How many permits are free.
    pub(crate) fn value(&self) -> u32 {
        self.cells.peek(COUNT)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("value", &self.value()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::algorithm::testing::{Crowd, kill};
    use Hold::{Guard, Raw};
    use Outcome::{Acquired, Busy, TimedOut};
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::{Duration, Instant};

    fn semaphore(count: u32, bounded: bool) -> Semaphore {
        let semaphore = Semaphore::new();
        semaphore.init(count, bounded);
        semaphore
    }

    #[test]
    fn permits_are_counted_as_in_python() {
        let crowd = Crowd::new();
        let party = crowd.party(1, 1);
        let semaphore = semaphore(2, false);
        assert_eq!(semaphore.acquire_until(&party, Raw, Deadline::NEVER), Acquired);
        assert_eq!((semaphore.value(), semaphore.try_acquire(&party, Raw)), (1, Acquired));
        assert_eq!((semaphore.value(), semaphore.try_acquire(&party, Raw)), (0, Busy));
        for value in 1..=4 {
            assert_eq!((semaphore.release(&party, Raw), semaphore.value()), (Ok(()), value));
        }
    }

    #[test]
    fn a_bound_counts_what_guards_hold() {
        let crowd = Crowd::new();
        let party = crowd.party(1, 1);
        let semaphore = semaphore(2, true);
        assert_eq!(semaphore.release(&party, Raw), Err(NotReleased::Free));
        assert_eq!(semaphore.release(&party, Guard), Err(NotReleased::NotYours));
        assert_eq!(semaphore.try_acquire(&party, Guard), Acquired);
        assert_eq!(semaphore.release(&party, Raw), Err(NotReleased::Free));
        assert_eq!(semaphore.try_acquire(&party, Raw), Acquired);
        assert_eq!(semaphore.release(&party, Raw), Ok(()));
        assert_eq!(semaphore.release(&crowd.party(2, 1), Guard), Err(NotReleased::NotYours));
        assert_eq!(semaphore.release(&party, Guard), Ok(()));
        assert_eq!(semaphore.value(), 2);
    }

    #[test]
    fn timeouts_are_kept() {
        let crowd = Crowd::new();
        let party = crowd.party(1, 1);
        let semaphore = semaphore(0, false);
        assert_eq!(semaphore.try_acquire(&party, Raw), Busy);
        let start = Instant::now();
        assert_eq!(semaphore.acquire_until(&party, Raw, Deadline::after(Duration::ZERO)), TimedOut);
        assert!(start.elapsed() < Duration::from_secs(9));
        assert_eq!(semaphore.acquire_until(&party, Raw, Deadline::after(Duration::from_millis(60))), TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(60));
    }

    #[test]
    fn never_more_than_the_permits_are_inside() {
        let crowd = Crowd::new();
        let semaphore = semaphore(2, true);
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for slot in 1..=6 {
                let party = crowd.party(slot, 1);
                let (semaphore, inside, most) = (&semaphore, &inside, &most);
                scope.spawn(move || {
                    for round in 0..500 {
                        let hold = if round % 2 == 0 { Guard } else { Raw };
                        assert_eq!(semaphore.acquire_until(&party, hold, Deadline::NEVER), Acquired);
                        most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                        if round % 50 == 0 {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                        inside.fetch_sub(1, SeqCst);
                        semaphore.release(&party, hold).unwrap();
                    }
                });
            }
        });
        assert_eq!((semaphore.value(), most.into_inner()), (2, 2));
    }

    #[test]
    fn permits_of_a_dead_process_return_but_not_those_acquired_raw() {
        let crowd = Crowd::new();
        let (victim, other) = (crowd.party(1, 1), crowd.party(2, 1));
        let semaphore = semaphore(3, true);
        for hold in [Guard, Guard, Raw] {
            assert_eq!(semaphore.try_acquire(&victim, hold), Acquired);
        }
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| semaphore.acquire_until(&other, Guard, Deadline::NEVER));
            std::thread::sleep(Duration::from_millis(30));
            crowd.kill(1);
            assert_eq!(waiter.join().unwrap(), Acquired);
        });
        assert_eq!(semaphore.try_acquire(&other, Guard), Acquired);
        assert_eq!(semaphore.try_acquire(&other, Guard), Busy);
    }

    #[test]
    fn killed_at_every_step_no_permit_is_lost() {
        let steps = kill::at_every_step(
            || semaphore(1, true),
            |crowd, semaphore, victim| {
                let first = crowd.party(2, 1);
                assert_eq!(semaphore.try_acquire(&first, Guard), Acquired);
                let victim = victim.run(|party| {
                    assert_eq!(semaphore.acquire_until(party, Guard, Deadline::NEVER), Acquired);
                    assert_eq!(semaphore.release(party, Guard), Ok(()));
                });
                std::thread::sleep(Duration::from_millis(2));
                semaphore.release(&first, Guard).unwrap();
                let start = Instant::now();
                let killed = victim.wait();
                assert_eq!(semaphore.acquire_until(&crowd.party(3, 1), Guard, Deadline::NEVER), Acquired);
                assert!(start.elapsed() < Duration::from_secs(9));
                assert_eq!(semaphore.value(), 0);
                killed
            },
        );
        assert!(steps >= 10, "{steps}");
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sync::algorithm::testing::{Crowd, check};
    use crate::sys::futex::{end_deadlines, end_slices};
    use loom::sync::Arc;
    use loom::thread;
    use std::time::Duration;

    fn shared(count: u32) -> Arc<(Crowd, Semaphore)> {
        let shared = Arc::new((Crowd::new(), Semaphore::new()));
        shared.1.init(count, false);
        shared
    }

    fn acquire(shared: &Arc<(Crowd, Semaphore)>, slot: u16) -> thread::JoinHandle<()> {
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let outcome = shared.1.acquire_until(&shared.0.party(slot, 1), Hold::Guard, Deadline::NEVER);
            assert_eq!(outcome, Outcome::Acquired);
        })
    }

    /// Slices do not end: a lost wake-up would be a deadlock.
    #[test]
    fn two_releases_wake_two() {
        check(2, || {
            let shared = shared(0);
            let waiters = [2, 3].map(|slot| acquire(&shared, slot));
            let party = shared.0.party(1, 1);
            shared.1.release(&party, Hold::Raw).unwrap();
            shared.1.release(&party, Hold::Raw).unwrap();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
            assert_eq!(shared.1.value(), 0);
        });
    }

    /// One that gives up takes no wake-up with it.
    #[test]
    fn a_timeout_loses_no_permit() {
        check(2, || {
            let shared = shared(0);
            let impatient = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (party, deadline) = (shared.0.party(3, 1), Deadline::after(Duration::from_secs(1000)));
                    if shared.1.acquire_until(&party, Hold::Raw, deadline).is_acquired() {
                        shared.1.release(&party, Hold::Raw).unwrap();
                    }
                })
            };
            let patient = acquire(&shared, 2);
            shared.1.release(&shared.0.party(1, 1), Hold::Raw).unwrap();
            end_deadlines();
            patient.join().unwrap();
            impatient.join().unwrap();
            assert_eq!(shared.1.value(), 0);
        });
    }

    #[test]
    fn permits_of_the_dead_go_to_the_others() {
        check(2, || {
            let shared = shared(2);
            let victim = shared.0.party(1, 1);
            assert_eq!(shared.1.try_acquire(&victim, Hold::Guard), Outcome::Acquired);
            assert_eq!(shared.1.try_acquire(&victim, Hold::Guard), Outcome::Acquired);
            let waiters = [2, 3].map(|slot| acquire(&shared, slot));
            shared.0.kill(1);
            end_slices();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
            assert_eq!(shared.1.value(), 0);
        });
    }
}
