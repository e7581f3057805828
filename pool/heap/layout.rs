//! What lies in the heap's file, apart from payload: structures of atomics, valid when zeroed. Where they lie is
//! [`Geometry`](crate::heap::geometry::Geometry)'s.

use crate::sys::atomic::AtomicU64;
use crate::sys::memory::Atomics;
use crate::sys::robust::Mark;

/// The smallest block has 2^6 bytes: a cache line, so that no two locks ever share one.
pub(super) const SMALLEST: u32 = 6;
pub(super) const CLASSES: usize = if cfg!(loom) { 2 } else { 44 };

/// The first page of the file.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Head {
    /// Entries that were ever used.
    pub(super) entries: AtomicU64,
    /// The end of the data that was ever used.
    pub(super) data: AtomicU64,
    /// The next span in the current segment of small blocks.
    pub(super) span: AtomicU64,
    /// The highest slot of the process table that was ever used, and where to look for a free one next.
    pub(super) used_slots: AtomicU64,
    pub(super) next_slot: AtomicU64,
    /// Who removes the names that are left when everybody else is gone, by slot and generation.
    pub(super) guardian: AtomicU64,
    /// How many bytes the blocks have that lie in `kept`.
    pub(super) kept_bytes: AtomicU64,
    _pad: AtomicU64,
    /// The next block in the current span of each size.
    pub(super) cut: [AtomicU64; CLASSES],
    /// The free blocks of each size: tag in the upper half, entry + 1 in the lower.
    pub(super) free: [AtomicU64; CLASSES],
    /// Free blocks that still have their pages.
    pub(super) kept: [AtomicU64; CLASSES],
    _end: [AtomicU64; 4],
}

#[cfg(all(test, loom))]
impl Head {
    /// In real life it is memory that was zero.
    pub(super) fn new() -> Head {
        fn words<const N: usize>() -> [AtomicU64; N] {
            std::array::from_fn(|_| AtomicU64::new(0))
        }
        let [entries, data, span, used_slots, next_slot, guardian, kept_bytes, _pad] = words();
        let (cut, free, kept, _end) = (words(), words(), words(), words());
        Head { entries, data, span, used_slots, next_slot, guardian, kept_bytes, _pad, cut, free, kept, _end }
    }
}

// SAFETY: repr(C), AtomicU64 only, 144 of them (checked below): a multiple of the alignment, so no padding.
unsafe impl Atomics for Head {}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Head>() == 144 * size_of::<AtomicU64>());
    assert!(size_of::<Entry>() == 4 * size_of::<AtomicU64>());
    assert!(size_of::<ProcessSlot>() == 128);
};

/// In an entry's link: what a dead process held of the block could not be released.
pub(super) const WRITTEN_OFF: u64 = 1 << 48;

/// The same: its count may be too high, since a process was killed while it counted itself in or out; and it was found that
/// nobody has it any more.
pub(super) const DOUBTFUL: u64 = 1 << 49;
pub(super) const GONE: u64 = 1 << 50;

/// What is known of a block, apart from its payload.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Entry {
    /// Generation in the upper half, number of processes that hold it in the lower; nobody = free.
    pub(super) state: AtomicU64,
    pub(super) at: AtomicU64,
    /// The next free one + 1 in the lower half, the size class in bits 32 to 39, the kind in bits 40 to 47, and
    /// [`WRITTEN_OFF`], [`DOUBTFUL`] and [`GONE`].
    pub(super) link: AtomicU64,
    /// How many bytes were asked for.
    pub(super) len: AtomicU64,
}

// SAFETY: repr(C), AtomicU64 only.
unsafe impl Atomics for Entry {}

/// A slot of the process table.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct ProcessSlot {
    /// Whose it is: see `pool/heap/process_table.rs`.
    pub(super) state: AtomicU64,
    /// Registry places at and above this one were never used.
    pub(super) high: AtomicU64,
    /// The process id of who lives in it.
    pub(super) pid: AtomicU64,
    /// When it was given back last, in milliseconds; 0 = never.
    pub(super) freed: AtomicU64,
    _pad: [AtomicU64; 4],
    pub(super) mark: Mark,
}

#[cfg(all(test, loom))]
impl ProcessSlot {
    /// In real life it is memory that was zero.
    pub(super) fn new() -> ProcessSlot {
        let [state, high, pid, freed, pad @ ..] = std::array::from_fn::<_, 8, _>(|_| AtomicU64::new(0));
        ProcessSlot { state, high, pid, freed, _pad: pad, mark: Mark::new() }
    }
}

// SAFETY: repr(C), atomics and a `Mark` only; 128 bytes, so no padding.
unsafe impl Atomics for ProcessSlot {}
