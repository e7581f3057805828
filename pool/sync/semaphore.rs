//! [`Semaphore`]: a number of permits.

use crate::error::{Error, LockError};
use crate::heap::block::Shared;
use crate::heap::kind::Kind;
use crate::sync::algorithm::semaphore::{self, Hold, MAX_COUNT};
use crate::sync::handle::{expect, make, read};
use crate::sync::this_thread::ThisThread;
use crate::sys::time::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A number of permits, for which processes wait: Python's `multiprocessing.Semaphore`.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same semaphore.
///
/// ```
/// use multiproc::{Pool, Semaphore};
///
/// let semaphore = Semaphore::new(2);
/// let permit = semaphore.permit()?; // Python: with semaphore:
/// assert_eq!(semaphore.get_value(), 1);
/// drop(permit);
///
/// semaphore.acquire()?;
/// let pool = Pool::new(1)?;
/// assert_eq!(pool.apply(|it: Semaphore| it.get_value(), (semaphore.clone(),))?, 1);
/// semaphore.release(3)?; // more than were acquired: unlike a `BoundedSemaphore` it has no upper bound
/// assert_eq!(semaphore.get_value(), 4);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// There are two ways to take a permit. Through a *guard* ([`Semaphore::permit`]) it belongs to this process until
/// the guard is dropped. A permit that was taken *raw* ([`Semaphore::acquire`]) belongs to no process: any process
/// may [`Semaphore::release`] one, as in Python.
///
/// # If a process dies
///
/// The permits that the process held through guards come back, within about 50 ms if somebody waits for one. Those
/// that it had acquired raw stay away until somebody releases them.
#[derive(Clone)]
pub struct Semaphore {
    shared: Shared<semaphore::Semaphore>,
}

impl Semaphore {
    /// Creates a semaphore with `permits` permits.
    ///
    /// # Panics
    ///
    /// Panics when [`Semaphore::try_new`] fails.
    pub fn new(permits: u32) -> Semaphore {
        expect(Semaphore::try_new(permits), "semaphore")
    }

    /// Creates a semaphore with `permits` permits.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_argument`]: more than 2,147,483,647 permits. [`Error::is_shared_memory`]: it is exhausted, or
    /// this process has none.
    pub fn try_new(permits: u32) -> Result<Semaphore, Error> {
        Semaphore::make(permits, Kind::Semaphore)
    }

    pub(super) fn make(permits: u32, kind: Kind) -> Result<Semaphore, Error> {
        if permits > MAX_COUNT {
            let text = format!("a semaphore has at most {MAX_COUNT} permits, not {permits}");
            return Err(Error::invalid_argument(text));
        }
        let shared: Shared<semaphore::Semaphore> = make(kind)?;
        shared.init(permits, kind == Kind::BoundedSemaphore);
        Ok(Semaphore { shared })
    }

    /// Waits for a permit and takes it until the guard is dropped: Python's `with semaphore:`.
    ///
    /// ```
    /// let semaphore = multiproc::Semaphore::new(2);
    /// let permit = semaphore.permit()?;
    /// assert_eq!(semaphore.get_value(), 1);
    /// drop(permit);
    /// assert_eq!(semaphore.get_value(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::is_shared_memory`] in a process that was forked from one that uses the shared memory.
    ///
    /// # Timeouts
    ///
    /// Waits as long as living processes hold all permits, or raw ones are not released; see
    /// [`Semaphore::permit_timeout`].
    pub fn permit(&self) -> Result<Permit<'_>, LockError> {
        self.shared.acquire_until(&ThisThread::new()?, Hold::Guard, Deadline::NEVER);
        Ok(Permit { semaphore: self })
    }

    /// Takes a permit if there is one; `None` when there is none.
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn try_permit(&self) -> Result<Option<Permit<'_>>, LockError> {
        let outcome = self.shared.try_acquire(&ThisThread::new()?, Hold::Guard);
        Ok(outcome.is_acquired().then(|| Permit { semaphore: self }))
    }

    /// Waits for a permit for at most `timeout`; `None` when there was none.
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn permit_timeout(&self, timeout: Duration) -> Result<Option<Permit<'_>>, LockError> {
        let outcome = self.shared.acquire_until(&ThisThread::new()?, Hold::Guard, Deadline::after(timeout));
        Ok(outcome.is_acquired().then(|| Permit { semaphore: self }))
    }

    /// Runs `code` while it holds a permit.
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`]; `code` was not run then.
    pub fn with<R>(&self, code: impl FnOnce() -> R) -> Result<R, LockError> {
        let _permit = self.permit()?;
        Ok(code())
    }

    /// Waits for a permit and takes it raw: Python's `acquire()`.
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    ///
    /// # Timeouts
    ///
    /// Waits as long as there is no permit; see [`Semaphore::acquire_timeout`].
    pub fn acquire(&self) -> Result<(), LockError> {
        self.shared.acquire_until(&ThisThread::new()?, Hold::Raw, Deadline::NEVER);
        Ok(())
    }

    /// Takes a permit raw if there is one, and returns whether it did: Python's `acquire(block=False)`.
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn try_acquire(&self) -> Result<bool, LockError> {
        Ok(self.shared.try_acquire(&ThisThread::new()?, Hold::Raw).is_acquired())
    }

    /// Waits for a permit for at most `timeout` and takes it raw. Returns whether it did: Python's
    /// `acquire(timeout=..)`.
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool, LockError> {
        Ok(self.shared.acquire_until(&ThisThread::new()?, Hold::Raw, Deadline::after(timeout)).is_acquired())
    }

    /// Adds `permits` permits, whoever has acquired them, and wakes as many waiters: Python's `release()` is
    /// `release(1)`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_not_held`] when it would have more than 2,147,483,647 permits; none is added then.
    pub fn release(&self, permits: u32) -> Result<(), LockError> {
        self.shared.release_many(&ThisThread::new()?, permits).map_err(|_| LockError::FULL)
    }

    /// Returns how many permits are free, at this moment.
    pub fn get_value(&self) -> u32 {
        self.shared.value()
    }

    pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D, kind: Kind) -> Result<Semaphore, D::Error> {
        Ok(Semaphore { shared: read(deserializer, kind, "semaphore of this type")? })
    }
}

/// Shows the free permits, as Python does.
impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Semaphore(value={})", self.get_value())
    }
}

impl Serialize for Semaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.block().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Semaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Semaphore, D::Error> {
        Semaphore::read(deserializer, Kind::Semaphore)
    }
}

/// Holds a permit of a [`Semaphore`] or [`BoundedSemaphore`](crate::BoundedSemaphore) until it is dropped. It is the
/// process's, so another thread may drop it.
///
/// ```
/// let semaphore = multiproc::Semaphore::new(1);
/// let permit = semaphore.permit()?;
/// assert!(semaphore.try_permit()?.is_none());
/// drop(permit);
/// assert!(semaphore.try_permit()?.is_some());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropped at once, it gives the permit back at once: `let _permit = semaphore.permit()?`"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // In a fork it is the other process's.
        if let Ok(caller) = ThisThread::new() {
            // Only memory that somebody has written over could refuse.
            let _ = self.semaphore.shared.release(&caller, Hold::Guard);
        }
    }
}
