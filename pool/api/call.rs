//! [`Call`]: a call for many items that was described, its options, and how it is delivered.

use crate::api::async_result::AsyncResult;
use crate::api::described::Described;
use crate::api::imap::Imap;
#[cfg(doc)]
use crate::api::pool::Pool;
use crate::codec::Payload;
use crate::engine::call::feed::Items;
use crate::engine::call::job::Halt;
use crate::engine::call::keyed::Keyed;
use crate::engine::call::progress::{Listener, Progress};
use crate::engine::call::results::Results;
use crate::engine::call::retry::Retry;
use crate::engine::core::serve::Outcome;
use crate::engine::worker::work::{Accepts, Shape, entry};
use crate::error::{Error, Result, TaskError, TaskKind};
use crate::process::returns::{Fallible, Plain, Returns};
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A call of a function for many items, described by [`Pool::tasks`] and its kind. It does nothing until it is
/// **delivered**:
///
/// | delivery | what it gives | Python |
/// |---|---|---|
/// | [`run`](Call::run) | all results, or the error with the lowest index; blocks | `map` |
/// | [`each`](Call::each) | a result or an error for each item; blocks | |
/// | [`submit`](Call::submit) | an [`AsyncResult`], at once | `map_async` |
/// | [`iter`](Call::iter), or a `for` loop | results one by one, in the order of the items | `imap` |
/// | [`unordered`](Call::unordered) | results one by one, as they arrive | `imap_unordered` |
///
/// Options stand between the description and the delivery, in any order. An option that makes no sense (a chunk size of 0, a
/// time limit on threads) is the error of the delivery: [`Error::is_invalid_argument`].
///
/// ```
/// use multiproc::Pool;
/// use std::time::Duration;
///
/// let pool = Pool::new(2)?;
/// let parse = |text: String| text.parse::<u32>();
/// let texts = ["1", "2", "x"].map(String::from);
/// let results = pool.tasks(parse, texts).fallible().retries(1).timeout(Duration::from_secs(10)).each();
/// assert_eq!(results.iter().flatten().sum::<u32>(), 3);
/// assert!(results[2].as_ref().unwrap_err().is_error());
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// `K` says what is called and how ([`Shape`](crate::call::Shape)), `I` is the iterator of the items, and `J` says what an
/// `Err` of the function means ([`Returns`](crate::call::Returns)). Nobody needs to name them.
#[must_use = "a call does nothing until it is delivered: by `run`, `each`, `submit`, `iter` or `unordered`"]
pub struct Call<'p, K, I, J = Plain> {
    pub(super) described: Described<'p>,
    pub(super) items: I,
    kind: PhantomData<fn(K, J)>,
}

impl<'p, K, I> Call<'p, K, I> {
    pub(super) fn new(described: Described<'p>, items: I) -> Call<'p, K, I> {
        Call { described, items, kind: PhantomData }
    }

    /// Makes an `Err` of the function the error of its task: [`TaskError::is_error`], with the text and the causes as
    /// [`source`](std::error::Error::source). Such an error counts for [`Call::retry`] and [`Call::fail_fast`].
    ///
    /// Without this a returned `Err` is a value like any other, and must be able to travel.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let parse = |text: &str| text.parse::<u32>();
    /// assert_eq!(pool.ref_tasks(parse, ["1", "2"]).fallible().run()?, [1, 2]);
    ///
    /// let error = pool.ref_tasks(parse, ["1", "x"]).fallible().run().unwrap_err();
    /// assert_eq!(error.task().unwrap().index(), 1);
    /// assert!(error.to_string().ends_with("failed: invalid digit found in string"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn fallible(self) -> Call<'p, K, I, Fallible>
    where
        K: Shape,
        Fallible: Returns<K::Output>,
    {
        Call { described: self.described, items: self.items, kind: PhantomData }
    }
}

impl<'p, K, I: Iterator, J> Call<'p, K, I, J> {
    /// Has all items with the same key run by the same worker, one after the other in the order of the input: for state, caches
    /// and connections that belong to a key ([`Pool::on_state`]), or files that only one may write at a time.
    ///
    /// `key` is called on this thread for each item, as it is read. The same key goes to the same worker in other calls of
    /// the pool as well. Keys are spread over the workers by their hash, whatever their number, so a few keys with most of
    /// the work leave other workers idle. Tasks with keys travel alone, whatever the chunk size.
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::collections::HashMap;
    ///
    /// let pool = Pool::builder().processes(4).state(HashMap::<String, u32>::new, ()).build()?;
    /// let count = |seen: &mut HashMap<String, u32>, name: String| {
    ///     let count = seen.entry(name).or_default();
    ///     *count += 1;
    ///     *count
    /// };
    /// let names = ["ann", "bob", "ann", "ann", "bob"].map(String::from);
    /// let counts = pool.on_state().tasks(count, names).keyed(|name| name.clone()).run()?;
    /// assert_eq!(counts, [1, 1, 2, 3, 2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A worker that is busy for long holds up no other key, until some 64 tasks for each worker of the pool wait for theirs:
    /// then no more input is handed out before these become fewer.
    ///
    /// # If a worker dies
    ///
    /// The task that it was running fails with [`TaskError::is_worker_lost`]. The worker that takes its place
    /// ([`worker_number`](crate::worker_number)) gets its other tasks, and its keys from then on. What the worker kept for a key
    /// is gone. The same holds for a worker that is replaced in order, as by
    /// [`PoolBuilder::max_tasks_per_child`](crate::PoolBuilder::max_tasks_per_child).
    ///
    /// - A task that is run again ([`Call::retry`]) comes behind those that wait already.
    /// - [`Pool::resize`] moves the keys of workers that leave, and a fair share of all keys to workers that are new; all others
    ///   stay. Tasks that a worker had before its keys moved may still run there beside the first ones at the new worker.
    /// - On nodes that are lost (feature `cluster`) keys move to the workers that are left, until there is room for new ones.
    pub fn keyed<Q: Hash, F: FnMut(&I::Item) -> Q>(
        mut self,
        mut key: F,
    ) -> Call<'p, K, impl Iterator<Item = Keyed<I::Item>> + use<K, I, J, Q, F>, J> {
        self.described.options.keyed = true;
        let items = self.items.map(move |item| {
            let hashed = key(&item);
            Keyed::new(item, &hashed)
        });
        Call { described: self.described, items, kind: PhantomData }
    }
}

impl<K, I, J> Call<'_, K, I, J> {
    /// Lets exactly `n` items travel together, the last ones excepted. Default: as many as make about 1 millisecond of
    /// work, by measurement. At least 1, at most 2^30.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.tasks(|x: i32| -x, 0..3).chunksize(2).run()?, [0, -1, -2]);
    /// assert!(pool.tasks(|x: i32| -x, 0..3).chunksize(0).run().unwrap_err().is_invalid_argument());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn chunksize(mut self, n: usize) -> Self {
        self.described.options.chunksize = Some(n);
        self
    }

    /// Limits the time of each task. A worker whose task is over the limit gets SIGTERM, and after the pool's grace period
    /// SIGKILL, and is replaced; the task's error is [`TaskError::is_timeout`].
    ///
    /// Tasks with a limit travel alone, whatever the chunk size, so that nothing else is lost with them. Programs that
    /// the task has started end with its worker, see [`PoolBuilder::end_descendants`](crate::PoolBuilder::end_descendants).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    /// let results = pool.tasks(sleep, [1, 60_000, 1]).timeout(Duration::from_millis(100)).each();
    /// assert!(results[0].is_ok() && results[1].as_ref().unwrap_err().is_timeout() && results[2].is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.described.options.timeout = Some(limit);
        self
    }

    /// Tells a task to end when it has run for `limit`: [`CurrentTask::is_cancelled`](crate::CurrentTask::is_cancelled) is true
    /// in it then. Nothing else happens: a task that ends, early or not, delivers its value.
    ///
    /// Together with [`Call::timeout`], whose limit should be later, it leaves the task the time between the two to save what it
    /// has. [`CurrentTask::extend_deadline`](crate::CurrentTask::extend_deadline) moves both limits. Tasks with a limit travel
    /// alone.
    ///
    /// ```
    /// use multiproc::{Pool, current_task};
    /// use std::time::Duration;
    ///
    /// let count = |()| (0u64..).take_while(|_| !current_task().unwrap().is_cancelled()).count();
    /// let (soft, hard) = (Duration::from_millis(100), Duration::from_secs(60));
    /// let counts = Pool::new(2)?.tasks(count, [(), ()]).soft_timeout(soft).timeout(hard).run()?;
    /// assert!(counts.iter().all(|count| *count > 0));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn soft_timeout(mut self, limit: Duration) -> Self {
        self.described.options.soft_timeout = Some(limit);
        self
    }

    /// Runs a task that has failed again, up to `n` times and each time at once: after a panic, an `Err` of a
    /// [`fallible`](Call::fallible) call, the loss of its worker, or a timeout. Default: 0, so that no task is started twice.
    ///
    /// A task that fails each time does not stop the others: it is set aside, with an error that lists its attempts
    /// ([`TaskError::earlier_attempts`]). [`Call::retry`] also says which failures count, and how long to wait.
    ///
    /// ```
    /// use multiproc::{Pool, RawValue};
    ///
    /// let (pool, attempts) = (Pool::new(1)?, RawValue::new(0u32));
    /// let flaky = |attempts: RawValue<u32>| assert!(attempts.fetch_add(1) == 2, "not yet");
    /// pool.tasks(flaky, [attempts]).retries(2).run()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn retries(self, n: u32) -> Self {
        self.retry(Retry::new(n))
    }

    /// Runs a task that has failed again as the policy says, see [`Retry`].
    ///
    /// ```
    /// use multiproc::{Pool, Retry};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let policy = Retry::new(3).backoff(Duration::from_millis(1)).only(|error| error.is_worker_lost());
    /// let error = pool.tasks(|x: u32| 12 / x, [0]).retry(policy).run().unwrap_err();
    /// assert!(error.task().unwrap().earlier_attempts().is_empty(), "a bug is there in the next run as well");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn retry(mut self, policy: Retry) -> Self {
        self.described.options.retry = (policy.times() > 0).then_some(policy);
        self
    }

    /// Keeps the results in a file, and takes those from it that are there already: so a program that was interrupted, or
    /// killed, goes on where it was when it is started again.
    ///
    /// Each result is written as it arrives, before the program sees it. A program that is killed loses what was not written:
    /// such tasks run again in the next run, and no others. So does a task that has failed, since only values are kept. The
    /// file stays when the call has ended; a further run takes everything from it. Only one call at a time can use it.
    ///
    /// The call has to be the same: the same function and type of results, by their names, the same context, and for each
    /// result the same item, by a digest of its bytes. Items may come to their end earlier or later than in the run before.
    /// Closures of one function have one name, so give a call of another one another file. A `HashMap` in an item has its
    /// bytes in another order each time; a `BTreeMap` has not.
    ///
    /// ```
    /// let path = std::env::temp_dir().join(format!("squares-{}.checkpoint", std::process::id()));
    /// let pool = multiproc::Pool::new(2)?;
    /// let square = |x: u64| x * x;
    /// assert_eq!(pool.tasks(square, 0..4).checkpoint(&path).run()?, [0, 1, 4, 9]);
    ///
    /// // As in a second run of the program: four results are there, two tasks are run.
    /// let before = pool.stats().tasks;
    /// assert_eq!(pool.tasks(square, 0..6).checkpoint(&path).run()?, [0, 1, 4, 9, 16, 25]);
    /// assert_eq!(pool.stats().tasks - before, 2);
    ///
    /// // Other items: another call.
    /// assert!(pool.tasks(square, 5..9).checkpoint(&path).run().unwrap_err().is_checkpoint());
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// What was written survives the end of the program, however it ends; it is not forced to the disk, so a power failure
    /// may take the last seconds. A torn end of the file is cut off when it is opened.
    ///
    /// # Errors
    ///
    /// [`Error::is_checkpoint`] of the delivery: the file is of another call, damaged, in use, or cannot be read or written;
    /// or an item or result refers to shared memory or descriptors, which end with the program. A context may do so: then it
    /// is not compared. If results can no longer be written, the call ends, and tasks without a result are
    /// [`TaskError::is_checkpoint`].
    ///
    /// # Timeouts
    ///
    /// The delivery waits for up to 2 seconds for a file that another program, which may just be ending, has locked.
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Self {
        self.described.checkpoint = Some(path.into());
        self
    }

    /// Lets the first failure end the call: tasks that have not begun are not run. Default: all are run, and then
    /// [`Call::run`] returns the error with the lowest index.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let results = pool.tasks(|x: u32| assert!(x != 3), 0..1_000_000).fail_fast(true).chunksize(1).each();
    /// assert!(results[3].as_ref().unwrap_err().is_panic());
    /// assert!(results[999_999].as_ref().unwrap_err().is_cancelled());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn fail_fast(mut self, on: bool) -> Self {
        self.described.options.fail_fast = on;
        self
    }

    /// Sets the priority of the call among the calls of its pool; default 0. As long as tasks of a higher priority wait, none
    /// of a lower one is handed out.
    ///
    /// So that nothing waits for ever, tasks that have waited for 20 milliseconds count as one priority higher than they are:
    /// a call of priority 0 gets a worker for a moment after 200 milliseconds beside a call of priority 10. What the workers
    /// have already, about a millisecond of work, is not taken back, and no task that runs is interrupted. A thread that
    /// blocks in a call and does not come to hand in its next items for 10 milliseconds lets others go first. Calls that only
    /// one worker may run ([`Pool::on_each_worker`]) have no priority.
    ///
    /// ```
    /// use multiproc::{Event, Pool, RawValue};
    ///
    /// let (pool, order) = (Pool::new(1)?, RawValue::new(0u32));
    /// let gate = Event::new();
    /// let held = pool.apply_async(|gate: Event| gate.wait(), (gate.clone(),))?;
    /// let next = |order: &RawValue<u32>| order.fetch_add(1);
    /// let later = pool.with(&order).task(next, ()).priority(-1).submit()?;
    /// let first = pool.with(&order).task(next, ()).priority(100).submit()?;
    /// gate.set();
    /// assert_eq!((first.get()?, later.get()?), (0, 1));
    /// # held.get()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn priority(mut self, priority: i8) -> Self {
        self.described.options.priority = priority;
        self
    }

    /// Lets at most `n` items be under way or wait to be taken by [`Call::iter`] or [`Call::unordered`], at least 1.
    /// Default: about 50 milliseconds of work for each worker, at most 65,536 items and 64 MiB.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let mut results = pool.tasks(|x: u64| x, 0..).buffersize(2).iter();
    /// assert_eq!(results.next().unwrap()?, 0);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn buffersize(mut self, n: usize) -> Self {
        self.described.options.buffersize = Some(n);
        self
    }

    /// Calls `f` now and then, at most 20 times a second, and once more at the end, with how far the call has come.
    ///
    /// Deliveries that block or iterate do that on the caller's thread, between two results; [`Call::submit`] on the thread
    /// where callbacks run. What `f` panics with comes out of a delivery that blocks.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// let pool = multiproc::Pool::new(2)?;
    /// let last = Arc::new(Mutex::new(None));
    /// let told = Arc::clone(&last);
    /// pool.tasks(|x: u64| x, 0..1000).progress(move |progress| *told.lock().unwrap() = Some(progress)).run()?;
    /// let last = last.lock().unwrap().unwrap();
    /// assert_eq!((last.done, last.failed, last.total), (1000, 0, Some(1000)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn progress(mut self, f: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.described.options.progress = Some(Listener(Arc::new(f)));
        self
    }

    /// Shows the progress of the call on stderr, if that is a terminal, by a bar of the crate `indicatif`. Needs the feature
    /// `indicatif`.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.tasks(|x: u64| x + 1, 0..3).progress_bar().run()?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "indicatif")]
    pub fn progress_bar(self) -> Self {
        self.progress(crate::api::bar::listener())
    }
}

// `V` is what the caller gets. It is a parameter of each method, and no `J::Value`, so that the compiler finds the method also
// where the bound is not met, and then tells the cure.
impl<'p, K, I, J> Call<'p, K, I, J>
where
    I: Iterator,
    K: Accepts<I::Item>,
{
    /// Runs all tasks and returns their results in the order of the items.
    ///
    /// Blocks until every task has ended. Items are pulled from the iterator on this thread, and only as fast as the workers
    /// take them, so the iterator may borrow local data and need not fit into memory.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let offset = 10;
    /// assert_eq!(pool.tasks(|x: u64| x * x, (0..3).map(|x| x + offset)).run()?, [100, 121, 144]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::task`]: a task failed. All tasks are run, then the error with the lowest index is returned; with
    ///   [`Call::fail_fast`] the first failure ends the call. Use [`Call::each`] to get every result.
    /// - [`Error::is_not_running`], [`Error::is_terminated`]: the pool was closed or terminated.
    /// - [`Error::is_invalid_argument`]: an option makes no sense, or the context could not be serialised.
    ///
    /// # Panics
    ///
    /// A panic of the iterator or of an item's `Serialize` goes through to the caller; the pool stays whole. A panic of
    /// the function does not: it is the error [`TaskError::is_panic`].
    ///
    /// # If a worker dies
    ///
    /// The task that it was running fails with [`TaskError::is_worker_lost`]; all others are run.
    pub fn run<V>(self) -> Result<Vec<V>>
    where
        V: Payload,
        J: Returns<K::Output, Value = V>,
    {
        let (engine, context, options) = self.described.parts::<K, V>()?;
        let mut results = Results::<V>::new();
        let mut feed = Items::of::<K>(self.items).resume(options.checkpoint.clone());
        let Outcome { total, halted, job } = engine.run(entry::<K, J>(), context, options, &mut feed, &mut results)?;
        match halted {
            Some(halt) if !matches!(halt, Halt::Cancelled) => Err(halt.error()),
            halted => {
                let kind = halted.map_or(TaskKind::Terminated, |halt| halt.task_kind());
                Ok(results.whole(total, |index| job.error(kind.clone(), index, None))?)
            }
        }
    }

    /// Runs all tasks and returns for each item its own result or error.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let results = pool.tasks(|x: i32| 12 / x, [3, 0, 4]).each();
    /// assert_eq!(*results[0].as_ref().unwrap(), 4);
    /// assert!(results[1].as_ref().unwrap_err().is_panic());
    /// assert_eq!(*results[2].as_ref().unwrap(), 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// What makes [`Call::run`] fail as a whole is here the error of every item.
    ///
    /// # Panics
    ///
    /// See [`Call::run`].
    pub fn each<V>(mut self) -> Vec<Result<V, TaskError>>
    where
        V: Payload,
        J: Returns<K::Output, Value = V>,
    {
        let mut results = Results::<V>::new();
        let run = self.described.parts::<K, V>().and_then(|(engine, context, options)| {
            let mut feed = Items::of::<K>(self.items.by_ref()).resume(options.checkpoint.clone());
            engine.run(entry::<K, J>(), context, options, &mut feed, &mut results)
        });
        match run {
            Ok(Outcome { total, halted, job }) => {
                let left = self.items.count() as u64;
                let kind = halted.map_or(TaskKind::Terminated, |halt| halt.task_kind());
                results.each(total + left, |index| job.error(kind.clone(), index, None))
            }
            Err(error) => self.items.zip(0..).map(|(_, index)| Err(refusal::<K>(&error, index))).collect(),
        }
    }

    /// Hands all tasks to the pool and returns at once, with a handle to the results.
    ///
    /// This method reads and serialises all items before it returns, so that the call can go on without this thread;
    /// use [`Call::iter`] for input that does not fit into memory. In a pool with
    /// [`max_pending`](crate::PoolBuilder::max_pending) it waits for room before that; see [`Call::try_submit`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let squares = pool.tasks(|x: u64| x * x, 0..5).submit()?;
    /// assert_eq!(squares.get()?, [0, 1, 4, 9, 16]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The pool was closed or terminated, an option makes no sense, or the context could not be serialised. Everything else
    /// is an error of the result, also items that cannot be serialised.
    ///
    /// # Panics
    ///
    /// A panic of the iterator or of an item's `Serialize` goes through to the caller; nothing was run then.
    pub fn submit<V>(self) -> Result<AsyncResult<Vec<V>>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        let claim = self.described.engine().claim();
        self.submit_with(claim)
    }

    /// Returns the results one by one, in the order of the items. A `for` loop over the call does the same.
    ///
    /// Input is read as results are taken, with a bounded number of items between ([`Call::buffersize`]): an endless input is
    /// fine. A failed task is one `Err`, and the iteration goes on after it. See [`Imap`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let mut sum = 0;
    /// for square in pool.tasks(|x: u64| x * x, 0..) {
    ///     sum += square?;
    ///     if sum > 1000 {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(sum, 1015);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// What makes [`Call::run`] fail as a whole is here the only result.
    pub fn iter<'i, V>(self) -> Imap<'i, V>
    where
        I: 'i,
        V: Payload,
        J: Returns<K::Output, Value = V>,
    {
        self.one_by_one(true)
    }

    /// Returns the results one by one, each as soon as it is there; otherwise as [`Call::iter`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let mut results = pool.tasks(|x: u64| x * x, 0..4).unordered().collect::<Result<Vec<_>, _>>()?;
    /// results.sort();
    /// assert_eq!(results, [0, 1, 4, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn unordered<'i, V>(self) -> Imap<'i, V>
    where
        I: 'i,
        V: Payload,
        J: Returns<K::Output, Value = V>,
    {
        self.one_by_one(false)
    }

    fn one_by_one<'i, V>(self, ordered: bool) -> Imap<'i, V>
    where
        I: 'i,
        V: Payload,
        J: Returns<K::Output, Value = V>,
    {
        let entered = self.described.parts::<K, V>().and_then(|(engine, context, options)| {
            Ok((engine, engine.enter(entry::<K, J>(), context, options, None)?))
        });
        match entered {
            Ok((engine, job)) => {
                let feed = Items::of::<K>(self.items).resume(job.options.checkpoint.clone());
                Imap::new(Arc::clone(engine), job, Box::new(feed), ordered)
            }
            Err(error) => Imap::refused(refusal::<K>(&error, 0)),
        }
    }
}

/// The error of a task whose whole call was refused.
fn refusal<K: Shape>(error: &Error, index: u64) -> TaskError {
    TaskError::new(error.refusal(), K::name(), index, None)
}

impl<'p, K, I, J> IntoIterator for Call<'p, K, I, J>
where
    I: Iterator + 'p,
    K: Accepts<I::Item>,
    J: Returns<K::Output>,
{
    type Item = Result<J::Value, TaskError>;
    type IntoIter = Imap<'p, J::Value>;

    fn into_iter(self) -> Imap<'p, J::Value> {
        self.iter()
    }
}

impl<K, I, J> fmt::Debug for Call<'_, K, I, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("options", &self.described.options).finish_non_exhaustive()
    }
}
