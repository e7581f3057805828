//! Which bytes of a circular data area are in use. Pure arithmetic, known to the producer alone.

use std::collections::VecDeque;

/// Pieces start at multiples of this, so that two of them never share a cache line.
const ALIGN: usize = 64;

/// A circular area from which pieces are taken and given back in the same order.
///
/// A piece never wraps around the end. When nothing is in use the next piece starts at 0, so that small traffic stays
/// in the same few pages and in the cache.
#[derive(Debug)]
pub(crate) struct Arena {
    capacity: usize,
    /// What is in use, oldest first: who owns it, where it starts, and its length.
    pieces: VecDeque<(u64, usize, usize)>,
    /// Where the newest piece ends.
    end: usize,
    /// The furthest end since the last [`Arena::take_high_water`].
    high_water: usize,
}

impl Arena {
    pub(crate) fn new(capacity: usize) -> Arena {
        Arena { capacity, pieces: VecDeque::new(), end: 0, high_water: 0 }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Start and length of the largest piece that can be taken now.
    pub(crate) fn room(&self) -> (usize, usize) {
        let Some(&(_, oldest, _)) = self.pieces.front() else { return (0, self.capacity) };
        if self.end <= oldest {
            return (self.end, oldest - self.end);
        }
        if self.capacity - self.end >= oldest { (self.end, self.capacity - self.end) } else { (0, oldest) }
    }

    /// Takes `len` bytes for `owner`; the start, or `None` when there is no room now.
    pub(crate) fn take(&mut self, owner: u64, len: usize) -> Option<usize> {
        let (mut start, room) = self.room();
        // What fits behind the newest piece goes there, even if the other gap is larger.
        if !self.pieces.is_empty() && start == 0 && self.capacity - self.end >= len && self.end > 0 {
            start = self.end;
        } else if room < len {
            return None;
        }
        self.commit(owner, start, len);
        Some(start)
    }

    /// Marks `len` bytes from `start` as used: a part of what [`Arena::room`] offered.
    pub(crate) fn commit(&mut self, owner: u64, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        self.pieces.push_back((owner, start, len));
        self.end = (start + len).next_multiple_of(ALIGN).min(self.capacity);
        self.high_water = self.high_water.max(self.end);
    }

    /// Gives back what belongs to owners below `owner`.
    pub(crate) fn release_below(&mut self, owner: u64) {
        while self.pieces.front().is_some_and(|piece| piece.0 < owner) {
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            self.end = 0;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How far the area was used since the last call.
    pub(crate) fn take_high_water(&mut self) -> usize {
        std::mem::replace(&mut self.high_water, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_area_starts_again_at_zero() {
        let mut arena = Arena::new(1024);
        assert_eq!(arena.take(0, 100), Some(0));
        assert_eq!(arena.take(1, 100), Some(128));
        arena.release_below(2);
        assert!(arena.is_empty());
        assert_eq!(arena.take(2, 1024), Some(0));
        assert_eq!(arena.take(3, 1), None);
        assert_eq!(arena.take_high_water(), 1024);
    }

    #[test]
    fn pieces_never_overlap_whatever_the_order_of_sizes() {
        let mut arena = Arena::new(4096);
        let mut live: VecDeque<(u64, usize, usize)> = VecDeque::new();
        let mut random = 12345u64;
        for owner in 0..20_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let len = (random >> 33) as usize % 1500 + 1;
            match arena.take(owner, len) {
                Some(start) => {
                    assert!(start + len <= 4096);
                    for &(_, other, other_len) in &live {
                        assert!(start + len <= other || other + other_len <= start, "overlap");
                    }
                    live.push_back((owner, start, len));
                }
                None => {
                    assert!(!live.is_empty(), "an empty area always has room");
                    let oldest = live.pop_front().unwrap().0;
                    arena.release_below(oldest + 1);
                }
            }
        }
    }
}
