//! [`AsyncResult`]: the result of a call, to be asked for later.

use crate::api::async_result::shared::{Shared, State};
use crate::api::signal::Signal;
use crate::engine::call::gather::Gather;
use crate::engine::call::job::Job;
use crate::engine::core::state::Engine;
use crate::error::{TaskError, TaskKind};
use crate::sys::time::Deadline;
use crate::sys::{signal, thread};
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::Builder;
use std::time::Duration;

pub(super) mod argument;
mod shared;

/// The result of a call that goes on in the background: Python's `AsyncResult`.
///
/// Made by [`Pool::apply_async`](crate::Pool::apply_async) and its kind, and by [`Call::submit`](crate::Call::submit).
/// Three ways to have the result: [`AsyncResult::get`] waits for it, [`AsyncResult::callback`] is called with it, and
/// `.await` works under any runtime.
///
/// ```
/// use multiproc::Pool;
///
/// let pool = Pool::new(2)?;
/// let sum = pool.apply_async(|a: u64, b: u64| a + b, (1, 2))?;
/// let squares = pool.map_async(|x: u64| x * x, 0..4)?;
/// assert_eq!(sum.get()?, 3);
/// assert_eq!(squares.get()?, [0, 1, 4, 9]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Several are waited for at once by [`wait_any`](crate::wait_any) and [`as_completed`](crate::as_completed).
///
/// **Dropping it cancels**: tasks that have not begun are not run, and the results of others are dropped. Call
/// [`AsyncResult::detach`] to let the call run on.
///
/// [`Pool::task_after`](crate::Pool::task_after) makes it the argument of a later call.
///
/// # If a worker dies
///
/// As with the calls that block: the task that it was running fails, and everything else goes on. Whatever happens to
/// the pool, every `AsyncResult` becomes ready.
#[must_use = "dropping it cancels the call: `get` its result, or `detach` it"]
pub struct AsyncResult<T> {
    shared: Arc<Shared<T>>,
    /// Dropping it does not cancel.
    detached: bool,
}

impl<T: Send + 'static> AsyncResult<T> {
    pub(crate) fn new(engine: Arc<Engine>, job: Arc<Job>, total: u64, gather: Box<dyn Gather<T>>) -> AsyncResult<T> {
        let state = State {
            gather: Some(gather),
            result: None,
            taken: false,
            callbacks: Vec::new(),
            by_callback: false,
            waker: None,
            will_wake: false,
            signals: Vec::new(),
            will_tell: false,
            saving: false,
        };
        let shared = Shared { engine, job, total, state: Mutex::new(state), ready: Condvar::new() };
        AsyncResult { shared: Arc::new(shared), detached: false }
    }

    /// If the call has a checkpoint: has a thread bring its results home as they come, since nobody else may ask for them
    /// before the last one is there, and the program may be killed meanwhile.
    pub(super) fn save_as_it_comes(&self) -> io::Result<()> {
        if self.shared.job.options.checkpoint.is_none() {
            return Ok(());
        }
        self.shared.state.lock().saving = true;
        let shared = Arc::clone(&self.shared);
        // Values are read there: they may nest as deep as those that a caller reads.
        let builder = Builder::new().name("multiproc-saves".to_owned()).stack_size(signal::stack_limit());
        thread::spawn(builder, move || thread::with_starter_mask(|| shared.save())).map(drop)
    }

    /// Waits for the result, and returns it.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let (left, right) = (pool.apply_async(u64::pow, (2, 10))?, pool.apply_async(u64::pow, (3, 3))?);
    /// assert_eq!(left.get()? + right.get()?, 1051);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the task, or for several tasks the one with the lowest index. In a callback of this very result it is
    /// [`TaskError::is_deadlock`].
    ///
    /// # Panics
    ///
    /// Panics when [`AsyncResult::get_timeout`] has given the result already.
    pub fn get(self) -> Result<T, TaskError> {
        if self.shared.waits_for_this_thread() {
            return Err(self.shared.job.error(TaskKind::Deadlock, 0, None));
        }
        loop {
            if let Some(result) = self.shared.take(Deadline::NEVER) {
                return result;
            }
        }
    }

    /// Waits for the result for at most `timeout`; `None` if the call still goes on.
    ///
    /// The task's own time limit is another thing, see [`Call::timeout`](crate::Call::timeout).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let mut result = pool.apply_async(|| std::thread::sleep(Duration::from_millis(50)), ())?;
    /// assert!(result.get_timeout(Duration::from_millis(1)).is_none());
    /// assert!(result.get_timeout(Duration::from_secs(10)).unwrap().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when it has given the result already.
    pub fn get_timeout(&mut self, timeout: Duration) -> Option<Result<T, TaskError>> {
        self.shared.take(Deadline::after(timeout))
    }

    /// Waits until the result is there, or was taken.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let result = pool.apply_async(u64::pow, (2, 10))?;
    /// result.wait();
    /// assert!(result.ready());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics in a callback of this very result, since the result would wait for the callback.
    pub fn wait(&self) {
        assert!(!self.shared.waits_for_this_thread(), "a callback waits for the result that waits for it");
        while !self.shared.wait(Deadline::NEVER) {}
    }

    /// Waits until the result is there, for at most `timeout`. Returns whether it is there.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let slow = pool.apply_async(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    /// assert!(!slow.wait_timeout(Duration::from_millis(10)));
    /// slow.kill();
    /// assert!(slow.wait_timeout(Duration::from_secs(60)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.wait(Deadline::after(timeout))
    }

    /// Returns whether the result is there. Inside of a callback it is not yet, as in Python.
    pub fn ready(&self) -> bool {
        let state = self.shared.state.lock();
        state.result.is_some() || !state.by_callback && self.shared.job.is_complete()
    }

    /// Whether there is nothing to wait for: the result is there, or was taken.
    pub(super) fn is_over(&self) -> bool {
        self.ready() || self.shared.state.lock().taken
    }

    /// Tells a signal once there is nothing to wait for any more; at once if that is so.
    pub(super) fn tell(&self, signal: &Arc<Signal>, place: usize) {
        let mut state = self.shared.state.lock();
        // Those that nobody waits for any more.
        state.signals.retain(|(signal, _)| signal.strong_count() > 0);
        state.signals.push((Arc::downgrade(signal), place));
        // After callbacks they tell it.
        let register = !state.by_callback && !std::mem::replace(&mut state.will_tell, true);
        drop(state);
        if register {
            let later = Arc::clone(&self.shared);
            // If it is complete already that is seen below.
            let _ = self.shared.job.when_complete(Box::new(move || later.tell_signals()));
        }
        if self.is_over() {
            self.shared.tell_signals();
        }
    }

    /// Returns whether the call went well; `None` while it goes on, and after its result was taken.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let result = pool.apply_async(|x: i32| 12 / x, (0,))?;
    /// result.wait();
    /// assert_eq!(result.successful(), Some(false));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn successful(&self) -> Option<bool> {
        if !self.ready() {
            return None;
        }
        self.shared.wait(Deadline::NEVER);
        self.shared.state.lock().result.as_ref().map(Result::is_ok)
    }

    /// Calls `f` with the value once it is there, on a thread that this library keeps for such calls.
    ///
    /// Callbacks should be quick, since they all run on that one thread. A callback that panics does not affect other
    /// results. A callback may wait for another result: if that has callbacks, these run before the wait ends. It
    /// must not wait for a thread that waits for a callback. `f` is called before the result counts as
    /// [`AsyncResult::ready`], so that [`AsyncResult::get`] of the same result is an error inside of it. If the call
    /// fails, `f` is not called.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let result = pool.apply_async(|x: i32| x + 1, (1,))?.callback(move |value| tell.send(*value).unwrap());
    /// assert_eq!((told.recv().unwrap(), result.get()?), (2, 2));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn callback(self, f: impl FnOnce(&T) + Send + 'static) -> AsyncResult<T> {
        self.shared.when_done(Box::new(|result| {
            if let Ok(value) = result {
                f(value);
            }
        }));
        self
    }

    /// Calls `f` with the error if the call fails; otherwise as [`AsyncResult::callback`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let result = pool.apply_async(|x: i32| 12 / x, (0,))?;
    /// let result = result.error_callback(move |error| tell.send(error.is_panic()).unwrap());
    /// assert!(told.recv().unwrap() && result.get().is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn error_callback(self, f: impl FnOnce(&TaskError) + Send + 'static) -> AsyncResult<T> {
        self.shared.when_done(Box::new(|result| {
            if let Err(error) = result {
                f(error);
            }
        }));
        self
    }

    /// Cancels the tasks that have not begun, and returns whether there were any. The result is
    /// [`TaskError::is_cancelled`] then.
    ///
    /// A task that is running goes on, and is told: [`CurrentTask::is_cancelled`](crate::CurrentTask::is_cancelled). If there
    /// were no others its value counts. [`AsyncResult::kill`] ends it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let sleep = || std::thread::sleep(Duration::from_secs(60));
    /// let (busy, waits) = (pool.apply_async(sleep, ())?, pool.apply_async(sleep, ())?);
    /// assert!(waits.cancel());
    /// assert!(waits.get().unwrap_err().is_cancelled());
    /// assert!(!busy.ready());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.shared.engine.cancel(&self.shared.job)
    }

    /// Cancels the tasks that have not begun, and stops the workers that run tasks of this call. Other workers take
    /// their places.
    ///
    /// A task that was running is [`TaskError::is_cancelled`] then. Tasks of other calls are not affected.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let stuck = pool.apply_async(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    /// stuck.kill();
    /// assert!(stuck.get().unwrap_err().is_cancelled());
    /// assert_eq!(pool.apply(u64::pow, (2, 10))?, 1024); // By a new worker.
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn kill(&self) {
        self.shared.engine.kill(&self.shared.job);
    }

    /// Lets the call run on without a handle; callbacks are still called.
    ///
    /// ```
    /// let (pool, queue) = (multiproc::Pool::new(1)?, multiproc::Queue::new());
    /// pool.apply_async(|queue: multiproc::Queue<u32>| queue.put(7).unwrap(), (queue.clone(),))?.detach();
    /// assert_eq!(queue.get()?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn detach(mut self) {
        self.detached = true;
        let state = self.shared.state.lock();
        if !state.by_callback && !state.saving {
            self.shared.job.discard();
        }
    }
}

impl<T: Send + 'static> Future for AsyncResult<T> {
    type Output = Result<T, TaskError>;

    /// # Panics
    ///
    /// Panics when it has given the result already.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        state.waker = Some(context.waker().clone());
        let register = !state.by_callback && !std::mem::replace(&mut state.will_wake, true);
        drop(state);
        if register {
            let later = Arc::clone(shared);
            // If it is complete already there is nothing to be woken for.
            let _ = shared.job.when_complete(Box::new(move || later.wake()));
        }
        if !self.ready() {
            return Poll::Pending;
        }
        match shared.take(Deadline::NEVER) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for AsyncResult<T> {
    fn drop(&mut self) {
        let Shared { engine, job, .. } = &*self.shared;
        if !self.detached && !job.is_complete() && engine.is_original() {
            engine.cancel(job);
            job.discard();
        }
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("call", &self.shared.job).finish_non_exhaustive()
    }
}
