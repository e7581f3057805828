//! The workers of a pool: their slots, how many there are to be, and which of them should get a frame.

use crate::engine::call::chunk::Pace;
use crate::engine::call::home::Home;
use crate::engine::core::worker_slot::{State, WorkerSlot};
use crate::error::Error;
use crate::sys::time::Deadline;
use std::io;
use std::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

/// So many starts in a row may fail before the pool gives up.
pub(super) const FAILED_STARTS: u32 = 5;

/// The pause after the first failed start; each further one in a row makes it four times as long. So a lack of descriptors or
/// memory may last for 850 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A worker that has frames, cannot answer as things are, and has not come any further for so long, never will.
const STALLED: Duration = Duration::from_secs(1);

/// When a worker leaves although the pool goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecyclePolicy {
    /// After so many tasks.
    pub(crate) tasks: Option<u32>,
    /// When its own memory is larger than this many bytes.
    pub(crate) memory: Option<u64>,
    /// More than so many bytes it cannot have, which ends it at once.
    pub(crate) memory_limit: Option<u64>,
    /// When it has had nothing to do for so long, and is not the last.
    pub(crate) idle: Option<Duration>,
}

/// The workers of a pool.
#[derive(Debug)]
pub(crate) struct Workforce {
    /// One slot for each worker that the pool has ever had at once; never fewer than `target`. A worker's number is its
    /// slot's place, so slots are never removed.
    slots: Vec<WorkerSlot>,
    /// The places of all workers that have frames or were sent something that was not flushed, and perhaps some more; and for
    /// each place whether it is one of them. So what is done again and again costs nothing for workers that rest.
    active: Vec<usize>,
    is_active: Vec<bool>,
    /// How many workers the pool is to have. Workers in slots from `target` on leave, and nobody follows them.
    target: usize,
    /// Places that have no worker since there is no room for one: on nodes that are lost, as a rule none.
    without_room: Vec<usize>,
    /// When workers leave; never changed.
    recycle: RecyclePolicy,
    /// Starts in a row that failed, those during a pause not counted: 0 again as soon as a worker has proved itself, see
    /// [`WorkerRecord::has_proved_itself`](crate::engine::core::record::WorkerRecord::has_proved_itself).
    failed_starts: u32,
    /// When the last one failed.
    failed_at: Option<Instant>,
    /// No worker is started before this time, since a start has failed. `NEVER` if there is no pause.
    try_again_at: Deadline,
    /// The first start that failed, which is the error of a pool that could not be built.
    start_failure: Option<Error>,
    /// The longest delay of a worker.
    delay: f64,
    /// Every worker was ready once, and `build` has returned the pool. Never unset.
    built: bool,
}

impl Index<usize> for Workforce {
    type Output = WorkerSlot;

    #[inline]
    fn index(&self, at: usize) -> &WorkerSlot {
        &self.slots[at]
    }
}

impl IndexMut<usize> for Workforce {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut WorkerSlot {
        &mut self.slots[at]
    }
}

impl Workforce {
    pub(super) fn new(workers: usize, recycle: RecyclePolicy) -> Workforce {
        let slots = (0..workers).map(|_| WorkerSlot::new(0, State::Vacant)).collect();
        let try_again_at = Deadline::NEVER;
        Workforce {
            slots,
            active: Vec::new(),
            is_active: vec![false; workers],
            target: workers,
            without_room: Vec::new(),
            recycle,
            failed_starts: 0,
            failed_at: None,
            try_again_at,
            start_failure: None,
            delay: 0.0,
            built: false,
        }
    }

    #[inline]
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, WorkerSlot> {
        self.slots.iter()
    }

    #[inline]
    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, WorkerSlot> {
        self.slots.iter_mut()
    }

    /// The slot at a place that somebody else has named, if there is one.
    pub(super) fn at(&self, place: u64) -> Option<&WorkerSlot> {
        self.slots.get(usize::try_from(place).ok()?)
    }

    /// How many slots there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many workers there are to be.
    #[inline]
    pub(crate) fn target(&self) -> usize {
        self.target
    }

    /// Sets how many workers there are to be, and makes slots for them.
    pub(super) fn set_target(&mut self, workers: usize) {
        self.target = workers;
        while self.slots.len() < workers {
            self.slots.push(WorkerSlot::new(0, State::Vacant));
            self.is_active.push(false);
        }
    }

    /// Something is about to be sent to the worker at a place.
    #[inline]
    pub(super) fn activate(&mut self, at: usize) {
        if !std::mem::replace(&mut self.is_active[at], true) {
            self.active.push(at);
        }
    }

    /// The place of an active worker, counted from 0; `None` behind the last one. Those that are activated come last.
    #[inline]
    pub(super) fn active(&self, number: usize) -> Option<usize> {
        self.active.get(number).copied()
    }

    /// Workers that have nothing any more rest. For who has the seat: nobody else may be counting them.
    #[inline]
    pub(super) fn let_rest(&mut self) {
        let (slots, is_active) = (&self.slots, &mut self.is_active);
        self.active.retain(|at| {
            is_active[*at] = slots[*at].window.len() > 0 || slots[*at].unflushed;
            is_active[*at]
        });
    }

    /// The active workers.
    #[inline]
    fn at_work(&self) -> impl Iterator<Item = &WorkerSlot> {
        self.active.iter().map(|at| &self.slots[*at])
    }

    /// Notes whether there is room for a worker at a place. Returns whether that is new.
    pub(super) fn note_room(&mut self, at: usize, has_room: bool) -> bool {
        match self.without_room.iter().position(|it| *it == at) {
            Some(found) if has_room => drop(self.without_room.swap_remove(found)),
            None if !has_room => self.without_room.push(at),
            _ => return false,
        }
        true
    }

    /// The place whose worker may run a frame; `None` if all may, or there is no such place.
    #[inline]
    pub(super) fn place_of(&self, home: Home) -> Option<usize> {
        home.among(self.target, |at| !self.without_room.contains(&at))
    }

    #[inline]
    pub(super) fn recycle(&self) -> &RecyclePolicy {
        &self.recycle
    }

    #[inline]
    pub(super) fn is_built(&self) -> bool {
        self.built
    }

    pub(super) fn set_built(&mut self) {
        self.built = true;
    }

    /// A worker is ready, whose frames and answers are on their way for so long.
    pub(super) fn note_delay(&mut self, delay: f64) {
        self.delay = self.delay.max(delay);
    }

    /// A worker that was ready has ended, and was good for something.
    pub(super) fn start_has_served(&mut self) {
        self.failed_starts = 0;
    }

    /// How long frames and answers are on their way is known better by and by.
    pub(super) fn look_at_delays(&mut self) {
        // Within one machine there are none.
        if self.delay > 0.0 {
            for worker in self.slots.iter_mut().filter(|worker| worker.state == State::Ready) {
                worker.delay = worker.link.as_ref().map_or(0.0, |link| link.delay());
            }
            self.delay = self.slots.iter().map(|worker| worker.delay).fold(f64::MIN_POSITIVE, f64::max);
        }
    }

    /// How long a frame and its answer are on their way at most, in nanoseconds.
    #[inline]
    pub(super) fn delay(&self) -> f64 {
        self.delay
    }

    /// A start has failed, or has led to a worker that was good for nothing. Returns whether there were so many in a row that a
    /// pool that was built gives up.
    ///
    /// Starts that were under way together fail together, for one reason, and count once.
    pub(super) fn start_failed(&mut self, error: Error) -> bool {
        self.start_failure.get_or_insert(error);
        if !self.built || self.is_pausing() {
            return false;
        }
        let now = Instant::now();
        let since = self.failed_at.replace(now);
        if self.slots.iter().any(|worker| worker.state == State::Ready && worker.record.has_proved_itself(since, now)) {
            self.failed_starts = 0;
        }
        self.try_again_at = Deadline::after(FIRST_PAUSE * 4u32.pow(self.failed_starts.min(FAILED_STARTS)));
        self.failed_starts += 1;
        self.failed_starts >= FAILED_STARTS
    }

    /// Whether no worker is to be started now, since a start has failed.
    pub(super) fn is_pausing(&self) -> bool {
        self.try_again_at != Deadline::NEVER
    }

    /// When the pause ends; `NEVER` if there is none.
    pub(super) fn try_again_at(&self) -> Deadline {
        self.try_again_at
    }

    /// Ends the pause.
    pub(super) fn end_pause(&mut self) {
        self.try_again_at = Deadline::NEVER;
    }

    /// The first start that failed.
    pub(super) fn start_failure(&self) -> Option<&Error> {
        self.start_failure.as_ref()
    }

    pub(super) fn all_vacant(&self) -> bool {
        self.slots.iter().all(|worker| worker.state == State::Vacant)
    }

    pub(super) fn all_ready(&self) -> bool {
        self.slots.iter().all(|worker| worker.state == State::Ready)
    }

    /// How many workers were asked for and do not exist yet.
    pub(super) fn to_come(&self) -> usize {
        self.slots.iter().filter(|worker| worker.state == State::Starting && worker.body.is_none()).count()
    }

    /// How many workers are ready.
    pub(super) fn ready(&self) -> usize {
        self.slots.iter().filter(|worker| worker.state == State::Ready).count()
    }

    /// Whether any worker has frames.
    #[inline]
    pub(super) fn has_frames(&self) -> bool {
        self.at_work().any(|worker| worker.window.len() > 0)
    }

    /// Whether frames wait behind others at a worker.
    #[inline]
    pub(super) fn is_stacked(&self) -> bool {
        self.at_work().any(|worker| worker.window.len() > 1)
    }

    /// Whether an answer can be taken.
    #[inline]
    pub(super) fn has_answer(&self) -> bool {
        self.at_work().any(|it| {
            it.window.len() > 0 && it.condemned.is_none() && it.link.as_ref().is_some_and(|link| link.has_answer())
        })
    }

    /// The workers that take part in a job, with their places. `cpus` are beside the one of the thread that hands out.
    ///
    /// As a rule these are all. But frames that take a worker less time than the thread that hands them out need no more
    /// workers than there are CPUs beside the one that this thread has: one more takes it away from it for a while, and
    /// all becomes slower by half. And for frames that take less than to wake somebody it is enough if all CPUs have some.
    #[inline]
    fn team(&self, pace: Pace, cpus: usize) -> impl Iterator<Item = (usize, &WorkerSlot)> {
        let some = pace < Pace::Long && self.slots.iter().any(|worker| worker.is_within(pace));
        let most = match pace {
            Pace::Short if some => cpus,
            Pace::Quick if some => 2 * (cpus + 1),
            _ => usize::MAX,
        };
        self.slots.iter().enumerate().filter(move |(_, worker)| !some || worker.is_within(pace)).take(most)
    }

    /// How many frames can be taken now, if `depth` of them may wait at a worker.
    #[inline]
    pub(super) fn room(&self, pace: Pace, depth: usize, cpus: usize) -> usize {
        self.team(pace, cpus).map(|(_, worker)| worker.room(depth)).sum()
    }

    /// The worker that should get the next frames: the one with the fewest, among these one that is awake. And how many it
    /// should get, before another one has fewer.
    pub(super) fn choose(&self, pace: Pace, depth: usize, cpus: usize) -> Option<(usize, usize)> {
        let key =
            |worker: &WorkerSlot| (worker.window.len(), worker.link.as_ref().is_some_and(|link| !link.is_awake()));
        let (mut best, mut next) = (None, usize::MAX);
        for (at, worker) in self.team(pace, cpus).filter(|(_, worker)| worker.room(depth) > 0) {
            let found = (key(worker), at);
            let second = match best {
                Some(best) if best <= found => Some(found),
                _ => best.replace(found),
            };
            next = second.map_or(next, |((frames, _), _)| next.min(frames));
        }
        let ((frames, _), at) = best?;
        Some((at, (next - frames).clamp(1, self.slots[at].room(depth))))
    }

    /// Whether a worker has nothing to do, and would get frames.
    pub(super) fn has_idle(&self) -> bool {
        self.slots.iter().any(WorkerSlot::is_idle)
    }

    /// The place of the worker with the most frames, if an idle one could take some of them.
    pub(super) fn overloaded(&self) -> Option<usize> {
        if !self.has_idle() {
            return None;
        }
        let loaded = self.active.iter().copied().filter(|at| self.slots[*at].window.has_movable());
        loaded.max_by_key(|at| (self.slots[*at].window.len(), *at))
    }

    /// Whether all that is under way should be finished in a moment, so that others need not be called for what waits.
    pub(super) fn is_brisk(&self) -> bool {
        let mut busy = self.at_work().filter(|worker| worker.window.len() > 0).peekable();
        busy.peek().is_some() && busy.all(WorkerSlot::is_brisk)
    }

    /// Nobody has answered for a while: what was expected in a moment takes longer.
    pub(super) fn give_up_hope(&mut self) {
        for at in &self.active {
            let worker = &mut self.slots[*at];
            worker.slow |= worker.window.len() > 0;
        }
    }

    /// Ends workers that will never answer: that have lost sight of their frames, which only one can that wrote into its own
    /// link (a sent frame wakes a worker and clears the mark that it waits), or have closed it and live on.
    pub(super) fn end_stalled(&mut self) {
        for worker in &mut self.slots {
            let Some(link) = worker.link.as_ref().filter(|_| worker.window.len() > 0) else { continue };
            let hindrance = link.hindrance().filter(|_| !link.has_answer() && worker.condemned.is_none());
            let Some(hindrance) = hindrance else {
                worker.stalled = None;
                continue;
            };
            match (worker.stalled, link.progress()) {
                (Some((since, then)), now) if then == now => {
                    if since.elapsed() > STALLED {
                        worker.condemn(&io::Error::new(io::ErrorKind::InvalidData, hindrance));
                    }
                }
                (_, now) => worker.stalled = Some((Instant::now(), now)),
            }
        }
    }

    /// Tells those again to leave for whom there was no room to tell it. Returns when to look whether there is.
    pub(super) fn send_away_again(&mut self) -> Deadline {
        self.slots.iter_mut().fold(Deadline::NEVER, |next, worker| next.earlier(worker.send_away_again()))
    }

    #[inline]
    pub(super) fn flush(&mut self) {
        self.active.iter().for_each(|at| self.slots[*at].flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::ledger::{InFlight, TaskRange};
    use crate::engine::core::stamp::Stamp;

    #[test]
    fn a_stopped_worker_takes_nothing_off_a_busy_one() {
        let mut workforce = Workforce::new(2, RecyclePolicy::default());
        for at in [0, 1] {
            workforce[at] = WorkerSlot::new(1, State::Ready);
        }
        for seq in 0..3 {
            let range = TaskRange {
                job: None,
                first: seq,
                count: 1,
                next: 0,
                pins: None,
                home: Home::ANYWHERE,
                since: Stamp::NONE,
            };
            workforce[0].window.push(InFlight { seq, range: Some(range) });
        }
        workforce.activate(0);
        assert_eq!(workforce.overloaded(), Some(0));
        workforce[1].stopped = true;
        assert_eq!(workforce.overloaded(), None);
    }

    #[test]
    fn starts_that_have_failed_are_forgotten_once_a_later_worker_has_run_a_task() {
        let workforce = || {
            let mut workforce = Workforce::new(2, RecyclePolicy::default());
            workforce.set_built();
            workforce
        };
        let fail = |workforce: &mut Workforce| {
            let is_over = workforce.start_failed(Error::start("on purpose"));
            workforce.end_pause();
            is_over
        };
        for has_run_a_task in [false, true] {
            let mut workforce = workforce();
            (1..FAILED_STARTS).for_each(|_| assert!(!fail(&mut workforce)));
            workforce[0] = WorkerSlot::new(1, State::Ready);
            workforce[0].record.ready();
            if has_run_a_task {
                workforce[0].record.answered(0, 1);
                // Those that fail from then on count from the first one on, although this worker goes on.
                (1..FAILED_STARTS).for_each(|_| assert!(!fail(&mut workforce)));
            }
            assert!(fail(&mut workforce));
        }
    }

    #[test]
    fn frames_that_only_one_worker_may_run_stay_with_it() {
        let mut workforce = Workforce::new(2, RecyclePolicy::default());
        for at in [0, 1] {
            workforce[at] = WorkerSlot::new(1, State::Ready);
        }
        for (seq, home) in [(0, Home::ANYWHERE), (1, Home::place(0)), (2, Home::place(0))] {
            let range = TaskRange { job: None, first: seq, count: 1, next: 0, pins: None, home, since: Stamp::NONE };
            workforce[0].window.push(InFlight { seq, range: Some(range) });
        }
        workforce.activate(0);
        assert_eq!((workforce.overloaded(), workforce[0].window.movable()), (None, vec![]));
        let range =
            TaskRange { job: None, first: 3, count: 1, next: 0, pins: None, home: Home::ANYWHERE, since: Stamp::NONE };
        workforce[0].window.push(InFlight { seq: 3, range: Some(range) });
        assert_eq!((workforce.overloaded(), workforce[0].window.movable()), (Some(0), vec![3]));
        assert_eq!(workforce[0].window.waiting(), [3, 2, 1]);
    }
}
