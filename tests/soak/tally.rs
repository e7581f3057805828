//! What has happened: each task has one outcome, and it must be one that its order may have.

use crate::orders::{EXIT, FAIL, NAP, Order, PANIC, answer_to};
use multiproc::TaskError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What may happen to the tasks of a call, beside what they do themselves and what is done to their workers.
#[derive(Clone, Copy, Default)]
pub(crate) struct May {
    pub(crate) cancel: bool,
    pub(crate) time_out: bool,
}

/// What has happened so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) calls: AtomicU64,
    pub(crate) submitted: AtomicU64,
    pub(crate) values: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) pools: AtomicU64,
    pub(crate) wrong: AtomicU64,
}

impl Tally {
    pub(crate) fn submit(&self, tasks: usize) {
        self.calls.fetch_add(1, Relaxed);
        self.submitted.fetch_add(tasks as u64, Relaxed);
    }

    pub(crate) fn outcomes(&self) -> u64 {
        self.values.load(Relaxed) + self.errors.load(Relaxed) + self.cancelled.load(Relaxed)
    }

    pub(crate) fn wrong(&self, what: impl std::fmt::Display) {
        if self.wrong.fetch_add(1, Relaxed) < 20 {
            eprintln!("soak: wrong: {what}");
        }
    }

    /// Counts and checks the outcome of one task.
    pub(crate) fn check(&self, (deed, number): Order, outcome: Result<u64, &TaskError>, may: May) {
        match outcome {
            Ok(value) => {
                self.values.fetch_add(1, Relaxed);
                if deed > NAP || value != answer_to(number) {
                    self.wrong(format_args!("task {number}, deed {deed}, has the result {value}"));
                }
            }
            Err(error) => {
                self.errors.fetch_add(1, Relaxed);
                self.check_error(Some(deed), error, may);
            }
        }
    }

    pub(crate) fn check_error(&self, deed: Option<u8>, error: &TaskError, may: May) {
        let does = |which: &[u8]| deed.is_none_or(|deed| which.contains(&deed));
        let by_code = error.exit_code() == Some(3) && does(&[EXIT]);
        // By us, by itself, or since its pool has ended; and not by the library for what it wrote.
        let by_signal = matches!(error.signal(), Some(9 | 15)) && !error.to_string().contains("garbage");
        let fine = error.is_worker_lost() && (by_code || by_signal)
            || error.is_panic() && does(&[FAIL, PANIC])
            || error.is_error() && does(&[FAIL])
            || error.is_timeout() && may.time_out
            || error.is_cancelled() && may.cancel
            || error.is_terminated()
            || error.is_not_running();
        if !fine {
            self.wrong(format_args!("{error} (deed {deed:?})"));
        }
    }

    /// Counts and checks the outcomes of a call that has one result for all its tasks.
    pub(crate) fn check_all(&self, orders: &[Order], outcome: Result<Vec<u64>, TaskError>, may: May) {
        match outcome {
            Ok(values) if values.len() == orders.len() => {
                orders.iter().zip(values).for_each(|(order, value)| self.check(*order, Ok(value), may));
            }
            Ok(values) => self.wrong(format_args!("{} results of {} tasks", values.len(), orders.len())),
            Err(error) => {
                self.errors.fetch_add(orders.len() as u64, Relaxed);
                // Without an index that says whose it is.
                let deed = orders.get(error.index() as usize).map(|order| order.0);
                let refused = error.is_terminated() || error.is_not_running();
                self.check_error(if refused { None } else { deed }, &error, may);
            }
        }
    }

    /// As `check_all`, for calls that block: a pool that takes no calls has an error of its own.
    pub(crate) fn check_call(&self, orders: &[Order], outcome: multiproc::Result<Vec<u64>>, may: May) {
        match outcome {
            Ok(values) => self.check_all(orders, Ok(values), may),
            Err(error) if error.is_terminated() || error.is_not_running() => {
                self.errors.fetch_add(orders.len() as u64, Relaxed);
            }
            Err(error) => match error.task() {
                Some(error) => self.check_all(orders, Err(error.clone()), may),
                None => self.wrong(error),
            },
        }
    }
}
