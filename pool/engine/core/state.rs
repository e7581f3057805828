//! The state of a pool behind its one lock: workers, ledger, backlog; and the rule which worker gets the next frame.
//!
//! No code of the user's ever runs under this lock.

use crate::codec::Packed;
use crate::engine::call::job::{Halt, Header, Job};
use crate::engine::call::job_stats::Clock;
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::stats::Totals;
use crate::engine::core::worker_slot::Dismissal;
pub(crate) use crate::engine::core::worker_slot::{State, WorkerSlot};
use crate::engine::launch::launcher::Launcher;
use crate::engine::watch::output::Capture;
use crate::engine::watch::trace::Trace;
use crate::engine::worker::work::Run;
use crate::error::Error;
use crate::heap::scope::luggage_in;
use crate::identity::Entry;
use crate::ipc::bell::{Bell, Spinner};
use crate::process::start::News;
use crate::sys::fork::fork_generation;
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Payloads above this many bytes leave memory in use that is worth giving back.
const LARGE: usize = 256 * 1024;

/// A worker that waits for frames for so long although it has some, and has not come any further, never will.
const STALLED: Duration = Duration::from_secs(1);

/// How long that memory is kept for the next large payload: fresh pages cost far more than used ones.
const KEEP_FOR: Duration = Duration::from_secs(1);

/// A pool's machinery, shared by its handle, the threads that wait in it, and its own background thread.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) core: Mutex<Core>,
    pub(crate) bell: Bell,
    pub(crate) launcher: Box<dyn Launcher>,
    /// The background thread waits here while others drive or there is nothing to do.
    pub(crate) background: Condvar,
    /// Whoever waits for workers to come or go waits here.
    pub(crate) workforce: Condvar,
    /// How long a worker may take to end after SIGTERM.
    pub(crate) grace: Duration,
    /// What workers write, if the pool reads that.
    pub(crate) capture: Option<Arc<Capture>>,
    /// The fork generation of the process that made it.
    pub(crate) generation: u32,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) phase: Phase,
    /// As many places as the pool has ever had workers.
    pub(crate) workers: Vec<WorkerSlot>,
    /// How many workers it is to have: those in the places behind leave.
    pub(crate) target: usize,
    /// Tasks that belong to no worker at the moment.
    pub(crate) backlog: VecDeque<QueuedFrame>,
    /// Calls that are under way.
    pub(crate) jobs: Vec<Arc<Job>>,
    /// Calls that nobody waits in and that have tasks which were not handed in yet, in turn.
    pub(crate) submitted: VecDeque<Arc<Job>>,
    /// How many calls have a thread that found no room for its next tasks.
    pub(super) hungry: usize,
    /// Since when room is kept for one of those, while calls without a thread have tasks as well.
    pub(super) kept_since: Option<Instant>,
    /// A task with a time limit was handed out.
    pub(crate) new_deadline: bool,
    /// When workers leave.
    pub(crate) recycle: RecyclePolicy,
    /// Calls whose threads wait for their condition variable; the first of them gets the driver's seat.
    pub(crate) waiting: Vec<Arc<Job>>,
    /// Headers of calls without context, by the address of the function's descriptor.
    headers: HashMap<usize, Arc<Header>>,
    next_header: u64,
    /// Whether a thread is driving: collecting answers and minding the workers.
    pub(crate) driving: bool,
    pub(crate) news: VecDeque<(usize, u64, News)>,
    /// Starts in a row that failed.
    pub(crate) failed_starts: u32,
    pub(crate) spinner: Spinner,
    /// Room for copies of small payloads.
    pub(crate) scratch: Vec<u8>,
    /// Turns of driving so far.
    pub(crate) turns: u64,
    /// Something has happened since the driver last went to sleep.
    pub(crate) fresh: bool,
    /// Every worker was ready once: `build` has returned the pool.
    pub(crate) built: bool,
    /// The first start that failed.
    pub(crate) start_failure: Option<Error>,
    /// When something was last used that was not given back since: room for something large, or the context of a call.
    pub(crate) large_at: Option<Instant>,
    pub(crate) totals: Totals,
    /// What the last calls have done.
    pub(crate) remembered: VecDeque<Clock>,
    pub(crate) trace: Option<Trace>,
}

/// The life of a pool.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It takes calls.
    Running,
    /// It takes no new calls; workers leave when the last call has ended.
    Closing,
    /// Workers were told to end; those that still live at the deadline are killed.
    Ending { halt: Halt, kill_at: Deadline },
}

/// When a worker leaves although the pool goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecyclePolicy {
    /// After so many tasks.
    pub(crate) tasks: Option<u32>,
    /// When its own memory is larger than this many bytes.
    pub(crate) memory: Option<u64>,
    /// More than so many bytes it cannot have, which ends it at once.
    pub(crate) memory_limit: Option<u64>,
    /// When it has had nothing to do for so long, and is not the last.
    pub(crate) idle: Option<Duration>,
}

/// Tasks on their way to a worker.
#[derive(Debug)]
pub(crate) struct QueuedFrame {
    pub(crate) range: TaskRange,
    pub(crate) bytes: Vec<u8>,
}

impl Engine {
    /// The process ids of the workers that are ready.
    pub(crate) fn worker_pids(&self) -> Vec<i32> {
        let core = self.core.lock();
        core.workers.iter().filter(|worker| worker.state == State::Ready).filter_map(WorkerSlot::pid).collect()
    }

    /// Whether this process may use the pool.
    ///
    /// # Errors
    ///
    /// It is a fork of the one that made it.
    pub(crate) fn check_generation(&self) -> Result<(), Error> {
        if self.generation == fork_generation() {
            return Ok(());
        }
        Err(io::Error::other("this process was forked from the one that made the pool: make a pool here").into())
    }

    /// The phase and the number of workers, for people.
    pub(crate) fn describe(&self) -> (&'static str, usize) {
        let core = self.core.lock();
        let phase = match core.phase {
            Phase::Running => "running",
            Phase::Closing => "closing",
            Phase::Ending { .. } => "ended",
        };
        (phase, core.target)
    }
}

impl Core {
    pub(crate) fn new(workers: usize, recycle: RecyclePolicy) -> Core {
        Core {
            phase: Phase::Running,
            workers: (0..workers).map(|_| WorkerSlot::new(0, State::Vacant)).collect(),
            target: workers,
            backlog: VecDeque::new(),
            jobs: Vec::new(),
            submitted: VecDeque::new(),
            hungry: 0,
            kept_since: None,
            new_deadline: false,
            recycle,
            waiting: Vec::new(),
            headers: HashMap::new(),
            next_header: 0,
            driving: false,
            news: VecDeque::new(),
            failed_starts: 0,
            spinner: Spinner::new(),
            scratch: Vec::new(),
            turns: 0,
            fresh: false,
            built: false,
            start_failure: None,
            large_at: None,
            totals: Totals::new(),
            remembered: VecDeque::new(),
            trace: None,
        }
    }

    /// Whether the pool takes calls.
    ///
    /// # Errors
    ///
    /// It was closed, or is at its end.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match &self.phase {
            Phase::Running => Ok(()),
            Phase::Closing => Err(Error::not_running()),
            Phase::Ending { halt, .. } => Err(halt.error()),
        }
    }

    /// The header for calls of a function.
    pub(crate) fn header(
        &mut self,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
    ) -> Result<Arc<Header>, Error> {
        let key = std::ptr::from_ref(entry) as usize;
        if context.is_none() {
            if let Some(header) = self.headers.get(&key) {
                return Ok(Arc::clone(header));
            }
        }
        let shared = context.is_none();
        let header = Arc::new(Header::new(self.next_header, entry, context)?);
        self.next_header += 1;
        if shared {
            self.headers.insert(key, Arc::clone(&header));
        }
        Ok(header)
    }

    /// How many frames of `count` tasks each the workers can take now.
    pub(crate) fn room(&self, job: &Job, count: u32) -> usize {
        if !self.backlog.is_empty() {
            return 0;
        }
        let depth = job.depth(count);
        self.team(job.is_short(count)).map(|(_, worker)| worker.room(depth)).sum()
    }

    /// The workers that take part in a job, with their places.
    ///
    /// As a rule these are all. But frames that take a worker less time than the thread that hands them out need no more
    /// workers than there are CPUs beside the one that this thread has: one more takes it away from it for a while, and
    /// all becomes slower by half.
    fn team(&self, short: bool) -> impl Iterator<Item = (usize, &WorkerSlot)> {
        let some = short && self.workers.iter().any(WorkerSlot::is_brisk);
        let most = if some { self.spinner.other_cpus() } else { usize::MAX };
        self.workers.iter().enumerate().filter(move |(_, worker)| !some || worker.is_brisk()).take(most)
    }

    /// Whether all that is under way should be finished in a moment, so that others need not be called for what waits.
    pub(crate) fn is_brisk(&self) -> bool {
        let mut busy = self.workers.iter().filter(|worker| worker.window.len() > 0).peekable();
        busy.peek().is_some() && busy.all(WorkerSlot::is_brisk)
    }

    /// Nobody has answered for a while: what was expected in a moment takes longer.
    pub(crate) fn give_up_hope(&mut self) {
        self.workers.iter_mut().filter(|worker| worker.window.len() > 0).for_each(|worker| worker.slow = true);
    }

    /// The worker of a team that should get the next frame: the one with the fewest, among these one that is awake.
    fn choose(&self, short: bool, depth: usize) -> Option<usize> {
        let candidates = self.team(short).filter(|(_, worker)| worker.room(depth) > 0);
        let key =
            |worker: &WorkerSlot| (worker.window.len(), worker.link.as_ref().is_some_and(|link| !link.is_awake()));
        candidates.min_by_key(|(_, worker)| key(worker)).map(|(at, _)| at)
    }

    /// Notes that a payload of `len` bytes went through a link.
    pub(crate) fn note_size(&mut self, len: usize) {
        if len > LARGE {
            self.large_at = Some(Instant::now());
        }
    }

    /// When links should give back what a burst has used.
    pub(crate) fn trim_at(&self) -> Deadline {
        self.large_at.map_or(Deadline::NEVER, |at| Deadline::at(at + KEEP_FOR))
    }

    /// Lets links give back what a burst has used, if that was long enough ago.
    pub(crate) fn trim(&mut self) {
        if self.trim_at().passed() && !self.is_busy() {
            self.large_at = None;
            for worker in self.workers.iter_mut().filter(|worker| worker.state == State::Ready) {
                if let Some(link) = &mut worker.link {
                    link.trim();
                }
                // The context of the last call may hold shared memory, or a lot of its own.
                worker.send_forgets();
            }
        }
    }

    /// Hands a frame to a worker, or keeps it in the backlog.
    pub(crate) fn submit(&mut self, range: TaskRange, bytes: &[u8]) {
        self.note_size(bytes.len());
        if !(self.backlog.is_empty() && self.dispatch(&range, bytes)) {
            self.backlog.push_back(QueuedFrame { range, bytes: bytes.to_vec() });
        }
    }

    fn dispatch(&mut self, range: &TaskRange, bytes: &[u8]) -> bool {
        let Some(job) = &range.job else { return true };
        // Luggage waits nowhere but here: on its way to a worker that is busy nobody could close it.
        let (short, depth) = match range.has_luggage() {
            true => (false, 1),
            false => (job.is_short(range.left()), job.depth(range.left())),
        };
        while let Some(at) = self.choose(short, depth) {
            let worker = &mut self.workers[at];
            // What it may not be given any more goes to another one.
            let given = worker.left.map_or(range.left(), |left| range.left().min(left));
            let end = range.next + given;
            match worker.send(range, end, bytes) {
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
                        self.backlog.push_front(QueuedFrame { range: rest, bytes: bytes.to_vec() });
                    }
                    return true;
                }
                // A socket that broke: the worker is dying. It gets nothing more, and its end is on its way.
                Err(_) => worker.abandon(),
            }
        }
        false
    }

    /// Hands out as much of the backlog as there is room for; whether anything moved.
    pub(crate) fn schedule(&mut self) -> bool {
        let mut moved = false;
        while let Some(queued) = self.backlog.pop_front() {
            if !self.dispatch(&queued.range, &queued.bytes) {
                self.backlog.push_front(queued);
                break;
            }
            moved = true;
        }
        self.submit_waiting() || moved
    }

    /// Takes frames that no worker has begun back from the busiest one, while another is idle; whether anything moved.
    ///
    /// So a task never waits for one that stands before it in the window while a worker idles.
    pub(crate) fn rebalance(&mut self) -> bool {
        if !self.backlog.is_empty() || !self.workers.iter().any(|it| it.state == State::Ready && it.window.len() == 0) {
            return false;
        }
        let loaded = self.workers.iter().enumerate().filter(|(_, it)| it.window.len() > 1);
        let Some((busiest, worker)) = loaded.max_by_key(|(_, it)| it.window.len()) else { return false };
        let share = worker.window.waiting().len().div_ceil(2);
        let moved = self.take_back(busiest, share);
        self.schedule() || moved
    }

    /// Takes up to `most` frames that a worker has not begun back into the backlog; whether there were any.
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
            self.backlog.push_front(queued);
        }
        moved
    }

    /// Ends workers that have lost sight of their frames, which only one can that wrote into its own link: a sent frame
    /// wakes a worker and clears the mark that it waits.
    pub(crate) fn end_stalled(&mut self) {
        for worker in &mut self.workers {
            let Some(link) = worker.link.as_ref().filter(|_| worker.window.len() > 0) else { continue };
            if !link.is_waiting() || link.has_answer() || worker.condemned.is_some() {
                worker.stalled = None;
                continue;
            }
            match (worker.stalled, link.progress()) {
                (Some((since, then)), now) if then == now => {
                    if since.elapsed() > STALLED {
                        worker.condemn(&io::Error::new(io::ErrorKind::InvalidData, "it waits for frames that it has"));
                    }
                }
                (_, now) => worker.stalled = Some((Instant::now(), now)),
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        self.workers.iter_mut().for_each(WorkerSlot::flush);
    }

    /// Whether anything is under way or waits to be.
    pub(crate) fn is_busy(&self) -> bool {
        !self.backlog.is_empty()
            || !self.submitted.is_empty()
            || self.workers.iter().any(|worker| worker.window.len() > 0)
    }

    /// Ends a call: what is left of it is dropped, and workers may forget its context.
    pub(crate) fn retire(&mut self, job: &Arc<Job>) {
        let calls = self.jobs.len();
        self.jobs.retain(|it| !Arc::ptr_eq(it, job));
        if self.jobs.len() < calls {
            self.remember(job);
        }
        self.submitted.retain(|it| !Arc::ptr_eq(it, job));
        self.note_hunger(job, false);
        if job.outstanding() > 0 {
            self.backlog.retain(|it| it.range.job.as_ref().is_none_or(|it| !Arc::ptr_eq(it, job)));
            self.workers.iter_mut().for_each(|worker| worker.window.abandon(job));
        }
        if let Some(context) = &job.header.context {
            self.large_at = Some(Instant::now());
            let is_laden = !luggage_in(&context.pins).is_empty();
            for worker in &mut self.workers {
                if worker.known.remove(&job.header.id) {
                    worker.forget.push(job.header.id);
                    // Somebody may wait for it to close its ends.
                    if is_laden && worker.state == State::Ready {
                        worker.send_forgets();
                    }
                }
            }
        }
        self.maybe_stop();
    }

    /// In a closing pool: tells the workers to leave once the last call has ended.
    pub(crate) fn maybe_stop(&mut self) {
        if !matches!(self.phase, Phase::Closing) || !self.jobs.is_empty() {
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
