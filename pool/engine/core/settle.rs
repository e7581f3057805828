//! What becomes of an answer: it is checked, entered in the books, and brought to its call; and how tasks and calls end.

use crate::attached_fds::AttachedFds;
use crate::codec::{self, CodecError};
use crate::engine::call::chunk;
use crate::engine::call::job::{Delivery, Halt, Job};
use crate::engine::call::progress::Reporter;
use crate::engine::call::results::Sink;
use crate::engine::callbacks;
use crate::engine::core::driver::{Driver, Own};
use crate::engine::core::ledger::{QueuedFrame, TaskRange};
use crate::engine::core::stamp::Stamp;
use crate::engine::core::state::Core;
use crate::engine::core::worker_slot::TakenBack;
use crate::error::{Failure, TaskError, TaskKind};
use crate::heap::scope::{self, Pin, Pins, attached_in};
use crate::ipc::handles;
use crate::ipc::link::{Answer, AnswerKind, Payload, damaged};
use parking_lot::MutexGuard;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Plain numbers of up to this many bytes are read under the lock.
const SMALL: usize = 4096;

impl Driver<'_> {
    /// Takes the answers of one worker. Returns whether there were any.
    pub(super) fn collect(&mut self, at: usize) -> bool {
        let mut any = false;
        while self.core.workers[at].condemned.is_none() {
            let Some(link) = &mut self.core.workers[at].link else { break };
            let taken = match link.receive() {
                Ok(Some(answer)) => self.take(at, answer),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            any = true;
            let worker = &mut self.core.workers[at];
            match (taken, &mut worker.link) {
                (Ok(()), Some(link)) => link.consumed(),
                (Ok(()), None) => {}
                (Err(error), _) => worker.condemn(&error),
            }
        }
        if any {
            self.core.retire_frames(at);
            let worker = &mut self.core.workers[at];
            worker.slow = false;
            worker.record.seen(worker.window.len());
        }
        any
    }

    /// Takes one answer: checks it against the ledger, enters it in the books, and brings it to its job, in this order:
    /// a refused answer has changed nothing, so the end of its worker settles every task that it was about.
    ///
    /// # Errors
    ///
    /// The worker answered what it was not asked, or wrote what our own code never writes.
    #[inline]
    pub(super) fn take(&mut self, at: usize, answer: Answer) -> io::Result<()> {
        let Answer { kind, seq, first, count, nanos, payload, attached } = answer;
        // Not its frame: the worker lies, or answers twice.
        let Some(range) = self.core.workers[at].window.oldest(seq) else {
            return self.core.take_returned(at, kind, seq);
        };
        if first != range.next || count == 0 || count > range.left() {
            return Err(damaged("an answer to tasks that it does not have"));
        }
        let other = match kind {
            AnswerKind::Values => None,
            // No outcome: the task has its attached descriptors, and runs.
            AnswerKind::Taken => {
                range.close_fds();
                return Ok(());
            }
            AnswerKind::Returned => return self.core.take_returned(at, kind, seq),
            AnswerKind::Failure | AnswerKind::Handles => Some(read_one(kind, count, &payload, attached)?),
        };
        let before = range.advance(count);
        let late = self.core.note_answer(at, &before, count, nanos);
        // Nobody waits for it any more.
        let Some(job) = &before.job else { return Ok(()) };
        if nanos > 0 {
            // The time is that of the whole frame, told with its last answer.
            job.header.set_nanos(chunk::learn(job.header.nanos(), nanos, before.count));
        }
        let size = payload.len();
        let first = before.index(before.next);
        match (late, other) {
            (None, None) => self.succeed(job, first, count, payload, Pins::new()),
            (None, Some(Alone::Value(value, pins))) => self.succeed(job, first, count, Payload::Own(value), pins),
            (None, Some(Alone::Failure(failure))) => self.fail(at, job, failure.into(), &before, seq),
            // It has ended after all, but too late.
            (Some(limit), _) => self.fail(at, job, TaskKind::TimedOut { limit }, &before, seq),
        }
        // What a large value has used is kept for the next one for a while, from now on: reading it may have taken its time.
        self.core.note_size(size);
        Ok(())
    }

    /// `count` tasks have these values.
    #[inline]
    fn succeed(&mut self, job: &Arc<Job>, first: u64, count: u32, payload: Payload, pins: Pins) {
        if job.options.retry.is_some() {
            job.forget_attempts(first, count);
        }
        self.give(job, first, count, payload, pins);
        self.core.settle(job, u64::from(count));
    }

    /// The task at the place `range.next` of frame `seq` has failed: it is run again, or that is its outcome.
    #[cold]
    fn fail(&mut self, at: usize, job: &Arc<Job>, kind: TaskKind, range: &TaskRange, seq: u64) {
        let worker = &self.core.workers[at];
        let error = job.error(kind, range.index(range.next), worker.pid).on(worker.host.as_deref());
        self.task_failed(job, error, |core| {
            let range = TaskRange { count: range.next + 1, since: Stamp::NONE, ..range.clone() };
            QueuedFrame { range, bytes: core.workers[at].payload(seq) }
        });
    }

    /// A failure is the outcome of a task.
    pub(super) fn settle_failure(&mut self, job: &Arc<Job>, error: TaskError) {
        let index = error.index();
        let error = self.core.note_failure(job, error);
        match &mut self.own {
            Some(own) if own.takes_from(job) => own.sink.failure(index, error),
            _ => job.deliver(Delivery::Failure { index, error }),
        }
        self.core.settle(job, 1);
        if job.options.fail_fast {
            self.core.give_up(job);
        }
    }

    /// Brings values to their job, from where the job's thread takes them. Plain numbers of a job that is this thread's own are
    /// read at once: that runs no user code, writes no file, and takes no longer than a copy.
    #[inline]
    fn give(&mut self, job: &Arc<Job>, first: u64, count: u32, payload: Payload, pins: Pins) {
        match &mut self.own {
            Some(own) if own.takes_from(job) => {
                let sink = &mut *own.sink;
                if payload.len() > SMALL {
                    MutexGuard::unlocked(&mut self.core, || {
                        read(job, sink, first, count, &payload, pins, &mut Vec::new());
                    });
                } else {
                    read(job, sink, first, count, &payload, pins, &mut self.core.scratch);
                }
            }
            _ => deliver(job, first, count, payload, pins),
        }
    }

    /// Brings what was collected for this thread's call to its sink, outside of the seat and without the lock. Returns
    /// whether there was anything.
    pub(super) fn accept(&mut self) -> bool {
        if self.core.queue.is_undecided() {
            let own = self.own.as_ref().map(|own| Arc::clone(own.job));
            if own.is_some_and(|job| self.decide(&job)) {
                return true;
            }
        }
        let Some(Own { job, sink, .. }) = &mut self.own else { return false };
        if !job.has_deliveries() {
            return false;
        }
        let deliveries = job.take_deliveries();
        // User code may take its time: other calls need a driver meanwhile. This call alone does not, and its thread
        // is back in a moment as a rule, so that waking another one for it would only cost.
        if sink.runs_user_code() && self.core.queue.has_other_than(job) {
            self.engine.hand_over(&mut self.core);
        }
        MutexGuard::unlocked(&mut self.core, || {
            let mut scratch = Vec::new();
            for delivery in deliveries {
                open(job, *sink, delivery, &mut scratch);
            }
        });
        true
    }
}

impl Core {
    /// Enters an answer of `count` tasks from the place `range.next` on in the accounts of its worker and its call. Returns
    /// the time limit of the task if its worker was told to end since that was over.
    #[inline]
    fn note_answer(&mut self, at: usize, range: &TaskRange, count: u32, nanos: u64) -> Option<Duration> {
        let worker = &mut self.workers[at];
        worker.record.answered(range.next, count);
        let limit = worker.overdue.as_ref().and_then(|_| worker.limit.as_ref()?.hard);
        if range.left() == count {
            if worker.overdue.is_none() {
                worker.limit = None;
            }
            let stretch = worker.record.ended(range.count, nanos);
            let by = (&worker.record, at, worker.pid);
            self.observers.frame_ended(range, &stretch, by);
        }
        limit
    }

    /// A failure is the outcome of a task: enters it in the books, and adds how the task has failed before.
    fn note_failure(&mut self, job: &Job, error: TaskError) -> TaskError {
        self.observers.failed(job, &error);
        job.reporter.iter().for_each(Reporter::failed);
        if job.options.retry.is_none() {
            return error;
        }
        let before = job.take_attempts(error.index());
        error.after(before)
    }

    /// The tasks of a frame that was asked for go elsewhere: the worker has not begun it, and never will.
    ///
    /// # Errors
    ///
    /// It is an answer of another kind, or to no frame of this worker.
    #[cold]
    fn take_returned(&mut self, at: usize, kind: AnswerKind, seq: u64) -> io::Result<()> {
        let worker = &mut self.workers[at];
        let has_tasks = worker.window.range(seq).is_some_and(|range| range.left() > 0);
        let range = if kind == AnswerKind::Returned && has_tasks { worker.unload(seq) } else { None };
        let range = range.ok_or_else(|| damaged("an answer to a frame that it does not have"))?;
        // Nobody waits for the others.
        if range.job.is_some() {
            let bytes = worker.copy(seq);
            self.keep(QueuedFrame { range, bytes }, true);
        }
        Ok(())
    }

    /// Answers of this worker were taken: the room of frames that are finished can be used again.
    fn retire_frames(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        if worker.condemned.is_some() {
            // Its end settles all that it has.
            return;
        }
        let Some(link) = &mut worker.link else { return };
        let before = worker.window.len();
        worker.window.release(&mut **link);
        let after = worker.window.len();
        if after < before {
            self.weigh(at);
        }
        if after == 0 {
            self.vacate(at);
            self.maybe_stop();
        }
    }

    /// Counts tasks as ended, and tells whoever waits for the last of them.
    #[inline]
    pub(crate) fn settle(&mut self, job: &Arc<Job>, count: u64) {
        self.observers.settled(count);
        if let Some(reporter) = &job.reporter {
            note_progress(job, reporter, count);
        }
        if job.settle(count) {
            self.note_last(job);
        }
    }

    /// For now no task of a call lacks an outcome.
    fn note_last(&mut self, job: &Arc<Job>) {
        job.changed.notify_all();
        self.finish(job);
    }

    /// Ends a call before its time: what is not under way is dropped, what is loses its listener.
    pub(crate) fn give_up(&mut self, job: &Arc<Job>) {
        *job.submission.lock() = None;
        job.halt(Halt::Cancelled);
        if job.is_submitted() {
            self.retire(job);
        }
    }

    /// Gives the tasks of a range that has left every worker an outcome: they are not run.
    pub(super) fn cancel_tasks(&mut self, range: &TaskRange) {
        self.end_tasks(range, &TaskKind::Cancelled);
    }

    /// Gives the tasks that this process had no memory to send an outcome. That is done in a turn of its own: where they were to
    /// be sent their call may be locked.
    #[cold]
    pub(super) fn settle_refused(&mut self) {
        for (range, why) in std::mem::take(&mut self.refused) {
            self.end_tasks(&range, &Failure::Encode { text: format!("it cannot be sent: {why}") }.into());
            if let Some(job) = range.job.filter(|job| job.options.fail_fast) {
                self.give_up(&job);
            }
        }
    }

    fn end_tasks(&mut self, range: &TaskRange, kind: &TaskKind) {
        let Some(job) = &range.job else { return };
        for index in (range.next..range.count).map(|place| range.index(place)) {
            let error = self.note_failure(job, job.error(kind.clone(), index, None));
            job.deliver(Delivery::Failure { index, error });
        }
        self.settle(job, u64::from(range.left()));
        // A thread that takes results one by one may wait for one of these.
        job.changed.notify_all();
    }

    /// A call that nobody waits in is complete once all was handed in and has an outcome.
    pub(crate) fn finish(&mut self, job: &Arc<Job>) {
        if job.outstanding() == 0 && job.is_submitted() && job.submission.lock().is_none() {
            self.retire(job);
            job.complete();
        }
    }

    /// Cancels the tasks of a call that have not begun. Returns whether there were any.
    pub(crate) fn cancel(&mut self, job: &Arc<Job>) -> bool {
        if job.is_complete() {
            return false;
        }
        let mut waiting = job.submission.lock().is_some() || self.queue.waiting().any(|queued| queued.is_of(job));
        for worker in self.workers.iter_mut() {
            // The oldest frame may have begun as well as not: taking it back tells.
            for seq in worker.window.of(job) {
                let taken = worker.take_back(seq);
                let Some(link) = &worker.link else { break };
                let reached = link.progress().seq;
                // As far as is known, where that is asked.
                if matches!(taken, TakenBack::Tasks(_)) || matches!(taken, TakenBack::Asked) && reached < seq {
                    waiting = true;
                    continue;
                }
                if reached == seq {
                    let count = worker.window.range(seq).map_or(0, |range| range.count);
                    // Started tasks cannot be cancelled.
                    waiting |= link.progress().started < count;
                }
            }
        }
        if waiting {
            self.give_up(job);
        } else {
            // All its tasks run, as far as is known. What they return in the end counts.
            job.drain();
            self.workers.iter().for_each(|worker| worker.tell_to_end(job));
        }
        waiting
    }
}

/// `count` tasks of a call that has a listener have an outcome. A call that nobody waits in tells so where callbacks run.
#[cold]
fn note_progress(job: &Arc<Job>, reporter: &Reporter, count: u64) {
    reporter.settled(count);
    if job.is_submitted() && reporter.queue() {
        let later = Arc::clone(job);
        callbacks::post(move || later.reporter.iter().for_each(Reporter::tell_queued));
    }
}

/// What an answer says that is about one task alone, once it was checked.
enum Alone {
    /// Its value, and what that refers to.
    Value(Vec<u8>, Pins),
    Failure(Failure),
}

/// Checks an answer of a kind that is about one task, and reads as much of it as can be wrong. Changes nothing.
///
/// # Errors
///
/// The worker wrote what our own code never writes.
#[cold]
fn read_one(kind: AnswerKind, count: u32, payload: &Payload, attached: Vec<Arc<AttachedFds>>) -> io::Result<Alone> {
    if kind == AnswerKind::Failure {
        return if count == 1 {
            Ok(Alone::Failure(read_failure(payload)))
        } else {
            Err(damaged("a failure of several tasks at once"))
        };
    }
    if count != 1 {
        return Err(damaged("handles of several tasks at once"));
    }
    // Takes hold of what it refers to, before the worker hears that the answer was read, and lets go of it.
    match payload.to_vec() {
        Ok(bytes) => {
            let taken = handles::take_off(bytes);
            let (value, mut pins) = taken.ok_or_else(|| damaged("an answer with damaged handles"))?;
            pins.extend(attached.into_iter().map(Pin::AttachedFds));
            Ok(Alone::Value(value, pins))
        }
        Err(CodecError(text)) => Ok(Alone::Failure(Failure::Decode { text })),
    }
}

/// A failure as the worker wrote it; what does not read is itself a failure.
fn read_failure(payload: &Payload) -> Failure {
    let read = payload.to_vec().and_then(|bytes| codec::from_bytes(&bytes));
    read.unwrap_or_else(|_| Failure::Decode { text: "the worker's report of a failure is damaged".to_owned() })
}

/// Leaves values for the job's thread. User code must not run in the driver's seat: it may wait for this pool. And the room in
/// the link is needed again, so what lies there is copied.
fn deliver(job: &Job, first: u64, count: u32, payload: Payload, pins: Pins) {
    match payload.into_own() {
        Ok(payload) => job.deliver(Delivery::Values { first, count, payload, pins }),
        Err(CodecError(text)) => {
            for index in first..first + u64::from(count) {
                let error = job.error(Failure::Decode { text: text.clone() }.into(), index, None);
                job.deliver(Delivery::Failure { index, error });
            }
        }
    }
}

/// Decodes a delivery.
pub(crate) fn open(job: &Job, sink: &mut dyn Sink, delivery: Delivery, scratch: &mut Vec<u8>) {
    match delivery {
        Delivery::Failure { index, error } => sink.failure(index, error),
        Delivery::Values { first, count, mut payload, pins } => {
            if let Some(checkpoint) = &job.options.checkpoint {
                match checkpoint.save(first, count, &payload, !pins.is_empty()) {
                    Ok(saved) => payload = saved,
                    // What is not kept must not be seen: the next run of the program would not know of it.
                    Err(text) => return job.halt(Halt::Checkpoint(text)),
                }
            }
            read(job, sink, first, count, &payload, pins, scratch);
        }
    }
}

/// Decodes values, and lets go of what they refer to.
#[inline]
fn read(job: &Job, sink: &mut dyn Sink, first: u64, count: u32, payload: &Payload, pins: Pins, scratch: &mut Vec<u8>) {
    let mut read = || {
        payload.read(scratch, |reader| {
            sink.values(first, count, reader, &|index, kind| job.error(kind, index, None));
        });
    };
    if pins.is_empty() {
        return read();
    }
    match attached_in(&pins) {
        attached if attached.is_empty() => read(),
        attached => scope::with_attached(attached, read),
    }
}

#[cfg(all(test, not(loom)))]
mod fuzz;
#[cfg(test)]
mod tests;
