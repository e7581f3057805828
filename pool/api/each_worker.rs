//! [`EachWorker`]: one call of a function in every worker, and how it is delivered.

use crate::api::async_result::AsyncResult;
use crate::api::call::Call;
use crate::api::described::Described;
#[cfg(doc)]
use crate::api::pool::Pool;
use crate::codec::Payload;
use crate::engine::call::feed::Items;
use crate::engine::call::gather::{Gather, Numbered};
use crate::engine::call::results::Results;
use crate::engine::worker::work::{Accepts, Shape, entry};
use crate::error::{Result, TaskError};
use crate::process::returns::{Fallible, Plain, Returns};
use std::fmt;
use std::iter::Once;
use std::sync::Arc;
use std::time::Duration;

/// One call of a function in every worker, described by [`Pool::on_each_worker`]. It does nothing until it is delivered, by
/// [`EachWorker::run`], [`EachWorker::each`] or [`EachWorker::submit`].
///
/// Each result comes with the number of its worker ([`worker_number`](crate::worker_number)), in the order of these numbers.
///
/// ```
/// let pool = multiproc::Pool::builder().processes(2).state(Vec::<u32>::new, ()).build()?;
/// pool.on_state().tasks(|seen, x| seen.push(x), 0..100).run()?;
/// // Collects what the workers have gathered.
/// let seen = pool.on_state().on_each_worker(|seen: &mut Vec<u32>| std::mem::take(seen), ()).run()?;
/// assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1]);
/// assert_eq!(seen.iter().map(|(_, seen)| seen.len()).sum::<usize>(), 100);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Which workers
///
/// Those that the pool has when the call is delivered. One that is busy runs the function after its task, and behind what
/// waits at it already. Workers that start later do not run it: what every worker needs from its start on belongs into
/// [`PoolBuilder::initializer`](crate::PoolBuilder::initializer).
///
/// # If a worker dies
///
/// While it runs the function: its result is [`TaskError::is_worker_lost`]. Before: the worker that takes its place runs the
/// function. If the place itself goes, by [`Pool::resize`], the result is [`TaskError::is_cancelled`].
#[must_use = "a call does nothing until it is delivered: by `run`, `each` or `submit`"]
pub struct EachWorker<'p, K: Shape, J = Plain> {
    call: Call<'p, K, Once<K::Input>, J>,
}

impl<'p, K: Shape> EachWorker<'p, K> {
    pub(super) fn new(described: Described<'p>, args: K::Input) -> EachWorker<'p, K> {
        EachWorker { call: Call::new(described, std::iter::once(args)) }
    }

    /// Makes an `Err` of the function the error of its worker's result; see [`Call::fallible`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let parse = |text: String| text.parse::<u8>();
    /// assert_eq!(pool.on_each_worker(parse, ("7".to_owned(),)).fallible().run()?, [(0, 7), (1, 7)]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn fallible(self) -> EachWorker<'p, K, Fallible>
    where
        Fallible: Returns<K::Output>,
    {
        EachWorker { call: self.call.fallible() }
    }
}

impl<K: Shape, J> EachWorker<'_, K, J> {
    /// Limits the time that the function may take in one worker; see [`Call::timeout`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(2)?;
    /// let hang = || while multiproc::worker_number() == Some(1) { std::thread::park() };
    /// let results = pool.on_each_worker(hang, ()).timeout(Duration::from_millis(100)).each()?;
    /// assert!(results[0].1.is_ok() && results[1].1.as_ref().unwrap_err().is_timeout());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn timeout(self, limit: Duration) -> Self {
        EachWorker { call: self.call.timeout(limit) }
    }
}

impl<K, J> EachWorker<'_, K, J>
where
    K: Shape + Accepts<<K as Shape>::Input>,
{
    /// Runs the function in every worker and returns the number and the value of each, in the order of the numbers.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let workers = pool.on_each_worker(std::process::id, ()).run()?;
    /// assert!(workers[0].0 == 0 && workers[1].0 == 1 && workers[0].1 != workers[1].1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Call::run`]. If the function fails in several workers, the error is that of the lowest number, which is its
    /// [`TaskError::index`]; use [`EachWorker::each`] to get every result.
    ///
    /// # If a worker dies
    ///
    /// See [`EachWorker`].
    ///
    /// # Timeouts
    ///
    /// Waits until the busiest worker has come to it; see [`EachWorker::submit`] and
    /// [`AsyncResult::get_timeout`].
    pub fn run<V>(self) -> Result<Vec<(usize, V)>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        Ok(self.submit()?.get()?)
    }

    /// Runs the function in every worker and returns for each its number and its own value or error.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let results = pool.on_each_worker(|| assert_eq!(multiproc::worker_number(), Some(0)), ()).each()?;
    /// assert!(results[0].1.is_ok() && results[1].1.as_ref().unwrap_err().is_panic());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The pool was closed or terminated, or the context could not be serialised.
    ///
    /// # Timeouts
    ///
    /// See [`EachWorker::run`].
    pub fn each<V>(self) -> Result<Vec<(usize, Result<V, TaskError>)>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        Ok(self.deliver::<V, _>()?.get()?)
    }

    /// Hands the call to the pool and returns at once, with a handle to what [`EachWorker::run`] returns.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let numbers = pool.on_each_worker(multiproc::worker_number, ()).submit()?;
    /// assert_eq!(numbers.get()?, [(0, Some(0)), (1, Some(1))]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Call::submit`].
    pub fn submit<V>(self) -> Result<AsyncResult<Vec<(usize, V)>>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        self.deliver::<V, _>()
    }

    fn deliver<V, T>(self) -> Result<AsyncResult<T>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
        T: Send + 'static,
        Numbered<V>: Gather<T>,
    {
        let claim = self.call.described.engine().claim();
        let (engine, context, options) = self.call.described.parts::<K, V>()?;
        let mut feed = Items::of::<K>(self.call.items);
        let (job, numbers) = engine.submit_to_each(entry::<K, J>(), context, options, &mut feed, claim)?;
        let total = numbers.len() as u64;
        Ok(AsyncResult::new(Arc::clone(engine), job, total, Box::new(Numbered(Results::<V>::new(), numbers))))
    }
}

impl<K: Shape, J> fmt::Debug for EachWorker<'_, K, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EachWorker").field("options", &self.call.described.options).finish_non_exhaustive()
    }
}
