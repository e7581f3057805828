//! A block of shared memory, and the handle to it that may travel.

use crate::error::Error;
use crate::heap::geometry::PAGE;
use crate::heap::kind::Kind;
use crate::heap::scope;
use crate::heap::table::{GENERATION, Site};
use crate::heap::tree::{Heap, heap};
use crate::sys::copy::SharedBytes;
use crate::sys::fork::fork_generation;
use crate::sys::memory::{Atomics, Mapping};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// The memory of a block.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    mapping: Arc<Mapping>,
    at: usize,
    len: usize,
}

impl Memory {
    pub(super) fn new(mapping: Arc<Mapping>, at: usize, len: usize) -> Memory {
        Memory { mapping, at, len }
    }

    /// Its bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> SharedBytes<'_> {
        let all = self.mapping.bytes();
        // The place was checked when the block was found; an empty piece would refuse every access.
        all.slice(self.at, self.len).or_else(|| all.slice(0, 0)).unwrap_or(all)
    }

    /// A structure of atomics `at` bytes into it; `None` when that does not lie inside or is not aligned.
    pub(crate) fn view<T: Atomics>(&self, at: usize) -> Option<&T> {
        let fits = at.checked_add(size_of::<T>()).is_some_and(|end| end <= self.len);
        (fits && (self.at + at) % align_of::<T>() == 0).then(|| self.mapping.view(self.at + at))
    }

    /// `len` structures of atomics one behind the other, from `at` bytes on; `None` when they do not lie inside or are not
    /// aligned.
    pub(crate) fn views<T: Atomics>(&self, at: usize, len: usize) -> Option<&[T]> {
        let size = len.checked_mul(size_of::<T>())?;
        let fits = at.checked_add(size).is_some_and(|end| end <= self.len);
        (fits && (self.at + at) % align_of::<T>() == 0).then(|| self.mapping.views(self.at + at, len))
    }

    /// Where `len` elements begin that lie `at` bytes into it; `None` when they do not lie inside or are not aligned.
    /// Only an address: see who uses it.
    pub(crate) fn start_of<T>(&self, at: usize, len: usize) -> Option<*mut T> {
        let bytes = self.bytes().slice(at, len.checked_mul(size_of::<T>())?)?;
        let start = bytes.start();
        (start as usize % align_of::<T>() == 0).then(|| start.cast())
    }
}

/// What all handles of this process to one block share.
#[derive(Debug)]
pub(super) struct Inner {
    heap: &'static Heap,
    site: Site,
    place: u32,
    memory: Memory,
    /// See [`Block::lend`].
    lent: AtomicBool,
}

// A panic in between leaves the books of the heap as they were: nothing of the user's runs while they are changed.
impl std::panic::RefUnwindSafe for Inner {}
impl std::panic::UnwindSafe for Inner {}

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
        let heap = heap()?;
        let site = heap.allocate(len, kind as u8)?;
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
        if !site.fresh && !site.is_large() {
            // What another block has left there.
            let _ = memory.bytes().write(0, &vec![0; len]);
        }
        heap.hold(place, site.index, site.generation);
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
        heap.hold(place, index, generation);
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

impl Drop for Inner {
    fn drop(&mut self) {
        // In a fork it is the original's to let go of; and another thread of that may have had the books locked at the
        // fork, which nobody will ever unlock here.
        if fork_generation() != self.heap.generation() {
            return;
        }
        let mut places = self.heap.places.lock();
        // Another handle may have arrived after the last one of this process was dropped, and before this.
        if places.blocks.get(&self.site.index).is_some_and(|it| it.strong_count() == 0) {
            places.blocks.remove(&self.site.index);
        }
        self.heap.leave(&mut places, self.place, &self.site);
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        scope::pin(self).map_err(S::Error::custom)?;
        (self.0.heap.id, self.0.site.index, self.0.site.generation).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Block, D::Error> {
        scope::check_reading().map_err(D::Error::custom)?;
        let (id, index, generation) = Deserialize::deserialize(deserializer)?;
        Block::open(id, index, generation).map_err(D::Error::custom)
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

    fn mourn(_: u8, _: &Memory, _: u32, _: crate::sys::time::Deadline) -> bool {
        true
    }

    #[test]
    fn a_block_is_zero_and_its_memory_is_used_again() {
        crate::heap::tree::on_death(mourn);
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
