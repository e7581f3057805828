//! What a call in the background shares with those who wait for its result: its state, and how the result becomes ready.

use crate::api::signal::Signal;
use crate::engine::call::gather::Gather;
use crate::engine::call::job::Job;
use crate::engine::callbacks;
use crate::engine::core::serve::Served;
use crate::engine::core::state::Engine;
use crate::error::TaskError;
use crate::process::panic;
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use std::sync::{Arc, Weak};
use std::task::Waker;

/// What is called with the result.
type Callback<T> = Box<dyn FnOnce(&Result<T, TaskError>) + Send>;

/// Of one call; with the handle, and with whoever tells when the call has ended.
pub(super) struct Shared<T> {
    pub(super) engine: Arc<Engine>,
    pub(super) job: Arc<Job>,
    pub(super) total: u64,
    pub(super) state: Mutex<State<T>>,
    /// The result is there, after callbacks.
    pub(super) ready: Condvar,
}

/// Behind the one lock of a result.
pub(super) struct State<T> {
    /// Absent while a thread uses it, and when the result is there.
    pub(super) gather: Option<Box<dyn Gather<T>>>,
    pub(super) result: Option<Result<T, TaskError>>,
    pub(super) taken: bool,
    pub(super) callbacks: Vec<Callback<T>>,
    /// A callback was ever set: the thread that runs callbacks takes the result.
    pub(super) by_callback: bool,
    pub(super) waker: Option<Waker>,
    /// The job will wake the waker.
    pub(super) will_wake: bool,
    /// Who waits for this result among others, and which place it has there.
    pub(super) signals: Vec<(Weak<Signal>, usize)>,
    /// The job will tell the signals.
    pub(super) will_tell: bool,
    /// A thread of the library has the gatherer, so that results are written as they come.
    pub(super) saving: bool,
}

impl<T: Send + 'static> Shared<T> {
    /// Brings results home as they come, until there are no more, and leaves it to others to make one of them.
    pub(super) fn save(self: &Arc<Self>) {
        let gather = self.state.lock().gather.take();
        if let Some(mut gather) = gather {
            // Ends when the call does, whatever ends it.
            self.engine.serve(&self.job, None, gather.sink(), Deadline::NEVER);
            self.state.lock().gather = Some(gather);
        }
        self.state.lock().saving = false;
        self.ready.notify_all();
    }

    /// Brings the result home; whether it is there.
    pub(super) fn wait(self: &Arc<Self>, until: Deadline) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.result.is_some() || state.taken {
                // There was a result: it is there, or somebody has taken it.
                return true;
            }
            // Taken by the thread that runs callbacks, which may be this one, or by another one that waits.
            let is_its = !state.by_callback || callbacks::is_this_thread();
            let gather = if is_its { state.gather.take() } else { None };
            let Some(mut gather) = gather else {
                if until.passed() {
                    return false;
                }
                until.wait(&self.ready, &mut state);
                continue;
            };
            drop(state);
            let served = self.engine.serve(&self.job, None, gather.sink(), until);
            state = self.state.lock();
            let halted = match served {
                Served::Done => None,
                Served::Halted(halt) => Some(halt),
                Served::Enough | Served::TimedOut => {
                    // For another thread that waits with this one.
                    state.gather = Some(gather);
                    self.ready.notify_all();
                    return false;
                }
            };
            let result = gather.finish(&self.job, self.total, halted);
            if state.by_callback {
                // One callback waits for a result that has others. Its thread would run them next, so they run now.
                drop(state);
                self.conclude(result);
                state = self.state.lock();
            } else {
                state.result = Some(result);
                self.ready.notify_all();
            }
        }
    }

    /// Whether this thread is about to run callbacks of this result, or runs one: it would wait for itself.
    pub(super) fn waits_for_this_thread(&self) -> bool {
        let state = self.state.lock();
        // Nobody else takes the gatherer of a result that has callbacks.
        let begun = state.by_callback && state.gather.is_none() && state.result.is_none();
        let begun = begun && !state.taken && !state.saving;
        begun && callbacks::is_this_thread()
    }

    pub(super) fn take(self: &Arc<Self>, until: Deadline) -> Option<Result<T, TaskError>> {
        assert!(!self.state.lock().taken, "the result of this call was taken already");
        if !self.wait(until) {
            return None;
        }
        let mut state = self.state.lock();
        state.taken = true;
        state.result.take()
    }

    /// Has `callback` called with the result.
    pub(super) fn when_done(self: &Arc<Self>, callback: Callback<T>) {
        let mut state = self.state.lock();
        state.callbacks.push(callback);
        if std::mem::replace(&mut state.by_callback, true) {
            return;
        }
        drop(state);
        let shared = Arc::clone(self);
        if let Err(callback) = self.job.when_complete(Box::new(move || shared.call_back())) {
            callbacks::send([callback]);
        }
    }

    /// Takes the result of a call that has ended, and calls the callbacks; on the thread for that.
    fn call_back(&self) {
        let mut state = self.state.lock();
        // The call has ended, so that thread is about to.
        while state.saving {
            self.ready.wait(&mut state);
        }
        let result = match (state.result.take(), state.gather.take()) {
            (Some(result), _) => result,
            (None, Some(mut gather)) if self.job.is_complete() => {
                drop(state);
                let halted = match self.engine.serve(&self.job, None, gather.sink(), Deadline::NEVER) {
                    Served::Halted(halt) => Some(halt),
                    _ => None,
                };
                let result = gather.finish(&self.job, self.total, halted);
                state = self.state.lock();
                result
            }
            // Its result was taken before the callback was set.
            (None, gather) => {
                state.gather = gather;
                return;
            }
        };
        drop(state);
        self.conclude(result);
    }

    /// Calls the callbacks with the result, which counts as ready then.
    fn conclude(&self, result: Result<T, TaskError>) {
        let callbacks = std::mem::take(&mut self.state.lock().callbacks);
        for callback in callbacks {
            panic::contain(|| callback(&result));
        }
        let mut state = self.state.lock();
        state.result = Some(result);
        self.ready.notify_all();
        let (waker, has_signals) = (state.waker.take(), !state.signals.is_empty());
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if has_signals {
            self.tell_signals();
        }
    }

    pub(super) fn tell_signals(&self) {
        let signals = std::mem::take(&mut self.state.lock().signals);
        for (signal, place) in signals {
            signal.upgrade().iter().for_each(|signal| signal.tell(place));
        }
    }

    pub(super) fn wake(&self) {
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
