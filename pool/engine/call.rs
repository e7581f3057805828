//! One blocking call: feeds tasks, drives or waits, and brings the results home. All user code of a call (its input
//! iterator, `Serialize`, `Deserialize`) runs on the thread that makes the call, and never under the core's lock.

use crate::codec::Packed;
use crate::engine::chunk;
use crate::engine::core::{Core, Engine, Phase};
use crate::engine::drive::{is_decoding, open};
use crate::engine::job::{Delivery, Halt, Job};
use crate::engine::ledger::Load;
use crate::engine::results::{Feed, Sink};
use crate::engine::work::Run;
use crate::error::{Error, TaskKind};
use crate::heap::scope::{self, Pins};
use crate::process::identity::Entry;
use crate::sys::reactor::fork_generation;
use crate::sys::time::Deadline;
use parking_lot::MutexGuard;
use std::io;
use std::sync::Arc;

/// What a call may be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Tasks per frame; by measurement if not given.
    pub(crate) chunksize: Option<u32>,
}

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

/// A frame that is ready to be handed over: where its bytes are in the common buffer.
struct Ready {
    first: u64,
    count: u32,
    end: usize,
    /// What its tasks refer to.
    pins: Pins,
}

/// The state of a call's input.
struct Input<'a> {
    feed: &'a mut dyn Feed,
    /// The number of the next task.
    next: u64,
    last_count: u32,
    ended: bool,
    bytes: Vec<u8>,
    frames: Vec<Ready>,
    failed: Vec<(u64, String)>,
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
        context: Option<Packed>,
        options: Options,
        feed: &mut dyn Feed,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Error> {
        let guard = self.enter(entry, context)?;
        let job = Arc::clone(&guard.job);
        let mut input = Input {
            feed,
            next: 0,
            last_count: 0,
            ended: false,
            bytes: Vec::new(),
            frames: Vec::new(),
            failed: Vec::new(),
        };
        let mut core = self.core.lock();
        let halted = loop {
            if let Some(halt) = job.halted() {
                break Some(halt);
            }
            let deliveries = job.take_deliveries();
            if !deliveries.is_empty() {
                MutexGuard::unlocked(&mut core, || accept(&job, sink, deliveries));
                continue;
            }
            if !input.ended && self.feed(&mut core, &job, options, &mut input) {
                for (index, text) in input.failed.drain(..) {
                    sink.failure(index, job.error(TaskKind::Encode { text }, index, None));
                }
                continue;
            }
            if input.ended && job.outstanding() == 0 {
                break None;
            }
            if core.driving {
                wait_for_change(&mut core, &job);
            } else {
                self.drive(&mut core, Some((&job, sink)), Deadline::NEVER);
            }
        };
        drop(core);
        drop(guard);
        Ok(Outcome { total: input.next, halted, job })
    }

    /// Registers a call.
    fn enter(self: &Arc<Self>, entry: &'static Entry<Run>, context: Option<Packed>) -> Result<Guard<'_>, Error> {
        if is_decoding() {
            return Err(Error::reentrant());
        }
        if self.generation != fork_generation() {
            return Err(
                io::Error::other("this process was forked from the one that made the pool: make a pool here").into()
            );
        }
        let mut core = self.core.lock();
        match &core.phase {
            Phase::Running => {}
            Phase::Closing => return Err(Error::not_running()),
            Phase::Ending { halt, .. } => return Err(halt.error()),
        }
        let job = Arc::new(Job::new(core.header(entry, context)?));
        core.jobs.push(Arc::clone(&job));
        Ok(Guard { engine: self, job })
    }

    /// Makes frames of the next tasks and hands them over, if there is room; whether anything came of it.
    fn feed(&self, core: &mut MutexGuard<'_, Core>, job: &Arc<Job>, options: Options, input: &mut Input<'_>) -> bool {
        let nanos = job.header.nanos();
        let count = options
            .chunksize
            .unwrap_or_else(|| chunk::size(nanos, input.last_count, input.feed.left(), core.workers.len()));
        let room = core.room(&job.header, count).min(BATCH);
        if room == 0 {
            return false;
        }
        let most_bytes = if options.chunksize.is_some() { usize::MAX } else { chunk::FRAME_BYTES };
        MutexGuard::unlocked(core, || scope::collect(|| input.make(room, count, most_bytes)));
        let mut start = 0;
        for frame in input.frames.drain(..) {
            job.add_outstanding(u64::from(frame.count));
            let pins = (!frame.pins.is_empty()).then(|| Arc::new(frame.pins));
            let load = Load { job: Some(Arc::clone(job)), first: frame.first, count: frame.count, next: 0, pins };
            core.submit(load, &input.bytes[start..frame.end]);
            start = frame.end;
        }
        core.flush();
        true
    }
}

impl Input<'_> {
    /// Makes up to `room` frames of up to `count` tasks.
    fn make(&mut self, room: usize, count: u32, most_bytes: usize) {
        self.bytes.clear();
        while self.frames.len() < room && !self.ended {
            let filled = self.feed.fill(&mut self.bytes, count, most_bytes);
            if filled.count > 0 {
                let pins = scope::take_pins();
                self.frames.push(Ready { first: self.next, count: filled.count, end: self.bytes.len(), pins });
                self.next += u64::from(filled.count);
                self.last_count = filled.count;
            }
            if let Some(error) = filled.failed {
                self.failed.push((self.next, error.0));
                self.next += 1;
            }
            self.ended = filled.ended;
        }
    }
}

fn accept(job: &Job, sink: &mut dyn Sink, deliveries: Vec<Delivery>) {
    let mut scratch = Vec::new();
    for delivery in deliveries {
        open(job, sink, delivery, &mut scratch);
    }
}

/// Waits, in the line for the driver's seat, until something has changed for this call.
fn wait_for_change(core: &mut MutexGuard<'_, Core>, job: &Arc<Job>) {
    core.waiting.push(Arc::clone(job));
    job.changed.wait(core);
    core.waiting.retain(|it| !Arc::ptr_eq(it, job));
}
