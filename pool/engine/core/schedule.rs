//! Which worker gets which frame: handing out, taking back, and what is left of a call that ends.

use crate::engine::call::job::Job;
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::queue::QueuedFrame;
use crate::engine::core::state::{Core, Phase};
use crate::engine::core::worker_slot::{Dismissal, State};
use crate::heap::scope::attached_in;
use std::sync::Arc;

impl Core {
    /// How many frames of `count` tasks each the workers can take now.
    pub(super) fn room(&self, job: &Job, count: u32) -> usize {
        if self.queue.has_backlog() {
            return 0;
        }
        self.workers.room(job.is_short(count), job.depth(count), self.seat.spinner.other_cpus())
    }

    /// Hands a frame to a worker, or keeps it in the backlog.
    pub(super) fn submit(&mut self, range: TaskRange, bytes: &[u8]) {
        self.note_size(bytes.len());
        if self.queue.has_backlog() || !self.dispatch(&range, bytes) {
            self.queue.push_back(QueuedFrame { range, bytes: bytes.to_vec() });
        }
    }

    /// Hands a frame to the worker that should have it. Returns false when none has room for it.
    fn dispatch(&mut self, range: &TaskRange, bytes: &[u8]) -> bool {
        // Nobody waits for its results any more: it is not run.
        let Some(job) = &range.job else { return true };
        // Attached descriptors wait nowhere but here: on its way to a worker that is busy nobody could close it.
        let (short, depth) = match range.has_fds() {
            true => (false, 1),
            false => (job.is_short(range.left()), job.depth(range.left())),
        };
        while let Some(at) = self.workers.choose(short, depth, self.seat.spinner.other_cpus()) {
            let worker = &mut self.workers[at];
            // The tasks that this worker may not be given any more go to another one.
            let given = worker.left.map_or(range.left(), |left| range.left().min(left));
            let end = range.next + given;
            match worker.send(range, end, bytes) {
                // The worker has room for a frame, and not for these bytes: they have to wait for it.
                Ok(false) => return false,
                Ok(true) => {
                    self.new_deadline |= worker.limit.is_some();
                    if let Some(left) = &mut worker.left {
                        *left -= given;
                        if *left == 0 {
                            self.dismiss(at, Dismissal::Spent);
                        }
                    }
                    if end < range.count {
                        let rest = TaskRange { next: end, ..range.clone() };
                        self.queue.push_front(QueuedFrame { range: rest, bytes: bytes.to_vec() });
                    }
                    return true;
                }
                // A socket that broke: the worker is dying. It gets nothing more, and its end is on its way.
                Err(_) => worker.abandon(),
            }
        }
        false
    }

    /// Hands out as much of the backlog as there is room for. Returns whether anything moved.
    pub(super) fn schedule(&mut self) -> bool {
        let mut moved = false;
        while let Some(queued) = self.queue.pop_front() {
            if !self.dispatch(&queued.range, &queued.bytes) {
                self.queue.push_front(queued);
                break;
            }
            moved = true;
        }
        self.submit_waiting() || moved
    }

    /// Takes frames that no worker has begun back from the busiest one, while another is idle. Returns whether anything
    /// moved.
    ///
    /// So a task never waits for one that stands before it in the window while a worker idles.
    pub(super) fn rebalance(&mut self) -> bool {
        if self.queue.has_backlog() {
            return false;
        }
        let Some(busiest) = self.workers.overloaded() else { return false };
        let share = self.workers[busiest].window.waiting().len().div_ceil(2);
        let moved = self.take_back(busiest, share);
        self.schedule() || moved
    }

    /// Takes up to `most` frames that a worker has not begun back into the backlog. Returns whether there were any.
    pub(super) fn take_back(&mut self, at: usize, most: usize) -> bool {
        let worker = &mut self.workers[at];
        let Some(link) = &mut worker.link else { return false };
        let mut taken = Vec::new();
        for seq in worker.window.waiting().into_iter().take(most) {
            if !link.revoke(seq) {
                break;
            }
            if let Some(range) = worker.window.unload(seq) {
                taken.push(QueuedFrame { bytes: link.payload(seq), range });
            }
        }
        let moved = !taken.is_empty();
        // They were taken newest first.
        for queued in taken {
            self.queue.push_front(queued);
        }
        moved
    }

    /// Ends a call: what is left of it is dropped, and workers may forget its context.
    pub(crate) fn retire(&mut self, job: &Arc<Job>) {
        if self.queue.remove(job) {
            self.observers.call_ended(job);
        }
        if job.outstanding() > 0 {
            self.workers.iter_mut().for_each(|worker| worker.window.abandon(job));
        }
        if let Some(context) = &job.header.context {
            self.note_use();
            let has_fds = !attached_in(&context.pins).is_empty();
            for worker in self.workers.iter_mut() {
                if worker.known.remove(&job.header.id) {
                    worker.forget.push(job.header.id);
                    // Somebody may wait for it to close its ends.
                    if has_fds && worker.state == State::Ready {
                        worker.send_forgets();
                    }
                }
            }
        }
        self.maybe_stop();
    }

    /// In a closing pool: tells the workers to leave once the last call has ended.
    pub(super) fn maybe_stop(&mut self) {
        if !matches!(self.phase, Phase::Closing) || !self.queue.jobs().is_empty() {
            return;
        }
        for worker in self.workers.iter_mut().filter(|worker| worker.state == State::Ready) {
            match worker.send_stop() {
                // No room can only be while tasks of an abandoned call are under way: tried again when they end.
                Ok(false) => continue,
                Ok(true) => worker.state = State::Leaving,
                Err(_) => worker.abandon(),
            }
            worker.flush();
        }
    }
}
