//! Driving: collecting answers, minding workers that come and go, and sleeping when there is nothing to do.
//!
//! At any time at most one thread drives. It is a thread that waits for results of its own, if there is one: so a call
//! on a quiet pool needs no hop between threads. Else it is the pool's background thread.

use crate::engine::core::settle::Own;
use crate::engine::core::state::{Core, Engine, Phase, State};
use crate::engine::core::supervisor;
use crate::ipc::link::slice;
use crate::sys::time::Deadline;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// While frames wait behind others at a worker, the pool looks once more after this time before it sleeps for good:
/// a worker need not ring for each answer as long as it has more to do.
const SECOND_LOOK: Duration = Duration::from_millis(1);

/// A driver that never gets to sleep looks after stalled workers every so many turns.
const LOOK_AFTER: u64 = 1024;

/// One that does, after sleeps of this length, which are rare.
const LONG_SLEEP: Duration = Duration::from_millis(100);

impl Engine {
    /// One turn of driving: does what there is to do, or sleeps until there is something.
    ///
    /// The caller has found `driving` unset, under the lock that it holds.
    pub(crate) fn drive(self: &Arc<Self>, core: &mut MutexGuard<'_, Core>, mut own: Own<'_>, until: Deadline) {
        core.driving = true;
        let seat = Seat;
        core.turns = core.turns.wrapping_add(1);
        if core.turns % LOOK_AFTER == 0 {
            core.end_stalled();
        }
        if !self.turn(core, &mut own) {
            self.idle(core, &mut own, until);
        }
        std::mem::forget(seat);
        core.driving = false;
    }

    /// As [`Engine::drive`], but does not sleep.
    pub(crate) fn drive_by(self: &Arc<Self>, core: &mut MutexGuard<'_, Core>, mut own: Own<'_>) {
        // Large results are decoded without the lock, and nobody else may take answers meanwhile.
        core.driving = true;
        let seat = Seat;
        self.turn(core, &mut own);
        std::mem::forget(seat);
        core.driving = false;
    }

    /// Does what there is to do; whether there was anything.
    fn turn(self: &Arc<Self>, core: &mut MutexGuard<'_, Core>, own: &mut Own<'_>) -> bool {
        let mut busy = false;
        while let Some((at, incarnation, news)) = core.news.pop_front() {
            supervisor::hear(self, core, own, at, incarnation, news);
            busy = true;
        }
        for at in 0..core.workers.len() {
            busy |= self.collect(core, own, at);
        }
        busy |= core.schedule();
        core.flush();
        self.dispatched(core);
        self.recall(core);
        core.fresh |= busy;
        if busy {
            // Whoever has more input looks whether there is room for it now.
            for job in &core.waiting {
                job.changed.notify_all();
            }
        }
        busy
    }

    fn idle(self: &Arc<Self>, core: &mut MutexGuard<'_, Core>, own: &mut Own<'_>, until: Deadline) {
        let hopes = core.is_brisk() && core.is_work_waiting();
        if !hopes && core.rebalance() {
            core.flush();
            self.dispatched(core);
            return;
        }
        let mut spinner = core.spinner;
        let found = MutexGuard::unlocked(core, || spinner.spin(&self.bell, || self.core.lock().has_work()));
        core.spinner = spinner;
        if found || own.as_ref().is_some_and(|(job, _)| job.halted().is_some()) {
            return;
        }
        if hopes {
            // What waits goes to others now.
            return core.give_up_hope();
        }
        let first_look = std::mem::take(&mut core.fresh);
        let stacked = core.workers.iter().any(|worker| worker.window.len() > 1);
        self.bell.prepare();
        if core.has_work() {
            self.bell.cancel();
            return;
        }
        let look_again = if stacked && first_look { Deadline::after(SECOND_LOOK) } else { slice() };
        let until = until.earlier(look_again).earlier(core.kept_until());
        let start = Instant::now();
        MutexGuard::unlocked(core, || self.bell.sleep(until));
        let slept = start.elapsed();
        core.spinner.slept(slept);
        if slept > LONG_SLEEP {
            core.end_stalled();
        }
    }

    /// Takes the answers of one worker; whether there were any.
    pub(crate) fn collect(self: &Arc<Self>, core: &mut MutexGuard<'_, Core>, own: &mut Own<'_>, at: usize) -> bool {
        let mut any = false;
        while core.workers[at].condemned.is_none() {
            let Some(link) = &mut core.workers[at].link else { break };
            let taken = match link.receive() {
                Ok(Some(answer)) => self.take(core, own, at, answer),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            any = true;
            match taken {
                Ok(()) => core.retire_frames(at),
                Err(error) => core.workers[at].condemn(&error),
            }
        }
        if any {
            let worker = &mut core.workers[at];
            worker.slow = false;
            worker.record.seen(worker.window.len());
        }
        any
    }

    /// What the background thread does, as long as the pool has workers.
    pub(crate) fn background(self: &Arc<Self>) {
        let mut core = self.core.lock();
        loop {
            core.trim();
            let trim_at = if core.trim_at().passed() { Deadline::NEVER } else { core.trim_at() };
            let until = supervisor::enforce(&mut core, self.grace).earlier(trim_at).earlier(core.let_idle_go());
            let over = match core.phase {
                Phase::Running => false,
                // Workers that left since they were idle come back for what is under way.
                Phase::Closing => core.jobs.is_empty(),
                Phase::Ending { .. } => true,
            };
            if over && core.workers.iter().all(|it| it.state == State::Vacant) {
                return;
            }
            let needed = !core.news.is_empty() || core.is_busy();
            if !core.driving && needed && core.waiting.is_empty() {
                self.drive(&mut core, None, until);
                self.hand_over(&mut core);
            } else {
                // Room is given back later if the pool is busy: whoever is served last wakes this thread.
                match until.instant() {
                    Some(at) => drop(self.background.wait_until(&mut core, at)),
                    None => self.background.wait(&mut core),
                }
            }
        }
    }

    /// Offers the driver's seat to the next thread that can use it.
    pub(crate) fn hand_over(&self, core: &mut Core) {
        if core.driving {
            return;
        }
        match core.waiting.first() {
            Some(job) => {
                job.changed.notify_all();
            }
            None if !core.news.is_empty() || core.is_busy() || core.large_at.is_some() => {
                self.background.notify_one();
            }
            None => {}
        }
    }
}

impl Core {
    /// An answer of this worker was taken: its room, and that of frames that are finished, can be used again.
    fn retire_frames(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let Some(link) = &mut worker.link else { return };
        link.consumed();
        let before = worker.window.len();
        link.release_below(worker.window.retire(|| link.progress().seq, link.sent()));
        let after = worker.window.len();
        if after < before {
            self.weigh(at);
        }
        if after == 0 {
            self.vacate(at);
            self.maybe_stop();
        }
    }

    /// Whether a driver has something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.news.is_empty()
            || self.workers.iter().any(|it| {
                it.window.len() > 0 && it.condemned.is_none() && it.link.as_ref().is_some_and(|link| link.has_answer())
            })
    }
}

/// Left behind by a panic in the driving itself, which nothing survives in order: better no pool than half a pool.
struct Seat;

impl Drop for Seat {
    fn drop(&mut self) {
        eprintln!("multiproc: a thread panicked while it was driving a pool; this is a bug in multiproc");
        std::process::abort();
    }
}
