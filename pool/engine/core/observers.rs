//! Who watches a pool: the counters, the accounts of calls, the trace. All are told under the core's lock, and none waits.

use crate::engine::call::job::Job;
use crate::engine::call::job_stats::{Account, JobStats};
use crate::engine::core::ledger::TaskRange;
use crate::engine::core::record::{Stretch, WorkerRecord};
use crate::engine::core::stamp::Stamp;
use crate::engine::watch::histogram::Histogram;
use crate::engine::watch::ran::Ran;
use crate::engine::watch::report::Report;
use crate::engine::watch::trace::Trace;
use crate::engine::watch::worker_event::{WorkerEvent, WorkerHook};
use crate::error::TaskError;
use crate::sys::time::nanos;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many calls that have ended are remembered.
const REMEMBERED: usize = 16;

/// All that is kept to be seen from outside.
#[derive(Debug)]
pub(crate) struct Observers {
    totals: Totals,
    /// The accounts of the last calls that have ended, oldest first; [`REMEMBERED`] at most.
    remembered: VecDeque<Account>,
    run_times: Histogram,
    /// How long tasks have waited, if that is `detailed`.
    wait_times: Histogram,
    /// Whether anything below wants to know what each frame was: a frame pays for this look alone if not.
    detailed: bool,
    /// `None` when nobody wants a trace, and once the pool is over.
    trace: Option<Trace>,
    /// `None` when nobody wants a report, and once the pool is over.
    report: Option<Box<Report>>,
    /// Who is told what happens to workers.
    hook: Option<WorkerHook>,
}

/// Who watches a pool from its begin on.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    pub(crate) trace: Option<Trace>,
    pub(crate) report: Option<Report>,
    pub(crate) hook: Option<WorkerHook>,
    /// Somebody may ask how long tasks have waited.
    pub(crate) waits: bool,
}

/// Whose tasks were run: the account of the worker, its slot and its process.
pub(super) type By<'a> = (&'a WorkerRecord, usize, Option<i32>);

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
    pub(crate) fn new(watchers: Watchers) -> Observers {
        let Watchers { trace, report, hook, waits } = watchers;
        Observers {
            totals: Totals { tasks: 0, failed: 0, retried: 0, since: Instant::now() },
            remembered: VecDeque::new(),
            run_times: Histogram::new(),
            wait_times: Histogram::new(),
            detailed: waits || trace.is_some() || report.is_some(),
            trace,
            report: report.map(Box::new),
            hook,
        }
    }

    /// The stamp of a frame that was handed in at a time, if somebody wants to know.
    #[inline]
    pub(super) fn stamp(&self, at: impl FnOnce() -> Instant) -> Stamp {
        if self.detailed { Stamp::of(at(), self.totals.since) } else { Stamp::NONE }
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
    pub(super) fn worker(&mut self, event: impl FnOnce() -> WorkerEvent) {
        if self.hook.is_none() && self.report.is_none() {
            return;
        }
        let event = event();
        self.report.iter_mut().for_each(|report| report.worker(&event));
        self.hook.iter().for_each(|hook| hook.tell(event.clone()));
    }

    /// A worker has run the tasks of a frame; it has no job if its call was cancelled.
    #[inline]
    pub(super) fn frame_ended(&mut self, range: &TaskRange, stretch: &Stretch, by: By<'_>) {
        self.run_times.note(stretch.count, stretch.lasted);
        let first = range.index(stretch.from);
        if let Some(job) = &range.job {
            job.clock.note(first, stretch.count, stretch.lasted);
        }
        if self.detailed {
            self.note_details(range, first, stretch, by);
        }
    }

    #[cold]
    fn note_details(&mut self, range: &TaskRange, first: u64, stretch: &Stretch, by: By<'_>) {
        if let Some(wait) = range.since.until(by.0.begin(stretch), self.totals.since) {
            self.wait_times.note(stretch.count, nanos(wait * stretch.count));
        }
        let function = range.job.as_ref().map_or("cancelled", |job| job.header.name);
        self.ran(&ran(function, first, stretch, by, false));
    }

    /// A worker has died in the middle of a task.
    pub(super) fn task_lost(&mut self, job: &Job, index: u64, stretch: &Stretch, by: By<'_>) {
        self.ran(&ran(job.header.name, index, stretch, by, true));
    }

    #[cold]
    fn ran(&mut self, ran: &Ran) {
        self.report.iter_mut().for_each(|report| report.ran(ran));
        self.trace.iter_mut().for_each(|trace| trace.ran(ran));
    }

    /// `count` tasks have an outcome.
    #[inline]
    pub(super) fn settled(&mut self, count: u64) {
        self.totals.tasks += count;
    }

    /// The outcome of a task is an error.
    pub(super) fn failed(&mut self, job: &Job, error: &TaskError) {
        self.totals.failed += 1;
        self.report.iter_mut().for_each(|report| report.failed(job.header.name, error));
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
        self.remembered.push_back(job.clock.account().closed());
        self.report.iter_mut().for_each(|report| report.call_ended(job.header.name));
    }

    /// The accounts of the last calls that have ended.
    pub(super) fn ended_calls(&self) -> impl Iterator<Item = JobStats> + '_ {
        self.remembered.iter().map(|account| account.stats(0))
    }

    /// How long tasks took.
    pub(super) fn run_times(&self) -> &Histogram {
        &self.run_times
    }

    /// How long tasks have waited before they were begun, if somebody watches; otherwise none.
    pub(super) fn wait_times(&self) -> &Histogram {
        &self.wait_times
    }

    /// Ends the report.
    pub(super) fn take_report(&mut self) -> Option<Box<Report>> {
        self.report.take()
    }

    /// Ends the trace: it is complete once the result is dropped.
    pub(crate) fn take_trace(&mut self) -> Option<Trace> {
        self.trace.take()
    }
}

fn ran(function: &'static str, first: u64, stretch: &Stretch, by: By<'_>, lost: bool) -> Ran {
    let (record, place, pid) = by;
    let (count, start, lasted) = (stretch.count, record.begin(stretch), Duration::from_nanos(stretch.lasted));
    Ran { place, pid, function, first, count, start, lasted, lost }
}
