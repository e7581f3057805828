//! A queue: many put, many take, first in, first out.
//!
//! Two ends, each behind a lock word: who puts holds the one, who takes holds the other, so that the two do not disturb
//! each other. What a put or a take changes counts from one store on, that of the end's position: an item is in the queue or
//! it is not, wherever somebody is killed. Whoever takes the lock from a dead holder has nothing to repair but one thing, a
//! block that the holder was about to hand over, or to take out of its slot ([`End::pending`]). No user code runs under the
//! locks, and nobody waits there, so they are held for some nanoseconds, or microseconds for a large item.
//!
//! A *slot* is a word that says what the item is, and words for the item if it is small. A larger one lies in a block of its
//! own, of which the slot says that it holds it (`heap/held.rs`). 0 is a hole: an item was taken, and whoever took it died
//! before the position was stored.
//!
//! Slots lie in *segments*, of which a table says which one serves now. A segment through which the items have passed
//! serves again, so a queue that is short stays in the same few pages, however many items pass. Only a queue that grows
//! takes further segments; and where more are free than are needed their pages go back to the system.
//!
//! Who finds nothing to take, or no room, spins for a while and then sleeps ([`Sleepers`]) outside of the locks. Who was
//! woken and leaves something over wakes the next.
//!
//! ## Memory ordering
//!
//! An item is written before the position is stored, Release, and read after that was loaded, Acquire (`// SYNC: queue
//! item`); so is the room that a taken item leaves (`// SYNC: queue room`). Each end's own words are read and written
//! under its lock. What a dead holder has written is seen by who takes over, as its look at the death was Acquire
//! (`// SYNC: death`).

use crate::sync::algorithm::sleepers::Sleepers;
use crate::sync::algorithm::word::{Caller, Outcome, Owner, Word, kill};
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::time::Deadline;
use Ordering::{Acquire, Relaxed, Release};

pub(crate) use shape::Shape;
pub(crate) use wait::Wait;

mod put;
mod shape;
mod take;
mod wait;

/// The most words of a small item.
pub(crate) const SMALL: usize = 7;

/// In the word of a slot: a small item, whose length in bytes stands above.
const INLINE: u64 = 4;

/// In the low two bits of the word of a slot that holds a block.
const HOLDS: u64 = 3;

/// What a queue is handed.
pub(crate) enum Item<'a, B> {
    /// Its bytes, and how many of them count.
    Number([u64; 2], usize),
    Small(&'a [u64; SMALL], usize),
    Block(&'a B),
}

/// What it hands out: a small item where it lies, as long as the end is locked.
pub(crate) enum Taken<'a, B> {
    Small(&'a [AtomicU64], usize),
    Block(B),
}

/// Blocks in which large items lie, and pages: `heap/held.rs` in real life.
pub(crate) trait Books {
    type Block;

    /// Counts the block, which this process holds, as held by the place, too; false = it cannot be.
    fn hold(&self, place: &AtomicU64, block: &Self::Block) -> bool;

    /// Takes a hold of the block for this process, beside that of the place.
    ///
    /// # Errors
    ///
    /// [`Refusal::Damaged`]: there is none. [`Refusal::Refused`]: this process cannot.
    fn open(&self, word: u64) -> Result<Self::Block, Refusal>;

    /// Releases what the place holds.
    fn leave(&self, place: &AtomicU64);

    /// Gives the memory of these words back to the system; they then read as 0.
    fn discard(&self, at: usize, len: usize);
}

/// Why an operation did not do all that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no room, or nothing to take, and the deadline has passed.
    TimedOut,
    /// The queue was closed, and, for who takes, is empty.
    Closed,
    /// Nobody is left at the other end.
    Over,
    /// What stands there was not written by this library.
    Damaged,
    /// This process cannot hold or map the memory of the item, which stays where it is.
    Refused,
}

/// One end: a cache line for who holds it, and one for what the other end looks at, so that its looks do not take the lock's
/// line from the holder.
#[repr(C)]
struct End {
    lock: Word,
    /// Where the other end was when this one last looked: that much, or more by now.
    seen: AtomicU64,
    /// A place that holds a block while it is handed over, so that it is not lost with who does that; and the position of
    /// its slot, which says whether the slot has become the one that counts (put) or counts no more (taken).
    pending: AtomicU64,
    pending_at: AtomicU64,
    /// Who puts: how many segments were taken again (above), and how many for the first time (below).
    segments: AtomicU64,
    _room: [AtomicU64; 3],
    /// The position of the next item that is put, or taken.
    at: AtomicU64,
    closed: AtomicU64,
    _more_room: [AtomicU64; 6],
}

/// The shared part in front of the table and the slots. All zero is an empty queue without a shape.
#[repr(C, align(64))]
pub(crate) struct Head {
    /// See [`Shape`]; written before the queue is shared.
    shape: [AtomicU64; 6],
    /// What stands for those at either end, if that is noted; written before the queue is shared.
    pub(crate) ends: [AtomicU64; 2],
    _gap: [AtomicU64; 8],
    put: End,
    take: End,
    takers: Sleepers,
    putters: Sleepers,
    _room: [AtomicU64; 15],
}

/// A queue where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Queue<'a> {
    pub(crate) head: &'a Head,
    /// The table of segments, and the slots.
    pub(crate) words: &'a [AtomicU64],
    pub(crate) shape: &'a Shape,
}

/// An end, locked.
struct Held<'a> {
    end: &'a End,
    me: Owner,
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        let released = self.end.lock.unlock(self.me);
        debug_assert_eq!(released, Ok(()));
    }
}

impl<'a> Queue<'a> {
    /// Locks an end; `None` = somebody else had it locked until the deadline, which is only asked for if somebody has.
    #[inline]
    fn lock<B: Books>(
        self,
        end: &'a End,
        caller: &impl Caller,
        books: &B,
        is_put: bool,
        deadline: impl FnOnce() -> Deadline,
    ) -> Option<Held<'a>> {
        let me = caller.me();
        match end.lock.open_until(caller, deadline) {
            Outcome::Acquired => {}
            Outcome::AcquiredPoisoned => self.recover(end, me, |place| books.leave(place), is_put),
            // A thread never locks an end that it has locked, so there is nothing else that it says.
            Outcome::TimedOut | Outcome::WouldDeadlock | Outcome::Busy => return None,
        }
        kill::point();
        Some(Held { end, me })
    }

    /// Nobody puts any more; who takes gets what is there, and is then told.
    pub(crate) fn close<B: Books>(self, caller: &impl Caller, books: &B) {
        let held = loop {
            if let Some(held) = self.lock(&self.head.put, caller, books, true, || Deadline::NEVER) {
                break held;
            }
        };
        // SYNC: queue closed
        self.head.put.closed.store(1, Release);
        kill::point();
        drop(held);
        self.wake_all();
    }

    /// Wakes all who wait, to look whether it is over.
    pub(crate) fn wake_all(self) {
        self.head.takers.call(i32::MAX as u32);
        self.head.putters.call(i32::MAX as u32);
    }

    /// Whether it was closed. What was put before is seen by who sees this.
    pub(crate) fn is_closed(self) -> bool {
        // SYNC: queue closed
        self.head.put.closed.load(Acquire) != 0
    }

    /// How many items are in it, exactly, at one moment of the call.
    #[inline]
    pub(crate) fn len(self) -> u64 {
        // SYNC: queue item, queue room
        let mut taken = self.head.take.at.load(Acquire);
        loop {
            let put = self.head.put.at.load(Acquire);
            let again = self.head.take.at.load(Acquire);
            if again == taken {
                return put.wrapping_sub(taken).min(self.shape.capacity);
            }
            taken = again;
        }
    }

    /// How many items were ever put, and how many of these are in it.
    pub(crate) fn put_so_far(self) -> (u64, u64) {
        // SYNC: queue item, queue room
        let taken = self.head.take.at.load(Acquire);
        let put = self.head.put.at.load(Acquire);
        (put, put.wrapping_sub(taken))
    }

    /// Frees the ends from a process that has died, and completes what it has begun there, by `leave`, which releases what a
    /// place holds: nobody else may ever come to this queue. For whoever clears up after it, before its slot has a new owner.
    pub(crate) fn reclaim(self, caller: &impl Caller, slot: u16, leave: impl Fn(&AtomicU64)) {
        let me = caller.me();
        for (end, is_put) in [(&self.head.put, true), (&self.head.take, false)] {
            end.lock.reclaim(slot);
            let outcome = end.lock.try_lock(caller);
            if outcome == Outcome::AcquiredPoisoned {
                self.recover(end, me, &leave, is_put);
            }
            // Otherwise somebody else has it, and has completed it before anything else.
            if outcome.is_acquired() {
                drop(Held { end, me });
            }
        }
    }

    /// Calls `each` with all that the queue holds; while nobody uses it.
    pub(crate) fn held(self, each: &mut dyn FnMut(u64)) {
        let Head { put, take, .. } = self.head;
        // SYNC: queue item, queue room
        let (from, to) = (take.at.load(Acquire), put.at.load(Acquire));
        // Bytes that somebody has written over may say anything.
        let count = Some(to.wrapping_sub(from)).filter(|count| *count <= self.shape.capacity).unwrap_or(0);
        for at in (0..count).map(|step| from.wrapping_add(step)) {
            if let Ok(slot) = self.slot(at) {
                each(slot[0].load(Relaxed));
            }
        }
        for (end, is_put) in [(put, true), (take, false)] {
            if is_kept(end, is_put) {
                each(end.pending.load(Relaxed));
            }
        }
    }

    /// Completes what a dead holder has begun.
    #[cold]
    fn recover(self, end: &End, me: Owner, leave: impl Fn(&AtomicU64), is_put: bool) {
        let pending = end.pending.load(Relaxed);
        if is_kept(end, is_put) {
            leave(&end.pending);
        } else if let (false, true, Ok(slot)) = (is_put, pending != 0, self.slot(end.pending_at.load(Relaxed))) {
            // Its item was not taken yet, but its slot may have gone back to the system, with the segment that ends there.
            slot[0].store(pending, Relaxed);
            kill::point();
        }
        // SYNC: queue pending
        end.pending.store(0, Release);
        kill::point();
        // A lock that is held can be cleared.
        let _ = end.lock.clear_poison(me);
    }

    /// The slot of an item that is in the queue.
    #[inline]
    fn slot(self, at: u64) -> Result<&'a [AtomicU64], Refusal> {
        let segment = self.words[self.shape.entry(at)].load(Relaxed);
        let place = self.shape.place(segment, at).ok_or(Refusal::Damaged)?;
        Ok(&self.words[place..place + self.shape.width])
    }
}

#[cfg(test)]
impl Head {
    /// In real life it is memory that was zero.
    pub(crate) fn new() -> Head {
        use std::array::from_fn;
        let end = || End {
            lock: Word::new(),
            seen: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            pending_at: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            _room: from_fn(|_| AtomicU64::new(0)),
            at: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            _more_room: from_fn(|_| AtomicU64::new(0)),
        };
        Head {
            shape: from_fn(|_| AtomicU64::new(0)),
            ends: from_fn(|_| AtomicU64::new(0)),
            _gap: from_fn(|_| AtomicU64::new(0)),
            put: end(),
            take: end(),
            takers: Sleepers::new(),
            putters: Sleepers::new(),
            _room: from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// Whether what is pending at an end belongs to it, and not to a slot.
fn is_kept(end: &End, is_put: bool) -> bool {
    let has_passed = end.at.load(Relaxed).wrapping_sub(end.pending_at.load(Relaxed)) as i64 > 0;
    has_passed != is_put
}

fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(all(test, not(loom)))]
mod fuzz;
#[cfg(all(test, loom))]
mod model;
#[cfg(test)]
pub(super) mod testing;
#[cfg(all(test, not(loom)))]
mod tests;
