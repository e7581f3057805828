//! Where a call takes its tasks from, and where its results go.

use crate::codec::{self, CodecError, Payload, Reader};
use crate::engine::call::job::Job;
use crate::engine::core::serve::Input;
use crate::error::{TaskError, TaskKind};
use crate::heap::scope;
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

    /// How many more tasks may be under way, for a job that has this input.
    fn room(&self, _job: &Job, _input: &Input, _workers: usize) -> u64 {
        u64::MAX
    }
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
    fn run_before(&mut self, index: u64) -> &mut Vec<R> {
        if index == self.front.len() as u64 {
            return &mut self.front;
        }
        let last = self.runs.range(..index).next_back().map(|(first, run)| (*first, *first + run.len() as u64));
        let first = last.filter(|(_, end)| *end == index).map_or(index, |(first, _)| first);
        self.runs.entry(first).or_default()
    }

    /// Joins what has become one run.
    fn join(&mut self) {
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
            let decoded = codec::decode_all(reader, count, run);
            let arrived = (run.len() - before) as u64;
            if let Err(CodecError(text)) = decoded {
                for index in first + arrived..first + u64::from(count) {
                    self.failure(index, error(index, TaskKind::Decode { text: text.clone() }));
                }
            }
            return self.join();
        }
        for index in first..first + u64::from(count) {
            match panic::decode(reader) {
                Ok(value) => self.run_before(index).push(value),
                Err(CodecError(text)) => self.failure(index, error(index, TaskKind::Decode { text })),
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

/// Where tasks come from.
pub(crate) trait Feed {
    /// Appends up to `most` tasks to `out`, and stops early once it is longer than `bytes`, or behind a task with luggage.
    fn fill(&mut self, out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled;

    /// How many more there are at most, if known.
    fn left(&self) -> Option<u64>;
}

/// What [`Feed::fill`] did.
#[derive(Debug)]
pub(crate) struct Filled {
    /// So many tasks were appended.
    pub(crate) count: u32,
    /// The next task behind them could not be serialised.
    pub(crate) failed: Option<CodecError>,
    /// There are no more.
    pub(crate) ended: bool,
}

/// Tasks from an iterator.
#[derive(Debug)]
pub(crate) struct Items<I, E> {
    items: I,
    encode: E,
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Items<I, E> {
    pub(crate) fn new(items: I, encode: E) -> Items<I, E> {
        Items { items, encode }
    }
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Feed for Items<I, E> {
    fn fill(&mut self, out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled {
        let start = out.len();
        let mut count = 0;
        while count < most && out.len() - start < bytes && !scope::is_laden() {
            let Some(item) = self.items.next() else { return Filled { count, failed: None, ended: true } };
            if let Err(error) = (self.encode)(&item, out) {
                // Of its arguments that could be serialised.
                scope::take_luggage();
                return Filled { count, failed: Some(error), ended: false };
            }
            count += 1;
        }
        Filled { count, failed: None, ended: false }
    }

    fn left(&self) -> Option<u64> {
        self.items.size_hint().1.map(|most| most as u64)
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

    #[test]
    fn a_feed_stops_where_a_task_does_not_serialise() {
        let refuse_two = |item: &u64, out: &mut Vec<u8>| {
            if *item == 2 { Err(CodecError("no".to_owned())) } else { codec::encode(item, out) }
        };
        let mut feed = Items::new(0..5u64, refuse_two);
        let mut out = Vec::new();
        let filled = feed.fill(&mut out, 10, 1000);
        assert_eq!((filled.count, filled.failed.is_some(), filled.ended, out.len()), (2, true, false, 16));
        assert_eq!(feed.left(), Some(2));
        let filled = feed.fill(&mut out, 10, 8);
        assert_eq!((filled.count, filled.ended), (1, false));
        let filled = feed.fill(&mut out, 10, 1000);
        assert_eq!((filled.count, filled.ended), (1, true));
    }
}
