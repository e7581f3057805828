//! Calls: one loop feeds tasks, drives or waits, and brings the results home, for calls that block, for results that are
//! asked for later, and for those that are taken one by one. All user code of a call (its input
//! iterator, `Serialize`, `Deserialize`) runs on the thread that makes the call, and never under the core's lock.

use crate::codec::Packed;
use crate::engine::call::chunk;
use crate::engine::call::feed::{Feed, Input};
use crate::engine::call::job::{Delivery, Halt, Job, Options};
use crate::engine::call::progress::Reporter;
use crate::engine::call::results::{Load, Sink};
use crate::engine::call::submission::{Serialised, Submission, serialise_all};
use crate::engine::callbacks;
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::settle::{is_decoding, open};
use crate::engine::core::state::{Core, Engine};
use crate::engine::worker::work::Run;
use crate::error::{Error, TaskKind};
use crate::heap::scope;
use crate::identity::Entry;
use crate::sys::time::Deadline;
use parking_lot::MutexGuard;
use std::sync::Arc;

/// The most frames that are made ready before they are handed over.
const BATCH: usize = 32;

/// What a call has done.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How many tasks there were.
    pub(crate) total: u64,
    /// Why it ended before all of them had.
    pub(crate) halted: Option<Halt>,
    pub(crate) job: Arc<Job>,
}

/// Ends a call in order, also when its input panics.
struct Guard<'a> {
    engine: &'a Arc<Engine>,
    job: Arc<Job>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut core = self.engine.core.lock();
        core.retire(&self.job);
        self.engine.hand_over(&mut core);
    }
}

/// How serving a call has ended.
#[derive(Debug)]
pub(crate) enum Served {
    /// All tasks have an outcome.
    Done,
    /// It ended before its time.
    Halted(Halt),
    /// The sink has enough for now.
    Enough,
    TimedOut,
}

impl Engine {
    /// Runs a call to its end.
    ///
    /// # Errors
    ///
    /// The pool takes no calls; nothing was run then.
    pub(crate) fn run(
        self: &Arc<Self>,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
        options: Options,
        feed: &mut dyn Feed,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Error> {
        let job = self.enter(entry, context, options, None)?;
        let guard = Guard { engine: self, job: Arc::clone(&job) };
        let mut input = Input::new();
        let halted = loop {
            match self.serve(&job, Some((&mut input, &mut *feed)), sink, Deadline::NEVER) {
                Served::Done => break None,
                Served::Halted(halt) => break Some(halt),
                Served::Enough | Served::TimedOut => {}
            }
        };
        drop(guard);
        Ok(Outcome { total: input.next, halted, job })
    }

    /// Hands a whole input in and returns; nobody waits for the results yet.
    ///
    /// # Errors
    ///
    /// The pool takes no calls; nothing was run then.
    pub(crate) fn submit(
        self: &Arc<Self>,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
        options: Options,
        feed: &mut dyn Feed,
    ) -> Result<(Arc<Job>, u64), Error> {
        callbacks::start()?;
        let (Serialised { mut submission, total, failed }, pins) = scope::collect(|| serialise_all(feed));
        submission.pins = (!pins.is_empty()).then(|| Arc::new(pins));
        let job = self.enter(entry, context, options, Some(submission))?;
        if let Some(reporter) = &job.reporter {
            reporter.set_total(total);
            let later = Arc::clone(&job);
            // The last report. The call was just made, and is not complete yet.
            let _ = job.when_complete(Box::new(move || later.reporter.iter().for_each(Reporter::tell_queued)));
        }
        for (index, text) in failed {
            if let Some(reporter) = &job.reporter {
                reporter.refused();
            }
            job.deliver(Delivery::Failure { index, error: job.error(TaskKind::Encode { text }, index, None) });
        }
        let mut core = self.core.lock();
        core.submitted.push_back(Arc::clone(&job));
        core.schedule();
        core.flush();
        self.dispatched(&mut core);
        self.recall(&mut core);
        if core.driving {
            self.bell.ring();
        }
        self.hand_over(&mut core);
        Ok((job, total))
    }

    /// Serves a call until all is done, or the sink has enough, or the deadline has passed: feeds tasks, drives or waits,
    /// and brings results to the sink. Without an input the call is one that was handed in whole.
    pub(crate) fn serve(
        self: &Arc<Self>,
        job: &Arc<Job>,
        mut input: Option<(&mut Input, &mut dyn Feed)>,
        sink: &mut dyn Sink,
        until: Deadline,
    ) -> Served {
        let mut core = self.core.lock();
        let served = self.serve_on(&mut core, job, &mut input, sink, until);
        if let (Some((input, feed)), Served::Done | Served::Halted(_)) = (&input, &served) {
            tell(&mut core, job, true, || input.total(*feed));
        }
        // Whoever takes results one by one comes back for the seat, unless others need it meanwhile.
        if !matches!(served, Served::Enough) || core.jobs.len() > 1 {
            self.hand_over(&mut core);
        }
        served
    }

    fn serve_on(
        self: &Arc<Self>,
        core: &mut MutexGuard<'_, Core>,
        job: &Arc<Job>,
        input: &mut Option<(&mut Input, &mut dyn Feed)>,
        sink: &mut dyn Sink,
        until: Deadline,
    ) -> Served {
        loop {
            let deliveries = job.take_deliveries();
            if !deliveries.is_empty() {
                MutexGuard::unlocked(core, || accept(job, sink, deliveries));
                continue;
            }
            if let Some(halt) = job.halted() {
                // A pool that ends takes nothing from a call whose tasks have all ended.
                let all_ended = match &input {
                    Some((input, feed)) => (input.ended || feed.left() == Some(0)) && job.outstanding() == 0,
                    None => false,
                };
                let by_pool = !matches!(halt, Halt::Cancelled);
                return if all_ended && by_pool { Served::Done } else { Served::Halted(halt) };
            }
            if sink.enough() {
                return Served::Enough;
            }
            let done = match input {
                Some((input, feed)) => {
                    tell(core, job, false, || input.total(*feed));
                    if !input.ended && self.feed(core, job, input, *feed, sink) {
                        for (index, text) in input.failed.drain(..) {
                            if let Some(reporter) = &job.reporter {
                                reporter.refused();
                            }
                            sink.failure(index, job.error(TaskKind::Encode { text }, index, None));
                        }
                        continue;
                    }
                    input.ended && job.outstanding() == 0
                }
                None => job.is_complete(),
            };
            if done {
                return Served::Done;
            }
            if until.passed() {
                return Served::TimedOut;
            }
            if core.driving {
                wait_for_change(core, job, until);
            } else {
                self.drive(core, Some((job, sink)), until);
            }
        }
    }

    /// Takes what has arrived, and hands in more if there is room; never waits.
    pub(crate) fn top_up(
        self: &Arc<Self>,
        job: &Arc<Job>,
        input: &mut Input,
        feed: &mut dyn Feed,
        sink: &mut dyn Sink,
    ) {
        let mut core = self.core.lock();
        let deliveries = job.take_deliveries();
        if !deliveries.is_empty() {
            MutexGuard::unlocked(&mut core, || accept(job, sink, deliveries));
        }
        if job.halted().is_some() || input.ended {
            return;
        }
        self.feed(&mut core, job, input, feed, sink);
        if core.driving {
            return;
        }
        // The answers that are there; the background thread goes on with it.
        self.drive_by(&mut core, Some((job, sink)));
        self.hand_over(&mut core);
    }

    /// Ends a call that nobody waits in, or whose results nobody wants any more.
    pub(crate) fn leave(&self, job: &Arc<Job>) {
        let mut core = self.core.lock();
        core.retire(job);
        self.hand_over(&mut core);
    }

    /// Registers a call.
    pub(crate) fn enter(
        self: &Arc<Self>,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
        options: Options,
        submission: Option<Submission>,
    ) -> Result<Arc<Job>, Error> {
        if is_decoding() {
            return Err(Error::reentrant());
        }
        self.check_generation()?;
        options.check()?;
        if options.timeout.is_some() && !self.launcher.can_stop_tasks() {
            return Err(Error::invalid_argument("a thread cannot be stopped: a time limit needs a pool of processes"));
        }
        let mut core = self.core.lock();
        core.check_open()?;
        let job = Arc::new(Job::new(core.header(entry, context)?, options, submission));
        core.jobs.push(Arc::clone(&job));
        Ok(job)
    }

    /// Makes frames of the next tasks and hands them over, if there is room; whether anything came of it.
    fn feed(
        self: &Arc<Self>,
        core: &mut MutexGuard<'_, Core>,
        job: &Arc<Job>,
        input: &mut Input,
        feed: &mut dyn Feed,
        sink: &dyn Sink,
    ) -> bool {
        let wanted = sink.room(&Load {
            outstanding: job.outstanding(),
            buffersize: job.options.buffersize,
            nanos: job.header.nanos(),
            tasks: input.next,
            bytes: input.total_bytes,
            workers: core.target,
        });
        let count = job.chunk(input.last_count, feed.left(), core.target);
        let count = count.min(u32::try_from(wanted).unwrap_or(u32::MAX));
        if count == 0 {
            return false;
        }
        let room = core.room(job, count).min(BATCH).min(usize::try_from(wanted / u64::from(count)).unwrap_or(BATCH));
        if room == 0 {
            core.note_hunger(job, true);
            self.recall(core);
            return false;
        }
        core.note_hunger(job, false);
        let most_bytes = if job.options.chunksize.is_some() { usize::MAX } else { chunk::FRAME_BYTES };
        MutexGuard::unlocked(core, || scope::collect(|| input.make(feed, room, count, most_bytes)));
        let mut start = 0;
        for frame in input.frames.drain(..) {
            job.add_outstanding(u64::from(frame.count));
            let pins = (!frame.pins.is_empty()).then(|| Arc::new(frame.pins));
            let range = TaskRange { job: Some(Arc::clone(job)), first: frame.first, count: frame.count, next: 0, pins };
            core.submit(range, &input.bytes[start..frame.end]);
            start = frame.end;
        }
        core.flush();
        self.dispatched(core);
        true
    }

    /// After frames were handed out: the thread that minds time limits looks at them anew.
    pub(crate) fn dispatched(&self, core: &mut Core) {
        if std::mem::take(&mut core.new_deadline) {
            self.background.notify_one();
        }
    }
}

/// Tells how far a call has come that its caller feeds: if it is time, or at the `end`. `total` is the number of tasks, if
/// known.
fn tell(core: &mut MutexGuard<'_, Core>, job: &Job, end: bool, total: impl FnOnce() -> Option<u64>) {
    if let Some(reporter) = job.reporter.as_ref().filter(|reporter| reporter.is_due() || end) {
        MutexGuard::unlocked(core, || reporter.tell(total()));
    }
}

fn accept(job: &Job, sink: &mut dyn Sink, deliveries: Vec<Delivery>) {
    let mut scratch = Vec::new();
    for delivery in deliveries {
        open(job, sink, delivery, &mut scratch);
    }
}

/// Waits, in the line for the driver's seat, until something has changed for this call.
fn wait_for_change(core: &mut MutexGuard<'_, Core>, job: &Arc<Job>, until: Deadline) {
    core.waiting.push(Arc::clone(job));
    match until.instant() {
        Some(at) => drop(job.changed.wait_until(core, at)),
        None => job.changed.wait(core),
    }
    // Once: several threads may wait for one call.
    if let Some(at) = core.waiting.iter().position(|it| Arc::ptr_eq(it, job)) {
        core.waiting.remove(at);
    }
}
