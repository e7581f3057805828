//! Minding the workers: who has come, who has died, what becomes of a dead worker's tasks, and who takes its place.

use crate::engine::call::job::{Halt, Job};
use crate::engine::core::driver::Driver;
use crate::engine::core::ledger::{QueuedFrame, TaskRange};
use crate::engine::core::seat::WorkerNews;
use crate::engine::core::stamp::Stamp;
use crate::engine::core::state::{Core, Engine, Phase};
use crate::engine::core::task_limit::TaskLimit;
use crate::engine::core::worker_slot::{Dismissal, State, TakenBack, WorkerSlot};
use crate::engine::core::workforce::FAILED_STARTS;
use crate::engine::launch::body::Obituary;
use crate::engine::launch::launcher::{Launched, News};
use crate::engine::watch::output::Captured;
use crate::engine::watch::worker_event::WorkerEvent;
use crate::error::{Death, Error, Exit, TaskKind};
use crate::ipc::control::Reply;
use crate::ipc::link::Answer;
use crate::sys::child::ChildSignal;
use crate::sys::time::Deadline;
use std::sync::Arc;
use std::time::Duration;

impl Engine {
    /// Starts a process for a slot, if that is vacant: while the frames of a dead worker are settled the core is unlocked
    /// now and then, and another thread may have filled its slot meanwhile.
    pub(super) fn fill(self: &Arc<Self>, core: &mut Core, at: usize) {
        let left = core.workers.recycle().tasks;
        let worker = &mut core.workers[at];
        if worker.state != State::Vacant {
            return;
        }
        let (incarnation, predecessor) = (worker.incarnation + 1, worker.predecessor);
        *worker = WorkerSlot { left, predecessor, ..WorkerSlot::new(incarnation, State::Starting) };
        // A launcher may keep this for as long as the pool lives.
        let engine = Arc::downgrade(self);
        let tell = move |news| {
            if let Some(engine) = engine.upgrade() {
                engine.tell(at, incarnation, news);
            }
        };
        let has_room = match self.launcher.launch(at, Box::new(tell)) {
            Ok(Some(Launched { link, output })) => {
                worker.link = Some(link);
                worker.output = output;
                true
            }
            // `Room` follows when there is room for it.
            Ok(None) => {
                *worker = WorkerSlot { predecessor, ..WorkerSlot::new(incarnation - 1, State::Vacant) };
                false
            }
            Err(error) => {
                core.seat.tell((at, incarnation, News::Impossible(error)));
                true
            }
        };
        if core.workers.note_room(at, has_room) {
            // What has a key goes to other workers, or comes back from there.
            core.rehome();
        }
        if core.workers.recycle().idle.is_some() {
            // As long as one worker is there alone, nobody looks for how long it idles.
            self.background.notify_one();
        }
    }

    /// Takes news from the reactor's thread, and wakes who has to hear them.
    fn tell(&self, at: usize, incarnation: u64, news: News) {
        let mut core = self.core.lock();
        core.seat.tell((at, incarnation, news));
        if core.seat.is_taken() {
            self.bell.ring();
        }
        self.hand_over(&mut core);
        self.workforce.notify_all();
    }

    /// Ends a call, and stops the workers that run tasks of it.
    pub(crate) fn kill(self: &Arc<Self>, job: &Arc<Job>) {
        if !self.is_original() {
            return;
        }
        let mut core = self.core.lock();
        if job.is_complete() {
            return;
        }
        // What no worker has begun must not be begun afterwards.
        let claimed = |worker: &mut WorkerSlot| {
            let frames = worker.window.of(job).into_iter();
            frames.filter(|seq| !matches!(worker.take_back(*seq), TakenBack::Tasks(_))).collect::<Vec<_>>()
        };
        let windows = core.workers.iter_mut().map(claimed).collect::<Vec<_>>();
        core.give_up(job);
        for (worker, frames) in core.workers.iter_mut().zip(windows).filter(|(_, frames)| !frames.is_empty()) {
            let (Some(body), Some(link)) = (&worker.body, &worker.link) else { continue };
            body.kill_if_running(&frames, &**link);
        }
        self.hand_over(&mut core);
    }
}

impl Driver<'_> {
    /// Hears one piece of news.
    pub(super) fn hear(&mut self, (at, incarnation, news): WorkerNews) {
        let core = &mut *self.core;
        let worker = &mut core.workers[at];
        if worker.incarnation != incarnation && !matches!(news, News::Room) {
            // The process that is meant has left this slot to another one.
            return;
        }
        match news {
            News::Room => self.refill(at),
            News::Started(body) => {
                if let Phase::Ending { .. } = core.phase {
                    body.signal(ChildSignal::Kill);
                }
                worker.embody(body);
                let pid = worker.pid;
                core.observers.worker(|| WorkerEvent::Started { worker: at, pid });
            }
            News::Replied(Reply::Ready) => core.worker_ready(at),
            News::Replied(Reply::Refused(cause)) => {
                worker.complain(Error::start(format!("a worker could not start: {cause}")));
            }
            News::Replied(Reply::Initializer(error)) => worker.complain(Error::initializer(error)),
            // That is for templates.
            News::Replied(Reply::Threads(_)) => {}
            News::Silent => worker.complain(Error::start("a worker did not become ready in time and was killed")),
            News::Impossible(error) => {
                worker.complain(error);
                self.depart(at, Exit::Unknown.into());
            }
            News::Draining => core.dismiss(at, Dismissal::Drained),
            News::Exited(death, held) => {
                self.depart(at, death);
                // All that it has said was read.
                drop(held);
            }
        }
        self.engine.workforce.notify_all();
    }

    /// A worker has ended: what it had finished is taken, the task that it was running is lost, the others go elsewhere,
    /// and its slot is filled again if anybody needs it.
    fn depart(&mut self, at: usize, death: Death) {
        let exit = death.exit;
        if let Some(link) = &mut self.core.workers[at].link {
            link.ended();
        }
        self.collect(at);
        self.salvage(at);
        let incarnation = self.core.workers[at].incarnation;
        let vacant = WorkerSlot::new(incarnation, State::Vacant);
        let mut gone = std::mem::replace(&mut self.core.workers[at], vacant);
        self.core.workers[at].predecessor = match gone.state {
            State::Starting => gone.predecessor,
            _ => gone.pid.or(gone.predecessor),
        };
        self.engine.bell.forget(at + 1);
        let was_starting = gone.state == State::Starting;
        let pid = gone.pid;
        let complaint = gone.complaint.clone();
        let idle = gone.dismissed == Some(Dismissal::Idle);
        let Obituary { lost, condemned, output } = gone.obituary();
        gone.condemned = gone.condemned.or(condemned);
        let output = gone.output.as_ref().and_then(Captured::last_lines).or(output);
        let last_line = output.as_ref().and_then(|text| text.lines().last()).map(|line| format!(": {line}"));
        self.core.tell_end(at, &gone, &death, lost.as_deref());
        let (condemned, has_answered, how) = (gone.condemned.clone(), gone.record.tasks() > 0, death.clone());
        let has_begun = self.bury(at, gone, death, lost, output);
        // One that was killed for what it wrote before it had begun a task may have written that before it was ready.
        let failed_start = was_starting || condemned.is_some() && !has_answered && !has_begun;
        if failed_start {
            let error = complaint.unwrap_or_else(|| {
                let (pid, said) = (pid.unwrap_or_default(), last_line.unwrap_or_default());
                let end = match &condemned {
                    Some(reason) => {
                        format!("wrote garbage into its link ({reason}) before it ran a task, and was killed")
                    }
                    None => format!("{exit} before it was ready"),
                };
                Error::died(format!("worker process {pid} {end}{said}"), how)
            });
            if self.core.workers.start_failed(error.clone()) {
                let cause = format!("{FAILED_STARTS} workers in a row could not start: {error}");
                self.engine.end(&mut self.core, Halt::Broken(cause));
            }
        } else {
            self.core.workers.start_has_served();
        }
        // While the pool is being built a failed start is the error of `build`.
        let idle = idle && !self.core.queue.has_homed_at(at);
        let stays_vacant = idle || failed_start && !self.core.workers.is_built();
        if !(stays_vacant && matches!(self.core.phase, Phase::Running)) {
            self.refill(at);
        }
    }

    /// Has somebody take a slot, if anybody needs it.
    fn refill(&mut self, at: usize) {
        let core = &mut *self.core;
        if core.workers.is_pausing() {
            // The background thread fills the slot when the pause is over, which may be earlier than it expects.
            self.engine.background.notify_one();
        } else if core.needs_workers() && at < core.workers.target() {
            self.engine.fill(core, at);
        }
    }

    /// Takes what a dead worker had finished of a frame that it was still answering.
    fn salvage(&mut self, at: usize) {
        let worker = &mut self.core.workers[at];
        let Some(link) = worker.link.as_mut().filter(|_| worker.condemned.is_none()) else { return };
        let progress = link.progress();
        let answer = match link.salvage() {
            Ok(Some(answer)) => answer,
            // It was answering nothing.
            Ok(None) => return,
            Err(error) => return worker.condemn(&error),
        };
        let Some(range) = worker.window.oldest(answer.seq) else { return };
        if progress.seq != answer.seq || answer.first != range.next || progress.done <= range.next {
            return;
        }
        let count = progress.done.min(range.count) - range.next;
        if let Err(error) = self.take(at, Answer { count, nanos: 0, ..answer }) {
            self.core.workers[at].condemn(&error);
        }
    }

    /// Settles the frames of a dead worker. `lost` is why nobody knows what it ran, if so. Returns whether it had begun a task
    /// of which there is no answer.
    fn bury(
        &mut self,
        at: usize,
        gone: WorkerSlot,
        death: Death,
        lost: Option<String>,
        output: Option<String>,
    ) -> bool {
        let (pid, host) = (gone.pid, gone.host.as_deref());
        // Without a link it was never given a frame.
        let (Some(link), mut window) = (gone.link, gone.window) else { return false };
        // It was told to end with the pool, so that its end is no news.
        let ending = match &self.core.phase {
            Phase::Ending { halt, .. } if gone.condemned.is_none() => halt.task_kind(),
            _ if lost.is_some() => TaskKind::NodeLost { cause: lost.unwrap_or_default() },
            _ => {
                let (reason, memory) = (gone.condemned.clone(), self.core.workers.recycle().memory_limit);
                let is_drained = gone.dismissed == Some(Dismissal::Drained) && death.exit == Exit::Signal(9);
                TaskKind::WorkerLost { death, reason, memory, is_drained, output }
            }
        };
        let (mut resumed, mut has_begun) = (Vec::new(), false);
        for (seq, mut range, resume) in window.bury(link.progress()) {
            has_begun |= resume > range.next;
            // Nobody waits for these.
            let Some(job) = range.job.clone() else { continue };
            for place in range.next..resume {
                let index = range.index(place);
                let by = (&gone.record, at, pid);
                self.core.observers.task_lost(&job, index, &gone.record.lost(place), by);
                let kind = match (gone.overdue, gone.limit) {
                    (Some(_), Some(TaskLimit { hard: Some(limit), .. })) => TaskKind::TimedOut { limit },
                    _ => ending.clone(),
                };
                let error = job.error(kind, index, pid).on(host);
                self.task_failed(&job, error, |_| {
                    let range = TaskRange { next: place, count: place + 1, since: Stamp::NONE, ..range.clone() };
                    QueuedFrame { bytes: link.payload(seq).into(), range }
                });
            }
            range.next = resume;
            // Not if its failure has ended the whole call.
            if range.left() > 0 && !job.is_halted() {
                resumed.push(QueuedFrame { bytes: link.payload(seq).into(), range });
            }
        }
        for queued in resumed.into_iter().rev() {
            // A failure among them may have ended its whole call.
            if queued.range.job.as_ref().is_some_and(|job| !job.is_halted()) {
                self.core.keep(queued, true);
            }
        }
        has_begun
    }
}

impl Core {
    /// Tells who listens that a worker has ended: whether it was told to leave, and why.
    fn tell_end(&mut self, at: usize, gone: &WorkerSlot, death: &Death, lost: Option<&str>) {
        let exit = death.exit;
        let pid = gone.pid;
        self.observers.worker(|| {
            let told = match (&self.phase, gone.dismissed) {
                (Phase::Ending { halt, .. }, _) => Some(halt.error().to_string()),
                // It may have come to harm all the same, on its way out.
                _ if exit != Exit::Code(0) || gone.state != State::Leaving => None,
                (_, Some(why)) => Some(why.cause().to_owned()),
                (Phase::Closing { .. }, None) => Some("the pool was closed".to_owned()),
                (Phase::Running, None) => None,
            };
            match told {
                Some(cause) => WorkerEvent::Left { worker: at, pid, cause },
                None => {
                    let cause = match (&gone.condemned, &gone.complaint, gone.limit) {
                        _ if lost.is_some() => lost.unwrap_or_default().to_owned(),
                        (Some(reason), ..) => format!("wrote garbage into its link ({reason}) and was killed"),
                        (None, Some(complaint), _) => complaint.to_string(),
                        (None, None, Some(TaskLimit { hard: Some(limit), .. })) if gone.overdue.is_some() => {
                            format!("{exit}, since its task was over the time limit of {limit:?}")
                        }
                        // The calls that led there are found out without the lock, by who reads the error of the task.
                        (None, None, _) => match &death.crash {
                            Some(crash) => format!("{exit}; {}", crash.cause),
                            None => exit.to_string(),
                        },
                    };
                    let (exit_code, signal) = match exit {
                        Exit::Code(code) => (Some(code), None),
                        Exit::Signal(signal) => (None, Some(signal)),
                        Exit::Unknown => (None, None),
                    };
                    WorkerEvent::Died { worker: at, pid, exit_code, signal, cause }
                }
            }
        });
    }

    /// A worker says that it is ready.
    fn worker_ready(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        match worker.state {
            // It is being killed for what it has written: its start has failed.
            State::Starting if worker.condemned.is_some() => {}
            State::Starting => {
                worker.state = State::Ready;
                worker.record.ready();
                worker.delay = worker.link.as_ref().map_or(0.0, |link| link.delay());
                self.observers.ready(worker.pid, at);
                let (pid, before) = (worker.pid, worker.predecessor);
                let startup = worker.record.startup().unwrap_or_default();
                self.observers.worker(|| WorkerEvent::Ready { worker: at, pid, startup });
                if let Some(before) = before {
                    self.observers.worker(|| WorkerEvent::Replaced { worker: at, pid, before });
                }
                let delay = worker.delay;
                self.workers.note_delay(delay);
                if at >= self.workers.target() {
                    self.dismiss(at, Dismissal::Surplus);
                }
                self.maybe_stop();
            }
            // A thread whose pool was terminated meanwhile. A process was killed.
            State::Leaving if worker.is_thread() => worker.send_away(),
            _ => {}
        }
    }

    /// Tells tasks that are over their soft limit to end, stops workers whose task is over its time limit, and kills those
    /// that did not end in time. Returns the next deadline.
    pub(super) fn enforce(&mut self, grace: Duration) -> Deadline {
        let mut next = Deadline::NEVER;
        for worker in self.workers.iter_mut() {
            next = next.earlier(worker.enforce(grace));
        }
        let Phase::Ending { kill_at, .. } = &mut self.phase else { return next };
        next = next.earlier(self.workers.send_away_again());
        // Workers that were told to end still have time.
        if !kill_at.passed() {
            return next.earlier(*kill_at);
        }
        *kill_at = Deadline::NEVER;
        self.workers.iter().for_each(|worker| worker.signal(ChildSignal::Kill));
        next
    }
}
