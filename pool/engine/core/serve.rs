//! Calls: one loop feeds tasks, drives or waits, and brings the results home, for calls that block, for results that are
//! asked for later, and for those that are taken one by one. All user code of a call (its input
//! iterator, `Serialize`, `Deserialize`) runs on the thread that makes the call, and never under the core's lock.

use crate::codec::{Packed, Reader};
use crate::engine::call::chunk;
use crate::engine::call::feed::{Feed, Input, Limits};
use crate::engine::call::gate::Claim;
use crate::engine::call::job::{Delivery, Halt, Job, Options};
use crate::engine::call::progress::Reporter;
use crate::engine::call::results::{Load, Sink};
use crate::engine::call::retry::Retry;
use crate::engine::call::submission::{Serialised, Submission, serialise_all};
use crate::engine::callbacks;
use crate::engine::core::driver::{Driver, Own};
use crate::engine::core::state::Engine;
use crate::engine::worker::work::Run;
use crate::error::{Error, Failure, TaskError};
use crate::heap::scope::{self, Pins};
use crate::identity::Entry;
use crate::ipc::link::Payload;
use crate::sys::time::Deadline;
use parking_lot::MutexGuard;
use std::sync::Arc;
#[cfg(feature = "stream")]
use std::task::Waker;

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
                // Then not all of the input was handed in, perhaps.
                Served::Done => break job.is_drained().then_some(Halt::Cancelled),
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
        claim: Claim,
    ) -> Result<(Arc<Job>, u64), Error> {
        callbacks::start()?;
        let (serialised, pins) = scope::collect_for(self.reach, || serialise_all(feed));
        let Serialised { mut submission, total, failed, known } = serialised.map_err(Error::checkpoint)?;
        submission.pins = (!pins.is_empty()).then(|| Arc::new(pins));
        let job = self.enter(entry, context, options, Some(submission))?;
        claim.keep_for(&job);
        self.hand_in(&job, total, failed, known);
        Ok((job, total))
    }

    /// Enters a call whose input is not there yet: it follows by [`Engine::supply`] or does not come ([`Engine::refuse`]).
    ///
    /// # Errors
    ///
    /// The pool takes no calls.
    pub(crate) fn enter_later(
        self: &Arc<Self>,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
        options: Options,
        claim: Claim,
    ) -> Result<Arc<Job>, Error> {
        callbacks::start()?;
        let job = self.enter(entry, context, options, Some(Submission::default()))?;
        claim.keep_for(&job);
        Ok(job)
    }

    /// Hands in the input of a call that was entered without; not if that has ended meanwhile.
    pub(crate) fn supply(self: &Arc<Self>, job: &Arc<Job>, feed: &mut dyn Feed) {
        let (serialised, pins) = scope::collect_for(self.reach, || serialise_all(feed));
        // Only a checkpoint refuses an input, and no such call has one.
        let Ok(Serialised { mut submission, total, failed, known }) = serialised else { return };
        submission.pins = (!pins.is_empty()).then(|| Arc::new(pins));
        match &mut *job.submission.lock() {
            Some(empty) => *empty = submission,
            // It was cancelled.
            None => return,
        }
        self.hand_in(job, total, failed, known);
    }

    /// Ends a call that was entered without an input with an error, as if its only task had failed.
    pub(crate) fn refuse(self: &Arc<Self>, job: &Arc<Job>, error: TaskError) {
        let mut core = self.core.lock();
        if job.submission.lock().take().is_some() {
            job.reporter.iter().for_each(Reporter::refused);
            job.deliver(Delivery::Failure { index: 0, error });
            core.finish(job);
            self.hand_over(&mut core);
        }
    }

    /// Hands out the tasks of a call that nobody waits in, and gives those that are not run their outcome.
    fn hand_in(self: &Arc<Self>, job: &Arc<Job>, total: u64, failed: Vec<(u64, String)>, known: Vec<(u64, Vec<u8>)>) {
        if let Some(reporter) = &job.reporter {
            reporter.set_total(total);
            let later = Arc::clone(job);
            // The last report. The call was just made, and is not complete yet.
            let _ = job.when_complete(Box::new(move || later.reporter.iter().for_each(Reporter::tell_queued)));
        }
        for (index, text) in failed {
            if let Some(reporter) = &job.reporter {
                reporter.refused();
            }
            job.deliver(Delivery::Failure { index, error: job.error(Failure::Encode { text }.into(), index, None) });
        }
        for (first, result) in known {
            if let Some(reporter) = &job.reporter {
                reporter.settled(1);
            }
            job.deliver(Delivery::Values { first, count: 1, payload: Payload::Own(result), pins: Pins::new() });
        }
        let mut core = self.core.lock();
        core.queue.line_up(Arc::clone(job));
        core.submitting += usize::from(self.runs_here);
        core.schedule();
        self.handed_in(&mut core);
        drop(core);
        if self.runs_here {
            self.run_all_here(job);
        }
    }

    /// Serves a call until all is done, or the sink has enough, or the deadline has passed: feeds tasks, drives or waits,
    /// and brings results to the sink. Without an input the call is one that was handed in whole.
    pub(crate) fn serve(
        self: &Arc<Self>,
        job: &Arc<Job>,
        input: Option<(&mut Input, &mut dyn Feed)>,
        sink: &mut dyn Sink,
        until: Deadline,
    ) -> Served {
        if let Err(error) = self.check_generation() {
            return Served::Halted(Halt::Broken(error.to_string()));
        }
        if let Some(halt) = self.waits_for_itself() {
            return Served::Halted(halt);
        }
        let mut source = match input {
            Some((input, feed)) => Source::Fed { input, feed },
            None => Source::Submitted,
        };
        let mut driver = Driver::new(self, Some(Own::new(job, sink)));
        let served = driver.serve(job, &mut source, until);
        if let Served::Done | Served::Halted(_) = served {
            driver.tell_progress(job, &source, true);
        }
        if matches!(served, Served::Halted(Halt::Checkpoint(_))) {
            // The rest of it is not to be run, whoever has handed it in.
            driver.core.retire(job);
        }
        // A thread that takes results one by one comes back in a moment and drives then, unless another call needs a driver
        // meanwhile.
        if !matches!(served, Served::Enough) || driver.core.queue.jobs().len() > 1 {
            self.hand_over(&mut driver.core);
        }
        served
    }

    /// Takes what has arrived, and hands in more if there is room; never waits.
    pub(crate) fn top_up(
        self: &Arc<Self>,
        job: &Arc<Job>,
        input: &mut Input,
        feed: &mut dyn Feed,
        sink: &mut dyn Sink,
    ) {
        if !self.is_original() {
            return;
        }
        let mut driver = Driver::new(self, Some(Own::new(job, sink)));
        driver.accept();
        if job.is_halted() || input.ended {
            // Nothing more is to be handed in.
            return;
        }
        driver.feed(job, input, feed);
        if driver.core.seat.is_taken() {
            // That thread takes the answers, too.
            return;
        }
        // The answers that are there; the background thread goes on with it.
        driver.drive_by();
        self.hand_over(&mut driver.core);
        driver.accept();
    }

    /// Has a task woken at the next change for its call. What it looks for after that is not missed.
    #[cfg(feature = "stream")]
    pub(crate) fn wake_later(&self, job: &Arc<Job>, waker: &Waker) {
        if callbacks::start().is_err() {
            // There is no thread for it: the task looks again and again.
            return waker.wake_by_ref();
        }
        let before = job.wake_later(waker.clone());
        self.core.lock().seat.poll(job);
        drop(before);
    }

    /// Registers a call.
    pub(crate) fn enter(
        self: &Arc<Self>,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
        mut options: Options,
        submission: Option<Submission>,
    ) -> Result<Arc<Job>, Error> {
        self.check_generation()?;
        options.check()?;
        if self.runs_here {
            // A program runs under a debugger as it is.
            options.timeout = None;
        }
        if options.timeout.is_some() && !self.launcher.starts_processes() {
            return Err(Error::invalid_argument("a thread cannot be stopped: a time limit needs a pool of processes"));
        }
        if options.retry.as_ref().is_some_and(Retry::asks) {
            callbacks::start()?;
        }
        let mut core = self.core.lock();
        core.check_open()?;
        core.queue.enter(entry, context, options, submission)
    }
}

/// Where the tasks of a call come from.
enum Source<'a> {
    /// From an input that the thread reads as there is room.
    Fed { input: &'a mut Input, feed: &'a mut dyn Feed },
    /// From a submission: they were handed in whole.
    Submitted,
}

impl Source<'_> {
    /// Whether all tasks have an outcome.
    fn is_done(&self, job: &Job) -> bool {
        match self {
            Source::Fed { input, .. } => input.ended && job.outstanding() == 0,
            Source::Submitted => job.is_complete(),
        }
    }

    /// Why a call that was halted ends: if the pool ends, that takes nothing from a call whose tasks have all ended.
    fn halted(&self, job: &Job, halt: Halt) -> Served {
        match (self, &halt) {
            (Source::Fed { input, feed }, Halt::Terminated | Halt::Broken(_))
                if (input.ended || feed.left() == Some(0)) && job.outstanding() == 0 =>
            {
                Served::Done
            }
            _ => Served::Halted(halt),
        }
    }
}

impl Driver<'_> {
    /// Serves this thread's own call; see [`Engine::serve`].
    fn serve(&mut self, job: &Arc<Job>, source: &mut Source<'_>, until: Deadline) -> Served {
        loop {
            // First what others have collected: it may be all that this thread waits for.
            if self.accept() {
                continue;
            }
            if let Some(halt) = job.halted() {
                return source.halted(job, halt);
            }
            if self.own.as_ref().is_some_and(|own| own.sink.enough()) {
                return Served::Enough;
            }
            self.tell_progress(job, source, false);
            if let Source::Fed { input, feed } = source {
                // Workers first: they run what was handed in while this thread makes more.
                if !input.ended && self.feed(job, input, *feed) {
                    continue;
                }
            }
            if source.is_done(job) {
                // Of a call that was handed in whole some tasks may have been dropped, and have no outcome.
                let is_whole = matches!(source, Source::Fed { .. }) || !job.is_drained();
                return if is_whole { Served::Done } else { Served::Halted(Halt::Cancelled) };
            }
            if self.run_here() {
                continue;
            }
            if until.passed() {
                return Served::TimedOut;
            }
            if self.core.seat.is_taken() {
                self.wait_for_change(job, until);
            } else {
                self.drive(until);
            }
        }
    }

    /// Makes frames of the next tasks and hands them over, if there is room. Returns whether anything came of it.
    fn feed(&mut self, job: &Arc<Job>, input: &mut Input, feed: &mut dyn Feed) -> bool {
        let drained = job.is_drained();
        let Admission { frames, count } = match drained {
            // Nothing more is run. The next task, if there is one, shows that the call is not complete.
            true => Admission { frames: 1, count: 1 },
            false => self.admit(job, input, feed.left()),
        };
        if frames == 0 {
            return false;
        }
        let bytes = if job.options.chunksize.is_some() { usize::MAX } else { chunk::FRAME_BYTES };
        let limits = Limits { most: count, bytes, lends: true };
        let reach = self.engine.reach;
        if input.bytes.capacity() == 0 {
            input.bytes = std::mem::take(&mut self.core.input_room);
        }
        let lender = &mut *feed;
        let (tail, _) = self.unlocked(|| scope::collect_for(reach, || input.make(lender, frames, limits)));
        let is_lent = !tail.is_empty();
        input.ended |= drained && !input.frames.is_empty();
        self.core.submit_all(job, input, tail);
        if input.ended {
            self.core.keep_input_room(std::mem::take(&mut input.bytes));
        }
        if self.core.queue.is_ranked() {
            self.core.queue.level_of(job).served();
        }
        self.core.workers.flush();
        self.engine.dispatched(&mut self.core);
        self.refuse(job, &mut input.failed);
        if !input.known.is_empty() {
            self.give_known(job, std::mem::take(&mut input.known));
        }
        if let Some(text) = input.foreign.take() {
            job.halt(Halt::Checkpoint(text));
        }
        if is_lent {
            // Dropping the item may run the user's code, and takes its time.
            self.unlocked(|| feed.release());
        }
        true
    }

    /// Decides how much of a call's input there is room for: with its sink, at the workers, and in one go.
    #[inline]
    fn admit(&mut self, job: &Arc<Job>, input: &Input, left: Option<u64>) -> Admission {
        let none = Admission { frames: 0, count: 0 };
        let core = &mut *self.core;
        let Some(own) = &self.own else { return none };
        let wanted = own.sink.room(&Load {
            outstanding: job.outstanding(),
            buffersize: job.options.buffersize,
            nanos: job.header.nanos(),
            tasks: input.next,
            bytes: input.total_bytes,
            workers: core.workers.target(),
        });
        let count = job.chunk(Some(input.last_count), left, core.workers.target());
        let count = count.min(u32::try_from(wanted).unwrap_or(u32::MAX));
        if count == 0 {
            // The sink is full: its results have to be taken first.
            return none;
        }
        let room = core.room(job, count).min(BATCH).min(usize::try_from(wanted / u64::from(count)).unwrap_or(BATCH));
        // What a call with keys lacks is no room that others could leave to it.
        let is_hungry = room == 0 && !(job.options.keyed && core.room_in_lines() == 0);
        core.queue.level_of(job).note_hunger(job, is_hungry);
        if room == 0 {
            self.engine.recall(core);
        }
        Admission { frames: room, count }
    }

    /// Gives tasks whose results are known their outcome. That reads values, so it runs without the lock.
    #[cold]
    fn give_known(&mut self, job: &Job, known: Vec<(u64, Vec<u8>)>) {
        let Some(Own { sink, .. }) = &mut self.own else { return };
        MutexGuard::unlocked(&mut self.core, || {
            for (index, result) in known {
                if let Some(reporter) = &job.reporter {
                    reporter.settled(1);
                }
                sink.values(index, 1, &mut Reader::new(&result), &|index, kind| job.error(kind, index, None));
            }
        });
    }

    /// Gives tasks that could not be serialised their outcome.
    #[inline]
    fn refuse(&mut self, job: &Job, failed: &mut Vec<(u64, String)>) {
        for (index, text) in failed.drain(..) {
            if let Some(reporter) = &job.reporter {
                reporter.refused();
            }
            if let Some(own) = &mut self.own {
                own.sink.failure(index, job.error(Failure::Encode { text }.into(), index, None));
            }
        }
    }

    /// Waits, in the line for the driver's seat, until something has changed for this call.
    fn wait_for_change(&mut self, job: &Arc<Job>, until: Deadline) {
        self.core.seat.line_up(job);
        until.wait(&job.changed, &mut self.core);
        self.core.seat.leave_line(job);
    }

    /// Tells how far a call has come that this thread feeds: if it is time, or at the `end`.
    #[inline]
    fn tell_progress(&mut self, job: &Job, source: &Source<'_>, end: bool) {
        let (Source::Fed { input, feed }, Some(reporter)) = (source, &job.reporter) else { return };
        if reporter.is_due() || end {
            self.unlocked(|| reporter.tell(input.total(*feed)));
        }
    }
}

/// What there is room for: so many frames of so many tasks.
struct Admission {
    frames: usize,
    count: u32,
}
