//! How many workers there are: the pool grows and shrinks, workers leave for a reason of their own, and come back.

use crate::engine::core::state::{Core, Engine, Phase};
use crate::engine::core::worker_slot::{Dismissal, State, WorkerSlot};
use crate::error::Error;
use crate::sys::time::Deadline;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the memory of a worker is looked at, at most.
const WEIGH_EVERY: Duration = Duration::from_millis(1);

/// An idle worker stays for this long at least.
const LEAST_PATIENCE: Duration = Duration::from_millis(1);

/// The most workers of a pool. Any machine runs out of descriptors before; far larger numbers are mistakes that would
/// otherwise end in an allocation that fails.
const MOST_WORKERS: usize = 1 << 16;

/// Refuses a number of workers that no pool can have.
pub(crate) fn check_count(workers: usize) -> Result<(), Error> {
    match workers {
        0 => Err(Error::invalid_argument("a pool needs at least 1 process, not 0")),
        1..=MOST_WORKERS => Ok(()),
        _ => Err(Error::invalid_argument(format!("a pool has at most {MOST_WORKERS} processes, not {workers}"))),
    }
}

impl Engine {
    /// Changes the number of workers.
    ///
    /// # Errors
    ///
    /// No pool can have so many, or it takes no calls any more, or belongs to another process.
    pub(crate) fn resize(self: &Arc<Self>, workers: usize) -> Result<(), Error> {
        check_count(workers)?;
        self.check_generation()?;
        if self.runs_here {
            // It has one worker, whatever it was told.
            return Ok(());
        }
        self.launcher.prepare(workers)?;
        let mut core = self.core.lock();
        core.check_open()?;
        core.workers.set_target(workers);
        core.rehome();
        self.fill_up(&mut core);
        for at in workers..core.workers.len() {
            if core.workers[at].state == State::Ready {
                core.dismiss(at, Dismissal::Surplus);
            }
        }
        core.schedule();
        self.handed_in(&mut core);
        Ok(())
    }

    /// Starts workers again that have left for want of work, once there is more than those that stayed can take.
    pub(crate) fn recall(self: &Arc<Self>, core: &mut Core) {
        if core.workers.recycle().idle.is_none() {
            return;
        }
        let wanted =
            core.needs_workers() && core.workers.is_built() && core.is_work_waiting() && !core.workers.is_brisk();
        if wanted {
            self.fill_up(core);
        }
    }

    /// Starts workers that could not be started before, once the pause is over. Returns when to look again.
    pub(super) fn try_again(self: &Arc<Self>, core: &mut Core) -> Deadline {
        if core.workers.try_again_at().passed() {
            core.workers.end_pause();
            // A start that has failed already is news for whoever drives.
            if core.needs_workers() && self.fill_up(core) && core.seat.is_taken() {
                self.bell.ring();
            }
        }
        core.workers.try_again_at()
    }

    /// Starts a process for each vacant slot, but not during a pause after a failed start. Returns whether there was any.
    fn fill_up(self: &Arc<Self>, core: &mut Core) -> bool {
        if core.workers.is_pausing() {
            return false;
        }
        let vacant = |core: &Core, at: &usize| core.workers[*at].state == State::Vacant;
        let places: Vec<usize> = (0..core.workers.target()).filter(|at| vacant(core, at)).collect();
        places.iter().for_each(|at| self.fill(core, *at));
        !places.is_empty()
    }
}

impl Core {
    /// Tells a worker to leave when it has done what it is at. What waits there goes elsewhere, unless it is its share.
    pub(super) fn dismiss(&mut self, at: usize, why: Dismissal) {
        let worker = &mut self.workers[at];
        if worker.state != State::Ready || worker.dismissed.is_some() {
            return;
        }
        worker.dismissed = Some(why);
        if why != Dismissal::Spent {
            let waiting = worker.window.waiting();
            self.take_back(at, waiting);
        }
        self.send_off(at);
    }

    /// A worker has answered all its frames.
    pub(super) fn vacate(&mut self, at: usize) {
        if self.workers.recycle().idle.is_some() {
            self.workers[at].idle_since = Some(Instant::now());
        }
        self.workers[at].copied = None;
        if self.workers[at].state == State::Leaving {
            self.workers[at].nothing_left();
        }
        if self.workers[at].dismissed.is_some() {
            self.send_off(at);
        }
    }

    /// Tells a worker that was dismissed that there are no more frames, if it does not know yet.
    fn send_off(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        if worker.state != State::Ready {
            return;
        }
        match worker.send_stop() {
            Ok(true) => worker.state = State::Leaving,
            // No room can only be while frames are under way: tried again when they end.
            Ok(false) => {}
            Err(_) => worker.abandon(),
        }
        worker.flush();
    }

    /// Dismisses a worker that has grown too large.
    pub(super) fn weigh(&mut self, at: usize) {
        let Some(most) = self.workers.recycle().memory else { return };
        let worker = &mut self.workers[at];
        let now = Instant::now();
        if worker.weighed.is_some_and(|last| now - last < WEIGH_EVERY) {
            return;
        }
        worker.weighed = Some(now);
        if worker.memory().is_some_and(|bytes| bytes > most) {
            self.dismiss(at, Dismissal::Large);
        }
    }

    /// Dismisses workers that have had nothing to do for too long, all but one. Returns when to look again.
    pub(crate) fn let_idle_go(&mut self) -> Deadline {
        let Some(patience) = self.workers.recycle().idle.filter(|_| matches!(self.phase, Phase::Running)) else {
            return Deadline::NEVER;
        };
        // As often as that the workers are looked at.
        let patience = patience.max(LEAST_PATIENCE);
        let stays = |worker: &WorkerSlot| match worker.state {
            State::Starting => true,
            State::Ready => worker.dismissed.is_none(),
            State::Leaving | State::Vacant => false,
        };
        let mut staying = self.workers.iter().filter(|worker| stays(worker)).count();
        let now = Instant::now();
        let mut next = Deadline::NEVER;
        for at in (0..self.workers.len()).rev() {
            let worker = &mut self.workers[at];
            if staying <= 1 {
                // The one worker that stays has no clock.
                return Deadline::NEVER;
            }
            if !stays(worker) {
                continue;
            }
            let is_idle = worker.state == State::Ready && worker.window.len() == 0;
            // Who is busy now cannot have been idle for that long earlier than if it were idle from now on.
            let since = if is_idle { *worker.idle_since.get_or_insert(now) } else { now };
            if is_idle && now - since >= patience {
                self.dismiss(at, Dismissal::Idle);
                staying -= 1;
            } else {
                next = next.earlier(Deadline::since(since, patience));
            }
        }
        next
    }
}
