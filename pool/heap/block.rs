//! A block of shared memory, and the handle to it that may travel.

use crate::error::Error;
use crate::heap::books::Inner;
use crate::heap::geometry::PAGE;
use crate::heap::kind::Kind;
use crate::heap::memory::Memory;
use crate::heap::table::GENERATION;
use crate::heap::tree::heap;
use crate::sys::file_part::FilePart;
use crate::sys::memory::Atomics;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// A handle to a block of shared memory. The block lives as long as any process holds it.
#[derive(Clone, Debug)]
pub(crate) struct Block(Arc<Inner>);

impl Block {
    /// A new block of `len` bytes, all zero.
    ///
    /// # Errors
    ///
    /// Shared memory is exhausted, or this process has none.
    pub(crate) fn new(kind: Kind, len: usize) -> Result<Block, Error> {
        Block::make(kind, len, false)
    }

    /// A new block of `len` bytes, of which the first 8 are zero, and the others anything: for who writes all of them.
    ///
    /// # Errors
    ///
    /// As [`Block::new`].
    pub(crate) fn to_be_filled(kind: Kind, len: usize) -> Result<Block, Error> {
        Block::make(kind, len, true)
    }

    fn make(kind: Kind, len: usize, need_not_be_zero: bool) -> Result<Block, Error> {
        let heap = heap()?;
        let site = heap.allocate(len, kind as u8, need_not_be_zero)?;
        let mut places = heap.places.lock();
        let place = match heap.announce(&mut places, site.index, site.generation) {
            Ok(place) => place,
            Err(error) => {
                heap.give_back(&site);
                return Err(error);
            }
        };
        let memory = match heap.file.memory(&site) {
            Ok((mapping, at)) => Memory::new(mapping, at, len),
            Err(error) => {
                heap.leave(&mut places, place, &site);
                return Err(Error::shared_memory(format!("shared memory could not be mapped: {error}")));
            }
        };
        if !site.is_zero {
            // What another block has left there. Before the books say that this one is held: what it holds is released then.
            let _ = match need_not_be_zero {
                true => memory.bytes().write(0, &[0; 8][..len.min(8)]),
                false => memory.bytes().write(0, &vec![0; len]),
            };
        }
        heap.hold(&places, place, site.index, site.generation);
        let inner = Arc::new(Inner { heap, site, place, memory, lent: AtomicBool::new(false) });
        places.blocks.insert(site.index, Arc::downgrade(&inner));
        Ok(Block(inner))
    }

    /// The block that a handle from another process refers to.
    pub(super) fn open(id: u64, index: u32, generation: u32) -> Result<Block, String> {
        let heap = heap().map_err(|error| error.to_string())?;
        if id != heap.id {
            return Err("the handle belongs to the shared memory of another program".to_owned());
        }
        if generation > GENERATION {
            return Err("the handle is damaged".to_owned());
        }
        // Declared before the lock: if it is another block's, dropping it takes the lock.
        let known;
        let mut places = heap.places.lock();
        known = places.blocks.get(&index).and_then(Weak::upgrade);
        if let Some(inner) = known.as_ref().filter(|it| it.site.generation == generation) {
            // This process holds the block already, and one hold a process is enough.
            return Ok(Block(Arc::clone(inner)));
        }
        let damaged = |_| "the tables of the shared memory are damaged".to_owned();
        let place = heap.announce(&mut places, index, generation).map_err(|error| error.to_string())?;
        let site = match heap.file.table().upgrade(index, generation) {
            Ok(Some(site)) => site,
            Ok(None) => {
                heap.withdraw(&mut places, place);
                return Err("what the handle refers to exists no longer".to_owned());
            }
            Err(error) => {
                heap.withdraw(&mut places, place);
                return Err(damaged(error));
            }
        };
        heap.hold(&places, place, index, generation);
        let memory = match heap.file.memory(&site) {
            Ok((mapping, at)) => Memory::new(mapping, at, site.len as usize),
            Err(error) => {
                heap.leave(&mut places, place, &site);
                return Err(format!("shared memory could not be mapped: {error}"));
            }
        };
        let inner = Arc::new(Inner { heap, site, place, memory, lent: AtomicBool::new(false) });
        places.blocks.insert(index, Arc::downgrade(&inner));
        Ok(Block(inner))
    }

    /// What it was made for.
    pub(crate) fn kind(&self) -> u8 {
        self.0.site.kind
    }

    /// Its memory.
    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// Its part of the file, if it is so large that it pays not to map all of its pages.
    pub(crate) fn part(&self) -> Option<FilePart<'_>> {
        self.0.site.is_large().then(|| self.0.heap.file.part(&self.0.site))
    }

    /// Notes whether what the lock in this block protects is lent to somebody of this process as a reference or copy,
    /// so that whoever holds the lock must not let go of it in between. Only the holder of the lock may say so, and ask.
    #[inline]
    pub(crate) fn lend(&self, lent: bool) {
        self.0.lent.store(lent, Relaxed);
    }

    /// See [`Block::lend`].
    pub(crate) fn is_lent(&self) -> bool {
        self.0.lent.load(Relaxed)
    }

    /// What a handle to it says.
    pub(super) fn handle(&self) -> (u64, u32, u32) {
        (self.0.heap.id, self.0.site.index, self.0.site.generation)
    }

    /// Its entry and generation.
    pub(super) fn key(&self) -> (u32, u32) {
        (self.0.site.index, self.0.site.generation)
    }

    /// Gives the pages of a part back to the system, which then reads as zero; false = it does not, or the part does not
    /// consist of pages of this block alone.
    pub(crate) fn discard(&self, at: usize, len: usize) -> bool {
        let (site, page) = (&self.0.site, PAGE as usize);
        let fits = at.checked_add(len).is_some_and(|end| end as u64 <= site.len);
        let is_right = fits && site.is_large() && at % page == 0 && len % page == 0;
        is_right && self.0.heap.file.punch_part(site, at as u64, len as u64).is_ok()
    }

    /// A number that no other block has, of all that ever live in its place. Never 0.
    pub(crate) fn identity(&self) -> u64 {
        (u64::from(self.0.site.index) + 1) << 32 | u64::from(self.0.site.generation)
    }
}

/// A block that begins with a structure of atomics.
#[derive(Debug)]
pub(crate) struct Shared<T: Atomics + 'static> {
    block: Block,
    start: *const T,
}

// SAFETY: it is a reference to a structure of atomics (`Atomics: Sync`) and a handle that may go to any thread.
unsafe impl<T: Atomics> Send for Shared<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Atomics> Sync for Shared<T> {}

impl<T: Atomics> Shared<T> {
    /// The structure at the start of a block; `None` when the block is none of these kinds or too small.
    pub(crate) fn new(block: Block, kinds: &[Kind]) -> Option<Shared<T>> {
        let is_right = kinds.iter().any(|kind| block.kind() == *kind as u8);
        let start = std::ptr::from_ref(block.memory().view::<T>(0).filter(|_| is_right)?);
        Some(Shared { block, start })
    }

    #[inline]
    pub(crate) fn block(&self) -> &Block {
        &self.block
    }
}

impl<T: Atomics> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared { block: self.block.clone(), start: self.start }
    }
}

impl<T: Atomics> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `start` was made from a reference into the block's mapping, which stays mapped at its place as long
        // as `block` lives.
        unsafe { &*self.start }
    }
}

/// A part of a block that consists of structures of atomics, one behind the other.
#[derive(Debug)]
pub(crate) struct SharedSlice<T: Atomics + 'static> {
    block: Block,
    start: *const T,
    len: usize,
}

// SAFETY: as for `Shared`.
unsafe impl<T: Atomics> Send for SharedSlice<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Atomics> Sync for SharedSlice<T> {}

impl<T: Atomics> SharedSlice<T> {
    /// `len` structures that begin `at` bytes into the block; `None` when they do not lie inside or are not aligned.
    pub(crate) fn new(block: Block, at: usize, len: usize) -> Option<SharedSlice<T>> {
        let start = block.memory().start_of::<T>(at, len)?.cast_const();
        Some(SharedSlice { block, start, len })
    }
}

impl<T: Atomics> Clone for SharedSlice<T> {
    fn clone(&self) -> Self {
        SharedSlice { block: self.block.clone(), start: self.start, len: self.len }
    }
}

impl<T: Atomics> Deref for SharedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` structures lie inside the block's mapping from `start` on, aligned (`new`), and it stays mapped at
        // its place as long as `block` lives. `T: Atomics` promises that every byte of them is part of an atomic.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reclaim(_: u8, _: &Memory, _: u32, _: crate::sys::time::Deadline) -> bool {
        true
    }

    #[test]
    fn a_block_is_zero_and_its_memory_is_used_again() {
        crate::heap::reclaim::on_death(reclaim);
        for len in [8, 64, 5000, 100_000, 3 << 20] {
            for _ in 0..3 {
                let block = Block::new(Kind::Test, len).unwrap();
                let mut out = vec![1; len];
                block.memory().bytes().read_into(&mut out);
                assert!(out.iter().all(|it| *it == 0), "{len}");
                assert!(block.memory().bytes().write(0, &vec![0xff; len]));
                assert!(!block.memory().bytes().write(1, &vec![0xff; len]));
            }
        }
    }
}
