//! Who waits, by name: a list in shared memory with an entry for each waiting thread.
//!
//! An entry says whose it is and how the wait stands: it waits, its wish was granted, or it was refused. The waiter sleeps
//! on its own entry, so exactly those are woken who are meant, and a waiter that was killed is known by its slot. Entries
//! are made, granted and refused with the cells open; who finds its own granted or refused takes it away by one store. Who
//! gives up takes its own away without opening the cells, which somebody may have open who was stopped: so granting,
//! refusing and giving up are compare-exchanges, of which one succeeds.
//!
//! ## Memory ordering
//!
//! That of the cells. The one look without opening them is the waiter's at its own entry: Acquire, and the store that
//! grants or refuses is Release (`// SYNC: waiter`).

use crate::sync::algorithm::cells::{Cells, Open};
use crate::sync::algorithm::word::{Caller, Spin, kill};
use crate::sys::atomic::Ordering::{AcqRel, Acquire, Release};
use crate::sys::futex::{self, Slices};

/// The most who can wait at a time.
pub(crate) const MOST: usize = if cfg!(loom) { 4 } else { 960 };

/// The highest two bits of an entry. Below them: 20 bits of order, 10 bits of process slot. An entry of 0 is free.
const STATE: u32 = 3 << 30;
const WAITING: u32 = 1 << 30;
const GRANTED: u32 = 2 << 30;
const REFUSED: u32 = 3 << 30;
const ORDER_SHIFT: u32 = 10;
const ORDER: u32 = (1 << 20) - 1;
const SLOT: u32 = (1 << ORDER_SHIFT) - 1;

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Granted,
    Refused,
}

impl End {
    fn state(self) -> u32 {
        if self == End::Granted { GRANTED } else { REFUSED }
    }
}

/// Where a list is kept: the place of the number of entries that may be in use, and of the first entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiters {
    pub(crate) used: usize,
    pub(crate) first: usize,
}

/// One entry, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    at: usize,
    value: u32,
}

impl Entry {
    pub(crate) fn slot(self) -> u16 {
        (self.value & SLOT) as u16
    }

    /// What was given when the entry was made.
    pub(crate) fn order(self) -> u32 {
        self.value >> ORDER_SHIFT & ORDER
    }

    pub(crate) fn waits(self) -> bool {
        self.value & STATE == WAITING
    }

    pub(crate) fn is_granted(self) -> bool {
        self.value & STATE == GRANTED
    }

    /// How many entries were made since, if each was given the next number, and `next` comes next.
    pub(crate) fn age(self, next: u32) -> u32 {
        next.wrapping_sub(self.order()) & ORDER
    }
}

/// Whose wait has ended, to be woken as soon as the cells are closed.
#[derive(Debug)]
#[must_use = "they must be woken"]
pub(crate) struct Ended([u64; MOST.div_ceil(64)]);

impl Ended {
    pub(crate) fn nobody() -> Ended {
        Ended([0; MOST.div_ceil(64)])
    }
}

impl Waiters {
    /// Makes an entry, with the next commit; `None` = there are too many.
    pub(crate) fn join<const N: usize>(self, open: &mut Open<'_, N>, slot: u16, order: u32) -> Option<Entry> {
        let mut used = self.used(open);
        while used > 0 && open.get(self.first + used - 1) == 0 {
            used -= 1;
        }
        let index = (0..used).find(|index| open.get(self.first + index) == 0).unwrap_or(used);
        if index >= MOST {
            return None;
        }
        let entry =
            Entry { at: self.first + index, value: WAITING | (order & ORDER) << ORDER_SHIFT | u32::from(slot) & SLOT };
        open.set(entry.at, entry.value);
        open.set(self.used, used.max(index + 1) as u32);
        Some(entry)
    }

    fn used<const N: usize>(self, open: &Open<'_, N>) -> usize {
        MOST.min(open.get(self.used) as usize)
    }

    /// All entries.
    pub(crate) fn entries<const N: usize>(self, open: &Open<'_, N>) -> impl Iterator<Item = Entry> {
        let entry = |at| Entry { at, value: open.get(at) };
        (self.first..self.first + self.used(open)).map(entry).filter(|entry| entry.value != 0)
    }

    /// An entry of somebody who has died.
    pub(crate) fn dead<const N: usize>(self, open: &Open<'_, N>, caller: &impl Caller) -> Option<Entry> {
        self.entries(open).find(|entry| entry.is_dead(caller))
    }

    /// The entries as they are at the moment, without opening the cells.
    pub(crate) fn peek<const N: usize>(self, cells: &Cells<N>) -> impl Iterator<Item = Entry> {
        let used = MOST.min(cells.peek(self.used) as usize);
        (self.first..self.first + used).map(|at| Entry { at, value: cells.peek(at) }).filter(|entry| entry.value != 0)
    }

    /// Ends a wait; false = the waiter has given up.
    pub(crate) fn end<const N: usize>(self, open: &mut Open<'_, N>, entry: Entry, end: End, ended: &mut Ended) -> bool {
        // SYNC: waiter
        let is_ended = open.exchange(entry.at, entry.value, entry.value & !STATE | end.state());
        if is_ended {
            let index = entry.at - self.first;
            ended.0[index / 64] |= 1 << (index % 64);
        }
        is_ended
    }

    /// Ends all waits.
    pub(crate) fn end_all<const N: usize>(self, open: &mut Open<'_, N>, end: End, ended: &mut Ended) {
        for at in self.first..self.first + self.used(open) {
            let entry = Entry { at, value: open.get(at) };
            if entry.waits() {
                self.end(open, entry, end, ended);
            }
        }
    }

    /// Takes the entry of a dead waiter away.
    pub(crate) fn reclaim<const N: usize>(self, open: &mut Open<'_, N>, entry: Entry) {
        open.put(entry.at, 0);
    }

    /// Wakes those whose wait has ended.
    pub(crate) fn wake<const N: usize>(self, cells: &Cells<N>, ended: &Ended) {
        for (word, bits) in ended.0.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let index = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                kill::point();
                futex::wake(cells.number(self.first + index), 1);
            }
        }
    }
}

impl Entry {
    /// How this thread's wait has ended, if it has.
    pub(crate) fn ended<const N: usize>(self, cells: &Cells<N>) -> Option<End> {
        // SYNC: waiter
        match cells.number(self.at).load(Acquire) {
            value if value == self.value => None,
            value if value & STATE == GRANTED => Some(End::Granted),
            _ => Some(End::Refused),
        }
    }

    /// Takes this thread's entry away, whose wait has ended.
    pub(crate) fn leave<const N: usize>(self, cells: &Cells<N>) {
        kill::point();
        // SYNC: waiter
        cells.number(self.at).store(0, Release);
    }

    /// Takes this thread's entry away if its wait has not ended; otherwise says how it has.
    pub(crate) fn give_up<const N: usize>(self, cells: &Cells<N>) -> Option<End> {
        kill::point();
        // SYNC: waiter
        match cells.number(self.at).compare_exchange(self.value, 0, AcqRel, Acquire) {
            Ok(_) => None,
            Err(value) if value & STATE == GRANTED => Some(End::Granted),
            Err(_) => Some(End::Refused),
        }
    }

    /// Waits for the end of this thread's wait. After each slice it calls `look`, which sees to the dead. `None` = the
    /// deadline has passed, and the entry waits still.
    pub(crate) fn wait<const N: usize>(self, cells: &Cells<N>, slices: &mut Slices, look: impl Fn()) -> Option<End> {
        let mut spin = Spin::new();
        loop {
            if let Some(end) = self.ended(cells) {
                return Some(end);
            }
            if spin.once() {
                continue;
            }
            kill::point();
            if !slices.sleep(cells.number(self.at), self.value) {
                return None;
            }
            if self.ended(cells).is_none() {
                look();
            }
        }
    }

    /// Whether its process has died.
    pub(crate) fn is_dead(self, caller: &impl Caller) -> bool {
        // SYNC: death
        caller.is_dead(self.slot())
    }
}
