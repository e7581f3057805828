//! A store on the heap of this process, for tests.

use super::{Entry, Found, Head, Open, Reach, Refusal, Store};
use crate::sync::algorithm::queue::Item;
use crate::sync::algorithm::queue::testing::Memory;
use crate::sync::algorithm::testing::Party;
use crate::sys::time::Deadline;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How many blocks there are: entries from this number on lie in the block of that number, modulo this.
pub(super) const BLOCKS: u32 = 64;

/// A store and all that belongs to it.
pub(super) struct Fixture {
    pub(super) head: Head,
    pub(super) memory: Memory,
    /// Whether every other entry lies in a block.
    with_blocks: bool,
}

impl Fixture {
    pub(super) fn new(slots: usize, with_blocks: bool) -> Fixture {
        Fixture { head: Head::new(), memory: Memory::new(slots * 10, BLOCKS as usize), with_blocks }
    }

    pub(super) fn store(&self) -> Store<'_> {
        Store::new(&self.head, &self.memory.words)
    }

    pub(super) fn open<R: Reach>(&self, party: &Party<'_>) -> Open<'_> {
        self.store().open::<R, _>(party, &self.memory, Deadline::after(Duration::from_secs(15))).unwrap()
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
            None => found.block(&self.memory),
        }
    }
}
