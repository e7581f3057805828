//! A condition: threads that hold a lock wait, having let go of it, until another holder notifies them.
//!
//! Each waiter has an entry in a list. It makes the entry while it still holds the lock, so no notification falls between
//! letting go and falling asleep. Notifying picks the waiters that have waited longest and live, and grants exactly
//! their entries: a notification never goes to one who comes later, and a wait that returns as notified was notified.
//!
//! Death: the entry of a waiter that was killed is passed over. If it had been granted already, but the waiter had not
//! taken note, the next waiter to look around hands the notification on. A notifier that was killed has granted some of
//! the entries or all; those who were granted find out after a slice at the latest.
//!
//! ## Memory ordering
//!
//! That of the list of waiters, and of the lock, which the waiter has again when it returns.

use crate::sync::algorithm::cells::{Cells, Open, even, with_grace};
use crate::sync::algorithm::rlock::RLock;
use crate::sync::algorithm::waiters::{End, Ended, Entry, MOST, Waiters};
use crate::sync::algorithm::word::{Caller, NotReleased, Outcome, Word};
use crate::sys::futex::Slices;
use crate::sys::time::Deadline;
use std::fmt;

/// The number that the next entry gets.
const NEXT: usize = 0;
const LIST: Waiters = Waiters { used: 1, first: 2 };
const CELLS: usize = even(2 + MOST);

/// The shared part. All zero is a condition that nobody waits for.
#[repr(transparent)]
pub(crate) struct Condition {
    cells: Cells<CELLS>,
}

/// The lock that a condition belongs to.
pub(crate) trait Monitor {
    /// Whether this thread holds it, or its process holds it raw.
    fn holds(&self, caller: &impl Caller) -> bool;

    /// Gives it back entirely; the answer is for [`Monitor::take_again`].
    fn let_go(&self, caller: &impl Caller) -> Result<u32, NotReleased>;

    /// Takes it as it was.
    fn take_again(&self, caller: &impl Caller, before: u32) -> Outcome;
}

impl Monitor for Word {
    fn holds(&self, caller: &impl Caller) -> bool {
        let me = caller.me();
        self.owner().is_some_and(|owner| owner == me || owner.is_raw_of(me))
    }

    fn let_go(&self, caller: &impl Caller) -> Result<u32, NotReleased> {
        let raw = self.owner().is_some_and(|owner| owner.thread() == 0);
        if raw { self.release() } else { self.unlock(caller.me()) }.map(|()| raw.into())
    }

    fn take_again(&self, caller: &impl Caller, raw: u32) -> Outcome {
        if raw != 0 { self.acquire_until(caller, Deadline::NEVER) } else { self.lock(caller) }
    }
}

impl Monitor for RLock {
    fn holds(&self, caller: &impl Caller) -> bool {
        self.is_held_by(caller)
    }

    fn let_go(&self, caller: &impl Caller) -> Result<u32, NotReleased> {
        self.unlock_all(caller)
    }

    fn take_again(&self, caller: &impl Caller, depth: u32) -> Outcome {
        self.lock_again(caller, depth)
    }
}

/// How a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    /// Whether the waiter was notified; otherwise the deadline has passed.
    pub(crate) notified: bool,
    /// How the lock was taken again.
    pub(crate) lock: Outcome,
}

/// Why a thread could not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotWaited {
    /// It does not hold the lock.
    NotHeld,
    /// [`MOST`] wait already.
    TooMany,
}

impl Condition {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> Condition {
        Condition { cells: Cells::new() }
    }

    /// Lets go of the lock, waits until notified or the deadline has passed, and takes the lock again as it was, however
    /// long that takes.
    pub(crate) fn wait_until(
        &self,
        caller: &impl Caller,
        lock: &impl Monitor,
        deadline: Deadline,
    ) -> Result<Waited, NotWaited> {
        if !lock.holds(caller) {
            return Err(NotWaited::NotHeld);
        }
        // It holds the lock all the time.
        let in_vain = Waited { notified: false, lock: Outcome::Acquired };
        let Some(joined) = self.join(caller, deadline) else { return Ok(in_vain) };
        let entry = joined.ok_or(NotWaited::TooMany)?;
        let Ok(before) = lock.let_go(caller) else {
            self.give_up(entry);
            return Err(NotWaited::NotHeld);
        };
        let ended = entry.wait(&self.cells, &mut Slices::new(deadline), || self.sweep(caller, deadline));
        let notified = match ended {
            Some(_) => {
                entry.leave(&self.cells);
                true
            }
            None => self.give_up(entry),
        };
        Ok(Waited { notified, lock: lock.take_again(caller, before) })
    }

    /// An entry for the calling thread, if there is room. `None` = the cells could not be opened.
    fn join(&self, caller: &impl Caller, deadline: Deadline) -> Option<Option<Entry>> {
        let slot = caller.me().slot();
        let mut open = self.cells.open_until(caller, || with_grace(Some(deadline)))?;
        let next = open.get(NEXT);
        let entry = LIST.join(&mut open, slot, next);
        if entry.is_some() {
            open.set(NEXT, next.wrapping_add(1));
            open.commit();
            return Some(entry);
        }
        let ended = self.see_to_the_dead(&mut open, caller);
        let entry = LIST.join(&mut open, slot, next);
        open.set(NEXT, next.wrapping_add(1));
        open.commit();
        LIST.wake(&self.cells, &ended);
        Some(entry)
    }

    /// The deadline has passed; whether a notification came first.
    fn give_up(&self, entry: Entry) -> bool {
        let notified = entry.give_up(&self.cells).is_some();
        if notified {
            entry.leave(&self.cells);
        }
        notified
    }

    /// Notifies up to `count` waiters; how many it were.
    ///
    /// # Errors
    ///
    /// The calling thread does not hold the lock.
    pub(crate) fn notify(&self, caller: &impl Caller, lock: &impl Monitor, count: usize) -> Result<usize, NotReleased> {
        if !lock.holds(caller) {
            return Err(NotReleased::NotYours);
        }
        let mut open = self.cells.open(caller);
        let mut ended = Ended::nobody();
        let notified = self.grant(&mut open, caller, count, &mut ended);
        open.commit();
        LIST.wake(&self.cells, &ended);
        Ok(notified)
    }

    /// Grants the entries of those who have waited longest.
    fn grant(&self, open: &mut Open<'_, CELLS>, caller: &impl Caller, count: usize, ended: &mut Ended) -> usize {
        let next = open.get(NEXT);
        let mut granted = 0;
        while granted < count {
            let waiting = LIST.entries(open).filter(|entry| entry.waits());
            let Some(first) = waiting.max_by_key(|entry| entry.age(next)) else { break };
            if first.is_dead(caller) {
                LIST.reclaim(open, first);
            } else if LIST.end(open, first, End::Granted, ended) {
                granted += 1;
            }
        }
        granted
    }

    /// Takes away what the dead have left; notifications that were theirs go to others.
    fn see_to_the_dead(&self, open: &mut Open<'_, CELLS>, caller: &impl Caller) -> Ended {
        let mut ended = Ended::nobody();
        while let Some(dead) = LIST.dead(open, caller) {
            // First hand on, then take away: if this thread is killed in between, one too many is notified, not one
            // too few.
            if dead.is_granted() {
                self.grant(open, caller, 1, &mut ended);
            }
            LIST.reclaim(open, dead);
        }
        ended
    }

    #[cold]
    fn sweep(&self, caller: &impl Caller, deadline: Deadline) {
        if LIST.peek(&self.cells).any(|entry| entry.is_dead(caller)) {
            // If it could not be done, it is tried again after the next slice.
            self.reclaim(caller, with_grace(Some(deadline)));
        }
    }

    /// For whoever clears up after a dead process, before its slot has a new owner. It opens the cells in any case: the
    /// dead one may have had them open, without any entry. `None` = they could not be opened.
    pub(crate) fn reclaim(&self, caller: &impl Caller, deadline: Deadline) -> Option<()> {
        let mut open = self.cells.open_until(caller, || deadline)?;
        let ended = self.see_to_the_dead(&mut open, caller);
        open.commit();
        LIST.wake(&self.cells, &ended);
        Some(())
    }

    /// How many wait, those included who died waiting and were not noticed yet.
    pub(crate) fn waiting(&self) -> usize {
        LIST.peek(&self.cells).filter(|entry| entry.waits()).count()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("waiting", &self.waiting()).finish()
    }
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
