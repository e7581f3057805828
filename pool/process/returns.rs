//! What a function's return value means.

use crate::codec::Payload;
use crate::error::RemoteError;
use std::error::Error as StdError;

/// What a function's return value means: a value, or a value or an error. Sealed: [`Plain`] and [`Fallible`].
#[diagnostic::on_unimplemented(
    message = "`{R}` cannot be what a task returns here",
    label = "the function returns `{R}`",
    note = "if the function returns a `Result` whose error does not travel, call it by `try_map` or `tasks(..).fallible()`; any \
            other result must be `Serialize + DeserializeOwned`",
    note = "behind `fallible()` it must be a `Result` whose error is `Into<Box<dyn Error + Send + Sync>>`: \
            `Box<dyn Error + Send + Sync>` instead of `Box<dyn Error>`"
)]
pub trait Returns<R>: sealed::Means {
    /// What the caller gets.
    type Value: Payload;

    #[doc(hidden)]
    fn into_outcome(returned: R) -> Result<Self::Value, RemoteError>;
}

mod sealed {
    pub trait Means: 'static {}
    impl Means for super::Plain {}
    impl Means for super::Fallible {}

    pub trait Ends {}
    impl Ends for () {}
    impl<T, E> Ends for Result<T, E> {}
}

/// What an initializer, a finalizer or a task of [`Pool::generate`](crate::Pool::generate) may return: `()`, or a `Result` whose
/// `Err` is its failure. Sealed.
///
/// Nothing else, as with `main`: a value that nobody gets is a mistake, or says that something went wrong.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be what an initializer, a finalizer or a task of `generate` returns",
    label = "the function returns `{Self}`",
    note = "it returns `()`, or a `Result` whose error is `Into<Box<dyn Error + Send + Sync>>`; end it with `;` if its value says \
            nothing, or with `.unwrap()` if an `Err` is a failure"
)]
pub trait Completion: sealed::Ends {
    #[doc(hidden)]
    fn complete(self) -> Result<(), RemoteError>;
}

impl Completion for () {
    fn complete(self) -> Result<(), RemoteError> {
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Completion for Result<T, E> {
    fn complete(self) -> Result<(), RemoteError> {
        self.map(drop).map_err(|error| RemoteError::new(&*error.into()))
    }
}

/// What the function returns is the result, also if it is an `Err`.
#[derive(Clone, Copy, Debug)]
pub enum Plain {}

#[diagnostic::do_not_recommend]
impl<R: Payload> Returns<R> for Plain {
    type Value = R;
    #[inline]
    fn into_outcome(returned: R) -> Result<R, RemoteError> {
        Ok(returned)
    }
}

/// The function returns a `Result`; its `Err` is the error of the task.
#[derive(Clone, Copy, Debug)]
pub enum Fallible {}

#[diagnostic::do_not_recommend]
impl<R: Payload, E: Into<Box<dyn StdError + Send + Sync>>> Returns<Result<R, E>> for Fallible {
    type Value = R;
    #[inline]
    fn into_outcome(returned: Result<R, E>) -> Result<R, RemoteError> {
        returned.map_err(|error| RemoteError::new(&*error.into()))
    }
}
