//! [`With`]: calls with a context.

use crate::codec::{self, Payload};
use crate::engine::call::feed::{Feed, Items};
use crate::engine::worker::work::{EachWith, StarWith, Work, encode_context};
use crate::error::{Error, Result, TaskError, TaskKind};
#[cfg(doc)]
use crate::pool::Pool;
use crate::pool::{AsyncResult, Imap, Job};
use crate::process::args::{Args, TaskWith};
use crate::process::returns::{Fallible, Plain, assert_captures_nothing};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error as StdError;

/// A call with a context, made by [`Pool::with`].
#[derive(Debug)]
#[must_use = "a context does nothing until a call such as `map`"]
pub struct With<'a, C: ?Sized> {
    pub(super) job: Job<'a>,
    pub(super) context: &'a C,
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

    /// Calls `f` with the context and `args`, and returns at once; otherwise as [`Pool::apply_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`], and [`Error::is_invalid_argument`] if the context cannot be serialised.
    pub fn apply_async<F, A>(&self, f: F, args: A) -> Result<AsyncResult<F::Output>>
    where
        A: Args,
        F: TaskWith<C, A, Output: Payload + Send>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        let mut feed = Items::new(std::iter::once(args), A::encode);
        self.job.later_one::<StarWith<F, C, A, Plain>>(Some(self.encode()?), &mut feed)
    }

    /// Calls `f` with the context and each item, and returns at once; otherwise as [`Pool::map_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`], and [`Error::is_invalid_argument`] if the context cannot be serialised.
    ///
    /// # Panics
    ///
    /// As [`Pool::map_async`].
    pub fn map_async<F, T, R, I>(&self, f: F, items: I) -> Result<AsyncResult<Vec<R>>>
    where
        F: Fn(&C, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload + Send,
        I: IntoIterator<Item = T>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        let mut feed = Items::new(items.into_iter(), codec::encode::<T>);
        self.job.later::<EachWith<F, C, T, R, Plain>>(Some(self.encode()?), &mut feed)
    }

    /// Calls `f` with the context and each item as results are taken; otherwise as [`Pool::imap`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let results = pool.with(&10).imap(|ten: &i32, x: i32| ten * x, 0..).take(3);
    /// assert_eq!(results.collect::<Result<Vec<_>, _>>()?, [0, 10, 20]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A context that cannot be serialised is the error of the only result.
    pub fn imap<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(&C, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.each_in_turn::<EachWith<F, C, T, R, Plain>>(Items::new(items.into_iter(), codec::encode::<T>), true)
    }

    /// As [`With::imap`], in the order in which the tasks end.
    pub fn imap_unordered<'i, F, T, R, I>(&self, f: F, items: I) -> Imap<'i, R>
    where
        F: Fn(&C, T) -> R + Copy + Send + 'static,
        T: Payload,
        R: Payload,
        I: IntoIterator<Item = T, IntoIter: 'i>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.each_in_turn::<EachWith<F, C, T, R, Plain>>(Items::new(items.into_iter(), codec::encode::<T>), false)
    }

    fn all<W: Work>(&self, feed: &mut dyn Feed) -> Result<Vec<W::Output>> {
        self.job.all::<W>(Some(self.encode()?), feed)
    }

    fn encode(&self) -> Result<codec::Packed> {
        encode_context(self.context).map_err(|error| {
            Error::invalid_argument(format!("the context of `with` could not be serialised: {}", error.0))
        })
    }

    fn each_in_turn<'i, W: Work>(&self, feed: impl Feed + 'i, ordered: bool) -> Imap<'i, W::Output> {
        match encode_context(self.context) {
            Ok(context) => self.job.each_in_turn::<W>(Some(context), feed, ordered),
            Err(error) => {
                let kind = TaskKind::Encode { text: format!("the context of `with`: {}", error.0) };
                Imap::refused(TaskError::new(kind, W::name(), 0, None))
            }
        }
    }
}
