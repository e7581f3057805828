//! What all calls come down to.

use crate::codec;
use crate::engine::call::feed::{Feed, Items};
use crate::engine::call::gather::{All, One};
use crate::engine::call::job::{Halt, Options};
use crate::engine::call::results::Results;
use crate::engine::core::serve::Outcome;
use crate::engine::worker::work::{Work, entry};
use crate::error::{Error, Result, TaskError, TaskKind};
use crate::pool::{AsyncResult, Imap, Job};
use std::sync::Arc;

impl<S> Job<'_, S> {
    /// Runs all tasks; the results, or the first error.
    pub(super) fn all<W: Work>(&self, context: Option<codec::Packed>, feed: &mut dyn Feed) -> Result<Vec<W::Output>> {
        let mut results = Results::<W::Output>::new();
        let outcome = self.engine.run(entry::<W>(), context, self.options.clone(), feed, &mut results)?;
        let Outcome { total, halted, job } = outcome;
        match halted {
            Some(halt) if !matches!(halt, Halt::Cancelled) => Err(halt.error()),
            halted => {
                let kind = halted.map_or(TaskKind::Terminated, |halt| halt.task_kind());
                Ok(results.whole(total, |index| job.error(kind.clone(), index, None))?)
            }
        }
    }

    /// Runs one task.
    pub(super) fn one<W: Work>(&self, context: Option<codec::Packed>, feed: &mut dyn Feed) -> Result<W::Output> {
        let options = Options { chunksize: Some(1), ..self.options.clone() };
        match (Job { options, ..*self }).all::<W>(context, feed)?.pop() {
            Some(value) => Ok(value),
            // One task went in; it has a value or was an error.
            None => Err(Error::broken("a task has neither a result nor an error")),
        }
    }

    /// Runs all tasks; one result each.
    pub(super) fn each<W: Work, I: Iterator>(
        &self,
        context: Option<codec::Packed>,
        mut items: I,
        encode: impl Fn(&I::Item, &mut Vec<u8>) -> Result<(), codec::CodecError>,
    ) -> Vec<Result<W::Output, TaskError>> {
        let mut results = Results::<W::Output>::new();
        let mut feed = Items::new(items.by_ref(), encode);
        match self.engine.run(entry::<W>(), context, self.options.clone(), &mut feed, &mut results) {
            Ok(Outcome { total, halted, job }) => {
                let left = items.count() as u64;
                let kind = halted.map_or(TaskKind::Terminated, |halt| halt.task_kind());
                results.each(total + left, |index| job.error(kind.clone(), index, None))
            }
            Err(error) => {
                let kind = error.refusal();
                let refused = |(_, index)| Err(TaskError::new(kind.clone(), W::name(), index, None));
                items.zip(0..).map(refused).collect()
            }
        }
    }

    /// Hands all tasks in; the results are asked for later.
    pub(super) fn later<W>(
        &self,
        context: Option<codec::Packed>,
        feed: &mut dyn Feed,
    ) -> Result<AsyncResult<Vec<W::Output>>>
    where
        W: Work<Output: Send>,
    {
        let engine = self.engine;
        let (job, total) = engine.submit(entry::<W>(), context, self.options.clone(), feed)?;
        Ok(AsyncResult::new(Arc::clone(engine), job, total, Box::new(All(Results::<W::Output>::new()))))
    }

    /// Hands one task in.
    pub(super) fn later_one<W>(
        &self,
        context: Option<codec::Packed>,
        feed: &mut dyn Feed,
    ) -> Result<AsyncResult<W::Output>>
    where
        W: Work<Output: Send>,
    {
        let engine = self.engine;
        let options = Options { chunksize: Some(1), ..self.options.clone() };
        let (job, total) = engine.submit(entry::<W>(), context, options, feed)?;
        Ok(AsyncResult::new(Arc::clone(engine), job, total, Box::new(One(Results::<W::Output>::new()))))
    }

    /// Runs tasks as their results are taken.
    pub(super) fn each_in_turn<'i, W: Work>(
        &self,
        context: Option<codec::Packed>,
        feed: impl Feed + 'i,
        ordered: bool,
    ) -> Imap<'i, W::Output> {
        let engine = self.engine;
        match engine.enter(entry::<W>(), context, self.options.clone(), None) {
            Ok(job) => Imap::new(Arc::clone(engine), job, Box::new(feed), ordered),
            Err(error) => Imap::refused(TaskError::new(error.refusal(), W::name(), 0, None)),
        }
    }
}
