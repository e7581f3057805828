//! Where what lies in the heap's file. Follows from the length of the file alone, which is sealed: so no process has to
//! believe another one.
//!
//! ```text
//! 0       head: counters, free lists
//! 4096    process table          one [`ProcessSlot`] a process
//! ...     block table            one [`Entry`] a block, apart from all payload
//! ...     registries             one registry a process: the blocks that it holds
//! data    payload
//! ```

use crate::heap::layout::{Entry, Head, ProcessSlot};

pub(super) const PAGE: u64 = 4096;

const _: () = assert!(size_of::<Head>() as u64 <= PAGE);

/// Small blocks of one size are cut from spans of this many bytes.
pub(super) const SPAN: u64 = 64 * 1024;

/// Blocks up to this many bytes lie in segments that are mapped as a whole; larger ones have a mapping of their own.
pub(super) const LARGEST_SMALL: u64 = SPAN / 2;

/// The file is this long unless the process may not make one of that size. It is sparse: only what is used takes memory.
pub(super) const FULL_LEN: u64 = 1 << 43;

/// The smallest heap that is of any use, in bytes.
const SMALLEST_LEN: u64 = 1 << 20;

/// The most processes that may use a heap at the same time.
pub(crate) const MOST_PROCESSES: u64 = 960;

/// The most blocks.
const MOST_ENTRIES: u64 = 1 << 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) len: u64,
    pub(super) processes: u64,
    pub(super) entries: u64,
    /// The most blocks that one process may hold.
    pub(super) registry: u64,
    pub(super) slots_at: u64,
    pub(super) entries_at: u64,
    pub(super) registries_at: u64,
    pub(super) data_at: u64,
    /// The length of a segment of small blocks.
    pub(super) segment: u64,
}

impl Geometry {
    /// The length to give a new file if it may have `limit` bytes at most; `None` if that is too little.
    pub(super) fn fit(limit: Option<u64>) -> Option<u64> {
        let len = limit.map_or(FULL_LEN, |limit| limit.min(FULL_LEN)) / SPAN * SPAN;
        (len >= SMALLEST_LEN).then_some(len)
    }

    /// The geometry of a file of `len` bytes; `None` for a length that no heap has.
    pub(super) fn of(len: u64) -> Option<Geometry> {
        if !(SMALLEST_LEN..=FULL_LEN).contains(&len) || len % SPAN != 0 {
            return None;
        }
        let processes = (len >> 20).clamp(16, MOST_PROCESSES);
        let entries = (len / 256).min(MOST_ENTRIES);
        // In a small file the registries together may take a quarter of it.
        let registry = (len / (32 * processes) / 512 * 512).min(entries);
        let segment = (1 << (len / 16).ilog2()).clamp(SPAN, 64 << 20);
        let slots_at = PAGE;
        let entries_at = (slots_at + processes * size_of::<ProcessSlot>() as u64).next_multiple_of(PAGE);
        let registries_at = (entries_at + entries * size_of::<Entry>() as u64).next_multiple_of(PAGE);
        let data_at = (registries_at + processes * registry * 8).next_multiple_of(segment);
        Some(Geometry { len, processes, entries, registry, slots_at, entries_at, registries_at, data_at, segment })
    }

    /// Where the registry of a process is.
    pub(super) fn registry_at(&self, slot: u64) -> u64 {
        self.registries_at + slot * self.registry * 8
    }

    /// Whether a block of `len` bytes may lie at `at`.
    pub(super) fn is_data(&self, at: u64, len: u64) -> bool {
        at >= self.data_at && at.checked_add(len).is_some_and(|end| end <= self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_room_for_all_parts() {
        for len in [SMALLEST_LEN, 5 * SPAN * 16, 4 << 20, 64 << 20, 1 << 30, 1 << 38, FULL_LEN] {
            let len = Geometry::fit(Some(len)).unwrap();
            let geometry = Geometry::of(len).unwrap();
            assert!(geometry.registry >= 512, "{geometry:?}");
            assert!(geometry.data_at + len / 4 <= len, "{geometry:?}");
            assert!(geometry.registry_at(geometry.processes) <= geometry.data_at);
            assert!(geometry.segment.is_power_of_two() && geometry.data_at % geometry.segment == 0);
        }
        assert_eq!(Geometry::fit(Some(1000)), None);
        assert_eq!(Geometry::fit(None), Some(FULL_LEN));
        assert_eq!(Geometry::of(SMALLEST_LEN + 1), None);
        assert_eq!(Geometry::of(0), None);
    }
}
