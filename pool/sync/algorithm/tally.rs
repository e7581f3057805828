//! Who works on what was taken from a queue, so that others can wait until all is done.
//!
//! An item is *open* from the moment it is put until somebody says that it is done. While it lies in the queue the queue
//! itself knows. When it is taken it is counted for the process that takes it, before it leaves the queue, so that it is
//! known at each moment; and when that process dies, what was counted for it is done with it. An item can also be made
//! nobody's: then it is open until somebody says that one more is done, whoever dies.
//!
//! ## Memory ordering
//!
//! Who counts an item does so before it stores the queue's position, Release; who joins looks at the queue first, Acquire,
//! and then at the counts. What is done is taken off with Release, and seen with Acquire, so that what was done is seen by who
//! has joined (`// SYNC: item done`).

use crate::sync::algorithm::sleepers::Sleepers;
use crate::sync::algorithm::word::{Caller, MAX_SLOTS, kill};
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::futex::Slices;
use crate::sys::time::Deadline;
use Ordering::{Acquire, Relaxed, Release};

const COUNTS: usize = MAX_SLOTS + MAX_SLOTS % 2;

/// The shared part. All zero is a tally without open items.
#[repr(C)]
pub(crate) struct Tally {
    joiners: Sleepers,
    /// Open items that are nobody's.
    nobodys: AtomicU32,
    /// Open items by the slot of the process that has taken them; slots begin with 1.
    counts: [AtomicU32; COUNTS],
}

impl Tally {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> Tally {
        let counts = std::array::from_fn(|_| AtomicU32::new(0));
        Tally { joiners: Sleepers::new(), nobodys: AtomicU32::new(0), counts }
    }

    fn count(&self, slot: u16) -> &AtomicU32 {
        &self.counts[usize::from(slot).wrapping_sub(1) % COUNTS]
    }

    /// The process of this slot is about to take so many items.
    pub(crate) fn take(&self, slot: u16, items: usize) {
        self.count(slot).fetch_add(u32::try_from(items).unwrap_or(u32::MAX), Relaxed);
        kill::point();
    }

    /// One that it has taken is done.
    pub(crate) fn done(&self, slot: u16) {
        self.take_off(self.count(slot));
    }

    /// One that it has taken is nobody's from now on. Never counted too low in between.
    pub(crate) fn leave_open(&self, slot: u16) {
        // SYNC: item done
        self.nobodys.fetch_add(1, Release);
        kill::point();
        self.take_off(self.count(slot));
    }

    /// One that is nobody's is done; false = there is none.
    pub(crate) fn done_by_somebody(&self) -> bool {
        self.take_off(&self.nobodys)
    }

    fn take_off(&self, count: &AtomicU32) -> bool {
        // SYNC: item done
        let before = count.fetch_update(Release, Relaxed, |open| open.checked_sub(1));
        kill::point();
        if before == Ok(1) {
            self.joiners.call(i32::MAX as u32);
        }
        before.is_ok()
    }

    /// What the dead process of this slot has taken is done; for whoever clears up after it, before the slot has a new owner.
    pub(crate) fn reclaim(&self, slot: u16) {
        // SYNC: item done
        if self.count(slot).swap(0, Release) > 0 {
            self.joiners.call(i32::MAX as u32);
        }
    }

    /// Whether all is done. `put` says how many items were ever put and how many of these are in the queue.
    fn is_done(&self, caller: &impl Caller, put: &impl Fn() -> (u64, u64)) -> bool {
        let before = put();
        if before.1 > 0 {
            return false;
        }
        // SYNC: item done
        let is_open = |(slot, count): (u16, &AtomicU32)| count.load(Acquire) > 0 && !caller.is_dead(slot);
        if (1..).zip(&self.counts).any(is_open) || self.nobodys.load(Acquire) > 0 {
            return false;
        }
        // Otherwise somebody has put one before it said that it is done with another.
        put() == before
    }

    /// Waits until all is done; false = the deadline has passed.
    pub(crate) fn join_until(&self, caller: &impl Caller, put: impl Fn() -> (u64, u64), deadline: Deadline) -> bool {
        let mut slices = Slices::new(deadline);
        loop {
            if self.is_done(caller, &put) {
                return true;
            }
            self.joiners.announce(&mut slices);
            if self.is_done(caller, &put) {
                return true;
            }
            if !self.joiners.sleep(&mut slices) {
                return false;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::algorithm::testing::{Crowd, kill};
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(15))
    }

    fn at_once() -> Deadline {
        Deadline::after(Duration::ZERO)
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_done() {
        let crowd = Crowd::new();
        let party = crowd.party(1, 1);
        let (tally, queued) = (Tally::new(), AtomicU64::new(1));
        let put = || (3, queued.load(Acquire));
        assert!(!tally.join_until(&party, put, at_once()));
        tally.take(1, 1);
        tally.take(MAX_SLOTS as u16, 1);
        queued.store(0, Release);
        assert!(!tally.join_until(&party, put, at_once()));
        tally.done(1);
        tally.leave_open(MAX_SLOTS as u16);
        assert!(!tally.join_until(&party, put, at_once()));
        assert!(tally.done_by_somebody());
        assert!(tally.join_until(&party, put, soon()));
        assert!(!tally.done_by_somebody());
    }

    #[test]
    fn one_that_is_put_by_who_is_done_is_seen() {
        let crowd = Crowd::new();
        let (tally, calls) = (Tally::new(), AtomicU64::new(0));
        // The first look finds the queue empty; right behind it one is put.
        let put = || (calls.fetch_add(1, Relaxed).min(1), 0);
        assert!(!tally.is_done(&crowd.party(1, 1), &put));
        assert!(tally.is_done(&crowd.party(1, 1), &put));
    }

    #[test]
    fn who_joins_is_woken_by_the_last_and_by_a_death() {
        for dies in [false, true] {
            let crowd = Crowd::new();
            let tally = Tally::new();
            tally.take(1, 2);
            std::thread::scope(|scope| {
                let joiner = scope.spawn(|| tally.join_until(&crowd.party(2, 1), || (2, 0), soon()));
                std::thread::sleep(Duration::from_millis(3));
                if dies {
                    crowd.kill(1);
                } else {
                    (0..2).for_each(|_| tally.done(1));
                }
                assert!(joiner.join().unwrap());
            });
            tally.reclaim(1);
            crowd.revive(1);
            assert!(tally.join_until(&crowd.party(1, 1), || (2, 0), at_once()));
        }
    }

    #[test]
    fn killed_at_every_step_what_it_has_taken_is_done() {
        let work = |tally: &Tally| {
            tally.take(kill::VICTIM, 2);
            tally.done(kill::VICTIM);
            tally.leave_open(kill::VICTIM);
        };
        kill::at_every_step(Tally::new, |crowd, tally, victim| {
            let killed = victim.run(move |_| work(tally)).wait();
            let survivor = crowd.party(2, 1);
            // What is nobody's is open whoever dies.
            tally.done_by_somebody();
            assert!(tally.join_until(&survivor, || (2, 0), soon()));
            killed
        });
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sync::algorithm::testing::{Crowd, check};
    use crate::sys::atomic::AtomicU64;
    use loom::sync::Arc;
    use loom::thread;

    /// One is done with an item and has put another before; a second takes that one. Slices do not end: a lost wake-up would be
    /// a deadlock.
    #[test]
    fn who_joins_waits_for_the_last() {
        check(2, || {
            // The number put, and the number of those taken.
            let shared = Arc::new((Crowd::new(), Tally::new(), AtomicU64::new(1), AtomicU64::new(1)));
            shared.1.take(1, 1);
            let worker = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.2.store(2, Release);
                    shared.1.done(1);
                    shared.1.take(1, 1);
                    shared.3.store(2, Release);
                    shared.1.done(1);
                })
            };
            let put = || {
                let taken = shared.3.load(Acquire);
                let put = shared.2.load(Acquire);
                (put, put - taken)
            };
            assert!(shared.1.join_until(&shared.0.party(2, 1), put, Deadline::NEVER));
            assert_eq!(shared.3.load(Acquire), 2);
            worker.join().unwrap();
        });
    }
}
