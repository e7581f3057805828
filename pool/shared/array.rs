//! [`Array`]: many values of one type in shared memory, with a lock.

use crate::error::{Error, LockError};
use crate::heap::block::Block;
use crate::heap::kind::Kind;
use crate::shared::element::{DATA, guard_with, is_guarded_by};
use crate::sync::lock::{Lock, LockGuard};
use crate::sync::slice::LockedSlice;
use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, RangeBounds};
use std::time::Duration;

/// An array in shared memory with a lock: Python's `multiprocessing.Array`.
///
/// A handle, as [`Lock`]: clones, and what arrives in another process, are the same array. Passing it costs the same
/// whatever its length.
///
/// ```
/// use multiproc::{Array, Pool};
///
/// let array = Array::from(&[1.0f64, 2.0, 3.0]);
/// let pool = Pool::new(2)?;
/// pool.with(&array).tasks(|array: &Array<f64>, i: usize| array.lock().unwrap()[i] *= 10.0, 0..3).run()?;
/// assert_eq!(array.read(..)?, [10.0, 20.0, 30.0]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Elements may be aligned to 64 bytes at most; wider ones do not compile:
///
/// ```compile_fail
/// use multiproc::{Array, bytemuck};
///
/// #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
/// #[bytemuck(crate = "multiproc::bytemuck")]
/// #[repr(C, align(128))]
/// struct Wide([u8; 128]);
///
/// let array = Array::<Wide>::new(3);
/// ```
///
/// # Panics
///
/// An index or a range outside of the array panics, as with a slice.
///
/// # If a process dies
///
/// If the process held the lock, every access gives [`LockError::is_owner_died`], as with [`Value`](crate::Value).
pub struct Array<T> {
    lock: Lock,
    data: Block,
    len: usize,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod + Send + Sync> Array<T> {
    /// Creates an array of `len` elements, all zero.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`Array::try_new`].
    pub fn new(len: usize) -> Array<T> {
        match Array::try_new(len) {
            Ok(array) => array,
            Err(error) => panic!("no shared array could be made: {error}"),
        }
    }

    /// Creates an array of `len` elements, all zero.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new(len: usize) -> Result<Array<T>, Error> {
        const { assert!(size_of::<T>() > 0, "an array of elements without size") };
        const { assert!(align_of::<T>() <= DATA, "elements are aligned to 64 bytes at most") };
        let bytes = len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(DATA));
        let bytes = bytes.ok_or_else(|| Error::shared_memory("shared memory is exhausted"))?;
        let data = Block::new(Kind::Array, bytes)?;
        let lock = Lock::of(data.clone()).ok_or_else(|| Error::shared_memory("a new block is damaged"))?;
        guard_with(&data, &lock);
        Ok(Array { lock, data, len, element: PhantomData })
    }

    /// Creates an array of `len` elements, all zero, that shares a lock with others: Python's `Array(.., lock=lock)`.
    ///
    /// # Errors
    ///
    /// See [`Array::try_new`].
    pub fn with_lock(len: usize, lock: &Lock) -> Result<Array<T>, Error> {
        let own = Array::try_new(len)?;
        guard_with(&own.data, lock);
        Ok(Array { lock: lock.clone(), ..own })
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the array has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns a copy of the element at `index`.
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    ///
    /// # Panics
    ///
    /// Panics when there is no such element.
    pub fn get(&self, index: usize) -> Result<T, LockError> {
        Ok(self.lock()?[index])
    }

    /// Replaces the element at `index`.
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    ///
    /// # Panics
    ///
    /// Panics when there is no such element.
    pub fn set(&self, index: usize, value: T) -> Result<(), LockError> {
        self.lock()?[index] = value;
        Ok(())
    }

    /// Returns a copy of a range of elements: Python's `array[a:b]`.
    ///
    /// ```
    /// let array = multiproc::Array::from(&[1, 2, 3]);
    /// assert_eq!(array.read(1..)?, [2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    ///
    /// # Panics
    ///
    /// Panics when the range does not lie inside.
    pub fn read(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, LockError> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        Ok(self.lock()?[range].to_vec())
    }

    /// Replaces the elements from `at` on: Python's `array[a:b] = values`.
    ///
    /// ```
    /// let array = multiproc::Array::<i32>::new(4);
    /// array.write(1, &[5, 6])?;
    /// assert_eq!(array.read(..)?, [0, 5, 6, 0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    ///
    /// # Panics
    ///
    /// Panics when they do not fit.
    pub fn write(&self, at: usize, values: &[T]) -> Result<(), LockError> {
        self.lock()?[at..][..values.len()].copy_from_slice(values);
        Ok(())
    }

    /// Waits for the lock, and returns a guard: the elements in place, until it is dropped.
    ///
    /// ```
    /// let array = multiproc::Array::from(&[3, 1, 2]);
    /// array.lock()?.sort(); // It is a slice, under the lock.
    /// assert_eq!(array.read(..)?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, LockError> {
        self.guard(self.lock.lock()?)
    }

    /// Returns a guard of the elements if the lock is free; `None` when it is not.
    ///
    /// # Errors
    ///
    /// See [`Lock::try_lock`].
    pub fn try_lock(&self) -> Result<Option<ArrayGuard<'_, T>>, LockError> {
        self.lock.try_lock()?.map(|held| self.guard(held)).transpose()
    }

    /// Waits for the lock for at most `timeout`; `None` when it was held all the time.
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<ArrayGuard<'_, T>>, LockError> {
        self.lock.lock_timeout(timeout)?.map(|held| self.guard(held)).transpose()
    }

    /// Returns a guard of the elements even if a holder of the lock has died: to repair them, see
    /// [`Lock::lock_poisoned`].
    ///
    /// # Errors
    ///
    /// See [`Lock::lock_poisoned`].
    pub fn lock_poisoned(&self) -> Result<ArrayGuard<'_, T>, LockError> {
        self.guard(self.lock.lock_poisoned()?)
    }

    /// Returns the lock of the array: Python's `get_lock()`.
    pub fn get_lock(&self) -> &Lock {
        &self.lock
    }

    fn guard<'a>(&'a self, held: LockGuard<'a>) -> Result<ArrayGuard<'a, T>, LockError> {
        let slice = LockedSlice::new(held, self.data.memory(), DATA, self.len).ok_or(LockError::DAMAGED)?;
        Ok(ArrayGuard { slice })
    }
}

/// The elements of a slice or vector, copied.
///
/// # Panics
///
/// See [`Array::new`].
impl<T: Pod + Send + Sync, S: AsRef<[T]> + ?Sized> From<&S> for Array<T> {
    fn from(elements: &S) -> Array<T> {
        let elements = elements.as_ref();
        let array = Array::new(elements.len());
        // Nobody else has a handle yet, so the lock is free.
        if let Ok(mut all) = array.lock() {
            all.copy_from_slice(elements);
        }
        array
    }
}

/// The elements of a vector.
///
/// ```
/// use multiproc::Array;
///
/// assert_eq!(Array::from(vec![1, 2]).len(), 2);
/// assert_eq!(Array::from(&[1, 2]).len(), 2);
/// ```
///
/// # Panics
///
/// See [`Array::new`].
impl<T: Pod + Send + Sync> From<Vec<T>> for Array<T> {
    fn from(elements: Vec<T>) -> Array<T> {
        Array::from(&elements)
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Array { lock: self.lock.clone(), data: self.data.clone(), len: self.len, element: PhantomData }
    }
}

impl<T> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array(len={}, {:?})", self.len, self.lock)
    }
}

impl<T> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.lock, &self.data).serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Array<T>, D::Error> {
        let (lock, data) = <(Lock, Block)>::deserialize(deserializer)?;
        let bytes = data.memory().bytes().len().checked_sub(DATA);
        let fits = data.kind() == Kind::Array as u8 && is_guarded_by(&data, &lock);
        match bytes.filter(|bytes| fits && bytes % size_of::<T>().max(1) == 0) {
            Some(bytes) => Ok(Array { lock, data, len: bytes / size_of::<T>().max(1), element: PhantomData }),
            None => Err(D::Error::custom("the handle refers to something that is no array of this type")),
        }
    }
}

/// Access to the elements of an [`Array`], exclusively, until it is dropped.
///
/// ```
/// let array = multiproc::Array::from(&[3, 1, 2]);
/// let mut held = array.lock()?;
/// held.sort(); // A slice, in place: nothing is copied.
/// assert_eq!(held.iter().sum::<i32>(), 6);
/// drop(held);
/// assert_eq!(array.read(..)?, [1, 2, 3]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropped at once, it releases the lock at once"]
pub struct ArrayGuard<'a, T> {
    slice: LockedSlice<'a, T>,
}

impl<T: Pod> ArrayGuard<'_, T> {
    /// Like [`LockGuard::is_poisoned`].
    pub fn is_poisoned(&self) -> bool {
        self.slice.guard().is_poisoned()
    }

    /// Like [`LockGuard::clear_poison`].
    pub fn clear_poison(&self) {
        self.slice.guard().clear_poison();
    }
}

impl<T: Pod> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.slice
    }
}

impl<T: Pod> DerefMut for ArrayGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.slice
    }
}
