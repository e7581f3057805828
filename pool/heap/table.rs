//! The block table and the allocator: which blocks there are, how many processes hold each, and which are free.
//!
//! A block keeps its place and its size for ever; freed, it goes onto the free list of its size. Sizes are powers of two:
//! for large blocks that wastes no memory but only room in a sparse file, since pages come when they are touched and go
//! when a block is freed. A page costs more to get and give back than to fill; so some large blocks in which items of queues
//! lay keep theirs, for the next items.
//!
//! ## Memory ordering
//!
//! A free list is a stack. Its head carries a tag that grows with every change, so that a head that has come back to an
//! old block is not taken for an unchanged one. Push publishes the block's `next` with Release; pop reads it after an
//! Acquire of the head. The count of a block is changed by compare-exchanges of the whole state word alone: it can
//! neither leave zero nor survive a change of generation. The last release is AcqRel, so that all uses of the block
//! come before its reuse.

use crate::heap::geometry::{Geometry, LARGEST_SMALL, SPAN};
use crate::heap::layout::{CLASSES, DOUBTFUL, Entry, GONE, Head, SMALLEST, WRITTEN_OFF};
use crate::sys::atomic::{AtomicU64, Ordering};
use Ordering::{AcqRel, Acquire, Relaxed, Release};

/// How many bytes of free blocks keep their pages, of the whole tree.
const MOST_KEPT: u64 = 32 << 20;

/// Generations have this many bits.
pub(super) const GENERATION: u32 = (1 << 30) - 1;

/// What heap memory was found to contain that our own code never writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Why there is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Exhausted,
    Damaged,
}

impl From<Damaged> for Refusal {
    fn from(_: Damaged) -> Refusal {
        Refusal::Damaged
    }
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) index: u32,
    pub(super) generation: u32,
    pub(super) at: u64,
    pub(super) len: u64,
    /// The room that it takes.
    pub(super) room: u64,
    pub(super) kind: u8,
    /// Its memory is zero. Otherwise it is what somebody has left there.
    pub(super) is_zero: bool,
}

impl Site {
    /// Whether it has a mapping of its own.
    pub(super) fn is_large(&self) -> bool {
        self.room > LARGEST_SMALL
    }
}

/// The table as this process sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    pub(super) geometry: Geometry,
    pub(super) head: &'a Head,
    pub(super) entries: &'a [Entry],
}

fn class_of(len: u64) -> Option<u32> {
    let class = len.max(1).checked_next_power_of_two()?.ilog2().max(SMALLEST);
    (((class - SMALLEST) as usize) < CLASSES).then_some(class)
}

impl<'a> Table<'a> {
    /// Takes a free block of at least `len` bytes, held by the caller alone: rather one that has its pages, if it need not
    /// be zero.
    pub(super) fn allocate(&self, len: u64, kind: u8, need_not_be_zero: bool) -> Result<Site, Refusal> {
        let class = class_of(len).ok_or(Refusal::Exhausted)?;
        let (index, is_zero) = self.find(class, need_not_be_zero)?;
        let entry = self.entry(index)?;
        entry.len.store(len, Relaxed);
        let link = u64::from(class) << 32 | u64::from(kind) << 40;
        entry.link.store(link, Relaxed);
        let generation = (entry.state.load(Relaxed) >> 32) as u32 & GENERATION;
        // SYNC: block handed out
        entry.state.store(u64::from(generation) << 32 | 1, Release);
        let site = self.site(index)?;
        Ok(Site { is_zero, ..site })
    }

    /// A free block, and whether it is zero.
    fn find(&self, class: u32, need_not_be_zero: bool) -> Result<(u32, bool), Refusal> {
        let kept = if need_not_be_zero { self.pop_kept(class)? } else { None };
        if let Some(index) = kept {
            return Ok((index, false));
        }
        if let Some(index) = self.pop(&self.head.free, class)? {
            // Large ones have lost their pages when they were freed.
            return Ok((index, 1 << class > LARGEST_SMALL));
        }
        match self.cut(class) {
            Ok(index) => Ok((index, true)),
            Err(Refusal::Exhausted) => Ok((self.pop_kept(class)?.ok_or(Refusal::Exhausted)?, false)),
            Err(refusal) => Err(refusal),
        }
    }

    /// One process more holds the block; `None` when there is no such block any more.
    pub(super) fn upgrade(&self, index: u32, generation: u32) -> Result<Option<Site>, Damaged> {
        let entry = self.entry(index)?;
        let mut state = entry.state.load(Relaxed);
        loop {
            if state & 0xffff_ffff == 0 || (state >> 32) as u32 != generation {
                return Ok(None);
            }
            // There are not that many processes; one more would run over into the generation.
            if state as u32 == u32::MAX {
                return Err(Damaged);
            }
            // SYNC: block handed out
            match entry.state.compare_exchange_weak(state, state + 1, Acquire, Relaxed) {
                Ok(_) => return self.site(index).map(Some),
                Err(now) => state = now,
            }
        }
    }

    /// One process less holds the block; whether it was the last, and must free it.
    pub(super) fn release(&self, index: u32, generation: u32) -> Result<bool, Damaged> {
        let entry = self.entry(index)?;
        let mut state = entry.state.load(Relaxed);
        loop {
            if state & 0xffff_ffff == 0 || (state >> 32) as u32 != generation {
                return Err(Damaged);
            }
            let last = state & 0xffff_ffff == 1;
            let next_generation = u64::from(generation.wrapping_add(1) & GENERATION) << 32;
            let next = if last { next_generation } else { state - 1 };
            // SYNC: block released
            match entry.state.compare_exchange_weak(state, next, AcqRel, Relaxed) {
                Ok(_) => return Ok(last),
                Err(now) => state = now,
            }
        }
    }

    /// Notes that what a dead process held of the block could not be released.
    pub(super) fn write_off(&self, index: u32) -> Result<(), Damaged> {
        self.entry(index)?.link.fetch_or(WRITTEN_OFF, Relaxed);
        Ok(())
    }

    /// Notes that the count of a block may be too high.
    pub(super) fn doubt(&self, index: u32) -> Result<(), Damaged> {
        self.entry(index)?.link.fetch_or(DOUBTFUL, Relaxed);
        Ok(())
    }

    /// Notes that nobody has a block any more that is in doubt, whatever its count says. False: it was released after all, and
    /// may be somebody else's by now, who is in no doubt.
    pub(super) fn give_up(&self, index: u32) -> Result<bool, Damaged> {
        let gone = |link: u64| (link & DOUBTFUL != 0).then_some(link | GONE);
        Ok(self.entry(index)?.link.fetch_update(Relaxed, Relaxed, gone).is_ok())
    }

    /// Whether the count of a block may be too high, and whether it was found that nobody has it any more.
    #[inline]
    pub(super) fn doubts(&self, index: u32) -> (bool, bool) {
        let link = self.entries.get(index as usize).map_or(0, |entry| entry.link.load(Relaxed));
        (link & DOUBTFUL != 0, link & GONE != 0)
    }

    /// Whether a block was written off.
    pub(super) fn is_written_off(&self, index: u32) -> bool {
        self.entry(index).is_ok_and(|entry| entry.link.load(Relaxed) & WRITTEN_OFF != 0)
    }

    /// Puts a block that nobody holds onto its free list.
    pub(super) fn free(&self, index: u32) -> Result<(), Damaged> {
        self.push(&self.head.free, index)
    }

    /// Puts a block that nobody holds aside with its pages, for the next who needs no zeros; false = there are
    /// enough of these, and nothing was done.
    pub(super) fn keep(&self, site: &Site) -> Result<bool, Damaged> {
        let grow = |kept: u64| kept.checked_add(site.room).filter(|kept| *kept <= MOST_KEPT);
        // Who is killed before the block lies there has lost its bytes of the limit, too, as well as the block.
        if self.head.kept_bytes.fetch_update(Relaxed, Relaxed, grow).is_err() {
            return Ok(false);
        }
        self.push(&self.head.kept, site.index)?;
        Ok(true)
    }

    fn push(&self, lists: &[AtomicU64; CLASSES], index: u32) -> Result<(), Damaged> {
        let entry = self.entry(index)?;
        let class = self.site(index)?.room.ilog2();
        let list = &lists[(class - SMALLEST) as usize];
        let mut head = list.load(Relaxed);
        loop {
            entry.link.store(u64::from(class) << 32 | head & 0xffff_ffff, Relaxed);
            let next = (head >> 32).wrapping_add(1) << 32 | (u64::from(index) + 1);
            // SYNC: free list
            match list.compare_exchange_weak(head, next, Release, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes one of the blocks that were put aside with their pages.
    pub(super) fn take_kept(&self) -> Result<Option<Site>, Damaged> {
        for class in (SMALLEST..).take(CLASSES) {
            if let Some(index) = self.pop_kept(class)? {
                return self.site(index).map(Some);
            }
        }
        Ok(None)
    }

    fn pop_kept(&self, class: u32) -> Result<Option<u32>, Damaged> {
        let found = self.pop(&self.head.kept, class)?;
        if found.is_some() {
            let shrink = |kept: u64| Some(kept.saturating_sub(1 << class));
            let _ = self.head.kept_bytes.fetch_update(Relaxed, Relaxed, shrink);
        }
        Ok(found)
    }

    fn pop(&self, lists: &[AtomicU64; CLASSES], class: u32) -> Result<Option<u32>, Damaged> {
        let list = &lists[(class - SMALLEST) as usize];
        // SYNC: free list
        let mut head = list.load(Acquire);
        while let Some(index) = (head as u32).checked_sub(1) {
            let after = self.entry(index)?.link.load(Relaxed) & 0xffff_ffff;
            let next = (head >> 32).wrapping_add(1) << 32 | after;
            match list.compare_exchange_weak(head, next, Acquire, Acquire) {
                Ok(_) if self.site(index)?.room.ilog2() == class => return Ok(Some(index)),
                Ok(_) => return Err(Damaged),
                Err(now) => head = now,
            }
        }
        Ok(None)
    }

    /// Makes a block of memory that was never used.
    fn cut(&self, class: u32) -> Result<u32, Refusal> {
        let room = 1 << class;
        let at = if room > LARGEST_SMALL { self.take_data(room, SPAN)? } else { self.cut_small(class, room)? };
        let count = self.geometry.entries;
        let taken = self.head.entries.fetch_update(Relaxed, Relaxed, |used| (used < count).then_some(used + 1));
        let index = taken.map_err(|_| Refusal::Exhausted)? as u32;
        let entry = self.entry(index)?;
        entry.at.store(at, Relaxed);
        Ok(index)
    }

    fn cut_small(&self, class: u32, room: u64) -> Result<u64, Refusal> {
        let cut = &self.head.cut[(class - SMALLEST) as usize];
        loop {
            let next = cut.load(Relaxed);
            let at = if next % SPAN == 0 { self.take_span()? } else { next };
            if !self.geometry.is_data(at, room) {
                return Err(Refusal::Damaged);
            }
            // If another process was faster a new span is lost: room in a sparse file, no memory.
            if cut.compare_exchange(next, at + room, Relaxed, Relaxed).is_ok() {
                return Ok(at);
            }
        }
    }

    fn take_span(&self) -> Result<u64, Refusal> {
        loop {
            let next = self.head.span.load(Relaxed);
            let full = next % self.geometry.segment == 0;
            let at = if full { self.take_data(self.geometry.segment, self.geometry.segment)? } else { next };
            if !self.geometry.is_data(at, SPAN) {
                return Err(Refusal::Damaged);
            }
            if self.head.span.compare_exchange(next, at + SPAN, Relaxed, Relaxed).is_ok() {
                return Ok(at);
            }
        }
    }

    fn take_data(&self, len: u64, align: u64) -> Result<u64, Refusal> {
        let place = |used: u64| used.max(self.geometry.data_at).checked_next_multiple_of(align);
        let grow = |used| place(used)?.checked_add(len).filter(|end| *end <= self.geometry.len);
        let used = self.head.data.fetch_update(Relaxed, Relaxed, grow).map_err(|_| Refusal::Exhausted)?;
        place(used).ok_or(Refusal::Damaged)
    }

    fn entry(&self, index: u32) -> Result<&'a Entry, Damaged> {
        self.entries.get(index as usize).ok_or(Damaged)
    }

    /// What is known of a block, checked.
    pub(super) fn site(&self, index: u32) -> Result<Site, Damaged> {
        let entry = self.entry(index)?;
        let (link, at, len) = (entry.link.load(Relaxed), entry.at.load(Relaxed), entry.len.load(Relaxed));
        let class = (link >> 32) as u8;
        let shift = u32::from(class).checked_sub(SMALLEST).filter(|it| (*it as usize) < CLASSES).ok_or(Damaged)?;
        let room = 1u64 << (shift + SMALLEST);
        let aligned = if room > LARGEST_SMALL { at % SPAN == 0 } else { at % room == 0 };
        if len > room || !aligned || !self.geometry.is_data(at, room) {
            return Err(Damaged);
        }
        let generation = (entry.state.load(Relaxed) >> 32) as u32;
        Ok(Site { index, generation, at, len, room, kind: (link >> 40) as u8, is_zero: false })
    }

    /// How many entries were ever used.
    pub(super) fn used(&self) -> u32 {
        // SYNC: block handed out
        self.head.entries.load(Acquire).min(self.entries.len() as u64) as u32
    }

    /// Whether that very block is held.
    pub(super) fn is_held(&self, index: u32, generation: u32) -> bool {
        // SYNC: block handed out
        let state = self.entries.get(index as usize).map_or(0, |entry| entry.state.load(Acquire));
        state as u32 > 0 && (state >> 32) as u32 == generation
    }

    /// How many processes and places hold a block.
    pub(super) fn holders(&self, index: u32) -> u32 {
        // SYNC: block handed out
        self.entries.get(index as usize).map_or(0, |entry| entry.state.load(Acquire) as u32)
    }

    /// The entries on the free lists, for the checker; `None` when a list runs in circles.
    pub(super) fn free_entries(&self) -> Option<Vec<u32>> {
        let mut all = Vec::new();
        for list in self.head.free.iter().chain(&self.head.kept) {
            // SYNC: free list
            let mut next = list.load(Acquire) as u32;
            while let Some(index) = next.checked_sub(1) {
                all.push(index);
                if all.len() > self.entries.len() {
                    return None;
                }
                next = self.entries.get(index as usize)?.link.load(Relaxed) as u32;
            }
        }
        Some(all)
    }
}

#[cfg(all(test, loom))]
mod model;
