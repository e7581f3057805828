//! Handing calls to a pool that has a bound for those that nobody waits in: `try_submit`, and what `submit` comes to.

use crate::api::async_result::AsyncResult;
#[cfg(doc)]
use crate::api::builder::PoolBuilder;
use crate::api::call::Call;
use crate::api::one::One;
use crate::codec::Payload;
use crate::engine::call::feed::Items;
use crate::engine::call::gate::Claim;
use crate::engine::call::gather::{self, All};
use crate::engine::call::results::Results;
use crate::engine::worker::work::{Accepts, Shape, entry};
use crate::error::{Result, TrySubmitError};
use crate::process::returns::Returns;
use std::sync::Arc;

impl<K, I, J> Call<'_, K, I, J>
where
    I: Iterator,
    K: Accepts<I::Item>,
{
    /// As [`Call::submit`], but does not wait in a pool with [`PoolBuilder::max_pending`]: if there is no room for the call,
    /// it is given back as it is, and none of its items was read.
    ///
    /// ```
    /// use multiproc::{Event, Pool, TrySubmitError};
    ///
    /// let pool = Pool::builder().processes(1).max_pending(1).build()?;
    /// let gate = Event::new();
    /// let first = pool.apply_async(|gate: Event| gate.wait(), (gate.clone(),))?;
    /// let Err(TrySubmitError::Full(call)) = pool.tasks(|x: u32| x + 1, [1, 2]).try_submit() else { panic!() };
    /// gate.set();
    /// assert_eq!(call.run()?, [2, 3]);
    /// first.get()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TrySubmitError::Full`]: there is no room. [`TrySubmitError::Refused`]: see [`Call::submit`].
    ///
    /// # Panics
    ///
    /// See [`Call::submit`].
    #[expect(clippy::result_large_err, reason = "the call comes back as it went in")]
    pub fn try_submit<V>(self) -> Result<AsyncResult<Vec<V>>, TrySubmitError<Self>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        match self.described.engine().try_claim() {
            Some(claim) => self.submit_with(claim).map_err(TrySubmitError::Refused),
            None => Err(TrySubmitError::Full(self)),
        }
    }

    /// Hands the call in, with the right to do so.
    pub(super) fn submit_with<V>(self, claim: Claim) -> Result<AsyncResult<Vec<V>>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        let (engine, context, options) = self.described.parts::<K, V>()?;
        let mut feed = Items::of::<K>(self.items).resume(options.checkpoint.clone());
        let (job, total) = engine.submit(entry::<K, J>(), context, options, &mut feed, claim)?;
        let result = AsyncResult::new(Arc::clone(engine), job, total, Box::new(All(Results::<V>::new())));
        result.save_as_it_comes()?;
        Ok(result)
    }
}

impl<K, J> One<'_, K, J>
where
    K: Shape + Accepts<<K as Shape>::Input>,
{
    /// As [`One::submit`], but does not wait in a pool with [`max_pending`](crate::PoolBuilder::max_pending): if there is no
    /// room for the call, it is given back as it is. See [`Call::try_submit`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.task(u64::pow, (2, 3)).try_submit()?.get()?, 8);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Call::try_submit`].
    #[expect(clippy::result_large_err, reason = "the call comes back as it went in")]
    pub fn try_submit<V>(self) -> Result<AsyncResult<V>, TrySubmitError<Self>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        match self.call.described.engine().try_claim() {
            Some(claim) => self.submit_with(claim).map_err(TrySubmitError::Refused),
            None => Err(TrySubmitError::Full(self)),
        }
    }

    /// Hands the call in, with the right to do so.
    pub(super) fn submit_with<V>(self, claim: Claim) -> Result<AsyncResult<V>>
    where
        V: Payload + Send,
        J: Returns<K::Output, Value = V>,
    {
        let (engine, context, options) = self.call.described.parts::<K, V>()?;
        let mut feed = Items::of::<K>(self.call.items);
        let (job, total) = engine.submit(entry::<K, J>(), context, options, &mut feed, claim)?;
        Ok(AsyncResult::new(Arc::clone(engine), job, total, Box::new(gather::One(Results::<V>::new()))))
    }
}
