//! Calls that nobody waits in: when their tasks are handed out, and how such a call ends.

use crate::engine::call::chunk;
use crate::engine::call::job::Job;
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::state::Core;
use crate::sys::time::Deadline;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long room is kept for a thread that has found none.
const KEPT_FOR: Duration = Duration::from_micros(200);

impl Core {
    /// Hands out tasks of calls that nobody waits in, one frame of each in turn; whether anything moved.
    pub(super) fn submit_waiting(&mut self) -> bool {
        let mut moved = false;
        while !self.submitted.is_empty() && self.backlog.is_empty() {
            let mut passed = 0;
            while let Some(job) = self.submitted.pop_front() {
                if self.submit_one(&job) {
                    moved = true;
                    passed = 0;
                } else {
                    passed += 1;
                }
                let more = job.submission.lock().is_some();
                if more {
                    self.submitted.push_back(job);
                } else {
                    self.finish(&job);
                }
                if passed >= self.submitted.len() || !self.backlog.is_empty() {
                    return moved;
                }
            }
        }
        moved
    }

    /// Hands out a frame of one such call, if there is room for it, and it is its turn.
    fn submit_one(&mut self, job: &Arc<Job>) -> bool {
        let mut submission = job.submission.lock();
        let left = match &*submission {
            Some(left) if left.left() > 0 => left.left(),
            _ => {
                *submission = None;
                return false;
            }
        };
        let Some(rest) = &mut *submission else { return false };
        let count = job.chunk(u32::MAX / 8, Some(left), self.target);
        if self.room(job, count) == 0 || !self.is_turn_of_submissions() {
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

    /// Whether calls that nobody waits in may take room: not while a thread that waits for room was not given any since
    /// they last did, but for a moment only, since it may be busy with its input.
    fn is_turn_of_submissions(&mut self) -> bool {
        if self.hungry == 0 {
            self.kept_since = None;
            return true;
        }
        match self.kept_since {
            Some(since) if since.elapsed() < KEPT_FOR => false,
            _ => {
                self.kept_since = Some(Instant::now());
                true
            }
        }
    }

    /// Until when room is kept for a thread, if it is.
    pub(crate) fn kept_until(&self) -> Deadline {
        match self.kept_since {
            Some(since) if self.hungry > 0 && !self.submitted.is_empty() => Deadline::at(since + KEPT_FOR),
            _ => Deadline::NEVER,
        }
    }

    /// Cancels what has not begun; whether there was anything.
    pub(crate) fn cancel(&mut self, job: &Arc<Job>) -> bool {
        if job.is_complete() {
            return false;
        }
        let is_its = |range: &TaskRange| range.job.as_ref().is_some_and(|it| Arc::ptr_eq(it, job));
        let mut waiting = job.submission.lock().is_some() || self.backlog.iter().any(|queued| is_its(&queued.range));
        for worker in &mut self.workers {
            let Some(link) = &mut worker.link else { continue };
            // The oldest frame may have begun as well as not: taking it back tells.
            for seq in worker.window.of(job) {
                if link.revoke(seq) && worker.window.unload(seq).is_some() {
                    waiting = true;
                } else if link.progress().seq == seq {
                    let count = worker.window.range(seq).map_or(0, |range| range.count);
                    // Started tasks cannot be cancelled.
                    waiting |= link.progress().started < count;
                }
            }
        }
        if waiting {
            self.give_up(job);
        }
        waiting
    }

    /// Notes whether the thread of a call has found no room.
    pub(crate) fn note_hunger(&mut self, job: &Job, hungry: bool) {
        let before = job.hungry.swap(hungry, Relaxed);
        match (before, hungry) {
            (false, true) => self.hungry += 1,
            (true, false) => {
                self.hungry -= 1;
                // It has got some: now the others again.
                self.kept_since = None;
            }
            _ => {}
        }
    }
}
