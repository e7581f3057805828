//! [`RawArray`]: many values of one type in shared memory, without a lock.

use crate::error::Error;
use crate::heap::block::Block;
use crate::heap::kind::Kind;
use crate::heap::scope::refuse;
use crate::shared::raw::Integer;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use Ordering::{AcqRel, Relaxed};
use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

/// An array in shared memory without a lock: Python's `multiprocessing.sharedctypes.RawArray`.
///
/// Access never waits and never fails. Single elements of 1, 2, 4 or 8 bytes are read and written atomically (in relaxed
/// order); wider ones and ranges are copied at the speed of memory, and a reader can see a mixture of old and new. A
/// handle, as [`Lock`](crate::Lock).
///
/// ```
/// use multiproc::{Pool, RawArray};
///
/// let squares = RawArray::<u64>::new(100);
/// let pool = Pool::new(2)?;
/// pool.with(&squares).map(|squares: &RawArray<u64>, i: usize| squares.set(i, (i * i) as u64), 0..100)?;
/// assert_eq!(squares.get(9), 81);
/// assert_eq!(squares.read(2..5), [4, 9, 16]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// With one [`Lock`](crate::Lock) for each element: `RawArray<i64>` and `Vec<Lock>`.
///
/// # Panics
///
/// As a slice: an index or range outside of the array panics.
pub struct RawArray<T> {
    block: Block,
    len: usize,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Send + Sync> RawArray<T> {
    /// `len` elements, all zero.
    ///
    /// # Panics
    ///
    /// When there is no shared memory for it, see [`RawArray::try_new`].
    pub fn new(len: usize) -> RawArray<T> {
        match RawArray::try_new(len) {
            Ok(array) => array,
            Err(error) => panic!("no shared array could be made: {error}"),
        }
    }

    /// `len` elements, all zero.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new(len: usize) -> Result<RawArray<T>, Error> {
        const { assert!(size_of::<T>() > 0, "an array of elements without size") };
        let bytes = len.checked_mul(size_of::<T>());
        let bytes = bytes.ok_or_else(|| Error::shared_memory("shared memory is exhausted"))?;
        Ok(RawArray { block: Block::new(Kind::RawArray, bytes)?, len, element: PhantomData })
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&self, index: usize) -> usize {
        assert!(index < self.len, "index {index} is outside of an array of {} elements", self.len);
        index * size_of::<T>()
    }

    /// A copy of the element at `index`.
    ///
    /// # Panics
    ///
    /// When there is no such element.
    pub fn get(&self, index: usize) -> T {
        let at = self.place(index);
        let memory = self.block.memory();
        if let (8, Some(word)) = (size_of::<T>(), memory.view::<AtomicU64>(at)) {
            return bytemuck::pod_read_unaligned(&word.load(Relaxed).to_ne_bytes());
        }
        if let (4, Some(word)) = (size_of::<T>(), memory.view::<AtomicU32>(at)) {
            return bytemuck::pod_read_unaligned(&word.load(Relaxed).to_ne_bytes());
        }
        let mut value = T::zeroed();
        self.copy_out(at, bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Replaces the element at `index`.
    ///
    /// # Panics
    ///
    /// When there is no such element.
    pub fn set(&self, index: usize, value: T) {
        let at = self.place(index);
        let memory = self.block.memory();
        let bytes = bytemuck::bytes_of(&value);
        if let (Ok(bytes), Some(word)) = (<[u8; 8]>::try_from(bytes), memory.view::<AtomicU64>(at)) {
            return word.store(u64::from_ne_bytes(bytes), Relaxed);
        }
        if let (Ok(bytes), Some(word)) = (<[u8; 4]>::try_from(bytes), memory.view::<AtomicU32>(at)) {
            return word.store(u32::from_ne_bytes(bytes), Relaxed);
        }
        self.copy_in(at, bytes);
    }

    /// A copy of a range of elements.
    ///
    /// # Panics
    ///
    /// When the range does not lie inside.
    pub fn read(&self, range: impl RangeBounds<usize>) -> Vec<T> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len,
        };
        assert!(start <= end && end <= self.len, "{start}..{end} is outside of an array of {} elements", self.len);
        let bytes = self.block.memory().bytes().slice(start * size_of::<T>(), (end - start) * size_of::<T>());
        bytes.and_then(|bytes| bytes.to_vec()).unwrap_or_default()
    }

    /// Replaces the elements from `at` on.
    ///
    /// # Panics
    ///
    /// When they do not fit.
    pub fn write(&self, at: usize, values: &[T]) {
        let end = at.checked_add(values.len());
        assert!(end.is_some_and(|end| end <= self.len), "{} elements at {at} do not fit {}", values.len(), self.len);
        self.copy_in(at * size_of::<T>(), bytemuck::cast_slice(values));
    }

    fn copy_in(&self, at: usize, bytes: &[u8]) {
        // Inside: the caller has checked.
        let _ = self.block.memory().bytes().write(at, bytes);
    }

    fn copy_out(&self, at: usize, out: &mut [u8]) {
        if let Some(bytes) = self.block.memory().bytes().slice(at, out.len()) {
            bytes.read_into(out);
        }
    }
}

impl<T: Integer> RawArray<T> {
    /// Adds to the element at `index`, wrapping around, as one step; gives the value before.
    ///
    /// # Panics
    ///
    /// When there is no such element.
    pub fn fetch_add(&self, index: usize, other: T) -> T {
        self.fetch_update(index, |value| value.plus(other))
    }

    /// Subtracts from the element at `index`, wrapping around, as one step; gives the value before.
    ///
    /// # Panics
    ///
    /// When there is no such element.
    pub fn fetch_sub(&self, index: usize, other: T) -> T {
        self.fetch_update(index, |value| value.minus(other))
    }

    /// Changes the element at `index` as one step; gives the value before. `change` may be called several times.
    ///
    /// # Panics
    ///
    /// When there is no such element.
    pub fn fetch_update(&self, index: usize, change: impl Fn(T) -> T) -> T {
        let at = self.place(index);
        // The whole 8-byte word around the element: blocks begin on cache lines and have room for whole ones.
        let (word_at, offset) = (at / 8 * 8, at % 8);
        let Some(word) = self.block.word(word_at) else { return T::zeroed() };
        let mut now = word.load(Relaxed);
        loop {
            let mut bytes = now.to_ne_bytes();
            let element = &mut bytes[offset..offset + size_of::<T>()];
            let before: T = bytemuck::pod_read_unaligned(element);
            element.copy_from_slice(bytemuck::bytes_of(&change(before)));
            match word.compare_exchange_weak(now, u64::from_ne_bytes(bytes), AcqRel, Relaxed) {
                Ok(_) => return before,
                Err(other) => now = other,
            }
        }
    }
}

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        RawArray { block: self.block.clone(), len: self.len, element: PhantomData }
    }
}

impl<T> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawArray(len={})", self.len)
    }
}

/// The elements of a slice or vector, copied.
///
/// # Panics
///
/// As [`RawArray::new`].
impl<T: Pod + Send + Sync, S: AsRef<[T]> + ?Sized> From<&S> for RawArray<T> {
    fn from(elements: &S) -> RawArray<T> {
        let elements = elements.as_ref();
        let array = RawArray::new(elements.len());
        array.write(0, elements);
        array
    }
}

impl<T> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.block.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawArray<T>, D::Error> {
        let block = Block::deserialize(deserializer)?;
        let (bytes, size) = (block.memory().bytes().len(), size_of::<T>().max(1));
        if block.kind() != Kind::RawArray as u8 || bytes % size != 0 {
            return Err(D::Error::custom(refuse("the handle refers to something that is no raw array of this type")));
        }
        Ok(RawArray { block, len: bytes / size, element: PhantomData })
    }
}
