//! A lock for many readers or one writer.
//!
//! The cells hold who writes, how many read, and how many readers each process has, so that dead readers are noticed.
//! Readers go behind writers that wait, but not for ever: a reader that has waited while a writer gave the lock back, or
//! for a whole slice, no longer does. When a writer gives the lock back while readers wait, the next turn is theirs; if
//! none of them takes it within a slice (they were killed), a writer does. Who does not want to wait respects both as well,
//! as long as somebody alive may stand behind it: a waiting writer says after each of its slices that it still waits, and
//! a turn is taken at once. What is older than [`STALE`] is that of a process that was killed.
//!
//! Death: a dead reader is taken off the count by the next writer that waits. A dead writer is taken off by whoever waits
//! next, and leaves poison, as in the lock word. That a writer waits is a mark in its line, which a killed one leaves
//! behind; that costs a reader that waits a slice.
//!
//! A thread that reads and asks to write waits for itself; only for a thread that writes that is noticed.
//!
//! ## Memory ordering
//!
//! That of the cells: a writer gives back and the next to come takes with the cells open.

use crate::sync::algorithm::cells::{Cells, Line, Open, even, with_grace};
use crate::sync::algorithm::word::{Caller, MAX_SLOTS, NotReleased, Outcome, Owner, Spin};
use crate::sys::futex::Slices;
use crate::sys::time::{Deadline, millis};
use std::fmt;

/// The writer's [`Owner`]; 0 = none.
const WRITER: usize = 0;
/// 1 = a writer died, and nobody has cleared the poison since.
const POISON: usize = 1;
/// How many read.
const READERS: usize = 2;
/// 1 = the next turn is the readers'.
const READERS_TURN: usize = 3;
/// How often a writer has given the lock back.
const RELEASES: usize = 4;
/// Where writers wait, and where readers.
const WRITE: Line = Line { mark: 5, turn: 6 };
const READ: Line = Line { mark: 7, turn: 8 };
/// When a writer last said that it waits, and when the turn became the readers': [`millis`].
const WRITER_WAITED: usize = 9;
const TURN_BEGAN: usize = 10;
/// How many readers the process of each slot has; slots begin with 1.
const READERS_OF: usize = 10;
const CELLS: usize = even(READERS_OF + MAX_SLOTS + 1);

/// Twice the longest slice, in milliseconds.
const STALE: u32 = 100;

/// The shared part. All zero is a free lock.
#[repr(transparent)]
pub(crate) struct RwLock {
    cells: Cells<CELLS>,
}

/// What somebody who waits knows.
#[derive(Clone, Copy, Default)]
struct Patience {
    /// [`RELEASES`] when it began to wait.
    began: Option<u32>,
    slept: bool,
    /// It has slept a slice, and nobody has called.
    slice: bool,
    /// It does not want to wait at all.
    none: bool,
}

impl Patience {
    /// Whether it takes no account of something that somebody has said then: nobody alive says so.
    fn is_stale(self, open: &Open<'_, CELLS>, since: usize) -> bool {
        self.slice || (self.none && millis().wrapping_sub(open.get(since)) > STALE)
    }
}

impl RwLock {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> RwLock {
        RwLock { cells: Cells::new() }
    }

    /// Takes the lock for reading.
    pub(crate) fn read_until(&self, caller: &impl Caller, deadline: Deadline) -> Outcome {
        self.enter(caller, Some(deadline), READ)
    }

    /// Like [`RwLock::read_until`], without waiting.
    pub(crate) fn try_read(&self, caller: &impl Caller) -> Outcome {
        self.enter(caller, None, READ)
    }

    /// Takes the lock for writing.
    pub(crate) fn write_until(&self, caller: &impl Caller, deadline: Deadline) -> Outcome {
        self.enter(caller, Some(deadline), WRITE)
    }

    /// Like [`RwLock::write_until`], without waiting.
    pub(crate) fn try_write(&self, caller: &impl Caller) -> Outcome {
        self.enter(caller, None, WRITE)
    }

    /// `line` says for what; no deadline = without waiting.
    fn enter(&self, caller: &impl Caller, deadline: Option<Deadline>, line: Line) -> Outcome {
        let me = caller.me();
        let writes = line.mark == WRITE.mark;
        let mut slices = Slices::new(deadline.unwrap_or(Deadline::NEVER));
        let mut spin = Spin::new();
        let mut patience = Patience { none: deadline.is_none(), ..Patience::default() };
        loop {
            let Some(mut open) = self.cells.open_until(caller, || with_grace(deadline)) else {
                // Its last wake-up may have been meant for one of several.
                if patience.slept {
                    self.cells.wake(line, 1);
                }
                return if deadline.is_some() { Outcome::TimedOut } else { Outcome::Busy };
            };
            if patience.slept {
                open.woken(line);
            }
            let entered = if writes {
                self.try_enter_writer(open, me, patience)
            } else {
                self.try_enter_reader(open, me, patience)
            };
            let mut open = match entered {
                // It is in, without having waited.
                Ok(outcome) => return outcome,
                Err(open) => open,
            };
            if open.get(WRITER) == me.bits() {
                // This thread writes already, and would wait for itself.
                return if deadline.is_some() { Outcome::WouldDeadlock } else { Outcome::Busy };
            }
            let mut turn = open.get(line.turn);
            if deadline.is_some() && !spin.is_over() {
                // Not in the line yet: closing changes nothing.
                drop(open);
                spin.once();
                continue;
            }
            if deadline.is_some() {
                patience.began.get_or_insert(open.get(RELEASES));
                turn = open.line_up(line);
                if writes {
                    open.set(WRITER_WAITED, millis());
                }
                open.commit();
            } else {
                drop(open);
            }
            // After lining up, so that whoever takes the dead off the count here wakes the others in the line, too.
            if self.sweep(caller, deadline) {
                continue;
            }
            if deadline.is_none() {
                // The caller did not want to wait.
                return Outcome::Busy;
            }
            if !slices.sleep(self.cells.number(line.turn), turn) {
                self.give_up(caller, deadline, writes);
                // It has left the line, so nobody waits for it.
                return Outcome::TimedOut;
            }
            patience.slept = true;
            patience.slice = self.cells.peek(line.turn) == turn;
        }
    }

    fn try_enter_reader<'a>(
        &self,
        mut open: Open<'a, CELLS>,
        me: Owner,
        patience: Patience,
    ) -> Result<Outcome, Open<'a, CELLS>> {
        let was_passed = patience.began.is_some_and(|began| began != open.get(RELEASES));
        let is_behind = |open: &Open<'_, CELLS>| {
            open.get(WRITE.mark) != 0 && !was_passed && !patience.is_stale(open, WRITER_WAITED)
        };
        if open.get(WRITER) != 0 || is_behind(&open) {
            return Err(open);
        }
        // Behind a slice in which nothing happened, the mark may be that of a writer that was killed: the call tells.
        let call = patience.slice && open.call(WRITE);
        open.add(READERS, 1);
        open.add(READERS_OF + usize::from(me.slot()), 1);
        if patience.slept {
            open.set(READERS_TURN, 0);
        }
        let outcome = outcome(&open);
        open.commit();
        if call {
            self.cells.wake(WRITE, 1);
        }
        Ok(outcome)
    }

    fn try_enter_writer<'a>(
        &self,
        mut open: Open<'a, CELLS>,
        me: Owner,
        patience: Patience,
    ) -> Result<Outcome, Open<'a, CELLS>> {
        let is_behind = |open: &Open<'_, CELLS>| open.get(READERS_TURN) != 0 && !patience.is_stale(open, TURN_BEGAN);
        if open.get(WRITER) != 0 || open.get(READERS) != 0 || is_behind(&open) {
            return Err(open);
        }
        open.set(WRITER, me.bits());
        open.set(READERS_TURN, 0);
        let outcome = outcome(&open);
        open.commit();
        Ok(outcome)
    }

    /// The deadline has passed. Others may have stayed behind on account of this thread, or been passed over.
    fn give_up(&self, caller: &impl Caller, deadline: Option<Deadline>, writes: bool) {
        // Otherwise that costs them a slice.
        let Some(mut open) = self.cells.open_until(caller, || with_grace(deadline)) else { return };
        if !writes {
            open.set(READERS_TURN, 0);
        }
        self.call_all(open);
    }

    /// Lets all who wait look again.
    fn call_all(&self, mut open: Open<'_, CELLS>) {
        let (write, read) = (open.call(WRITE), open.call(READ));
        open.commit();
        if write {
            self.cells.wake(WRITE, i32::MAX as u32);
        }
        if read {
            self.cells.wake(READ, i32::MAX as u32);
        }
    }

    /// Gives back what a thread of this process holds for reading.
    ///
    /// # Errors
    ///
    /// This process has no readers.
    pub(crate) fn unlock_read(&self, caller: &impl Caller) -> Result<(), NotReleased> {
        let mut open = self.cells.open(caller);
        let own = READERS_OF + usize::from(caller.me().slot());
        if open.get(own) == 0 {
            return Err(NotReleased::NotYours);
        }
        open.add(own, -1);
        open.add(READERS, -1);
        let call = open.get(READERS) == 0 && open.call(WRITE);
        open.commit();
        if call {
            self.cells.wake(WRITE, 1);
        }
        Ok(())
    }

    /// Gives back what the calling thread holds for writing.
    pub(crate) fn unlock_write(&self, caller: &impl Caller) -> Result<(), NotReleased> {
        let open = self.cells.open(caller);
        match Owner::from_bits(open.get(WRITER)) {
            None => Err(NotReleased::Free),
            Some(owner) if owner != caller.me() => Err(NotReleased::NotYours),
            Some(_) => {
                self.end_writing(open);
                Ok(())
            }
        }
    }

    fn end_writing(&self, mut open: Open<'_, CELLS>) {
        open.set(WRITER, 0);
        open.add(RELEASES, 1);
        let read = open.call(READ);
        // If readers wait it is their turn, and the last of them wakes a writer.
        let write = !read && open.call(WRITE);
        if read {
            open.set(READERS_TURN, 1);
            open.set(TURN_BEGAN, millis());
        }
        open.commit();
        if read {
            self.cells.wake(READ, i32::MAX as u32);
        }
        if write {
            self.cells.wake(WRITE, 1);
        }
    }

    /// Takes a dead process off: its readers, and its writer, which leaves poison; whether there were any. For whoever
    /// clears up after it, before the slot has a new owner. `None` = the cells could not be opened.
    pub(crate) fn reclaim(&self, caller: &impl Caller, slot: u16, deadline: Deadline) -> Option<bool> {
        let mut open = self.cells.open_until(caller, || deadline)?;
        // Asked with the cells open: somebody may have cleared up in between, and the slot have a new owner.
        // SYNC: death
        if !caller.is_dead(slot) {
            return Some(false);
        }
        let own = READERS_OF + usize::from(slot);
        let readers = open.get(own);
        open.set(own, 0);
        // Whatever stands there: a process may have written over it.
        open.add(READERS, readers.wrapping_neg() as i32);
        let wrote = Owner::from_bits(open.get(WRITER)).is_some_and(|owner| owner.slot() == slot);
        open.flush();
        if wrote {
            open.set(POISON, 1);
            self.end_writing(open);
        } else if readers > 0 {
            self.call_all(open);
        }
        Some(wrote || readers > 0)
    }

    /// Looks for dead holders; whether there were any.
    #[cold]
    fn sweep(&self, caller: &impl Caller, deadline: Option<Deadline>) -> bool {
        // SYNC: death
        let is_dead = |slot: u16| (1..=MAX_SLOTS as u16).contains(&slot) && caller.is_dead(slot);
        if let Some(writer) = Owner::from_bits(self.cells.peek(WRITER)) {
            return is_dead(writer.slot()) && self.reclaim(caller, writer.slot(), with_grace(deadline)) == Some(true);
        }
        if self.cells.peek(READERS) == 0 {
            return false;
        }
        let mut found = false;
        for slot in 1..=MAX_SLOTS as u16 {
            if self.cells.peek(READERS_OF + usize::from(slot)) != 0 && is_dead(slot) {
                found |= self.reclaim(caller, slot, with_grace(deadline)) == Some(true);
            }
        }
        found
    }

    /// Declares the data sound again; only the thread that writes can.
    pub(crate) fn clear_poison(&self, caller: &impl Caller) -> Result<(), NotReleased> {
        let mut open = self.cells.open(caller);
        if open.get(WRITER) != caller.me().bits() {
            return Err(NotReleased::NotYours);
        }
        open.set(POISON, 0);
        open.commit();
        Ok(())
    }

    /// Who writes.
    pub(crate) fn writer(&self) -> Option<Owner> {
        Owner::from_bits(self.cells.peek(WRITER))
    }

    /// How many read.
    pub(crate) fn readers(&self) -> u32 {
        self.cells.peek(READERS)
    }

    /// Whether a writer died and nobody has cleared the poison since.
    pub(crate) fn poisoned(&self) -> bool {
        self.cells.peek(POISON) != 0
    }
}

fn outcome(open: &Open<'_, CELLS>) -> Outcome {
    if open.get(POISON) == 0 { Outcome::Acquired } else { Outcome::AcquiredPoisoned }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock")
            .field("writer", &self.writer())
            .field("readers", &self.readers())
            .field("poisoned", &self.poisoned())
            .finish()
    }
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
