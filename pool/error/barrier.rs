//! [`BrokenBarrierError`].

use super::Kind;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The barrier is broken: Python's `threading.BrokenBarrierError`.
///
/// ```
/// let barrier = multiproc::Barrier::new(2);
/// barrier.abort()?;
/// let error = barrier.wait().unwrap_err();
/// assert!(error.to_string().starts_with("the barrier is broken"));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct BrokenBarrierError {
    /// Why this process has no part in it; `None` = it is broken.
    cause: Option<String>,
}

impl BrokenBarrierError {
    pub(crate) const BROKEN: BrokenBarrierError = BrokenBarrierError { cause: None };

    /// Returns whether this process has no part in the shared memory, see [`Error::is_shared_memory`]; the barrier
    /// itself may be in order.
    pub fn is_shared_memory(&self) -> bool {
        self.cause.is_some()
    }
}

impl From<Error> for BrokenBarrierError {
    #[cold]
    fn from(error: Error) -> BrokenBarrierError {
        BrokenBarrierError { cause: Some(error.to_string()) }
    }
}

impl From<BrokenBarrierError> for Error {
    #[cold]
    fn from(source: BrokenBarrierError) -> Error {
        match source.cause {
            Some(text) => Error::shared_memory(text),
            None => Kind::Barrier { source }.into(),
        }
    }
}

impl fmt::Display for BrokenBarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause.as_deref().unwrap_or(
            "the barrier is broken: a party died, gave up, failed or said so, or it was reset while this one waited",
        ))
    }
}

impl fmt::Debug for BrokenBarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokenBarrierError({self})")
    }
}

impl std::error::Error for BrokenBarrierError {}
