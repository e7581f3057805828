//! [`RwLock`]: many readers or one writer.

use crate::error::{Error, LockError};
use crate::heap::block::Shared;
use crate::heap::kind::Kind;
use crate::sync::algorithm::rwlock;
use crate::sync::algorithm::word::Outcome;
use crate::sync::handle::{expect, make, read};
use crate::sync::lock::Holder;
use crate::sync::this_thread::ThisThread;
use crate::sys::time::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A lock shared by processes that many may hold for reading, or one for writing. Python has none.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same lock.
///
/// ```
/// use multiproc::{Pool, RwLock};
///
/// let lock = RwLock::new();
/// let reading = lock.read()?;
/// let pool = Pool::new(1)?;
/// let others = |lock: RwLock| (lock.try_read().unwrap().is_some(), lock.try_write().unwrap().is_some());
/// assert_eq!(pool.apply(others, (lock.clone(),))?, (true, false));
/// assert!(lock.write().unwrap_err().is_would_deadlock(), "it would wait for itself");
/// drop(reading);
/// let writing = lock.write()?;
/// assert_eq!(pool.apply(others, (lock.clone(),))?, (false, false));
/// # drop(writing);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Readers queue behind writers that wait, but not for ever, and the other way round: neither starves.
///
/// # If a process dies
///
/// If the process was reading, the next writer goes on within about 50 ms. If it was writing, the next reader or
/// writer gets [`LockError::is_owner_died`], within the same time, until somebody takes the lock with
/// [`RwLock::write_poisoned`], repairs what it protects, and says so with [`RwLockWriteGuard::clear_poison`].
#[derive(Clone)]
pub struct RwLock {
    shared: Shared<rwlock::RwLock>,
}

thread_local! {
    /// Of each guard for reading that this thread has: of which lock.
    static READS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl RwLock {
    /// Creates a free lock.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`RwLock::try_new`].
    #[expect(clippy::new_without_default, reason = "Default must not panic")]
    pub fn new() -> RwLock {
        expect(RwLock::try_new(), "lock")
    }

    /// Creates a free lock.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new() -> Result<RwLock, Error> {
        Ok(RwLock { shared: make(Kind::RwLock)? })
    }

    /// Waits for the lock and takes it for reading until the guard is dropped.
    ///
    /// ```
    /// let lock = multiproc::RwLock::new();
    /// let read = lock.read()?;
    /// // Others may read meanwhile, and nobody may write.
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| assert!(lock.try_read().unwrap().is_some() && lock.try_write().unwrap().is_none()));
    /// });
    /// drop(read);
    /// assert!(lock.try_write()?.is_some());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::is_would_deadlock`] when this thread writes, [`LockError::is_owner_died`] when a writer has died; the
    /// lock is not held then.
    ///
    /// # Timeouts
    ///
    /// Waits as long as a living process writes; see [`RwLock::read_timeout`].
    pub fn read(&self) -> Result<RwLockReadGuard<'_>, LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.read_until(&caller, Deadline::NEVER);
        self.reading(caller, outcome)?.ok_or(LockError::WOULD_DEADLOCK)
    }

    /// Takes the lock for reading if no thread writes or waits to write; returns `None` otherwise.
    ///
    /// # Errors
    ///
    /// [`LockError::is_owner_died`], as [`RwLock::read`].
    pub fn try_read(&self) -> Result<Option<RwLockReadGuard<'_>>, LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.try_read(&caller);
        self.reading(caller, outcome)
    }

    /// Waits for the lock for at most `timeout` and takes it for reading; `None` when it could not be had.
    ///
    /// # Errors
    ///
    /// See [`RwLock::read`].
    pub fn read_timeout(&self, timeout: Duration) -> Result<Option<RwLockReadGuard<'_>>, LockError> {
        let caller = ThisThread::new()?;
        let outcome = self.shared.read_until(&caller, Deadline::after(timeout));
        self.reading(caller, outcome)
    }

    /// Waits for the lock and takes it for writing until the guard is dropped.
    ///
    /// # Errors
    ///
    /// [`LockError::is_would_deadlock`] when this thread reads or writes, [`LockError::is_owner_died`] when a writer has
    /// died; the lock is not held then.
    ///
    /// # Timeouts
    ///
    /// Waits as long as living processes hold the lock; see [`RwLock::write_timeout`].
    pub fn write(&self) -> Result<RwLockWriteGuard<'_>, LockError> {
        self.write_until(Deadline::NEVER)?.ok_or(LockError::WOULD_DEADLOCK)
    }

    /// Takes the lock for writing if it is free; `None` when it is not.
    ///
    /// # Errors
    ///
    /// [`LockError::is_owner_died`], as [`RwLock::write`].
    pub fn try_write(&self) -> Result<Option<RwLockWriteGuard<'_>>, LockError> {
        let outcome = self.shared.try_write(&ThisThread::new()?);
        self.writing(outcome)
    }

    /// Waits for the lock for at most `timeout` and takes it for writing; `None` when it could not be had.
    ///
    /// # Errors
    ///
    /// See [`RwLock::write`].
    pub fn write_timeout(&self, timeout: Duration) -> Result<Option<RwLockWriteGuard<'_>>, LockError> {
        self.write_until(Deadline::after(timeout))
    }

    fn write_until(&self, deadline: Deadline) -> Result<Option<RwLockWriteGuard<'_>>, LockError> {
        self.check_not_reading()?;
        let outcome = self.shared.write_until(&ThisThread::new()?, deadline);
        self.writing(outcome)
    }

    /// Waits for the lock and takes it for writing even if a writer has died: to repair what the lock protects.
    ///
    /// # Errors
    ///
    /// [`LockError::is_would_deadlock`], as [`RwLock::write`].
    pub fn write_poisoned(&self) -> Result<RwLockWriteGuard<'_>, LockError> {
        self.check_not_reading()?;
        match self.shared.write_until(&ThisThread::new()?, Deadline::NEVER) {
            Outcome::Acquired | Outcome::AcquiredPoisoned => Ok(RwLockWriteGuard::new(self)),
            _ => Err(LockError::WOULD_DEADLOCK),
        }
    }

    /// Returns whether a writer has died since the poison was last cleared.
    pub fn is_poisoned(&self) -> bool {
        self.shared.poisoned()
    }

    fn identity(&self) -> u64 {
        self.shared.block().identity()
    }

    /// This thread's own readers are known here alone: in shared memory they are counted by process.
    fn check_not_reading(&self) -> Result<(), LockError> {
        let reads = READS.try_with(|reads| reads.borrow().contains(&self.identity()));
        if reads.unwrap_or(false) { Err(LockError::WOULD_DEADLOCK) } else { Ok(()) }
    }

    fn reading(&self, caller: ThisThread, outcome: Outcome) -> Result<Option<RwLockReadGuard<'_>>, LockError> {
        // This thread has just got the lock, so it can give it back.
        if !outcome.into_held(|| _ = self.shared.unlock_read(&caller))? {
            return Ok(None);
        }
        let _ = READS.try_with(|reads| reads.borrow_mut().push(self.identity()));
        Ok(Some(RwLockReadGuard { lock: self, here: PhantomData }))
    }

    fn writing(&self, outcome: Outcome) -> Result<Option<RwLockWriteGuard<'_>>, LockError> {
        outcome.into_guard(|| RwLockWriteGuard::new(self))
    }
}

/// Shows who writes, and how many read.
impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RwLock(writer={}, readers={}", Holder(self.shared.writer()), self.shared.readers())?;
        f.write_str(if self.is_poisoned() { ", poisoned)" } else { ")" })
    }
}

impl Serialize for RwLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.block().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RwLock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RwLock, D::Error> {
        Ok(RwLock { shared: read(deserializer, Kind::RwLock, "readers-writer lock")? })
    }
}

/// Holds an [`RwLock`] for reading until it is dropped. It stays on its thread.
#[derive(Debug)]
#[must_use = "dropped at once, it releases the lock at once: `let _held = lock.read()?`"]
pub struct RwLockReadGuard<'a> {
    lock: &'a RwLock,
    /// Not `Send`: the thread's own readers are counted.
    here: PhantomData<*const ()>,
}

impl Drop for RwLockReadGuard<'_> {
    fn drop(&mut self) {
        let _ = READS.try_with(|reads| {
            let mut reads = reads.borrow_mut();
            if let Some(at) = reads.iter().rposition(|it| *it == self.lock.identity()) {
                reads.swap_remove(at);
            }
        });
        // In a fork it is the other process's.
        if let Ok(caller) = ThisThread::new() {
            // Only memory that somebody has written over could refuse.
            let _ = self.lock.shared.unlock_read(&caller);
        }
    }
}

/// Holds an [`RwLock`] for writing until it is dropped. It stays on its thread.
///
/// ```
/// use multiproc::{Process, RawValue, RwLock};
///
/// let (lock, value) = (RwLock::new(), RawValue::new(0));
/// let die = |lock: RwLock, value: RawValue<i32>| -> () {
///     let _writing = lock.write().unwrap();
///     value.set(1);
///     std::process::abort()
/// };
/// Process::spawn(die, (lock.clone(), value.clone()))?.wait();
/// assert!(lock.read().unwrap_err().is_owner_died());
/// let writing = lock.write_poisoned()?;
/// assert!(writing.is_poisoned());
/// value.set(0); // Repair what it has left ..
/// writing.clear_poison(); // .. and say so.
/// drop(writing);
/// lock.read()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropped at once, it releases the lock at once: `let _held = lock.write()?`"]
pub struct RwLockWriteGuard<'a> {
    lock: &'a RwLock,
    /// Not `Send`: the lock belongs to the thread.
    here: PhantomData<*const ()>,
}

impl<'a> RwLockWriteGuard<'a> {
    fn new(lock: &'a RwLock) -> RwLockWriteGuard<'a> {
        RwLockWriteGuard { lock, here: PhantomData }
    }

    /// Returns whether a writer has died since the poison was last cleared, see [`RwLock::write_poisoned`].
    pub fn is_poisoned(&self) -> bool {
        self.lock.is_poisoned()
    }

    /// Says that what the lock protects is sound again: [`RwLock::read`] and [`RwLock::write`] work as before.
    pub fn clear_poison(&self) {
        if let Ok(caller) = ThisThread::new() {
            // This thread holds it, so it cannot be refused.
            let _ = self.lock.shared.clear_poison(&caller);
        }
    }
}

impl Drop for RwLockWriteGuard<'_> {
    fn drop(&mut self) {
        // In a fork it is the other process's.
        if let Ok(caller) = ThisThread::new() {
            // Only memory that somebody has written over could refuse.
            let _ = self.lock.shared.unlock_write(&caller);
        }
    }
}
