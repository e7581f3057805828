//! The calls of a pool that are under way, and their tasks that no worker has.

use crate::codec::Packed;
use crate::engine::call::job::{Header, Job, NOWHERE, Options};
use crate::engine::call::submission::Submission;
use crate::engine::core::ledger::TaskRange;
use crate::engine::worker::work::Run;
use crate::error::{Error, TaskError};
use crate::identity::Entry;
use crate::sys::time::Deadline;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long room is kept for a thread that has found none.
const KEPT_FOR: Duration = Duration::from_micros(200);

/// What stands for a pause that is longer than the clock can tell.
const FOREVER: Duration = Duration::from_secs(1 << 31);

/// So many retired calls may stand in line before they are taken out of it, and half of it.
const RETIRED_IN_LINE: usize = 64;

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

/// Calls and their waiting tasks.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Frames that belong to no worker, oldest first. While there are any, nothing else is handed out.
    backlog: VecDeque<QueuedFrame>,
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
    /// Submitted calls with tasks that were not handed in yet, in turn; and some that were retired meanwhile.
    submitted: VecDeque<Arc<Job>>,
    /// How many of `submitted` were retired. Each call that is retired is looked for nowhere, so that the price of a call does
    /// not grow with the number of calls.
    retired_in_line: usize,
    /// How many of `jobs` have the flag `hungry`: their thread has found no room for its next tasks.
    hungry: usize,
    /// Since when room is kept for one of those, while others have tasks as well. `None` if `hungry` is 0.
    kept_since: Option<Instant>,
    /// Headers of calls without context, by the address of the function's descriptor.
    headers: HashMap<usize, Arc<Header>>,
    /// The number of the next header. None is used twice, so that workers cannot take one for another.
    next_header: u64,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue {
            backlog: VecDeque::new(),
            homed: Vec::new(),
            homed_count: 0,
            paused: BTreeMap::new(),
            pauses: 0,
            undecided: Vec::new(),
            jobs: Vec::new(),
            submitted: VecDeque::new(),
            retired_in_line: 0,
            hungry: 0,
            kept_since: None,
            headers: HashMap::new(),
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
        let job = Arc::new(Job::new(self.header(entry, context)?, options, submission));
        job.place.store(self.jobs.len(), Relaxed);
        self.jobs.push(Arc::clone(&job));
        Ok(job)
    }

    /// The header for calls of a function.
    fn header(&mut self, entry: &'static Entry<Run>, context: Option<Arc<Packed>>) -> Result<Arc<Header>, Error> {
        let key = std::ptr::from_ref(entry) as usize;
        if context.is_none() {
            if let Some(header) = self.headers.get(&key) {
                return Ok(Arc::clone(header));
            }
        }
        let shared = context.is_none();
        let header = Arc::new(Header::new(self.next_header, entry, context)?);
        self.next_header += 1;
        if shared {
            self.headers.insert(key, Arc::clone(&header));
        }
        Ok(header)
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
        if job.in_line.load(Relaxed) {
            self.retired_in_line += 1;
            if self.retired_in_line > RETIRED_IN_LINE.max(self.submitted.len() / 2) {
                self.submitted.retain(|it| it.place.load(Relaxed) != NOWHERE);
                self.retired_in_line = 0;
            }
        }
        self.note_hunger(job, false);
        if job.outstanding() > 0 {
            self.backlog.retain(|it| !it.is_of(job));
            self.paused.retain(|_, it| !it.is_of(job));
            self.undecided.retain(|(it, _)| !it.is_of(job));
            if self.homed_count > 0 {
                self.homed.iter_mut().for_each(|frames| frames.retain(|it| !it.is_of(job)));
                self.homed_count = self.homed.iter().map(VecDeque::len).sum();
            }
        }
        true
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

    #[inline]
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The frames that no worker has: those in the backlog or in the line of a place, and those of tasks that have failed and
    /// may be run again.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &QueuedFrame> {
        let paused = self.paused.values();
        let undecided = self.undecided.iter().map(|(queued, _)| queued);
        self.backlog.iter().chain(self.homed.iter().flatten()).chain(paused).chain(undecided)
    }

    pub(super) fn push_back(&mut self, frame: QueuedFrame) {
        self.backlog.push_back(frame);
    }

    pub(super) fn push_front(&mut self, frame: QueuedFrame) {
        self.backlog.push_front(frame);
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<QueuedFrame> {
        self.backlog.pop_front()
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
        let mut frames: Vec<QueuedFrame> = std::mem::take(&mut self.backlog).into();
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

    /// Lines up a submitted call that has tasks which were not handed in yet, after the others.
    pub(super) fn line_up(&mut self, job: Arc<Job>) {
        // It may have been retired since it was entered.
        if job.place.load(Relaxed) != NOWHERE {
            job.in_line.store(true, Relaxed);
            self.submitted.push_back(job);
        }
    }

    /// The submitted call with `before` others in line before it.
    #[inline]
    pub(super) fn in_line(&mut self, before: usize) -> Option<Arc<Job>> {
        while let Some(job) = self.submitted.get(before) {
            if job.place.load(Relaxed) != NOWHERE {
                return Some(Arc::clone(job));
            }
            self.submitted.remove(before);
            self.retired_in_line -= 1;
        }
        None
    }

    /// Takes the call with `before` others before it out of the line.
    #[inline]
    pub(super) fn leave_line(&mut self, before: usize) {
        if let Some(job) = self.submitted.remove(before) {
            job.in_line.store(false, Relaxed);
        }
    }

    /// The submitted calls with tasks that were not handed in yet; and some that were retired meanwhile, which have none.
    pub(super) fn submitted(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.submitted.iter()
    }

    /// Whether tasks wait here: frames, or submitted calls.
    #[inline]
    pub(super) fn has_tasks(&self) -> bool {
        !self.backlog.is_empty() || !self.submitted.is_empty() || self.has_homed()
    }

    /// Whether tasks wait here, or threads that have more.
    #[inline]
    pub(super) fn is_work_waiting(&self) -> bool {
        self.has_tasks() || self.hungry > 0
    }

    /// Notes whether the thread of a call has found no room.
    #[inline]
    pub(super) fn note_hunger(&mut self, job: &Job, hungry: bool) {
        let before = job.hungry.swap(hungry, Relaxed);
        match (before, hungry) {
            (false, true) => self.hungry += 1,
            (true, false) => {
                self.hungry -= 1;
                // It has got some: now the others again.
                self.kept_since = None;
            }
            _ => {}
        }
    }

    /// Returns whether submitted calls, and frames for the worker of one place, may use free room now. While a blocked thread
    /// waits for room they get one frame in [`KEPT_FOR`]: the thread goes first, unless it is busy with its input.
    pub(super) fn is_turn_of_others(&mut self) -> bool {
        if self.hungry == 0 {
            self.kept_since = None;
            return true;
        }
        match self.kept_since {
            Some(since) if since.elapsed() < KEPT_FOR => false,
            _ => {
                self.kept_since = Some(Instant::now());
                true
            }
        }
    }

    /// Until when room is kept for a thread, if it is.
    pub(super) fn kept_until(&self) -> Deadline {
        match self.kept_since {
            Some(since) if self.hungry > 0 && (!self.submitted.is_empty() || self.has_homed()) => {
                Deadline::at(since + KEPT_FOR)
            }
            _ => Deadline::NEVER,
        }
    }
}
