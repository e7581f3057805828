//! Where the results of a call go.

use crate::codec::{self, CodecError, Payload, Reader};
use crate::error::{Failure, TaskError, TaskKind};
use crate::process::panic;
use std::collections::BTreeMap;

/// Where results go. Lives on the caller's stack: results are decoded on the thread that waits for them.
pub(crate) trait Sink {
    /// Decodes the results of tasks `first .. first + count`.
    fn values(&mut self, first: u64, count: u32, reader: &mut Reader<'_>, error: &dyn Fn(u64, TaskKind) -> TaskError);

    /// Takes the failure of a task.
    fn failure(&mut self, index: u64, error: TaskError);

    /// Whether decoding a result runs code of the user's.
    fn runs_user_code(&self) -> bool;

    /// Whether the caller has what it waits for.
    fn enough(&self) -> bool {
        false
    }

    /// Returns how many more tasks of the call may be under way.
    fn room(&self, _load: &Load) -> u64 {
        u64::MAX
    }
}

/// What a call has under way and in use: by this a sink that keeps results until they are taken bounds its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Tasks that were handed in and have no outcome yet.
    pub(crate) outstanding: u64,
    /// The most tasks that may be under way or wait to be taken, if the call was told.
    pub(crate) buffersize: Option<usize>,
    /// The estimated time of one task, in nanoseconds.
    pub(crate) nanos: Option<f64>,
    /// Tasks that were read from the input so far, and their bytes.
    pub(crate) tasks: u64,
    pub(crate) bytes: u64,
    pub(crate) workers: usize,
}

/// Results in the order of their tasks.
///
/// Most arrive in order, or nearly: they are kept as runs without gaps, of which the first usually becomes the whole.
#[derive(Debug)]
pub(crate) struct Results<R> {
    /// The values of the first tasks.
    front: Vec<R>,
    /// Runs behind a gap, by the number of their first task.
    runs: BTreeMap<u64, Vec<R>>,
    errors: BTreeMap<u64, TaskError>,
}

impl<R: Payload> Results<R> {
    pub(crate) fn new() -> Results<R> {
        Results { front: Vec::new(), runs: BTreeMap::new(), errors: BTreeMap::new() }
    }

    /// The run that ends before task `index`; a new one if there is none.
    #[inline]
    fn run_before(&mut self, index: u64) -> &mut Vec<R> {
        if index == self.front.len() as u64 { &mut self.front } else { self.late_run_before(index) }
    }

    fn late_run_before(&mut self, index: u64) -> &mut Vec<R> {
        let last = self.runs.range(..index).next_back().map(|(first, run)| (*first, *first + run.len() as u64));
        let first = last.filter(|(_, end)| *end == index).map_or(index, |(first, _)| first);
        self.runs.entry(first).or_default()
    }

    /// Joins what has become one run.
    #[inline]
    fn join(&mut self) {
        if !self.runs.is_empty() {
            self.join_runs();
        }
    }

    fn join_runs(&mut self) {
        while let Some(run) = self.runs.first_entry().filter(|run| *run.key() == self.front.len() as u64) {
            let mut run = run.remove();
            self.front.append(&mut run);
        }
    }

    /// All values of `total` tasks, or the error with the lowest index; `missing` tells why a task has neither.
    pub(crate) fn whole(mut self, total: u64, missing: impl Fn(u64) -> TaskError) -> Result<Vec<R>, TaskError> {
        if let Some((_, error)) = self.errors.pop_first() {
            return Err(error);
        }
        self.join();
        let gap = self.front.len() as u64;
        if gap < total { Err(missing(gap)) } else { Ok(self.front) }
    }

    /// One result a task; `missing` tells why a task of the `total` has neither value nor error.
    pub(crate) fn each(mut self, total: u64, missing: impl Fn(u64) -> TaskError) -> Vec<Result<R, TaskError>> {
        let mut all: Vec<Result<R, TaskError>> = self.front.into_iter().map(Ok).collect();
        let mut fill = |all: &mut Vec<_>, end: u64| {
            for index in all.len() as u64..end {
                all.push(Err(self.errors.remove(&index).unwrap_or_else(|| missing(index))));
            }
        };
        for (first, run) in self.runs {
            fill(&mut all, first);
            // Nothing arrives twice, so this skips nothing.
            let known = (all.len() as u64).saturating_sub(first);
            all.extend(run.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)).map(Ok));
        }
        fill(&mut all, total);
        all
    }
}

impl<R: Payload> Sink for Results<R> {
    fn values(&mut self, first: u64, count: u32, reader: &mut Reader<'_>, error: &dyn Fn(u64, TaskKind) -> TaskError) {
        if codec::is_number::<R>() {
            let run = self.run_before(first);
            let before = run.len();
            let decoded = match count {
                // Costs less than the start of a loop.
                1 => codec::decode(reader).map(|value| run.push(value)),
                _ => codec::decode_all(reader, count, run),
            };
            let arrived = (run.len() - before) as u64;
            if let Err(CodecError(text)) = decoded {
                for index in first + arrived..first + u64::from(count) {
                    self.failure(index, error(index, Failure::Decode { text: text.clone() }.into()));
                }
            }
            return self.join();
        }
        for index in first..first + u64::from(count) {
            match panic::decode(reader) {
                Ok(value) => self.run_before(index).push(value),
                Err(CodecError(text)) => self.failure(index, error(index, Failure::Decode { text }.into())),
            }
        }
        self.join();
    }

    fn failure(&mut self, index: u64, error: TaskError) {
        self.errors.entry(index).or_insert(error);
    }

    fn runs_user_code(&self) -> bool {
        codec::runs_user_code::<R>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(index: u64, kind: TaskKind) -> TaskError {
        TaskError::new(kind, "f", index, None)
    }

    fn encoded(values: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| codec::encode(value, &mut bytes).unwrap());
        bytes
    }

    #[test]
    fn results_come_in_order_whatever_order_they_arrived_in() {
        let mut results = Results::<u64>::new();
        results.values(2, 2, &mut Reader::new(&encoded(&[2, 3])), &error);
        results.values(0, 2, &mut Reader::new(&encoded(&[0, 1])), &error);
        assert_eq!(results.whole(4, |index| error(index, TaskKind::Cancelled)).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn the_error_with_the_lowest_index_wins() {
        let mut results = Results::<u64>::new();
        results.failure(5, error(5, TaskKind::Terminated));
        results.failure(3, error(3, TaskKind::Terminated));
        results.values(0, 1, &mut Reader::new(&encoded(&[7])), &error);
        assert_eq!(results.whole(9, |index| error(index, TaskKind::Cancelled)).unwrap_err().index(), 3);
    }

    #[test]
    fn too_few_bytes_fail_the_tasks_they_lack_for() {
        let mut results = Results::<u64>::new();
        results.values(0, 3, &mut Reader::new(&encoded(&[7])), &error);
        let each = results.each(4, |index| error(index, TaskKind::Terminated));
        assert_eq!(*each[0].as_ref().unwrap(), 7);
        assert!(each[1].as_ref().unwrap_err().is_decode() && each[2].as_ref().unwrap_err().is_decode());
        assert!(each[3].as_ref().unwrap_err().is_terminated());
    }
}
