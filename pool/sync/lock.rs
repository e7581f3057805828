//! [`Lock`]: mutual exclusion between processes.

use crate::error::{Error, LockError};
use crate::heap::block::{Block, Shared};
use crate::heap::kind::Kind;
use crate::sync::algorithm::word::{Caller, NotReleased, Outcome, Owner, Word};
use crate::sync::this_thread::{ThisThread, pid_of};
use crate::sys::time::Deadline;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A lock shared by processes: Python's `multiprocessing.Lock`.
///
/// A handle: clones, and what arrives in another process as an argument, item or result of a
/// [`Pool`](crate::Pool), are the same lock. It lives as long as any process holds a handle.
///
/// ```
/// use multiproc::{Lock, Pool};
///
/// let lock = Lock::new();
/// let held = lock.lock()?; // Python: with lock:
/// drop(held);
/// assert_eq!(lock.with(|| 1 + 1)?, 2);
///
/// let pool = Pool::new(2)?;
/// let held = lock.lock()?;
/// assert!(pool.apply(|lock: Lock| lock.locked(), (lock.clone(),))?);
/// # drop(held);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// `let _ = lock.lock()?` releases at once; give the guard a name: `let _held = lock.lock()?`.
///
/// There are two ways to take a lock, which do not mix. A *guard* ([`Lock::lock`]) belongs to its thread; a thread
/// that takes the lock again gets [`LockError::is_would_deadlock`]. A lock that was taken *raw* ([`Lock::acquire`])
/// belongs to no thread: any thread of any process may [`Lock::release`] it, as in Python.
///
/// # If a process dies
///
/// If the process held the lock, the next one to take it gets [`LockError::is_owner_died`], within about 50 ms: what
/// the lock protects may be half changed. The lock is free then, and stays *poisoned*, until somebody takes it with
/// [`Lock::lock_poisoned`], repairs what it protects, and says so with [`LockGuard::clear_poison`]. A *thread* that
/// ends while it holds the lock raw leaves it held.
#[derive(Clone)]
pub struct Lock {
    word: Shared<Word>,
}

impl Lock {
    /// Creates a free lock.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`Lock::try_new`].
    #[expect(clippy::new_without_default, reason = "Default must not panic")]
    pub fn new() -> Lock {
        match Lock::try_new() {
            Ok(lock) => lock,
            Err(error) => panic!("no lock could be made: {error}"),
        }
    }

    /// Creates a free lock.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new() -> Result<Lock, Error> {
        let block = Block::new(Kind::Lock, size_of::<Word>())?;
        Lock::of(block).ok_or_else(|| Error::shared_memory("a new block is not as it was asked for"))
    }

    /// The lock at the start of a block.
    pub(crate) fn of(block: Block) -> Option<Lock> {
        Shared::new(block, Kind::LOCKS).map(|word| Lock { word })
    }

    pub(crate) fn word(&self) -> &Word {
        &self.word
    }

    /// The block that it is in.
    #[inline]
    pub(crate) fn block(&self) -> &Block {
        self.word.block()
    }

    /// Waits for the lock and takes it until the guard is dropped: Python's `with lock:`.
    ///
    /// ```
    /// use multiproc::{Lock, Pool};
    ///
    /// let lock = Lock::new();
    /// let holds = |lock: &Lock, _: u32| {
    ///     let _held = lock.lock().unwrap(); // With `let _ =` it would be released at once.
    ///     lock.locked()
    /// };
    /// assert_eq!(Pool::new(2)?.with(&lock).tasks(holds, 0..2).run()?, [true, true]);
    /// assert!(!lock.locked());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::is_would_deadlock`] when this thread holds it already, [`LockError::is_owner_died`] when a holder
    /// has died; the lock is not held then.
    ///
    /// # Timeouts
    ///
    /// Waits as long as a living process holds the lock; see [`Lock::lock_timeout`].
    #[inline]
    pub fn lock(&self) -> Result<LockGuard<'_>, LockError> {
        match self.word.lock(&ThisThread::new()?) {
            Outcome::Acquired => Ok(LockGuard::new(self)),
            // Without a time limit there is no third way to end.
            other => self.guard(other)?.ok_or(LockError::WOULD_DEADLOCK),
        }
    }

    /// Takes the lock if it is free; `None` when it is not.
    ///
    /// ```
    /// let lock = multiproc::Lock::new();
    /// let held = lock.try_lock()?;
    /// assert!(held.is_some());
    /// // Another thread, or process, does not get it meanwhile.
    /// std::thread::scope(|scope| scope.spawn(|| assert!(lock.try_lock().unwrap().is_none())).join()).unwrap();
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::is_owner_died`], as [`Lock::lock`].
    pub fn try_lock(&self) -> Result<Option<LockGuard<'_>>, LockError> {
        self.guard(self.word.try_lock(&ThisThread::new()?))
    }

    /// Waits for the lock for at most `timeout`; `None` when it was held all the time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = multiproc::Lock::new();
    /// lock.acquire()?;
    /// assert!(lock.lock_timeout(Duration::from_millis(10))?.is_none());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<LockGuard<'_>>, LockError> {
        self.guard(self.word.lock_until(&ThisThread::new()?, Deadline::after(timeout)))
    }

    /// Waits for the lock and takes it even if a holder has died: to repair what the lock protects.
    ///
    /// ```
    /// # let lock = multiproc::Lock::new();
    /// let held = lock.lock_poisoned()?;
    /// if held.is_poisoned() {
    ///     // repair ..
    ///     held.clear_poison();
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::is_would_deadlock`], as [`Lock::lock`].
    pub fn lock_poisoned(&self) -> Result<LockGuard<'_>, LockError> {
        let caller = ThisThread::new()?;
        match self.word.lock(&caller) {
            Outcome::Acquired | Outcome::AcquiredPoisoned => Ok(LockGuard::new(self)),
            _ => Err(LockError::WOULD_DEADLOCK),
        }
    }

    /// Runs `code` while it holds the lock.
    ///
    /// ```
    /// let lock = multiproc::Lock::new();
    /// assert!(lock.with(|| lock.locked())?);
    /// assert!(!lock.locked());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`]; `code` was not run then.
    pub fn with<R>(&self, code: impl FnOnce() -> R) -> Result<R, LockError> {
        let _held = self.lock()?;
        Ok(code())
    }

    /// Waits for the lock and takes it raw, until any thread of any process calls [`Lock::release`]: Python's
    /// `acquire()`.
    ///
    /// ```
    /// use multiproc::{Lock, Process};
    ///
    /// let lock = Lock::new();
    /// lock.acquire()?;
    /// // Any process may release it.
    /// Process::spawn(|lock: Lock| lock.release().unwrap(), (lock.clone(),))?.join()?;
    /// assert!(!lock.locked());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::is_owner_died`] when a holder has died, [`LockError::is_would_deadlock`] when this very thread holds
    /// it through a guard.
    ///
    /// # Timeouts
    ///
    /// Waits as long as a living process holds the lock, also this one; see [`Lock::acquire_timeout`].
    pub fn acquire(&self) -> Result<(), LockError> {
        self.held(self.word.acquire_until(&ThisThread::new()?, Deadline::NEVER)).map(drop)
    }

    /// Takes the lock raw if it is free, and returns whether it did: Python's `acquire(block=False)`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_owner_died`].
    pub fn try_acquire(&self) -> Result<bool, LockError> {
        self.held(self.word.try_acquire(&ThisThread::new()?))
    }

    /// Waits for the lock for at most `timeout` and takes it raw. Returns whether it did: Python's
    /// `acquire(timeout=..)`.
    ///
    /// # Errors
    ///
    /// See [`Lock::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool, LockError> {
        self.held(self.word.acquire_until(&ThisThread::new()?, Deadline::after(timeout)))
    }

    /// Releases the lock that this or another process has acquired raw: Python's `release()`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_not_held`] when it is free, or held through a guard, which alone can release it.
    pub fn release(&self) -> Result<(), LockError> {
        self.word.release().map_err(|error| match error {
            NotReleased::Free => LockError::NOT_HELD,
            NotReleased::NotYours => LockError::HELD_BY_GUARD,
        })
    }

    /// Returns whether the lock is held, at this moment.
    pub fn locked(&self) -> bool {
        self.word.locked()
    }

    /// Returns whether a holder has died since the poison was last cleared.
    pub fn is_poisoned(&self) -> bool {
        self.word.poisoned()
    }

    #[cold]
    fn guard(&self, outcome: Outcome) -> Result<Option<LockGuard<'_>>, LockError> {
        outcome.into_guard(|| LockGuard::new(self))
    }

    fn held(&self, outcome: Outcome) -> Result<bool, LockError> {
        // A raw lock that this thread has just got can be released.
        outcome.into_held(|| _ = self.word.release())
    }
}

/// Shows the holder, as Python does.
impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lock(owner={}", Holder(self.word.owner()))?;
        f.write_str(if self.word.poisoned() { ", poisoned)" } else { ")" })
    }
}

/// Who holds a lock, for people.
pub(crate) struct Holder(pub(crate) Option<Owner>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("None"),
            Some(owner) if ThisThread::new().is_ok_and(|caller| caller.me() == owner) => f.write_str("this thread"),
            Some(owner) => write!(f, "process {}", pid_of(owner)),
        }
    }
}

impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.word.block().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lock, D::Error> {
        Lock::of(Block::deserialize(deserializer)?)
            .ok_or_else(|| D::Error::custom("the handle refers to something that is no lock"))
    }
}

/// Holds a [`Lock`] until it is dropped. It stays on its thread.
///
/// ```compile_fail
/// fn goes_to_another_thread<T: Send>(_: T) {}
/// let lock = multiproc::Lock::new();
/// goes_to_another_thread(lock.lock().unwrap());
/// ```
#[must_use = "dropped at once, it releases the lock at once: `let _held = lock.lock()?`"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    /// That of the lock: one look less when it is released.
    word: &'a Word,
    /// Not `Send`: the lock belongs to the thread.
    here: PhantomData<*const ()>,
}

impl<'a> LockGuard<'a> {
    #[inline]
    fn new(lock: &'a Lock) -> LockGuard<'a> {
        LockGuard { lock, word: &lock.word, here: PhantomData }
    }

    /// Says that a reference to what the lock protects, or a copy that will be written back, is about: nobody may let go
    /// of the lock as long as [`LockGuard::take_back`] has not been called.
    #[inline]
    pub(crate) fn lend(&self) {
        self.lock.block().lend(true);
    }

    /// Whether this process holds the lock, and is not a fork that has a copy of the guard.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        ThisThread::known().is_some()
    }

    /// See [`LockGuard::lend`].
    #[inline]
    pub(crate) fn take_back(&self) {
        self.lock.block().lend(false);
    }

    /// Returns whether a holder has died since the poison was last cleared, see [`Lock::lock_poisoned`]: before this
    /// guard was taken, or while it waited for a condition.
    pub fn is_poisoned(&self) -> bool {
        self.word.poisoned()
    }

    /// Says that what the lock protects is sound again: [`Lock::lock`] works as before from now on.
    pub fn clear_poison(&self) {
        if let Some(caller) = ThisThread::known() {
            // This thread holds it, so it cannot be refused.
            let _ = self.word.clear_poison(caller.me());
        }
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(self.lock).finish()
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A fork that has a copy of the guard is not known. It does not hold the lock.
        if let Some(caller) = ThisThread::known() {
            // Only memory that somebody has written over could refuse.
            let _ = self.word.unlock(caller.me());
        }
    }
}
