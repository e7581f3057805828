//! Waiting for several results at once: [`wait_any`], [`as_completed`].

use crate::api::async_result::AsyncResult;
use crate::api::signal::Signal;
use crate::engine::callbacks;
use crate::error::TaskError;
use crate::sys::time::Deadline;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How long the thread where callbacks run waits for one result, before it looks at the next.
const TURN: Duration = Duration::from_millis(1);

/// Waits until one of the results is there, and returns its place among them; `None` if there are none. If several are
/// there, it is that of the first.
///
/// ```
/// use multiproc::{Pool, wait_any};
/// use std::time::Duration;
///
/// let pool = Pool::new(2)?;
/// let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
/// let results = [pool.apply_async(sleep, (60_000,))?, pool.apply_async(sleep, (1,))?];
/// assert_eq!(wait_any(&results), Some(1));
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn wait_any<'r, T: Send + 'static>(results: impl IntoIterator<Item = &'r AsyncResult<T>>) -> Option<usize> {
    wait_until(&results.into_iter().collect::<Vec<_>>(), Deadline::NEVER)
}

/// Waits until one of the results is there, for at most `timeout`; otherwise as [`wait_any`]. `None` if none is there.
///
/// ```
/// use multiproc::{Pool, wait_any_timeout};
/// use std::time::Duration;
///
/// let pool = Pool::new(1)?;
/// let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
/// let results = [pool.apply_async(sleep, (60_000,))?];
/// assert_eq!(wait_any_timeout(&results, Duration::from_millis(1)), None);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn wait_any_timeout<'r, T: Send + 'static>(
    results: impl IntoIterator<Item = &'r AsyncResult<T>>,
    timeout: Duration,
) -> Option<usize> {
    wait_until(&results.into_iter().collect::<Vec<_>>(), Deadline::after(timeout))
}

fn turn(until: Deadline) -> Duration {
    until.remaining().unwrap_or(TURN).min(TURN)
}

fn wait_until<T: Send + 'static>(results: &[&AsyncResult<T>], until: Deadline) -> Option<usize> {
    let first_ready = || results.iter().position(|result| result.is_over());
    if let Some(place) = first_ready().or_else(|| results.is_empty().then_some(usize::MAX)) {
        return (place != usize::MAX).then_some(place);
    }
    let signal = Arc::new(Signal::default());
    for (place, result) in results.iter().enumerate() {
        result.tell(&signal, place);
    }
    loop {
        // Before the end is looked for: one that comes now is told.
        if let Some(place) = first_ready() {
            return Some(place);
        }
        if callbacks::is_this_thread() {
            // It would be told on this very thread.
            for result in results {
                if result.wait_timeout(turn(until)) {
                    break;
                }
            }
        } else if signal.next(until).is_some() {
            continue;
        }
        if until.passed() {
            return first_ready();
        }
    }
}

/// Returns the results one by one, each as soon as it is there, with its place among those that were given.
///
/// ```
/// use multiproc::{Pool, as_completed};
/// use std::time::Duration;
///
/// let pool = Pool::new(2)?;
/// let sleep = |ms: u64| { std::thread::sleep(Duration::from_millis(ms)); ms };
/// let results = [pool.apply_async(sleep, (200,))?, pool.apply_async(sleep, (1,))?];
/// let mut order = Vec::new();
/// for (place, result) in as_completed(results) {
///     order.push((place, result?));
/// }
/// assert_eq!(order, [(1, 1), (0, 200)]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Dropping it cancels the calls whose results were not taken.
///
/// # Panics
///
/// Iterating panics if the result of one of them was taken before, by [`AsyncResult::get_timeout`].
pub fn as_completed<T: Send + 'static>(results: impl IntoIterator<Item = AsyncResult<T>>) -> AsCompleted<T> {
    let signal = Arc::new(Signal::default());
    let results: Vec<_> = results.into_iter().map(Some).collect();
    for (place, result) in results.iter().enumerate() {
        result.iter().for_each(|result| result.tell(&signal, place));
    }
    AsCompleted { left: results.len(), results, signal }
}

/// An iterator over results in the order in which they become ready, from [`as_completed`]: each with its place among those
/// that were given.
///
/// ```
/// use multiproc::{Pool, as_completed};
///
/// let pool = Pool::new(2)?;
/// let results = [2, 3].map(|x| pool.apply_async(u64::pow, (x, 2)).unwrap());
/// let mut left = as_completed(results);
/// let (place, square) = left.next().unwrap();
/// assert_eq!(square?, [4, 9][place]);
/// assert!(left.next().is_some() && left.next().is_none());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "dropping it cancels the calls"]
pub struct AsCompleted<T> {
    /// `None` for those that were taken.
    results: Vec<Option<AsyncResult<T>>>,
    left: usize,
    signal: Arc<Signal>,
}

impl<T: Send + 'static> AsCompleted<T> {
    /// Returns the next result, if it comes within `timeout`: [`Poll::Pending`] means that it has not come yet, and
    /// `Poll::Ready(None)` that there are no more.
    ///
    /// ```
    /// use std::task::Poll;
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let sleep = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    /// let mut results = multiproc::as_completed([pool.apply_async(sleep, (200,))?]);
    /// let soon = Duration::from_secs(10);
    /// assert!(results.next_timeout(Duration::from_millis(1)).is_pending());
    /// assert!(matches!(results.next_timeout(soon), Poll::Ready(Some((0, Ok(()))))));
    /// assert!(matches!(results.next_timeout(soon), Poll::Ready(None)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> Poll<Option<(usize, Result<T, TaskError>)>> {
        self.next_until(Deadline::after(timeout))
    }

    fn next_until(&mut self, until: Deadline) -> Poll<Option<(usize, Result<T, TaskError>)>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let place = if callbacks::is_this_thread() { self.look(until) } else { self.signal.next(until) };
        let Some((place, result)) = place.and_then(|place| Some((place, self.results.get_mut(place)?.take()?))) else {
            return Poll::Pending;
        };
        self.left -= 1;
        Poll::Ready(Some((place, result.get())))
    }

    /// As [`Signal::next`], on the thread on which it would be told.
    fn look(&self, until: Deadline) -> Option<usize> {
        loop {
            for (place, result) in self.results.iter().enumerate() {
                let Some(result) = result else { continue };
                if result.wait_timeout(turn(until)) {
                    return Some(place);
                }
            }
            if until.passed() {
                return None;
            }
        }
    }
}

impl<T: Send + 'static> Iterator for AsCompleted<T> {
    type Item = (usize, Result<T, TaskError>);

    fn next(&mut self) -> Option<(usize, Result<T, TaskError>)> {
        loop {
            if let Poll::Ready(next) = self.next_until(Deadline::NEVER) {
                return next;
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Each result as soon as it is there. With the feature `stream`.
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T: Send + 'static> futures_core::Stream for AsCompleted<T> {
    type Item = (usize, Result<T, TaskError>);

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<(usize, Result<T, TaskError>)>> {
        // First, so that nothing is missed between the look and the wait.
        self.signal.wake_later(context.waker());
        self.get_mut().next_timeout(Duration::ZERO)
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}
