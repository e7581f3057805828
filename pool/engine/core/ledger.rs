//! The ledger: which worker has which frame, and how far it has come with it.

use crate::engine::call::job::Job;
use crate::heap::scope::{Pins, luggage_in};
use crate::ipc::link::Progress;
use std::collections::VecDeque;
use std::sync::Arc;

/// A frame that is under way to or at a worker.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) seq: u64,
    /// The tasks in it; `None` for a frame that asks for no answer, and for one that was taken back.
    pub(crate) load: Option<Load>,
}

/// The tasks of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// `None` once nobody waits for the results any more.
    pub(crate) job: Option<Arc<Job>>,
    /// The number of the payload's first task in the job.
    pub(crate) first: u64,
    /// How many tasks the payload has.
    pub(crate) count: u32,
    /// Tasks of the payload below this place have an outcome, or were never meant for this worker.
    pub(crate) next: u32,
    /// What the payload refers to: kept until every task has its outcome. Only the last task has luggage.
    pub(crate) pins: Option<Arc<Pins>>,
}

impl Load {
    /// How many tasks still lack an outcome.
    pub(crate) fn left(&self) -> u32 {
        self.count - self.next
    }

    /// How many tasks a worker must have started for none to be left that it has not.
    pub(crate) fn unstarted_after(&self) -> u32 {
        self.count
    }

    /// Whether its last task has luggage.
    pub(crate) fn has_luggage(&self) -> bool {
        self.pins.as_ref().is_some_and(|pins| !luggage_in(pins).is_empty())
    }

    /// A worker has taken the luggage: it is its own, unless the task may have to be run again.
    pub(crate) fn let_luggage_go(&self) {
        if self.job.as_ref().is_none_or(|job| job.options.retries == 0) {
            self.pins.iter().flat_map(|pins| luggage_in(pins)).for_each(|luggage| luggage.let_go());
        }
    }

    /// The number in the job of the task at a place of the payload.
    pub(crate) fn index(&self, at: u32) -> u64 {
        self.first + u64::from(at)
    }
}

/// The frames at one worker, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Window {
    flights: VecDeque<Flight>,
    /// How many of them carry tasks.
    loaded: usize,
}

impl Window {
    pub(crate) fn push(&mut self, flight: Flight) {
        self.loaded += usize::from(flight.load.is_some());
        self.flights.push_back(flight);
    }

    /// How many frames with tasks are at the worker.
    pub(crate) fn len(&self) -> usize {
        self.loaded
    }

    /// The load of frame `seq`, which must be the oldest that has one: anything else is no answer of ours.
    pub(crate) fn oldest(&mut self, seq: u64) -> Option<&mut Load> {
        let flight = self.flights.iter_mut().find(|flight| flight.load.is_some())?;
        if flight.seq == seq { flight.load.as_mut() } else { None }
    }

    /// Drops what is finished: the oldest loaded frame once all its tasks have an outcome, and all before it.
    ///
    /// `reached` is the frame that the worker says it is at, for frames that have no answer. The result is the number
    /// below which nothing is needed any more.
    pub(crate) fn retire(&mut self, reached: impl Fn() -> u64, end: u64) -> u64 {
        let mut finished = 0;
        while let Some(flight) = self.flights.front() {
            match &flight.load {
                Some(load) if load.left() > 0 => break,
                Some(_) => {
                    finished = flight.seq + 1;
                    self.loaded -= 1;
                }
                // The worker has passed it for sure if it answered a later one; else it says so itself.
                None if flight.seq >= finished && !self.answered_behind() && flight.seq >= reached() => break,
                None => {}
            }
            self.flights.pop_front();
        }
        self.flights.front().map_or(end, |flight| flight.seq)
    }

    /// Whether a later loaded frame than the front has progressed.
    fn answered_behind(&self) -> bool {
        self.flights.iter().find_map(|flight| flight.load.as_ref()).is_some_and(|load| load.left() == 0)
    }

    /// Whether the frame that the worker is at, if there is one, should be finished in a moment.
    pub(crate) fn is_brisk(&self) -> bool {
        let oldest = self.flights.iter().find_map(|flight| flight.load.as_ref());
        oldest.is_none_or(|load| load.job.as_ref().is_some_and(|job| job.is_short(load.left())))
    }

    /// The newest loaded frames behind the oldest one: the candidates for taking back, newest first.
    pub(crate) fn waiting(&self) -> Vec<u64> {
        let loaded = self.flights.iter().filter(|flight| flight.load.is_some());
        let mut waiting: Vec<u64> = loaded.skip(1).map(|flight| flight.seq).collect();
        waiting.reverse();
        waiting
    }

    /// The loaded frames of a job, oldest first.
    pub(crate) fn of(&self, job: &Arc<Job>) -> Vec<u64> {
        let is_its = |load: &Load| load.job.as_ref().is_some_and(|it| Arc::ptr_eq(it, job));
        self.flights.iter().filter(|flight| flight.load.as_ref().is_some_and(is_its)).map(|flight| flight.seq).collect()
    }

    /// All loaded frames, newest first.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.flights.iter().rev().filter(|flight| flight.load.is_some()).map(|flight| flight.seq).collect()
    }

    /// The load of a frame.
    pub(crate) fn load(&self, seq: u64) -> Option<&Load> {
        self.flights.iter().find(|flight| flight.seq == seq)?.load.as_ref()
    }

    /// How many tasks have not ended, for a worker that says it has finished those of frame `seq` below `done`.
    pub(crate) fn left(&self, seq: u64, done: u32) -> u64 {
        let left = |flight: &Flight| {
            let load = flight.load.as_ref()?;
            let ended = match flight.seq.cmp(&seq) {
                std::cmp::Ordering::Less => load.count,
                std::cmp::Ordering::Equal => done,
                std::cmp::Ordering::Greater => 0,
            };
            Some(u64::from(load.count - load.next.max(ended.min(load.count))))
        };
        self.flights.iter().filter_map(left).sum()
    }

    /// Takes the load off a frame that was taken back.
    pub(crate) fn unload(&mut self, seq: u64) -> Option<Load> {
        let flight = self.flights.iter_mut().find(|flight| flight.seq == seq)?;
        self.loaded -= usize::from(flight.load.is_some());
        flight.load.take()
    }

    /// Nobody waits for this job any more.
    pub(crate) fn abandon(&mut self, job: &Arc<Job>) {
        for load in self.flights.iter_mut().filter_map(|flight| flight.load.as_mut()) {
            if load.job.as_ref().is_some_and(|it| Arc::ptr_eq(it, job)) {
                load.job = None;
            }
        }
    }

    /// Empties the window of a dead worker: each load that lacks outcomes, and the place from which its tasks were not
    /// started.
    pub(crate) fn bury(&mut self, progress: Progress) -> Vec<(u64, Load, u32)> {
        self.loaded = 0;
        let flights = std::mem::take(&mut self.flights);
        let unfinished = flights.into_iter().filter_map(|flight| Some((flight.seq, flight.load?)));
        let unfinished = unfinished.filter(|(_, load)| load.left() > 0);
        unfinished
            .map(|(seq, load)| {
                let resume = not_started_from(seq, &load, progress);
                (seq, load, resume)
            })
            .collect()
    }
}

/// The place in frame `seq` from which tasks were not started, by what the dead worker said of its progress and within
/// the bounds of the frame. Tasks before it that have no outcome are lost: that is the running one, if any.
pub(crate) fn not_started_from(seq: u64, load: &Load, progress: Progress) -> u32 {
    match seq.cmp(&progress.seq) {
        // A frame behind the one it was at was not begun.
        std::cmp::Ordering::Greater => load.next,
        std::cmp::Ordering::Equal => progress.started.clamp(load.next, load.count),
        // A frame before it is finished, and its answers were there to be read. That some are missing can only be if
        // the worker wrote nonsense; then nobody knows what ran, and nothing may run twice.
        std::cmp::Ordering::Less => load.count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(count: u32, next: u32) -> Load {
        Load { job: None, first: 100, count, next, pins: None }
    }

    fn progress(seq: u64, started: u32, done: u32) -> Progress {
        Progress { seq, started, done }
    }

    #[test]
    fn only_the_running_task_is_lost() {
        assert_eq!(not_started_from(5, &load(10, 3), progress(5, 4, 3)), 4);
        assert_eq!(not_started_from(5, &load(10, 3), progress(5, 3, 3)), 3);
        assert_eq!(not_started_from(6, &load(10, 0), progress(5, 4, 3)), 0);
    }

    #[test]
    fn nonsense_stays_within_the_frame() {
        assert_eq!(not_started_from(5, &load(10, 3), progress(5, u32::MAX, 0)), 10);
        assert_eq!(not_started_from(5, &load(10, 3), progress(5, 0, 0)), 3);
        assert_eq!(not_started_from(5, &load(10, 3), progress(9, 0, 0)), 10);
    }

    #[test]
    fn a_window_retires_in_order() {
        let mut window = Window::default();
        window.push(Flight { seq: 0, load: None });
        for seq in 1..4 {
            window.push(Flight { seq, load: Some(load(1, 0)) });
        }
        assert_eq!((window.len(), window.waiting()), (3, vec![3, 2]));
        assert!(window.oldest(2).is_none());
        assert_eq!(window.retire(|| 0, 4), 0);
        window.oldest(1).unwrap().next = 1;
        assert_eq!(window.retire(|| 0, 4), 2);
        assert!(window.unload(3).is_some());
        assert_eq!(window.len(), 1);
        window.oldest(2).unwrap().next = 1;
        // Frame 3 was taken back; whether the worker has passed it, only it can tell.
        assert_eq!(window.retire(|| 3, 4), 3);
        assert_eq!(window.retire(|| 4, 4), 4);
    }
}
