//! Driving: collecting answers, minding workers that come and go, and sleeping when there is nothing to do.
//!
//! At any time at most one thread drives. It is a thread that waits for results of its own, if there is one: so a call
//! on a quiet pool needs no hop between threads. Else it is the pool's background thread.

use crate::engine::core::driver::Driver;
use crate::engine::core::state::{Core, Engine};
use crate::ipc::rest::slice;
use crate::sys::time::Deadline;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// While frames wait behind others at a worker, the pool looks once more after this time before it sleeps for good:
/// a worker need not ring for each answer as long as it has more to do.
const SECOND_LOOK: Duration = Duration::from_millis(1);

impl Driver<'_> {
    /// One turn of driving: does what there is to do, or sleeps until there is something.
    ///
    /// The caller has found the seat free, under the lock that it holds.
    pub(super) fn drive(&mut self, until: Deadline) {
        let seat = self.core.seat.take();
        if self.core.seat.count_turn() {
            self.core.look_after();
        }
        if !self.turn() {
            self.idle(until);
        }
        self.core.seat.leave(seat);
    }

    /// Like [`Driver::drive`], but does not sleep.
    pub(super) fn drive_by(&mut self) {
        // Large results are decoded without the lock, and nobody else may take answers meanwhile.
        let seat = self.core.seat.take();
        self.turn();
        self.core.seat.leave(seat);
    }

    /// Does what there is to do. Returns whether there was anything.
    fn turn(&mut self) -> bool {
        let mut busy = false;
        while let Some(news) = self.core.seat.next_news() {
            self.hear(news);
            busy = true;
        }
        let mut number = 0;
        while let Some(at) = self.core.workers.active(number) {
            busy |= self.collect(at);
            number += 1;
        }
        self.core.workers.let_rest();
        let core = &mut *self.core;
        busy |= core.resume();
        busy |= core.schedule();
        core.workers.flush();
        self.engine.dispatched(core);
        self.engine.recall(core);
        core.seat.fresh |= busy;
        if busy || core.queue.is_ranked() {
            core.seat.wake_line();
        }
        busy
    }

    /// Has found nothing to do: shares what waits among the workers, or spins for a moment, or sleeps.
    fn idle(&mut self, until: Deadline) {
        let engine = self.engine;
        let core = &mut *self.core;
        // What waits is expected to be begun in a moment, by workers that are about to finish.
        let hopes = core.workers.is_brisk() && core.is_work_waiting();
        if !hopes && core.rebalance() {
            core.workers.flush();
            engine.dispatched(core);
            // There is work again, so nobody sleeps.
            return;
        }
        let mut spinner = core.seat.spinner;
        let found = self.unlocked(|| spinner.spin(&engine.bell, || engine.core.lock().has_work()));
        self.core.seat.spinner = spinner;
        // The call may have been ended while the lock was released: its thread need not wait for anything then.
        if found || self.own.as_ref().is_some_and(|own| own.job.is_halted()) {
            return;
        }
        if hopes {
            // Nobody has finished. What waits goes to others in the next turn.
            return self.core.workers.give_up_hope();
        }
        let first_look = std::mem::take(&mut self.core.seat.fresh);
        let look_again =
            if self.core.workers.is_stacked() && first_look { Deadline::after(SECOND_LOOK) } else { slice() };
        engine.bell.prepare();
        if self.core.has_work() {
            // Came before the bell was ready to be rung.
            engine.bell.cancel();
            return;
        }
        let until =
            until.earlier(look_again).earlier(self.core.queue.kept_until()).earlier(self.core.queue.resume_at());
        let start = Instant::now();
        self.unlocked(|| engine.bell.sleep(until));
        let now = Instant::now();
        self.core.seat.spinner.slept(now - start);
        if self.core.seat.is_time_to_look(now) {
            self.core.look_after();
            engine.dispatched(&mut self.core);
        }
    }
}

impl Engine {
    /// After tasks were handed in by a thread that does not drive: wakes whoever has to go on with them.
    pub(super) fn handed_in(self: &Arc<Self>, core: &mut Core) {
        core.workers.flush();
        self.dispatched(core);
        self.recall(core);
        if core.seat.is_taken() {
            self.bell.ring();
        }
        self.hand_over(core);
    }

    /// What the background thread does, as long as the pool has workers.
    pub(super) fn background(self: &Arc<Self>) {
        let mut driver = Driver::new(self, None);
        loop {
            let core = &mut *driver.core;
            let try_again_at = self.try_again(core);
            core.trim();
            core.resume();
            let trim_at = if core.trim_at().passed() { Deadline::NEVER } else { core.trim_at() };
            let until = core.enforce(self.grace).earlier(trim_at).earlier(core.let_idle_go()).earlier(try_again_at);
            let until = until.earlier(core.queue.resume_at());
            if !core.needs_workers() && core.workers.all_vacant() {
                return;
            }
            self.run_left_over(core);
            let needed = core.seat.has_news() || core.is_busy();
            if !core.seat.is_taken() && needed && core.seat.first_in_line().is_none() {
                driver.drive(until);
                self.hand_over(&mut driver.core);
            } else {
                // Room is given back later if the pool is busy: whoever is served last wakes this thread.
                until.wait(&self.background, &mut driver.core);
            }
        }
    }
}
