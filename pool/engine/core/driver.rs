//! A thread that holds the core's lock for a while: to drive, or to serve a call of its own.

use crate::engine::call::job::Job;
use crate::engine::call::results::Sink;
use crate::engine::core::state::{Core, Engine};
use parking_lot::MutexGuard;
use std::sync::Arc;

/// The call of the thread, and where its results go; the background thread has none.
pub(super) type Own<'a> = Option<(&'a Arc<Job>, &'a mut dyn Sink)>;

/// A thread with the core's lock. It gives the lock up while it runs user code, while it spins and while it sleeps.
pub(super) struct Driver<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) core: MutexGuard<'a, Core>,
    pub(super) own: Own<'a>,
}

impl<'a> Driver<'a> {
    /// Waits for the lock.
    pub(super) fn new(engine: &'a Arc<Engine>, own: Own<'a>) -> Driver<'a> {
        Driver { engine, core: engine.core.lock(), own }
    }

    /// Runs `f` without the lock.
    pub(super) fn unlocked<R>(&mut self, f: impl FnOnce() -> R) -> R {
        MutexGuard::unlocked(&mut self.core, f)
    }
}
