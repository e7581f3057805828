//! [`SimpleQueue`]: a queue with the least there is to it.

use super::queue::Queue;
use super::watcher::Inlet;
use crate::codec::Payload;
use crate::error::{Error, GetError, PutError};
use crate::sync::handle::expect;
use serde::{Deserialize, Serialize};

/// A queue without bounds and time limits: Python's `multiprocessing.SimpleQueue`.
///
/// A handle, as [`Queue`], which has more methods and is as fast.
///
/// ```
/// let queue = multiproc::SimpleQueue::new();
/// queue.put("text".to_owned())?;
/// assert!(!queue.is_empty());
/// assert_eq!(queue.get()?, "text");
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # If a process dies
///
/// The queue goes on, see [`Queue`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "T: Payload", transparent)]
pub struct SimpleQueue<T> {
    queue: Queue<T>,
}

impl<T: Payload> SimpleQueue<T> {
    /// Creates an empty queue.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`SimpleQueue::try_new`].
    pub fn new() -> SimpleQueue<T> {
        expect(SimpleQueue::try_new(), "queue")
    }

    /// Creates an empty queue.
    ///
    /// # Errors
    ///
    /// See [`Queue::try_new`].
    pub fn try_new() -> Result<SimpleQueue<T>, Error> {
        Ok(SimpleQueue { queue: Queue::try_new()? })
    }

    /// Puts a value.
    ///
    /// # Errors
    ///
    /// See [`Queue::put`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.queue.put(value)
    }

    /// Takes the next value, as soon as there is one.
    ///
    /// # Errors
    ///
    /// See [`Queue::get`].
    ///
    /// # Timeouts
    ///
    /// Waits as long as the queue is empty.
    pub fn get(&self) -> Result<T, GetError> {
        self.queue.get()
    }

    /// Returns whether the queue is empty, exactly, at this moment: Python's `empty()`.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Closes the queue for all, see [`Queue::close`].
    ///
    /// # Errors
    ///
    /// See [`Queue::close`].
    pub fn close(&self) -> Result<(), Error> {
        self.queue.close()
    }
}

impl<T> SimpleQueue<T> {
    pub(super) fn inlet(&self) -> Inlet {
        self.queue.inlet()
    }
}

impl<T: Payload> Default for SimpleQueue<T> {
    fn default() -> SimpleQueue<T> {
        SimpleQueue::new()
    }
}
