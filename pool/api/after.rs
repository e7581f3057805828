//! [`After`]: a call whose arguments are the results of other calls.

use crate::api::async_result::AsyncResult;
use crate::api::async_result::argument::Argument;
use crate::api::call::Call;
use crate::api::described::Described;
#[cfg(doc)]
use crate::api::pool::Pool;
use crate::codec::Payload;
use crate::engine::call::feed::Items;
use crate::engine::call::gather::One;
use crate::engine::call::job::Job;
use crate::engine::call::results::Results;
use crate::engine::call::retry::Retry;
use crate::engine::core::state::Engine;
use crate::engine::worker::work::{Shape, entry};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Failure, Result, TaskError};
use crate::process::args::Args;
use crate::process::panic;
use crate::process::returns::{Fallible, Plain, Returns};
use parking_lot::Mutex;
use std::fmt;
use std::iter::Empty;
use std::sync::Arc;
use std::time::Duration;

mod sealed {
    pub trait Sealed {}
}

/// Results of calls that are the arguments of a later one: an [`AsyncResult`], or a tuple of up to 6 of them. Sealed.
pub trait ResultArgs: sealed::Sealed + Send + 'static {
    /// The arguments that they become.
    type Args: Args;

    #[doc(hidden)]
    fn awaited(&self) -> Result<Vec<Awaited>>;
    #[doc(hidden)]
    fn into_arguments(self) -> Result<Arguments, TaskError>;
}

/// A call whose result is awaited.
#[doc(hidden)]
#[derive(Debug)]
pub struct Awaited(Arc<Job>);

/// What the results of calls have become.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "nobody gets one")]
pub struct Arguments(Vec<Argument>);

impl<T: Payload + Send> sealed::Sealed for AsyncResult<T> {}

impl<T: Payload + Send> ResultArgs for AsyncResult<T> {
    type Args = (T,);

    fn awaited(&self) -> Result<Vec<Awaited>> {
        AsyncResult::awaited(self).map(|job| vec![Awaited(Arc::clone(job))])
    }
    fn into_arguments(self) -> Result<Arguments, TaskError> {
        Ok(Arguments(vec![self.into_argument()?]))
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: Payload + Send),*> sealed::Sealed for ($(AsyncResult<$name>,)*) {}
        impl<$($name: Payload + Send),*> ResultArgs for ($(AsyncResult<$name>,)*) {
            type Args = ($($name,)*);

            #[allow(non_snake_case)]
            fn awaited(&self) -> Result<Vec<Awaited>> {
                let ($($name,)*) = self;
                Ok(vec![$(Awaited(Arc::clone(AsyncResult::awaited($name)?))),*])
            }
            #[allow(non_snake_case)]
            fn into_arguments(self) -> Result<Arguments, TaskError> {
                let ($($name,)*) = self;
                Ok(Arguments(vec![$($name.into_argument()?),*]))
            }
        }
    };
}

tuples!(A1);
tuples!(A1 A2);
tuples!(A1 A2 A3);
tuples!(A1 A2 A3 A4);
tuples!(A1 A2 A3 A4 A5);
tuples!(A1 A2 A3 A4 A5 A6);

/// One call of a function with the results of other calls, described by [`Pool::task_after`]. It does nothing until it is
/// delivered, by [`After::submit`] or [`After::run`]. Options stand before that, as those of a [`Call`] do.
///
/// ```
/// use multiproc::{Pool, RawValue};
/// use std::time::Duration;
///
/// let (pool, tries) = (Pool::new(2)?, RawValue::new(0u32));
/// let parts = (pool.apply_async(u64::pow, (2, 3))?, pool.apply_async(|tries: RawValue<u32>| tries, (tries,))?);
/// let add = |eight: u64, tries: RawValue<u32>| if tries.fetch_add(1) == 0 { Err("not yet") } else { Ok(eight + 1) };
/// let nine = pool.task_after(add, parts).fallible().retries(1).timeout(Duration::from_secs(60)).run()?;
/// assert_eq!(nine, 9);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "a call does nothing until it is delivered: by `run` or `submit`"]
pub struct After<'p, K: Shape, D, J = Plain> {
    call: Call<'p, K, Empty<K::Input>, J>,
    results: D,
}

impl<'p, K: Shape, D> After<'p, K, D> {
    pub(super) fn new(described: Described<'p>, results: D) -> After<'p, K, D> {
        After { call: Call::new(described, std::iter::empty()).chunksize(1), results }
    }

    /// Makes an `Err` of the function the error of the task; see [`Call::fallible`].
    pub fn fallible(self) -> After<'p, K, D, Fallible>
    where
        Fallible: Returns<K::Output>,
    {
        After { call: self.call.fallible(), results: self.results }
    }
}

impl<'p, K: Shape, D, J> After<'p, K, D, J> {
    fn with(self, option: impl FnOnce(Call<'p, K, Empty<K::Input>, J>) -> Call<'p, K, Empty<K::Input>, J>) -> Self {
        After { call: option(self.call), results: self.results }
    }

    /// Limits the time of the task, from its start on; see [`Call::timeout`].
    pub fn timeout(self, limit: Duration) -> Self {
        self.with(|call| call.timeout(limit))
    }

    /// Tells the task to end when it has run for `limit`; see [`Call::soft_timeout`].
    pub fn soft_timeout(self, limit: Duration) -> Self {
        self.with(|call| call.soft_timeout(limit))
    }

    /// Runs the task again if it has failed, with the same arguments, up to `n` times; see [`Call::retries`].
    pub fn retries(self, n: u32) -> Self {
        self.with(|call| call.retries(n))
    }

    /// Runs the task again as the policy says if it has failed; see [`Call::retry`].
    pub fn retry(self, policy: Retry) -> Self {
        self.with(|call| call.retry(policy))
    }

    /// Sets the priority of the call among the calls of its pool; see [`Call::priority`].
    pub fn priority(self, priority: i8) -> Self {
        self.with(|call| call.priority(priority))
    }
}

impl<K: Shape, D: ResultArgs, J> After<'_, K, D, J> {
    /// Waits for the arguments, runs the task, and returns its result.
    ///
    /// # Errors
    ///
    /// See [`After::submit`] and [`Call::run`].
    pub fn run<V>(self) -> Result<V>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        Ok(self.submit()?.get()?)
    }

    /// Hands the call to the pool and returns at once, with a handle to the result. The task is handed out when all arguments
    /// are there.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let (a, b) = (pool.apply_async(u64::pow, (2, 10))?, pool.apply_async(u64::pow, (3, 3))?);
    /// let sum = pool.task_after(|a: u64, b: u64| a + b, (a, b)).submit()?;
    /// let text = pool.task_after(|sum: u64| format!("the sum is {sum}"), sum).submit()?;
    /// assert_eq!(text.get()?, "the sum is 1051");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The pool was closed or terminated, an option makes no sense, or a result was taken already ([`AsyncResult::get_timeout`]).
    /// The results are dropped then, which cancels their calls.
    pub fn submit<V>(self) -> Result<AsyncResult<V>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        let claim = self.call.described.engine().claim();
        let awaited = self.results.awaited()?;
        let (engine, context, options) = self.call.described.parts::<K, V>()?;
        let job = engine.enter_later(entry::<K, J>(), context, options, claim)?;
        let pending = Pending {
            engine: Arc::clone(engine),
            job: Arc::clone(&job),
            results: Mutex::new(Some((self.results, awaited.len()))),
        };
        Pending::wait_for(Arc::new(pending), awaited);
        Ok(AsyncResult::new(Arc::clone(engine), job, 1, Box::new(One(Results::<V>::new()))))
    }
}

impl<K: Shape, D, J> fmt::Debug for After<'_, K, D, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("After").field("options", &self.call.described.options).finish_non_exhaustive()
    }
}

/// A call that waits for its arguments.
struct Pending<D> {
    engine: Arc<Engine>,
    job: Arc<Job>,
    /// The results, and how many are not there yet. Absent once they have become arguments, or the call has ended before.
    results: Mutex<Option<(D, usize)>>,
}

impl<D: ResultArgs> Pending<D> {
    /// Has the call handed in when all that it waits for has ended: on the thread where callbacks run, or on this one if that is
    /// so already.
    fn wait_for(pending: Arc<Pending<D>>, awaited: Vec<Awaited>) {
        let later = Arc::clone(&pending);
        // If nobody wants its result any more, or its pool has ended, nobody wants those of the others, either: they are nobody
        // else's. It is not complete yet, unless the pool has just ended; then it is noticed when they come.
        let _ = pending.job.when_complete(Box::new(move || drop(later.results.lock().take())));
        for Awaited(job) in awaited {
            let later = Arc::clone(&pending);
            if job.when_complete(Box::new(move || later.one_has_come())).is_err() {
                pending.one_has_come();
            }
        }
    }

    fn one_has_come(&self) {
        let mut waiting = self.results.lock();
        let Some((_, left)) = &mut *waiting else { return };
        *left -= 1;
        let all = if *left == 0 { waiting.take() } else { None };
        drop(waiting);
        // Others are still to come.
        let Some((results, _)) = all else { return };
        // Values may have to be read and written, which is code of the user's: whatever it does, the call must end.
        let outcome = panic::contain(|| {
            let Arguments(arguments) = results.into_arguments()?;
            let encode =
                |arguments: &Vec<Argument>, out: &mut Vec<u8>| arguments.iter().try_for_each(|write| write(out));
            self.engine.supply(&self.job, &mut Items::new(std::iter::once(arguments), encode));
            Ok(())
        });
        let error = match outcome {
            Some(Ok(())) => return,
            Some(Err(error)) => error,
            None => {
                let text = "a result panicked when it was to become an argument".to_owned();
                self.job.error(Failure::Encode { text }.into(), 0, None)
            }
        };
        self.engine.refuse(&self.job, error);
    }
}
