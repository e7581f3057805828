//! A store on the heap of this process, and books of its blocks, for tests.

use super::{Entry, Found, Head, Open, Reach, Refusal, Shape, Store};
use crate::sync::algorithm::queue::{self, Books, Item};
use crate::sync::algorithm::testing::Party;
use crate::sync::algorithm::word::kill;
use crate::sys::time::Deadline;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

/// How many blocks there are: entries from this number on lie in the block of that number, modulo this.
pub(super) const BLOCKS: u32 = 64;

/// A store and all that belongs to it.
pub(super) struct Fixture {
    pub(super) head: Head,
    words: Vec<AtomicU64>,
    /// How many places hold each block.
    counts: Vec<AtomicU32>,
    /// Whether every other entry lies in a block.
    with_blocks: bool,
}

impl Books for Fixture {
    type Block = u32;

    fn hold(&self, place: &AtomicU64, block: &u32) -> bool {
        place.store(u64::from(*block) << 32 | 1, Release);
        kill::point();
        self.counts[*block as usize].fetch_add(1, AcqRel);
        // A process that is killed here loses the block: the heap's books allow for that one.
        place.store(u64::from(*block) << 32 | 2, Release);
        kill::point();
        true
    }

    fn open(&self, word: u64) -> Result<u32, queue::Refusal> {
        let block = (word >> 32) as u32;
        let is_there = word & 3 == 2 && self.counts.get(block as usize).is_some_and(|it| it.load(Acquire) > 0);
        if is_there { Ok(block) } else { Err(queue::Refusal::Damaged) }
    }

    fn leave(&self, place: &AtomicU64) {
        let word = place.load(Relaxed);
        if word & 3 == 2 {
            place.store(word | 3, Release);
            let before = self.counts[(word >> 32) as usize].fetch_sub(1, AcqRel);
            assert!(before > 0, "a block is released that nobody holds");
        }
        place.store(0, Release);
        kill::point();
    }

    fn discard(&self, _: usize, _: usize) {}
}

impl Fixture {
    pub(super) fn new(slots: usize, with_blocks: bool) -> Fixture {
        let words = (0..slots * 10).map(|_| AtomicU64::new(0)).collect();
        let counts = (0..BLOCKS).map(|_| AtomicU32::new(0)).collect();
        Fixture { head: Head::new(), words, counts, with_blocks }
    }

    pub(super) fn store(&self) -> Store<'_> {
        Store { head: &self.head, words: &self.words, shape: Shape::of(self.words.len()) }
    }

    pub(super) fn open<R: Reach>(&self, party: &Party<'_>) -> Open<'_> {
        self.store().open::<R, _>(party, self, Deadline::after(Duration::from_secs(15))).unwrap()
    }

    /// How many places hold a block, of all blocks.
    pub(super) fn held(&self) -> u32 {
        self.counts.iter().map(|count| count.load(Acquire)).sum()
    }

    /// Writes over a word.
    pub(super) fn scribble(&self, at: usize, value: u64) {
        self.words[at].store(value, Relaxed);
    }

    /// Calls `then` with an entry of a hash that stands for this number.
    pub(super) fn entry<R>(&self, tag: u32, number: u32, then: impl FnOnce(Entry<'_, u32>) -> R) -> R {
        let block = number % BLOCKS;
        let item =
            if self.with_blocks && number % 2 == 1 { Item::Block(&block) } else { Item::Number([number.into(), 0], 8) };
        then(Entry { tag, item })
    }

    /// The number that an entry stands for.
    pub(super) fn number(&self, found: Found<'_>) -> Result<u32, Refusal> {
        match found.small() {
            Some((words, 8)) => Ok(words[0].load(Relaxed) as u32),
            Some(_) => Err(Refusal::Damaged),
            None => found.block(self),
        }
    }
}
