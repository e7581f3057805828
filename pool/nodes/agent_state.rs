//! What an agent has: its workers, what is to be sent, and whether it is to end.

use crate::codec;
use crate::engine::launch::body::Body;
use crate::engine::launch::launcher::News;
use crate::engine::launch::spawn::Spawn;
use crate::ipc::control::Reply;
use crate::ipc::link::{Frame, FrameKind};
use crate::nodes::agent_worker::{Queued, Worker};
use crate::nodes::messages::{Ended, SIGNALS};
use crate::nodes::wire::{self, Kind, Message, Numbers, Outbox, Rest, Slot};
use crate::sys::time::Deadline;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Answers stay with the workers while so many bytes of others are not sent.
pub(super) const MOST_UNSENT: usize = 8 << 20;

/// What stands behind the agent's lock.
#[derive(Default)]
pub(super) struct State {
    pub(super) outbox: Outbox,
    pub(super) spawn: Option<Spawn>,
    pub(super) weighed: bool,
    pub(super) workers: BTreeMap<Slot, Worker>,
    /// What headers say, once for all workers.
    pub(super) contexts: HashMap<u64, Context>,
    /// Workers that have ended, and were not reported: their answers are on their way already.
    pub(super) ended: Vec<(Slot, Ended)>,
    /// So many ends of workers are being written down.
    pub(super) telling: usize,
    /// What has become of workers: told on the reactor's thread.
    pub(super) news: VecDeque<(Slot, News)>,
    /// How long workers have when this process is told to end, and until when, once it was; `NEVER` again when they are killed.
    pub(super) grace: Duration,
    pub(super) drain: Option<Deadline>,
}

/// What a header says. It may come before the header does, and behind it.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// `None` as long as it has not come.
    bytes: Option<Arc<Rest>>,
    /// It has come, and the pool has not said how often it sends the header in all.
    is_open: bool,
    /// How often the header is still to come, by what the pool has said.
    due: i64,
}

impl State {
    pub(super) fn has_work(&self) -> bool {
        let is_wanted = self.outbox.len() < MOST_UNSENT;
        !self.news.is_empty()
            || self.outbox.len() > 0
            || is_wanted && self.workers.values().any(|it| it.condemned.is_none() && it.link.has_answer())
    }

    /// Whether it was told to end, and has nothing to do any more.
    pub(super) fn is_drained(&self) -> bool {
        self.drain.is_some()
            && self.workers.is_empty()
            && self.ended.is_empty()
            && self.telling == 0
            && self.news.is_empty()
            && self.outbox.len() == 0
    }

    /// Kills workers that have not left in time. Returns when that will be.
    pub(super) fn enforce_drain(&mut self) -> Deadline {
        let Some(until) = &mut self.drain else { return Deadline::NEVER };
        if until.passed() {
            *until = Deadline::NEVER;
            self.workers.values().for_each(Worker::kill);
        }
        *until
    }

    /// Hears of workers, and takes their answers.
    pub(super) fn turn(&mut self) {
        while let Some((slot, news)) = self.news.pop_front() {
            self.hear(slot, news);
        }
        for (slot, worker) in &mut self.workers {
            worker.collect(*slot, &mut self.outbox, self.weighed, MOST_UNSENT);
        }
        self.hand_on();
    }

    /// Hands frames to workers that have room for them.
    pub(super) fn hand_on(&mut self) {
        self.workers.values_mut().for_each(Worker::hand_on);
    }

    /// Does what the pool says about workers that are there, or about what they all need. `None` if the message is damaged, or
    /// none that a pool sends.
    pub(super) fn obey(&mut self, message: Message<'_>) -> Option<()> {
        let Message { kind, slot, body } = message;
        let mut numbers = Numbers(body.bytes());
        match kind {
            Kind::Beat => {
                let beat = numbers.next()?;
                self.outbox.put(Kind::Echo, 0, &[beat], &[]);
                self.watch_workers();
            }
            Kind::Context => {
                let header = numbers.next()?;
                let at = body.bytes().len() - numbers.0.len();
                let context = Arc::new(body.into_rest(at));
                for queued in self.workers.values_mut().flat_map(|worker| &mut worker.queue) {
                    if queued.frame.header == header {
                        queued.payload.get_or_insert_with(|| Arc::clone(&context));
                    }
                }
                let known = self.contexts.entry(header).or_default();
                (known.bytes, known.is_open) = (Some(context), true);
            }
            Kind::Drop => {
                let (header, sent) = (numbers.next()?, i64::try_from(numbers.next()?).ok()?);
                self.contexts.entry(header).or_default().is_open = false;
                self.expect_header(header, sent);
            }
            Kind::Tasks | Kind::Header | Kind::Forget | Kind::Stop => {
                let queued = self.read_frame(kind, body)?;
                // If its worker has ended, the pool will hear that, and gives the frame to somebody else then.
                if let Some(worker) = self.workers.get_mut(&slot) {
                    worker.enqueue(queued);
                }
            }
            Kind::Revoke => {
                let seq = numbers.next()?;
                if self.workers.get_mut(&slot).is_some_and(|worker| worker.take_back(seq)) {
                    self.outbox.put(Kind::Returned, slot, &[seq], &[]);
                }
            }
            Kind::Signal => {
                let signal = *SIGNALS.get(usize::try_from(numbers.next()?).ok()?)?;
                self.body(slot).inspect(|body| body.signal(signal));
            }
            Kind::EndIt => _ = self.body(slot).map(Body::tell_to_end),
            Kind::KillIfRunning | Kind::Cancel => {
                let frames: Vec<u64> = std::iter::from_fn(|| numbers.next()).collect();
                match self.workers.get_mut(&slot) {
                    Some(worker) if kind == Kind::Cancel => worker.cancel(&frames),
                    Some(worker) => worker.kill_if_running(&frames),
                    None => {}
                }
            }
            Kind::Trim => {
                self.outbox.trim();
                self.workers.get_mut(&slot).into_iter().for_each(Worker::trim);
            }
            _ => return None,
        }
        Some(())
    }

    /// Reads a frame for a worker from a message of one of the four kinds.
    fn read_frame(&mut self, kind: Kind, body: wire::Body<'_>) -> Option<Queued> {
        let mut numbers = Numbers(body.bytes());
        let seq = numbers.next()?;
        let mut frame = Frame { kind: FrameKind::Stop, header: 0, first: 0, count: 0, skip: 0 };
        let (mut payload, mut attempt) = (Some(Arc::default()), 1);
        if kind != Kind::Stop {
            frame.header = numbers.next()?;
        }
        match kind {
            Kind::Tasks => {
                (frame.kind, frame.first) = (FrameKind::Tasks, numbers.next()?);
                frame.count = numbers.next_u32()?;
                frame.skip = numbers.next_u32().filter(|skip| *skip <= frame.count)?;
                attempt = numbers.next_u32()?;
                let at = body.bytes().len() - numbers.0.len();
                payload = Some(Arc::new(body.into_rest(at)));
            }
            Kind::Header => {
                frame.kind = FrameKind::Header;
                payload = self.expect_header(frame.header, -1);
            }
            Kind::Forget => frame.kind = FrameKind::Forget,
            _ => {}
        }
        Some(Queued { frame, seq, payload, attempt, is_told: false })
    }

    /// A header is to come so much more often. Returns its context, if that is here; it is kept as long as it may be needed.
    fn expect_header(&mut self, header: u64, times: i64) -> Option<Arc<Rest>> {
        let context = self.contexts.entry(header).or_default();
        context.due = context.due.saturating_add(times);
        let bytes = context.bytes.clone();
        if !context.is_open && context.due == 0 {
            self.contexts.remove(&header);
        }
        bytes
    }

    fn body(&self, slot: Slot) -> Option<&Body> {
        self.workers.get(&slot)?.body.as_ref()
    }

    /// Hears one piece of news of a worker.
    fn hear(&mut self, slot: Slot, news: News) {
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        match news {
            News::Started(body) => {
                let pid = body.pid().and_then(|pid| u64::try_from(pid).ok()).unwrap_or(0);
                worker.body = Some(body);
                self.outbox.put(Kind::Started, slot, &[pid], &[]);
            }
            News::Replied(reply) => self.outbox.put(Kind::Reply, slot, &[], &codec::to_bytes(&reply)),
            News::Silent => {
                let reply = Reply::Refused("it did not become ready in time and was killed".to_owned());
                self.outbox.put(Kind::Reply, slot, &[], &codec::to_bytes(&reply));
            }
            News::Impossible(error) => {
                self.workers.remove(&slot);
                self.outbox.put(Kind::Refused, slot, &[], &codec::to_bytes(&error));
            }
            News::Exited(death, held) => {
                let Some(mut worker) = self.workers.remove(&slot) else { return };
                worker.link.ended();
                worker.collect(slot, &mut self.outbox, false, usize::MAX);
                worker.salvage(slot, &mut self.outbox);
                self.ended.push((slot, worker.end(death)));
                // All that it has said was read.
                drop(held);
            }
            News::Room | News::Draining => {}
        }
    }

    /// Tells the pool what can be seen of the workers.
    pub(super) fn watch_workers(&mut self) {
        for (slot, worker) in &self.workers {
            worker.tell_watched(*slot, &mut self.outbox);
        }
    }
}
