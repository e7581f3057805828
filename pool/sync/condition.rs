//! [`Condition`]: waiting, with a lock let go, until somebody says that something has changed.

use crate::error::{Error, LockError};
use crate::heap::block::Shared;
use crate::heap::kind::Kind;
use crate::sync::algorithm::condition::{self, Monitor, NotWaited};
use crate::sync::algorithm::word::{Caller, NotReleased, Outcome};
use crate::sync::handle::{expect, make, read};
use crate::sync::lock::{Lock, LockGuard};
use crate::sync::rlock::{RLock, RLockGuard};
use crate::sync::this_thread::ThisThread;
use crate::sys::time::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// Lets processes wait for changes of what a lock protects: Python's `multiprocessing.Condition`.
///
/// A handle, as [`Lock`]: clones, and what arrives in another process, are the same condition with the same lock.
///
/// ```
/// use multiproc::{Condition, Process, RawValue};
///
/// let (condition, state) = (Condition::new(), RawValue::new(0));
/// let process = Process::spawn(
///     |condition: Condition, state: RawValue<i32>| {
///         let _held = condition.lock().unwrap(); // Python: with condition:
///         condition.wait_for(|| state.get() == 4).unwrap();
///     },
///     (condition.clone(), state.clone()),
/// )?;
/// for _ in 0..4 {
///     let _held = condition.lock()?;
///     state.fetch_add(1);
///     condition.notify(1)?;
/// }
/// process.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// The lock of a condition is an [`RLock`] of its own, or a lock that it was given; take it through the condition or
/// directly. [`Condition::wait`] lets go of the lock entirely, however often this thread has taken it, and takes it
/// again as often. A notification goes to the waiters that have waited longest; it is not kept for those that come
/// later. No waiter wakes up without a notification. At most 960 threads wait for one condition.
///
/// # If a process dies
///
/// A waiter that dies is passed over; a notification that it had got and not acted upon goes to another one. If the
/// process *held the lock*, every wait that ends gives [`LockError::is_owner_died`], with the lock held, until
/// somebody repairs what the lock protects: [`Condition::lock_poisoned`], [`ConditionGuard::clear_poison`]. Waiters
/// for a notification that only the dead process would have sent wait on, see [`Condition::wait_timeout`].
#[derive(Clone)]
pub struct Condition {
    lock: Guarding,
    shared: Shared<condition::Condition>,
}

/// Its lock.
#[derive(Clone, Serialize, Deserialize)]
enum Guarding {
    Lock(Lock),
    RLock(RLock),
}

impl Monitor for Guarding {
    fn holds(&self, caller: &impl Caller) -> bool {
        match self {
            Guarding::Lock(lock) => lock.word().holds(caller),
            Guarding::RLock(lock) => lock.algorithm().holds(caller),
        }
    }

    fn let_go(&self, caller: &impl Caller) -> Result<u32, NotReleased> {
        match self {
            Guarding::Lock(lock) => lock.word().let_go(caller),
            Guarding::RLock(lock) => lock.algorithm().let_go(caller),
        }
    }

    fn take_again(&self, caller: &impl Caller, before: u32) -> Outcome {
        match self {
            Guarding::Lock(lock) => lock.word().take_again(caller, before),
            Guarding::RLock(lock) => lock.algorithm().take_again(caller, before),
        }
    }
}

impl Condition {
    /// Creates a condition with a recursive lock of its own.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`Condition::try_new`].
    #[expect(clippy::new_without_default, reason = "Default must not panic")]
    pub fn new() -> Condition {
        expect(Condition::try_new(), "condition")
    }

    /// Creates a condition with a recursive lock of its own.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new() -> Result<Condition, Error> {
        Condition::with_rlock(&RLock::try_new()?)
    }

    /// Creates a condition for `lock`: Python's `Condition(lock)`.
    ///
    /// # Errors
    ///
    /// See [`Condition::try_new`].
    pub fn with_lock(lock: &Lock) -> Result<Condition, Error> {
        Ok(Condition { lock: Guarding::Lock(lock.clone()), shared: make(Kind::Condition)? })
    }

    /// Creates a condition for `lock`; several conditions may share one.
    ///
    /// # Errors
    ///
    /// See [`Condition::try_new`].
    pub fn with_rlock(lock: &RLock) -> Result<Condition, Error> {
        Ok(Condition { lock: Guarding::RLock(lock.clone()), shared: make(Kind::Condition)? })
    }

    /// Waits for the lock and takes it until the guard is dropped: Python's `with condition:`.
    ///
    /// # Errors
    ///
    /// See [`Lock::lock`] or [`RLock::lock`].
    ///
    /// # Timeouts
    ///
    /// See [`Lock::lock`] or [`RLock::lock`].
    pub fn lock(&self) -> Result<ConditionGuard<'_>, LockError> {
        Ok(ConditionGuard(match &self.lock {
            Guarding::Lock(lock) => Held::Lock(lock.lock()?),
            Guarding::RLock(lock) => Held::RLock(lock.lock()?),
        }))
    }

    /// Takes the lock if it is free; `None` when it is not.
    ///
    /// # Errors
    ///
    /// See [`Lock::try_lock`].
    pub fn try_lock(&self) -> Result<Option<ConditionGuard<'_>>, LockError> {
        Ok(match &self.lock {
            Guarding::Lock(lock) => lock.try_lock()?.map(|held| ConditionGuard(Held::Lock(held))),
            Guarding::RLock(lock) => lock.try_lock()?.map(|held| ConditionGuard(Held::RLock(held))),
        })
    }

    /// Waits for the lock for at most `timeout`; `None` when it was held all the time.
    ///
    /// # Errors
    ///
    /// See [`Condition::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<ConditionGuard<'_>>, LockError> {
        Ok(match &self.lock {
            Guarding::Lock(lock) => lock.lock_timeout(timeout)?.map(|held| ConditionGuard(Held::Lock(held))),
            Guarding::RLock(lock) => lock.lock_timeout(timeout)?.map(|held| ConditionGuard(Held::RLock(held))),
        })
    }

    /// Waits for the lock and takes it even if a holder has died, see [`Lock::lock_poisoned`].
    ///
    /// # Errors
    ///
    /// See [`Lock::lock_poisoned`] or [`RLock::lock_poisoned`].
    pub fn lock_poisoned(&self) -> Result<ConditionGuard<'_>, LockError> {
        Ok(ConditionGuard(match &self.lock {
            Guarding::Lock(lock) => Held::Lock(lock.lock_poisoned()?),
            Guarding::RLock(lock) => Held::RLock(lock.lock_poisoned()?),
        }))
    }

    /// Takes the lock raw: Python's `acquire()`.
    ///
    /// # Errors
    ///
    /// See [`Lock::acquire`] or [`RLock::acquire`].
    ///
    /// # Timeouts
    ///
    /// See [`Lock::acquire`] or [`RLock::acquire`].
    pub fn acquire(&self) -> Result<(), LockError> {
        match &self.lock {
            Guarding::Lock(lock) => lock.acquire(),
            Guarding::RLock(lock) => lock.acquire(),
        }
    }

    /// Takes the lock raw if it is free, and returns whether it did: Python's `acquire(block=False)`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_owner_died`].
    pub fn try_acquire(&self) -> Result<bool, LockError> {
        match &self.lock {
            Guarding::Lock(lock) => lock.try_acquire(),
            Guarding::RLock(lock) => lock.try_acquire(),
        }
    }

    /// Waits for the lock for at most `timeout` and takes it raw. Returns whether it did: Python's
    /// `acquire(timeout=..)`.
    ///
    /// # Errors
    ///
    /// See [`Condition::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool, LockError> {
        match &self.lock {
            Guarding::Lock(lock) => lock.acquire_timeout(timeout),
            Guarding::RLock(lock) => lock.acquire_timeout(timeout),
        }
    }

    /// Releases the lock that was acquired raw: Python's `release()`.
    ///
    /// # Errors
    ///
    /// See [`Lock::release`] or [`RLock::release`].
    pub fn release(&self) -> Result<(), LockError> {
        match &self.lock {
            Guarding::Lock(lock) => lock.release(),
            Guarding::RLock(lock) => lock.release(),
        }
    }

    /// Lets go of the lock, waits for a notification, and takes the lock again: Python's `wait()`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_not_held`] when this thread does not hold the lock, [`LockError::is_lent`] when it holds it through
    /// the guard of a [`Value`](crate::Value) or [`Array`](crate::Array), [`LockError::is_too_many`] when 960 wait
    /// already; it has not waited then. [`LockError::is_owner_died`] when a process died while it held the lock; this
    /// thread holds it again then.
    ///
    /// # Timeouts
    ///
    /// Waits until a notification comes, even if no process is left that could send one; see
    /// [`Condition::wait_timeout`].
    pub fn wait(&self) -> Result<(), LockError> {
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// Like [`Condition::wait`], for at most `timeout` and the time to take the lock again. Returns whether there was
    /// a notification.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let condition = multiproc::Condition::new();
    /// let _held = condition.lock()?;
    /// assert!(!condition.wait_timeout(Duration::from_millis(5))?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Condition::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, LockError> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits until `predicate` returns true. It is called with the lock held: at the start, and after each
    /// notification.
    ///
    /// # Errors
    ///
    /// See [`Condition::wait`].
    ///
    /// # Timeouts
    ///
    /// See [`Condition::wait`] and [`Condition::wait_for_timeout`].
    pub fn wait_for(&self, predicate: impl FnMut() -> bool) -> Result<(), LockError> {
        self.wait_for_until(predicate, Deadline::NEVER).map(drop)
    }

    /// Like [`Condition::wait_for`], for at most `timeout`. Returns what `predicate` returned last.
    ///
    /// # Errors
    ///
    /// See [`Condition::wait`].
    pub fn wait_for_timeout(&self, predicate: impl FnMut() -> bool, timeout: Duration) -> Result<bool, LockError> {
        self.wait_for_until(predicate, Deadline::after(timeout))
    }

    fn wait_for_until(&self, mut predicate: impl FnMut() -> bool, deadline: Deadline) -> Result<bool, LockError> {
        loop {
            if predicate() {
                return Ok(true);
            }
            if !self.wait_until(deadline)? {
                return Ok(predicate());
            }
        }
    }

    fn wait_until(&self, deadline: Deadline) -> Result<bool, LockError> {
        let caller = ThisThread::new()?;
        if let Guarding::Lock(lock) = &self.lock {
            // Who lends what the lock protects relies on it being held: by this thread, so that nobody else can begin
            // to lend meanwhile. Threads that share their number with others could.
            if !caller.is_unique() {
                return Err(LockError::TOO_MANY);
            }
            if lock.word().owner() == Some(caller.me()) && lock.block().is_lent() {
                return Err(LockError::LENT);
            }
        }
        let waited = self.shared.wait_until(&caller, &self.lock, deadline).map_err(|error| match error {
            NotWaited::NotHeld => LockError::NOT_INSIDE,
            NotWaited::TooMany => LockError::TOO_MANY,
        })?;
        match waited.lock {
            Outcome::Acquired => Ok(waited.notified),
            Outcome::AcquiredPoisoned => Err(LockError::OWNER_DIED),
            // Another thread of this process has acquired it raw; cannot happen to a lock that is taken without limit.
            Outcome::WouldDeadlock | Outcome::TimedOut | Outcome::Busy => Err(LockError::WOULD_DEADLOCK),
        }
    }

    /// Wakes up to `count` waiters, those first that have waited longest, and returns how many it woke. They go on
    /// when this thread gives the lock back. Python's `notify()` is `notify(1)`.
    ///
    /// # Errors
    ///
    /// [`LockError::is_not_held`] when this thread does not hold the lock.
    pub fn notify(&self, count: usize) -> Result<usize, LockError> {
        self.shared.notify(&ThisThread::new()?, &self.lock, count).map_err(|_| LockError::NOT_INSIDE)
    }

    /// Wakes all waiters, and returns how many it woke.
    ///
    /// # Errors
    ///
    /// See [`Condition::notify`].
    pub fn notify_all(&self) -> Result<usize, LockError> {
        self.notify(usize::MAX)
    }
}

/// Shows the lock and how many wait, as Python does.
impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition(")?;
        match &self.lock {
            Guarding::Lock(lock) => lock.fmt(f)?,
            Guarding::RLock(lock) => lock.fmt(f)?,
        }
        write!(f, ", waiting={})", self.shared.waiting())
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.lock, self.shared.block()).serialize(serializer)
    }
}

/// The structure of a condition, as it travels behind its lock.
struct Wire(Shared<condition::Condition>);

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wire, D::Error> {
        read(deserializer, Kind::Condition, "condition").map(Wire)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        let (lock, Wire(shared)) = Deserialize::deserialize(deserializer)?;
        Ok(Condition { lock, shared })
    }
}

/// Holds the lock of a [`Condition`] until it is dropped. It stays on its thread.
#[derive(Debug)]
#[must_use = "dropped at once, it releases the lock at once: `let _held = condition.lock()?`"]
pub struct ConditionGuard<'a>(Held<'a>);

#[derive(Debug)]
enum Held<'a> {
    Lock(LockGuard<'a>),
    RLock(RLockGuard<'a>),
}

impl ConditionGuard<'_> {
    /// Returns whether a holder of the lock has died since the poison was last cleared.
    pub fn is_poisoned(&self) -> bool {
        match &self.0 {
            Held::Lock(held) => held.is_poisoned(),
            Held::RLock(held) => held.is_poisoned(),
        }
    }

    /// Says that what the lock protects is sound again.
    pub fn clear_poison(&self) {
        match &self.0 {
            Held::Lock(held) => held.clear_poison(),
            Held::RLock(held) => held.clear_poison(),
        }
    }
}
