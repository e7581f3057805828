//! [`RawArray`]: many values of one type in shared memory, without a lock.

use crate::error::Error;
use crate::heap::block::Block;
use crate::heap::kind::Kind;
use crate::shared::element::range_of;
use crate::shared::raw::{Integer, from_word, to_word};
use crate::sys::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use Ordering::{AcqRel, Relaxed};
use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Range, RangeBounds};

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
/// pool.with(&squares).tasks(|squares: &RawArray<u64>, i: usize| squares.set(i, (i * i) as u64), 0..100).run()?;
/// assert_eq!(squares.get(9), 81);
/// assert_eq!(squares.read(2..5), [4, 9, 16]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// With one [`Lock`](crate::Lock) for each element: `RawArray<i64>` and `Vec<Lock>`.
///
/// # Panics
///
/// An index or a range outside of the array panics, as with a slice.
pub struct RawArray<T> {
    block: Block,
    len: usize,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Send + Sync> RawArray<T> {
    /// Creates an array of `len` elements, all zero.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`RawArray::try_new`].
    pub fn new(len: usize) -> RawArray<T> {
        match RawArray::try_new(len) {
            Ok(array) => array,
            Err(error) => panic!("no shared array could be made: {error}"),
        }
    }

    /// Creates an array of `len` elements, all zero.
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

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the array has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&self, index: usize) -> usize {
        assert!(index < self.len, "index {index} is outside of an array of {} elements", self.len);
        index * size_of::<T>()
    }

    /// The element that begins `at` bytes into the memory, as an atomic of its own size; `None` if it has another than 1, 2, 4
    /// or 8 bytes.
    fn cell(&self, at: usize) -> Option<Cell<'_>> {
        let memory = self.block.memory();
        // A block begins on a cache line, so an element is aligned to its size.
        match size_of::<T>() {
            1 => memory.view(at).map(Cell::Bits8),
            2 => memory.view(at).map(Cell::Bits16),
            4 => memory.view(at).map(Cell::Bits32),
            8 => memory.view(at).map(Cell::Bits64),
            _ => None,
        }
    }

    /// Returns a copy of the element at `index`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such element.
    pub fn get(&self, index: usize) -> T {
        let at = self.place(index);
        if let Some(cell) = self.cell(at) {
            return from_word(cell.load());
        }
        let mut value = T::zeroed();
        self.copy_out(at, bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Replaces the element at `index`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such element.
    pub fn set(&self, index: usize, value: T) {
        let at = self.place(index);
        match self.cell(at) {
            Some(cell) => cell.store(to_word(&value)),
            None => self.copy_in(at, bytemuck::bytes_of(&value)),
        }
    }

    /// Returns a copy of a range of elements.
    ///
    /// ```
    /// let array = multiproc::RawArray::from(&[1, 2, 3]);
    /// assert_eq!(array.read(1..), [2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when the range does not lie inside.
    pub fn read(&self, range: impl RangeBounds<usize>) -> Vec<T> {
        let Range { start, end } = range_of(range, self.len);
        assert!(end <= self.len, "the range {start}..{end} is outside of an array of {} elements", self.len);
        let bytes = self.block.memory().bytes().slice(start * size_of::<T>(), (end - start) * size_of::<T>());
        bytes.map_or_else(Vec::new, |bytes| bytes.to_vec().unwrap_or_else(|error| panic!("{error}")))
    }

    /// Replaces the elements from `at` on.
    ///
    /// ```
    /// let array = multiproc::RawArray::<i32>::new(4);
    /// array.write(1, &[5, 6]);
    /// assert_eq!(array.read(..), [0, 5, 6, 0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when they do not fit.
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
    /// Adds `other` to the element at `index` in one step, wrapping around, and returns the value before.
    ///
    /// # Panics
    ///
    /// Panics when there is no such element.
    pub fn fetch_add(&self, index: usize, other: T) -> T {
        self.update(index, |value| value.plus(other))
    }

    /// Subtracts `other` from the element at `index` in one step, wrapping around, and returns the value before.
    ///
    /// # Panics
    ///
    /// Panics when there is no such element.
    pub fn fetch_sub(&self, index: usize, other: T) -> T {
        self.update(index, |value| value.minus(other))
    }

    /// Changes the element at `index` in one step, and returns the value before. `change` may be called several
    /// times.
    ///
    /// # Panics
    ///
    /// Panics when there is no such element.
    pub fn update(&self, index: usize, change: impl Fn(T) -> T) -> T {
        // Every `Integer` has a size that has atomics.
        let Some(cell) = self.cell(self.place(index)) else { return T::zeroed() };
        let mut now = cell.load();
        loop {
            match cell.compare_exchange_weak(now, to_word(&change(from_word(now)))) {
                Ok(before) => return from_word(before),
                Err(other) => now = other,
            }
        }
    }
}

/// An element as an atomic. Values are words, as [`to_word`] makes them: the element's bytes come first.
enum Cell<'a> {
    Bits8(&'a AtomicU8),
    Bits16(&'a AtomicU16),
    Bits32(&'a AtomicU32),
    Bits64(&'a AtomicU64),
}

impl Cell<'_> {
    fn load(&self) -> u64 {
        match self {
            Cell::Bits8(it) => to_word(&it.load(Relaxed)),
            Cell::Bits16(it) => to_word(&it.load(Relaxed)),
            Cell::Bits32(it) => to_word(&it.load(Relaxed)),
            Cell::Bits64(it) => to_word(&it.load(Relaxed)),
        }
    }

    fn store(&self, value: u64) {
        match self {
            Cell::Bits8(it) => it.store(from_word(value), Relaxed),
            Cell::Bits16(it) => it.store(from_word(value), Relaxed),
            Cell::Bits32(it) => it.store(from_word(value), Relaxed),
            Cell::Bits64(it) => it.store(from_word(value), Relaxed),
        }
    }

    fn compare_exchange_weak(&self, now: u64, new: u64) -> Result<u64, u64> {
        macro_rules! exchange {
            ($it:expr) => {{
                // SYNC: raw value
                let outcome = $it.compare_exchange_weak(from_word(now), from_word(new), AcqRel, Relaxed);
                outcome.map(|it| to_word(&it)).map_err(|it| to_word(&it))
            }};
        }
        match self {
            Cell::Bits8(it) => exchange!(it),
            Cell::Bits16(it) => exchange!(it),
            Cell::Bits32(it) => exchange!(it),
            Cell::Bits64(it) => exchange!(it),
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
/// See [`RawArray::new`].
impl<T: Pod + Send + Sync, S: AsRef<[T]> + ?Sized> From<&S> for RawArray<T> {
    fn from(elements: &S) -> RawArray<T> {
        let elements = elements.as_ref();
        let array = RawArray::new(elements.len());
        array.write(0, elements);
        array
    }
}

/// The elements of a vector.
///
/// ```
/// use multiproc::RawArray;
///
/// assert_eq!(RawArray::from(vec![1, 2]).len(), 2);
/// assert_eq!(RawArray::from(&[1, 2]).len(), 2);
/// ```
///
/// # Panics
///
/// See [`RawArray::new`].
impl<T: Pod + Send + Sync> From<Vec<T>> for RawArray<T> {
    fn from(elements: Vec<T>) -> RawArray<T> {
        RawArray::from(&elements)
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
            return Err(D::Error::custom("the handle refers to something that is no raw array of this type"));
        }
        Ok(RawArray { block, len: bytes / size, element: PhantomData })
    }
}
