//! [`Barrier`]: so many parties wait for each other.

use crate::error::{BrokenBarrierError, Error};
use crate::heap::block::Shared;
use crate::heap::kind::Kind;
use crate::identity::{Callable, Entry, FnRef};
use crate::portable::Portable;
use crate::sync::algorithm::barrier::{self, Broken, MOST_PROCESSES};
use crate::sync::handle::{expect, make, read};
use crate::sync::this_thread::ThisThread;
use crate::sys::any::conjure;
use crate::sys::time::Deadline;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::type_name;
use std::fmt;
use std::time::Duration;

/// A place where a number of processes or threads wait for each other: Python's `multiprocessing.Barrier`.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same barrier.
///
/// ```
/// use multiproc::{Barrier, Pool};
///
/// let barrier = Barrier::new(3);
/// let pool = Pool::new(2)?;
/// let others = pool.map_async(|barrier: Barrier| barrier.wait(), vec![barrier.clone(); 2])?;
/// let mut indices = vec![barrier.wait()?];
/// indices.extend(others.get()?.into_iter().flatten());
/// indices.sort();
/// assert_eq!(indices, [0, 1, 2]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// When all parties have come they go on together, and the barrier is ready for the next round. What a party wrote
/// before [`Barrier::wait`] is visible to all parties after it.
///
/// # If a process dies
///
/// If the process waited here or ran the action, the barrier *breaks*: within about 50 ms all parties that wait get
/// [`BrokenBarrierError`], and so do all that come, until somebody calls [`Barrier::reset`]. If the process dies
/// before it has come, nobody can know that it was a party: use a timeout.
#[derive(Clone)]
pub struct Barrier {
    shared: Shared<barrier::Barrier>,
    action: Option<&'static Entry<Action>>,
    timeout: Option<Duration>,
}

/// What one of them does before all go on.
type Action = fn();

impl Callable for Action {
    const TAG: u64 = 6;
}

fn entry<F: Fn() + Portable>() -> &'static Entry<Action> {
    const { &Entry::new(type_name::<F>, run::<F>) }
}

fn run<F: Fn() + Portable>() {
    conjure::<F>()();
}

impl Barrier {
    /// Creates a barrier for `parties` parties.
    ///
    /// # Panics
    ///
    /// Panics when [`Barrier::try_new`] fails.
    pub fn new(parties: usize) -> Barrier {
        expect(Barrier::try_new(parties), "barrier")
    }

    /// Creates a barrier for `parties` parties.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_argument`]: there must be 1 to 960. [`Error::is_shared_memory`]: it is exhausted, or this process
    /// has none.
    pub fn try_new(parties: usize) -> Result<Barrier, Error> {
        let count = u32::try_from(parties).ok().filter(|_| (1..=MOST_PROCESSES).contains(&parties));
        let count = count.ok_or_else(|| {
            Error::invalid_argument(format!("a barrier has 1 to {MOST_PROCESSES} parties, not {parties}"))
        })?;
        let shared: Shared<barrier::Barrier> = make(Kind::Barrier)?;
        shared.init(count);
        Ok(Barrier { shared, action: None, timeout: None })
    }

    /// Creates a barrier at which the last party to come runs `action` before all go on: Python's `Barrier(parties,
    /// action)`.
    ///
    /// The action is a function or a closure that captures nothing, since any of the processes may be the one. If it
    /// panics, the barrier breaks, and the panic goes on in the party that ran it.
    ///
    /// ```
    /// use multiproc::Barrier;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static ROUNDS: AtomicU32 = AtomicU32::new(0);
    /// let barrier = Barrier::with_action(1, || _ = ROUNDS.fetch_add(1, Ordering::Relaxed));
    /// assert_eq!(barrier.wait()?, 0);
    /// assert_eq!(ROUNDS.load(Ordering::Relaxed), 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when [`Barrier::try_new`] fails.
    ///
    /// # Trust
    ///
    /// The handle says which action there is: a process that sends a barrier to another one can name any action of any barrier
    /// that is compiled into the program, and no other function.
    pub fn with_action<F: Fn() + Portable>(parties: usize, action: F) -> Barrier {
        expect(Barrier::try_with_action(parties, action), "barrier")
    }

    /// Like [`Barrier::with_action`], with an error instead of a panic.
    ///
    /// # Errors
    ///
    /// See [`Barrier::try_new`].
    pub fn try_with_action<F: Fn() + Portable>(parties: usize, _action: F) -> Result<Barrier, Error> {
        const {
            assert!(
                size_of::<F>() == 0,
                "the action of a barrier must not capture anything: any of the processes may have to run it"
            );
        }
        Ok(Barrier { action: Some(entry::<F>()), ..Barrier::try_new(parties)? })
    }

    /// Returns the same barrier, at which [`Barrier::wait`] waits for at most `timeout`: Python's `Barrier(..,
    /// timeout=..)`. The limit goes for this handle, its clones, and the handles that these become in other
    /// processes.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Barrier {
        Barrier { timeout: Some(timeout), ..self }
    }

    /// Waits until all parties have come. Returns how many parties of this round came before this one: 0 to
    /// `parties() - 1`, each number once.
    ///
    /// ```
    /// use multiproc::{Barrier, Pool};
    ///
    /// let barrier = Barrier::new(2);
    /// let meet = |barrier: &Barrier, _: u32| barrier.wait().unwrap();
    /// let mut places = Pool::new(2)?.with(&barrier).tasks(meet, 0..2).chunksize(1).run()?;
    /// places.sort();
    /// assert_eq!(places, [0, 1]); // Each party has a place of its own.
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BrokenBarrierError`]: the barrier is broken, or breaks or is reset while this party waits.
    ///
    /// # Timeouts
    ///
    /// Waits as long as parties are missing, unless the barrier has a [timeout](Barrier::with_timeout).
    pub fn wait(&self) -> Result<usize, BrokenBarrierError> {
        self.wait_until(Deadline::within(self.timeout))
    }

    /// Like [`Barrier::wait`], for at most `timeout`; if it passes, the barrier breaks for all.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let barrier = multiproc::Barrier::new(2);
    /// assert!(barrier.wait_timeout(Duration::from_millis(5)).is_err());
    /// assert!(barrier.broken());
    /// barrier.reset()?;
    /// assert!(!barrier.broken());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Barrier::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BrokenBarrierError> {
        self.wait_until(Deadline::after(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<usize, BrokenBarrierError> {
        let action = self.action.map(Entry::call);
        let waited = self.shared.wait_until(&ThisThread::new()?, deadline, action);
        waited.map(|index| index as usize).map_err(|Broken| BrokenBarrierError::BROKEN)
    }

    /// Breaks the barrier: all parties that wait, and all that come, get [`BrokenBarrierError`].
    ///
    /// ```
    /// let barrier = multiproc::Barrier::new(2);
    /// barrier.abort()?;
    /// assert!(barrier.broken() && barrier.wait().is_err());
    /// barrier.reset()?;
    /// assert!(!barrier.broken());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BrokenBarrierError::is_shared_memory`] in a process that was forked from one that uses the shared memory.
    pub fn abort(&self) -> Result<(), BrokenBarrierError> {
        self.shared.abort(&ThisThread::new()?);
        Ok(())
    }

    /// Makes the barrier as new. Parties that wait at this moment get [`BrokenBarrierError`].
    ///
    /// # Errors
    ///
    /// See [`Barrier::abort`].
    pub fn reset(&self) -> Result<(), BrokenBarrierError> {
        self.shared.reset(&ThisThread::new()?);
        Ok(())
    }

    /// Returns whether the barrier is broken.
    pub fn broken(&self) -> bool {
        // For a process that has no part in it, it is.
        ThisThread::new().map_or(true, |caller| self.shared.broken(&caller))
    }

    /// Returns how many parties wait, at this moment.
    pub fn n_waiting(&self) -> usize {
        self.shared.n_waiting()
    }

    /// Returns how many parties make a round.
    pub fn parties(&self) -> usize {
        self.shared.parties() as usize
    }
}

/// Shows how many have come, or that it is broken.
impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.broken() { "broken".to_owned() } else { format!("waiting={}", self.n_waiting()) };
        write!(f, "Barrier(parties={}, {state})", self.parties())
    }
}

impl Serialize for Barrier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let action = self.action.map(FnRef::of).transpose().map_err(S::Error::custom)?;
        (self.shared.block(), action, self.timeout).serialize(serializer)
    }
}

/// The structure of a barrier, as it travels in front of its action.
struct Wire(Shared<barrier::Barrier>);

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wire, D::Error> {
        read(deserializer, Kind::Barrier, "barrier").map(Wire)
    }
}

impl<'de> Deserialize<'de> for Barrier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Barrier, D::Error> {
        let (Wire(shared), action, timeout) = <(Wire, Option<FnRef>, Option<Duration>)>::deserialize(deserializer)?;
        let action = action.map(|action| action.resolve()).transpose().map_err(D::Error::custom)?;
        Ok(Barrier { shared, action, timeout })
    }
}
