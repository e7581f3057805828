//! [`Imap`]: results one by one, from tasks that are read as they are needed.

use crate::codec::{self, CodecError, Payload, Reader};
use crate::engine::call::feed::{Behind, Feed, Filled, Input, Limits};
use crate::engine::call::home::Home;
use crate::engine::call::job::{Halt, Job};
use crate::engine::call::results::{Load, Sink};
use crate::engine::core::serve::Served;
use crate::engine::core::state::Engine;
use crate::error::{Failure, TaskError, TaskKind};
use crate::process::panic;
use crate::sys::time::Deadline;
use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// An iterator over results, from [`Pool::imap`](crate::Pool::imap), [`Pool::imap_unordered`](crate::Pool::imap_unordered),
/// [`Call::iter`](crate::Call::iter) and [`Call::unordered`](crate::Call::unordered).
///
/// Input is read while results are taken, and only as far as there is room for: see
/// [`Call::buffersize`](crate::Call::buffersize). So an endless input is fine, and memory stays bounded however slow the
/// consumer is. A failed task is one `Err`; the iteration goes on behind it.
///
/// Dropping it cancels: tasks that have not begun are not run.
///
/// ```
/// let pool = multiproc::Pool::new(2)?;
/// let mut shares = pool.imap(|x: u32| 12 / x, [3, 0, 4].into_iter().cycle());
/// assert_eq!(shares.next().unwrap()?, 4);
/// assert!(shares.next().unwrap().unwrap_err().is_panic());
/// assert_eq!(shares.next().unwrap()?, 3);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Panics
///
/// A panic in the input iterator comes out of `next`, after the results of all tasks before it.
#[must_use = "an iterator does nothing unless it is used"]
pub struct Imap<'a, R> {
    /// `None` when the pool has refused the call: the refusal is the only item.
    call: Option<Call<'a>>,
    ready: Ready<R>,
}

struct Call<'a> {
    engine: Arc<Engine>,
    job: Arc<Job>,
    input: Input,
    feed: Caught<'a>,
    halted: Option<Halt>,
}

impl<'a, R: Payload> Imap<'a, R> {
    pub(crate) fn new(engine: Arc<Engine>, job: Arc<Job>, feed: Box<dyn Feed + 'a>, ordered: bool) -> Imap<'a, R> {
        let feed = Caught { feed, payload: None };
        let mut imap = Imap {
            call: Some(Call { engine, job, input: Input::new(), feed, halted: None }),
            ready: Ready::new(ordered),
        };
        // The first tasks begin before the first result is asked for.
        imap.top_up();
        imap
    }

    pub(crate) fn refused(error: TaskError) -> Imap<'a, R> {
        let mut ready = Ready::new(false);
        ready.failure(0, error);
        Imap { call: None, ready }
    }

    /// Returns the next result, if it comes within `timeout`: [`Poll::Pending`] means that it has not come yet, and
    /// `Poll::Ready(None)` that there are no more.
    ///
    /// ```
    /// use std::task::Poll;
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let mut results = pool.imap(|ms: u64| std::thread::sleep(Duration::from_millis(ms)), [200]);
    /// let soon = Duration::from_secs(10);
    /// assert!(results.next_timeout(Duration::from_millis(1)).is_pending());
    /// assert!(matches!(results.next_timeout(soon), Poll::Ready(Some(Ok(())))));
    /// assert!(matches!(results.next_timeout(soon), Poll::Ready(None)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// See `next`.
    pub fn next_timeout(&mut self, timeout: Duration) -> Poll<Option<Result<R, TaskError>>> {
        self.next_until(Deadline::after(timeout))
    }

    fn next_until(&mut self, until: Deadline) -> Poll<Option<Result<R, TaskError>>> {
        loop {
            if let Some(result) = self.ready.pop() {
                self.top_up();
                return Poll::Ready(Some(result));
            }
            let Some(call) = &mut self.call else { return Poll::Ready(None) };
            if let Some(halt) = &call.halted {
                let kind = halt.task_kind();
                // The first item that was not handed in says that there are more, if the input is sure of one.
                let more = !call.input.ended && call.feed.has_more();
                let total = call.input.next + u64::from(more);
                return Poll::Ready(self.ready.rest(total, |index| call.job.error(kind.clone(), index, None)));
            }
            let Call { engine, job, input, feed, .. } = call;
            match engine.serve(job, Some((input, &mut *feed)), &mut self.ready, until) {
                Served::Enough => {}
                Served::TimedOut => return Poll::Pending,
                Served::Halted(halt) => call.halted = Some(halt),
                Served::Done => {
                    if self.ready.has_next() {
                        continue;
                    }
                    engine.leave(job);
                    if let Some(payload) = call.feed.payload.take() {
                        std::panic::resume_unwind(payload);
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Hands in more tasks if many results were taken since.
    fn top_up(&mut self) {
        let Some(Call { engine, job, input, feed, halted: None }) = &mut self.call else { return };
        if !input.ended && self.ready.is_thirsty(job) {
            engine.top_up(job, input, feed, &mut self.ready);
        }
    }
}

impl<R: Payload> Iterator for Imap<'_, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        loop {
            if let Poll::Ready(next) = self.next_until(Deadline::NEVER) {
                return next;
            }
        }
    }
}

/// Nothing in it is pinned.
impl<R> Unpin for Imap<'_, R> {}

/// The results, for asynchronous code under any runtime: as the iterator gives them. With the feature `stream`.
///
/// Input is read, and results are decoded, by the task that polls.
///
/// ```
/// use futures_core::Stream;
/// use std::future::poll_fn;
/// use std::pin::Pin;
///
/// let pool = multiproc::Pool::new(2)?;
/// let mut squares = pool.imap(|x: u64| x * x, 0..10);
/// let sum = async {
///     let mut sum = 0;
///     // The same as `squares.next().await` with `StreamExt` of the crate futures.
///     while let Some(square) = poll_fn(|context| Pin::new(&mut squares).poll_next(context)).await {
///         sum += square?;
///     }
///     Ok::<u64, multiproc::TaskError>(sum)
/// };
/// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// assert_eq!(runtime.block_on(sum)?, 285);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<R: Payload> futures_core::Stream for Imap<'_, R> {
    type Item = Result<R, TaskError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<R, TaskError>>> {
        let imap = self.get_mut();
        if let (false, Some(call)) = (imap.ready.has_next(), &imap.call) {
            // First, so that nothing is missed between the look and the wait.
            call.engine.wake_later(&call.job, context.waker());
        }
        imap.next_until(Deadline::after(Duration::ZERO))
    }
}

impl<R> Drop for Imap<'_, R> {
    fn drop(&mut self) {
        if let Some(Call { engine, job, .. }) = &self.call {
            engine.abandon(job);
        }
    }
}

impl<R> fmt::Debug for Imap<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("call", &self.call.as_ref().map(|call| &call.job)).finish_non_exhaustive()
    }
}

/// An input whose panic is kept until all results before it were taken.
struct Caught<'a> {
    feed: Box<dyn Feed + 'a>,
    payload: Option<Box<dyn Any + Send>>,
}

impl Feed for Caught<'_> {
    fn fill(&mut self, out: &mut Vec<u8>, limits: Limits) -> Filled {
        let (start, mut count) = (out.len(), 0);
        while count < limits.most && (count == 0 || out.len() - start < limits.bytes) {
            // One by one, so that a panic costs none of those before it.
            let before = out.len();
            let one = Limits::one(limits.lends_behind(count));
            match catch_unwind(AssertUnwindSafe(|| self.feed.fill(out, one))) {
                // With a key it is a frame of its own.
                Ok(Filled { count: 1, home: Home::ANYWHERE, behind: Behind::More }) => count += 1,
                Ok(filled) => return Filled { count: count + filled.count, ..filled },
                Err(payload) => {
                    out.truncate(before);
                    self.payload = Some(payload);
                    return Filled::anywhere(count, Behind::End);
                }
            }
        }
        Filled::anywhere(count, Behind::More)
    }

    fn tail(&mut self) -> Option<&[u8]> {
        let Caught { feed, payload } = self;
        let tail = || {
            let feed = feed;
            feed.tail()
        };
        catch_unwind(AssertUnwindSafe(tail)).unwrap_or_else(|panic| {
            *payload = Some(panic);
            None
        })
    }

    fn release(&mut self) {
        self.feed.release();
    }

    fn left(&self) -> Option<u64> {
        self.feed.left()
    }

    fn has_more(&self) -> bool {
        self.payload.is_none() && self.feed.has_more()
    }
}

/// Results that have arrived and were not taken yet.
#[derive(Debug)]
struct Ready<R> {
    /// Those of one answer, until it is known where they belong.
    arrived: Vec<Result<R, TaskError>>,
    /// Those that can be taken.
    queue: VecDeque<Result<R, TaskError>>,
    /// In order: runs without gaps of those that wait for one before them, by the number of the first; `next` is the one that
    /// comes behind the queue.
    early: Option<BTreeMap<u64, Vec<Result<R, TaskError>>>>,
    next: u64,
    /// How many wait for one before them.
    waiting: u64,
    /// How many were taken or are in the queue, for calls without an order.
    seen: u64,
    /// The room at the last look.
    limit: Cell<u64>,
}

/// So much work may be under way or wait to be taken, in nanoseconds for each worker.
const AHEAD: f64 = 50_000_000.0;

/// At most so many results, and so many bytes of tasks.
const MOST_ITEMS: u64 = 65_536;
const MOST_BYTES: u64 = 64 << 20;

impl<R> Ready<R> {
    fn new(ordered: bool) -> Ready<R> {
        Ready {
            arrived: Vec::new(),
            queue: VecDeque::new(),
            early: ordered.then(BTreeMap::new),
            next: 0,
            waiting: 0,
            seen: 0,
            limit: Cell::new(u64::MAX),
        }
    }

    /// Puts what has arrived, the results of task `first` and of those behind it, where it belongs.
    fn place(&mut self, first: u64) {
        let count = self.arrived.len() as u64;
        self.seen += count;
        let Some(early) = &mut self.early else { return self.queue.extend(self.arrived.drain(..)) };
        if first == self.next {
            self.next += count;
            self.queue.extend(self.arrived.drain(..));
            return self.join();
        }
        self.waiting += count;
        match early.range_mut(..first).next_back().filter(|(start, run)| **start + run.len() as u64 == first) {
            Some((_, run)) => run.append(&mut self.arrived),
            None => drop(early.insert(first, std::mem::take(&mut self.arrived))),
        }
    }

    /// Puts the runs that wait for nothing any more behind the queue.
    fn join(&mut self) {
        while let Some(run) = self.early.as_mut().and_then(BTreeMap::first_entry).filter(|run| *run.key() == self.next)
        {
            let run = run.remove();
            self.next += run.len() as u64;
            self.waiting -= run.len() as u64;
            self.queue.extend(run);
        }
    }

    fn has_next(&self) -> bool {
        !self.queue.is_empty()
    }

    fn pop(&mut self) -> Option<Result<R, TaskError>> {
        self.queue.pop_front()
    }

    /// In a call that has ended before its time, when the queue is empty: the next of what is left of `total` results.
    fn rest(&mut self, total: u64, missing: impl Fn(u64) -> TaskError) -> Option<Result<R, TaskError>> {
        self.join();
        if let Some(result) = self.pop() {
            return Some(result);
        }
        let next = if self.early.is_some() { &mut self.next } else { &mut self.seen };
        let index = *next;
        *next += 1;
        (index < total).then(|| Err(missing(index)))
    }

    fn held(&self) -> u64 {
        self.queue.len() as u64 + self.waiting
    }

    /// Whether so few are left that more should be handed in.
    fn is_thirsty(&self, job: &Job) -> bool {
        job.outstanding() + self.held() <= self.limit.get() / 2
    }
}

impl<R: Payload> Sink for Ready<R> {
    fn values(&mut self, first: u64, count: u32, reader: &mut Reader<'_>, error: &dyn Fn(u64, TaskKind) -> TaskError) {
        for index in first..first + u64::from(count) {
            let decoded = panic::decode(reader);
            self.arrived.push(decoded.map_err(|CodecError(text)| error(index, Failure::Decode { text }.into())));
        }
        self.place(first);
    }

    fn failure(&mut self, index: u64, error: TaskError) {
        self.arrived.push(Err(error));
        self.place(index);
    }

    fn runs_user_code(&self) -> bool {
        codec::runs_user_code::<R>()
    }

    fn enough(&self) -> bool {
        self.has_next()
    }

    fn room(&self, load: &Load) -> u64 {
        let limit = limit(load);
        self.limit.set(limit);
        limit.saturating_sub(load.outstanding + self.held())
    }
}

/// How many tasks may be under way or wait to be taken.
fn limit(load: &Load) -> u64 {
    if let Some(size) = load.buffersize {
        return size as u64;
    }
    let workers = load.workers as u64;
    let Some(nanos) = load.nanos else { return 4 * workers };
    let by_time = (AHEAD / nanos.max(1.0)) as u64 * workers;
    let each = (load.bytes / load.tasks.max(1)).max(1);
    by_time.min(MOST_BYTES / each).clamp(4 * workers, MOST_ITEMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the results of tasks `first .. first + count`, each of which is its number.
    fn give(ready: &mut Ready<u64>, first: u64, count: u32) {
        let mut bytes = Vec::new();
        (first..first + u64::from(count)).for_each(|value| codec::encode(&value, &mut bytes).unwrap());
        ready.values(first, count, &mut Reader::new(&bytes), &error);
    }

    fn error(index: u64, kind: TaskKind) -> TaskError {
        TaskError::new(kind, "f", index, None)
    }

    /// The numbers of what can be taken.
    fn taken(ready: &mut Ready<u64>) -> Vec<u64> {
        std::iter::from_fn(|| ready.pop()).map(|result| result.unwrap_or_else(|error| error.index())).collect()
    }

    #[test]
    fn results_wait_for_those_before_them_and_no_longer() {
        let mut ready = Ready::new(true);
        give(&mut ready, 6, 2);
        give(&mut ready, 10, 2);
        give(&mut ready, 3, 1);
        // It closes the gap between two runs.
        give(&mut ready, 4, 2);
        ready.failure(9, error(9, TaskKind::Cancelled));
        assert!(!ready.has_next() && ready.held() == 8);
        give(&mut ready, 0, 3);
        assert_eq!((taken(&mut ready), ready.held()), ((0..8).collect(), 3));
        ready.failure(8, error(8, TaskKind::Cancelled));
        assert_eq!((taken(&mut ready), ready.held()), ((8..12).collect(), 0));
    }

    #[test]
    fn a_call_that_has_ended_gives_what_arrived_and_errors_for_the_rest() {
        let mut ready = Ready::new(true);
        give(&mut ready, 0, 1);
        give(&mut ready, 2, 2);
        assert_eq!(taken(&mut ready), [0]);
        let next = |ready: &mut Ready<u64>| ready.rest(5, |index| error(index, TaskKind::Terminated));
        let rest: Vec<_> = std::iter::from_fn(|| ready.pop().or_else(|| next(&mut ready))).collect();
        let rest: Vec<_> = rest.iter().map(|result| result.as_ref().map_err(TaskError::index)).collect();
        assert_eq!(rest, [Err(1), Ok(&2), Ok(&3), Err(4)]);
        assert!(next(&mut ready).is_none());

        let mut unordered = Ready::new(false);
        give(&mut unordered, 2, 2);
        assert_eq!(taken(&mut unordered), [2, 3]);
        assert!(unordered.rest(3, |index| error(index, TaskKind::Terminated)).is_some_and(|result| result.is_err()));
        assert!(unordered.rest(3, |index| error(index, TaskKind::Terminated)).is_none());
    }
}
