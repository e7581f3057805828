//! A map in a [`Store`]: the table has a chain of slots for each place, on which all entries are whose hash selects that place.
//!
//! The word of the table says which table counts and how many places it has. When there are more entries than places, the
//! other table is filled with twice as many, by the second link of each slot, and then counts.

use super::{Entry, Found, LINKS, Open, Reach, Refusal, Store};
use crate::sync::algorithm::queue::Books;
use crate::sync::algorithm::word::kill;
use crate::sys::atomic::{AtomicU64, Ordering};
use Ordering::{Relaxed, Release};

/// How many stores a map consists of, so that so many can change it at the same time.
pub(crate) const SHARDS: usize = 16;

/// The places of the smallest table, as a power of two.
const SMALLEST: u32 = 3;

/// That entries are on chains.
pub(crate) enum Chains {}

/// The table that counts.
#[derive(Clone, Copy)]
struct Table<'a> {
    places: &'a [AtomicU64],
    which: u64,
}

/// By which word a slot is reached.
#[derive(Clone, Copy)]
enum Link {
    Place(usize),
    Slot(u64),
}

fn table(store: Store<'_>) -> Result<Table<'_>, Refusal> {
    let word = store.head.table.load(Relaxed);
    table_of(store, word).ok_or(Refusal::Damaged)
}

/// The table that a word names; `None` = there is no such table.
fn table_of(store: Store<'_>, word: u64) -> Option<Table<'_>> {
    let places = u32::try_from(word >> 1).ok().and_then(|power| 1_usize.checked_shl(power.checked_add(SMALLEST)?))?;
    Some(Table { places: store.table(word).get(..places)?, which: word & 1 })
}

/// Half of a slot's links.
#[inline]
fn next(slot: &[AtomicU64], which: u64) -> u64 {
    slot[LINKS].load(Relaxed) >> (32 * which) & u64::from(u32::MAX)
}

#[inline]
fn set_next(slot: &[AtomicU64], which: u64, number: u64) {
    let other = slot[LINKS].load(Relaxed) & !(u64::from(u32::MAX) << (32 * which));
    slot[LINKS].store(other | number << (32 * which), Release);
}

impl Reach for Chains {
    fn reach(store: Store<'_>, visit: &mut dyn FnMut(u64) -> bool) {
        let mut count = 0;
        if let Ok(table) = table(store) {
            for place in table.places {
                let mut number = place.load(Relaxed);
                while let Some(slot) = store.slot(number).filter(|_| visit(number)) {
                    count += 1;
                    number = next(slot, table.which);
                }
            }
        }
        store.head.count.store(count, Release);
    }
}

impl<'a> Open<'a> {
    /// How many entries there are.
    pub(crate) fn count(&self) -> u64 {
        self.store.head.count.load(Relaxed)
    }

    /// The entry with this hash that `is_it` says is it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Damaged`]; and what `is_it` says.
    #[inline]
    pub(crate) fn find(
        &self,
        hash: u32,
        is_it: impl FnMut(Found<'a>) -> Result<bool, Refusal>,
    ) -> Result<Option<Found<'a>>, Refusal> {
        let found = self.search(hash, is_it)?;
        found.1.map(|number| self.found(number)).transpose()
    }

    /// Stores an entry in the place of the one with this hash that `is_it` says is it, or as a new one. Returns what
    /// `out` says of the one that was there.
    ///
    /// # Errors
    ///
    /// It was not stored: there is no room, or what stands there is damaged; and what `is_it` and `out` say.
    pub(crate) fn put<B: Books, R>(
        &self,
        books: &B,
        entry: &Entry<'_, B::Block>,
        is_it: impl FnMut(Found<'a>) -> Result<bool, Refusal>,
        out: impl FnOnce(Found<'a>) -> Result<R, Refusal>,
    ) -> Result<Option<R>, Refusal> {
        self.grow_if_full();
        let (link, old) = self.search(entry.tag, is_it)?;
        let before = old.map(|old| self.found(old).and_then(out)).transpose()?;
        let table = table(self.store)?;
        let number = self.fill(books, entry)?;
        let slot = self.store.slot(number).ok_or(Refusal::Damaged)?;
        match old {
            Some(old) => {
                let behind = self.store.slot(old).map_or(0, |old| next(old, table.which));
                set_next(slot, table.which, behind);
                kill::point();
                self.set(table, link, number);
                self.free(books, old);
            }
            None => {
                // In front, where `link` need not lead.
                let place = entry.tag as usize & (table.places.len() - 1);
                set_next(slot, table.which, table.places[place].load(Relaxed));
                kill::point();
                self.set(table, Link::Place(place), number);
                self.store.head.count.store(self.count() + 1, Relaxed);
                kill::point();
            }
        }
        Ok(before)
    }

    /// Takes out the entry with this hash that `is_it` says is it. Returns what `out` says of it; `None` = there was none.
    ///
    /// # Errors
    ///
    /// As [`Open::find`]; and what `out` says.
    pub(crate) fn take<B: Books, R>(
        &self,
        books: &B,
        hash: u32,
        is_it: impl FnMut(Found<'a>) -> Result<bool, Refusal>,
        out: impl FnOnce(Found<'a>) -> Result<R, Refusal>,
    ) -> Result<Option<R>, Refusal> {
        let (link, Some(number)) = self.search(hash, is_it)? else { return Ok(None) };
        let table = table(self.store)?;
        let found = self.found(number)?;
        let taken = out(found)?;
        let behind = next(found.words, table.which);
        self.set(table, link, behind);
        self.store.head.count.store(self.count().saturating_sub(1), Relaxed);
        kill::point();
        self.free(books, number);
        Ok(Some(taken))
    }

    /// Takes all entries out.
    pub(crate) fn clear_all<B: Books>(&self, books: &B) {
        let other = !self.store.head.table.load(Relaxed) & 1;
        let Some(empty) = table_of(self.store, other) else { return };
        empty.places.iter().for_each(|place| place.store(0, Relaxed));
        self.store.head.table.store(other, Release);
        kill::point();
        self.sweep::<Chains, B>(books);
    }

    /// Calls `each` with all entries, in no order.
    ///
    /// # Errors
    ///
    /// As [`Open::find`].
    pub(crate) fn each(&self, mut each: impl FnMut(Found<'a>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let table = table(self.store)?;
        let mut left = self.store.used();
        for place in table.places {
            let mut number = place.load(Relaxed);
            while number != 0 {
                // More than there are slots: a circle.
                left = left.checked_sub(1).ok_or(Refusal::Damaged)?;
                let found = self.found(number)?;
                each(found)?;
                number = next(found.words, table.which);
            }
        }
        Ok(())
    }

    /// The entry that is it, and the link to it.
    #[inline]
    fn search(
        &self,
        hash: u32,
        mut is_it: impl FnMut(Found<'a>) -> Result<bool, Refusal>,
    ) -> Result<(Link, Option<u64>), Refusal> {
        let table = table(self.store)?;
        let place = hash as usize & (table.places.len() - 1);
        let mut link = Link::Place(place);
        let mut number = table.places[place].load(Relaxed);
        let mut left = self.store.used();
        while number != 0 {
            left = left.checked_sub(1).ok_or(Refusal::Damaged)?;
            let found = self.found(number)?;
            if found.tag() == hash && is_it(found)? {
                return Ok((link, Some(number)));
            }
            link = Link::Slot(number);
            number = next(found.words, table.which);
        }
        Ok((link, None))
    }

    /// The store by which a change counts.
    fn set(&self, table: Table<'_>, link: Link, number: u64) {
        match link {
            Link::Place(place) => table.places[place].store(number, Release),
            Link::Slot(before) => {
                if let Some(slot) = self.store.slot(before) {
                    set_next(slot, table.which, number);
                }
            }
        }
        kill::point();
    }

    /// Makes the table larger, if there are as many entries as places and there is room for a larger one.
    #[inline]
    fn grow_if_full(&self) {
        let word = self.store.head.table.load(Relaxed);
        if self.count() >> (word >> 1).saturating_add(SMALLEST.into()).min(63) != 0 {
            self.grow(word);
        }
    }

    #[cold]
    fn grow(&self, word: u64) {
        let larger = ((word >> 1) + 1) << 1 | (!word & 1);
        let (Some(old), Some(new)) = (table_of(self.store, word), table_of(self.store, larger)) else { return };
        new.places.iter().for_each(|place| place.store(0, Relaxed));
        let mut left = self.store.used();
        for place in old.places {
            let mut number = place.load(Relaxed);
            while let Some(slot) = self.store.slot(number) {
                // A circle: it is damaged, and stays as it is.
                let Some(rest) = left.checked_sub(1) else { return };
                left = rest;
                let place = &new.places[Found { words: slot }.tag() as usize & (new.places.len() - 1)];
                set_next(slot, new.which, place.load(Relaxed));
                place.store(number, Relaxed);
                number = next(slot, old.which);
            }
        }
        kill::point();
        self.store.head.table.store(larger, Release);
        kill::point();
    }
}
