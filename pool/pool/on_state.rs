//! [`OnState`]: calls whose tasks get the state of their worker.

use crate::codec::{self, Payload};
use crate::engine::call::feed::Items;
use crate::engine::worker::work::{EachOn, StarOn};
use crate::error::{Result, TaskError};
#[cfg(doc)]
use crate::pool::Pool;
use crate::pool::{AsyncResult, Imap, Job};
use crate::process::args::{Args, TaskOn};
use crate::process::returns::{Fallible, Plain, assert_captures_nothing};
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

/// Calls of functions that get the state of their worker, made by [`Pool::on_state`].
///
/// After a panic in such a task the state is dropped and made again, since nobody knows what the panic has left. If it
/// cannot be made again the worker leaves, and another takes its place.
#[must_use = "it does nothing until a call such as `map`"]
pub struct OnState<'a, S> {
    pub(super) job: Job<'a>,
    pub(super) state: PhantomData<fn() -> S>,
}

impl<S> fmt::Debug for OnState<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnState").field("job", &self.job).finish_non_exhaustive()
    }
}

impl<S: 'static> OnState<'_, S> {
    /// Calls `f` with the state and each item; otherwise as [`Pool::map`].
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
        F: Fn(&mut S, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.all::<EachOn<F, S, T, R, Plain>>(None, &mut Items::new(items.into_iter(), codec::encode::<T>))
    }

    /// Calls `f` with the state and each item; otherwise as [`Pool::map_each`].
    ///
    /// # Panics
    ///
    /// As [`Pool::map`].
    pub fn map_each<F, T, R, I>(&self, f: F, items: I) -> Vec<Result<R, TaskError>>
    where
        F: Fn(&mut S, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.each::<EachOn<F, S, T, R, Plain>, _>(None, items.into_iter(), codec::encode::<T>)
    }

    /// Calls `f` with the state and each item; otherwise as [`Pool::try_map`].
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
        F: Fn(&mut S, T) -> Result<R, E> + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.all::<EachOn<F, S, T, Result<R, E>, Fallible>>(
            None,
            &mut Items::new(items.into_iter(), codec::encode::<T>),
        )
    }

    /// Calls `f` with the state and the arguments in each tuple; otherwise as [`Pool::starmap`].
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
        F: TaskOn<S, A, Output: Payload>,
        I: IntoIterator<Item = A>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.all::<StarOn<F, S, A, Plain>>(None, &mut Items::new(items.into_iter(), A::encode))
    }

    /// Calls `f` with the state and `args`; otherwise as [`Pool::apply`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply`].
    pub fn apply<F, A>(&self, f: F, args: A) -> Result<F::Output>
    where
        A: Args,
        F: TaskOn<S, A, Output: Payload>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.one::<StarOn<F, S, A, Plain>>(None, &mut Items::new(std::iter::once(args), A::encode))
    }

    /// Calls `f` with the state and `args`; otherwise as [`Pool::try_apply`].
    ///
    /// # Errors
    ///
    /// As [`Pool::try_apply`].
    pub fn try_apply<F, A, R, E>(&self, f: F, args: A) -> Result<R>
    where
        A: Args,
        F: TaskOn<S, A, Output = Result<R, E>>,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.one::<StarOn<F, S, A, Fallible>>(None, &mut Items::new(std::iter::once(args), A::encode))
    }

    /// Calls `f` with the state and `args`, and returns at once; otherwise as [`Pool::apply_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    pub fn apply_async<F, A>(&self, f: F, args: A) -> Result<AsyncResult<F::Output>>
    where
        A: Args,
        F: TaskOn<S, A, Output: Payload + Send>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.later_one::<StarOn<F, S, A, Plain>>(None, &mut Items::new(std::iter::once(args), A::encode))
    }

    /// Calls `f` with the state and each item, and returns at once; otherwise as [`Pool::map_async`].
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
        F: Fn(&mut S, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload + Send,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.later::<EachOn<F, S, T, R, Plain>>(None, &mut Items::new(items.into_iter(), codec::encode::<T>))
    }

    /// Calls `f` with the state and each item as results are taken; otherwise as [`Pool::imap`].
    pub fn imap<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(&mut S, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.each_in_turn::<EachOn<F, S, T, R, Plain>>(
            None,
            Items::new(items.into_iter(), codec::encode::<T>),
            true,
        )
    }

    /// As [`OnState::imap`], in the order in which the tasks end.
    pub fn imap_unordered<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(&mut S, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.job.each_in_turn::<EachOn<F, S, T, R, Plain>>(
            None,
            Items::new(items.into_iter(), codec::encode::<T>),
            false,
        )
    }
}
