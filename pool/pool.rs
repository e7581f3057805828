//! The face of the library: [`Pool`], its builder, and the options of a call.

use crate::codec::{self, Payload};
use crate::engine::call::{Options, Outcome};
use crate::engine::core::{Core, Engine};
use crate::engine::launch::spawn::Spawn;
use crate::engine::results::{Feed, Items, Results};
use crate::engine::work::{Each, EachRef, EachWith, Star, StarWith, Work, encode_context, entry};
use crate::engine::worker::{Startup, initializer_entry};
use crate::error::{Error, Result, TaskError, TaskKind};
use crate::heap::scope::Pins;
use crate::ipc::bell::Bell;
use crate::ipc::link::LinkKind;
use crate::process::args::{Args, Task, TaskWith};
use crate::process::bootstrap::check_host;
use crate::process::identity::FnRef;
use crate::process::returns::{Fallible, Plain, assert_captures_nothing};
use crate::sys::cpu::cpu_count;
use crate::sys::memory;
use crate::sys::reactor::fork_generation;
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroU32;
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
pub struct Pool {
    engine: Arc<Engine>,
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
    pub fn job(&self) -> Job<'_> {
        Job { pool: self, options: Options::default() }
    }

    /// How many workers the pool has.
    pub fn processes(&self) -> usize {
        self.engine.core.lock().workers.len()
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

/// Terminates the pool and waits until its workers have ended, which is bounded: who ignores SIGTERM is killed.
impl Drop for Pool {
    fn drop(&mut self) {
        // In a fork of the process that made the pool the workers are not ours to end.
        if self.engine.generation == fork_generation() {
            self.engine.terminate();
            // Cannot fail: it was just terminated.
            let _ = self.engine.join(Deadline::NEVER);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, processes) = self.engine.describe();
        f.debug_struct("Pool").field("state", &state).field("processes", &processes).finish()
    }
}

/// Makes a [`Pool`] with options.
///
/// ```
/// use multiproc::{LinkKind, Pool};
///
/// let pool = Pool::builder().processes(2).name("crunch").link(LinkKind::Ring).build()?;
/// assert_eq!(pool.apply(|| 1 + 1, ())?, 2);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    processes: Option<usize>,
    name: String,
    link: LinkKind,
    grace: Duration,
    startup: Option<Result<(Startup, Pins)>>,
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder {
            processes: None,
            name: "worker".to_owned(),
            link: LinkKind::default(),
            grace: Duration::from_secs(1),
            startup: None,
        }
    }
}

impl PoolBuilder {
    /// The number of workers; `None` means as many as [`cpu_count`].
    pub fn processes(mut self, processes: impl Into<Option<usize>>) -> Self {
        self.processes = processes.into();
        self
    }

    /// What ps and top show for the workers, followed by their number; the system keeps 15 bytes. Default: `worker`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How tasks and results travel. Default: [`LinkKind::Ring`].
    pub fn link(mut self, link: LinkKind) -> Self {
        self.link = link;
        self
    }

    /// How long a worker may take to end after SIGTERM before it gets SIGKILL. Default: 1 second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// A function that each worker runs before its first task, also each later replacement. What it returns is dropped.
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::sync::OnceLock;
    ///
    /// static GREETING: OnceLock<String> = OnceLock::new();
    ///
    /// let pool = Pool::builder()
    ///     .processes(1)
    ///     .initializer(|text: String| GREETING.set(text), ("hello".to_owned(),))
    ///     .build()?;
    /// assert_eq!(pool.apply(|| GREETING.get().cloned(), ())?.as_deref(), Some("hello"));
    /// assert_eq!(GREETING.get(), None); // This process is not the worker.
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If it panics, [`PoolBuilder::build`] gives [`Error::is_initializer`].
    pub fn initializer<F, A>(mut self, f: F, args: A) -> Self
    where
        A: Args,
        F: Task<A>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        let encoded = codec::pack(|out| args.encode(out)).map_err(|error| {
            Error::invalid_argument(format!("the arguments of the initializer could not be serialised: {}", error.0))
        });
        let function = FnRef::of(initializer_entry::<F, A>());
        self.startup =
            Some(encoded.and_then(|args| Ok((Startup { function: function?, args: args.bytes }, args.pins))));
        self
    }

    /// Starts the workers and waits until each is ready.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`], and [`Error::is_initializer`].
    pub fn build(self) -> Result<Pool> {
        check_host()?;
        let processes = self.processes.unwrap_or_else(cpu_count);
        if processes == 0 {
            return Err(Error::invalid_argument("a pool needs at least 1 process, not 0"));
        }
        let (startup, pins) = self.startup.transpose()?.unzip();
        let (file, memory) = match self.link {
            LinkKind::Ring => {
                let (file, memory) = memory::create_mapped("multiproc-bell", Bell::LEN)?;
                (Some(Arc::new(file)), memory)
            }
            LinkKind::Channel => (None, memory::private(Bell::LEN)?),
        };
        let bell = Bell::new(Arc::new(memory), 0);
        let launcher = Spawn {
            link: self.link,
            bell: bell.clone(),
            bell_file: file,
            name: self.name,
            startup,
            pins: pins.unwrap_or_default(),
        };
        let engine = Arc::new(Engine {
            core: Mutex::new(Core::new(processes)),
            bell,
            launcher: Box::new(launcher),
            background: Condvar::new(),
            workforce: Condvar::new(),
            grace: self.grace,
            generation: fork_generation(),
        });
        engine.build()?;
        Ok(Pool { engine })
    }
}

/// A call with options, made by [`Pool::job`]. It can be used again.
#[derive(Clone, Copy, Debug)]
#[must_use = "options do nothing until a call such as `map`"]
pub struct Job<'a> {
    pool: &'a Pool,
    options: Options,
}

impl<'a> Job<'a> {
    /// Lets exactly `n` items travel together, the last ones excepted. Default: as many as make about 1 millisecond of
    /// work, by measurement.
    ///
    /// # Panics
    ///
    /// When `n` is 0 or more than 2^30.
    pub fn chunksize(mut self, n: usize) -> Job<'a> {
        let n = u32::try_from(n).ok().filter(|n| *n <= crate::engine::chunk::MOST).and_then(NonZeroU32::new);
        let Some(n) = n else { panic!("the chunk size must be at least 1 and at most 2^30") };
        self.options.chunksize = Some(n.get());
        self
    }

    /// See [`Pool::with`].
    pub fn with<C>(self, context: &'a C) -> With<'a, C>
    where
        C: Serialize + ToOwned<Owned: DeserializeOwned> + ?Sized + 'static,
    {
        With { job: self, context }
    }

    /// See [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn map<F, T, R, I>(&self, f: F, items: I) -> Result<Vec<R>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.all::<Each<F, T, R, Plain>>(None, &mut Items::new(items.into_iter(), codec::encode::<T>))
    }

    /// See [`Pool::map_each`].
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
        assert_captures_nothing!(F);
        let _ = f;
        self.each::<Each<F, T, R, Plain>, _>(None, items.into_iter(), codec::encode::<T>)
    }

    /// See [`Pool::try_map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::try_map`].
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
        assert_captures_nothing!(F);
        let _ = f;
        self.all::<Each<F, T, Result<R, E>, Fallible>>(None, &mut Items::new(items.into_iter(), codec::encode::<T>))
    }

    /// See [`Pool::map_ref`].
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
        assert_captures_nothing!(F);
        let _ = f;
        let encode = |item: &I::Item, out: &mut Vec<u8>| codec::encode::<T>(item, out);
        self.all::<EachRef<F, T, R>>(None, &mut Items::new(items.into_iter(), encode))
    }

    /// See [`Pool::starmap`].
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
        assert_captures_nothing!(F);
        let _ = f;
        self.all::<Star<F, A, Plain>>(None, &mut Items::new(items.into_iter(), A::encode))
    }

    /// See [`Pool::apply`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply`].
    pub fn apply<F, A>(&self, f: F, args: A) -> Result<F::Output>
    where
        A: Args,
        F: Task<A, Output: Payload>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.one::<Star<F, A, Plain>>(None, &mut Items::new(std::iter::once(args), A::encode))
    }

    /// See [`Pool::try_apply`].
    ///
    /// # Errors
    ///
    /// As [`Pool::try_apply`].
    pub fn try_apply<F, A, R, E>(&self, f: F, args: A) -> Result<R>
    where
        A: Args,
        F: Task<A, Output = Result<R, E>>,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.one::<Star<F, A, Fallible>>(None, &mut Items::new(std::iter::once(args), A::encode))
    }

    /// Runs all tasks; the results, or the first error.
    fn all<W: Work>(&self, context: Option<codec::Packed>, feed: &mut dyn Feed) -> Result<Vec<W::Output>> {
        let mut results = Results::<W::Output>::new();
        let outcome = self.pool.engine.run(entry::<W>(), context, self.options, feed, &mut results)?;
        match outcome.halted {
            Some(halt) => Err(halt.error()),
            None => Ok(results.all()?),
        }
    }

    /// Runs one task.
    fn one<W: Work>(&self, context: Option<codec::Packed>, feed: &mut dyn Feed) -> Result<W::Output> {
        let options = Options { chunksize: Some(1) };
        match (Job { options, ..*self }).all::<W>(context, feed)?.pop() {
            Some(value) => Ok(value),
            // One task went in; it has a value or was an error.
            None => Err(Error::broken("a task has neither a result nor an error")),
        }
    }

    /// Runs all tasks; one result each.
    fn each<W: Work, I: Iterator>(
        &self,
        context: Option<codec::Packed>,
        mut items: I,
        encode: impl Fn(&I::Item, &mut Vec<u8>) -> Result<(), codec::CodecError>,
    ) -> Vec<Result<W::Output, TaskError>> {
        let mut results = Results::<W::Output>::new();
        let mut feed = Items::new(items.by_ref(), encode);
        match self.pool.engine.run(entry::<W>(), context, self.options, &mut feed, &mut results) {
            Ok(Outcome { total, halted, job }) => {
                let left = items.count() as u64;
                let kind = halted.map_or(TaskKind::Terminated, |halt| halt.task_kind());
                results.each(total + left, |index| job.error(kind.clone(), index, None))
            }
            Err(error) => {
                let kind = error.refusal();
                let refused = |(_, index)| Err(TaskError::new(kind.clone(), W::name(), index, None));
                items.zip(0..).map(refused).collect()
            }
        }
    }
}

/// A call with a context, made by [`Pool::with`].
#[derive(Debug)]
#[must_use = "a context does nothing until a call such as `map`"]
pub struct With<'a, C: ?Sized> {
    job: Job<'a>,
    context: &'a C,
}

impl<C> With<'_, C>
where
    C: Serialize + ToOwned<Owned: DeserializeOwned> + ?Sized + 'static,
{
    /// Calls `f` with the context and each item; otherwise as [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`], and [`Error::is_invalid_argument`] if the context cannot be serialised.
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn map<F, T, R, I>(&self, f: F, items: I) -> Result<Vec<R>>
    where
        F: Fn(&C, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.all::<EachWith<F, C, T, R, Plain>>(&mut Items::new(items.into_iter(), codec::encode::<T>))
    }

    /// Calls `f` with the context and each item; otherwise as [`Pool::map_each`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn map_each<F, T, R, I>(&self, f: F, items: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(&C, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        match encode_context(self.context) {
            Ok(context) => {
                self.job.each::<EachWith<F, C, T, R, Plain>, _>(Some(context), items.into_iter(), codec::encode::<T>)
            }
            Err(error) => {
                let kind = TaskKind::Encode { text: format!("the context of `with`: {}", error.0) };
                let name = EachWith::<F, C, T, R, Plain>::name();
                let refused = |(_, index)| Err(TaskError::new(kind.clone(), name, index, None));
                items.into_iter().zip(0..).map(refused).collect()
            }
        }
    }

    /// Calls `f` with the context and each item; otherwise as [`Pool::try_map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::try_map`], and [`Error::is_invalid_argument`] if the context cannot be serialised.
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn try_map<F, T, R, E, I>(&self, f: F, items: I) -> Result<Vec<R>>
    where
        F: Fn(&C, T) -> Result<R, E> + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.all::<EachWith<F, C, T, Result<R, E>, Fallible>>(&mut Items::new(items.into_iter(), codec::encode::<T>))
    }

    /// Calls `f` with the context and the arguments in each tuple; otherwise as [`Pool::starmap`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`], and [`Error::is_invalid_argument`] if the context cannot be serialised.
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn starmap<F, A, I>(&self, f: F, items: I) -> Result<Vec<F::Output>>
    where
        A: Args,
        F: TaskWith<C, A, Output: Payload>,
        I: IntoIterator<Item = A>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.all::<StarWith<F, C, A, Plain>>(&mut Items::new(items.into_iter(), A::encode))
    }

    /// Calls `f` with the context and `args`; otherwise as [`Pool::apply`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.with("abc").apply(|text: &str, n: usize| text.repeat(n), (2,))?, "abcabc");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::apply`], and [`Error::is_invalid_argument`] if the context cannot be serialised.
    pub fn apply<F, A>(&self, f: F, args: A) -> Result<F::Output>
    where
        A: Args,
        F: TaskWith<C, A, Output: Payload>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        let mut feed = Items::new(std::iter::once(args), A::encode);
        self.job.one::<StarWith<F, C, A, Plain>>(Some(self.encode()?), &mut feed)
    }

    fn all<W: Work>(&self, feed: &mut dyn Feed) -> Result<Vec<W::Output>> {
        self.job.all::<W>(Some(self.encode()?), feed)
    }

    fn encode(&self) -> Result<codec::Packed> {
        encode_context(self.context).map_err(|error| {
            Error::invalid_argument(format!("the context of `with` could not be serialised: {}", error.0))
        })
    }
}
