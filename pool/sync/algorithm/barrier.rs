//! A barrier: so many parties wait until all have come; then all go on, and the next round begins.
//!
//! Each party that waits has an entry in a list, so a slow one finds the outcome of its own round even if the next is
//! over already, and a party that died waiting is known. The last to come needs no entry, unless it has an action to run
//! first: while it does so the barrier is *acting*, and who comes for the next round waits at the door.
//!
//! A round ends for all at once, whoever is killed: what the end is like is written down first, then the entries are
//! marked; the next to open the cells completes what a killed party has begun.
//!
//! A barrier *breaks* when a party's deadline passes, a party dies that waits or acts, an action panics, or somebody says
//! so. All who wait get [`Broken`], and so do all who come, until it is reset.
//!
//! ## Memory ordering
//!
//! That of the cells: each party opens them after what it did before the barrier, and the last to come after all others;
//! then that of the list of waiters.

use crate::sync::algorithm::cells::{Cells, Line, Open, even, with_grace};
use crate::sync::algorithm::waiters::{End, Ended, Entry, MOST, Waiters};
use crate::sync::algorithm::word::Caller;
use crate::sys::atomic::Ordering;
use crate::sys::futex::Slices;
use crate::sys::time::Deadline;
use std::fmt;

/// How many parties make a round.
const PARTIES: usize = 0;
const PHASE: usize = 1;
/// What a round is to end with, while its entries are being marked; 0 = nothing.
const OUTCOME: usize = 2;
/// Where parties wait that came too early for the next round.
const DOOR: Line = Line { mark: 3, turn: 4 };
/// 1 = somebody has given up who could not open the cells: the barrier breaks as soon as somebody can.
const GIVEN_UP: usize = 5;
const LIST: Waiters = Waiters { used: 6, first: 7 };
const CELLS: usize = even(7 + MOST);

/// Phases.
const FILLING: u32 = 0;
const ACTING: u32 = 1;
const BROKEN: u32 = 2;

/// Outcomes.
const GRANT: u32 = 1;
const REFUSE: u32 = 2;

/// The most parties of a barrier.
pub(crate) const MOST_PROCESSES: usize = MOST;

/// The shared part. It needs its number of parties; see [`Barrier::init`].
#[repr(transparent)]
pub(crate) struct Barrier {
    cells: Cells<CELLS>,
}

/// The barrier is broken, or was reset while the party waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Broken;

/// How a party has arrived.
enum Arrived {
    /// As the last one: the round is over already.
    Last(u32),
    /// As the last one, and it has to run the action.
    Acts(Entry),
    Waits(Entry),
}

impl Barrier {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> Barrier {
        Barrier { cells: Cells::new() }
    }

    /// Says how many parties there are, before it is shared; 1 to [`MOST_PROCESSES`].
    pub(crate) fn init(&self, parties: u32) {
        self.cells.init(PARTIES, parties);
    }

    /// Waits for the others; the answer is how many had come to this round before.
    ///
    /// The last to come runs the action, if it has one, before anybody goes on. A panic of the action breaks the barrier
    /// and goes on to the caller. Deadlines do not interrupt an action, but if the one of a waiting party passes
    /// meanwhile, the barrier breaks.
    pub(crate) fn wait_until(
        &self,
        caller: &impl Caller,
        deadline: Deadline,
        action: Option<impl FnOnce()>,
    ) -> Result<u32, Broken> {
        let entry = match self.arrive(caller, deadline, action.is_some())? {
            Arrived::Last(index) => return Ok(index),
            Arrived::Waits(entry) => entry,
            Arrived::Acts(entry) => {
                let undo = BreakUnlessDone { barrier: self, caller, entry };
                if let Some(action) = action {
                    action();
                }
                std::mem::forget(undo);
                self.acted(caller, deadline, entry);
                entry
            }
        };
        let mut slices = Slices::new(deadline);
        let ended = entry.wait(&self.cells, &mut slices, || _ = self.sweep(caller, with_grace(Some(deadline))));
        let end = ended.unwrap_or_else(|| self.give_up(caller, with_grace(Some(deadline)), entry));
        entry.leave(&self.cells);
        if end == End::Granted { Ok(entry.order()) } else { Err(Broken) }
    }

    fn arrive(&self, caller: &impl Caller, deadline: Deadline, acts: bool) -> Result<Arrived, Broken> {
        let mut slices = Slices::new(deadline);
        loop {
            let Some((mut open, mut ended)) = self.open(caller, || with_grace(Some(deadline))) else {
                self.break_later();
                // The cells could not be opened in time: the round cannot be completed.
                return Err(Broken);
            };
            self.see_to_the_dead(&mut open, caller, &mut ended);
            if open.get(PHASE) == BROKEN {
                self.close(open, &ended);
                // The barrier was broken before.
                return Err(Broken);
            }
            if open.get(PHASE) == FILLING {
                let index = LIST.entries(&open).filter(|entry| entry.waits()).count() as u32;
                let is_last = index + 1 >= open.get(PARTIES);
                if is_last && !acts {
                    self.end(&mut open, GRANT, FILLING, &mut ended);
                    self.close(open, &ended);
                    // The last party completes the round, and waits for nobody.
                    return Ok(Arrived::Last(index));
                }
                if let Some(entry) = LIST.join(&mut open, caller.me().slot(), index) {
                    if is_last {
                        open.set(PHASE, ACTING);
                    }
                    self.close(open, &ended);
                    // The party is in the list, and will be woken.
                    return Ok(if is_last { Arrived::Acts(entry) } else { Arrived::Waits(entry) });
                }
            }
            let turn = open.line_up(DOOR);
            self.close(open, &ended);
            if !slices.sleep(self.cells.number(DOOR.turn), turn) {
                self.break_until(caller, with_grace(Some(deadline)));
                // The time was over before there was a place in the round.
                return Err(Broken);
            }
        }
    }

    /// The action has been run: all go on, unless the barrier was broken or reset meanwhile.
    fn acted(&self, caller: &impl Caller, deadline: Deadline, entry: Entry) {
        // Then it waits like the others, and gives up.
        let Some((mut open, mut ended)) = self.open(caller, || with_grace(Some(deadline))) else { return };
        if entry.ended(&self.cells).is_none() {
            self.end(&mut open, GRANT, FILLING, &mut ended);
        }
        self.close(open, &ended);
    }

    /// The deadline has passed: the barrier breaks, unless the round has ended meanwhile.
    fn give_up(&self, caller: &impl Caller, deadline: Deadline, entry: Entry) -> End {
        let Some((mut open, mut ended)) = self.open(caller, || deadline) else {
            let end = entry.give_up(&self.cells);
            if end.is_none() {
                self.break_later();
            }
            return end.unwrap_or(End::Refused);
        };
        let end = entry.ended(&self.cells);
        if end.is_none() {
            self.end(&mut open, REFUSE, BROKEN, &mut ended);
        }
        self.close(open, &ended);
        end.unwrap_or(End::Refused)
    }

    /// Opens the cells, and completes what a killed party has begun. `None` = they could not be opened.
    fn open(&self, caller: &impl Caller, deadline: impl FnOnce() -> Deadline) -> Option<(Open<'_, CELLS>, Ended)> {
        let mut open = self.cells.open_until(caller, deadline)?;
        let mut ended = Ended::nobody();
        if open.get(OUTCOME) != 0 {
            self.mark(&mut open, &mut ended);
        }
        if open.get(GIVEN_UP) != 0 {
            self.end(&mut open, REFUSE, BROKEN, &mut ended);
            open.put(GIVEN_UP, 0);
        }
        Some((open, ended))
    }

    /// Breaks the barrier without opening the cells.
    fn break_later(&self) {
        // SYNC: cells number
        self.cells.number(GIVEN_UP).store(1, Ordering::Release);
    }

    fn break_until(&self, caller: &impl Caller, deadline: Deadline) {
        if self.end_now(caller, deadline, BROKEN).is_none() {
            self.break_later();
        }
    }

    fn close(&self, open: Open<'_, CELLS>, ended: &Ended) {
        open.commit();
        LIST.wake(&self.cells, ended);
    }

    /// Ends the round for all who wait.
    fn end(&self, open: &mut Open<'_, CELLS>, outcome: u32, phase: u32, ended: &mut Ended) {
        open.set(OUTCOME, outcome);
        open.set(PHASE, phase);
        let call = open.call(DOOR);
        open.flush();
        self.mark(open, ended);
        if call {
            self.cells.wake(DOOR, i32::MAX as u32);
        }
    }

    fn mark(&self, open: &mut Open<'_, CELLS>, ended: &mut Ended) {
        let end = if open.get(OUTCOME) == GRANT { End::Granted } else { End::Refused };
        LIST.end_all(open, end, ended);
        open.put(OUTCOME, 0);
    }

    /// A party that died waiting breaks the barrier; one that died afterwards only leaves its entry.
    fn see_to_the_dead(&self, open: &mut Open<'_, CELLS>, caller: &impl Caller, ended: &mut Ended) {
        while let Some(dead) = LIST.dead(open, caller) {
            if dead.waits() {
                self.end(open, REFUSE, BROKEN, ended);
            }
            LIST.reclaim(open, dead);
        }
    }

    #[cold]
    fn sweep(&self, caller: &impl Caller, deadline: Deadline) -> Option<()> {
        let (mut open, mut ended) = self.open(caller, || deadline)?;
        self.see_to_the_dead(&mut open, caller, &mut ended);
        self.close(open, &ended);
        Some(())
    }

    /// For whoever clears up after a dead process, before its slot has a new owner. `None` = the cells could not be opened.
    pub(crate) fn reclaim(&self, caller: &impl Caller, deadline: Deadline) -> Option<()> {
        self.sweep(caller, deadline)
    }

    /// Breaks the barrier.
    pub(crate) fn abort(&self, caller: &impl Caller) {
        self.break_until(caller, with_grace(None));
    }

    /// Makes the barrier as new; who waits gets [`Broken`].
    pub(crate) fn reset(&self, caller: &impl Caller) {
        self.end_now(caller, Deadline::NEVER, FILLING);
    }

    fn end_now(&self, caller: &impl Caller, deadline: Deadline, phase: u32) -> Option<()> {
        let (mut open, mut ended) = self.open(caller, || deadline)?;
        self.end(&mut open, REFUSE, phase, &mut ended);
        self.close(open, &ended);
        Some(())
    }

    /// Whether it is broken.
    pub(crate) fn broken(&self, caller: &impl Caller) -> bool {
        let _ = self.sweep(caller, with_grace(None));
        self.cells.peek(PHASE) == BROKEN || self.cells.peek(GIVEN_UP) != 0
    }

    /// How many parties make a round.
    pub(crate) fn parties(&self) -> u32 {
        self.cells.peek(PARTIES)
    }

    /// How many wait for the others at the moment.
    pub(crate) fn n_waiting(&self) -> usize {
        if self.cells.peek(PHASE) != FILLING {
            return 0;
        }
        LIST.peek(&self.cells).filter(|entry| entry.waits()).count()
    }
}

/// Breaks the barrier when the action panics.
struct BreakUnlessDone<'a, P: Caller> {
    barrier: &'a Barrier,
    caller: &'a P,
    entry: Entry,
}

impl<P: Caller> Drop for BreakUnlessDone<'_, P> {
    fn drop(&mut self) {
        self.barrier.give_up(self.caller, with_grace(None), self.entry);
        self.entry.leave(&self.barrier.cells);
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.n_waiting())
            .field("broken", &(self.cells.peek(PHASE) == BROKEN))
            .finish()
    }
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
