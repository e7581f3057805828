//! [`RemoteLock`], [`RemoteEvent`]: what a manager of another program synchronises by.

use super::manager::RemoteManager;
use super::proxy::{RemoteProxy, remote_type};
use crate::error::RemoteCallError;
use std::time::Duration;

/// A lock that a [`RemoteManager`] holds: Python's `Lock`, `RLock`, `Semaphore` or `BoundedSemaphore` behind a proxy.
///
/// Dereferences to [`RemoteProxy`], as which it fails. If a process that holds it dies, it stays locked, as Python's does; a
/// [`Lock`](crate::Lock) of this library is not.
pub struct RemoteLock {
    proxy: RemoteProxy,
}

remote_type!(RemoteLock);

impl RemoteLock {
    /// Locks the lock, as soon as it is free, until the guard is dropped: `with lock:`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    ///
    /// # Timeouts
    ///
    /// Waits as long as it is locked; see [`RemoteLock::acquire_timeout`].
    pub fn lock(&self) -> Result<RemoteLockGuard<'_>, RemoteCallError> {
        self.acquire()?;
        Ok(RemoteLockGuard { lock: self })
    }

    /// Locks the lock, as soon as it is free.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn acquire(&self) -> Result<(), RemoteCallError> {
        self.call::<bool>("acquire", ()).map(drop)
    }

    /// Locks the lock if it is free. Returns whether it was.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn try_acquire(&self) -> Result<bool, RemoteCallError> {
        self.call("acquire", (false,))
    }

    /// Locks the lock, and waits for it for at most `timeout`. Returns whether this thread has it now.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool, RemoteCallError> {
        self.call_patiently("acquire", (true, timeout.as_secs_f64()), timeout)
    }

    /// Unlocks the lock.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`]; the exception `RuntimeError` or `ValueError`: it is not locked.
    pub fn release(&self) -> Result<(), RemoteCallError> {
        self.call("release", ())
    }
}

/// Keeps a [`RemoteLock`] locked.
#[derive(Debug)]
#[must_use = "if unused the lock is released at once"]
pub struct RemoteLockGuard<'a> {
    lock: &'a RemoteLock,
}

impl Drop for RemoteLockGuard<'_> {
    fn drop(&mut self) {
        // If the manager has ended there is no lock any more.
        let _ = self.lock.release();
    }
}

/// An event that a [`RemoteManager`] holds: Python's `manager.Event()`.
///
/// Dereferences to [`RemoteProxy`], as which it fails.
pub struct RemoteEvent {
    proxy: RemoteProxy,
}

remote_type!(RemoteEvent);

impl RemoteEvent {
    /// Sets the event.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn set(&self) -> Result<(), RemoteCallError> {
        self.call("set", ())
    }

    /// Clears the event: who waits then waits until it is set again.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn clear(&self) -> Result<(), RemoteCallError> {
        self.call("clear", ())
    }

    /// Returns whether the event is set.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn is_set(&self) -> Result<bool, RemoteCallError> {
        self.call("is_set", ())
    }

    /// Waits until the event is set.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn wait(&self) -> Result<(), RemoteCallError> {
        self.call::<bool>("wait", ()).map(drop)
    }

    /// Waits until the event is set, for at most `timeout`. Returns whether it is.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, RemoteCallError> {
        self.call_patiently("wait", (timeout.as_secs_f64(),), timeout)
    }
}

impl RemoteManager {
    /// Makes a lock.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn lock(&self) -> Result<RemoteLock, RemoteCallError> {
        Ok(self.create("Lock", ())?.into())
    }

    /// Makes a lock that the thread that has it may lock again.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn rlock(&self) -> Result<RemoteLock, RemoteCallError> {
        Ok(self.create("RLock", ())?.into())
    }

    /// Makes a semaphore of that many permits: each `acquire` takes one, each `release` gives one back.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn semaphore(&self, permits: u32) -> Result<RemoteLock, RemoteCallError> {
        Ok(self.create("Semaphore", (permits,))?.into())
    }

    /// Makes an event.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn event(&self) -> Result<RemoteEvent, RemoteCallError> {
        Ok(self.create("Event", ())?.into())
    }
}
