//! A store: entries in slots, found through a table, behind a lock word.
//!
//! Every change counts from one store on, that of the word by which its entry is reached: a word of the table, a link from one
//! slot to the next, or the word that says which of two tables counts. What is to be reached is complete before, so there is
//! nothing half done wherever somebody is killed. Who takes the lock from a dead holder has one thing to repair: slots that are
//! neither reached nor free. It looks which are reached, and frees the others.
//!
//! A *slot* is 8 words: links to the next slot of a chain, a word that says what the entry is, and 6 for the entry if it is
//! small. A larger one lies in a block of its own, which the slot holds (`heap/held.rs`).
//!
//! What is reached, and how, is the business of the two who use stores: [`dict`] has chains, one for each place of its table;
//! [`list`] has a table with a word for each entry. Both have a second table, in which the next one is made while the first
//! counts.
//!
//! ## Memory ordering
//!
//! Everything is read and written under the lock (`// SYNC: lock word`). The stores by which changes count are Release, so
//! that what a dead holder has left is complete for who takes over, whose look at the death was Acquire (`// SYNC: death`).

use crate::sync::algorithm::queue::{self, Books, Item};
use crate::sync::algorithm::word::{Caller, Outcome, Owner, Word, kill};
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::time::Deadline;
use Ordering::{Relaxed, Release};

pub(crate) mod dict;
pub(crate) mod list;
#[cfg(all(test, not(loom)))]
mod testing;
#[cfg(all(test, not(loom)))]
mod tests;

/// The words of a slot.
const WIDTH: usize = 8;

/// The most words of a small entry.
pub(crate) const SMALL: usize = WIDTH - ENTRY;

/// Where in a slot the links are, one in each half; what the entry is; and where it begins.
const LINKS: usize = 0;
const META: usize = 1;
const ENTRY: usize = 2;

/// In the low byte of what the entry is. 0 = there is none.
const INLINE: u64 = 1;
const BLOCK: u64 = 2;

/// In front of a store. All zero is an empty one.
#[repr(C, align(64))]
pub(crate) struct Head {
    lock: Word,
    /// Which table counts, in the lowest bit, and above what the user of the store needs to know of it.
    table: AtomicU64,
    /// The first free slot, or 0; and how many slots were ever used.
    free: AtomicU64,
    used: AtomicU64,
    /// How many entries there are, if the user of the store counts them.
    count: AtomicU64,
    _room: [AtomicU64; 3],
}

/// A store where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Store<'a> {
    head: &'a Head,
    /// Two tables, and the slots.
    words: &'a [AtomicU64],
    /// The words of a table, and how many slots there are.
    capacity: usize,
}

/// Where in a block of `len` bytes the words of a store begin, in bytes, and how many there are: of the `at`th of `count`
/// stores, whose heads stand in front. `None` = there is no room for so many.
pub(crate) fn words_in(len: usize, count: usize, at: usize) -> Option<(usize, usize)> {
    const PAGE: usize = 4096;
    let front = (count * size_of::<Head>()).next_multiple_of(PAGE);
    let each = len.checked_sub(front)? / count / PAGE * PAGE;
    (each > 0 && at < count).then_some((front + at * each, each / 8))
}

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Somebody else had the store locked until the deadline.
    TimedOut,
    /// The calling thread has it locked.
    WouldDeadlock,
    /// There is no room.
    Full,
    /// What stands there was not written by this library.
    Damaged,
    /// This process cannot hold or map the memory of the entry.
    Refused,
}

impl From<queue::Refusal> for Refusal {
    fn from(refusal: queue::Refusal) -> Refusal {
        match refusal {
            queue::Refusal::Refused => Refusal::Refused,
            _ => Refusal::Damaged,
        }
    }
}

/// An entry that is to be stored: what is known of it ([`Found::tag`]), and where it is.
pub(crate) struct Entry<'i, B> {
    pub(crate) tag: u32,
    pub(crate) item: Item<'i, B>,
}

/// An entry where it lies, as long as the store is locked.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Found<'a> {
    /// What was said of it when it was stored.
    #[inline]
    pub(crate) fn tag(self) -> u32 {
        (self.words[META].load(Relaxed) >> 32) as u32
    }

    /// Its words and its length in bytes, if it is small.
    #[inline]
    pub(crate) fn small(self) -> Option<(&'a [AtomicU64], usize)> {
        let meta = self.words[META].load(Relaxed);
        let len = (meta >> 8) as usize & 0xff;
        (meta & 0xff == INLINE && len <= 8 * SMALL).then_some((&self.words[ENTRY..], len))
    }

    /// The block that it lies in, if it is not small.
    ///
    /// # Errors
    ///
    /// There is none, or this process cannot hold it.
    pub(crate) fn block<B: Books>(self, books: &B) -> Result<B::Block, Refusal> {
        if self.words[META].load(Relaxed) & 0xff != BLOCK {
            return Err(Refusal::Damaged);
        }
        Ok(books.open(self.words[ENTRY].load(Relaxed))?)
    }
}

/// What reaches the slots of a store.
pub(crate) trait Reach {
    /// Calls `visit` with the number of each slot that is reached; false = it was here before, so this way leads in a circle.
    /// Afterwards notes what follows from it.
    fn reach(store: Store<'_>, visit: &mut dyn FnMut(u64) -> bool);
}

/// A store, locked.
pub(crate) struct Open<'a> {
    store: Store<'a>,
    me: Owner,
}

impl Drop for Open<'_> {
    #[inline]
    fn drop(&mut self) {
        let released = self.store.head.lock.unlock(self.me);
        debug_assert_eq!(released, Ok(()));
    }
}

impl<'a> Store<'a> {
    /// The store that consists of these. How it is laid out follows from the number of its words alone.
    #[inline]
    pub(crate) fn new(head: &'a Head, words: &'a [AtomicU64]) -> Store<'a> {
        // Numbers of slots have 32 bits.
        let capacity = (words.len() / (WIDTH + 2)).min(u32::MAX as usize - 1);
        Store { head, words, capacity }
    }

    /// Locks it.
    ///
    /// # Errors
    ///
    /// [`Refusal::TimedOut`], [`Refusal::WouldDeadlock`].
    #[inline]
    pub(crate) fn open<R: Reach, B: Books>(
        self,
        caller: &impl Caller,
        books: &B,
        deadline: Deadline,
    ) -> Result<Open<'a>, Refusal> {
        let me = caller.me();
        let outcome = self.head.lock.lock_until(caller, deadline);
        let open = match outcome {
            Outcome::Acquired | Outcome::AcquiredPoisoned => Open { store: self, me },
            Outcome::TimedOut | Outcome::Busy => return Err(Refusal::TimedOut),
            Outcome::WouldDeadlock => return Err(Refusal::WouldDeadlock),
        };
        if outcome == Outcome::AcquiredPoisoned {
            open.recover::<R, B>(books);
        }
        kill::point();
        Ok(open)
    }

    /// Frees the lock from a process that has died; for whoever clears up after it, before its slot has a new owner.
    pub(crate) fn reclaim(head: &Head, slot: u16) {
        head.lock.reclaim(slot);
    }

    /// Calls `each` with all that the slots hold; while nobody uses the store.
    pub(crate) fn held(self, each: &mut dyn FnMut(u64)) {
        for number in 1..=self.used() {
            if let Some(slot) = self.slot(number).filter(|slot| slot[META].load(Relaxed) & 0xff == BLOCK) {
                each(slot[ENTRY].load(Relaxed));
            }
        }
    }

    fn used(self) -> u64 {
        self.head.used.load(Relaxed).min(self.capacity as u64)
    }

    /// One of the two tables.
    #[inline]
    fn table(self, which: u64) -> &'a [AtomicU64] {
        let len = self.capacity;
        let start = if which & 1 == 0 { 0 } else { len };
        &self.words[start..start + len]
    }

    /// The slot of this number, from 1; `None` = there is none.
    #[inline]
    fn slot(self, number: u64) -> Option<&'a [AtomicU64]> {
        let at = usize::try_from(number.wrapping_sub(1)).ok().filter(|at| *at < self.capacity)?;
        let start = 2 * self.capacity + at * WIDTH;
        Some(&self.words[start..start + WIDTH])
    }
}

impl<'a> Open<'a> {
    /// The entry in a slot.
    #[inline]
    fn found(&self, number: u64) -> Result<Found<'a>, Refusal> {
        let words = self.store.slot(number).ok_or(Refusal::Damaged)?;
        Ok(Found { words })
    }

    /// Puts an entry into a free slot, which nothing reaches yet; its number.
    fn fill<B: Books>(&self, books: &B, entry: &Entry<'_, B::Block>) -> Result<u64, Refusal> {
        let number = self.take_free()?;
        let slot = self.store.slot(number).ok_or(Refusal::Damaged)?;
        let meta = |kind: u64, len: usize| u64::from(entry.tag) << 32 | (len as u64) << 8 | kind;
        let fill_in = |words: &[u64], len: usize| {
            slot[ENTRY..].iter().zip(words).for_each(|(place, word)| place.store(*word, Relaxed));
            slot[META].store(meta(INLINE, len), Release);
        };
        match &entry.item {
            Item::Number(words, len) => fill_in(words, *len),
            Item::Small(words, len) => fill_in(*words, *len),
            Item::Block(block) => {
                slot[ENTRY].store(0, Relaxed);
                slot[META].store(meta(BLOCK, 0), Release);
                kill::point();
                if !books.hold(&slot[ENTRY], block) {
                    self.free(books, number);
                    return Err(Refusal::Refused);
                }
            }
        }
        kill::point();
        Ok(number)
    }

    fn take_free(&self) -> Result<u64, Refusal> {
        let head = self.store.head;
        let free = head.free.load(Relaxed);
        if free != 0 {
            let slot = self.store.slot(free).ok_or(Refusal::Damaged)?;
            head.free.store(slot[LINKS].load(Relaxed), Release);
            kill::point();
            return Ok(free);
        }
        let used = self.store.used();
        if used >= self.store.capacity as u64 {
            return Err(Refusal::Full);
        }
        head.used.store(used + 1, Release);
        kill::point();
        Ok(used + 1)
    }

    /// Frees a slot that nothing reaches any more, and releases what it holds.
    fn free<B: Books>(&self, books: &B, number: u64) {
        let Some(slot) = self.store.slot(number) else { return };
        if slot[META].load(Relaxed) & 0xff == BLOCK {
            books.leave(&slot[ENTRY]);
        }
        slot[META].store(0, Relaxed);
        slot[LINKS].store(self.store.head.free.load(Relaxed), Release);
        kill::point();
        self.store.head.free.store(number, Release);
        kill::point();
    }

    /// Frees what a dead holder has left that is neither reached nor free.
    #[cold]
    fn recover<R: Reach, B: Books>(&self, books: &B) {
        self.sweep::<R, B>(books);
        // A lock that is held can be cleared.
        let _ = self.store.head.lock.clear_poison(self.me);
    }

    /// Frees all slots that are not reached.
    fn sweep<R: Reach, B: Books>(&self, books: &B) {
        let head = self.store.head;
        let used = self.store.used();
        head.free.store(0, Release);
        kill::point();
        let mut is_reached = vec![false; used as usize];
        R::reach(self.store, &mut |number| {
            let place = usize::try_from(number.wrapping_sub(1)).ok().and_then(|at| is_reached.get_mut(at));
            place.is_some_and(|place| !std::mem::replace(place, true))
        });
        let is_lost = |number: &u64| !is_reached[*number as usize - 1];
        // The lowest comes first again.
        (1..=used).rev().filter(is_lost).for_each(|number| self.free(books, number));
    }
}

#[cfg(all(test, not(loom)))]
impl Head {
    /// In real life it is memory that was zero.
    pub(crate) fn new() -> Head {
        let word = || AtomicU64::new(0);
        let _room = std::array::from_fn(|_| word());
        Head { lock: Word::new(), table: word(), free: word(), used: word(), count: word(), _room }
    }
}
