//! [`Job`]: the options of a call, and the calls themselves.

use crate::codec::{self, Payload};
use crate::engine::call::feed::Items;
use crate::engine::call::job::Options;
use crate::engine::call::progress::{Listener, Progress};
use crate::engine::core::state::Engine;
use crate::engine::worker::work::{Each, EachRef, Star};
use crate::error::{Result, TaskError};
#[cfg(doc)]
use crate::pool::Pool;
use crate::pool::{AsyncResult, Imap, OnState, With};
use crate::process::args::{Args, Task};
use crate::process::returns::{Fallible, Plain, assert_captures_nothing};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A call with options, made by [`Pool::job`]. It can be used again.
#[must_use = "options do nothing until a call such as `map`"]
pub struct Job<'a, S = ()> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) options: Options,
    pub(super) state: PhantomData<fn() -> S>,
}

impl<S> Clone for Job<'_, S> {
    fn clone(&self) -> Self {
        Job { engine: self.engine, options: self.options.clone(), state: PhantomData }
    }
}

impl<S> fmt::Debug for Job<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a, S> Job<'a, S> {
    /// Lets exactly `n` items travel together, the last ones excepted. Default: as many as make about 1 millisecond of
    /// work, by measurement.
    ///
    /// # Panics
    ///
    /// When `n` is 0 or more than 2^30.
    pub fn chunksize(mut self, n: usize) -> Self {
        let n = u32::try_from(n).ok().filter(|n| *n <= crate::engine::call::chunk::MOST).and_then(NonZeroU32::new);
        let Some(n) = n else { panic!("the chunk size must be at least 1 and at most 2^30") };
        self.options.chunksize = Some(n.get());
        self
    }

    /// Limits the time of each task. A worker whose task is over the limit gets SIGTERM, and after the pool's grace period
    /// SIGKILL, and is replaced; the task's error is [`TaskError::is_timeout`].
    ///
    /// Tasks with a limit travel alone, whatever the chunk size, so that nothing else is lost with them.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    /// let results = pool.job().timeout(Duration::from_millis(100)).map_each(sleep, [1, 60_000, 1]);
    /// assert!(results[0].is_ok() && results[1].as_ref().unwrap_err().is_timeout() && results[2].is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Runs a task that has failed again, up to `n` times: after a panic, an `Err` of a `try_` call, the loss of its worker,
    /// or a timeout. Default: 0, so that no task is started twice.
    ///
    /// ```
    /// use multiproc::{Pool, RawValue};
    ///
    /// let (pool, attempts) = (Pool::new(1)?, RawValue::new(0u32));
    /// let flaky = |attempts: RawValue<u32>| assert!(attempts.fetch_add(1) == 2, "not yet");
    /// pool.job().retries(2).apply(flaky, (attempts,))?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn retries(mut self, n: u32) -> Self {
        self.options.retries = n;
        self
    }

    /// Lets the first failure end the call: tasks that have not begun are not run. Default: all are run, and then the error
    /// with the lowest index is returned.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let results = pool.job().fail_fast(true).chunksize(1).map_each(|x: u32| assert!(x != 3), 0..1_000_000);
    /// assert!(results[3].as_ref().unwrap_err().is_panic());
    /// assert!(results[999_999].as_ref().unwrap_err().is_cancelled());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn fail_fast(mut self, on: bool) -> Self {
        self.options.fail_fast = on;
        self
    }

    /// For [`Job::imap`] and its kind: lets at most `n` items be under way or wait to be taken. Default: about 50
    /// milliseconds of work for each worker, at most 65,536 items and 64 MiB.
    ///
    /// # Panics
    ///
    /// When `n` is 0.
    pub fn buffersize(mut self, n: usize) -> Self {
        assert!(n > 0, "the buffer must hold at least 1 item");
        self.options.buffersize = Some(n);
        self
    }

    /// Calls `f` now and then, at most 20 times a second, and once more at the end, with how far the call has come.
    ///
    /// Calls that block, and [`Job::imap`] and its kind, do that on their own thread, between two results; those that do
    /// not (`*_async`) on the thread where callbacks run. What `f` panics with comes out of a call that blocks.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// let pool = multiproc::Pool::new(2)?;
    /// let last = Arc::new(Mutex::new(None));
    /// let told = Arc::clone(&last);
    /// pool.job().progress(move |progress| *told.lock().unwrap() = Some(progress)).map(|x: u64| x, 0..1000)?;
    /// let last = last.lock().unwrap().unwrap();
    /// assert_eq!((last.done, last.failed, last.total), (1000, 0, Some(1000)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn progress(mut self, f: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.options.progress = Some(Listener(Arc::new(f)));
        self
    }

    /// Shows the progress of the call on stderr, if that is a terminal, by a bar of the crate `indicatif`. Needs the feature
    /// `indicatif`.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.job().progress_bar().map(|x: u64| x + 1, 0..3)?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "indicatif")]
    pub fn progress_bar(self) -> Self {
        self.progress(crate::pool::bar::listener())
    }

    /// See [`Pool::with`].
    pub fn with<C>(&self, context: &'a C) -> With<'a, C>
    where
        C: Serialize + ToOwned<Owned: DeserializeOwned> + ?Sized + 'static,
    {
        With { job: self.stateless(), context }
    }

    /// See [`Pool::on_state`].
    pub fn on_state(&self) -> OnState<'a, S>
    where
        S: 'static,
    {
        OnState { job: self.stateless(), state: PhantomData }
    }

    fn stateless(&self) -> Job<'a> {
        Job { engine: self.engine, options: self.options.clone(), state: PhantomData }
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

    /// See [`Pool::try_starmap`].
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
        assert_captures_nothing!(F);
        let _ = f;
        self.all::<Star<F, A, Fallible>>(None, &mut Items::new(items.into_iter(), A::encode))
    }

    /// See [`Pool::apply_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    pub fn apply_async<F, A>(&self, f: F, args: A) -> Result<AsyncResult<F::Output>>
    where
        A: Args,
        F: Task<A, Output: Payload + Send>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.later_one::<Star<F, A, Plain>>(None, &mut Items::new(std::iter::once(args), A::encode))
    }

    /// See [`Pool::try_apply_async`].
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
        assert_captures_nothing!(F);
        let _ = f;
        self.later_one::<Star<F, A, Fallible>>(None, &mut Items::new(std::iter::once(args), A::encode))
    }

    /// See [`Pool::map_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map_async`].
    pub fn map_async<F, T, R, I>(&self, f: F, items: I) -> Result<AsyncResult<Vec<R>>>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload + Send,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.later::<Each<F, T, R, Plain>>(None, &mut Items::new(items.into_iter(), codec::encode::<T>))
    }

    /// See [`Pool::try_map_async`].
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
        assert_captures_nothing!(F);
        let _ = f;
        self.later::<Each<F, T, Result<R, E>, Fallible>>(None, &mut Items::new(items.into_iter(), codec::encode::<T>))
    }

    /// See [`Pool::starmap_async`].
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
        assert_captures_nothing!(F);
        let _ = f;
        self.later::<Star<F, A, Plain>>(None, &mut Items::new(items.into_iter(), A::encode))
    }

    /// See [`Pool::imap`].
    pub fn imap<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.each_in_turn::<Each<F, T, R, Plain>>(None, Items::new(items.into_iter(), codec::encode::<T>), true)
    }

    /// See [`Pool::imap_unordered`].
    pub fn imap_unordered<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.each_in_turn::<Each<F, T, R, Plain>>(None, Items::new(items.into_iter(), codec::encode::<T>), false)
    }

    /// As [`Job::imap`], for a function that returns a `Result`: see [`Pool::try_map`].
    pub fn try_imap<'i, F, T, R, E, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> Result<R, E> + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        let items = Items::new(items.into_iter(), codec::encode::<T>);
        self.each_in_turn::<Each<F, T, Result<R, E>, Fallible>>(None, items, true)
    }

    /// As [`Job::imap_unordered`], for a function that returns a `Result`: see [`Pool::try_map`].
    pub fn try_imap_unordered<'i, F, T, R, E, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(T) -> Result<R, E> + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        let items = Items::new(items.into_iter(), codec::encode::<T>);
        self.each_in_turn::<Each<F, T, Result<R, E>, Fallible>>(None, items, false)
    }
}
