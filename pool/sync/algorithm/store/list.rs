//! A list in a [`Store`]: the table has a word for each entry, which says in which slot that is.
//!
//! The word of the table says which table counts and how many entries it has. What moves entries is done in the other
//! table, which then counts.

use super::{Entry, Found, Open, Reach, Refusal, Store};
use crate::sync::algorithm::queue::Books;
use crate::sync::algorithm::word::kill;
use crate::sys::atomic::{AtomicU64, Ordering};
use Ordering::{Relaxed, Release};
use std::ops::Range;

/// That entries are in a row.
pub(crate) enum Row {}

/// The words of the table that counts, and which one that is.
fn row(store: Store<'_>) -> (&[AtomicU64], u64) {
    let word = store.head.table.load(Relaxed);
    let len = usize::try_from(word >> 1).unwrap_or(usize::MAX).min(store.capacity);
    (&store.table(word)[..len], word & 1)
}

impl Reach for Row {
    fn reach(store: Store<'_>, visit: &mut dyn FnMut(u64) -> bool) {
        row(store).0.iter().for_each(|place| _ = visit(place.load(Relaxed)));
    }
}

impl<'a> Open<'a> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        row(self.store).0.len()
    }

    /// The entry at a place; `None` = there are not so many.
    ///
    /// # Errors
    ///
    /// [`Refusal::Damaged`].
    #[inline]
    pub(crate) fn at(&self, at: usize) -> Result<Option<Found<'a>>, Refusal> {
        row(self.store).0.get(at).map(|place| self.found(place.load(Relaxed))).transpose()
    }

    /// Replaces the entry at a place; false = there are not so many.
    ///
    /// # Errors
    ///
    /// Nothing was replaced: there is no room.
    pub(crate) fn replace<B: Books>(&self, books: &B, at: usize, entry: &Entry<'_, B::Block>) -> Result<bool, Refusal> {
        let Some(place) = row(self.store).0.get(at) else { return Ok(false) };
        let number = self.fill(books, entry)?;
        let old = place.load(Relaxed);
        place.store(number, Release);
        kill::point();
        self.free(books, old);
        Ok(true)
    }

    /// Appends entries: all, or none.
    ///
    /// # Errors
    ///
    /// None was appended: there is no room for all.
    pub(crate) fn append<B: Books>(&self, books: &B, entries: &[Entry<'_, B::Block>]) -> Result<(), Refusal> {
        let (row, which) = row(self.store);
        let start = row.len();
        let Some(places) = self.store.table(which).get(start..start + entries.len()) else { return Err(Refusal::Full) };
        for (done, (place, entry)) in places.iter().zip(entries).enumerate() {
            match self.fill(books, entry) {
                Ok(number) => place.store(number, Relaxed),
                Err(refusal) => {
                    places[..done].iter().for_each(|place| self.free(books, place.load(Relaxed)));
                    return Err(refusal);
                }
            }
        }
        self.count_from(which, start + entries.len());
        Ok(())
    }

    /// Puts an entry in front of the one at a place, or behind the last.
    ///
    /// # Errors
    ///
    /// It was not put: there is no room.
    pub(crate) fn put_before<B: Books>(&self, books: &B, at: usize, entry: Entry<'_, B::Block>) -> Result<(), Refusal> {
        let (row, which) = row(self.store);
        if at >= row.len() {
            return self.append(books, &[entry]);
        }
        let other = self.store.table(!which & 1);
        if row.len() == other.len() {
            return Err(Refusal::Full);
        }
        let number = self.fill(books, &entry)?;
        copy(&row[..at], other);
        other[at].store(number, Relaxed);
        copy(&row[at..], &other[at + 1..]);
        kill::point();
        self.count_from(!which & 1, row.len() + 1);
        Ok(())
    }

    /// Takes entries out, and those behind them move up. What goes beyond the end is none.
    pub(crate) fn take_out<B: Books>(&self, books: &B, range: Range<usize>) {
        let (row, which) = row(self.store);
        let (start, end) = (range.start.min(row.len()), range.end.min(row.len()));
        let len = row.len() - end.saturating_sub(start);
        if end <= start {
            return;
        }
        if end == row.len() {
            self.count_from(which, len);
        } else {
            let other = self.store.table(!which & 1);
            copy(&row[..start], other);
            copy(&row[end..], &other[start..]);
            kill::point();
            self.count_from(!which & 1, len);
        }
        row[start..end].iter().for_each(|place| self.free(books, place.load(Relaxed)));
    }

    /// The store by which a change counts: from here on this table does, with so many entries.
    fn count_from(&self, which: u64, len: usize) {
        self.store.head.table.store((len as u64) << 1 | which, Release);
        kill::point();
    }
}

fn copy(from: &[AtomicU64], to: &[AtomicU64]) {
    from.iter().zip(to).for_each(|(from, to)| to.store(from.load(Relaxed), Relaxed));
}
