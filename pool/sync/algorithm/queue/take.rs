//! The end at which items are taken.

use super::{Books, End, HOLDS, Head, INLINE, Queue, Refusal, Taken, Wait, halves};
use crate::sync::algorithm::sleepers::Sleepers;
use crate::sync::algorithm::word::{Caller, kill};
use crate::sys::atomic::Ordering;
use Ordering::{Acquire, Relaxed, Release};

impl<'a> Queue<'a> {
    /// Takes up to `most` items, at least one, and hands them to `out`, under the lock; how many. `before` is called with the
    /// number of those that will count as taken next.
    #[inline]
    pub(crate) fn take<B: Books>(
        self,
        caller: &impl Caller,
        books: &B,
        most: usize,
        before: &impl Fn(usize),
        mut out: impl FnMut(Taken<'_, B::Block>),
        mut wait: Wait<'_>,
    ) -> Result<usize, Refusal> {
        loop {
            let count = self.take_some(caller, books, most, before, &mut out, &wait)?;
            if count > 0 || most == 0 {
                return Ok(count);
            }
            // What was put before the end is there: only then it is over.
            for (has_ended, refusal) in [(self.is_closed(), Refusal::Closed), ((wait.is_over)(), Refusal::Over)] {
                if has_ended {
                    let count = self.take_some(caller, books, most, before, &mut out, &wait)?;
                    return if count > 0 { Ok(count) } else { Err(refusal) };
                }
            }
            if !wait.wait(&self.head.takers, || self.len() > 0 || self.is_closed()) {
                if wait.answers && self.len() > 0 {
                    self.head.takers.call(1);
                }
                return Err(Refusal::TimedOut);
            }
        }
    }

    /// Whether something can be taken, or will never be.
    pub(crate) fn is_ready(self, is_over: impl Fn() -> bool) -> bool {
        self.len() > 0 || self.is_closed() || is_over()
    }

    /// Where those sleep who wait for an item.
    pub(crate) fn takers(self) -> &'a Sleepers {
        &self.head.takers
    }

    /// The calling thread has announced itself to the takers, and takes nothing: what is there is for the next.
    pub(crate) fn pass_on(self) {
        let takers = self.takers();
        takers.mark();
        if self.len() > 0 {
            takers.call(1);
        }
    }

    /// Waits until an item is there, which others may take at once, or it is over; false = the deadline has passed.
    pub(crate) fn poll(self, mut wait: Wait<'_>) -> bool {
        loop {
            let is_ready = self.is_ready(wait.is_over);
            if is_ready || !wait.wait(self.takers(), || self.len() > 0 || self.is_closed()) {
                if wait.answers {
                    self.pass_on();
                }
                return is_ready;
            }
        }
    }

    /// Takes what is there now.
    #[inline]
    fn take_some<B: Books>(
        self,
        caller: &impl Caller,
        books: &B,
        most: usize,
        before: &impl Fn(usize),
        out: &mut impl FnMut(Taken<'_, B::Block>),
        wait: &Wait<'_>,
    ) -> Result<usize, Refusal> {
        let Head { put, take, takers, putters, .. } = self.head;
        if wait.answers {
            takers.mark();
        }
        let Some(held) = self.lock(take, caller, books, false, || wait.for_the_lock()) else {
            if wait.answers {
                takers.call(1);
            }
            return Err(Refusal::TimedOut);
        };
        let start = take.at.load(Relaxed);
        let mut seen = take.seen.load(Relaxed);
        let mut taking = Taking { take, before, at: start, count: 0, counted: 0 };
        // Why it stops before it has so many.
        let mut refusal = None;
        while taking.count < most && refusal.is_none() {
            if taking.at == seen {
                // SYNC: queue item
                seen = put.at.load(Acquire);
                take.seen.store(seen, Relaxed);
            }
            if taking.at == seen {
                break;
            }
            let is_sound = seen.wrapping_sub(taking.at) <= self.shape.capacity;
            let Some(slot) = self.slot(taking.at).ok().filter(|_| is_sound) else {
                // What was taken before comes first, as below.
                refusal = Some(Refusal::Damaged);
                break;
            };
            if self.is_to_be_discarded(taking.at) {
                // All but the last, so that none is lost with a segment whose last item was not taken.
                taking.commit();
            }
            let word = slot[0].load(Relaxed);
            if word & HOLDS != 0 {
                match self.take_block(books, &mut taking, word) {
                    Ok(block) => out(Taken::Block(block)),
                    // What was taken before comes first, and then this is found once more.
                    Err(_) if taking.count > 0 => break,
                    Err(other) => refusal = Some(other),
                }
                continue;
            }
            let len = (word >> 8) as usize;
            match word {
                _ if word & 0xff == INLINE && len <= 8 * (slot.len() - 1) => {
                    out(Taken::Small(&slot[1..], len));
                    taking.count += 1;
                }
                // A hole is passed over.
                0 => {}
                _ if taking.count > 0 => break,
                _ => refusal = Some(Refusal::Damaged),
            }
            self.discard_behind(books, taking.at);
            taking.at = taking.at.wrapping_add(1);
        }
        if taking.at != take.at.load(Relaxed) {
            taking.commit();
        }
        drop(held);
        if taking.at != start {
            putters.call(u32::try_from(taking.count).unwrap_or(u32::MAX).max(1));
        }
        if wait.answers && self.len() > 0 {
            takers.call(1);
        }
        refusal.filter(|_| taking.count == 0).map_or(Ok(taking.count), Err)
    }

    /// Takes an item that lies in a block, and those before it. One that is not there is passed over if it is the first; one
    /// that this process cannot have stays.
    #[cold]
    fn take_block<B: Books>(
        self,
        books: &B,
        taking: &mut Taking<'_, impl Fn(usize)>,
        word: u64,
    ) -> Result<B::Block, Refusal> {
        let take = taking.take;
        taking.commit();
        // SYNC: queue pending
        take.pending_at.store(taking.at, Release);
        take.pending.store(word, Release);
        kill::point();
        let block = books.open(word);
        if block.is_err() {
            // Nothing that the slot could hold.
            // SYNC: queue pending
            take.pending.store(0, Release);
        }
        if block.as_ref().is_err_and(|refusal| *refusal == Refusal::Refused || taking.count > 0) {
            return block;
        }
        taking.count += usize::from(block.is_ok());
        self.discard_behind(books, taking.at);
        taking.at = taking.at.wrapping_add(1);
        taking.commit();
        books.leave(&take.pending);
        kill::point();
        block
    }

    /// Whether with this item a segment ends that nobody will need soon.
    #[inline]
    fn is_to_be_discarded(self, at: u64) -> bool {
        if !self.shape.is_last(at) || !self.shape.discards {
            return false;
        }
        // That one more was left and not taken again is the way of a queue that stays short.
        let (again, _) = halves(self.head.put.segments.load(Relaxed));
        self.shape.segment_of(at).wrapping_sub(again) as i32 > 0
    }

    /// Gives the memory of the segment back that ends with this item, which was read, and does not count as taken yet: until
    /// it does nobody puts anything there.
    #[inline]
    fn discard_behind<B: Books>(self, books: &B, at: u64) {
        if self.is_to_be_discarded(at) {
            let segment = self.words[self.shape.entry(at)].load(Relaxed);
            if let Some(range) = self.shape.range(segment) {
                books.discard(range.start, range.len());
                kill::point();
            }
        }
    }
}

/// What somebody who holds the end is about to take.
struct Taking<'a, F> {
    take: &'a End,
    before: &'a F,
    at: u64,
    /// Handed out, and among these what counts as taken already.
    count: usize,
    counted: usize,
}

impl<F: Fn(usize)> Taking<'_, F> {
    /// From now on all up to here counts as taken.
    #[inline]
    fn commit(&mut self) {
        (self.before)(self.count - std::mem::replace(&mut self.counted, self.count));
        // SYNC: queue room
        self.take.at.store(self.at, Release);
        kill::point();
    }
}
