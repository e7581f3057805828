//! The ledger: which worker has which frame, and how far it has come with it.

use crate::engine::call::chunk::Pace;
use crate::engine::call::home::Home;
use crate::engine::call::job::Job;
use crate::engine::core::stamp::Stamp;
use crate::heap::scope::{Pins, attached_in};
use crate::ipc::link::{Link, Progress};
use std::collections::VecDeque;
use std::sync::Arc;

/// A frame that is on its way to a worker, or there.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) seq: u64,
    /// The tasks in it; `None` for a frame that asks for no answer, and for one that was taken back.
    pub(crate) range: Option<TaskRange>,
}

/// Tasks of one frame that follow one another: what the ledger knows of them.
#[derive(Clone, Debug)]
pub(crate) struct TaskRange {
    /// `None` once nobody waits for the results any more, or all tasks have an outcome.
    pub(crate) job: Option<Arc<Job>>,
    /// The number of the payload's first task in the job.
    pub(crate) first: u64,
    /// How many tasks the payload has.
    pub(crate) count: u32,
    /// Tasks of the payload below this place have an outcome, or were never meant for this worker.
    pub(crate) next: u32,
    /// What the payload refers to: kept until every task has its outcome. Only the last task has attached descriptors.
    pub(crate) pins: Option<Arc<Pins>>,
    /// Which worker may run them.
    pub(crate) home: Home,
    /// When they were handed in, if somebody wants to know.
    pub(crate) since: Stamp,
}

impl TaskRange {
    /// Counts the next `count` tasks as ended. Returns the range as it was; with the last tasks goes all that it holds.
    #[inline]
    pub(crate) fn advance(&mut self, count: u32) -> TaskRange {
        let &mut TaskRange { first, count: all, next, home, since, .. } = self;
        self.next += count;
        let (job, pins) =
            if self.left() == 0 { (self.job.take(), self.pins.take()) } else { (self.job.clone(), self.pins.clone()) };
        TaskRange { job, first, count: all, next, pins, home, since }
    }

    /// How many tasks still lack an outcome.
    #[inline]
    pub(crate) fn left(&self) -> u32 {
        self.count - self.next
    }

    /// Whether these are tasks of a call, and somebody still waits for their results.
    #[inline]
    pub(crate) fn is_of(&self, job: &Arc<Job>) -> bool {
        self.job.as_ref().is_some_and(|it| Arc::ptr_eq(it, job))
    }

    /// Whether its last task has attached descriptors.
    pub(crate) fn has_fds(&self) -> bool {
        self.pins.as_ref().is_some_and(|pins| !attached_in(pins).is_empty())
    }

    /// A worker has taken the attached descriptors: they are its own, unless the task may have to be run again, or others get
    /// the same.
    pub(crate) fn close_fds(&self) {
        if !self.home.is_place() && self.job.as_ref().is_none_or(|job| job.options.retry.is_none()) {
            self.pins.iter().flat_map(|pins| attached_in(pins)).for_each(|attached| attached.close());
        }
    }

    /// The number in the job of the task at a place of the payload.
    pub(crate) fn index(&self, at: u32) -> u64 {
        self.first + u64::from(at)
    }
}

/// A frame that belongs to no worker at the moment.
#[derive(Debug)]
pub(crate) struct QueuedFrame {
    pub(crate) range: TaskRange,
    /// The payload: tasks of one frame that are run again share it.
    pub(crate) bytes: Arc<[u8]>,
}

impl QueuedFrame {
    pub(super) fn is_of(&self, job: &Arc<Job>) -> bool {
        self.range.is_of(job)
    }
}

/// The frames at one worker, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Window {
    frames: VecDeque<InFlight>,
    /// How many of them carry tasks.
    loaded: usize,
    /// Of so many at the front no task lacks an outcome: [`Window::retire`] drops them.
    finished: usize,
}

impl Window {
    #[inline]
    pub(crate) fn push(&mut self, frame: InFlight) {
        self.loaded += usize::from(frame.range.is_some());
        self.frames.push_back(frame);
    }

    /// How many frames with tasks are at the worker.
    pub(crate) fn len(&self) -> usize {
        self.loaded
    }

    /// The tasks of frame `seq`, which must be the oldest frame with tasks that lack an outcome: an answer to any other is no
    /// answer of ours.
    #[inline]
    pub(crate) fn oldest(&mut self, seq: u64) -> Option<&mut TaskRange> {
        let is_open = |frame: &InFlight| frame.range.as_ref().is_some_and(|range| range.left() > 0);
        while self.frames.get(self.finished).is_some_and(|frame| !is_open(frame)) {
            self.finished += 1;
        }
        let frame = self.frames.get_mut(self.finished)?;
        if frame.seq == seq { frame.range.as_mut() } else { None }
    }

    /// Drops what is finished: the oldest loaded frames, once all their tasks have an outcome, and all before them.
    ///
    /// `reached` is the frame that the worker says it is at, for frames that have no answer. The result is the number
    /// below which nothing is needed any more.
    pub(crate) fn retire(&mut self, reached: impl Fn() -> u64, end: u64) -> u64 {
        let mut finished = 0;
        self.finished = 0;
        while let Some(frame) = self.frames.front() {
            match &frame.range {
                Some(range) if range.left() > 0 => break,
                Some(_) => {
                    finished = frame.seq + 1;
                    self.loaded -= 1;
                }
                // The worker has passed it for sure if it answered a later one; else it says so itself.
                None if frame.seq >= finished && !self.answered_behind() && frame.seq >= reached() => break,
                None => {}
            }
            self.frames.pop_front();
        }
        self.frames.front().map_or(end, |frame| frame.seq)
    }

    /// The same at the link of that worker, which needs no more of what is finished.
    #[inline]
    pub(crate) fn release(&mut self, link: &mut dyn Link) {
        link.release_below(self.retire(|| link.progress().seq, link.sent()));
    }

    /// The tasks of the oldest loaded frame that lack an outcome, and its number.
    pub(crate) fn front(&self) -> Option<(u64, &TaskRange)> {
        let loaded = |frame: &'_ InFlight| frame.range.as_ref().is_some_and(|range| range.left() > 0);
        let frame = self.frames.iter().find(|frame| loaded(frame))?;
        Some((frame.seq, frame.range.as_ref()?))
    }

    /// Whether a later loaded frame than the front has progressed.
    fn answered_behind(&self) -> bool {
        self.frames.iter().find_map(|frame| frame.range.as_ref()).is_some_and(|range| range.left() == 0)
    }

    /// Whether the frame that the worker is at, if there is one, should be finished at this pace.
    pub(crate) fn is_within(&self, pace: Pace, delay: f64) -> bool {
        let oldest = self.frames.iter().find_map(|frame| frame.range.as_ref());
        oldest.is_none_or(|range| range.job.as_ref().is_some_and(|job| job.pace(range.left(), delay) <= pace))
    }

    /// The newest loaded frames behind the oldest one: the candidates for taking back, newest first.
    pub(crate) fn waiting(&self) -> Vec<u64> {
        self.loaded_behind_the_oldest().map(|(seq, _)| seq).rev().collect()
    }

    /// Those of [`Window::waiting`] that any worker may run.
    pub(crate) fn movable(&self) -> Vec<u64> {
        self.loaded_behind_the_oldest()
            .filter(|(_, range)| range.home.is_anywhere())
            .map(|(seq, _)| seq)
            .rev()
            .collect()
    }

    /// Whether any of the waiting frames may run at any worker.
    pub(crate) fn has_movable(&self) -> bool {
        self.loaded > 1 && self.loaded_behind_the_oldest().any(|(_, range)| range.home.is_anywhere())
    }

    fn loaded_behind_the_oldest(&self) -> impl DoubleEndedIterator<Item = (u64, &TaskRange)> {
        let loaded = self.frames.iter().filter_map(|frame| Some((frame.seq, frame.range.as_ref()?)));
        let oldest = self.frames.iter().find(|frame| frame.range.is_some()).map(|frame| frame.seq);
        loaded.filter(move |(seq, _)| Some(*seq) != oldest)
    }

    /// The loaded frames of a job, oldest first.
    pub(crate) fn of(&self, job: &Arc<Job>) -> Vec<u64> {
        let is_its = |frame: &&InFlight| frame.range.as_ref().is_some_and(|range| range.is_of(job));
        self.frames.iter().filter(is_its).map(|frame| frame.seq).collect()
    }

    /// All loaded frames, newest first.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.frames.iter().rev().filter(|frame| frame.range.is_some()).map(|frame| frame.seq).collect()
    }

    /// Those of [`Window::all`] that any worker may run.
    pub(crate) fn all_anywhere(&self) -> Vec<u64> {
        let is_anywhere = |seq: &u64| self.range(*seq).is_some_and(|range| range.home.is_anywhere());
        self.all().into_iter().filter(is_anywhere).collect()
    }

    /// The tasks of a frame.
    pub(crate) fn range(&self, seq: u64) -> Option<&TaskRange> {
        self.frames.iter().find(|frame| frame.seq == seq)?.range.as_ref()
    }

    /// How many tasks have not ended, for a worker that says it has finished those of frame `seq` below `done`.
    pub(crate) fn left(&self, seq: u64, done: u32) -> u64 {
        let left = |frame: &InFlight| {
            let range = frame.range.as_ref()?;
            let ended = match frame.seq.cmp(&seq) {
                std::cmp::Ordering::Less => range.count,
                std::cmp::Ordering::Equal => done,
                std::cmp::Ordering::Greater => 0,
            };
            Some(u64::from(range.count - range.next.max(ended.min(range.count))))
        };
        self.frames.iter().filter_map(left).sum()
    }

    /// Takes the tasks out of a frame that was taken back.
    pub(crate) fn unload(&mut self, seq: u64) -> Option<TaskRange> {
        let frame = self.frames.iter_mut().find(|frame| frame.seq == seq)?;
        self.loaded -= usize::from(frame.range.is_some());
        frame.range.take()
    }

    /// Nobody waits for this job any more.
    pub(crate) fn abandon(&mut self, job: &Arc<Job>) {
        for range in self.frames.iter_mut().filter_map(|frame| frame.range.as_mut()) {
            if range.is_of(job) {
                range.job = None;
            }
        }
    }

    /// Empties the window of a dead worker. Returns the tasks of each frame that lack an outcome, and the place from
    /// which its tasks were not started.
    pub(crate) fn bury(&mut self, progress: Progress) -> Vec<(u64, TaskRange, u32)> {
        (self.loaded, self.finished) = (0, 0);
        let frames = std::mem::take(&mut self.frames);
        let unfinished = frames.into_iter().filter_map(|frame| Some((frame.seq, frame.range?)));
        let unfinished = unfinished.filter(|(_, range)| range.left() > 0);
        unfinished
            .map(|(seq, range)| {
                let resume = not_started_from(seq, &range, progress);
                (seq, range, resume)
            })
            .collect()
    }
}

/// The place in frame `seq` from which tasks were not started, by what the dead worker said of its progress and within
/// the bounds of the frame. Tasks before it that have no outcome are lost: that is the running one, if any.
pub(crate) fn not_started_from(seq: u64, range: &TaskRange, progress: Progress) -> u32 {
    match seq.cmp(&progress.seq) {
        // A frame behind the one it was at was not begun.
        std::cmp::Ordering::Greater => range.next,
        std::cmp::Ordering::Equal => progress.started.clamp(range.next, range.count),
        // A frame before it is finished, and its answers were there to be read. That some are missing can only be if
        // the worker wrote nonsense; then nobody knows what ran, and nothing may run twice.
        std::cmp::Ordering::Less => range.count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(count: u32, next: u32) -> TaskRange {
        TaskRange { job: None, first: 100, count, next, pins: None, home: Home::ANYWHERE, since: Stamp::NONE }
    }

    fn progress(seq: u64, started: u32, done: u32) -> Progress {
        Progress { seq, started, done }
    }

    #[test]
    fn only_the_running_task_is_lost() {
        assert_eq!(not_started_from(5, &range(10, 3), progress(5, 4, 3)), 4);
        assert_eq!(not_started_from(5, &range(10, 3), progress(5, 3, 3)), 3);
        assert_eq!(not_started_from(6, &range(10, 0), progress(5, 4, 3)), 0);
    }

    #[test]
    fn nonsense_stays_within_the_frame() {
        assert_eq!(not_started_from(5, &range(10, 3), progress(5, u32::MAX, 0)), 10);
        assert_eq!(not_started_from(5, &range(10, 3), progress(5, 0, 0)), 3);
        assert_eq!(not_started_from(5, &range(10, 3), progress(9, 0, 0)), 10);
    }

    #[test]
    fn a_window_retires_in_order() {
        let mut window = Window::default();
        window.push(InFlight { seq: 0, range: None });
        for seq in 1..4 {
            window.push(InFlight { seq, range: Some(range(1, 0)) });
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
