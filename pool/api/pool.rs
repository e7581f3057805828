//! [`Pool`]: calls, and the life of the workers.

use crate::api::after::{After, ResultArgs};
use crate::api::async_result::AsyncResult;
use crate::api::call::Call;
use crate::api::described::{Described, ship};
use crate::api::each_worker::EachWorker;
use crate::api::generate::Generate;
use crate::api::imap::Imap;
use crate::api::one::One;
use crate::api::options::Attached;
use crate::api::with::With;
use crate::codec::Payload;
use crate::engine::core::state::Engine;
use crate::engine::core::stats::PoolStats;
use crate::engine::worker::emit::Emit;
use crate::engine::worker::work::{Borrowed, Owned};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Result, TaskError};
use crate::portable::{Captures, Portable};
use crate::process::args::{Args, Task};
use crate::process::context::{ByRef, OnState, Shared};
use crate::process::returns::Completion;
use crate::sys::time::Deadline;
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
/// assert_eq!(pool.with(&table).tasks(|table, i: usize| table[i] + 1, 0..3).run()?, [11, 21, 31]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # If a worker dies
///
/// Exactly the task that it was running fails, with [`TaskError::is_worker_lost`]. Tasks that waited at this worker go
/// to others, untouched; a new worker takes its place. No task is started twice.
///
/// # Two ways to call
///
/// **At once, by Python's names**: [`apply`](Pool::apply), [`map`](Pool::map), [`starmap`](Pool::starmap), their `_async`
/// forms, [`imap`](Pool::imap) and [`imap_unordered`](Pool::imap_unordered), and beside them [`map_each`](Pool::map_each) and
/// [`try_map`](Pool::try_map).
///
/// **Described, then delivered**, for everything else: what is called, with which options, and how the results come are
/// chosen apart from each other.
///
/// | in which context | what | options | delivery |
/// |---|---|---|---|
/// | `pool` | [`tasks(f, items)`](Pool::tasks) | [`.timeout(d)`](Call::timeout) [`.retries(n)`](Call::retries) | [`.run()`](Call::run) |
/// | [`pool.with(&c)`](Pool::with) | [`star_tasks(f, tuples)`](Pool::star_tasks) | [`.chunksize(n)`](Call::chunksize) [`.buffersize(n)`](Call::buffersize) | [`.each()`](Call::each) |
/// | [`pool.on_state()`](Pool::on_state) | [`ref_tasks(f, borrowed)`](Pool::ref_tasks) | [`.fail_fast(true)`](Call::fail_fast) [`.progress(f)`](Call::progress) | [`.submit()`](Call::submit) |
/// | [`pool.with(&c).on_state()`](With::on_state) | [`task(f, args)`](Pool::task) | [`.fallible()`](Call::fallible) | [`.iter()`](Call::iter) [`.unordered()`](Call::unordered) |
///
/// ```
/// let pool = multiproc::Pool::new(2)?;
/// let words = pool.ref_tasks(|text: &str| text.parse::<u8>(), ["1", "x", "3"]).fallible().retries(1).each();
/// assert_eq!(words.iter().flatten().sum::<u8>(), 4);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Functions that capture
///
/// Only the name of a function travels, so a function that captures, and a function pointer, is refused; some of that only
/// when the program is *built* (`cargo check` does not see it):
///
/// ```compile_fail
/// let factor = 3;
/// let pool = multiproc::Pool::new(1).unwrap();
/// pool.map(move |x: i32| x * factor, 0..3).unwrap();
/// ```
///
/// Pass what it captures with [`Pool::with`]. One thing the compiler cannot refuse: a captured *token*, a value without a
/// size; see [`Portable`].
///
/// # State
///
/// `Pool<S>` has workers that each keep an `S`, which tasks may change: see
/// [`PoolBuilder::state`](crate::PoolBuilder::state). For all others `S` is `()`.
pub struct Pool<S = ()> {
    engine: Arc<Engine>,
    _attached: Attached,
    state: PhantomData<fn() -> S>,
}

impl<S> Pool<S> {
    pub(super) fn of(engine: Arc<Engine>, attached: Attached) -> Pool<S> {
        Pool { engine, _attached: attached, state: PhantomData }
    }
}

/// Calls by Python's names: each is a description and its delivery in one.
impl<S> Pool<S> {
    /// Calls `f` with `args` in a worker and returns its result: `task(f, args).run()`.
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
        let () = Captures::<F>::NOTHING;
        self.task(f, args).run()
    }

    /// Calls `f` with `args` in a worker and returns at once, with a handle to the result: `task(f, args).submit()`.
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
        let () = Captures::<F>::NOTHING;
        self.task(f, args).submit()
    }

    /// Calls `f` in a worker for each item and returns the results in the order of the items: `tasks(f, items).run()`.
    ///
    /// Blocks until every task has ended. Items are pulled from the iterator on this thread, and only as fast as the
    /// workers take them, so the iterator may borrow local data and need not fit into memory. How many items travel
    /// together is adapted to their measured cost; see [`Call::chunksize`] to fix it.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let words = ["a", "bb", "ccc"].map(String::from);
    /// assert_eq!(pool.map(|word| word.len(), words)?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// Items and results own their data. For `&str` and other borrowed items there is [`Pool::ref_tasks`].
    ///
    /// # Errors
    ///
    /// See [`Call::run`]: all tasks are run; then the error with the lowest index is returned ([`Error::task`]). A pool that
    /// was closed or terminated gives [`Error::is_not_running`] or [`Error::is_terminated`].
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
        F: Fn(T) -> R + Portable,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        let () = Captures::<F>::NOTHING;
        self.tasks(f, items).run()
    }

    /// Like [`Pool::map`], and returns for each item its own result or error: `tasks(f, items).each()`.
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
    /// See [`Pool::map`].
    pub fn map_each<F, T, R, I>(&self, f: F, items: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(T) -> R + Portable,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        let () = Captures::<F>::NOTHING;
        self.tasks(f, items).each()
    }

    /// Like [`Pool::map`], for a function that returns a `Result`: `tasks(f, items).fallible().run()`.
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
    /// See [`Pool::map`]; an `Err` of the function is [`TaskError::is_error`], and its text and causes are the
    /// [`source`](std::error::Error::source).
    ///
    /// # Panics
    ///
    /// See [`Pool::map`].
    pub fn try_map<F, T, R, E, I>(&self, f: F, items: I) -> Result<Vec<R>>
    where
        F: Fn(T) -> Result<R, E> + Portable,
        T: Payload,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T>,
    {
        let () = Captures::<F>::NOTHING;
        self.tasks(f, items).fallible().run()
    }

    /// Calls `f` in a worker for each item and returns at once, with a handle to the results: `tasks(f,
    /// items).submit()`.
    ///
    /// This method reads and serialises all items before it returns, so that the call can go on without this thread;
    /// use [`Pool::imap`] for input that does not fit into memory.
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
    /// See [`Pool::apply_async`].
    ///
    /// # Panics
    ///
    /// A panic of the iterator or of an item's `Serialize` goes through to the caller; nothing was run then.
    pub fn map_async<F, T, R, I>(&self, f: F, items: I) -> Result<AsyncResult<Vec<R>>>
    where
        F: Fn(T) -> R + Portable,
        T: Payload,
        R: Payload + Send,
        I: IntoIterator<Item = T>,
    {
        let () = Captures::<F>::NOTHING;
        self.tasks(f, items).submit()
    }

    /// Like [`Pool::map`], for items that are tuples of arguments: `star_tasks(f, items).run()`.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.starmap(|base: u64, exponent: u32| base.pow(exponent), [(2, 5), (3, 2)])?, [32, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Pool::map`].
    ///
    /// # Panics
    ///
    /// See [`Pool::map`].
    pub fn starmap<F, A, I>(&self, f: F, items: I) -> Result<Vec<F::Output>>
    where
        A: Args,
        F: Task<A, Output: Payload>,
        I: IntoIterator<Item = A>,
    {
        let () = Captures::<F>::NOTHING;
        self.star_tasks(f, items).run()
    }

    /// Like [`Pool::map_async`], for items that are tuples of arguments: `star_tasks(f, items).submit()`.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let powers = pool.starmap_async(u64::pow, [(2, 5), (3, 2)])?;
    /// assert_eq!(powers.get()?, [32, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Pool::map_async`].
    ///
    /// # Panics
    ///
    /// See [`Pool::map_async`].
    pub fn starmap_async<F, A, I>(&self, f: F, items: I) -> Result<AsyncResult<Vec<F::Output>>>
    where
        A: Args,
        F: Task<A, Output: Payload + Send>,
        I: IntoIterator<Item = A>,
    {
        let () = Captures::<F>::NOTHING;
        self.star_tasks(f, items).submit()
    }

    /// Calls `f` in a worker for each item and returns the results one by one, in the order of the items: `tasks(f,
    /// items).iter()`.
    ///
    /// Input is read as results are taken, with a bounded number of items between: an endless input is fine. A failed
    /// task is one `Err`, and the iteration goes on after it. See [`Imap`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let results = pool.imap(|x: u64| x * x, 0..).take(4);
    /// assert_eq!(results.collect::<Result<Vec<_>, _>>()?, [0, 1, 4, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If the pool was closed or terminated, the only result is that error. If it ends meanwhile, the items that were handed in
    /// have it, and so has the one behind them, if the iterator's `size_hint` tells of one.
    pub fn imap<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> R + Portable,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        let () = Captures::<F>::NOTHING;
        self.tasks(f, items).iter()
    }

    /// Describes a call whose tasks give any number of values while they run; the caller iterates over these values meanwhile.
    ///
    /// The function gets an item and an [`Emit`]; it returns `()`, or a `Result` whose `Err` is the error of the task. Values
    /// wait in shared memory, a bounded number for each task ([`Generate::buffer`]): a slow consumer holds the tasks up.
    /// [`Generate::unordered`] gives the values of all tasks as they arrive.
    ///
    /// ```
    /// use multiproc::{Emit, Pool};
    ///
    /// fn countdown(from: u32, emit: &Emit<u32>) -> multiproc::Result<()> {
    ///     (1..=from).rev().try_for_each(|x| emit.send(x))
    /// }
    ///
    /// let pool = Pool::new(2)?;
    /// let mut all = Vec::new();
    /// for value in pool.generate(countdown, [3, 0, 2]) {
    ///     all.push(value?);
    /// }
    /// assert_eq!(all, [3, 2, 1, 2, 1]);
    ///
    /// // A task may never end of itself: it ends with the iterator.
    /// let endless = |_: u32, emit: &Emit<u32>| (0..).try_for_each(|x| emit.send(x));
    /// assert_eq!(pool.generate(endless, [0]).iter().take(3).collect::<Result<Vec<_>, _>>()?, [0, 1, 2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # If a worker dies
    ///
    /// The values that its task has given come first, then [`TaskError::is_worker_lost`], then those of the next task.
    pub fn generate<F, I, T, R>(&self, f: F, items: I) -> Generate<'_, F, I::IntoIter, T, R>
    where
        F: Fn(I::Item, &Emit<T>) -> R + Portable,
        I: IntoIterator<Item: Payload>,
        T: Payload,
        R: Completion + 'static,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        Generate::new(self.described(), items.into_iter())
    }

    /// Like [`Pool::imap`], and returns each result as soon as it is there: `tasks(f, items).unordered()`.
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
        F: Fn(T) -> R + Portable,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        let () = Captures::<F>::NOTHING;
        self.tasks(f, items).unordered()
    }
}

/// Calls that are described, then delivered; and what functions get beside their arguments.
impl<S> Pool<S> {
    /// Describes one call of `f` with `args`; [`One::run`] or [`One::submit`] delivers it.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let parse = |text: String| text.parse::<u8>();
    /// assert_eq!(pool.task(parse, ("7".to_owned(),)).fallible().retries(1).run()?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn task<F, A>(&self, f: F, args: A) -> One<'_, Owned<F, A>>
    where
        A: Args,
        F: Task<A>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        One::new(self.described(), args)
    }

    /// Describes a call of `f` for each item; options and delivery follow, see [`Call`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.tasks(|x: u64| x * x, 0..5).chunksize(2).run()?, [0, 1, 4, 9, 16]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn tasks<F, T, R, I>(&self, f: F, items: I) -> Call<'_, Owned<F, (T,)>, I::IntoIter>
    where
        F: Fn(T) -> R + Portable,
        T: Payload,
        R: 'static,
        I: IntoIterator<Item = T>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        Call::new(self.described(), items.into_iter())
    }

    /// Describes one call of `f` with the results of other calls as its arguments: an [`AsyncResult`], or a tuple of them.
    /// Options follow, and a delivery: see [`After`].
    ///
    /// The task is handed out when all arguments are there. Nobody waits for them, and they do not pass through the thread that
    /// makes the call: the bytes that a worker has sent become the argument as they are.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let words = pool.apply_async(|text: String| text.split(' ').map(str::to_owned).collect(), ("a bb".to_owned(),))?;
    /// let longest = pool.task_after(|words: Vec<String>| words.into_iter().max_by_key(String::len), words).submit()?;
    /// assert_eq!(longest.get()?.unwrap(), "bb");
    ///
    /// // The error of the first is the error of the second, and says where it comes from.
    /// let parse = |text: String| text.parse::<u32>();
    /// let bad = pool.task(parse, ("x".to_owned(),)).fallible().submit()?;
    /// let error = pool.task_after(|x: u32| x + 1, bad).submit()?.get().unwrap_err();
    /// assert!(error.is_error() && error.to_string().ends_with("invalid digit found in string"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A result belongs to one call. Who drops or cancels the later call cancels the calls that it still waits for, as whoever
    /// drops their results. The results may be those of another pool.
    ///
    /// # If a worker dies
    ///
    /// If it was running an earlier task, that and the later one fail with [`TaskError::is_worker_lost`]; if it was running the
    /// later one, that alone.
    pub fn task_after<F, D>(&self, f: F, results: D) -> After<'_, Owned<F, D::Args>, D>
    where
        D: ResultArgs,
        F: Task<D::Args>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        After::new(self.described(), results)
    }

    /// Describes a call of `f` for each tuple of arguments; options and delivery follow, see [`Call`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.star_tasks(u64::pow, [(2, 5), (3, 2)]).each().into_iter().flatten().sum::<u64>(), 41);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn star_tasks<F, A, I>(&self, f: F, items: I) -> Call<'_, Owned<F, A>, I::IntoIter>
    where
        A: Args,
        F: Task<A>,
        I: IntoIterator<Item = A>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        Call::new(self.described(), items.into_iter())
    }

    /// Describes a call of `f`, a function that takes a reference, for each borrowed item; options and delivery follow, see
    /// [`Call`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.ref_tasks(|word: &str| word.len(), ["a", "bb"]).run()?, [1, 2]);
    ///
    /// let numbers = [1.0, 2.0, 3.0, 4.0, 5.0];
    /// let sums = pool.ref_tasks(|part: &[f64]| part.iter().sum::<f64>(), numbers.chunks(2));
    /// assert_eq!(sums.run()?, [3.0, 7.0, 5.0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn ref_tasks<F, T, R, I>(&self, f: F, items: I) -> Call<'_, Borrowed<F, T, R>, I::IntoIter>
    where
        F: Fn(&T) -> R + Portable,
        T: ByRef + ?Sized,
        R: 'static,
        I: IntoIterator<Item: Deref<Target = T>>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        Call::new(self.described(), items.into_iter())
    }

    /// Gives calls a context: data that every task of a call sees. The pool sends it once to each worker. Functions
    /// get it as `&C`, in front of their own arguments; see [`With`].
    ///
    /// This is Python's `functools.partial`, and a broadcast. The context is serialised here; `with(&vec[..10])`,
    /// `with("text")` and `with(&(a, b))` work.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let (low, high) = (10, 20);
    /// let inside = pool.with(&(low, high)).tasks(|(low, high), x: i32| (*low..*high).contains(&x), [5, 15]);
    /// assert_eq!(inside.run()?, [false, true]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A context that cannot be serialised is the error of the delivery: [`Error::is_invalid_argument`].
    ///
    /// # Panics
    ///
    /// A panic of the context's `Serialize` goes through to the caller.
    pub fn with<C>(&self, context: &C) -> With<'_, S, Shared<C>>
    where
        C: ByRef + ?Sized,
    {
        With::new(&self.engine, Some(ship(context, self.engine.reach)))
    }

    /// Gives functions the state of their worker as `&mut S`, in front of their own arguments; see
    /// [`PoolBuilder::state`](crate::PoolBuilder::state) and [`With`].
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::collections::HashMap;
    ///
    /// let cache = |name: String| HashMap::from([(0, name)]);
    /// let pool = Pool::builder().processes(1).state(cache, ("zero".to_owned(),)).build()?;
    /// let lengths = pool.on_state().tasks(
    ///     |names, n: u32| {
    ///         names.insert(n, "x".repeat(n as usize));
    ///         names.len()
    ///     },
    ///     [1, 2, 2],
    /// );
    /// assert_eq!(lengths.run()?, [2, 3, 3]);
    /// let zero = pool.on_state().task(|names: &mut HashMap<u32, String>| names.remove(&0), ()).run()?;
    /// assert_eq!(zero.unwrap(), "zero");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A task has the state for itself: a worker runs one task at a time. Which worker runs a task is the pool's affair.
    ///
    /// After a panic in such a task the worker drops the state and makes it again, since the panic may have left it
    /// half changed. A worker that cannot make it again leaves, and another takes its place.
    pub fn on_state(&self) -> With<'_, S, OnState<S>>
    where
        S: 'static,
    {
        With::new(&self.engine, None)
    }

    /// Describes a call of `f` with `args` that runs once in every worker; [`EachWorker::run`] and its kind deliver it.
    ///
    /// It is the way to configure, refresh or collect what the workers keep: a static, a cache, or their state, with
    /// [`Pool::on_state`].
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    ///
    /// static LEVEL: AtomicU32 = AtomicU32::new(0);
    ///
    /// let pool = Pool::new(2)?;
    /// pool.on_each_worker(|level: u32| LEVEL.store(level, Relaxed), (3,)).run()?;
    /// assert!(pool.map(|_: u32| LEVEL.load(Relaxed), 0..8)?.iter().all(|level| *level == 3));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn on_each_worker<F, A>(&self, f: F, args: A) -> EachWorker<'_, Owned<F, A>>
    where
        A: Args,
        F: Task<A>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        EachWorker::new(self.described(), args)
    }

    fn described(&self) -> Described<'_> {
        Described::new(&self.engine, None)
    }
}

/// The workers, and the end of the pool.
impl<S> Pool<S> {
    /// Returns how many workers the pool has, or is about to have: the number that it was made with, or that of the
    /// last [`Pool::resize`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.processes(), 2);
    /// pool.resize(3)?;
    /// assert_eq!(pool.processes(), 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn processes(&self) -> usize {
        self.engine.describe().1
    }

    /// Changes the number of workers, and returns at once.
    ///
    /// New workers take tasks as soon as they are ready. Surplus workers finish their current task and leave; tasks
    /// that wait at them go to other workers. No task is lost or run twice; only what [`Pool::on_each_worker`] was about to run
    /// in a surplus worker is cancelled.
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
    /// [`Error::is_invalid_argument`]: 0 workers, or more than 65,536. The error of a pool that was closed or terminated. New workers that
    /// cannot start do not show here; five in a row that cannot break the pool.
    pub fn resize(&self, processes: usize) -> Result<()> {
        self.engine.resize(processes)
    }

    /// Returns the process ids of the workers that are ready, in no particular order.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.worker_pids().len(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn worker_pids(&self) -> Vec<i32> {
        self.engine.worker_pids()
    }

    /// Returns what the pool and its workers have done so far, to be printed or looked into.
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

    /// Closes the pool: it takes no more calls. Calls under way go on, and the workers leave when the last call has
    /// ended.
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

    /// Drains the pool: it takes no more calls, tasks that run go on to their end, and all others are given back as
    /// [`TaskError::is_cancelled`]. Returns once every worker has ended, and whether that was within `patience`; otherwise the
    /// pool was terminated then ([`Pool::terminate`]).
    ///
    /// It is the end of a service that is told to stop, and may be called on any thread, while others wait in calls: these
    /// return. See also [`PoolBuilder::drain_on`](crate::PoolBuilder::drain_on).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let begun = multiproc::Event::new();
    /// let work = |begun: multiproc::Event, n: u32| {
    ///     begun.set();
    ///     std::thread::sleep(Duration::from_millis(50));
    ///     n
    /// };
    /// let first = pool.apply_async(work, (begun.clone(), 1))?;
    /// let second = pool.apply_async(work, (begun.clone(), 2))?;
    /// begun.wait();
    /// assert!(pool.drain(Duration::from_secs(60)));
    /// assert_eq!(first.get()?, 1);
    /// assert!(second.get().unwrap_err().is_cancelled());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// Tasks that travel together with one that runs are run as well: about a millisecond of work, or the chunk size. No task
    /// is run again, and no worker is replaced. Of a call that reads its input as it goes on, one item more is read, to know
    /// whether it is complete.
    ///
    /// # If a worker dies
    ///
    /// As ever, the task that it was running is lost. What it had not begun is cancelled.
    pub fn drain(&self, patience: Duration) -> bool {
        self.engine.drain(Deadline::after(patience))
    }

    /// Ends the pool at once: workers get SIGTERM and, after a grace period, SIGKILL. Calls under way end with
    /// [`Error::is_terminated`]. Does not wait; see [`Pool::join`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let open = pool.apply_async(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    /// pool.terminate();
    /// pool.join()?;
    /// assert!(open.get().unwrap_err().is_terminated());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn terminate(&self) {
        self.engine.terminate();
    }

    /// Waits until every worker has ended.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert!(pool.join().unwrap_err().is_still_running());
    /// let result = pool.apply_async(u64::pow, (2, 10))?;
    /// pool.close();
    /// pool.join()?;
    /// assert_eq!(result.get()?, 1024);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
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

    /// Like [`Pool::join`], for at most `timeout`; `None` means that some workers still live.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let sleep = pool.apply_async(|| std::thread::sleep(Duration::from_millis(50)), ())?;
    /// pool.close();
    /// assert!(pool.join_timeout(Duration::ZERO).is_none());
    /// pool.join_timeout(Duration::from_secs(60)).expect("it ends within a minute")?;
    /// # sleep.get()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Pool::join`].
    ///
    /// # Timeouts
    ///
    /// After `None` nothing has changed; call it again.
    #[must_use = "`None` means that the time is over and some workers still live"]
    pub fn join_timeout(&self, timeout: Duration) -> Option<Result<()>> {
        match self.engine.join(Deadline::after(timeout)) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Terminates the pool and waits until its workers have ended, which is bounded: who ignores SIGTERM is killed.
impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        // In a fork of the process that made the pool the workers are not ours to end.
        if self.engine.is_original() {
            self.engine.terminate();
            // Cannot fail: it was just terminated.
            let _ = self.engine.join(Deadline::NEVER);
            let trace = self.engine.take_trace();
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
