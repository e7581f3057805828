//! [`RawValue`]: one value in shared memory, without a lock.

use crate::error::Error;
use crate::heap::block::{Block, Shared};
use crate::heap::kind::Kind;
use crate::sys::atomic::{AtomicU64, Ordering};
use Ordering::{AcqRel, Acquire, Relaxed};
use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

mod sealed {
    pub trait Sealed {}
}

/// The integers that can be changed atomically in shared memory: `u8` to `u64`, `i8` to `i64`, `usize`, `isize`.
pub trait Integer: Pod + Send + Sync + Eq + sealed::Sealed {
    #[doc(hidden)]
    fn plus(self, other: Self) -> Self;
    #[doc(hidden)]
    fn minus(self, other: Self) -> Self;
}

macro_rules! integers {
    ($($type:ty)*) => { $(
        impl sealed::Sealed for $type {}
        impl Integer for $type {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
        }
    )* };
}

integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

/// A value in shared memory without a lock: Python's `multiprocessing.sharedctypes.RawValue`.
///
/// Access never waits and never fails. Up to 8 bytes it is atomic (in relaxed order: it says nothing about other
/// memory); wider values are copied, so that a reader can see a mixture of old and new: use a [`Value`](crate::Value)
/// for those if writers and readers meet. A handle, as [`Lock`](crate::Lock).
///
/// ```
/// use multiproc::{Pool, RawValue};
///
/// let hits = RawValue::new(0u64);
/// let pool = Pool::new(2)?;
/// pool.with(&hits).tasks(|hits: &RawValue<u64>, _: u32| hits.fetch_add(1), 0..1000).run()?;
/// assert_eq!(hits.get(), 1000);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct RawValue<T> {
    /// The value itself if it has up to 8 bytes, else where it begins.
    first: Shared<AtomicU64>,
    value: PhantomData<fn() -> T>,
}

/// Up to 8 bytes as a word.
pub(super) fn to_word<T: Pod>(value: &T) -> u64 {
    let mut bytes = [0; 8];
    bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
    u64::from_ne_bytes(bytes)
}

pub(super) fn from_word<T: Pod>(word: u64) -> T {
    bytemuck::pod_read_unaligned(&word.to_ne_bytes()[..size_of::<T>()])
}

impl<T: Pod + Send + Sync> RawValue<T> {
    const IS_ATOMIC: bool = size_of::<T>() <= 8;

    /// Creates a value.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`RawValue::try_new`].
    pub fn new(value: T) -> RawValue<T> {
        match RawValue::try_new(value) {
            Ok(value) => value,
            Err(error) => panic!("no shared value could be made: {error}"),
        }
    }

    /// Creates a value.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new(value: T) -> Result<RawValue<T>, Error> {
        let block = Block::new(Kind::RawValue, size_of::<T>().max(8))?;
        let raw = RawValue::of(block).ok_or_else(|| Error::shared_memory("a new block is damaged"))?;
        raw.set(value);
        Ok(raw)
    }

    fn of(block: Block) -> Option<RawValue<T>> {
        let fits = block.memory().bytes().len() == size_of::<T>().max(8);
        let first = Shared::new(block, &[Kind::RawValue]).filter(|_| fits)?;
        Some(RawValue { first, value: PhantomData })
    }

    /// Returns a copy of the value.
    pub fn get(&self) -> T {
        if Self::IS_ATOMIC {
            return from_word(self.first.load(Relaxed));
        }
        let mut value = T::zeroed();
        self.first.block().memory().bytes().read_into(bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        if Self::IS_ATOMIC {
            return self.first.store(to_word(&value), Relaxed);
        }
        // The length was checked when the handle was made.
        let _ = self.first.block().memory().bytes().write(0, bytemuck::bytes_of(&value));
    }
}

impl<T: Integer> RawValue<T> {
    /// Adds `other` in one step, wrapping around, and returns the value before.
    ///
    /// ```
    /// use multiproc::{Pool, RawValue};
    ///
    /// let next = RawValue::new(10u64);
    /// let take = |next: &RawValue<u64>, _: u32| next.fetch_add(1);
    /// let mut taken = Pool::new(2)?.with(&next).tasks(take, 0..3).run()?;
    /// taken.sort();
    /// assert_eq!((taken, next.get()), (vec![10, 11, 12], 13));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn fetch_add(&self, other: T) -> T {
        self.update(|value| value.plus(other))
    }

    /// Subtracts `other` in one step, wrapping around, and returns the value before.
    pub fn fetch_sub(&self, other: T) -> T {
        self.update(|value| value.minus(other))
    }

    /// Replaces the value in one step, and returns the value before.
    pub fn swap(&self, value: T) -> T {
        // SYNC: raw value
        from_word(self.first.swap(to_word(&value), AcqRel))
    }

    /// Replaces the value in one step if it is `current`, and returns the value before: as `Err` if it was another.
    ///
    /// # Errors
    ///
    /// The value was not `current`: this is what it was.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        // SYNC: raw value
        let outcome = self.first.compare_exchange(to_word(&current), to_word(&new), AcqRel, Acquire);
        outcome.map(from_word).map_err(from_word)
    }

    /// Changes the value in one step, and returns the value before. `change` may be called several times.
    pub fn update(&self, change: impl Fn(T) -> T) -> T {
        let mut now = self.first.load(Relaxed);
        loop {
            // SYNC: raw value
            match self.first.compare_exchange_weak(now, to_word(&change(from_word(now))), AcqRel, Relaxed) {
                Ok(before) => return from_word(before),
                Err(other) => now = other,
            }
        }
    }
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        RawValue { first: self.first.clone(), value: PhantomData }
    }
}

impl<T: Pod + Send + Sync + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.get()).finish()
    }
}

impl<T> Serialize for RawValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.first.block().serialize(serializer)
    }
}

impl<'de, T: Pod + Send + Sync> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawValue<T>, D::Error> {
        RawValue::of(Block::deserialize(deserializer)?)
            .ok_or_else(|| D::Error::custom("the handle refers to something that is no raw value of this type"))
    }
}
