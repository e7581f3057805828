//! A queue that somebody has written over, but for its locks: who waits for one that nobody holds waits to its time limit.

use super::*;
use crate::sync::algorithm::testing::{Crowd, Party};
use crate::sys::fuzz::{Random, fuzz, within};

/// Blocks of which nobody knows anything.
struct AnyBooks<'a>(&'a [AtomicU64]);

impl Books for AnyBooks<'_> {
    type Block = u32;

    fn hold(&self, place: &AtomicU64, block: &u32) -> bool {
        place.store(u64::from(*block) << 32 | 2, Release);
        *block % 16 != 0
    }

    fn open(&self, word: u64) -> Result<u32, Refusal> {
        match (word >> 32) as u32 {
            block if block % 16 == 0 => Err(Refusal::Damaged),
            block if block % 16 == 1 => Err(Refusal::Refused),
            block => Ok(block),
        }
    }

    fn leave(&self, place: &AtomicU64) {
        place.store(0, Release);
    }

    fn discard(&self, at: usize, len: usize) {
        self.0[at..at + len].iter().for_each(|word| word.store(0, Relaxed));
    }
}

struct Fixture {
    crowd: Crowd,
    head: Head,
    words: Vec<AtomicU64>,
    shape: Shape,
}

impl Fixture {
    fn new() -> Fixture {
        let shape = Shape::tiny(11, 2, 4, true);
        let words = (0..shape.words()).map(|_| AtomicU64::new(0)).collect();
        Fixture { crowd: Crowd::new(), head: Head::new(), words, shape }
    }

    fn queue(&self) -> Queue<'_> {
        Queue { head: &self.head, words: &self.words, shape: &self.shape }
    }

    /// Writes something into a few words: a number near what stands there as a rule, since others are soon refused.
    fn scribble(&self, random: &mut Random) {
        for _ in 0..random.below(4) {
            let end = if random.once_in(2) { &self.head.put } else { &self.head.take };
            let word = match random.below(12) {
                0 => &end.seen,
                1 => &end.pending,
                2 => &end.pending_at,
                3 => &end.segments,
                4 => &end.at,
                5 if random.once_in(20) => &end.closed,
                _ => random.pick(&self.words),
            };
            let before = word.load(Relaxed);
            let new = match random.below(5) {
                0 => before.wrapping_add(random.next() % 4),
                1 => before ^ 1 << random.below(64),
                2 => (random.next() % 200) << 8 | INLINE,
                3 => (random.next() % 64) << 32 | (random.next() % 4),
                _ => random.number(),
            };
            word.store(new, Relaxed);
        }
    }

    /// Somebody who dies while an end is locked.
    fn lose_one(&self, books: &AnyBooks<'_>, random: &mut Random) {
        const VICTIM: u16 = 1;
        let is_put = random.once_in(2);
        let end = if is_put { &self.head.put } else { &self.head.take };
        let held = self.queue().lock(end, &self.crowd.party(VICTIM, 1), books, is_put, || Deadline::NEVER);
        std::mem::forget(held);
        self.crowd.kill(VICTIM);
        if random.once_in(2) {
            self.queue().reclaim(&self.crowd.party(2, 1), VICTIM, |place| books.leave(place));
            self.crowd.revive(VICTIM);
        } else {
            // Whoever comes next takes over.
            assert!(self.len_after(books) <= self.shape.capacity);
            self.crowd.revive(VICTIM);
        }
    }

    /// Puts nothing and takes nothing, at both ends.
    fn len_after(&self, books: &AnyBooks<'_>) -> u64 {
        let (party, queue) = (self.crowd.party(2, 1), self.queue());
        for (end, is_put) in [(&self.head.put, true), (&self.head.take, false)] {
            drop(queue.lock(end, &party, books, is_put, || Deadline::NEVER));
        }
        queue.len()
    }

    fn put(&self, party: &Party<'_>, books: &AnyBooks<'_>, random: &mut Random) {
        let count = random.below(14);
        let (number, block, kind) = (random.next(), random.next() as u32, random.below(3));
        let small = [number; SMALL];
        let item = |at: usize| match kind {
            0 => Item::Number([number, at as u64], 8),
            1 => Item::Small(&small, 8),
            _ => Item::Block(&block),
        };
        let (done, refusal) = self.queue().put(party, books, count, item, Wait::not(&|| false));
        assert!(done == count || done < count && refusal.is_some());
    }

    fn take(&self, party: &Party<'_>, books: &AnyBooks<'_>, random: &mut Random) {
        let most = random.below(14);
        let (mut out, counted) = (0, std::cell::Cell::new(0));
        let each = |item: Taken<'_, u32>| {
            out += 1;
            if let Taken::Small(words, len) = item {
                assert!(len <= 8 * words.len(), "an item that is longer than its slot");
            }
        };
        let before = |count: usize| counted.set(counted.get() + count);
        match self.queue().take(party, books, most, &before, each, Wait::not(&|| false)) {
            Ok(count) => assert!(count <= most && count == out && counted.get() == out, "{count} {out}"),
            Err(_) => assert_eq!(out, 0, "an item was handed out, and an error"),
        }
    }
}

#[test]
fn whatever_stands_in_a_queue() {
    fuzz(Fixture::new, |fixture, random| {
        let books = AnyBooks(&fixture.words);
        let party = fixture.crowd.party(2, 1);
        fixture.scribble(random);
        within(4096, &"a queue", || match random.below(20) {
            0 => fixture.lose_one(&books, random),
            1 => fixture.queue().held(&mut |_| ()),
            2 => drop(fixture.queue().put_so_far()),
            3 if random.once_in(20) => fixture.queue().close(&party, &books),
            4..=9 => fixture.put(&party, &books, random),
            _ => fixture.take(&party, &books, random),
        });
        assert!(fixture.queue().len() <= fixture.shape.capacity);
        // One that is damaged for good would show no more.
        if random.once_in(8) {
            *fixture = Fixture::new();
        }
    });
}

#[test]
fn whatever_stands_where_the_shape_of_a_queue_does() {
    fuzz(Head::new, |head, random| {
        let shapes = [Shape::bounded(1 + random.below(5000), 8), Shape::unbounded(1 << (20 + random.below(20)), 56)];
        let Some(shape) = random.pick(&shapes) else { return };
        shape.write(head);
        // No file is longer.
        let words = if random.once_in(2) { shape.words() } else { random.number() as usize >> 20 };
        for _ in 0..random.below(3) {
            random.pick(&head.shape).store(random.number(), Relaxed);
        }
        let Some(read) = Shape::read(head, words) else { return };
        assert!(read.words() <= words && read.small() <= 8 * SMALL);
        let at = random.number();
        assert!(read.entry(at) < words);
        let last = words.checked_sub(read.width).unwrap();
        assert!(read.place(random.number(), at).is_none_or(|place| place <= last));
        assert!(read.range(random.number()).is_none_or(|range| range.end <= words));
    });
}
