//! [`One`]: one call of a function that was described, and how it is delivered.

use crate::api::async_result::AsyncResult;
use crate::api::call::Call;
use crate::api::described::Described;
#[cfg(doc)]
use crate::api::pool::Pool;
use crate::codec::Payload;
use crate::engine::call::retry::Retry;
use crate::engine::worker::work::{Accepts, Shape};
#[cfg(doc)]
use crate::error::TaskError;
use crate::error::{Error, Result};
use crate::process::returns::{Fallible, Plain, Returns};
use std::fmt;
use std::iter::Once;
use std::time::Duration;

/// One call of a function, described by [`Pool::task`]. It does nothing until it is delivered, by [`One::run`] or
/// [`One::submit`].
///
/// Options stand between the description and the delivery, as those of a [`Call`] do.
///
/// ```
/// use std::time::Duration;
///
/// let pool = multiproc::Pool::new(1)?;
/// let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
/// let error = pool.task(sleep, (60_000,)).timeout(Duration::from_millis(50)).run().unwrap_err();
/// assert!(error.task().unwrap().is_timeout());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "a call does nothing until it is delivered: by `run` or `submit`"]
pub struct One<'p, K: Shape, J = Plain> {
    pub(super) call: Call<'p, K, Once<K::Input>, J>,
}

impl<'p, K: Shape> One<'p, K> {
    pub(super) fn new(described: Described<'p>, args: K::Input) -> One<'p, K> {
        One { call: Call::new(described, std::iter::once(args)).chunksize(1) }
    }

    /// Makes an `Err` of the function the error of the task; see [`Call::fallible`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let parse = |text: String| text.parse::<u8>();
    /// assert_eq!(pool.task(parse, ("7".to_owned(),)).fallible().run()?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn fallible(self) -> One<'p, K, Fallible>
    where
        Fallible: Returns<K::Output>,
    {
        One { call: self.call.fallible() }
    }
}

impl<K: Shape, J> One<'_, K, J> {
    /// Limits the time of the task; see [`Call::timeout`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.task(u64::pow, (2, 3)).timeout(std::time::Duration::from_secs(60)).run()?, 8);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn timeout(self, limit: Duration) -> Self {
        One { call: self.call.timeout(limit) }
    }

    /// Tells the task to end when it has run for `limit`; see [`Call::soft_timeout`].
    pub fn soft_timeout(self, limit: Duration) -> Self {
        One { call: self.call.soft_timeout(limit) }
    }

    /// Runs the task again if it has failed, up to `n` times; see [`Call::retries`].
    ///
    /// ```
    /// use multiproc::{Pool, RawValue};
    ///
    /// let (pool, attempts) = (Pool::new(1)?, RawValue::new(0u32));
    /// let flaky = |attempts: RawValue<u32>| assert!(attempts.fetch_add(1) == 2, "not yet");
    /// pool.task(flaky, (attempts,)).retries(2).run()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn retries(self, n: u32) -> Self {
        One { call: self.call.retries(n) }
    }

    /// Runs the task again as the policy says if it has failed; see [`Call::retry`].
    pub fn retry(self, policy: Retry) -> Self {
        One { call: self.call.retry(policy) }
    }
}

impl<K: Shape, J> One<'_, K, J> {
    /// Sets the priority of the call among the calls of its pool; see [`Call::priority`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.task(u64::pow, (2, 3)).priority(5).run()?, 8);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn priority(self, priority: i8) -> Self {
        One { call: self.call.priority(priority) }
    }
}

impl<K, J> One<'_, K, J>
where
    K: Shape + Accepts<<K as Shape>::Input>,
{
    /// Runs the task and returns its result.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.task(u64::pow, (2, 10)).run()?, 1024);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Call::run`].
    ///
    /// # If a worker dies
    ///
    /// If it was running this task: [`TaskError::is_worker_lost`]. If the task still waited there, it goes to another.
    pub fn run<V>(self) -> Result<V>
    where
        V: Payload,
        J: Returns<K::Output, Value = V>,
    {
        // One task went in; it has a value or was an error.
        self.call.run()?.pop().ok_or_else(|| Error::broken("a task has neither a result nor an error"))
    }

    /// Hands the task to the pool and returns at once, with a handle to the result.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let result = pool.task(|a: u32, b: u32| a * b, (6, 7)).submit()?;
    /// assert_eq!(result.get()?, 42);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Call::submit`].
    pub fn submit<V>(self) -> Result<AsyncResult<V>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        let claim = self.call.described.engine().claim();
        self.submit_with(claim)
    }
}

impl<K: Shape, J> fmt::Debug for One<'_, K, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("One").field("options", &self.call.described.options).finish_non_exhaustive()
    }
}
