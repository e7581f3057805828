//! The calls of a pool that are under way, and their tasks that no worker has.

use crate::codec::Packed;
use crate::engine::call::job::{Header, Job, NOWHERE, Options};
use crate::engine::call::submission::Submission;
use crate::engine::core::ledger::QueuedFrame;
use crate::engine::core::level::Level;
use crate::engine::worker::work::Run;
use crate::error::{Error, TaskError};
use crate::identity::Entry;
use crate::sys::time::Deadline;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What stands for a pause that is longer than the clock can tell.
const FOREVER: Duration = Duration::from_secs(1 << 31);

/// Calls and their waiting tasks.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The calls by their priority, the highest first. Those of priority 0 are always here, and as a rule alone.
    levels: Vec<Level>,
    /// Frames that only the worker of one place may run and that it has no room for, by place, oldest first. Shorter than
    /// the number of places as long as the others have none.
    homed: Vec<VecDeque<QueuedFrame>>,
    /// How many frames `homed` has.
    homed_count: usize,
    /// Tasks that have failed and are run again after a pause, by when that is over, and a number of their own.
    paused: BTreeMap<(Instant, u64), QueuedFrame>,
    pauses: u64,
    /// Tasks that have failed, with their errors, of calls that ask the program whether they are run again.
    undecided: Vec<(QueuedFrame, TaskError)>,
    /// Calls that are under way, in no order: each is here once, at its `place`, from when it is entered until it is
    /// retired.
    jobs: Vec<Arc<Job>>,
    /// Headers of calls without context and trace, by the address of the function's descriptor.
    headers: BTreeMap<usize, Arc<Header>>,
    /// The number of the next header. None is used twice, so that workers cannot take one for another.
    next_header: u64,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue {
            levels: vec![Level::new(0)],
            homed: Vec::new(),
            homed_count: 0,
            paused: BTreeMap::new(),
            pauses: 0,
            undecided: Vec::new(),
            jobs: Vec::new(),
            headers: BTreeMap::new(),
            next_header: 0,
        }
    }

    /// Registers a call.
    pub(super) fn enter(
        &mut self,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
        options: Options,
        submission: Option<Submission>,
    ) -> Result<Arc<Job>, Error> {
        let job = Arc::new(Job::new(self.header(entry, context, &options)?, options, submission));
        job.place.store(self.jobs.len(), Relaxed);
        self.jobs.push(Arc::clone(&job));
        self.level_of(&job).jobs += 1;
        Ok(job)
    }

    /// The header for calls of a function.
    fn header(
        &mut self,
        entry: &'static Entry<Run>,
        context: Option<Arc<Packed>>,
        options: &Options,
    ) -> Result<Arc<Header>, Error> {
        let key = std::ptr::from_ref(entry) as usize;
        let shared = match self.headers.get(&key) {
            Some(header) => Arc::clone(header),
            None => {
                let header = Arc::new(Header::new(self.next_header, entry)?);
                self.next_header += 1;
                self.headers.insert(key, Arc::clone(&header));
                header
            }
        };
        let Options { traceparent, span, .. } = options;
        if context.is_none() && traceparent.is_none() && span.is_none() {
            return Ok(shared);
        }
        let header = shared.of_one_call(self.next_header, context, traceparent.clone(), span.clone());
        self.next_header += 1;
        Ok(Arc::new(header))
    }

    /// Forgets a call, and drops its tasks. Returns whether it was under way.
    pub(super) fn remove(&mut self, job: &Arc<Job>) -> bool {
        let place = job.place.swap(NOWHERE, Relaxed);
        if place == NOWHERE {
            return false;
        }
        self.jobs.swap_remove(place);
        if let Some(moved) = self.jobs.get(place) {
            moved.place.store(place, Relaxed);
        }
        let level = self.level_of(job);
        if job.in_line.load(Relaxed) {
            level.retired_in_line();
        }
        level.note_hunger(job, false);
        level.jobs -= 1;
        if job.outstanding() > 0 {
            level.backlog.retain(|it| !it.is_of(job));
            self.paused.retain(|_, it| !it.is_of(job));
            self.undecided.retain(|(it, _)| !it.is_of(job));
            if self.homed_count > 0 {
                self.homed.iter_mut().for_each(|frames| frames.retain(|it| !it.is_of(job)));
                self.homed_count = self.homed.iter().map(VecDeque::len).sum();
            }
        }
        self.levels.retain(|level| level.jobs > 0 || level.priority == 0);
        true
    }

    /// The calls of a priority.
    #[inline]
    pub(super) fn level(&mut self, priority: i8) -> &mut Level {
        let at = match &self.levels[..] {
            [only] if only.priority == priority => 0,
            _ => self.place_of(priority),
        };
        &mut self.levels[at]
    }

    /// Where the calls of a priority are among those of all.
    #[cold]
    fn place_of(&mut self, priority: i8) -> usize {
        match self.levels.binary_search_by(|level| priority.cmp(&level.priority)) {
            Ok(at) => at,
            Err(at) => {
                self.levels.insert(at, Level::new(priority));
                at
            }
        }
    }

    /// The calls of the priority of a job.
    #[inline]
    pub(super) fn level_of(&mut self, job: &Job) -> &mut Level {
        self.level(job.options.priority)
    }

    /// The only priority that calls under way have, if they have one; that of no calls is 0.
    #[inline]
    pub(super) fn sole_priority(&self) -> Option<i8> {
        match &self.levels[..] {
            [only] => Some(only.priority),
            // One of the two is always here.
            [empty, only] | [only, empty] if empty.jobs == 0 && !empty.has_tasks() => Some(only.priority),
            _ => None,
        }
    }

    /// Whether calls of several priorities are under way.
    #[inline]
    pub(super) fn is_ranked(&self) -> bool {
        self.sole_priority().is_none()
    }

    /// The priority whose tasks are handed out next, where there are several: the most urgent one that has any. `None` if
    /// there is none, or room is kept for a thread with a call that is more urgent.
    pub(super) fn next_priority(&mut self, is_idle: bool) -> Option<i8> {
        let now = Instant::now();
        let mut last = None;
        loop {
            // The most urgent of those behind the last one; among equals that of the higher priority.
            let waiting = self.levels.iter_mut().filter(|level| level.is_waiting());
            let waiting = waiting.map(|level| ((level.urgency(now), level.priority), level));
            let behind = waiting.filter(|(rank, _)| last.is_none_or(|last| *rank < last));
            let (rank, level) = behind.max_by_key(|(rank, _)| *rank)?;
            if level.has_tasks() {
                return Some(level.priority);
            }
            if level.goes_before(is_idle) {
                return None;
            }
            last = Some(rank);
        }
    }

    /// Whether a thread may have room for tasks of a call with this priority, where there are several: no other level that
    /// waits is more urgent.
    pub(super) fn is_turn_of(&mut self, priority: i8, is_idle: bool) -> bool {
        let now = Instant::now();
        let own = self.level(priority).urgency(now);
        let others = self.levels.iter_mut().filter(|level| level.priority != priority);
        others.into_iter().all(|level| level.urgency(now) <= own || !level.is_waiting() || !level.goes_before(is_idle))
    }

    /// The calls that are under way.
    pub(crate) fn jobs(&self) -> &[Arc<Job>] {
        &self.jobs
    }

    /// Whether a call other than `job` is under way.
    #[inline]
    pub(super) fn has_other_than(&self, job: &Arc<Job>) -> bool {
        self.jobs.iter().take(2).any(|it| !Arc::ptr_eq(it, job))
    }

    /// Whether frames of any call that any worker may run belong to no worker.
    #[inline]
    pub(super) fn has_backlog(&self) -> bool {
        self.levels.iter().any(|level| !level.backlog.is_empty())
    }

    /// The frames that no worker has: those in the backlog or in the line of a place, and those of tasks that have failed and
    /// may be run again.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &QueuedFrame> {
        let paused = self.paused.values();
        let undecided = self.undecided.iter().map(|(queued, _)| queued);
        let backlogs = self.levels.iter().flat_map(|level| &level.backlog);
        backlogs.chain(self.homed.iter().flatten()).chain(paused).chain(undecided)
    }

    /// Keeps a frame that any worker may run, before or after the others of its priority.
    pub(super) fn push(&mut self, frame: QueuedFrame, first: bool) {
        // Nobody waits for the tasks of no call.
        let Some(job) = &frame.range.job else { return };
        let level = self.level(job.options.priority);
        if first {
            level.backlog.push_front(frame);
        } else {
            level.backlog.push_back(frame);
        }
    }

    /// Keeps a frame for the worker of a place, before or after the others that wait for it.
    pub(super) fn push_homed(&mut self, place: usize, frame: QueuedFrame, first: bool) {
        while self.homed.len() <= place {
            self.homed.push(VecDeque::new());
        }
        if first {
            self.homed[place].push_front(frame);
        } else {
            self.homed[place].push_back(frame);
        }
        self.homed_count += 1;
    }

    /// The next frame that waits for the worker of a place.
    pub(super) fn first_homed(&self, place: usize) -> Option<&QueuedFrame> {
        self.homed.get(place)?.front()
    }

    /// Takes the next frame that waits for the worker of a place.
    pub(super) fn pop_homed(&mut self, place: usize) -> Option<QueuedFrame> {
        let frame = self.homed.get_mut(place)?.pop_front()?;
        self.homed_count -= 1;
        Some(frame)
    }

    /// Whether frames wait for the worker of one place.
    #[inline]
    pub(super) fn has_homed(&self) -> bool {
        self.homed_count > 0
    }

    /// How many frames wait for the worker of one place.
    #[inline]
    pub(super) fn homed_count(&self) -> usize {
        self.homed_count
    }

    /// Whether frames wait for the worker of this place.
    pub(super) fn has_homed_at(&self, place: usize) -> bool {
        self.homed.get(place).is_some_and(|frames| !frames.is_empty())
    }

    /// Takes all frames that wait for the worker of one place; those of one place in their order.
    pub(super) fn take_homed(&mut self) -> Vec<QueuedFrame> {
        self.homed_count = 0;
        std::mem::take(&mut self.homed).into_iter().flatten().collect()
    }

    /// Takes all frames that belong to no worker, but those of which the program has not said yet whether they are run again.
    pub(super) fn take_frames(&mut self) -> Vec<QueuedFrame> {
        let mut frames: Vec<QueuedFrame> =
            self.levels.iter_mut().flat_map(|it| std::mem::take(&mut it.backlog)).collect();
        frames.extend(self.take_homed());
        frames.extend(std::mem::take(&mut self.paused).into_values());
        frames
    }

    /// Drops all frames that belong to no worker.
    pub(super) fn clear_frames(&mut self) {
        self.take_frames();
        self.undecided.clear();
    }

    /// Keeps a frame for a while.
    pub(super) fn push_after(&mut self, pause: Duration, frame: QueuedFrame) {
        let now = Instant::now();
        // Longer than the clock runs: it is dropped with its call.
        let due = now.checked_add(pause).unwrap_or_else(|| now + FOREVER);
        self.paused.insert((due, self.pauses), frame);
        self.pauses += 1;
    }

    /// When the first pause of a task that is run again ends.
    #[inline]
    pub(super) fn resume_at(&self) -> Deadline {
        self.paused.keys().next().map_or(Deadline::NEVER, |(due, _)| Deadline::at(*due))
    }

    /// Whether tasks that have failed are run again after a pause.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Takes the tasks whose pause has ended.
    pub(super) fn take_resumed(&mut self) -> Vec<QueuedFrame> {
        let later = self.paused.split_off(&(Instant::now(), u64::MAX));
        std::mem::replace(&mut self.paused, later).into_values().collect()
    }

    /// Keeps a task that has failed until the program has said whether it is run again.
    pub(super) fn ask(&mut self, frame: QueuedFrame, error: TaskError) {
        self.undecided.push((frame, error));
    }

    /// Takes the tasks of a call of which the program has not said yet whether they are run again.
    pub(super) fn take_undecided(&mut self, job: &Arc<Job>) -> Vec<(QueuedFrame, TaskError)> {
        let (its, others) = std::mem::take(&mut self.undecided).into_iter().partition(|(it, _)| it.is_of(job));
        self.undecided = others;
        its
    }

    /// Whether there are tasks of any call of which the program has not said yet whether they are run again.
    #[inline]
    pub(super) fn is_undecided(&self) -> bool {
        !self.undecided.is_empty()
    }

    /// Lines up a submitted call that has tasks which were not handed in yet, after the others of its priority.
    pub(super) fn line_up(&mut self, job: Arc<Job>) {
        // It may have been retired since it was entered.
        if job.place.load(Relaxed) != NOWHERE {
            self.level(job.options.priority).line_up(job);
        }
    }

    /// The submitted calls with tasks that were not handed in yet; and some that were retired meanwhile, which have none.
    pub(super) fn submitted(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.levels.iter().flat_map(|level| &level.submitted)
    }

    /// Whether tasks wait here: frames, or submitted calls.
    #[inline]
    pub(super) fn has_tasks(&self) -> bool {
        self.levels.iter().any(Level::has_tasks) || self.has_homed()
    }

    /// Whether tasks wait here, or threads that have more.
    #[inline]
    pub(super) fn is_work_waiting(&self) -> bool {
        self.levels.iter().any(Level::is_waiting) || self.has_homed()
    }

    /// Returns whether frames for the worker of one place may use free room now: see [`Level::leaves_room`].
    pub(super) fn is_turn_of_homed(&mut self) -> bool {
        self.levels.iter_mut().all(Level::leaves_room)
    }

    /// Until when room is kept for a thread, if it is, and others wait.
    pub(super) fn kept_until(&self) -> Deadline {
        if !self.is_ranked() && !self.has_tasks() {
            return Deadline::NEVER;
        }
        let kept = self.levels.iter().filter_map(|level| level.kept_until(self.is_ranked())).min();
        kept.map_or(Deadline::NEVER, Deadline::at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::testing::ENTRY;

    fn traced() -> Options {
        Options {
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            ..Options::default()
        }
    }

    #[test]
    fn what_is_known_of_a_function_serves_all_its_calls_without_context() {
        let mut queue = Queue::new();
        let [one, two] = [(); 2].map(|()| queue.header(&ENTRY, None, &traced()).unwrap());
        one.set_nanos(7.0);
        let plain = queue.header(&ENTRY, None, &Options::default()).unwrap();
        let context = queue.header(&ENTRY, Some(Arc::default()), &traced()).unwrap();
        assert_eq!([two.nanos(), plain.nanos(), context.nanos()], [Some(7.0), Some(7.0), None]);
        assert_eq!([&one, &two, &plain, &context].map(|it| it.is_of_one_call()), [true, true, false, true]);
        let ids = std::collections::BTreeSet::from([one.id, two.id, plain.id, context.id]);
        assert_eq!(ids.len(), 4);
    }
}
