//! What a pool and its workers have done so far: counters that the driver keeps up under the core's lock, and the
//! picture of them that people see.

use crate::engine::call::job::Job;
use crate::engine::call::job_stats::{Clock, JobStats};
use crate::engine::core::state::{Core, Engine, State, WorkerSlot};
use crate::ipc::link::Progress;
use crate::sys::usage::anonymous_memory;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a pool and its workers have done so far, from [`Pool::stats`](crate::Pool::stats).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolStats {
    /// One entry for each place of a worker.
    pub workers: Vec<WorkerStats>,
    /// The last calls that have ended, 16 at most, and behind them those that are under way.
    pub jobs: Vec<JobStats>,
    /// Tasks that have an outcome.
    pub tasks: u64,
    /// Those whose outcome is an error.
    pub failed: u64,
    /// How often a task was run again after it had failed: see [`Call::retries`](crate::Call::retries).
    pub retried: u64,
    /// Workers that have ended and were replaced.
    pub restarts: u64,
    /// Tasks that wait: here, or at a worker behind others. Input that was not read yet does not count.
    pub queued: u64,
    /// Tasks that are running.
    pub running: u64,
    /// How old the pool is.
    pub uptime: Duration,
}

/// What one worker has done so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its process, if there is one.
    pub pid: Option<i32>,
    /// How many tasks it has run to their end.
    pub tasks: u64,
    /// How long it has run tasks.
    pub busy: Duration,
    /// How long it has waited for tasks.
    pub idle: Duration,
    /// How long it took to become ready; `None` as long as it is not.
    pub startup: Option<Duration>,
    /// The memory of its own that it has in use, in bytes: shared memory and files do not count.
    pub memory: Option<u64>,
    /// How many processes have had its place before it.
    pub restarts: u64,
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolStats { workers, jobs, tasks, failed, retried, restarts, queued, running, uptime } = self;
        write!(
            f,
            "{tasks} tasks done ({failed} failed, {retried} run again), {running} running, {queued} queued; {} workers, \
             {restarts} replaced; up {uptime:.1?}",
            workers.len()
        )?;
        workers.iter().try_for_each(|worker| write!(f, "\n  {worker}"))?;
        jobs.iter().try_for_each(|job| write!(f, "\n  {job}"))
    }
}

impl fmt::Display for WorkerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WorkerStats { pid, tasks, busy, idle, startup, memory, restarts } = self;
        match pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("no process")?,
        }
        write!(f, ": {tasks} tasks, busy {busy:.1?}, idle {idle:.1?}")?;
        match startup {
            Some(startup) => write!(f, ", started in {startup:.1?}")?,
            None => f.write_str(", not ready")?,
        }
        if let Some(memory) = memory {
            write!(f, ", {:.1} MiB", *memory as f64 / f64::from(1 << 20))?;
        }
        write!(f, ", {restarts} before it")
    }
}

/// What a pool has done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) tasks: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    since: Instant,
}

impl Totals {
    pub(crate) fn new() -> Totals {
        Totals { tasks: 0, failed: 0, retried: 0, since: Instant::now() }
    }
}

/// What a worker has done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    started: Instant,
    ready: Option<Instant>,
    tasks: u64,
    /// The time of all frames that have ended, by the worker's clock.
    busy: Duration,
    /// When it began what it is at, if it has something to do; not earlier, and about [`LAG`] too early at most.
    since: Option<Instant>,
    /// The end of the last frame, as far as it is known.
    until: Instant,
    /// The first task of the frame whose answers are coming in.
    from: Option<u32>,
}

/// A frame of tasks that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The place of its first task in the payload.
    pub(crate) from: u32,
    pub(crate) count: u32,
    pub(crate) start: Instant,
    pub(crate) lasted: Duration,
}

/// Workers tell how long a frame has lasted, and not when it began: that is put behind the one before. So far behind the
/// clock it may fall if the worker has paused in between.
const LAG: Duration = Duration::from_millis(10);

impl Record {
    pub(crate) fn new() -> Record {
        let now = Instant::now();
        Record { started: now, ready: None, tasks: 0, busy: Duration::ZERO, since: None, until: now, from: None }
    }

    /// It can take tasks from now on.
    pub(crate) fn ready(&mut self) {
        self.ready = Some(Instant::now());
    }

    /// It was sent a frame, and has `frames` now.
    pub(crate) fn sent(&mut self, frames: usize) {
        if frames == 1 {
            self.since = Some(Instant::now());
        }
    }

    /// It has answered `count` tasks from the place `at` of a frame.
    pub(crate) fn answered(&mut self, at: u32, count: u32) {
        self.tasks += u64::from(count);
        self.from.get_or_insert(at);
    }

    /// It has ended a frame, before the place `end`; `nanos` is the time that it took, if the worker has told.
    pub(crate) fn ended(&mut self, end: u32, nanos: u64) -> Span {
        let from = self.from.take().unwrap_or(end);
        let start = self.start();
        let lasted = if nanos > 0 { Duration::from_nanos(nanos) } else { start.elapsed() };
        self.busy += lasted;
        self.until = start + lasted;
        self.since = Some(self.until);
        Span { from, count: end - from, start, lasted }
    }

    /// All answers that were there were taken; it has `frames` now.
    pub(crate) fn seen(&mut self, frames: usize) {
        match &mut self.since {
            // In the middle of a frame nothing is known of its begin.
            Some(since) if frames > 0 => {
                if self.from.is_some() {
                    return;
                }
                if let Some(late) = Instant::now().checked_sub(LAG) {
                    *since = late.max(*since);
                }
            }
            since => *since = None,
        }
    }

    fn start(&self) -> Instant {
        self.since.map_or_else(Instant::now, |since| since.max(self.until))
    }

    /// What it was at when it died, after the place `at` of a frame.
    pub(crate) fn lost(&self, at: u32) -> Span {
        let start = self.start();
        Span { from: at, count: 1, start, lasted: start.elapsed() }
    }

    /// How long it has run tasks: a frame that has not ended counts as well.
    fn busy(&self, now: Instant) -> Duration {
        self.busy + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl WorkerSlot {
    /// How many of its tasks wait, and how many run.
    fn queued_and_running(&self) -> (u64, u64) {
        let Some(link) = &self.link else { return (0, 0) };
        let Progress { seq, started, done } = link.progress();
        let left = self.window.left(seq, done);
        // A link that carries one frame at a time tells its progress later.
        let running = left > 0 && (started > done || link.depth() == 1);
        (left - u64::from(running), u64::from(running))
    }

    fn stats(&self, now: Instant) -> WorkerStats {
        let record = &self.record;
        let busy = record.busy(now);
        let lives = self.state != State::Vacant;
        let since_ready = record.ready.filter(|_| lives).map(|ready| now.saturating_duration_since(ready));
        WorkerStats {
            pid: self.pid(),
            tasks: record.tasks,
            busy,
            idle: since_ready.unwrap_or_default().saturating_sub(busy),
            startup: record.ready.map(|ready| ready - record.started),
            memory: None,
            restarts: self.incarnation.saturating_sub(1),
        }
    }
}

impl Engine {
    /// What the pool and its workers have done so far.
    pub(crate) fn stats(&self) -> PoolStats {
        let mut stats = self.core.lock().stats();
        for worker in &mut stats.workers {
            worker.memory = worker.pid.and_then(anonymous_memory);
        }
        stats
    }
}

/// So many calls that have ended are remembered.
const REMEMBERED: usize = 16;

impl Core {
    /// Keeps what a call has done that ends now.
    pub(super) fn remember(&mut self, job: &Job) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(job.clock.lock().stopped());
    }

    /// The last calls that have ended, and those that are under way.
    fn job_stats(&self) -> Vec<JobStats> {
        let ended = self.remembered.iter().map(Clock::stats);
        ended.chain(self.jobs.iter().map(|job| job.clock.lock().stats())).collect()
    }

    fn stats(&self) -> PoolStats {
        let now = Instant::now();
        let waiting = self.backlog.iter().map(|queued| u64::from(queued.range.left())).sum::<u64>();
        let left_of = |job: &Arc<Job>| job.submission.lock().as_ref().map_or(0, |it| it.left());
        let submitted = self.submitted.iter().map(left_of).sum::<u64>();
        let (mut queued, mut running) = (waiting + submitted, 0);
        for worker in &self.workers {
            let (waits, runs) = worker.queued_and_running();
            queued += waits;
            running += runs;
        }
        let workers: Vec<WorkerStats> = self.workers.iter().map(|worker| worker.stats(now)).collect();
        PoolStats {
            tasks: self.totals.tasks,
            failed: self.totals.failed,
            retried: self.totals.retried,
            restarts: workers.iter().map(|worker| worker.restarts).sum(),
            queued,
            running,
            uptime: now - self.totals.since,
            workers,
            jobs: self.job_stats(),
        }
    }
}
