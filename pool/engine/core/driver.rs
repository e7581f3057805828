//! A thread that holds the core's lock for a while: to drive, or to serve a call of its own.

use crate::engine::call::job::Job;
use crate::engine::call::results::Sink;
use crate::engine::core::state::{Core, Engine};
use parking_lot::MutexGuard;
use std::sync::Arc;

/// The call of a thread, and where its results go.
pub(super) struct Own<'a> {
    pub(super) job: &'a Arc<Job>,
    pub(super) sink: &'a mut dyn Sink,
    /// Its values are plain numbers, and nothing is done with them before they are read.
    is_plain: bool,
}

impl<'a> Own<'a> {
    pub(super) fn new(job: &'a Arc<Job>, sink: &'a mut dyn Sink) -> Own<'a> {
        let is_plain = !sink.runs_user_code() && job.options.checkpoint.is_none();
        Own { job, sink, is_plain }
    }

    /// Whether it is this job, whose outcomes may be brought to its sink in the driver's seat.
    #[inline]
    pub(super) fn takes_from(&self, job: &Arc<Job>) -> bool {
        self.is_plain && Arc::ptr_eq(self.job, job)
    }
}

/// A thread with the core's lock. It gives the lock up while it runs user code, while it spins and while it sleeps.
pub(super) struct Driver<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) core: MutexGuard<'a, Core>,
    /// The background thread has none.
    pub(super) own: Option<Own<'a>>,
}

impl<'a> Driver<'a> {
    /// Waits for the lock.
    pub(super) fn new(engine: &'a Arc<Engine>, own: Option<Own<'a>>) -> Driver<'a> {
        Driver { engine, core: engine.core.lock(), own }
    }

    /// Runs `f` without the lock.
    pub(super) fn unlocked<R>(&mut self, f: impl FnOnce() -> R) -> R {
        MutexGuard::unlocked(&mut self.core, f)
    }
}
