//! What a pool and its workers have done so far, as people see it.

use crate::engine::call::job::Job;
use crate::engine::call::job_stats::{Account, JobStats};
use crate::engine::core::state::{Core, Engine};
use crate::engine::core::worker_slot::{State, WorkerSlot};
use crate::engine::watch::histogram::Histogram;
use crate::ipc::link::Progress;
use crate::process::descendants::DescendantControl;
use crate::sys::usage::anonymous_memory;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a pool and its workers have done so far, from [`Pool::stats`](crate::Pool::stats).
///
/// ```
/// let pool = multiproc::Pool::builder().processes(2).name("crunch").build()?;
/// pool.map_each(|x: u32| 12 / x, 0..100);
/// let stats = pool.stats();
/// assert_eq!((stats.tasks, stats.failed, stats.restarts), (100, 1, 0));
/// let call = &stats.jobs[0]; // The functions that were called, and how long they took.
/// assert!(call.ended && call.tasks == 100 && call.busy >= call.slowest[0].time);
/// let worker = &stats.workers[0]; // What each worker has done, and is at.
/// assert!(worker.pid.is_some() && worker.current.is_none());
/// assert!(stats.run_times.quantile(0.99) <= stats.run_times.quantile(1.0));
/// println!("{stats}");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolStats {
    /// One entry for each place of a worker.
    pub workers: Vec<WorkerStats>,
    /// The last calls that have ended, 16 at most, and behind them those that are under way, as they were made.
    pub jobs: Vec<JobStats>,
    /// Tasks that have an outcome.
    pub tasks: u64,
    /// Those whose outcome is an error.
    pub failed: u64,
    /// How often a task was run again after it had failed: see [`Call::retry`](crate::Call::retry).
    pub retried: u64,
    /// Workers that have ended and were replaced.
    pub restarts: u64,
    /// Tasks that wait: here, or at a worker behind others. Input that was not read yet does not count.
    pub queued: u64,
    /// Tasks that are running.
    pub running: u64,
    /// How long tasks took that workers have run to their end.
    pub run_times: Histogram,
    /// How long tasks have waited before that, from when they were handed in. They are counted only if
    /// somebody wants to know: [`PoolBuilder::report_to`](crate::PoolBuilder::report_to),
    /// [`PoolBuilder::view`](crate::PoolBuilder::view).
    pub wait_times: Histogram,
    /// How old the pool is.
    pub uptime: Duration,
    /// How the processes that tasks have started are found when their worker has ended.
    pub descendants: DescendantControl,
    /// What is not as it was asked for, although the pool works: why workers are not started by
    /// [`StartMethod::Template`](crate::StartMethod::Template).
    pub warnings: Vec<String>,
}

/// What one worker has done so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its process, if there is one.
    pub pid: Option<i32>,
    /// The machine of that process, if it is another one, or was reached as another one is.
    pub host: Option<String>,
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
    /// What it runs at the moment.
    pub current: Option<RunningTask>,
}

/// A task that a worker runs, in [`WorkerStats::current`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunningTask {
    /// The name of its function.
    pub function: String,
    /// Its place among the items of the call.
    pub index: u64,
    /// How long it has run. Of tasks that have travelled together: since the first of them began.
    pub elapsed: Duration,
    /// How much of its work is done, and of how much, if it has said so: see
    /// [`CurrentTask::progress`](crate::CurrentTask::progress).
    pub progress: Option<(u64, u64)>,
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolStats { workers, jobs, tasks, failed, retried, restarts, queued, running, uptime, warnings, .. } = self;
        write!(
            f,
            "{tasks} tasks done ({failed} failed, {retried} run again), {running} running, {queued} queued; {} workers, \
             {restarts} replaced; up {uptime:.1?}",
            workers.len()
        )?;
        workers.iter().try_for_each(|worker| write!(f, "\n  {worker}"))?;
        jobs.iter().try_for_each(|job| write!(f, "\n  {job}"))?;
        warnings.iter().try_for_each(|warning| write!(f, "\n  warning: {warning}"))
    }
}

impl fmt::Display for WorkerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WorkerStats { pid, host, tasks, busy, idle, startup, memory, restarts, current } = self;
        match pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("no process")?,
        }
        if let Some(host) = host {
            write!(f, " on {host}")?;
        }
        write!(f, ": {tasks} tasks, busy {busy:.1?}, idle {idle:.1?}")?;
        match startup {
            Some(startup) => write!(f, ", started in {startup:.1?}")?,
            None => f.write_str(", not ready")?,
        }
        if let Some(memory) = memory {
            write!(f, ", {:.1} MiB", *memory as f64 / f64::from(1 << 20))?;
        }
        write!(f, ", {restarts} before it")?;
        if let Some(RunningTask { function, index, elapsed, progress }) = current {
            write!(f, "; at task {index} of {function} for {elapsed:.1?}")?;
            if let Some((done, total)) = progress {
                write!(f, ", {done} of {total} done")?;
            }
        }
        Ok(())
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

    /// What the task that runs has said of how far it is.
    fn task_progress(&self) -> Option<(u64, u64)> {
        let Progress { seq, started, done } = self.link.as_ref()?.progress();
        if started > done { self.desk()?.progress(seq, done) } else { None }
    }

    fn stats(&self, now: Instant) -> WorkerStats {
        let record = &self.record;
        let busy = record.busy(now);
        let since_ready = if self.state == State::Vacant { None } else { record.since_ready(now) };
        WorkerStats {
            pid: self.pid,
            host: self.host.as_deref().map(str::to_owned),
            tasks: record.tasks(),
            busy,
            idle: since_ready.unwrap_or_default().saturating_sub(busy),
            startup: record.startup(),
            memory: self.host.as_ref().and_then(|_| self.memory()),
            restarts: self.restarts(),
            current: self.current(now),
        }
    }

    /// The task that it runs, as far as its link tells.
    pub(super) fn current(&self, now: Instant) -> Option<RunningTask> {
        if self.queued_and_running().1 == 0 {
            return None;
        }
        let progress = self.link.as_ref()?.progress();
        let (seq, range) = self.window.front()?;
        // What the worker says of its progress is checked against the frame: it may write anything there.
        let ended = if progress.seq == seq { progress.done.min(range.count.saturating_sub(1)) } else { 0 };
        let elapsed = self.record.running_for(now)?;
        let function = range.job.as_ref()?.header.name.to_owned();
        let progress = self.task_progress();
        Some(RunningTask { function, index: range.index(range.next.max(ended)), elapsed, progress })
    }
}

impl Engine {
    /// What the pool and its workers have done so far.
    pub(crate) fn stats(&self) -> PoolStats {
        let mut stats = self.core.lock().stats(self.launcher.descendants());
        for worker in stats.workers.iter_mut().filter(|worker| worker.host.is_none()) {
            worker.memory = worker.pid.and_then(anonymous_memory);
        }
        stats.warnings.extend(self.launcher.warning());
        stats
    }
}

impl Core {
    fn stats(&self, descendants: DescendantControl) -> PoolStats {
        let now = Instant::now();
        let waiting = self.queue.waiting().map(|queued| u64::from(queued.range.left())).sum::<u64>();
        let left_of = |job: &Arc<Job>| job.submission.lock().as_ref().map_or(0, |it| it.left());
        let submitted = self.queue.submitted().map(left_of).sum::<u64>();
        let (mut queued, mut running) = (waiting + submitted, 0);
        for worker in self.workers.iter() {
            let (waits, runs) = worker.queued_and_running();
            queued += waits;
            running += runs;
        }
        let workers: Vec<WorkerStats> = self.workers.iter().map(|worker| worker.stats(now)).collect();
        let waiting_of = |job: &Arc<Job>| job.outstanding() + left_of(job);
        let under_way = self.queue.jobs().iter().map(|job| (job.clock.account(), waiting_of(job)));
        let mut under_way: Vec<(Account, u64)> = under_way.collect();
        under_way.sort_by_key(|(account, _)| account.since());
        let under_way = under_way.iter().map(|(account, waiting)| account.stats(*waiting));
        let totals = self.observers.totals();
        PoolStats {
            tasks: totals.tasks,
            failed: totals.failed,
            retried: totals.retried,
            restarts: workers.iter().map(|worker| worker.restarts).sum(),
            queued,
            running,
            run_times: self.observers.run_times().clone(),
            wait_times: self.observers.wait_times().clone(),
            uptime: totals.uptime(now),
            workers,
            descendants,
            jobs: self.observers.ended_calls().chain(under_way).collect(),
            warnings: Vec::new(),
        }
    }
}
