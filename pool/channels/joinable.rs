//! [`JoinableQueue`]: a queue of tasks, and waiting until all are done.

use super::core::{Core, Patience, endlessly};
use super::queue::never;
use super::readiness::Readiness;
use super::watcher::Inlet;
use crate::codec::Payload;
use crate::error::{Error, GetError, PutError, QueueKind};
use crate::heap::block::Shared;
use crate::heap::kind::Kind;
use crate::sync::algorithm::tally::Tally;
use crate::sync::algorithm::word::Caller;
use crate::sync::handle::{expect, make, read_block};
use crate::sync::this_thread::ThisThread;
use crate::sys::time::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A queue of tasks that one can wait for until all are done: Python's `multiprocessing.JoinableQueue`.
///
/// A handle, as [`Queue`](crate::Queue). What [`JoinableQueue::get`] takes is a guard, and the task is done when it is dropped;
/// Python's `task_done()` cannot be forgotten.
///
/// ```
/// use multiproc::{JoinableQueue, Process, RawValue};
///
/// fn work(tasks: JoinableQueue<u64>, sum: RawValue<u64>) {
///     while let Ok(task) = tasks.get() {
///         sum.fetch_add(*task);
///         if *task % 2 == 0 {
///             tasks.put(*task + 1).unwrap(); // a task may bring more of them
///         }
///     }
/// }
///
/// let (tasks, sum) = (JoinableQueue::new(), RawValue::new(0));
/// let worker = Process::spawn(work, (tasks.clone(), sum.clone()))?;
/// tasks.put_many([2, 4])?;
/// tasks.join()?;
/// assert_eq!(sum.get(), 2 + 3 + 4 + 5);
/// tasks.close()?;
/// worker.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # If a process dies
///
/// The tasks of the guards that the process held count as done within about 50 ms, so that [`JoinableQueue::join`]
/// does not wait for ever. What else happens then is up to the program: see [`Queue`](crate::Queue) for the rest.
pub struct JoinableQueue<T> {
    core: Core<T>,
    tally: Shared<Tally>,
}

impl<T: Payload> JoinableQueue<T> {
    /// Creates a queue without a bound, see [`Queue::new`](crate::Queue::new).
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`JoinableQueue::try_new`].
    pub fn new() -> JoinableQueue<T> {
        expect(JoinableQueue::try_new(), "queue")
    }

    /// Creates a queue without a bound.
    ///
    /// # Errors
    ///
    /// See [`Queue::try_new`](crate::Queue::try_new).
    pub fn try_new() -> Result<JoinableQueue<T>, Error> {
        JoinableQueue::of(Core::new(None)?)
    }

    /// Creates a queue for at most `items` tasks: a put into a full queue waits. Python's `JoinableQueue(maxsize)`.
    ///
    /// # Panics
    ///
    /// Panics when [`JoinableQueue::try_bounded`] fails.
    pub fn bounded(items: usize) -> JoinableQueue<T> {
        expect(JoinableQueue::try_bounded(items), "queue")
    }

    /// Creates a queue for at most `items` tasks.
    ///
    /// # Errors
    ///
    /// See [`Queue::try_bounded`](crate::Queue::try_bounded).
    pub fn try_bounded(items: usize) -> Result<JoinableQueue<T>, Error> {
        JoinableQueue::of(Core::new(Some(items))?)
    }

    fn of(core: Core<T>) -> Result<JoinableQueue<T>, Error> {
        Ok(JoinableQueue { core, tally: make(Kind::Tally)? })
    }

    /// Puts a task, as soon as there is room.
    ///
    /// ```
    /// let queue = multiproc::JoinableQueue::new();
    /// queue.put(7)?;
    /// assert!(!queue.join_timeout(std::time::Duration::ZERO)?);
    /// drop(queue.get()?);
    /// queue.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Queue::put`](crate::Queue::put).
    ///
    /// # Timeouts
    ///
    /// Waits as long as the queue is full; see [`JoinableQueue::put_timeout`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.core.put(value, Patience::Endless, &never)
    }

    /// Puts a task if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`]; and as [`JoinableQueue::put`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.core.put(value, Patience::None, &never)
    }

    /// Puts a task, and waits for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`]; and as [`JoinableQueue::put`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.core.put(value, Patience::For(timeout), &never)
    }

    /// Puts many tasks in one pass, see [`Queue::put_many`](crate::Queue::put_many).
    ///
    /// # Errors
    ///
    /// See [`JoinableQueue::put`]: gives those back that were not put.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the queue is full; see [`JoinableQueue::put_many_timeout`].
    pub fn put_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.core.put_many(values.into_iter().collect(), Patience::Endless, &never)
    }

    /// Puts as many of the tasks as there is room for.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`], with those for which there was none; and as [`JoinableQueue::put_many`].
    pub fn try_put_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.core.put_many(values.into_iter().collect(), Patience::None, &never)
    }

    /// Puts many tasks, and waits for room for at most `timeout` in all.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`], with those for which there was none; and as [`JoinableQueue::put_many`].
    pub fn put_many_timeout(
        &self,
        values: impl IntoIterator<Item = T>,
        timeout: Duration,
    ) -> Result<(), PutError<Vec<T>>> {
        self.core.put_many(values.into_iter().collect(), Patience::For(timeout), &never)
    }

    /// Takes the next task, as soon as there is one. It is done when the guard is dropped.
    ///
    /// ```
    /// let queue = multiproc::JoinableQueue::new();
    /// queue.put_many([1, 2])?;
    /// let task = queue.get()?;
    /// assert_eq!(*task, 1);
    /// drop(task); // It is done now.
    /// assert_eq!(queue.get()?.done(), 2);
    /// queue.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Queue::get`](crate::Queue::get). A task that cannot be read is done.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the queue is empty; see [`JoinableQueue::get_timeout`].
    pub fn get(&self) -> Result<OpenTask<'_, T>, GetError> {
        endlessly(|patience| self.take(patience))
    }

    /// Takes the next task; `None` if there is none at the moment.
    ///
    /// # Errors
    ///
    /// See [`JoinableQueue::get`].
    pub fn try_get(&self) -> Result<Option<OpenTask<'_, T>>, GetError> {
        self.take(Patience::None)
    }

    /// Takes the next task, and waits for one for at most `timeout`; `None` if none came.
    ///
    /// # Errors
    ///
    /// See [`JoinableQueue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<OpenTask<'_, T>>, GetError> {
        self.take(Patience::For(timeout))
    }

    fn take(&self, patience: Patience) -> Result<Option<OpenTask<'_, T>>, GetError> {
        let slot = ThisThread::new()?.me().slot();
        let value = self.core.get(patience, &never, |items| self.tally.take(slot, items));
        if value.as_ref().is_err_and(GetError::is_decode) {
            self.tally.done(slot);
        }
        Ok(value?.map(|value| OpenTask { value: Some(value), tally: &self.tally }))
    }
}

impl<T> JoinableQueue<T> {
    /// Says that a task is done that was taken out of its guard by [`OpenTask::leave_open`]: Python's `task_done()`.
    ///
    /// # Errors
    ///
    /// [`GetError::is_too_many_done`]: there is none.
    pub fn task_done(&self) -> Result<(), GetError> {
        ThisThread::new()?;
        self.tally.done_by_somebody().then_some(()).ok_or_else(|| GetError::new(QueueKind::TooManyDone))
    }

    /// Waits until all tasks that were put are done.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`] in a process that was forked from one that uses the shared memory.
    ///
    /// # Timeouts
    ///
    /// Waits as long as a living process holds the guard of a task, or nobody takes what is in the queue; see
    /// [`JoinableQueue::join_timeout`].
    pub fn join(&self) -> Result<(), Error> {
        self.tally.join_until(&ThisThread::new()?, || self.core.put_so_far(), Deadline::NEVER);
        Ok(())
    }

    /// Waits for at most `timeout` until all tasks that were put are done. Returns whether they are.
    ///
    /// # Errors
    ///
    /// See [`JoinableQueue::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        Ok(self.tally.join_until(&ThisThread::new()?, || self.core.put_so_far(), Deadline::after(timeout)))
    }

    /// Returns how many tasks wait to be taken: the exact number, at one moment.
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Returns whether no task waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether there is no room for another task.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// Returns how many tasks the queue has room for.
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

    /// Closes the queue for all, see [`Queue::close`](crate::Queue::close).
    ///
    /// # Errors
    ///
    /// See [`Queue::close`](crate::Queue::close).
    pub fn close(&self) -> Result<(), Error> {
        self.core.close()
    }

    /// Returns whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }
}

/// A task that was taken from a [`JoinableQueue`], done when this is dropped. It is the process's, so another thread may
/// drop it.
///
/// ```
/// use std::time::Duration;
///
/// let queue = multiproc::JoinableQueue::new();
/// queue.put_many([1, 2])?;
/// let first = queue.get()?;
/// assert_eq!((*first, queue.get()?.done()), (1, 2));
/// assert!(!queue.join_timeout(Duration::from_millis(1))?, "the first one is open");
/// drop(first);
/// queue.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "dropped at once, the task is done at once"]
pub struct OpenTask<'a, T> {
    /// Only taken at the end.
    value: Option<T>,
    tally: &'a Shared<Tally>,
}

impl<T> OpenTask<'_, T> {
    /// Says that the task is done, and returns its value.
    pub fn done(mut self) -> T {
        self.end(Tally::done)
    }

    /// Gives what the task is, and leaves it open until somebody calls [`JoinableQueue::task_done`], in whatever process: the
    /// way of Python, where a process that dies in between is waited for, for ever.
    pub fn leave_open(mut self) -> T {
        self.end(Tally::leave_open)
    }

    fn end(&mut self, end: fn(&Tally, u16)) -> T {
        let value = self.value.take();
        // In a fork it is the other process's.
        if let Ok(caller) = ThisThread::new() {
            end(self.tally, caller.me().slot());
        }
        value.unwrap_or_else(|| unreachable!("a guard ends once"))
    }
}

impl<T> Deref for OpenTask<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().unwrap_or_else(|| unreachable!("a guard that has ended is gone"))
    }
}

impl<T> DerefMut for OpenTask<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().unwrap_or_else(|| unreachable!("a guard that has ended is gone"))
    }
}

impl<T> Drop for OpenTask<'_, T> {
    fn drop(&mut self) {
        if self.value.is_some() {
            drop(self.end(Tally::done));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OpenTask<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenTask").field(&**self).finish()
    }
}

impl<T: Payload> Default for JoinableQueue<T> {
    fn default() -> JoinableQueue<T> {
        JoinableQueue::new()
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        JoinableQueue { core: self.core.clone(), tally: self.tally.clone() }
    }
}

/// Shows how many tasks wait to be taken.
impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinableQueue(len={}, closed={})", self.len(), self.is_closed())
    }
}

impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.core, self.tally.block()).serialize(serializer)
    }
}

impl<'de, T: Payload> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JoinableQueue<T>, D::Error> {
        let (core, tally) = Deserialize::deserialize(deserializer)?;
        Ok(JoinableQueue { core, tally: read_block(tally, Kind::Tally, "queue of tasks")? })
    }
}
