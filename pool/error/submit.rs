//! [`TrySubmitError`].

use crate::error::Error;
use std::fmt;

/// Why a call was not made, from [`Call::try_submit`](crate::Call::try_submit).
///
/// ```
/// use multiproc::{Event, Pool, TrySubmitError};
///
/// let pool = Pool::builder().processes(1).max_pending(1).build()?;
/// let gate = Event::new();
/// let first = pool.apply_async(|gate: Event| gate.wait(), (gate.clone(),))?;
/// match pool.task(u64::pow, (2, 3)).try_submit() {
///     Err(TrySubmitError::Full(call)) => {
///         gate.set();
///         assert_eq!(call.run()?, 8);
///     }
///     _ => panic!("there is no room"),
/// }
/// # first.get()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
pub enum TrySubmitError<C> {
    /// As many calls are under way as may be ([`PoolBuilder::max_pending`](crate::PoolBuilder::max_pending)): the call, as it
    /// was.
    Full(C),
    /// What [`Call::submit`](crate::Call::submit) would have returned as well.
    Refused(Error),
}

impl<C> fmt::Display for TrySubmitError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySubmitError::Full(_) => Error::full().fmt(f),
            TrySubmitError::Refused(error) => error.fmt(f),
        }
    }
}

impl<C> fmt::Debug for TrySubmitError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrySubmitError({self})")
    }
}

impl<C> std::error::Error for TrySubmitError<C> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TrySubmitError::Full(_) => None,
            TrySubmitError::Refused(error) => error.source(),
        }
    }
}

impl<C> From<TrySubmitError<C>> for Error {
    fn from(error: TrySubmitError<C>) -> Error {
        match error {
            TrySubmitError::Full(_) => Error::full(),
            TrySubmitError::Refused(error) => error,
        }
    }
}
