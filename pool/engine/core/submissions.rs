//! Calls that nobody waits in: when their tasks are handed out.

use crate::engine::call::chunk;
use crate::engine::call::gate::{Claim, Gate};
use crate::engine::call::job::Job;
use crate::engine::callbacks;
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::state::{Core, Engine};
use std::sync::Arc;

/// So many calls are asked that find no room, before all behind them have to wait as well. There is room behind them as a rule
/// only where no worker idles: then nobody loses by it, and the price of a turn does not grow with the number of calls.
const ASKED: usize = 16;

impl Engine {
    /// Takes the right for one more call that nobody waits in; waits for it if the pool has as many as it may have.
    pub(crate) fn claim(&self) -> Claim {
        let Some(gate) = self.gate.as_ref().filter(|_| self.is_original()) else { return Claim::NONE };
        if callbacks::is_this_thread() {
            // It must not wait: calls end by what runs on it.
            return gate.exceed();
        }
        gate.try_claim().unwrap_or_else(|| {
            // This thread may have had the driver's seat a moment ago, and somebody has to drive for the others to end.
            self.hand_over(&mut self.core.lock());
            gate.claim()
        })
    }

    /// Takes the right for one more call that nobody waits in, unless the pool has as many as it may have.
    pub(crate) fn try_claim(&self) -> Option<Claim> {
        self.gate.as_ref().map_or(Some(Claim::NONE), Gate::try_claim)
    }

    /// Cancels the tasks of a call that have not begun. Returns whether there were any.
    pub(crate) fn cancel(&self, job: &Arc<Job>) -> bool {
        self.change(|core| core.cancel(job)).unwrap_or(false)
    }

    /// Ends a call that nobody waits in, or whose results nobody wants any more.
    pub(crate) fn leave(&self, job: &Arc<Job>) {
        self.change(|core| core.retire(job));
    }

    /// Cancels what has not begun of a call, and ends it.
    pub(crate) fn abandon(&self, job: &Arc<Job>) {
        self.change(|core| {
            core.cancel(job);
            core.retire(job);
        });
    }

    /// Changes what becomes of a call. `None` in a fork, which has no part in it.
    fn change<R>(&self, change: impl FnOnce(&mut Core) -> R) -> Option<R> {
        if !self.is_original() {
            return None;
        }
        let mut core = self.core.lock();
        let result = change(&mut core);
        self.hand_over(&mut core);
        Some(result)
    }
}

impl Core {
    /// Hands out tasks of calls with this priority that nobody waits in, one frame of each in turn, and `most` frames. Returns
    /// whether anything moved.
    pub(super) fn submit_waiting(&mut self, priority: i8, most: usize) -> bool {
        let mut moved = 0;
        let mut refused = 0;
        while refused < ASKED && moved < most && self.queue.level(priority).backlog.is_empty() {
            let Some(job) = self.queue.level(priority).in_line(refused) else { break };
            match self.submit_one(&job) {
                Turn::Refused => {
                    refused += 1;
                    continue;
                }
                Turn::Moved => moved += 1,
                Turn::Over => {}
            }
            self.queue.level(priority).leave_line(refused);
            if job.submission.lock().is_some() {
                self.queue.line_up(job);
            } else {
                self.finish(&job);
            }
        }
        moved > 0
    }

    /// Hands out a frame of one such call, if there is room for it, and it is its turn.
    fn submit_one(&mut self, job: &Arc<Job>) -> Turn {
        let mut submission = job.submission.lock();
        let Some(rest) = submission.as_mut().filter(|rest| rest.left() > 0) else {
            *submission = None;
            return Turn::Over;
        };
        // What was handed in whole needs no careful growth: the measured time alone decides.
        let count = job.chunk(None, Some(rest.left()), self.workers.target());
        if self.room(job, count) == 0 || !self.queue.level_of(job).leaves_room() {
            return Turn::Refused;
        }
        let most_bytes = if job.options.chunksize.is_some() { usize::MAX } else { chunk::FRAME_BYTES };
        let Some(cut) = rest.cut(count, most_bytes) else { return Turn::Refused };
        job.add_outstanding(u64::from(cut.count));
        let range = TaskRange {
            job: Some(Arc::clone(job)),
            first: cut.first,
            count: cut.count,
            next: 0,
            pins: cut.pins,
            home: cut.home,
            since: self.observers.stamp(|| job.clock.since()),
        };
        self.submit(range, cut.bytes);
        if rest.left() == 0 {
            *submission = None;
        }
        Turn::Moved
    }
}

/// What has come of the turn of a call.
enum Turn {
    /// A frame of it was handed out.
    Moved,
    /// There is no room for it.
    Refused,
    /// It has no more tasks.
    Over,
}

#[cfg(test)]
mod tests;
