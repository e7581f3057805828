//! What a function's return value means.

use crate::codec::Payload;
use crate::error::RemoteError;
use std::error::Error as StdError;

/// What a function's return value means: a value, or a value or an error. Sealed: [`Plain`] and [`Fallible`].
#[diagnostic::on_unimplemented(
    message = "`{R}` is not a result of a task",
    note = "a plain call needs a result that is `Serialize + DeserializeOwned`; `fallible()` needs a `Result` whose error is \
            `Into<Box<dyn Error + Send + Sync>>`"
)]
pub trait Returns<R>: sealed::Means {
    /// What the caller gets.
    type Value: Payload;

    #[doc(hidden)]
    fn judge(returned: R) -> Result<Self::Value, RemoteError>;
}

mod sealed {
    pub trait Means: 'static {}
    impl Means for super::Plain {}
    impl Means for super::Fallible {}
}

/// What the function returns is the result, also if it is an `Err`.
#[derive(Clone, Copy, Debug)]
pub enum Plain {}

impl<R: Payload> Returns<R> for Plain {
    type Value = R;
    #[inline]
    fn judge(returned: R) -> Result<R, RemoteError> {
        Ok(returned)
    }
}

/// The function returns a `Result`; its `Err` is the error of the task.
#[derive(Clone, Copy, Debug)]
pub enum Fallible {}

impl<R: Payload, E: Into<Box<dyn StdError + Send + Sync>>> Returns<Result<R, E>> for Fallible {
    type Value = R;
    #[inline]
    fn judge(returned: Result<R, E>) -> Result<R, RemoteError> {
        returned.map_err(|error| RemoteError::new(&*error.into()))
    }
}
