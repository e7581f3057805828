//! Which worker gets which frame: handing out, taking back, and what is left of a call that ends.

use crate::engine::call::chunk::Pace;
use crate::engine::call::feed::Input;
use crate::engine::call::job::Job;
use crate::engine::core::ledger::{QueuedFrame, TaskRange};
use crate::engine::core::state::{Core, Phase};
use crate::engine::core::worker_slot::{Dismissal, State, TakenBack, WorkerSlot};
use crate::engine::launch::body::Body;
use crate::heap::scope::attached_in;
use crate::ipc::link::{Parts, Unsent};
use std::sync::Arc;
use std::time::Instant;

/// So many frames for each worker may wait in the lines of places before a call with keys hands out no more.
const LINE: usize = 64;

impl Core {
    /// How many frames of `count` tasks each the workers can take now.
    pub(super) fn room(&mut self, job: &Job, count: u32) -> usize {
        if self.queue.is_ranked() && !self.queue.is_turn_of(job.options.priority, self.workers.has_idle()) {
            return 0;
        }
        if !self.queue.level_of(job).backlog.is_empty() {
            return 0;
        }
        if job.options.keyed {
            return self.room_in_lines();
        }
        let delay = self.workers.delay();
        self.workers.room(job.pace(count, delay), job.depth(count, delay), self.seat.spinner.other_cpus())
    }

    /// How many more frames with keys are handed out before their workers have room for them. So a worker that is busy for long
    /// holds up no other, as long as its share of what is handed out does not grow beyond that.
    pub(super) fn room_in_lines(&self) -> usize {
        (LINE * self.workers.target()).saturating_sub(self.queue.homed_count())
    }

    /// Hands a frame to a worker, or keeps it; in a pool that drains its tasks are cancelled.
    pub(super) fn submit(&mut self, range: TaskRange, bytes: &[u8]) {
        self.submit_next(range, &bytes.into(), &mut Streak::default());
    }

    /// Hands over the frames that a thread has made of its call's tasks. Behind the bytes of the last one belongs `tail`.
    #[inline]
    pub(super) fn submit_all(&mut self, job: &Arc<Job>, input: &mut Input, tail: &[u8]) {
        let (mut start, mut streak) = (0, Streak::default());
        let once = job.options.retry.is_none();
        let mut frames = input.frames.drain(..);
        while let Some(frame) = frames.next() {
            job.add_outstanding(u64::from(frame.count));
            let pins = (!frame.pins.is_empty()).then(|| Arc::new(frame.pins));
            let range = TaskRange {
                job: Some(Arc::clone(job)),
                first: frame.first,
                count: frame.count,
                next: 0,
                pins,
                home: frame.home,
                since: self.observers.stamp(Instant::now),
            };
            let head = &input.bytes[start..frame.end];
            let tail = if frames.len() == 0 { tail } else { &[] };
            self.submit_next(range, &Parts { head, tail, once }, &mut streak);
            start = frame.end;
        }
    }

    /// As [`Core::submit`], for one of several frames of a call that are handed over one behind the other. What was found for
    /// one of them holds for those that follow, as far as `streak` says.
    #[inline]
    fn submit_next(&mut self, range: TaskRange, payload: &Parts<'_>, streak: &mut Streak) {
        self.note_size(payload.len());
        let kept = match streak.covers(&range) {
            // Nothing that waits goes before it, or it would not have begun.
            true => self.dispatch(range, payload, streak),
            false if self.is_draining() => return self.cancel_tasks(&range),
            false if self.goes_behind_others(&range) => Err(range),
            false => self.dispatch(range, payload, streak),
        };
        if let Err(range) = kept {
            self.keep(QueuedFrame { range, bytes: payload.to_arc() }, false);
        }
    }

    /// Whether frames wait that go before a new one.
    fn goes_behind_others(&mut self, range: &TaskRange) -> bool {
        match self.workers.place_of(range.home) {
            Some(place) => self.queue.has_homed_at(place),
            None => range.job.as_ref().is_some_and(|job| !self.queue.level_of(job).backlog.is_empty()),
        }
    }

    /// Keeps a frame until a worker has room for it, before the others or after them. If the only worker that may run it is
    /// not there any more, or nothing of its call begins any more, its tasks are cancelled.
    pub(super) fn keep(&mut self, queued: QueuedFrame, first: bool) {
        if self.is_draining() || queued.range.job.as_ref().is_some_and(|job| job.is_drained()) {
            return self.cancel_tasks(&queued.range);
        }
        let home = queued.range.home;
        match self.workers.place_of(home) {
            Some(place) => self.queue.push_homed(place, queued, first),
            None if !home.is_anywhere() => self.cancel_tasks(&queued.range),
            None => self.queue.push(queued, first),
        }
    }

    /// Looks anew which worker may run the frames that only one may, after the number of places has changed.
    pub(super) fn rehome(&mut self) {
        for queued in self.queue.take_homed() {
            self.keep(queued, false);
        }
    }

    /// The worker that should have a frame next, if it has room for it; and how many like it.
    fn choose(&self, range: &TaskRange) -> Option<(usize, usize)> {
        let (pace, depth) = demands(range, self.workers.delay());
        if range.home.is_anywhere() {
            return self.workers.choose(pace, depth, self.seat.spinner.other_cpus());
        }
        let place = self.workers.place_of(range.home)?;
        (self.workers[place].room(depth) > 0).then_some((place, 1))
    }

    /// Hands a frame to the worker that should have it. Gives it back when none has room for it.
    fn dispatch(&mut self, range: TaskRange, payload: &Parts<'_>, streak: &mut Streak) -> Result<(), TaskRange> {
        loop {
            if !streak.covers(&range) {
                // Nobody waits for its results any more: it is not run.
                let Some(job) = &range.job else { return Ok(()) };
                let Some((at, frames)) = self.choose(&range) else { return Err(range) };
                self.workers.activate(at);
                match self.workers[at].prepare(&job.header) {
                    Ok(true) => *streak = Streak { at, frames, count: range.left() },
                    // It cannot even be told what to run.
                    Ok(false) => return Err(range),
                    // For both see below.
                    Err(Unsent::Refused(why)) => {
                        self.refused.push((range, why));
                        return Ok(());
                    }
                    Err(Unsent::Broken) => {
                        self.workers[at].abandon();
                        continue;
                    }
                }
            }
            streak.frames -= 1;
            let at = streak.at;
            let worker = &mut self.workers[at];
            // The tasks that this worker may not be given any more go to another one.
            let given = worker.left.map_or(range.left(), |left| range.left().min(left));
            let end = range.next + given;
            match worker.send(&range, end, payload) {
                // The worker has room for a frame, and not for these bytes: they have to wait for it.
                Ok(None) => {
                    streak.frames = 0;
                    return Err(range);
                }
                Ok(Some(seq)) => {
                    let rest = (end < range.count).then(|| TaskRange { next: end, ..range.clone() });
                    worker.enter(seq, TaskRange { count: end, ..range });
                    if worker.limit.is_some() || worker.left.is_some() {
                        // It may have its share with this frame.
                        streak.frames = 0;
                        self.bound(at, given);
                    }
                    if let Some(range) = rest {
                        self.keep(QueuedFrame { range, bytes: payload.to_arc() }, true);
                    }
                    // The frame has found its worker.
                    return Ok(());
                }
                // No worker can get it, and none is to blame.
                Err(Unsent::Refused(why)) => {
                    self.refused.push((range, why));
                    return Ok(());
                }
                // A socket that broke: the worker is dying. It gets nothing more, and its end is on its way.
                Err(Unsent::Broken) => {
                    streak.frames = 0;
                    worker.abandon();
                }
            }
        }
    }

    /// A worker was given tasks that have a time limit, or are some of a limited number.
    #[cold]
    fn bound(&mut self, at: usize, given: u32) {
        let worker = &mut self.workers[at];
        self.new_deadline |= worker.limit.is_some();
        if let Some(left) = &mut worker.left {
            *left -= given;
            if *left == 0 {
                self.dismiss(at, Dismissal::Spent);
            }
        }
    }

    /// Hands out as much of the backlog as there is room for. Returns whether anything moved.
    pub(super) fn schedule(&mut self) -> bool {
        let mut moved = self.queue.has_homed() && self.schedule_homed();
        if let Some(only) = self.queue.sole_priority() {
            return self.schedule_level(only, usize::MAX) || moved;
        }
        // One frame at a time: then another priority may have become more urgent.
        while let Some(priority) = self.queue.next_priority(self.workers.has_idle()) {
            if !self.schedule_level(priority, 1) {
                // No room for the most urgent, so there is none for the others.
                break;
            }
            self.queue.level(priority).served();
            moved = true;
        }
        moved
    }

    /// Hands out as much of what waits with one priority as there is room for, and `most` frames of it. Returns whether
    /// anything moved.
    pub(super) fn schedule_level(&mut self, priority: i8, most: usize) -> bool {
        let mut handed = 0;
        while handed < most {
            let Some(QueuedFrame { range, bytes }) = self.queue.level(priority).backlog.pop_front() else { break };
            if let Err(range) = self.dispatch(range, &bytes[..].into(), &mut Streak::default()) {
                self.queue.level(priority).backlog.push_front(QueuedFrame { range, bytes });
                break;
            }
            handed += 1;
        }
        self.submit_waiting(priority, most - handed) || handed > 0
    }

    /// Hands out frames that only the worker of one place may run, where there is room for them. Returns whether anything
    /// moved.
    fn schedule_homed(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.workers.target() {
            while let Some(first) = self.queue.first_homed(place) {
                let (_, depth) = demands(&first.range, self.workers.delay());
                if self.workers[place].room(depth) == 0 {
                    break;
                }
                if !self.queue.is_turn_of_homed() {
                    return moved;
                }
                let Some(QueuedFrame { range, bytes }) = self.queue.pop_homed(place) else { break };
                // There is room for a frame, and perhaps not for so many bytes.
                if let Err(range) = self.dispatch(range, &bytes[..].into(), &mut Streak::default()) {
                    self.queue.push_homed(place, QueuedFrame { range, bytes }, true);
                    break;
                }
                moved = true;
            }
        }
        moved
    }

    /// Takes frames that no worker has begun back from the busiest one, while another is idle. Returns whether anything
    /// moved.
    ///
    /// So a task never waits for one that stands before it in the window while a worker idles.
    pub(super) fn rebalance(&mut self) -> bool {
        if self.queue.has_backlog() {
            return false;
        }
        let Some(busiest) = self.workers.overloaded() else { return false };
        let mut waiting = self.workers[busiest].window.movable();
        waiting.truncate(waiting.len().div_ceil(2));
        let moved = self.take_back(busiest, waiting);
        self.schedule() || moved
    }

    /// Takes frames that a worker has not begun back, the newest first. Returns whether there were any.
    pub(super) fn take_back(&mut self, at: usize, frames: Vec<u64>) -> bool {
        let worker = &mut self.workers[at];
        let mut taken = Vec::new();
        for seq in frames {
            let range = match worker.take_back(seq) {
                TakenBack::Tasks(range) => range,
                // Those before it are begun as well.
                TakenBack::Begun => break,
                TakenBack::Asked => continue,
            };
            taken.push(QueuedFrame { bytes: worker.copy(seq), range });
        }
        let moved = !taken.is_empty();
        // They were taken newest first.
        for queued in taken {
            self.keep(queued, true);
        }
        moved
    }

    /// Looks after workers that do not get on, which cannot be told from the answers that come.
    pub(super) fn look_after(&mut self) {
        self.workers.end_stalled();
        self.workers.look_at_delays();
        for at in 0..self.workers.len() {
            let worker = &mut self.workers[at];
            let is_stopped = |worker: &WorkerSlot| worker.body.as_ref().is_some_and(Body::is_stopped);
            if worker.stopped {
                worker.stopped = is_stopped(worker);
            } else if worker.window.len() > 0 && self.workers.has_idle() && is_stopped(&self.workers[at]) {
                // Even the oldest frame may be one that it has not begun. Those that only it may run keep their time limits
                // where they are.
                self.workers[at].stopped = true;
                let frames = self.workers[at].window.all_anywhere();
                self.take_back(at, frames);
            }
        }
        self.schedule();
        self.workers.flush();
    }

    /// Ends a call: what is left of it is dropped, and workers may forget its context.
    pub(crate) fn retire(&mut self, job: &Arc<Job>) {
        let was_ranked = self.queue.is_ranked();
        if self.queue.remove(job) {
            self.observers.call_ended(job);
        }
        if job.outstanding() > 0 {
            self.workers.iter_mut().for_each(|worker| worker.abandon_job(job));
        }
        if job.header.is_of_one_call() {
            self.note_use();
            let has_fds = job.header.context.as_ref().is_some_and(|context| !attached_in(&context.pins).is_empty());
            for worker in self.workers.iter_mut() {
                if worker.known.remove(&job.header.id) {
                    worker.forget.push(job.header.id);
                    // Somebody may wait for it to close its ends.
                    if has_fds && worker.state == State::Ready {
                        worker.send_forgets();
                    }
                }
            }
        }
        if was_ranked {
            // A thread may have waited for a call of a higher priority.
            self.seat.wake_line();
        }
        self.maybe_stop();
    }

    /// In a closing pool: tells the workers to leave once the last call has ended; in one that drains, at once.
    pub(super) fn maybe_stop(&mut self) {
        match self.phase {
            Phase::Closing { draining } if draining || self.queue.jobs().is_empty() => {}
            _ => return,
        }
        for worker in self.workers.iter_mut().filter(|worker| worker.state == State::Ready) {
            match worker.send_stop() {
                // No room can only be while tasks of an abandoned call are under way: tried again when they end.
                Ok(false) => continue,
                Ok(true) => worker.state = State::Leaving,
                Err(_) => worker.abandon(),
            }
            worker.flush();
        }
    }
}

/// So many frames in a row that one worker should get: for as long as nobody else has the core's lock, the next one is not looked
/// for anew.
#[derive(Debug, Default)]
struct Streak {
    at: usize,
    frames: usize,
    /// How many tasks each of them has.
    count: u32,
}

impl Streak {
    /// Whether a frame of the same call may be one of them: what is longer, refers to something, or has a place of its own is
    /// looked at for itself.
    #[inline]
    fn covers(&self, range: &TaskRange) -> bool {
        self.frames > 0 && range.left() <= self.count && range.pins.is_none() && range.home.is_anywhere()
    }
}

/// How long the frame takes a worker, and how many frames may wait there.
#[inline]
fn demands(range: &TaskRange, delay: f64) -> (Pace, usize) {
    match &range.job {
        // Attached descriptors wait nowhere but here: on its way to a worker that is busy nobody could close it.
        Some(job) if !range.has_fds() => (job.pace(range.left(), delay), job.depth(range.left(), delay)),
        _ => (Pace::Long, 1),
    }
}
