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
use crate::sync::algorithm::word::{NotReleased, Outcome, Parties, Word};
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
    fn holds(&self, parties: &impl Parties) -> bool;

    /// Gives it back entirely; the answer is for [`Monitor::take_again`].
    fn let_go(&self, parties: &impl Parties) -> Result<u32, NotReleased>;

    /// Takes it as it was.
    fn take_again(&self, parties: &impl Parties, before: u32) -> Outcome;
}

impl Monitor for Word {
    fn holds(&self, parties: &impl Parties) -> bool {
        let me = parties.me();
        self.owner().is_some_and(|owner| owner == me || owner.is_raw_of(me))
    }

    fn let_go(&self, parties: &impl Parties) -> Result<u32, NotReleased> {
        let raw = self.owner().is_some_and(|owner| owner.thread() == 0);
        if raw { self.release() } else { self.unlock(parties.me()) }.map(|()| raw.into())
    }

    fn take_again(&self, parties: &impl Parties, raw: u32) -> Outcome {
        if raw != 0 { self.acquire_until(parties, Deadline::NEVER) } else { self.lock(parties) }
    }
}

impl Monitor for RLock {
    fn holds(&self, parties: &impl Parties) -> bool {
        self.is_held_by(parties)
    }

    fn let_go(&self, parties: &impl Parties) -> Result<u32, NotReleased> {
        self.unlock_all(parties)
    }

    fn take_again(&self, parties: &impl Parties, depth: u32) -> Outcome {
        self.lock_again(parties, depth)
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
        parties: &impl Parties,
        lock: &impl Monitor,
        deadline: Deadline,
    ) -> Result<Waited, NotWaited> {
        if !lock.holds(parties) {
            return Err(NotWaited::NotHeld);
        }
        // It holds the lock all the time.
        let in_vain = Waited { notified: false, lock: Outcome::Acquired };
        let Some(joined) = self.join(parties, deadline) else { return Ok(in_vain) };
        let entry = joined.ok_or(NotWaited::TooMany)?;
        let Ok(before) = lock.let_go(parties) else {
            self.give_up(entry);
            return Err(NotWaited::NotHeld);
        };
        let ended = entry.wait(&self.cells, &mut Slices::new(deadline), || self.sweep(parties, deadline));
        let notified = match ended {
            Some(_) => {
                entry.leave(&self.cells);
                true
            }
            None => self.give_up(entry),
        };
        Ok(Waited { notified, lock: lock.take_again(parties, before) })
    }

    /// An entry for the calling thread, if there is room. `None` = the cells could not be opened.
    fn join(&self, parties: &impl Parties, deadline: Deadline) -> Option<Option<Entry>> {
        let slot = parties.me().slot();
        let mut open = self.cells.open_until(parties, || with_grace(Some(deadline)))?;
        let next = open.get(NEXT);
        let entry = LIST.join(&mut open, slot, next);
        if entry.is_some() {
            open.set(NEXT, next.wrapping_add(1));
            open.commit();
            return Some(entry);
        }
        let ended = self.see_to_the_dead(&mut open, parties);
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
    pub(crate) fn notify(
        &self,
        parties: &impl Parties,
        lock: &impl Monitor,
        count: usize,
    ) -> Result<usize, NotReleased> {
        if !lock.holds(parties) {
            return Err(NotReleased::NotYours);
        }
        let mut open = self.cells.open(parties);
        let mut ended = Ended::nobody();
        let notified = self.grant(&mut open, parties, count, &mut ended);
        open.commit();
        LIST.wake(&self.cells, &ended);
        Ok(notified)
    }

    /// Grants the entries of those who have waited longest.
    fn grant(&self, open: &mut Open<'_, CELLS>, parties: &impl Parties, count: usize, ended: &mut Ended) -> usize {
        let next = open.get(NEXT);
        let mut granted = 0;
        while granted < count {
            let waiting = LIST.entries(open).filter(|entry| entry.waits());
            let Some(first) = waiting.max_by_key(|entry| entry.age(next)) else { break };
            if first.is_dead(parties) {
                LIST.reclaim(open, first);
            } else if LIST.end(open, first, End::Granted, ended) {
                granted += 1;
            }
        }
        granted
    }

    /// Takes away what the dead have left; notifications that were theirs go to others.
    fn see_to_the_dead(&self, open: &mut Open<'_, CELLS>, parties: &impl Parties) -> Ended {
        let mut ended = Ended::nobody();
        while let Some(dead) = LIST.dead(open, parties) {
            // First hand on, then take away: if this thread is killed in between, one too many is notified, not one
            // too few.
            if dead.is_granted() {
                self.grant(open, parties, 1, &mut ended);
            }
            LIST.reclaim(open, dead);
        }
        ended
    }

    #[cold]
    fn sweep(&self, parties: &impl Parties, deadline: Deadline) {
        if LIST.peek(&self.cells).any(|entry| entry.is_dead(parties)) {
            // If it could not be done, it is tried again after the next slice.
            self.reclaim(parties, with_grace(Some(deadline)));
        }
    }

    /// For whoever clears up after a dead process, before its slot has a new owner. It opens the cells in any case: the
    /// dead one may have had them open, without any entry. `None` = they could not be opened.
    pub(crate) fn reclaim(&self, parties: &impl Parties, deadline: Deadline) -> Option<()> {
        let mut open = self.cells.open_until(parties, || deadline)?;
        let ended = self.see_to_the_dead(&mut open, parties);
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
