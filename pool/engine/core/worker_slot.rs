//! One place for a worker in the pool: who has it, what was sent there, and how it is told to leave.

use crate::engine::call::chunk::Pace;
use crate::engine::call::job::{Header, Job};
use crate::engine::core::ledger::{InFlight, TaskRange, Window};
use crate::engine::core::record::WorkerRecord;
use crate::engine::core::task_limit::TaskLimit;
use crate::engine::launch::body::{Body, Obituary};
use crate::engine::watch::output::Captured;
use crate::error::Error;
use crate::heap::scope::attached_in;
use crate::ipc::desk::Desk;
use crate::ipc::link::{Frame, FrameKind, Link, Parts, Progress, Revoked, Unsent};
use crate::sys::child::ChildSignal;
use crate::sys::time::Deadline;
use crate::sys::usage;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a worker is looked at that has nothing left to run, and passes over what was taken back from it.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// One place for a worker, and who has it.
#[derive(Debug)]
pub(crate) struct WorkerSlot {
    /// Counts the processes that have had this place: news of an earlier one are not about this one.
    pub(crate) incarnation: u64,
    pub(crate) state: State,
    /// The process that was the last before it to be ready here.
    pub(crate) predecessor: Option<i32>,
    /// `None` until its start was heard of.
    pub(crate) body: Option<Body>,
    /// The process id of the body, and its machine if that is another one.
    pub(crate) pid: Option<i32>,
    pub(crate) host: Option<Arc<str>>,
    pub(crate) link: Option<Box<dyn Link>>,
    pub(crate) window: Window,
    /// What it writes, if the pool reads that.
    pub(crate) output: Option<Captured>,
    /// Headers it knows.
    pub(crate) known: BTreeSet<u64>,
    /// Headers it need not know any more.
    pub(crate) forget: Vec<u64>,
    /// The payload that was copied last, and of which frame.
    pub(super) copied: Option<(u64, Arc<[u8]>)>,
    /// Frames were sent since the last flush.
    pub(crate) unflushed: bool,
    /// Since when it has been seen to wait although it has frames, and how far it was then.
    pub(crate) stalled: Option<(Instant, Progress)>,
    /// Why it was killed, if by us for what it did.
    pub(crate) condemned: Option<String>,
    /// What it said, or was said of it, before it was ready.
    pub(crate) complaint: Option<Error>,
    /// The time limits of the task that it has, when that has any.
    pub(crate) limit: Option<TaskLimit>,
    /// It was told to end since the time limit was over, and will be killed then.
    pub(crate) overdue: Option<Deadline>,
    /// How many more tasks it may be given.
    pub(crate) left: Option<u32>,
    /// Why it is to leave, once it is.
    pub(crate) dismissed: Option<Dismissal>,
    /// It is to leave with its pool, and there was no room in its link to tell it.
    pub(crate) untold: bool,
    /// Its process was stopped, as by SIGSTOP, when that was last looked at, and gets no frames before it goes on.
    pub(crate) stopped: bool,
    /// It was waited for in vain although it should have been finished in a moment; until it answers.
    pub(crate) slow: bool,
    /// How long a frame and its answer are on their way, in nanoseconds; 0 within one machine.
    pub(crate) delay: f64,
    /// When its memory was last looked at.
    pub(crate) weighed: Option<Instant>,
    /// Since when it has had nothing to do, in a pool whose idle workers leave.
    pub(crate) idle_since: Option<Instant>,
    pub(crate) record: WorkerRecord,
}

/// Why a worker is to leave although the pool goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dismissal {
    /// It has had its share of tasks.
    Spent,
    /// It has grown too large.
    Large,
    /// The pool has become smaller.
    Surplus,
    /// It had nothing to do.
    Idle,
    /// Its machine is about to be taken away.
    Drained,
}

/// What came of taking a frame back.
#[derive(Debug)]
pub(super) enum TakenBack {
    Tasks(TaskRange),
    /// The worker has begun it.
    Begun,
    /// Whether it has is asked, and the frame stays in the window until that is known.
    Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its process was started and has not said yet that it is ready.
    Starting,
    Ready,
    /// It was told that there are no more frames, or to end.
    Leaving,
    /// There is no process.
    Vacant,
}

impl Dismissal {
    /// As text.
    pub(super) fn cause(self) -> &'static str {
        match self {
            Dismissal::Spent => "it has had its share of tasks",
            Dismissal::Large => "it has grown too large",
            Dismissal::Surplus => "the pool has become smaller",
            Dismissal::Idle => "it had nothing to do",
            Dismissal::Drained => "its node was told to end",
        }
    }
}

impl WorkerSlot {
    /// A place without a link, for its next process or none.
    pub(crate) fn new(incarnation: u64, state: State) -> WorkerSlot {
        WorkerSlot {
            incarnation,
            state,
            predecessor: None,
            body: None,
            pid: None,
            host: None,
            link: None,
            window: Window::default(),
            output: None,
            known: BTreeSet::new(),
            forget: Vec::new(),
            copied: None,
            unflushed: false,
            stalled: None,
            condemned: None,
            complaint: None,
            limit: None,
            overdue: None,
            left: None,
            dismissed: None,
            untold: false,
            stopped: false,
            slow: false,
            delay: 0.0,
            weighed: None,
            idle_since: None,
            record: WorkerRecord::new(),
        }
    }

    /// It exists.
    pub(super) fn embody(&mut self, body: Body) {
        self.pid = body.pid();
        self.host = body.host();
        self.body = Some(body);
    }

    /// Whether it is a thread of this process.
    pub(super) fn is_thread(&self) -> bool {
        matches!(self.body, Some(Body::Thread))
    }

    /// What was told of it with its end, if it is no child of this process.
    pub(super) fn obituary(&self) -> Obituary {
        if let Some(Body::Remote(remote)) = &self.body { remote.obituary() } else { Obituary::default() }
    }

    /// How much memory of its own it has in use, as far as that is known here.
    pub(super) fn memory(&self) -> Option<u64> {
        match &self.body {
            Some(Body::Remote(remote)) => remote.memory(),
            _ => self.pid.and_then(usage::anonymous_memory),
        }
    }

    /// Sends it a signal, if it exists and is a process.
    pub(super) fn signal(&self, signal: ChildSignal) {
        if let Some(body) = &self.body {
            body.signal(signal);
        }
    }

    /// Sends what the worker must know before it is sent tasks of a job. Returns whether it does; false when there is no room
    /// now.
    pub(super) fn prepare(&mut self, header: &Header) -> Result<bool, Unsent> {
        let Some(link) = &mut self.link else { return Ok(false) };
        if self.window.len() == 0 {
            // No answer will make room, but a header that the worker has read may.
            self.window.release(&mut **link);
        }
        if !send_forgets(&mut **link, &mut self.forget, &mut self.window)? {
            return Ok(false);
        }
        if !self.known.contains(&header.id) {
            let frame = Frame { kind: FrameKind::Header, header: header.id, first: 0, count: 0, skip: 0 };
            let context = header.context.as_ref().map_or(&[][..], |it| &it.bytes);
            let told = crate::engine::worker::main_loop::encode_header(
                &header.function,
                header.traceparent.as_deref(),
                header.span.as_ref().and_then(|span| span.number()),
                context,
            );
            let attached = header.context.as_ref().map_or_else(Vec::new, |it| attached_in(&it.pins));
            let Some(seq) = link.send(&frame, &told[..].into(), &attached)? else { return Ok(false) };
            self.window.push(InFlight { seq, range: None });
            self.known.insert(header.id);
            // Even if the tasks do not fit behind it: reading it is what makes room for them.
            self.unflushed = true;
        }
        Ok(true)
    }

    /// Sends one frame of the tasks below the place `end` of the range, for which the worker is prepared. Returns the number
    /// of the frame; `Ok(None)` when there is no room now.
    #[inline]
    pub(super) fn send(&mut self, range: &TaskRange, end: u32, payload: &Parts<'_>) -> Result<Option<u64>, Unsent> {
        let (Some(link), Some(job)) = (&mut self.link, &range.job) else { return Ok(None) };
        let &TaskRange { first, next: skip, .. } = range;
        let tasks = Frame { kind: FrameKind::Tasks, header: job.header.id, first, count: end, skip };
        let attached = range.pins.as_ref().map_or_else(Vec::new, |pins| attached_in(pins));
        if let Some(attempt) = job.attempt(range.index(range.next)) {
            link.set_attempt(attempt);
        }
        let Some(seq) = link.send(&tasks, payload, &attached)? else { return Ok(None) };
        self.limit = TaskLimit::of(&job.options, seq, range.next);
        self.unflushed = true;
        Ok(Some(seq))
    }

    /// Enters a frame that was sent in its books.
    #[inline]
    pub(super) fn enter(&mut self, seq: u64, range: TaskRange) {
        self.window.push(InFlight { seq, range: Some(range) });
        self.record.sent(self.window.len());
        self.idle_since = None;
    }

    /// Tells the worker which contexts it need not keep any more.
    pub(super) fn send_forgets(&mut self) {
        let Some(link) = self.link.as_mut().filter(|_| !self.forget.is_empty()) else { return };
        match send_forgets(&mut **link, &mut self.forget, &mut self.window) {
            Ok(_) => self.unflushed = true,
            // It is told before its next tasks.
            Err(Unsent::Refused(_)) => {}
            Err(Unsent::Broken) => self.abandon(),
        }
        self.flush();
    }

    /// Tells the worker that there are no more frames; `Ok(false)` when there is no room now.
    pub(super) fn send_stop(&mut self) -> Result<bool, Unsent> {
        let Some(link) = &mut self.link else { return Ok(true) };
        if self.window.len() == 0 {
            self.window.release(&mut **link);
        }
        let stop = Frame { kind: FrameKind::Stop, header: 0, first: 0, count: 0, skip: 0 };
        let sent = match link.send(&stop, &Parts::NONE, &[]) {
            // Its tasks are not to blame: tried again when they end.
            Err(Unsent::Refused(_)) if self.window.len() > 0 => None,
            sent => sent?,
        };
        self.unflushed |= sent.is_some();
        if sent.is_some() && self.window.len() == 0 {
            self.nothing_left();
        }
        Ok(sent.is_some())
    }

    /// It was told that there are no more frames, and has answered all that it had: how it ends is no task's doing.
    pub(super) fn nothing_left(&self) {
        if let Some(body) = &self.body {
            body.dismiss();
        }
    }

    /// How many workers there were in this slot before this one.
    pub(super) fn restarts(&self) -> u64 {
        self.incarnation.saturating_sub(1)
    }

    /// Tells a worker that is no process to leave before it begins anything else.
    pub(super) fn send_away(&mut self) {
        for seq in self.window.all() {
            self.take_back(seq);
        }
        // What was taken back needs its room until the worker has passed over it, behind the task that it runs.
        self.untold = !self.send_stop().unwrap_or(true);
        self.flush();
    }

    /// Tells it so again if there was no room for that. Returns when to look whether there is.
    pub(super) fn send_away_again(&mut self) -> Deadline {
        if self.untold {
            self.send_away();
        }
        // The answer of a task that still runs is news.
        if self.untold && self.window.len() == 0 { Deadline::after(LOOK) } else { Deadline::NEVER }
    }

    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.unflushed) {
            if let Some(link) = &mut self.link {
                link.flush();
            }
        }
    }

    /// What the pool and its running task tell each other.
    pub(super) fn desk(&self) -> Option<&Desk> {
        self.link.as_ref()?.desk()
    }

    /// Tells its task to end, or it itself, if the time for that has come. Returns when to look again.
    pub(super) fn enforce(&mut self, grace: Duration) -> Deadline {
        if let Some(kill_at) = &mut self.overdue {
            if kill_at.passed() {
                self.body.iter().for_each(|body| body.signal(ChildSignal::Kill));
                *kill_at = Deadline::NEVER;
            }
            return *kill_at;
        }
        let Some(limit) = &mut self.limit else { return Deadline::NEVER };
        let next = limit.enforce(self.link.as_deref());
        let (None, Some(body)) = (next, &self.body) else { return next.unwrap_or(Deadline::NEVER) };
        // If it is stopped and has not even begun the task, that goes elsewhere.
        let kill_at = if body.tell_to_end() { Deadline::NEVER } else { Deadline::after(grace) };
        self.state = State::Leaving;
        self.overdue = Some(kill_at);
        kill_at
    }

    /// Tells the tasks of a job that are here to end early.
    pub(super) fn tell_to_end(&self, job: &Arc<Job>) {
        if let Some(link) = &self.link {
            link.cancel(&self.window.of(job));
        }
    }

    /// Nobody waits for this job any more.
    pub(super) fn abandon_job(&mut self, job: &Arc<Job>) {
        self.tell_to_end(job);
        self.window.abandon(job);
    }

    /// Ends it since nothing can be sent to it any more: as a rule, since it has died already. What it has answered counts.
    pub(super) fn abandon(&mut self) {
        self.state = State::Leaving;
        self.signal(ChildSignal::Kill);
    }

    /// Notes what it said, or was said of it, before it was ready; only the first counts.
    pub(super) fn complain(&mut self, error: Error) {
        self.complaint.get_or_insert(error);
    }

    /// Kills it for what it did; its end is then reported like any other.
    pub(crate) fn condemn(&mut self, cause: &io::Error) {
        if self.condemned.is_none() {
            self.condemned = Some(cause.to_string());
        }
        self.signal(ChildSignal::Kill);
    }

    /// Whether it will take the next frame in a moment, as far as is known.
    pub(crate) fn is_brisk(&self) -> bool {
        self.is_within(Pace::Short)
    }

    /// Whether it will take the next frame when one of this pace is over, as far as is known.
    pub(super) fn is_within(&self, pace: Pace) -> bool {
        self.takes_frames() && !self.slow && self.window.is_within(pace, self.delay)
    }

    /// Whether it may be given frames now, if there is room for them.
    fn takes_frames(&self) -> bool {
        self.state == State::Ready && self.limit.is_none() && self.dismissed.is_none() && !self.stopped
    }

    /// Whether it has nothing to do, and could begin with a frame at once.
    pub(super) fn is_idle(&self) -> bool {
        self.takes_frames() && self.window.len() == 0
    }

    /// Takes a frame back, if it has not begun that.
    pub(super) fn take_back(&mut self, seq: u64) -> TakenBack {
        match self.link.as_mut().map_or(Revoked::Begun, |link| link.revoke(seq)) {
            Revoked::Taken => self.unload(seq).map_or(TakenBack::Begun, TakenBack::Tasks),
            Revoked::Begun => TakenBack::Begun,
            Revoked::Asked => TakenBack::Asked,
        }
    }

    /// Takes the tasks out of a frame that it has not begun, and never will.
    pub(super) fn unload(&mut self, seq: u64) -> Option<TaskRange> {
        let range = self.window.unload(seq);
        if self.window.len() == 0 && self.overdue.is_none() {
            // The task that had a time limit is not here any more.
            self.limit = None;
        }
        range
    }

    /// A copy of the payload of a frame that it has.
    pub(super) fn copy(&self, seq: u64) -> Arc<[u8]> {
        self.link.as_ref().map(|link| link.payload(seq)).unwrap_or_default().into()
    }

    /// The payload of a frame that it has. Tasks of one frame that are run again share one copy.
    pub(super) fn payload(&mut self, seq: u64) -> Arc<[u8]> {
        if let Some((of, bytes)) = &self.copied {
            if *of == seq {
                return Arc::clone(bytes);
            }
        }
        let bytes = self.copy(seq);
        self.copied = Some((seq, Arc::clone(&bytes)));
        bytes
    }

    /// How many more frames it can take if `depth` of them may wait.
    pub(super) fn room(&self, depth: usize) -> usize {
        match &self.link {
            Some(link) if self.takes_frames() => depth.min(link.depth()).saturating_sub(self.window.len()),
            _ => 0,
        }
    }
}

/// Whether there was room for all of it.
fn send_forgets(link: &mut dyn Link, forget: &mut Vec<u64>, window: &mut Window) -> Result<bool, Unsent> {
    while let Some(&id) = forget.last() {
        let frame = Frame { kind: FrameKind::Forget, header: id, first: 0, count: 0, skip: 0 };
        let Some(seq) = link.send(&frame, &Parts::NONE, &[])? else { return Ok(false) };
        window.push(InFlight { seq, range: None });
        forget.pop();
    }
    Ok(true)
}
