//! What a pool has done, kept for a page that is written at its end; `report/page.rs` is how it looks.
//!
//! Whoever drives adds to it under the core's lock. However long the pool lives, it takes a bounded amount of memory: of the
//! timeline, of slow tasks, functions, failures and ends of workers so many are kept, and the others are counted.

mod html;
mod page;
mod row;

use crate::engine::watch::histogram::Histogram;
use crate::engine::watch::ran::Ran;
use crate::engine::watch::worker_event::WorkerEvent;
use crate::error::{Earlier, TaskError};
use crate::sys::descriptor::beyond_standard;
use crate::sys::fork::fork_generation;
use row::{Row, Span};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// So many places of workers have a row in the timeline.
const ROWS: usize = 128;

/// So many of the slowest tasks are kept.
const SLOWEST: usize = 20;

/// So many functions have an account of their own; the others share one.
const FUNCTIONS: usize = 64;

/// So many causes of failures are kept, each with its first task.
const CAUSES: usize = 32;

/// So many ends of workers are kept.
const ENDS: usize = 32;

/// So many bytes of a text that a task has written are kept.
const TEXT: usize = 16 * 1024;

/// What is kept of a pool for its page.
#[derive(Debug)]
pub(crate) struct Report {
    file: File,
    path: PathBuf,
    pool: String,
    start: Instant,
    begun: SystemTime,
    generation: u32,
    rows: Vec<Row>,
    /// The slowest one first.
    slowest: Vec<Slow>,
    functions: Functions,
    causes: Vec<Cause>,
    /// Failures whose cause is not kept.
    other_failures: u64,
    ends: Vec<End>,
    other_ends: u64,
}

/// What the pool has counted when the page is written.
#[derive(Debug)]
pub(crate) struct Totals<'a> {
    pub(crate) tasks: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) restarts: u64,
    pub(crate) run_times: &'a Histogram,
    pub(crate) wait_times: &'a Histogram,
}

#[derive(Debug)]
struct Slow {
    function: &'static str,
    index: u64,
    /// How many tasks have travelled together, whose mean this is.
    of: u32,
    time: Duration,
    at: Duration,
    place: usize,
    pid: Option<i32>,
}

/// What is known of the functions that were called.
#[derive(Debug, Default)]
struct Functions {
    places: BTreeMap<&'static str, usize>,
    all: Vec<Account>,
}

#[derive(Debug, Default)]
struct Account {
    name: &'static str,
    calls: u64,
    tasks: u64,
    failed: u64,
    busy: Duration,
    longest: Duration,
}

/// Failures of one function that have one cause.
#[derive(Debug)]
struct Cause {
    function: &'static str,
    cause: String,
    count: u64,
    at: Duration,
    index: u64,
    what: What,
}

/// What is said of the first failure of a cause.
#[derive(Debug)]
enum What {
    Text {
        reason: String,
        backtrace: Option<String>,
    },
    /// The names of the functions on its stack are looked up when the page is written.
    Lost(TaskError),
}

#[derive(Debug)]
struct End {
    at: Duration,
    text: String,
}

impl Report {
    /// Begins a report, whose page replaces what is in the file; `pool` is the name of the workers.
    ///
    /// # Errors
    ///
    /// The file cannot be created.
    pub(crate) fn create(path: &Path, pool: &str) -> io::Result<Report> {
        Ok(Report {
            file: File::from(beyond_standard(File::create(path)?.into())?),
            path: path.to_owned(),
            pool: pool.to_owned(),
            start: Instant::now(),
            begun: SystemTime::now(),
            generation: fork_generation(),
            rows: Vec::new(),
            slowest: Vec::new(),
            functions: Functions::default(),
            causes: Vec::new(),
            other_failures: 0,
            ends: Vec::new(),
            other_ends: 0,
        })
    }

    fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }

    /// The row of a place, if it has one.
    fn row(&mut self, place: usize) -> Option<&mut Row> {
        if place >= ROWS {
            return None;
        }
        if self.rows.len() <= place {
            self.rows.resize_with(place + 1, Row::default);
        }
        self.rows.get_mut(place)
    }

    /// A worker has run tasks.
    pub(crate) fn ran(&mut self, ran: &Ran) {
        let Ran { place, pid, function: name, first, count, start, lasted, lost } = *ran;
        let at = self.since_start(start);
        let function = self.functions.place(name);
        let mean = lasted / count.max(1);
        if !lost {
            let account = &mut self.functions.all[function];
            account.tasks += u64::from(count);
            account.busy += lasted;
            account.longest = account.longest.max(mean);
        }
        if let Some(row) = self.row(place) {
            let (tasks, end, lost) = (u64::from(count), at + lasted, u64::from(lost));
            row.push(Span { function: Some(function), first, tasks, lost, start: at, end, busy: lasted });
        }
        let is_slow = self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(|least| least.time < mean);
        if count > 0 && is_slow && !lost {
            let behind = self.slowest.partition_point(|other| other.time >= mean);
            self.slowest.truncate(SLOWEST - 1);
            self.slowest.insert(behind, Slow { function: name, index: first, of: count, time: mean, at, place, pid });
        }
    }

    /// A call has ended.
    pub(crate) fn call_ended(&mut self, function: &'static str) {
        let place = self.functions.place(function);
        self.functions.all[place].calls += 1;
    }

    /// A failure is the outcome of a task of `function`.
    pub(crate) fn failed(&mut self, function: &'static str, error: &TaskError) {
        let place = self.functions.place(function);
        self.functions.all[place].failed += 1;
        let cause = brief(&error.cause());
        if let Some(known) = self.causes.iter_mut().find(|known| known.cause == cause && known.function == function) {
            known.count += 1;
            return;
        }
        if self.causes.len() >= CAUSES {
            self.other_failures += 1;
            return;
        }
        let what = match error.is_worker_lost() {
            true => What::Lost(error.clone().after(Earlier::default())),
            false => What::Text { reason: brief(&error.reason()), backtrace: error.backtrace().map(|it| brief(&it)) },
        };
        let (at, index) = (self.start.elapsed(), error.index());
        self.causes.push(Cause { function, cause, count: 1, at, index, what });
    }

    /// Something has happened to a worker.
    pub(crate) fn worker(&mut self, event: &WorkerEvent) {
        match event {
            WorkerEvent::Ready { worker, .. } => {
                let at = self.start.elapsed();
                self.row(*worker).into_iter().for_each(|row| row.ready(at));
            }
            WorkerEvent::Died { .. } if self.ends.len() < ENDS => {
                let (at, text) = (self.start.elapsed(), brief(event));
                self.ends.push(End { at, text });
            }
            WorkerEvent::Died { .. } => self.other_ends += 1,
            _ => {}
        }
    }

    /// Writes the page. What goes wrong is told on stderr: the pool is over, and there is nobody else to tell it.
    pub(crate) fn finish(self, totals: &Totals<'_>) {
        // In a fork of the process that made it the file is not ours.
        if self.generation != fork_generation() {
            return;
        }
        let mut out = BufWriter::new(&self.file);
        let written = page::write(&mut out, &self, totals).and_then(|()| out.flush());
        if let Err(error) = written {
            eprintln!("multiproc: the report {} is not complete: {error}", self.path.display());
        }
    }
}

impl Functions {
    /// The place of the account of a function.
    fn place(&mut self, name: &'static str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        if self.all.len() < FUNCTIONS {
            self.all.push(Account { name, ..Account::default() });
            self.places.insert(name, self.all.len() - 1);
            return self.all.len() - 1;
        }
        if self.all.len() == FUNCTIONS {
            self.all.push(Account { name: "all other functions", ..Account::default() });
        }
        FUNCTIONS
    }
}

/// The beginning of a text, if that is long.
fn brief(text: &impl fmt::Display) -> String {
    let mut short = Short(String::new());
    if write!(short, "{text}").is_err() {
        short.0.push_str(" ..");
    }
    short.0
}

/// Takes [`TEXT`] bytes, and refuses more.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.0.push_str(&text[..end]);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests;
