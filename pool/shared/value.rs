//! [`Value`]: one value in shared memory, with its lock.

use crate::error::{Error, LockError};
use crate::heap::block::Block;
use crate::heap::kind::Kind;
use crate::shared::element::{self, DATA, Element};
use crate::sync::lock::{Lock, LockGuard};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A value in shared memory with a lock: Python's `multiprocessing.Value`.
///
/// A handle, as [`Lock`]: clones, and what arrives in another process, are the same value.
///
/// ```
/// use multiproc::{Pool, Value};
///
/// let total = Value::new(0i64);
/// let pool = Pool::new(2)?;
/// pool.with(&total).tasks(|total: &Value<i64>, x: i64| total.update(|sum| *sum += x).unwrap(), 1..=100).run()?;
/// assert_eq!(total.get()?, 5050);
///
/// *total.lock()? += 1; // Python: with total.get_lock(): total.value += 1
/// assert_eq!(total.get()?, 5051);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Every access takes the lock, so `total.set(total.get()? + 1)` can lose what another process adds in between: use
/// [`Value::update`] or one guard. While this thread holds the guard, `get`, `set` and `lock` give
/// [`LockError::is_would_deadlock`]: `*v.lock()? += 1` is right, `*v.lock()? = *v.lock()? + 1` is that error.
///
/// # If a process dies
///
/// If the process held the lock, every access gives [`LockError::is_owner_died`] from then on, until somebody repairs
/// the value: see [`Value::lock_poisoned`].
pub struct Value<T> {
    lock: Lock,
    data: Block,
    value: PhantomData<fn() -> T>,
}

impl<T: Element> Value<T> {
    /// Creates a value with a lock of its own.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`Value::try_new`].
    pub fn new(value: T) -> Value<T> {
        match Value::try_new(value) {
            Ok(value) => value,
            Err(error) => panic!("no shared value could be made: {error}"),
        }
    }

    /// Creates a value with a lock of its own.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new(value: T) -> Result<Value<T>, Error> {
        let data = Block::new(Kind::Value, DATA + size_of::<T>())?;
        let lock = Lock::of(data.clone()).ok_or_else(|| Error::shared_memory("a new block is damaged"))?;
        element::guard_with(&data, &lock);
        element::write(data.memory(), DATA, &value);
        Ok(Value { lock, data, value: PhantomData })
    }

    /// Creates a value that shares a lock with others: Python's `Value(.., lock=lock)`.
    ///
    /// ```
    /// use multiproc::{Lock, Value};
    ///
    /// let lock = Lock::new();
    /// let (a, b) = (Value::with_lock(1, &lock)?, Value::with_lock(2, &lock)?);
    /// let held = a.lock()?;
    /// assert!(b.get().unwrap_err().is_would_deadlock());
    /// # drop(held);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Value::try_new`].
    pub fn with_lock(value: T, lock: &Lock) -> Result<Value<T>, Error> {
        let own = Value::try_new(value)?;
        element::guard_with(&own.data, lock);
        Ok(Value { lock: lock.clone(), ..own })
    }

    /// Returns a copy of the value.
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    pub fn get(&self) -> Result<T, LockError> {
        let _held = self.lock.lock()?;
        element::read(self.data.memory(), DATA)
    }

    /// Replaces the value.
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    pub fn set(&self, value: T) -> Result<(), LockError> {
        let _held = self.lock.lock()?;
        element::write(self.data.memory(), DATA, &value);
        Ok(())
    }

    /// Changes the value under the lock, and returns what `change` returns.
    ///
    /// ```
    /// use multiproc::{Pool, Value};
    ///
    /// let hits = Value::new(0u64);
    /// let hit = |hits: &Value<u64>, _: u32| hits.update(|n| { *n += 1; *n }).unwrap();
    /// let mut seen = Pool::new(2)?.with(&hits).tasks(hit, 0..3).run()?;
    /// seen.sort();
    /// assert_eq!((seen, hits.get()?), (vec![1, 2, 3], 3));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R, LockError> {
        Ok(change(&mut *self.lock()?))
    }

    /// Waits for the lock, and returns a guard: access to the value until it is dropped.
    ///
    /// ```
    /// let value = multiproc::Value::new([1.0, 2.0]);
    /// let mut held = value.lock()?;
    /// held[0] += held[1];
    /// drop(held);
    /// assert_eq!(value.get()?, [3.0, 2.0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    pub fn lock(&self) -> Result<ValueGuard<'_, T>, LockError> {
        ValueGuard::new(self, self.lock.lock()?)
    }

    /// Returns a guard of the value if the lock is free; `None` when it is not.
    ///
    /// # Errors
    ///
    /// See [`Lock::try_lock`].
    pub fn try_lock(&self) -> Result<Option<ValueGuard<'_, T>>, LockError> {
        self.lock.try_lock()?.map(|held| ValueGuard::new(self, held)).transpose()
    }

    /// Waits for the lock for at most `timeout`; `None` when it was held all the time.
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<ValueGuard<'_, T>>, LockError> {
        self.lock.lock_timeout(timeout)?.map(|held| ValueGuard::new(self, held)).transpose()
    }

    /// Returns a guard of the value even if a holder of the lock has died: to repair it, see [`Lock::lock_poisoned`].
    ///
    /// # Errors
    ///
    /// See [`Lock::lock_poisoned`].
    pub fn lock_poisoned(&self) -> Result<ValueGuard<'_, T>, LockError> {
        ValueGuard::new(self, self.lock.lock_poisoned()?)
    }

    /// Returns the lock of the value: Python's `get_lock()`.
    pub fn get_lock(&self) -> &Lock {
        &self.lock
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Value { lock: self.lock.clone(), data: self.data.clone(), value: PhantomData }
    }
}

/// Shows the value if nobody holds the lock.
impl<T: Element + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Ok(Some(value)) => write!(f, "Value({:?}, {:?})", *value, self.lock),
            _ => write!(f, "Value(<locked>, {:?})", self.lock),
        }
    }
}

impl<T> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.lock, &self.data).serialize(serializer)
    }
}

impl<'de, T: Element> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value<T>, D::Error> {
        let (lock, data) = <(Lock, Block)>::deserialize(deserializer)?;
        let fits = data.kind() == Kind::Value as u8 && data.memory().bytes().len() == DATA + size_of::<T>();
        if !fits || !element::is_guarded_by(&data, &lock) {
            return Err(D::Error::custom("the handle refers to something that is no value of this type"));
        }
        Ok(Value { lock, data, value: PhantomData })
    }
}

/// Access to a [`Value`], exclusively, until it is dropped.
///
/// It works on a copy: what was changed is written back when the guard is dropped, as a whole.
///
/// ```
/// let value = multiproc::Value::new(1);
/// let mut held = value.lock()?;
/// *held += 1;
/// assert!(value.get().unwrap_err().is_would_deadlock(), "this thread holds it");
/// drop(held);
/// assert_eq!(value.get()?, 2);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "dropped at once, it releases the lock at once"]
pub struct ValueGuard<'a, T: Element> {
    value: &'a Value<T>,
    held: LockGuard<'a>,
    copy: T,
    changed: bool,
}

impl<'a, T: Element> ValueGuard<'a, T> {
    fn new(value: &'a Value<T>, held: LockGuard<'a>) -> Result<ValueGuard<'a, T>, LockError> {
        let copy = element::read(value.data.memory(), DATA)?;
        // What somebody else changed while a condition has let go of the lock would be lost.
        held.lend();
        Ok(ValueGuard { value, held, copy, changed: false })
    }

    /// Like [`LockGuard::is_poisoned`].
    pub fn is_poisoned(&self) -> bool {
        self.held.is_poisoned()
    }

    /// Like [`LockGuard::clear_poison`].
    pub fn clear_poison(&self) {
        self.held.clear_poison();
    }
}

impl<T: Element> Deref for ValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: Element> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.copy
    }
}

impl<T: Element> Drop for ValueGuard<'_, T> {
    fn drop(&mut self) {
        if self.changed && self.held.is_held() {
            element::write(self.value.data.memory(), DATA, &self.copy);
        }
        self.held.take_back();
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueGuard").field(&self.copy).finish()
    }
}
