//! [`Retry`]: which tasks that have failed are run again, how often, and when.

use crate::error::TaskError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The longest pause, unless the policy names another one.
const LONGEST: Duration = Duration::from_secs(60);

/// Which tasks that have failed are run again, for [`Call::retry`](crate::Call::retry).
///
/// A task is run again after a panic, an `Err` of a [`fallible`](crate::Call::fallible) call, the loss of its worker, or a
/// timeout; a task that was cancelled, or whose argument or result cannot be serialised, is not. In short,
/// `.retries(2)` is `.retry(Retry::new(2))`.
///
/// ```
/// use multiproc::{Pool, Retry};
/// use std::time::Duration;
///
/// // Two more times if the worker was lost, after 10 and 20 milliseconds; any other failure counts at once.
/// let lost = Retry::new(2).backoff(Duration::from_millis(10)).only(|error| error.is_worker_lost());
/// let pool = Pool::new(1)?;
/// let deadly = |x: u32| if x == 1 { std::process::abort() } else { x };
/// let results = pool.tasks(deadly, 0..3).retry(lost).each();
/// let error = results[1].as_ref().unwrap_err();
/// assert!(error.is_worker_lost() && error.earlier_attempts().len() == 2);
/// assert!(results[0].is_ok() && results[2].is_ok());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing until it is given to a call, by `retry`"]
pub struct Retry {
    times: u32,
    /// The pause before the first repetition.
    first: Duration,
    longest: Duration,
    only: Option<Only>,
}

/// Asks the program whether a task is to be run again.
type Only = Arc<dyn Fn(&TaskError) -> bool + Send + Sync>;

impl Retry {
    /// Makes a policy by which a task that fails is run again up to `times` times, each time at once.
    pub fn new(times: u32) -> Retry {
        Retry { times, first: Duration::ZERO, longest: LONGEST, only: None }
    }

    /// Sets the pause before a task is run again for the first time. Each further pause is twice as long as the one before,
    /// and at most [`Retry::max_backoff`]. Other tasks run meanwhile.
    pub fn backoff(mut self, first: Duration) -> Retry {
        self.first = first;
        self
    }

    /// Sets the longest pause. Default: 1 minute.
    pub fn max_backoff(mut self, longest: Duration) -> Retry {
        self.longest = longest;
        self
    }

    /// Runs a task again only if `f` says so of its error.
    ///
    /// `f` runs on a thread that waits for results of the call, or on the one where callbacks run. If it panics, the task
    /// is not run again.
    pub fn only(mut self, f: impl Fn(&TaskError) -> bool + Send + Sync + 'static) -> Retry {
        self.only = Some(Arc::new(f));
        self
    }

    pub(crate) fn times(&self) -> u32 {
        self.times
    }

    /// Whether the program has to be asked.
    pub(crate) fn asks(&self) -> bool {
        self.only.is_some()
    }

    /// What the program says. Runs user code.
    pub(crate) fn ask(&self, error: &TaskError) -> bool {
        self.only.as_ref().is_none_or(|only| only(error))
    }

    /// The pause before a task is run again that was run again `before` times.
    pub(crate) fn pause(&self, before: u64) -> Duration {
        let factor = u32::try_from(before).ok().and_then(|before| 1u32.checked_shl(before)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Retry { times, first, longest, only } = self;
        let mut out = f.debug_struct("Retry");
        out.field("times", times).field("backoff", first).field("max_backoff", longest);
        out.field("only", &only.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry::new(9).backoff(Duration::from_millis(10)).max_backoff(Duration::from_millis(50));
        let pauses: Vec<u128> = (0..4).map(|before| retry.pause(before).as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 50]);
        assert_eq!(retry.pause(u64::MAX), Duration::from_millis(50));
        assert_eq!(Retry::new(1).pause(7), Duration::ZERO);
    }
}
