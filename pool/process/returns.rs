//! What a function's return value means, and which functions may travel at all.

use crate::codec::Payload;
use crate::error::RemoteError;
use std::error::Error as StdError;

/// What a function's return value means: for a plain call itself, for a `try_` call a value or an error.
pub(crate) trait Returns<R>: 'static {
    type Value: Payload;
    fn judge(returned: R) -> Result<Self::Value, RemoteError>;
}

/// The calls without `try_`.
#[derive(Debug)]
pub(crate) struct Plain;

impl<R: Payload> Returns<R> for Plain {
    type Value = R;
    #[inline]
    fn judge(returned: R) -> Result<R, RemoteError> {
        Ok(returned)
    }
}

/// The calls with `try_`.
#[derive(Debug)]
pub(crate) struct Fallible;

impl<R: Payload, E: Into<Box<dyn StdError + Send + Sync>>> Returns<Result<R, E>> for Fallible {
    type Value = R;
    #[inline]
    fn judge(returned: Result<R, E>) -> Result<R, RemoteError> {
        returned.map_err(|error| RemoteError::new(&*error.into()))
    }
}

/// The text of the build error for a function that captures.
macro_rules! assert_captures_nothing {
    ($function:ty) => {
        const {
            assert!(
                size_of::<$function>() == 0,
                "a task must be a function or a closure that captures nothing, and no function pointer: what it captures \
                 cannot travel to another process. Pass captured data with `pool.with(&captured).map(|captured, x| .., \
                 items)`, as part of the items, or as an argument of the process"
            )
        }
    };
}
pub(crate) use assert_captures_nothing;
