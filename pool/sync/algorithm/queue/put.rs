//! The end at which items are put.

use super::{Books, Head, INLINE, Item, Queue, Refusal, Wait, halves};
use crate::sync::algorithm::word::{Caller, kill};
use crate::sys::atomic::{AtomicU64, Ordering};
use Ordering::{Acquire, Relaxed, Release};
use std::ops::Range;

impl<'a> Queue<'a> {
    /// Puts so many items, in their order, and one behind the other unless it has to wait in between; how many it did, and
    /// why not all.
    #[inline]
    pub(crate) fn put<'i, B: Books>(
        self,
        caller: &impl Caller,
        books: &B,
        count: usize,
        item: impl Fn(usize) -> Item<'i, B::Block>,
        mut wait: Wait<'_>,
    ) -> (usize, Option<Refusal>)
    where
        B::Block: 'i,
    {
        let mut done = 0;
        loop {
            if (wait.is_over)() {
                return (done, Some(Refusal::Over));
            }
            match self.put_some(caller, books, done..count, &item, &wait) {
                Ok(put) => done += put,
                Err(refusal) => return (done, Some(refusal)),
            }
            if done == count {
                return (done, None);
            }
            let has_room = || self.len() < self.shape.capacity || self.is_closed();
            if !wait.wait(&self.head.putters, has_room) {
                if wait.answers && has_room() {
                    self.head.putters.call(1);
                }
                return (done, Some(Refusal::TimedOut));
            }
        }
    }

    /// Puts as many as there is room for now.
    #[inline]
    fn put_some<'i, B: Books>(
        self,
        caller: &impl Caller,
        books: &B,
        items: Range<usize>,
        item: &impl Fn(usize) -> Item<'i, B::Block>,
        wait: &Wait<'_>,
    ) -> Result<usize, Refusal>
    where
        B::Block: 'i,
    {
        let Head { put, take, takers, putters, .. } = self.head;
        if wait.answers {
            putters.mark();
        }
        let Some(held) = self.lock(put, caller, books, true, || wait.for_the_lock()) else {
            if wait.answers {
                putters.call(1);
            }
            return Err(Refusal::TimedOut);
        };
        if put.closed.load(Relaxed) != 0 {
            // Nothing may be put any more.
            return Err(Refusal::Closed);
        }
        let start = put.at.load(Relaxed);
        let mut used = start.wrapping_sub(put.seen.load(Relaxed));
        if self.shape.capacity.saturating_sub(used) < items.len() as u64 {
            // SYNC: queue room
            let seen = take.at.load(Acquire);
            put.seen.store(seen, Relaxed);
            used = start.wrapping_sub(seen);
        }
        let room = self.shape.capacity.checked_sub(used).ok_or(Refusal::Damaged)?;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let mut at = start;
        let mut damaged = false;
        for item in items.take(room).map(item) {
            let Ok(slot) = self.next_slot(at) else {
                damaged = true;
                break;
            };
            match item {
                Item::Number(words, len) => write(slot, &words, len),
                Item::Small(words, len) => write(slot, words, len),
                Item::Block(block) => {
                    damaged = !self.put_block(books, at, slot, block);
                    if damaged {
                        break;
                    }
                }
            }
            at = at.wrapping_add(1);
            kill::point();
        }
        // SYNC: queue item
        put.at.store(at, Release);
        kill::point();
        drop(held);
        let count = at.wrapping_sub(start) as usize;
        if count > 0 {
            takers.call(u32::try_from(count).unwrap_or(u32::MAX));
        }
        if wait.answers && room > count {
            putters.call(1);
        }
        if damaged && count == 0 { Err(Refusal::Damaged) } else { Ok(count) }
    }

    /// Hands a block over to the slot, and all items up to this one to who takes; whether the books allow it.
    #[cold]
    fn put_block<B: Books>(self, books: &B, at: u64, slot: &[AtomicU64], block: &B::Block) -> bool {
        let put = &self.head.put;
        // SYNC: queue pending
        put.pending_at.store(at, Release);
        if !books.hold(&put.pending, block) {
            return false;
        }
        slot[0].store(put.pending.load(Relaxed), Relaxed);
        // SYNC: queue item
        put.at.store(at.wrapping_add(1), Release);
        kill::point();
        put.pending.store(0, Release);
        true
    }

    /// The slot of the next item that is put. Finds a segment for it where one begins.
    #[inline]
    fn next_slot(self, at: u64) -> Result<&'a [AtomicU64], Refusal> {
        if self.shape.is_first(at) {
            self.find_segment(at);
        }
        self.slot(at)
    }

    /// Finds a segment for the items from `at` on: the one that was left longest ago, or one that was never used.
    #[cold]
    fn find_segment(self, at: u64) {
        let Head { put, take, .. } = self.head;
        let (again, first) = halves(put.segments.load(Relaxed));
        if again.wrapping_add(first) != self.shape.segment_of(at) {
            // Somebody who has died since has found one.
            return;
        }
        // SYNC: queue room
        let left = self.shape.segment_of(take.at.load(Acquire));
        let (segment, now) = if left == again {
            (u64::from(first), (again, first.wrapping_add(1)))
        } else {
            (self.words[self.shape.entry_of(again)].load(Relaxed), (again.wrapping_add(1), first))
        };
        self.words[self.shape.entry(at)].store(segment, Relaxed);
        kill::point();
        // SYNC: lock word
        put.segments.store(u64::from(now.0) << 32 | u64::from(now.1), Release);
        kill::point();
    }
}

/// Writes a small item into its slot.
#[inline]
fn write(slot: &[AtomicU64], words: &[u64], len: usize) {
    for (place, word) in slot[1..].iter().zip(&words[..len.div_ceil(8)]) {
        place.store(*word, Relaxed);
    }
    slot[0].store((len as u64) << 8 | INLINE, Relaxed);
}
