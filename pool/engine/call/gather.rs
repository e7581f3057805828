//! Results that are asked for later.

use crate::codec::{Payload, Reader};
use crate::engine::call::job::{Halt, Job};
use crate::engine::call::results::{Results, Sink};
use crate::error::{TaskError, TaskKind};

/// Gathers the results of a call and makes one outcome of them.
pub(crate) trait Gather<T>: Sink + Send {
    /// The outcome of a call of `total` tasks, which has ended, before its time for the reason `halted`.
    fn finish(&mut self, job: &Job, total: u64, halted: Option<Halt>) -> Result<T, TaskError>;

    /// Whether the outcome is that of the only task, as it is.
    fn is_of_one_task(&self) -> bool {
        false
    }

    /// As a sink. (Upcasting would ask for a newer compiler than this library does.)
    fn sink(&mut self) -> &mut dyn Sink;
}

/// All values, in order.
#[derive(Debug)]
pub(crate) struct All<R>(pub(crate) Results<R>);

/// The value of the only task.
#[derive(Debug)]
pub(crate) struct One<R>(pub(crate) Results<R>);

/// The value of each worker, with the number of the worker, which is the number of its task.
#[derive(Debug)]
pub(crate) struct Numbered<R>(pub(crate) Results<R>, pub(crate) Vec<usize>);

/// Why a task of a call that has ended has no outcome.
fn missing(halted: Option<Halt>) -> TaskKind {
    halted.map_or(TaskKind::Terminated, |halt| halt.task_kind())
}

fn all<R: Payload>(results: &mut Results<R>, job: &Job, total: u64, halted: Option<Halt>) -> Result<Vec<R>, TaskError> {
    let results = std::mem::replace(results, Results::new());
    let kind = missing(halted);
    results.whole(total, |index| job.error(kind.clone(), index, None))
}

impl<R: Payload + Send> Gather<Vec<R>> for All<R> {
    fn finish(&mut self, job: &Job, total: u64, halted: Option<Halt>) -> Result<Vec<R>, TaskError> {
        all(&mut self.0, job, total, halted)
    }

    fn sink(&mut self) -> &mut dyn Sink {
        self
    }
}

impl<R: Payload + Send> Gather<R> for One<R> {
    fn finish(&mut self, job: &Job, total: u64, halted: Option<Halt>) -> Result<R, TaskError> {
        let missing = || job.error(TaskKind::Broken { cause: "a task has no outcome".to_owned() }, 0, None);
        all(&mut self.0, job, total, halted)?.pop().ok_or_else(missing)
    }

    fn is_of_one_task(&self) -> bool {
        true
    }

    fn sink(&mut self) -> &mut dyn Sink {
        self
    }
}

impl<R: Payload> Numbered<R> {
    /// The number and the outcome of each worker.
    fn each(&mut self, job: &Job, halted: Option<Halt>) -> impl Iterator<Item = (usize, Result<R, TaskError>)> {
        let results = std::mem::replace(&mut self.0, Results::new());
        let numbers = std::mem::take(&mut self.1);
        let kind = missing(halted);
        let total = numbers.last().map_or(0, |last| *last as u64 + 1);
        let each = results.each(total, |index| job.error(kind.clone(), index, None));
        // The numbers are in order.
        each.into_iter().enumerate().filter(move |(number, _)| numbers.binary_search(number).is_ok())
    }
}

impl<R: Payload + Send> Gather<Vec<(usize, R)>> for Numbered<R> {
    fn finish(&mut self, job: &Job, _: u64, halted: Option<Halt>) -> Result<Vec<(usize, R)>, TaskError> {
        self.each(job, halted).map(|(number, result)| Ok((number, result?))).collect()
    }

    fn sink(&mut self) -> &mut dyn Sink {
        self
    }
}

impl<R: Payload + Send> Gather<Vec<(usize, Result<R, TaskError>)>> for Numbered<R> {
    fn finish(
        &mut self,
        job: &Job,
        _: u64,
        halted: Option<Halt>,
    ) -> Result<Vec<(usize, Result<R, TaskError>)>, TaskError> {
        Ok(self.each(job, halted).collect())
    }

    fn sink(&mut self) -> &mut dyn Sink {
        self
    }
}

macro_rules! pass_on {
    ($($name:ident)*) => { $(
        impl<R: Payload> Sink for $name<R> {
            fn values(
                &mut self,
                first: u64,
                count: u32,
                reader: &mut Reader<'_>,
                error: &dyn Fn(u64, TaskKind) -> TaskError,
            ) {
                self.0.values(first, count, reader, error);
            }
            fn failure(&mut self, index: u64, error: TaskError) {
                self.0.failure(index, error);
            }
            fn runs_user_code(&self) -> bool {
                self.0.runs_user_code()
            }
        }
    )* };
}

pass_on!(All One Numbered);
