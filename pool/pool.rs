//! The face of the library: [`Pool`], its builder, and the options of a call.

mod async_result;
#[cfg(feature = "indicatif")]
mod bar;
mod builder;
mod calls;
mod imap;
mod job;
mod on_state;
mod outfit;
mod terms;
mod thread_pool;
mod with;

pub use async_result::AsyncResult;
pub use builder::PoolBuilder;
pub use imap::Imap;
pub use job::Job;
pub use on_state::OnState;
pub use outfit::CpuAffinity;
pub use thread_pool::ThreadPool;
pub use with::With;

use crate::codec::Payload;
use crate::engine::call::job::Options;
use crate::engine::core::state::Engine;
use crate::engine::core::stats::PoolStats;
use crate::error::{Error, Result, TaskError};
use crate::process::args::{Args, Task};
#[cfg(doc)]
use crate::sys::cpu::cpu_count;
use crate::sys::fork::fork_generation;
use crate::sys::time::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A pool of worker processes that run tasks.
///
/// A worker is this program, started again. A task is a call of a function that captures nothing; its arguments and
/// its result travel between the processes. What a task does to its process, be it a panic, an `exit` or a crash in a
/// C library, stays its own affair: the call gets an error for that task, the worker is replaced, all others go on.
///
/// `Pool` is `Send + Sync`: many threads may use one pool at a time.
///
/// # Example
///
/// ```
/// use multiproc::Pool;
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.map(square, 0..5)?, [0, 1, 4, 9, 16]);
///
/// let table = vec![10, 20, 30];
/// assert_eq!(pool.with(&table).map(|table, i: usize| table[i] + 1, 0..3)?, [11, 21, 31]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # If a worker dies
///
/// Exactly the task that it was running fails, with [`TaskError::is_worker_lost`]. Tasks that waited at this worker go
/// to others, untouched; a new worker takes its place. No task is started twice.
///
/// # Functions that capture
///
/// A function that captures, and a function pointer, is refused when the program is *built* (`cargo check` does not
/// see it):
///
/// ```compile_fail
/// let factor = 3;
/// let pool = multiproc::Pool::new(1).unwrap();
/// pool.map(move |x: i32| x * factor, 0..3).unwrap();
/// ```
///
/// Pass what it captures with [`Pool::with`]. (A capture without a size, such as a token type, cannot be told from no
/// capture; the worker then makes one out of nothing.)
///
/// # State
///
/// `Pool<S>` has workers that each keep an `S`, which tasks may change: see [`PoolBuilder::state`]. For all others `S`
/// is `()`.
pub struct Pool<S = ()> {
    engine: Arc<Engine>,
    state: PhantomData<fn() -> S>,
}

impl Pool {
    /// Starts a pool of `processes` workers; `None` means as many as [`cpu_count`].
    ///
    /// Returns once every worker is ready.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(None)?;
    /// assert_eq!(pool.processes(), multiproc::cpu_count());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::is_invalid_argument`]: 0 processes.
    /// - [`Error::is_start`]: a worker could not be started; those that had started were ended.
    /// - [`Error::is_not_initialized`], [`Error::is_foreign_host`]: this program cannot be its own worker.
    pub fn new(processes: impl Into<Option<usize>>) -> Result<Pool> {
        Pool::builder().processes(processes).build()
    }

    /// A pool with more options.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// Runs `work` with a pool of `processes` workers, then closes the pool and waits for the workers to leave.
    ///
    /// ```
    /// let sum = multiproc::Pool::scope(2, |pool| pool.map(|x: u32| x + 1, 0..3))?;
    /// assert_eq!(sum?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub fn scope<R>(processes: impl Into<Option<usize>>, work: impl FnOnce(&Pool) -> R) -> Result<R> {
        let pool = Pool::new(processes)?;
        let result = work(&pool);
        pool.close();
        pool.join()?;
        Ok(result)
    }
}

impl<S> Pool<S> {
    /// Calls `f` in a worker for each item, and returns the results in the order of the items.
    ///
    /// Blocks until every task has ended. Items are pulled from the iterator on this thread and only as fast as the
    /// workers take them, so the iterator may borrow local data and need not fit into memory. How many items travel
    /// together is adapted to their measured cost; see [`Job::chunksize`] to fix it.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let words = ["a", "bb", "ccc"].map(String::from);
    /// assert_eq!(pool.map(|word| word.len(), words)?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// All tasks are run; then the error with the lowest index is returned ([`Error::task`]). Use [`Pool::map_each`] to
    /// get every result. A pool that was closed or terminated gives [`Error::is_not_running`] or
    /// [`Error::is_terminated`].
    ///
    /// # Panics
    ///
    /// A panic of the iterator or of an item's `Serialize` goes through to the caller; the pool stays whole. A panic of
    /// `f` does not: it is the error [`TaskError::is_panic`].
    ///
    /// # If a worker dies
    ///
    /// The task that it was running fails with [`TaskError::is_worker_lost`]; all others are run.
    pub fn map<F, T, R, I>(&self, f: F, items: I) -> Result<Vec<R>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        self.job().map(f, items)
    }

    /// Like [`Pool::map`], for every item its own result or error.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let results = pool.map_each(|x: i32| 12 / x, [3, 0, 4]);
    /// assert_eq!(*results[0].as_ref().unwrap(), 4);
    /// assert!(results[1].as_ref().unwrap_err().is_panic());
    /// assert_eq!(*results[2].as_ref().unwrap(), 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// In a pool that was closed or terminated every item gets that error.
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn map_each<F, T, R, I>(&self, f: F, items: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        self.job().map_each(f, items)
    }

    /// Like [`Pool::map`], for a function that can fail.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let parse = |text: String| text.parse::<u32>();
    /// assert_eq!(pool.try_map(parse, ["1", "2"].map(String::from))?, [1, 2]);
    ///
    /// let error = pool.try_map(parse, ["1", "x"].map(String::from)).unwrap_err();
    /// assert_eq!(error.task().unwrap().index(), 1);
    /// assert!(error.to_string().ends_with("failed: invalid digit found in string"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::map`]; an `Err` of the function is [`TaskError::is_error`], and its text and causes are the
    /// [`source`](std::error::Error::source).
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn try_map<F, T, R, E, I>(&self, f: F, items: I) -> Result<Vec<R>>
    where
        F: Fn(T) -> Result<R, E> + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T>,
    {
        self.job().try_map(f, items)
    }

    /// Like [`Pool::map`], for borrowed items and a function that takes a reference.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.map_ref(|word: &str| word.len(), ["a", "bb"])?, [1, 2]);
    ///
    /// let numbers = [1.0, 2.0, 3.0, 4.0, 5.0];
    /// assert_eq!(pool.map_ref(|part: &[f64]| part.iter().sum::<f64>(), numbers.chunks(2))?, [3.0, 7.0, 5.0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn map_ref<F, T, R, I>(&self, f: F, items: I) -> Result<Vec<R>>
    where
        F: Fn(&T) -> R + Copy + Send + 'static,
        T: Serialize + ToOwned<Owned: DeserializeOwned> + ?Sized + 'static,
        R: Payload,
        I: IntoIterator<Item: Deref<Target = T>>,
    {
        self.job().map_ref(f, items)
    }

    /// Like [`Pool::map`], for items that are tuples of arguments.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.starmap(|base: u64, exponent: u32| base.pow(exponent), [(2, 5), (3, 2)])?, [32, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn starmap<F, A, I>(&self, f: F, items: I) -> Result<Vec<F::Output>>
    where
        A: Args,
        F: Task<A, Output: Payload>,
        I: IntoIterator<Item = A>,
    {
        self.job().starmap(f, items)
    }

    /// Calls `f` with `args` in a worker and returns its result.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.apply(u64::pow, (2, 10))?, 1024);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The task's error, if it has no result ([`Error::task`]), or that of a pool that was closed or terminated.
    ///
    /// # If a worker dies
    ///
    /// If it was running this task: [`TaskError::is_worker_lost`]. If the task still waited there, it goes to another.
    pub fn apply<F, A>(&self, f: F, args: A) -> Result<F::Output>
    where
        A: Args,
        F: Task<A, Output: Payload>,
    {
        self.job().apply(f, args)
    }

    /// Like [`Pool::apply`], for a function that can fail.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.try_apply(|text: String| text.parse::<u8>(), ("7".to_owned(),))?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::apply`]; an `Err` of the function is [`TaskError::is_error`].
    pub fn try_apply<F, A, R, E>(&self, f: F, args: A) -> Result<R>
    where
        A: Args,
        F: Task<A, Output = Result<R, E>>,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        self.job().try_apply(f, args)
    }

    /// As [`Pool::starmap`], for a function that returns a `Result`: see [`Pool::try_map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::try_map`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn try_starmap<F, A, R, E, I>(&self, f: F, items: I) -> Result<Vec<R>>
    where
        A: Args,
        F: Task<A, Output = Result<R, E>>,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = A>,
    {
        self.job().try_starmap(f, items)
    }

    /// Calls `f` with `args` in a worker, and returns at once; the result is asked for later.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let result = pool.apply_async(|a: u32, b: u32| a * b, (6, 7))?;
    /// assert_eq!(result.get()?, 42);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The pool was closed or terminated. Everything else is an error of the result, also arguments that cannot be
    /// serialised.
    pub fn apply_async<F, A>(&self, f: F, args: A) -> Result<AsyncResult<F::Output>>
    where
        A: Args,
        F: Task<A, Output: Payload + Send>,
    {
        self.job().apply_async(f, args)
    }

    /// As [`Pool::apply_async`], for a function that returns a `Result`: see [`Pool::try_apply`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    pub fn try_apply_async<F, A, R, E>(&self, f: F, args: A) -> Result<AsyncResult<R>>
    where
        A: Args,
        F: Task<A, Output = Result<R, E>>,
        R: Payload + Send,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        self.job().try_apply_async(f, args)
    }

    /// Calls `f` in a worker for each item, and returns at once; the results are asked for later.
    ///
    /// All items are read and serialised before this returns, since nobody would read them later; use [`Pool::imap`] for
    /// input that does not fit into memory.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let squares = pool.map_async(|x: u64| x * x, 0..5)?;
    /// assert_eq!(squares.get()?, [0, 1, 4, 9, 16]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    ///
    /// # Panics
    ///
    /// A panic of the iterator or of an item's `Serialize` goes through to the caller; nothing was run then.
    pub fn map_async<F, T, R, I>(&self, f: F, items: I) -> Result<AsyncResult<Vec<R>>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload + Send,
        I: IntoIterator<Item = T>,
    {
        self.job().map_async(f, items)
    }

    /// As [`Pool::map_async`], for a function that returns a `Result`: see [`Pool::try_map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map_async`].
    pub fn try_map_async<F, T, R, E, I>(&self, f: F, items: I) -> Result<AsyncResult<Vec<R>>>
    where
        F: Fn(T) -> Result<R, E> + Copy + Send + 'static,
        T: Payload,
        R: Payload + Send,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T>,
    {
        self.job().try_map_async(f, items)
    }

    /// As [`Pool::map_async`], for a function of several arguments: see [`Pool::starmap`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map_async`].
    pub fn starmap_async<F, A, I>(&self, f: F, items: I) -> Result<AsyncResult<Vec<F::Output>>>
    where
        A: Args,
        F: Task<A, Output: Payload + Send>,
        I: IntoIterator<Item = A>,
    {
        self.job().starmap_async(f, items)
    }

    /// Calls `f` in a worker for each item, and gives the results one by one, in the order of the items.
    ///
    /// Input is read as results are taken, with a bounded number of items between: an endless input is fine. A failed
    /// task is one `Err`, and the iteration goes on behind it. See [`Imap`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let results = pool.imap(|x: u64| x * x, 0..).take(4);
    /// assert_eq!(results.collect::<Result<Vec<_>, _>>()?, [0, 1, 4, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If the pool was closed or terminated, the only result is that error.
    pub fn imap<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        self.job().imap(f, items)
    }

    /// As [`Pool::imap`], but gives each result as soon as it is there.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let mut results = pool.imap_unordered(|x: u64| x * x, 0..4).collect::<Result<Vec<_>, _>>()?;
    /// results.sort();
    /// assert_eq!(results, [0, 1, 4, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn imap_unordered<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        self.job().imap_unordered(f, items)
    }

    /// As [`Pool::imap`], for a function that returns a `Result`: see [`Pool::try_map`].
    pub fn try_imap<'i, F, T, R, E, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> Result<R, E> + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        self.job().try_imap(f, items)
    }

    /// As [`Pool::imap_unordered`], for a function that returns a `Result`: see [`Pool::try_map`].
    pub fn try_imap_unordered<'i, F, T, R, E, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> Result<R, E> + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        self.job().try_imap_unordered(f, items)
    }

    /// Calls with a context: data that every task of a call sees, sent once to each worker.
    ///
    /// This is Python's `functools.partial`, and a broadcast. The context is borrowed; `with(&vec[..10])`,
    /// `with("text")` and `with(&(a, b))` work.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let (low, high) = (10, 20);
    /// let inside = pool.with(&(low, high)).map(|(low, high), x: i32| (*low..*high).contains(&x), [5, 15])?;
    /// assert_eq!(inside, [false, true]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn with<'a, C>(&'a self, context: &'a C) -> With<'a, C>
    where
        C: Serialize + ToOwned<Owned: DeserializeOwned> + ?Sized + 'static,
    {
        self.job().with(context)
    }

    /// Options for a call; the result has the same calls as the pool.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.job().chunksize(2).map(|x: i32| -x, 0..3)?, [0, -1, -2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn job(&self) -> Job<'_, S> {
        Job { engine: &self.engine, options: Options::default(), state: PhantomData }
    }

    /// Calls of functions that get the state of their worker first, as `&mut S`; see [`PoolBuilder::state`].
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::collections::HashMap;
    ///
    /// let cache = |name: String| HashMap::from([(0, name)]);
    /// let pool = Pool::builder().processes(1).state(cache, ("zero".to_owned(),)).build()?;
    /// let lengths = pool.on_state().map(
    ///     |names, n: u32| {
    ///         names.insert(n, "x".repeat(n as usize));
    ///         names.len()
    ///     },
    ///     [1, 2, 2],
    /// )?;
    /// assert_eq!(lengths, [2, 3, 3]);
    /// assert_eq!(pool.on_state().apply(|names: &mut HashMap<u32, String>| names.remove(&0), ())?.unwrap(), "zero");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A task has the state for itself: a worker runs one task at a time. Which worker runs a task is the pool's affair.
    pub fn on_state(&self) -> OnState<'_, S>
    where
        S: 'static,
    {
        self.job().on_state()
    }

    /// How many workers the pool has, or is about to have: the number it was made with, or that of the last
    /// [`Pool::resize`].
    pub fn processes(&self) -> usize {
        self.engine.core.lock().target
    }

    /// Changes the number of workers, and returns at once.
    ///
    /// New workers take tasks as soon as they are ready. Workers that are too many leave after what they are at; what
    /// waits for them goes to others. No task is lost or run twice.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// pool.resize(3)?;
    /// assert_eq!(pool.processes(), 3);
    /// assert_eq!(pool.map(|x: u32| x + 1, 0..3)?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_argument`]: 0 workers. The error of a pool that was closed or terminated. New workers that
    /// cannot start do not show here; five in a row that cannot break the pool.
    pub fn resize(&self, processes: usize) -> Result<()> {
        if processes == 0 {
            return Err(Error::invalid_argument("a pool needs at least 1 process, not 0"));
        }
        self.engine.resize(processes)
    }

    /// The process ids of the workers that are ready, in no particular order.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.worker_pids().len(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn worker_pids(&self) -> Vec<i32> {
        self.engine.worker_pids()
    }

    /// What the pool and its workers have done so far; to be printed, or looked into.
    ///
    /// The counters are always kept; asking for them costs a few microseconds, most of it for the memory of each worker.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// pool.map_each(|x: u32| assert!(x != 3), 0..100);
    /// let stats = pool.stats();
    /// assert_eq!((stats.tasks, stats.failed, stats.queued, stats.running), (100, 1, 0, 0));
    /// assert_eq!(stats.workers.iter().map(|worker| worker.tasks).sum::<u64>(), 100);
    /// assert!(stats.to_string().starts_with("100 tasks done (1 failed, 0 run again), 0 running, 0 queued; 2 workers"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stats(&self) -> PoolStats {
        self.engine.stats()
    }

    /// Takes no more calls. Calls under way go on; the workers leave when the last has ended.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// pool.close();
    /// assert!(pool.apply(|| 1, ()).unwrap_err().is_not_running());
    /// pool.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn close(&self) {
        self.engine.close();
    }

    /// Ends the pool at once: workers get SIGTERM and, after a grace period, SIGKILL. Calls under way end with
    /// [`Error::is_terminated`]. Does not wait; see [`Pool::join`].
    pub fn terminate(&self) {
        self.engine.terminate();
    }

    /// Waits until every worker has ended.
    ///
    /// # Errors
    ///
    /// [`Error::is_still_running`]: neither [`Pool::close`] nor [`Pool::terminate`] was called.
    ///
    /// # If a worker dies
    ///
    /// It has ended. While calls are under way in a closed pool, others take over what it had not begun.
    pub fn join(&self) -> Result<()> {
        self.engine.join(Deadline::NEVER).map(drop)
    }

    /// Like [`Pool::join`], for at most `timeout`; whether every worker has ended.
    ///
    /// # Errors
    ///
    /// As [`Pool::join`].
    ///
    /// # Timeouts
    ///
    /// After `false` nothing has changed; call it again.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.engine.join(Deadline::after(timeout))
    }
}

/// Terminates the pool and waits until its workers have ended, which is bounded: who ignores SIGTERM is killed.
impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        // In a fork of the process that made the pool the workers are not ours to end.
        if self.engine.generation == fork_generation() {
            self.engine.terminate();
            // Cannot fail: it was just terminated.
            let _ = self.engine.join(Deadline::NEVER);
            let trace = self.engine.core.lock().trace.take();
            // Waits until all is written.
            drop(trace);
        }
    }
}

impl<S> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, processes) = self.engine.describe();
        f.debug_struct("Pool").field("state", &state).field("processes", &processes).finish()
    }
}
