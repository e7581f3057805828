//! [`RLock`]: a lock that its holder may take again.

use crate::error::{Error, LockError};
use crate::heap::block::Shared;
use crate::heap::kind::Kind;
use crate::sync::algorithm::rlock;
use crate::sync::algorithm::word::{Caller, NotReleased, Outcome};
use crate::sync::handle::{expect, make, read};
use crate::sync::lock::Holder;
use crate::sync::this_thread::ThisThread;
use crate::sys::time::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A lock shared by processes that the thread that holds it may take again: Python's `multiprocessing.RLock`.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same lock.
///
/// ```
/// use multiproc::{Pool, RLock};
///
/// let lock = RLock::new();
/// let outer = lock.lock()?; // Python: with lock:
/// let inner = lock.lock()?;
/// drop(outer);
/// let pool = Pool::new(1)?;
/// assert!(!pool.apply(|lock: RLock| lock.try_acquire().unwrap(), (lock.clone(),))?);
/// drop(inner);
/// assert!(!lock.locked());
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// The lock belongs to the thread that took it, also if it took it raw ([`RLock::acquire`]); no other thread can
/// release it. It is free when all guards are dropped, in any order, and there were as many raw releases as raw
/// acquisitions.
///
/// # If a process dies
///
/// If the process held the lock, however often, the next one to take it gets [`LockError::is_owner_died`], within
/// about 50 ms, as with a [`Lock`](crate::Lock). A *thread* that ends while it holds the lock raw leaves it held.
#[derive(Clone)]
pub struct RLock {
    shared: Shared<rlock::RLock>,
}

impl RLock {
    /// Creates a free lock.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`RLock::try_new`].
    #[expect(clippy::new_without_default, reason = "Default must not panic")]
    pub fn new() -> RLock {
        expect(RLock::try_new(), "lock")
    }

    /// Creates a free lock.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new() -> Result<RLock, Error> {
        Ok(RLock { shared: make(Kind::RLock)? })
    }

    pub(super) fn algorithm(&self) -> &rlock::RLock {
        &self.shared
    }

    /// Waits for the lock and takes it, or takes it once more, until the guard is dropped: Python's `with lock:`.
    ///
    /// ```
    /// let lock = multiproc::RLock::new();
    /// let outer = lock.lock()?;
    /// let inner = lock.lock()?; // The same thread may.
    /// drop((outer, inner));
    /// assert!(!lock.locked());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`LockError::is_owner_died`]: a holder has died; the lock is not held then.
    /// - [`LockError::is_too_many`]: this thread has 65535 guards.
    /// - [`LockError::is_would_deadlock`]: this process has had more than 8190 threads at a time that use locks, and this
    ///   one cannot be told from the holder.
    ///
    /// # Timeouts
    ///
    /// Waits as long as another thread of a living process holds the lock; see [`RLock::lock_timeout`].
    #[inline]
    pub fn lock(&self) -> Result<RLockGuard<'_>, LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.lock_until(&caller, Deadline::NEVER);
        self.guard(outcome)?.ok_or(LockError::TOO_MANY)
    }

    /// Takes the lock if no other thread holds it; `None` when one does.
    ///
    /// # Errors
    ///
    /// [`LockError::is_owner_died`], as [`RLock::lock`].
    pub fn try_lock(&self) -> Result<Option<RLockGuard<'_>>, LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.try_lock(&caller);
        self.guard(outcome)
    }

    /// Waits for the lock for at most `timeout`; `None` when another thread held it all the time.
    ///
    /// # Errors
    ///
    /// See [`RLock::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<RLockGuard<'_>>, LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.lock_until(&caller, Deadline::after(timeout));
        self.guard(outcome)
    }

    /// Waits for the lock and takes it even if a holder has died: to repair what the lock protects, see
    /// [`Lock::lock_poisoned`](crate::Lock::lock_poisoned).
    ///
    /// # Errors
    ///
    /// [`LockError::is_too_many`], as [`RLock::lock`].
    pub fn lock_poisoned(&self) -> Result<RLockGuard<'_>, LockError> {
        let caller = ThisThread::new()?;
        match self.shared.lock_until(&caller, Deadline::NEVER) {
            Outcome::Acquired | Outcome::AcquiredPoisoned => Ok(RLockGuard::new(self)),
            _ => Err(LockError::TOO_MANY),
        }
    }

    /// Runs `code` while it holds the lock.
    ///
    /// # Errors
    ///
    /// See [`RLock::lock`]; `code` was not run then.
    pub fn with<R>(&self, code: impl FnOnce() -> R) -> Result<R, LockError> {
        let _held = self.lock()?;
        Ok(code())
    }

    /// Waits for the lock and takes it raw, until this thread calls [`RLock::release`]: Python's `acquire()`.
    ///
    /// # Errors
    ///
    /// See [`RLock::lock`].
    ///
    /// # Timeouts
    ///
    /// See [`RLock::lock`] and [`RLock::acquire_timeout`].
    #[inline]
    pub fn acquire(&self) -> Result<(), LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.acquire_until(&caller, Deadline::NEVER);
        let taken = self.held(caller, outcome)?;
        if taken { Ok(()) } else { Err(LockError::TOO_MANY) }
    }

    /// Takes the lock raw if no other thread holds it, and returns whether it did: Python's `acquire(block=False)`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_owner_died`].
    pub fn try_acquire(&self) -> Result<bool, LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.try_acquire(&caller);
        self.held(caller, outcome)
    }

    /// Waits for the lock for at most `timeout` and takes it raw. Returns whether it did: Python's
    /// `acquire(timeout=..)`.
    ///
    /// # Errors
    ///
    /// See [`RLock::lock`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool, LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.acquire_until(&caller, Deadline::after(timeout));
        self.held(caller, outcome)
    }

    /// Releases the lock once that this thread has acquired raw: Python's `release()`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_not_held`] when this thread has not acquired it raw, or not as often.
    #[inline]
    pub fn release(&self) -> Result<(), LockError> {
        let caller = ThisThread::new()?;
        self.shared.release(&caller).map_err(|error| match error {
            NotReleased::Free => LockError::NOT_HELD,
            NotReleased::NotYours if self.shared.is_held_by(&caller) => LockError::HELD_BY_GUARD,
            NotReleased::NotYours => LockError::NOT_OWNER,
        })
    }

    /// Returns whether some thread holds the lock, at this moment.
    pub fn locked(&self) -> bool {
        self.shared.owner().is_some()
    }

    /// Returns whether a holder has died since the poison was last cleared.
    pub fn is_poisoned(&self) -> bool {
        self.shared.poisoned()
    }

    #[inline]
    fn guard(&self, outcome: Outcome) -> Result<Option<RLockGuard<'_>>, LockError> {
        outcome.into_guard(|| RLockGuard::new(self))
    }

    #[inline]
    fn held(&self, caller: ThisThread, outcome: Outcome) -> Result<bool, LockError> {
        // A raw lock that this thread has just got can be released.
        outcome.into_held(|| _ = self.shared.release(&caller))
    }
}

/// Shows the holder and how often it has taken the lock, as Python does.
impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = self.shared.owner();
        let depth = owner.map_or(0, |(_, depth)| depth);
        write!(f, "RLock(owner={}, depth={depth}", Holder(owner.map(|(owner, _)| owner)))?;
        f.write_str(if self.is_poisoned() { ", poisoned)" } else { ")" })
    }
}

impl Serialize for RLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.block().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RLock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RLock, D::Error> {
        Ok(RLock { shared: read(deserializer, Kind::RLock, "recursive lock")? })
    }
}

/// Holds an [`RLock`] until it is dropped. It stays on its thread.
///
/// ```compile_fail
/// fn goes_to_another_thread<T: Send>(_: T) {}
/// let lock = multiproc::RLock::new();
/// goes_to_another_thread(lock.lock().unwrap());
/// ```
#[derive(Debug)]
#[must_use = "dropped at once, it releases the lock at once: `let _held = lock.lock()?`"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    /// That of the lock: one look less when it is released.
    shared: &'a rlock::RLock,
    /// Not `Send`: the lock belongs to the thread.
    here: PhantomData<*const ()>,
}

impl<'a> RLockGuard<'a> {
    #[inline]
    fn new(lock: &'a RLock) -> RLockGuard<'a> {
        RLockGuard { lock, shared: &lock.shared, here: PhantomData }
    }

    /// Returns whether a holder has died since the poison was last cleared, see [`RLock::lock_poisoned`].
    pub fn is_poisoned(&self) -> bool {
        self.lock.is_poisoned()
    }

    /// Says that what the lock protects is sound again: [`RLock::lock`] works as before from now on.
    pub fn clear_poison(&self) {
        if let Some(caller) = ThisThread::known() {
            // This thread holds it, so it cannot be refused.
            let _ = self.shared.clear_poison(caller.me());
        }
    }
}

impl Drop for RLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A fork that has a copy of the guard is not known. It does not hold the lock.
        if let Some(caller) = ThisThread::known() {
            // Only memory that somebody has written over could refuse.
            let _ = self.shared.unlock(&caller);
        }
    }
}
