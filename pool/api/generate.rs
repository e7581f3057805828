//! [`Generate`] and [`Generated`]: values that tasks give while they run.
//!
//! Each task has a channel of its own. The task's arguments carry one end of it to the worker, wherever that is and whoever
//! gets the task if the first worker dies before it begins; the other end stays here. So the bound, the waiting on both sides,
//! and what was sent by a worker that has died meanwhile are those of channels, and the pool knows nothing of it: for it these
//! are tasks whose result is their number.

use crate::api::call::Call;
use crate::api::described::Described;
use crate::api::imap::Imap;
use crate::channels::channel::{Receiver, channel};
use crate::channels::wait::{Waitable, wait};
use crate::codec::Payload;
use crate::engine::worker::emit::{Emit, Emits, Said};
use crate::error::{Failure, TaskError};
use crate::process::args::Task;
use crate::process::context::{Bare, Kept};
use crate::process::returns::{Completion, Fallible};
use std::any::type_name;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How many values of a task may wait to be taken, if nothing is said.
const BUFFER: usize = 64;

/// How long a wait for values lasts before it looks how the pool gets on.
const LOOK_EACH: Duration = Duration::from_millis(100);

/// After how many values it looks how the pool gets on.
const PUMP_EACH: u32 = 32;

/// A call whose tasks give any number of values while they run, described by [`Pool::generate`](crate::Pool::generate) or
/// [`With::generate`](crate::With::generate). It does nothing until it is delivered: by [`Generate::iter`], a `for` loop, or
/// [`Generate::unordered`].
///
/// Of the options of a [`Call`] it has those that make sense here:
///
/// - A task that has failed is not run again, and there is no checkpoint: the values that it has given are with whoever
///   iterates, and a second run would give them once more. To go on where a task has stopped, generate once more from an item
///   that says where.
/// - Each task travels alone, and as many are under way as there are workers and once more, so there is no chunk size.
/// - An error does not end the call. Who wants that drops the iterator at the first one: `collect::<Result<Vec<_>, _>>()`.
///
/// ```
/// use multiproc::{Emit, Pool};
///
/// fn count(to: u32, emit: &Emit<u32>) -> multiproc::Result<()> {
///     (0..to).try_for_each(|n| emit.send(n))
/// }
///
/// let pool = Pool::new(2)?;
/// let mut numbers = Vec::new();
/// for number in pool.generate(count, [2, 3]).buffer(100).priority(1) {
///     numbers.push(number?);
/// }
/// assert_eq!(numbers, [0, 1, 0, 1, 2]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "a call does nothing until it is delivered: by `iter` or `unordered`"]
pub struct Generate<'p, F, I, T, R, X = Bare> {
    described: Described<'p>,
    items: I,
    buffer: usize,
    kind: PhantomData<fn(F, T, R, X)>,
}

impl<'p, F, I, T, R, X> Generate<'p, F, I, T, R, X> {
    pub(super) fn new(described: Described<'p>, items: I) -> Generate<'p, F, I, T, R, X> {
        Generate { described, items, buffer: BUFFER, kind: PhantomData }
    }

    /// Sets how many values of one task may wait to be taken, from 1 on; then [`Emit::send`] waits. Default: 64.
    pub fn buffer(mut self, values: usize) -> Self {
        self.buffer = values.max(1);
        self
    }

    /// Limits the time of each task, the time included in which it waits for a slow consumer; see [`Call::timeout`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.described.options.timeout = Some(limit);
        self
    }

    /// Tells a task to end when it has run for `limit`; see [`Call::soft_timeout`].
    pub fn soft_timeout(mut self, limit: Duration) -> Self {
        self.described.options.soft_timeout = Some(limit);
        self
    }

    /// Sets how urgent the call is among others of the pool; see [`Call::priority`].
    pub fn priority(mut self, priority: i8) -> Self {
        self.described.options.priority = priority;
        self
    }

    /// Says which trace the call belongs to; see [`Call::traceparent`].
    pub fn traceparent(mut self, header: &str) -> Self {
        self.described.options.traceparent = Some(header.into());
        self
    }
}

impl<'p, F, I, T, R, X> Generate<'p, F, I, T, R, X>
where
    F: for<'e> Task<(I::Item, &'e Emit<T>), X, Output = R>,
    I: Iterator<Item: Payload> + 'p,
    T: Payload,
    R: Completion + 'static,
    X: Kept,
{
    /// Returns the values one by one: all of the first task, in the order in which it has given them, then all of the second
    /// one, and so on. Tasks behind the first one run meanwhile, until their values fill their buffers.
    ///
    /// # Panics
    ///
    /// A panic in the input iterator comes out of `next`. So does one for want of shared memory for the buffer of a task.
    pub fn iter(self) -> Generated<'p, T> {
        self.start(true)
    }

    /// Returns the values one by one as they arrive. Those of one task keep their order.
    ///
    /// ```
    /// use multiproc::{Emit, Pool};
    ///
    /// let pool = Pool::new(2)?;
    /// let count = |from: u32, emit: &Emit<u32>| (from..from + 3).try_for_each(|x| emit.send(x));
    /// let mut values = pool.generate(count, [0, 10]).unordered().collect::<Result<Vec<_>, _>>()?;
    /// values.sort();
    /// assert_eq!(values, [0, 1, 2, 10, 11, 12]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// See [`Generate::iter`].
    pub fn unordered(self) -> Generated<'p, T> {
        self.start(false)
    }

    fn start(self, ordered: bool) -> Generated<'p, T> {
        let Generate { described, items, buffer, .. } = self;
        let ahead = 2 * described.engine().describe().1;
        let sources = Rc::new(RefCell::new(VecDeque::new()));
        let (input, number) = (Rc::clone(&sources), 0..);
        let items = items.zip(number).map(move |(item, number)| {
            // Beside the values there are two words: that the task begins, and that it ends.
            let (sender, receiver) = channel(buffer.saturating_add(2));
            input.borrow_mut().push_back(Source { number, receiver, stage: Stage::New, early: VecDeque::new() });
            (number, item, sender)
        });
        let call: Call<'p, Emits<F, I::Item, T, R, X>, _, Fallible> = Call::new(described, items).fallible();
        let tasks = call.chunksize(1).buffersize(ahead).unordered();
        let function = type_name::<F>();
        Generated {
            tasks,
            sources,
            outcomes: HashMap::new(),
            has_all: false,
            ordered,
            ahead,
            next: 0,
            taken: 0,
            function,
        }
    }
}

impl<'p, F, I, T, R, X> IntoIterator for Generate<'p, F, I, T, R, X>
where
    F: for<'e> Task<(I::Item, &'e Emit<T>), X, Output = R>,
    I: Iterator<Item: Payload> + 'p,
    T: Payload,
    R: Completion + 'static,
    X: Kept,
{
    type Item = Result<T, TaskError>;
    type IntoIter = Generated<'p, T>;

    fn into_iter(self) -> Generated<'p, T> {
        self.iter()
    }
}

impl<F, I, T, R, X> fmt::Debug for Generate<'_, F, I, T, R, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generate").field("buffer", &self.buffer).finish_non_exhaustive()
    }
}

/// The values of one task.
struct Source<T> {
    number: u64,
    receiver: Receiver<Said<T>>,
    stage: Stage,
    /// Values that were taken before it was their turn.
    early: VecDeque<T>,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Begun,
    /// There are no more values.
    Ended,
}

/// What a look at the values of a task has found.
enum Found<T> {
    Value(T),
    /// A value that cannot be read.
    Bad(String),
    /// Nothing yet.
    Nothing,
    /// There are no more.
    End,
}

impl<T: Payload> Source<T> {
    fn look(&mut self) -> Found<T> {
        if let Some(value) = self.early.pop_front() {
            return Found::Value(value);
        }
        self.receive()
    }

    fn receive(&mut self) -> Found<T> {
        while self.stage != Stage::Ended {
            match self.receiver.try_recv() {
                Ok(Some(Said::Begun)) => self.stage = Stage::Begun,
                Ok(Some(Said::Value(value))) => return Found::Value(value),
                Ok(Some(Said::Ended)) => self.stage = Stage::Ended,
                Ok(None) => return Found::Nothing,
                // The worker has died, or the task never came to one.
                Err(error) if error.is_disconnected() => self.stage = Stage::Ended,
                Err(error) if error.is_decode() => return Found::Bad(error.to_string()),
                Err(error) => {
                    // Nothing that comes behind it can be read.
                    self.stage = Stage::Ended;
                    return Found::Bad(error.to_string());
                }
            }
        }
        Found::End
    }
}

/// An iterator over the values that tasks give while they run, from [`Pool::generate`](crate::Pool::generate).
///
/// A task that fails is one `Err`, behind the values that it has given before; the iteration goes on with those of the others.
///
/// Dropping it cancels: tasks that have not begun are not run, [`Emit::send`] of the others fails, and
/// [`CurrentTask::is_cancelled`](crate::CurrentTask::is_cancelled) is true in them.
///
/// ```
/// use multiproc::{Emit, Pool};
///
/// fn halves(n: u32, emit: &Emit<u32>) -> multiproc::Result<()> {
///     emit.send(n / 2)?;
///     assert!(n % 2 == 0, "{n} is odd");
///     emit.send(n / 2)
/// }
///
/// let pool = Pool::new(2)?;
/// let mut values = pool.generate(halves, [5, 6]).iter();
/// assert_eq!(values.next().unwrap()?, 2);
/// assert!(values.next().unwrap().unwrap_err().is_panic());
/// assert_eq!(values.collect::<Result<Vec<_>, _>>()?, [3, 3]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "an iterator does nothing unless it is used"]
pub struct Generated<'a, T: Payload> {
    /// How the tasks end. Reading it is what hands in more of them.
    tasks: Imap<'a, u64>,
    /// The tasks that were handed in and whose values were not all taken, in the order of the items.
    sources: Rc<RefCell<VecDeque<Source<T>>>>,
    /// How tasks have ended whose values were not all taken.
    outcomes: HashMap<u64, Result<(), TaskError>>,
    /// All tasks have ended.
    has_all: bool,
    ordered: bool,
    /// How many tasks may be handed in before their turn.
    ahead: usize,
    /// Without an order: at which task the next look begins.
    next: usize,
    /// How many values were taken since the last look at how the pool gets on.
    taken: u32,
    function: &'static str,
}

impl<T: Payload> Generated<'_, T> {
    /// Takes notice of tasks that have ended, and hands in more; waits for one for as long as `timeout`.
    fn pump(&mut self, mut timeout: Duration) {
        while !self.has_all {
            match self.tasks.next_timeout(timeout) {
                Poll::Pending => return,
                Poll::Ready(None) => self.has_all = true,
                Poll::Ready(Some(Ok(number))) => _ = self.outcomes.insert(number, Ok(())),
                Poll::Ready(Some(Err(error))) => _ = self.outcomes.insert(error.index(), Err(error)),
            }
            timeout = Duration::ZERO;
        }
    }

    /// The values of the task at this place have come to their end: how the task has ended.
    fn finish(&mut self, at: usize) -> Option<Result<T, TaskError>> {
        let number = self.sources.borrow().get(at)?.number;
        while !self.has_all && !self.outcomes.contains_key(&number) {
            self.pump(LOOK_EACH);
        }
        self.sources.borrow_mut().remove(at);
        match self.outcomes.remove(&number) {
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(())) | None => None,
        }
    }

    /// Takes a value of a task that is behind the first one, if that has not even begun and others hold all workers up.
    fn make_way(&mut self) {
        let mut sources = self.sources.borrow_mut();
        if sources.front().is_none_or(|first| first.stage != Stage::New) {
            return;
        }
        for source in sources.iter_mut().skip(1).filter(|source| source.receiver.is_full()) {
            if let Found::Value(value) = source.receive() {
                source.early.push_back(value);
            }
        }
    }

    /// Waits until a task whose turn it is has said something, or a moment has passed.
    fn wait(&mut self) {
        let sources = self.sources.borrow();
        let turn = if self.ordered { 1 } else { sources.len() };
        let receivers: Vec<&dyn Waitable> = sources.iter().take(turn).map(|source| &source.receiver as _).collect();
        // If the system refuses to wait, the wait below is as good.
        let ready = if receivers.is_empty() { Ok(Vec::new()) } else { wait(&receivers, LOOK_EACH) };
        let nothing = !matches!(&ready, Ok(places) if !places.is_empty());
        let has_failed = ready.is_err() || receivers.is_empty();
        drop(sources);
        if has_failed {
            self.pump(LOOK_EACH);
        }
        if nothing && self.ordered {
            self.make_way();
        }
    }
}

impl<T: Payload> Iterator for Generated<'_, T> {
    type Item = Result<T, TaskError>;

    fn next(&mut self) -> Option<Result<T, TaskError>> {
        loop {
            let count = self.sources.borrow().len();
            let turn = if self.ordered { count.min(1) } else { count };
            for step in 0..turn {
                let at = (self.next + step) % turn;
                let mut sources = self.sources.borrow_mut();
                let Some(source) = sources.get_mut(at) else { continue };
                let number = source.number;
                let found = source.look();
                drop(sources);
                match found {
                    Found::Nothing => {}
                    Found::Value(value) => {
                        // Another task is the first to be looked at the next time.
                        self.next = at + 1;
                        self.taken += 1;
                        // More tasks are handed in also while there is no end of values.
                        if self.taken == PUMP_EACH && count < self.ahead {
                            self.pump(Duration::ZERO);
                        }
                        self.taken %= PUMP_EACH;
                        return Some(Ok(value));
                    }
                    Found::Bad(text) => {
                        return Some(Err(TaskError::new(Failure::Decode { text }.into(), self.function, number, None)));
                    }
                    Found::End => match self.finish(at) {
                        Some(error) => return Some(error),
                        None => break,
                    },
                }
            }
            if self.sources.borrow().len() < count {
                // A task was done with.
                continue;
            }
            if count < 2 * self.ahead {
                self.pump(Duration::ZERO);
            }
            if self.sources.borrow().len() > count {
                continue;
            }
            if self.has_all && count == 0 {
                // What is left are errors of tasks that never were: the pool has refused the call.
                let number = *self.outcomes.keys().min()?;
                return self.outcomes.remove(&number)?.err().map(Err);
            }
            self.wait();
        }
    }
}

impl<T: Payload> fmt::Debug for Generated<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.sources.borrow().len();
        f.debug_struct("Generated").field("tasks", &self.tasks).field("open", &waiting).finish_non_exhaustive()
    }
}
