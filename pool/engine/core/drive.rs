//! Driving: collecting answers, minding workers that come and go, and sleeping when there is nothing to do.
//!
//! At any time at most one thread drives. It is a thread that waits for results of its own, if there is one: so a call
//! on a quiet pool needs no hop between threads. Else it is the pool's background thread.

use crate::engine::call::chunk;
use crate::engine::call::job::{Delivery, Job};
use crate::engine::call::results::Sink;
use crate::engine::core::ledger::Load;
use crate::engine::core::state::{Core, Engine, Parcel, Phase, State};
use crate::engine::core::supervisor;
use crate::error::{TaskError, TaskKind};
use crate::heap::scope::{self, Pin, Pins, luggage_in};
use crate::ipc::handles;
use crate::ipc::link::{Answer, AnswerKind, Payload, slice};
use crate::sys::time::Deadline;
use parking_lot::MutexGuard;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Payloads up to this many bytes may be decoded under the lock, if no code of the user's is involved.
const SMALL: usize = 4096;

/// While frames wait behind others at a worker, the pool looks once more after this time before it sleeps for good:
/// a worker need not ring for each answer as long as it has more to do.
const SECOND_LOOK: Duration = Duration::from_millis(1);

/// A driver that never gets to sleep looks after stalled workers every so many turns.
const LOOK_AFTER: u64 = 1024;

/// One that does, after sleeps of this length, which are rare.
const LONG_SLEEP: Duration = Duration::from_millis(100);

/// The call of the thread that drives, and where its results go; the background thread has none.
pub(crate) type Own<'a> = Option<(&'a Arc<Job>, &'a mut dyn Sink)>;

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

    /// Takes one answer: checks it against the ledger, and brings it to its job.
    ///
    /// # Errors
    ///
    /// The worker answered what it was not asked.
    pub(crate) fn take(
        self: &Arc<Self>,
        core: &mut MutexGuard<'_, Core>,
        own: &mut Own<'_>,
        at: usize,
        answer: Answer,
    ) -> io::Result<()> {
        let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let pid = core.workers[at].pid();
        let Some(load) = core.workers[at].window.oldest(answer.seq) else {
            return wrong("an answer to a frame that it does not have");
        };
        if answer.first != load.next || answer.count == 0 || answer.count > load.left() {
            return wrong("an answer to tasks that it does not have");
        }
        if answer.kind == AnswerKind::Taken {
            load.let_luggage_go();
            return Ok(());
        }
        let (first, all) = (load.index(load.next), load.count);
        let before = load.clone();
        load.next += answer.count;
        let finished = load.left() == 0;
        let worker = &mut core.workers[at];
        worker.record.answered(before.next, answer.count);
        let span = finished.then(|| worker.record.ended(all, answer.nanos));
        let overdue = worker.overdue.is_some();
        let limit = worker.limit.filter(|_| overdue).map(|(limit, _)| limit);
        if finished && !overdue {
            worker.limit = None;
        }
        if let Some(span) = span {
            if let Some(job) = &before.job {
                job.clock.lock().note(before.index(span.from), span.count, span.lasted);
            }
            let name = before.job.as_ref().map_or("cancelled", |job| job.header.name);
            core.note_tasks(pid, name, before.index(span.from), span, false);
        }
        let Some(job) = &before.job else { return Ok(()) };
        if answer.nanos > 0 {
            // The time is that of the whole frame, told with its last answer.
            let nanos = chunk::learn(job.header.nanos(), answer.nanos, all);
            job.header.set_nanos(nanos);
        }
        let count = answer.count;
        core.note_size(answer.payload.len());
        match answer.kind {
            AnswerKind::Failure if count != 1 => return wrong("a failure of several tasks at once"),
            // It has ended after all, but too late.
            _ if limit.is_some() => {
                let kind = TaskKind::TimedOut { limit: limit.unwrap_or_default() };
                self.fail(core, own, at, job, Failed { kind, load: &before, pid, seq: answer.seq });
                return Ok(());
            }
            AnswerKind::Failure => {
                let kind = read_failure(&answer.payload);
                self.fail(core, own, at, job, Failed { kind, load: &before, pid, seq: answer.seq });
                return Ok(());
            }
            AnswerKind::Values => {
                give(core, job, own, Delivery::Values { first, count, payload: answer.payload, pins: Pins::new() });
            }
            AnswerKind::Handles => {
                // Before the worker hears that the answer was read, and lets go of what it refers to.
                let Some((value, mut pins)) = handles::take_off(answer.payload.to_vec()) else {
                    return wrong("an answer with damaged handles");
                };
                pins.extend(answer.luggage.into_iter().map(Pin::Luggage));
                give(core, job, own, Delivery::Values { first, count, payload: Payload::Own(value), pins });
            }
            // It is no outcome.
            AnswerKind::Taken => return Ok(()),
        }
        core.settle(job, u64::from(count));
        Ok(())
    }

    /// A task at the place `load.next` of its frame has failed: it is run again, or that is its outcome.
    fn fail(
        self: &Arc<Self>,
        core: &mut MutexGuard<'_, Core>,
        own: &mut Own<'_>,
        at: usize,
        job: &Arc<Job>,
        failed: Failed<'_>,
    ) {
        let Failed { kind, load, pid, seq } = failed;
        let index = load.index(load.next);
        if job.may_retry(index, &kind) {
            core.totals.retried += 1;
            let bytes = core.workers[at].link.as_ref().map(|link| link.payload(seq)).unwrap_or_default();
            core.backlog.push_back(Parcel { load: Load { count: load.next + 1, ..load.clone() }, bytes });
            return;
        }
        settle_failure(core, own, job, index, job.error(kind, index, pid));
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

/// A failure is the outcome of a task.
pub(crate) fn settle_failure(
    core: &mut MutexGuard<'_, Core>,
    own: &mut Own<'_>,
    job: &Arc<Job>,
    index: u64,
    error: TaskError,
) {
    give(core, job, own, Delivery::Failure { index, error });
    core.totals.failed += 1;
    if let Some(reporter) = &job.reporter {
        reporter.failed();
    }
    core.settle(job, 1);
    if job.options.fail_fast {
        core.give_up(job);
    }
}

/// A task that has failed.
struct Failed<'a> {
    kind: TaskKind,
    /// Its frame, whose next task it is.
    load: &'a Load,
    pid: Option<i32>,
    seq: u64,
}

/// A failure as the worker wrote it; what does not read is itself a failure.
fn read_failure(payload: &Payload) -> TaskKind {
    match crate::codec::from_bytes(&payload.to_vec()) {
        // Only these can come from a worker.
        Ok(
            kind @ (TaskKind::Panicked { .. }
            | TaskKind::Failed { .. }
            | TaskKind::Decode { .. }
            | TaskKind::Encode { .. }),
        ) => kind,
        _ => TaskKind::Decode { text: "the worker's report of a failure is damaged".to_owned() },
    }
}

thread_local! {
    /// Set while this thread, in the driver's seat, runs a `Deserialize` of the user's.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread drives and is inside a `Deserialize` of the user's: a call from there would wait for the
/// driver, which is itself.
pub(crate) fn is_decoding() -> bool {
    DECODING.get()
}

/// Brings an outcome to its job: decoded at once if the job is this thread's own, else kept for its thread.
pub(crate) fn give(core: &mut MutexGuard<'_, Core>, job: &Arc<Job>, own: &mut Own<'_>, delivery: Delivery) {
    match (own, delivery) {
        (Some((own, sink)), delivery) if Arc::ptr_eq(own, job) => {
            let small = matches!(&delivery, Delivery::Values { payload, .. } if payload.len() <= SMALL);
            if small && !sink.runs_user_code() {
                let mut scratch = std::mem::take(&mut core.scratch);
                open(job, *sink, delivery, &mut scratch);
                core.scratch = scratch;
            } else {
                DECODING.set(true);
                MutexGuard::unlocked(core, || open(job, *sink, delivery, &mut Vec::new()));
                DECODING.set(false);
            }
        }
        // The room in the link is needed again, so what lies there is copied.
        (_, Delivery::Values { first, count, payload, pins }) => {
            job.deliver(Delivery::Values { first, count, payload: payload.into_own(), pins });
        }
        (_, failure) => job.deliver(failure),
    }
}

/// Decodes a delivery.
pub(crate) fn open(job: &Job, sink: &mut dyn Sink, delivery: Delivery, scratch: &mut Vec<u8>) {
    match delivery {
        Delivery::Failure { index, error } => sink.failure(index, error),
        Delivery::Values { first, count, payload, pins } => {
            let mut read = || {
                payload.read(scratch, |reader| {
                    sink.values(first, count, reader, &|index, kind| job.error(kind, index, None));
                });
            };
            match luggage_in(&pins) {
                luggage if luggage.is_empty() => read(),
                luggage => scope::with_luggage(luggage, read),
            }
            drop(pins);
        }
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
