//! Who watches a pool: the counters, the accounts of calls, the trace. All are told under the core's lock, and none waits.

use crate::engine::call::job::Job;
use crate::engine::call::job_stats::{Clock, JobStats};
use crate::engine::core::record::Stretch;
use crate::engine::watch::histogram::Histogram;
use crate::engine::watch::trace::{Span, Trace};
use crate::engine::watch::worker_event::{WorkerEvent, WorkerHook};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many calls that have ended are remembered.
const REMEMBERED: usize = 16;

/// All that is kept to be seen from outside.
#[derive(Debug)]
pub(crate) struct Observers {
    totals: Totals,
    /// The accounts of the last calls that have ended, oldest first; [`REMEMBERED`] at most.
    remembered: VecDeque<Clock>,
    run_times: Histogram,
    /// `None` when nobody wants a trace, and once the pool is over.
    trace: Option<Trace>,
    /// Who is told what happens to workers.
    hook: Option<WorkerHook>,
}

/// What a pool has done so far. `failed` is a part of `tasks`; `retried` is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    /// Tasks that have an outcome.
    pub(crate) tasks: u64,
    /// Tasks whose outcome is an error.
    pub(crate) failed: u64,
    /// Failures that were no outcome, since the task was run again.
    pub(crate) retried: u64,
    since: Instant,
}

impl Totals {
    pub(crate) fn uptime(&self, now: Instant) -> Duration {
        now - self.since
    }
}

impl Observers {
    pub(crate) fn new(trace: Option<Trace>, hook: Option<WorkerHook>) -> Observers {
        let totals = Totals { tasks: 0, failed: 0, retried: 0, since: Instant::now() };
        Observers { totals, remembered: VecDeque::new(), run_times: Histogram::new(), trace, hook }
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// A worker in the slot `at` has become ready.
    pub(super) fn ready(&mut self, pid: Option<i32>, at: usize) {
        if let (Some(trace), Some(pid)) = (&mut self.trace, pid) {
            trace.ready(pid, at);
        }
    }

    /// Something has happened to a worker; `event` makes what is told, if anybody listens.
    pub(super) fn worker(&self, event: impl FnOnce() -> WorkerEvent) {
        if let Some(hook) = &self.hook {
            hook.tell(event());
        }
    }

    /// A worker has run the tasks of a frame; `job` is `None` if its call was cancelled.
    #[inline]
    pub(super) fn frame_ended(&mut self, job: Option<&Job>, first: u64, stretch: &Stretch, pid: Option<i32>) {
        self.run_times.note(stretch.count, stretch.lasted);
        if let Some(job) = job {
            job.clock.lock().note(first, stretch.count, stretch.lasted);
        }
        if self.trace.is_some() {
            self.span(job.map_or("cancelled", |job| job.header.name), first, stretch, pid, false);
        }
    }

    /// A worker has died in the middle of a task.
    pub(super) fn task_lost(&mut self, job: &Job, index: u64, stretch: &Stretch, pid: Option<i32>) {
        self.span(job.header.name, index, stretch, pid, true);
    }

    fn span(&mut self, name: &'static str, first: u64, stretch: &Stretch, pid: Option<i32>, lost: bool) {
        if let (Some(trace), Some(pid)) = (&mut self.trace, pid) {
            let Stretch { count, start, lasted, .. } = *stretch;
            trace.tasks(&Span { pid, name, first, count, start, lasted, lost });
        }
    }

    /// `count` tasks have an outcome.
    #[inline]
    pub(super) fn settled(&mut self, count: u64) {
        self.totals.tasks += count;
    }

    /// The outcome of a task is an error.
    pub(super) fn failed(&mut self) {
        self.totals.failed += 1;
    }

    /// A task that has failed is run again.
    pub(super) fn retried(&mut self) {
        self.totals.retried += 1;
    }

    /// A call has ended: its account is kept.
    pub(super) fn call_ended(&mut self, job: &Job) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(job.clock.lock().stopped());
    }

    /// The accounts of the last calls that have ended.
    pub(super) fn ended_calls(&self) -> impl Iterator<Item = JobStats> + '_ {
        self.remembered.iter().map(Clock::stats)
    }

    /// How long tasks took.
    pub(super) fn run_times(&self) -> &Histogram {
        &self.run_times
    }

    /// Ends the trace: it is complete once the result is dropped.
    pub(crate) fn take_trace(&mut self) -> Option<Trace> {
        self.trace.take()
    }
}
