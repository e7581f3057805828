//! How a queue is laid out.

use super::{Head, SMALL};
use crate::sys::atomic::Ordering::{Acquire, Release};
use std::ops::Range;

/// The most bytes of a segment.
const SEGMENT: usize = 64 * 1024;

/// What a queue without a bound takes of the heap's file, as a part of that: of a full one 2 GiB, which is 134 million
/// items of 8 bytes. Only what is used takes memory.
const SHARE: u64 = 1 << 12;

/// How large a queue is and where its parts lie, in words of 8 bytes behind its [`Head`]: first the table of segments,
/// whose size is a power of two, then the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The most items.
    pub(super) capacity: u64,
    /// The words of a slot.
    pub(super) width: usize,
    /// Slots of a segment, as a power of two.
    shift: u32,
    segments: usize,
    /// Entries of the table, a power of two.
    table: usize,
    /// Where the first segment begins.
    start: usize,
    /// Whether segments consist of whole pages, and go back to the system when they are not needed.
    pub(super) discards: bool,
}

impl Shape {
    /// Of a queue for at most `capacity` items of so many bytes; `None` = that is too much, or nothing.
    pub(crate) fn bounded(capacity: usize, small: usize) -> Option<Shape> {
        let width = width_of(small);
        let slots = capacity.checked_next_power_of_two()?.clamp(8, SEGMENT / 8 / width);
        let segments = capacity.div_ceil(slots).checked_add(1)?;
        let table = segments.checked_next_power_of_two()?;
        let (capacity, shift, start) = (capacity as u64, slots.ilog2(), table.next_multiple_of(8));
        let shape = Shape { capacity, width, shift, segments, table, start, discards: false };
        shape.is_sound().then_some(shape)
    }

    /// Of a queue without a bound of its own, in a heap whose file is so long.
    pub(crate) fn unbounded(heap: u64, small: usize) -> Option<Shape> {
        let bytes = usize::try_from(heap / SHARE).ok()?.max(SEGMENT).checked_next_power_of_two()?;
        let (width, segment) = (width_of(small), (bytes / 16).clamp(4096, SEGMENT));
        let table = bytes / segment;
        // Behind it the first page begins that is all slots.
        let front = (size_of::<Head>() + table * 8).next_multiple_of(4096);
        let (segments, shift) = ((bytes - front) / segment, (segment / 8 / width).ilog2());
        let capacity = (segments as u64).checked_sub(1)? << shift;
        let start = (front - size_of::<Head>()) / 8;
        let shape = Shape { capacity, width, shift, segments, table, start, discards: true };
        shape.is_sound().then_some(shape)
    }

    /// For tests: so many segments of so few slots.
    #[cfg(test)]
    pub(super) fn tiny(capacity: u64, shift: u32, segments: usize, discards: bool) -> Shape {
        let table = segments.next_power_of_two();
        Shape { capacity, width: 2, shift, segments, table, start: table, discards }
    }

    /// The most items.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How many words it takes behind the head.
    pub(crate) fn words(&self) -> usize {
        self.start + self.segments * (self.width << self.shift)
    }

    /// The most bytes of a small item.
    pub(crate) fn small(&self) -> usize {
        8 * (self.width - 1)
    }

    /// Writes it down in front of a queue that nobody else knows of yet.
    pub(crate) fn write(&self, head: &Head) {
        let words = [
            self.capacity,
            self.width as u64,
            self.shift.into(),
            self.segments as u64,
            self.start as u64,
            self.discards.into(),
        ];
        for (place, word) in head.shape.iter().zip(words) {
            // SYNC: queue shape
            place.store(word, Release);
        }
    }

    /// What stands in front of a queue that lies in so many words; `None` = that is none.
    pub(crate) fn read(head: &Head, words: usize) -> Option<Shape> {
        // SYNC: queue shape
        let word = |at: usize| head.shape[at].load(Acquire);
        let size = |at: usize| usize::try_from(word(at)).ok().filter(|it| *it <= words);
        let segments = size(3)?;
        let shape = Shape {
            capacity: word(0),
            width: size(1)?,
            shift: u32::try_from(word(2)).ok()?,
            segments,
            table: segments.checked_next_power_of_two()?,
            start: size(4)?,
            discards: word(5) != 0,
        };
        (shape.is_sound() && shape.words() <= words).then_some(shape)
    }

    /// Whether all positions lie inside of what [`Shape::words`] says.
    fn is_sound(&self) -> bool {
        let slots = 1_usize.checked_shl(self.shift).unwrap_or(usize::MAX);
        let room = self.segments.checked_mul(slots).and_then(|slots| slots.checked_mul(8 * self.width));
        (2..=SMALL + 1).contains(&self.width)
            && (2..=1 << 30).contains(&self.segments)
            && self.table >= self.segments
            && self.table <= self.start
            && room.is_some_and(|room| room < 1 << 48)
            && self.start < 1 << 40
            && (1..=(self.segments as u64 - 1) << self.shift).contains(&self.capacity)
    }

    /// The number of the segment of a position, round and round.
    #[inline]
    pub(super) fn segment_of(&self, at: u64) -> u32 {
        (at >> self.shift) as u32
    }

    /// Where the table says which segment serves as the one of this number.
    #[inline]
    pub(super) fn entry_of(&self, segment: u32) -> usize {
        segment as usize & (self.table - 1)
    }

    /// Where the table says which segment a position lies in.
    #[inline]
    pub(super) fn entry(&self, at: u64) -> usize {
        self.entry_of(self.segment_of(at))
    }

    /// Where the slot of a position begins in a segment; `None` = there is no such segment.
    #[inline]
    pub(super) fn place(&self, segment: u64, at: u64) -> Option<usize> {
        let within = at as usize & ((1 << self.shift) - 1);
        let segment = usize::try_from(segment).ok().filter(|it| *it < self.segments)?;
        Some(self.start + ((segment << self.shift) + within) * self.width)
    }

    /// The words of a segment.
    pub(super) fn range(&self, segment: u64) -> Option<Range<usize>> {
        let start = self.place(segment, 0)?;
        Some(start..start + (self.width << self.shift))
    }

    /// Whether a segment begins with this position.
    #[inline]
    pub(super) fn is_first(&self, at: u64) -> bool {
        at & ((1 << self.shift) - 1) == 0
    }

    /// Whether a segment ends with this position.
    #[inline]
    pub(super) fn is_last(&self, at: u64) -> bool {
        self.is_first(at.wrapping_add(1))
    }
}

/// The words of a slot for items of so many bytes: two for numbers, and a cache line for all that may be longer.
fn width_of(small: usize) -> usize {
    if small <= 8 { 2 } else { SMALL + 1 }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn all_positions_lie_inside() {
        let bounded = [1, 2, 7, 8, 9, 1000, 4096, 4097, 1 << 20].map(|count| Shape::bounded(count, 8).unwrap());
        let wide = [1, 100, 5000].map(|count| Shape::bounded(count, 56).unwrap());
        let endless = [1 << 20, 1 << 28, 1 << 32, 1 << 43].map(|heap| Shape::unbounded(heap, 56).unwrap());
        for shape in bounded.iter().chain(&wide).chain(&endless) {
            let last = shape.range(shape.segments as u64 - 1).unwrap();
            assert_eq!(last.end, shape.words(), "{shape:?}");
            assert_eq!(shape.range(shape.segments as u64), None);
            assert!(shape.capacity <= (shape.segments as u64 - 1) << shape.shift, "{shape:?}");
        }
        for shape in endless {
            let bytes = size_of::<Head>() + 8 * shape.words();
            assert!(bytes.next_power_of_two() - bytes < SEGMENT, "{shape:?}");
            assert_eq!((size_of::<Head>() + 8 * shape.start) % 4096, 0);
        }
        assert_eq!(Shape::bounded(0, 8), None);
        assert_eq!(Shape::bounded(usize::MAX, 8), None);
        assert_eq!(Shape::bounded(1 << 62, 8), None);
    }
}
