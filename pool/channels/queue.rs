//! [`Queue`]: many put, many take.

use super::core::{Core, Patience, endlessly};
use super::readiness::Readiness;
use super::watcher::Inlet;
use crate::codec::Payload;
use crate::error::{Error, GetError, PutError};
use crate::sync::handle::expect;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A queue of values between processes: Python's `multiprocessing.Queue`.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same queue. Any number of
/// processes and threads put and get at the same time.
///
/// ```
/// use multiproc::{Process, Queue};
///
/// fn greet(queue: Queue<String>, name: String) {
///     queue.put(format!("hello, {name}")).unwrap();
/// }
///
/// let queue = Queue::new();
/// let child = Process::spawn(greet, (queue.clone(), "world".to_owned()))?;
/// assert_eq!(queue.get()?, "hello, world");
/// child.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// - An item is in shared memory when `put` returns: another process can get it at once, and this one may exit at once. No
///   thread works behind the scenes, and there is nothing to flush, so `join` before `get` is no deadlock.
/// - Items come in the order in which they were put, of all processes together.
/// - `put` serialises the value at once: a value that refuses is an error of `put`, and later changes of the value do not
///   reach the queue. Handles (locks, values, queues …) may be in items.
/// - [`Queue::len`], [`Queue::is_empty`] and [`Queue::is_full`] are exact.
///
/// An item of up to 48 bytes lies in the queue itself, a larger one in a block of its own.
///
/// # If a process dies
///
/// The queue goes on. At whatever instruction the process was killed, at most the one item is lost that it was
/// putting or taking (several, if it was taking several). Others are delayed by up to 50 ms if it died in the middle,
/// otherwise not at all. What it had put before stays.
pub struct Queue<T> {
    core: Core<T>,
}

/// Nothing else can end a wait of this queue but what its own state says.
pub(super) fn never() -> bool {
    false
}

impl<T: Payload> Queue<T> {
    /// Creates a queue without a bound: `put` waits for nobody, as long as there is memory.
    ///
    /// It takes the memory that its items take, and gives it back. It has room for 134 million numbers, or 33 million items
    /// of another type.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`Queue::try_new`].
    pub fn new() -> Queue<T> {
        expect(Queue::try_new(), "queue")
    }

    /// Creates a queue without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new() -> Result<Queue<T>, Error> {
        Ok(Queue { core: Core::new(None)? })
    }

    /// Creates a queue for at most `items` items: a put into a full queue waits. Python's `Queue(maxsize)`.
    ///
    /// ```
    /// let queue = multiproc::Queue::bounded(1);
    /// queue.put("first".to_owned())?;
    /// assert!(queue.is_full());
    /// let error = queue.try_put("second".to_owned()).unwrap_err();
    /// assert!(error.is_full());
    /// assert_eq!(error.into_inner(), "second");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when [`Queue::try_bounded`] fails.
    pub fn bounded(items: usize) -> Queue<T> {
        expect(Queue::try_bounded(items), "queue")
    }

    /// Creates a queue for at most `items` items.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_argument`]: `items` is 0. [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_bounded(items: usize) -> Result<Queue<T>, Error> {
        Ok(Queue { core: Core::new(Some(items))? })
    }

    /// Puts a value, as soon as there is room.
    ///
    /// ```
    /// use multiproc::{Process, Queue};
    ///
    /// let queue = Queue::new();
    /// Process::spawn(|queue: Queue<u32>| queue.put(7).unwrap(), (queue.clone(),))?.join()?;
    /// assert_eq!(queue.len(), 1); // Nothing has to be flushed: it is there when `put` returns.
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PutError`] gives the value back. [`PutError::is_closed`]: the queue was closed. [`PutError::is_encode`]: the value
    /// refuses to be serialised. [`PutError::is_shared_memory`]: it is exhausted, or this process has no part in it.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the queue is full; see [`Queue::put_timeout`].
    #[inline]
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.core.put(value, Patience::Endless, &never)
    }

    /// Puts a value if there is room: Python's `put_nowait()`.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`]; and as [`Queue::put`].
    #[inline]
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.core.put(value, Patience::None, &never)
    }

    /// Puts a value, and waits for room for at most `timeout`: Python's `put(.., timeout=..)`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = multiproc::Queue::bounded(1);
    /// queue.put(1)?;
    /// let error = queue.put_timeout(2, Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_full() && error.into_inner() == 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`]; and as [`Queue::put`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.core.put(value, Patience::For(timeout), &never)
    }

    /// Puts many values in one pass, which is much faster than one by one. They stand one behind the other in the queue, unless
    /// it has to wait for room in between.
    ///
    /// ```
    /// let queue = multiproc::Queue::new();
    /// queue.put_many(0..5)?;
    /// let all: Result<Vec<u64>, _> = queue.get_many(10)?.into_iter().collect();
    /// assert_eq!(all?, [0, 1, 2, 3, 4]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Queue::put`]: gives those values back that were not put. If one cannot be serialised none is put.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the queue is full; see [`Queue::put_many_timeout`].
    pub fn put_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.core.put_many(values.into_iter().collect(), Patience::Endless, &never)
    }

    /// Puts as many of the values as there is room for.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`], with those for which there was none; and as [`Queue::put_many`].
    pub fn try_put_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.core.put_many(values.into_iter().collect(), Patience::None, &never)
    }

    /// Puts many values, and waits for room for at most `timeout` in all.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`], with those for which there was none; and as [`Queue::put_many`].
    pub fn put_many_timeout(
        &self,
        values: impl IntoIterator<Item = T>,
        timeout: Duration,
    ) -> Result<(), PutError<Vec<T>>> {
        self.core.put_many(values.into_iter().collect(), Patience::For(timeout), &never)
    }

    /// Takes the next value, as soon as there is one.
    ///
    /// ```
    /// let queue = multiproc::Queue::new();
    /// queue.put_many([1, 2])?;
    /// queue.close()?;
    /// assert_eq!((queue.get()?, queue.get()?), (1, 2));
    /// assert!(queue.get().unwrap_err().is_closed());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`GetError::is_closed`]: the queue was closed and is empty. [`GetError::is_decode`]: the item is no value of the
    /// type, and gone. [`GetError::is_shared_memory`]: this process has no part in it, or cannot map the item, which stays.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the queue is empty; see [`Queue::get_timeout`].
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        endlessly(|patience| self.core.get(patience, &never, |_| ()))
    }

    /// Takes the next value; `None` if there is none at the moment: Python's `get_nowait()`.
    ///
    /// ```
    /// let queue = multiproc::Queue::new();
    /// queue.put(1)?;
    /// assert_eq!((queue.try_get()?, queue.try_get()?), (Some(1), None));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Queue::get`].
    #[inline]
    pub fn try_get(&self) -> Result<Option<T>, GetError> {
        self.core.get(Patience::None, &never, |_| ())
    }

    /// Takes the next value, and waits for one for at most `timeout`; `None` if none came: Python's `get(timeout=..)`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = multiproc::Queue::<u32>::new();
    /// assert_eq!(queue.get_timeout(Duration::from_millis(1))?, None); // Python: queue.Empty
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Queue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>, GetError> {
        self.core.get(Patience::For(timeout), &never, |_| ())
    }

    /// Waits for a value, and takes up to `most` of those that are there then, in one pass.
    ///
    /// Each is a result of its own: one that cannot be read does not cost the others.
    ///
    /// # Errors
    ///
    /// Like [`Queue::get`], when there is none.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the queue is empty; see [`Queue::get_many_timeout`].
    pub fn get_many(&self, most: usize) -> Result<Vec<Result<T, GetError>>, GetError> {
        self.core.get_many(most, Patience::Endless, &never)
    }

    /// Takes up to `most` of the values that are there; none if the queue is empty.
    ///
    /// # Errors
    ///
    /// See [`Queue::get_many`].
    pub fn try_get_many(&self, most: usize) -> Result<Vec<Result<T, GetError>>, GetError> {
        self.core.get_many(most, Patience::None, &never)
    }

    /// Like [`Queue::get_many`], and waits for the first for at most `timeout`; none if it did not come.
    ///
    /// # Errors
    ///
    /// See [`Queue::get_many`].
    pub fn get_many_timeout(&self, most: usize, timeout: Duration) -> Result<Vec<Result<T, GetError>>, GetError> {
        self.core.get_many(most, Patience::For(timeout), &never)
    }
}

impl<T> Queue<T> {
    /// Returns how many values are in the queue: the exact number, at one moment. Python's `qsize()`.
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Returns whether the queue has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether there is no room for another value.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// Returns how many values the queue has room for.
    pub fn capacity(&self) -> usize {
        self.core.capacity()
    }

    /// Returns a descriptor that becomes readable when there is something to take, or nothing ever will be: see
    /// [`Readiness`].
    ///
    /// # Errors
    ///
    /// There is no descriptor left, or the thread that tells cannot be started. [`Error::is_shared_memory`] in a process that
    /// was forked from one that uses the shared memory.
    pub fn readiness(&self) -> Result<Readiness, Error> {
        Readiness::new(self.inlet())
    }

    pub(super) fn inlet(&self) -> Inlet {
        Inlet::new(self.core.place(), None)
    }

    /// Closes the queue for all processes: nothing can be put any more, and getters take what is there and then get
    /// [`GetError::is_closed`](crate::GetError::is_closed). Python's `shutdown()`. All waiters wake up. A queue need
    /// not be closed; it goes with its last handle.
    ///
    /// ```
    /// let queue = multiproc::Queue::new();
    /// queue.put(1)?;
    /// queue.close()?;
    /// assert!(queue.put(2).unwrap_err().is_closed());
    /// assert_eq!(queue.get()?, 1);
    /// assert!(queue.get().unwrap_err().is_closed());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`] in a process that was forked from one that uses the shared memory.
    ///
    /// # Timeouts
    ///
    /// Waits for who is just putting a value, some nanoseconds. If that process was *stopped* meanwhile (`SIGSTOP`), it waits
    /// until it goes on or dies.
    pub fn close(&self) -> Result<(), Error> {
        self.core.close()
    }

    /// Returns whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }
}

impl<T: Payload> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue::new()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue { core: self.core.clone() }
    }
}

/// Shows how many values are in it.
impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue(len={}, closed={})", self.len(), self.is_closed())
    }
}

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.core.serialize(serializer)
    }
}

impl<'de, T: Payload> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Queue<T>, D::Error> {
        Ok(Queue { core: Core::deserialize(deserializer)? })
    }
}
