//! Calls that nobody waits in: when their tasks are handed out.

use crate::engine::call::chunk;
use crate::engine::call::job::Job;
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::state::Core;
use std::sync::Arc;

impl Core {
    /// Hands out tasks of calls that nobody waits in, one frame of each in turn. Returns whether anything
    /// moved.
    pub(super) fn submit_waiting(&mut self) -> bool {
        let mut moved = false;
        while !self.queue.submitted().is_empty() && !self.queue.has_backlog() {
            let mut passed = 0;
            while let Some(job) = self.queue.next_submitted() {
                if self.submit_one(&job) {
                    moved = true;
                    passed = 0;
                } else {
                    passed += 1;
                }
                let more = job.submission.lock().is_some();
                if more {
                    self.queue.line_up(job);
                } else {
                    self.finish(&job);
                }
                if passed >= self.queue.submitted().len() || self.queue.has_backlog() {
                    return moved;
                }
            }
        }
        moved
    }

    /// Hands out a frame of one such call, if there is room for it, and it is its turn.
    fn submit_one(&mut self, job: &Arc<Job>) -> bool {
        let mut submission = job.submission.lock();
        let Some(rest) = submission.as_mut().filter(|rest| rest.left() > 0) else {
            *submission = None;
            return false;
        };
        // What was handed in whole needs no careful growth: the measured time alone decides.
        let count = job.chunk(None, Some(rest.left()), self.workers.target());
        if self.room(job, count) == 0 || !self.queue.is_turn_of_submissions() {
            return false;
        }
        let most_bytes = if job.options.chunksize.is_some() { usize::MAX } else { chunk::FRAME_BYTES };
        let Some(cut) = rest.cut(count, most_bytes) else { return false };
        job.add_outstanding(u64::from(cut.count));
        let range =
            TaskRange { job: Some(Arc::clone(job)), first: cut.first, count: cut.count, next: 0, pins: cut.pins };
        self.submit(range, cut.bytes);
        if rest.left() == 0 {
            *submission = None;
        }
        true
    }
}
