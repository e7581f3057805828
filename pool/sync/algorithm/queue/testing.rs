//! A queue on the heap of this process, and books of its blocks, for tests and models; the books for those of stores, too.

use super::{Books, Head, Item, Queue, Refusal, Shape, Taken, Wait};
use crate::sync::algorithm::testing::Party;
use crate::sync::algorithm::word::kill;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::time::Deadline;
use Ordering::{AcqRel, Acquire, Relaxed, Release};

/// How many blocks there are.
const BLOCKS: usize = if cfg!(loom) { 4 } else { 64 };

/// Words in which something lies, and books of the blocks that they hold.
pub(in crate::sync::algorithm) struct Memory {
    pub(in crate::sync::algorithm) words: Vec<AtomicU64>,
    /// How many places hold each block.
    counts: Vec<AtomicU32>,
}

impl Memory {
    pub(in crate::sync::algorithm) fn new(words: usize, blocks: usize) -> Memory {
        let words = (0..words).map(|_| AtomicU64::new(0)).collect();
        Memory { words, counts: (0..blocks).map(|_| AtomicU32::new(0)).collect() }
    }

    /// How many places hold a block, of all blocks.
    pub(in crate::sync::algorithm) fn held(&self) -> u32 {
        self.counts.iter().map(|count| count.load(Acquire)).sum()
    }

    /// Writes over a word.
    #[cfg(not(loom))]
    pub(in crate::sync::algorithm) fn scribble(&self, at: usize, value: u64) {
        self.words[at].store(value, Relaxed);
    }
}

impl Books for Memory {
    type Block = u32;

    fn hold(&self, place: &AtomicU64, block: &u32) -> bool {
        place.store(u64::from(*block) << 32 | 1, Release);
        kill::point();
        self.counts[*block as usize].fetch_add(1, AcqRel);
        // Who is killed here loses the block: the heap's books allow for that one.
        kill::point();
        place.store(u64::from(*block) << 32 | 2, Release);
        kill::point();
        true
    }

    fn open(&self, word: u64) -> Result<u32, Refusal> {
        let block = (word >> 32) as u32;
        let is_there = word & 3 == 2 && self.counts.get(block as usize).is_some_and(|it| it.load(Acquire) > 0);
        if is_there { Ok(block) } else { Err(Refusal::Damaged) }
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

    fn discard(&self, at: usize, len: usize) {
        self.words[at..at + len].iter().for_each(|word| word.store(0, Relaxed));
    }
}

/// A queue and all that belongs to it.
pub(super) struct Fixture {
    head: Head,
    pub(super) memory: Memory,
    shape: Shape,
}

/// An item that stands for a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Thing {
    Small(u64),
    Block(u32),
}

pub(super) fn small(value: u64) -> Thing {
    Thing::Small(value)
}

impl Thing {
    fn item(&self) -> Item<'_, u32> {
        match self {
            Thing::Small(number) => Item::Number([*number, 0], 8),
            Thing::Block(block) => Item::Block(block),
        }
    }
}

/// The number that an item stands for, of either kind.
fn number(item: Taken<'_, u32>) -> u64 {
    match item {
        Taken::Small(words, 8) => words[0].load(Relaxed),
        Taken::Block(block) => u64::from(block),
        Taken::Small(..) => panic!("another length"),
    }
}

pub(super) fn never() -> bool {
    false
}

impl Fixture {
    pub(super) fn new(shape: Shape) -> Fixture {
        Fixture { head: Head::new(), memory: Memory::new(shape.words(), BLOCKS), shape }
    }

    pub(super) fn queue(&self) -> Queue<'_> {
        Queue { head: &self.head, words: &self.memory.words, shape: &self.shape }
    }

    /// Puts one item, and waits for ever.
    pub(super) fn put(&self, party: &Party<'_>, item: Thing) -> Result<(), Refusal> {
        let wait = Wait::until(Deadline::NEVER, &never);
        self.put_all(party, &[item], wait).1.map_or(Ok(()), Err)
    }

    pub(super) fn try_put(&self, party: &Party<'_>, items: &[Thing]) -> (usize, Option<Refusal>) {
        self.put_all(party, items, Wait::not(&never))
    }

    pub(super) fn put_all(&self, party: &Party<'_>, items: &[Thing], wait: Wait<'_>) -> (usize, Option<Refusal>) {
        self.queue().put(party, &self.memory, items.len(), |at| items[at].item(), wait)
    }

    /// Takes one item, and waits until the deadline.
    pub(super) fn take(&self, party: &Party<'_>, deadline: Deadline) -> Result<u64, Refusal> {
        let mut number = 0;
        let out = |item: Taken<'_, u32>| number = self::number(item);
        self.queue().take(party, &self.memory, 1, &|_| (), out, Wait::until(deadline, &never)).map(|_| number)
    }

    /// Takes what is there, up to so many.
    pub(super) fn try_take(&self, party: &Party<'_>, most: usize) -> Result<Vec<u64>, Refusal> {
        let mut numbers = Vec::new();
        match self.queue().take(
            party,
            &self.memory,
            most,
            &|_| (),
            |item| numbers.push(number(item)),
            Wait::not(&never),
        ) {
            Err(Refusal::TimedOut) => Ok(Vec::new()),
            taken => taken.map(|_| numbers),
        }
    }
}
