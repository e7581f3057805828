//! The memory of a block, as far as it is mapped here.

use crate::sys::copy::SharedBytes;
use crate::sys::memory::{Atomics, Mapping};
use std::sync::Arc;

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
