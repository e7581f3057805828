//! Elements in shared memory, lent as a slice while the lock is held that stands before them.

use crate::heap::memory::Memory;
use crate::sync::lock::LockGuard;
use bytemuck::Pod;
use std::ops::{Deref, DerefMut};

/// The elements of a shared array, exclusively.
///
/// This is the one place where memory that other processes map is seen through a Rust reference. It rests on the lock:
/// whoever reaches these bytes in safe code, in any process, holds the same lock meanwhile, since a block of an array
/// can be opened as nothing else, and the one thing that lets go of a lock that a guard holds, waiting for a condition,
/// refuses while it is lent. A process that breaks into the memory by other means can change plain numbers under
/// our hands; it cannot make an invalid value of them (`Pod`). So can a process that foreign code has forked while a thread
/// lent elements: it has a copy of the guard and of the mapping, and does not hold the lock. A look at the thread's tag
/// at each access would notice that, and would keep loops over elements from being vectorised; so `fork(2)`, which is
/// `unsafe` to call, must not be called while elements are lent.
#[derive(Debug)]
pub(crate) struct LockedSlice<'a, T> {
    start: *mut T,
    len: usize,
    guard: LockGuard<'a>,
}

impl<'a, T: Pod> LockedSlice<'a, T> {
    /// The elements that begin `at` bytes into a block and take `len` places; `None` when they do not lie inside or are
    /// not aligned. `guard` holds the lock that all access to them takes.
    pub(crate) fn new(guard: LockGuard<'a>, memory: &'a Memory, at: usize, len: usize) -> Option<LockedSlice<'a, T>> {
        let start = memory.start_of::<T>(at, len)?;
        // A condition that belongs to the same lock must not let go of it meanwhile.
        guard.lend();
        Some(LockedSlice { start, len, guard })
    }

    pub(crate) fn guard(&self) -> &LockGuard<'a> {
        &self.guard
    }
}

impl<T: Pod> Deref for LockedSlice<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: inside the mapping and aligned (`new`), which lives as long as the lifetime says; any bytes are a `T`
        // (`Pod`); nobody writes meanwhile, since whoever does holds the lock that `guard` holds.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T: Pod> DerefMut for LockedSlice<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; and nobody reads meanwhile either, in this process since `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for LockedSlice<'_, T> {
    fn drop(&mut self) {
        self.guard.take_back();
    }
}
