//! [`BoundedSemaphore`]: a number of permits that never grows.

use crate::error::{Error, LockError};
use crate::heap::kind::Kind;
use crate::sync::handle::expect;
use crate::sync::semaphore::{Permit, Semaphore};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A [`Semaphore`] that never has more permits than at the start: Python's `multiprocessing.BoundedSemaphore`.
///
/// ```
/// let semaphore = multiproc::BoundedSemaphore::new(1);
/// semaphore.acquire()?;
/// semaphore.release(1)?;
/// assert!(semaphore.release(1).unwrap_err().is_not_held());
///
/// let permit = semaphore.permit()?;
/// assert!(semaphore.release(1).is_err(), "what a guard holds is counted");
/// # drop(permit);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # If a process dies
///
/// See [`Semaphore`]: what it held through guards comes back.
#[derive(Clone)]
pub struct BoundedSemaphore {
    inner: Semaphore,
}

impl BoundedSemaphore {
    /// Creates a semaphore with `permits` permits, which never has more.
    ///
    /// # Panics
    ///
    /// Panics when [`BoundedSemaphore::try_new`] fails.
    pub fn new(permits: u32) -> BoundedSemaphore {
        expect(BoundedSemaphore::try_new(permits), "semaphore")
    }

    /// Creates a semaphore with `permits` permits, which never has more.
    ///
    /// # Errors
    ///
    /// See [`Semaphore::try_new`].
    pub fn try_new(permits: u32) -> Result<BoundedSemaphore, Error> {
        Ok(BoundedSemaphore { inner: Semaphore::make(permits, Kind::BoundedSemaphore)? })
    }

    /// Like [`Semaphore::permit`].
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    ///
    /// # Timeouts
    ///
    /// See [`Semaphore::permit`].
    pub fn permit(&self) -> Result<Permit<'_>, LockError> {
        self.inner.permit()
    }

    /// Like [`Semaphore::try_permit`].
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn try_permit(&self) -> Result<Option<Permit<'_>>, LockError> {
        self.inner.try_permit()
    }

    /// Like [`Semaphore::permit_timeout`].
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn permit_timeout(&self, timeout: Duration) -> Result<Option<Permit<'_>>, LockError> {
        self.inner.permit_timeout(timeout)
    }

    /// Like [`Semaphore::with`].
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn with<R>(&self, code: impl FnOnce() -> R) -> Result<R, LockError> {
        self.inner.with(code)
    }

    /// Like [`Semaphore::acquire`].
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    ///
    /// # Timeouts
    ///
    /// See [`Semaphore::acquire`].
    pub fn acquire(&self) -> Result<(), LockError> {
        self.inner.acquire()
    }

    /// Like [`Semaphore::try_acquire`].
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn try_acquire(&self) -> Result<bool, LockError> {
        self.inner.try_acquire()
    }

    /// Like [`Semaphore::acquire_timeout`].
    ///
    /// # Errors
    ///
    /// See [`Semaphore::permit`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool, LockError> {
        self.inner.acquire_timeout(timeout)
    }

    /// Gives back `permits` permits that were acquired raw: Python's `release()` is `release(1)`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_not_held`] when there would be more permits than at the start, those counted that guards hold; none
    /// is given back then.
    pub fn release(&self, permits: u32) -> Result<(), LockError> {
        self.inner.release(permits)
    }

    /// Returns how many permits are free, at this moment.
    pub fn get_value(&self) -> u32 {
        self.inner.get_value()
    }
}

/// Shows the free permits, as Python does.
impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundedSemaphore(value={})", self.get_value())
    }
}

impl Serialize for BoundedSemaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BoundedSemaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BoundedSemaphore, D::Error> {
        Ok(BoundedSemaphore { inner: Semaphore::read(deserializer, Kind::BoundedSemaphore)? })
    }
}
