//! [`RemoteQueue`]: a queue that a manager of another program holds.

use super::manager::RemoteManager;
use super::proxy::{RemoteProxy, remote_type, unless};
use crate::error::RemoteCallError;
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;
use std::time::Duration;

/// A queue that a [`RemoteManager`] holds, of items that are plain values: Python's `queue.Queue` behind a proxy.
///
/// Dereferences to [`RemoteProxy`], as which it fails.
pub struct RemoteQueue<T> {
    proxy: RemoteProxy,
    items: PhantomData<fn() -> (T,)>,
}

remote_type!(RemoteQueue<T>);

impl RemoteManager {
    /// Makes a queue; `maxsize` 0 = without bound. Python's `manager.Queue(maxsize)`.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn queue<T>(&self, maxsize: usize) -> Result<RemoteQueue<T>, RemoteCallError> {
        Ok(self.create("Queue", (maxsize as u64,))?.into())
    }
}

impl RemoteProxy {
    /// Returns the object as a queue, which it has to be.
    pub fn into_queue<T>(self) -> RemoteQueue<T> {
        self.into()
    }
}

impl<T: Serialize + DeserializeOwned + 'static> RemoteQueue<T> {
    /// Puts an item, as soon as there is room.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn put(&self, item: T) -> Result<(), RemoteCallError> {
        self.call("put", (item,))
    }

    /// Puts an item if there is room. Returns whether there was.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn try_put(&self, item: T) -> Result<bool, RemoteCallError> {
        Ok(unless("queue.Full", self.call("put", (item, false)))?.is_some_and(|()| true))
    }

    /// Puts an item, and waits for room for at most `timeout`. Returns whether there was any.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<bool, RemoteCallError> {
        let put = self.call_patiently("put", (item, true, timeout.as_secs_f64()), timeout);
        Ok(unless("queue.Full", put)?.is_some_and(|()| true))
    }

    /// Takes the next item, as soon as there is one.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`]. An item that is not of the type is gone.
    pub fn get(&self) -> Result<T, RemoteCallError> {
        self.call("get", ())
    }

    /// Takes the next item, if there is one; else returns `None`.
    ///
    /// # Errors
    ///
    /// As [`RemoteQueue::get`].
    pub fn try_get(&self) -> Result<Option<T>, RemoteCallError> {
        unless("queue.Empty", self.call("get", (false,)))
    }

    /// Takes the next item, and waits for it for at most `timeout`; `None` if none came.
    ///
    /// # Errors
    ///
    /// As [`RemoteQueue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>, RemoteCallError> {
        unless("queue.Empty", self.call_patiently("get", (true, timeout.as_secs_f64()), timeout))
    }

    /// Returns how many items are in the queue.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn len(&self) -> Result<usize, RemoteCallError> {
        self.call("qsize", ())
    }

    /// Returns whether nothing is in the queue.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn is_empty(&self) -> Result<bool, RemoteCallError> {
        self.call("empty", ())
    }

    /// Returns whether there is no room in the queue.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn is_full(&self) -> Result<bool, RemoteCallError> {
        self.call("full", ())
    }

    /// Says that a task that was taken is done.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`]; `ValueError`: there is no such task.
    pub fn task_done(&self) -> Result<(), RemoteCallError> {
        self.call("task_done", ())
    }

    /// Waits until all tasks are done.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    ///
    /// # Timeouts
    ///
    /// See [`RemoteProxy::with_timeout`].
    pub fn join(&self) -> Result<(), RemoteCallError> {
        self.call("join", ())
    }
}
