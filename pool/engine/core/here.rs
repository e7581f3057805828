//! Pools whose worker is no thread of its own: who runs its tasks.
//!
//! A thread that waits for results does, outside of the seat and without the lock, as it runs all user code. It hands the seat
//! over first, since a worker that has no room for its answers waits until somebody has taken them.

use crate::engine::call::job::{Halt, Job};
use crate::engine::callbacks;
use crate::engine::core::driver::Driver;
use crate::engine::core::state::{Core, Engine};
use crate::engine::core::worker_slot::LOOK;
use crate::sys::time::Deadline;
use std::sync::Arc;

impl Driver<'_> {
    /// Lets this thread be the worker for one step, if that has no thread of its own. Returns whether there was anything to do.
    #[inline]
    pub(super) fn run_here(&mut self) -> bool {
        self.engine.runs_here && self.step()
    }

    #[cold]
    fn step(&mut self) -> bool {
        let engine = self.engine;
        engine.hand_over(&mut self.core);
        self.unlocked(|| engine.launcher.step())
    }
}

impl Core {
    /// Whether there are tasks that no thread is about to run.
    fn has_left_over(&self) -> bool {
        let is_submitted = || self.queue.jobs().iter().all(|job| job.is_submitted());
        self.submitting == 0 && self.workers.has_frames() && is_submitted()
    }
}

impl Engine {
    /// Why a call cannot be waited for: this thread runs a task of the pool, and no other one is there to run more.
    #[inline]
    pub(super) fn waits_for_itself(&self) -> Option<Halt> {
        if !self.runs_here || !self.launcher.is_running_here() {
            return None;
        }
        Some(Halt::Broken("a task that runs on the thread that waits for it waits for the same pool".to_owned()))
    }

    /// Runs the tasks of a call that was handed in whole, before whoever has made it goes on: nobody may ever wait for it.
    /// The thread was counted in `submitting` when it handed them in.
    #[cold]
    pub(super) fn run_all_here(self: &Arc<Self>, job: &Arc<Job>) {
        while !job.is_complete() {
            let mut driver = Driver::new(self, None);
            if driver.run_here() {
                continue;
            }
            if !driver.core.is_busy() || self.launcher.is_running_here() {
                // What is left waits for its pause to end, or for the task that has made this call.
                break;
            }
            if driver.core.seat.is_taken() {
                job.changed.wait_for(&mut driver.core, LOOK);
            } else {
                driver.drive(Deadline::after(LOOK));
            }
        }
        self.core.lock().submitting -= 1;
        self.background.notify_one();
    }

    /// Has tasks run where callbacks run that no thread waits for, and that were not run when they were handed in.
    pub(super) fn run_left_over(self: &Arc<Self>, core: &Core) {
        if self.runs_here && core.has_left_over() {
            let engine = Arc::clone(self);
            let run = move || loop {
                let is_left = engine.core.lock().has_left_over();
                if !is_left || !engine.launcher.step() {
                    break;
                }
            };
            callbacks::post(run);
        }
    }
}
