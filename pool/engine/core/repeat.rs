//! Tasks that have failed and are run again: when, and who asks the program.

use crate::engine::call::job::{Job, NOWHERE, Verdict};
use crate::engine::callbacks;
use crate::engine::core::driver::Driver;
use crate::engine::core::ledger::QueuedFrame;
use crate::engine::core::state::{Core, Engine};
use crate::error::TaskError;
use crate::process::panic;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Core {
    /// A task that has failed is run again, as the frame that it has become: at once, or after a pause.
    pub(super) fn repeat(&mut self, job: &Arc<Job>, frame: QueuedFrame, error: TaskError) {
        self.observers.retried();
        let pause = job.note_attempt(error);
        if pause.is_zero() {
            self.keep(frame, false);
        } else {
            self.queue.push_after(pause, frame);
        }
    }

    /// Lets the tasks wait for room whose pause has ended, and ends those that could not be sent. Returns whether there were any
    /// of these.
    #[inline]
    pub(super) fn resume(&mut self) -> bool {
        let has_refused = !self.refused.is_empty();
        if has_refused {
            self.settle_refused();
        }
        if self.queue.is_paused() {
            self.queue.take_resumed().into_iter().for_each(|frame| self.keep(frame, false));
        }
        has_refused
    }
}

impl Driver<'_> {
    /// A task has failed: it is run again, as the frame that `frame` makes of it, or that is its outcome.
    pub(super) fn task_failed(
        &mut self,
        job: &Arc<Job>,
        error: TaskError,
        frame: impl FnOnce(&mut Core) -> QueuedFrame,
    ) {
        match job.verdict(error.kind(), error.index()) {
            Verdict::Settle => self.settle_failure(job, error),
            Verdict::Repeat => {
                let again = frame(&mut self.core);
                self.core.repeat(job, again, error);
            }
            Verdict::Ask => {
                let again = frame(&mut self.core);
                self.ask(job, again, error);
            }
        }
    }

    /// Has the program asked whether a task that has failed is run again. That is code of the user's, so it does not run here:
    /// a thread that waits for results of the call asks when it has left the seat, or the thread where callbacks run does,
    /// whichever comes first. Neither alone would do: nobody may wait, or a callback may.
    pub(super) fn ask(&mut self, job: &Arc<Job>, frame: QueuedFrame, error: TaskError) {
        self.core.queue.ask(frame, error);
        let (engine, job) = (Arc::clone(self.engine), Arc::clone(job));
        callbacks::post(move || engine.decide(&job));
    }

    /// Asks the program which tasks of a call that have failed are run again, without the lock. Returns whether there were any.
    pub(super) fn decide(&mut self, job: &Arc<Job>) -> bool {
        let asked = self.core.queue.take_undecided(job);
        let Some(retry) = job.options.retry.as_ref().filter(|_| !asked.is_empty()) else { return false };
        let decided = self.unlocked(|| {
            let ask = |error: &TaskError| panic::contain(|| retry.ask(error)).unwrap_or(false);
            asked.into_iter().map(|(frame, error)| (ask(&error), frame, error)).collect::<Vec<_>>()
        });
        for (again, frame, error) in decided {
            // The call may have ended meanwhile, also by the failure before this one: nobody waits for its tasks then.
            if job.is_halted() || job.place.load(Relaxed) == NOWHERE {
                break;
            }
            if again {
                self.core.repeat(job, frame, error);
            } else {
                self.settle_failure(job, error);
            }
        }
        true
    }
}

impl Engine {
    /// Asks the program which tasks of a call that have failed are run again; on the thread where callbacks run.
    fn decide(self: &Arc<Self>, job: &Arc<Job>) {
        let mut driver = Driver::new(self, None);
        if !driver.decide(job) {
            // A thread that waits for the call has asked.
            return;
        }
        // A thread of the call may wait in line while another one drives, which has nothing to bring to it.
        job.changed.notify_all();
        let core = &mut *driver.core;
        core.seat.wake_line();
        core.schedule();
        // Who sleeps in the seat has tasks to hand out, or an outcome to take, or a pause to look at.
        self.handed_in(core);
    }
}
