//! A worker as its agent has it: what was sent to it, and what it has answered.

use crate::codec;
use crate::engine::call::home::Home;
use crate::engine::core::ledger::{InFlight, TaskRange, Window};
use crate::engine::core::stamp::Stamp;
use crate::engine::launch::body::{Body, kill_if_running};
use crate::engine::watch::output::Captured;
use crate::error::{Death, Failure};
use crate::ipc::link::{Answer, AnswerKind, Frame, FrameKind, Link, Payload, Progress, Revoked};
use crate::nodes::messages::Ended;
use crate::nodes::wire::{Bytes, Kind, Outbox, Rest, Slot};
use crate::sys::child::ChildSignal;
use crate::sys::usage;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The memory of a worker is looked at so often at most.
const WEIGH_EVERY: Duration = Duration::from_millis(1);

/// A frame that its worker's link has no room for yet.
pub(super) struct Queued {
    pub(super) frame: Frame,
    pub(super) seq: u64,
    /// `None` if it is a header whose context has not arrived yet.
    pub(super) payload: Option<Arc<Rest>>,
    /// How often its first task was begun, with this time.
    pub(super) attempt: u32,
    /// Its tasks are to be told that nobody waits for them.
    pub(super) is_told: bool,
}

/// A worker, and what it has.
pub(super) struct Worker {
    pub(super) link: Box<dyn Link>,
    /// What is in its link, by the numbers that frames have there. The first task of a range is the number that its frame
    /// has in the pool.
    pub(super) window: Window,
    pub(super) queue: VecDeque<Queued>,
    /// All frames of the pool below this were received.
    pub(super) seen: u64,
    pub(super) body: Option<Body>,
    pub(super) output: Option<Captured>,
    pub(super) condemned: Option<String>,
    pub(super) weighed: Instant,
}

impl Worker {
    /// A worker that was asked for.
    pub(super) fn new(link: Box<dyn Link>, output: Option<Captured>) -> Worker {
        Worker {
            link,
            window: Window::default(),
            queue: VecDeque::new(),
            seen: 0,
            body: None,
            output,
            condemned: None,
            weighed: Instant::now(),
        }
    }

    /// Takes a frame that the pool has sent.
    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.seen = queued.seq.saturating_add(u64::from(queued.frame.kind != FrameKind::Stop));
        self.queue.push_back(queued);
    }

    /// Hands frames over as far as there is room for them.
    pub(super) fn hand_on(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let Worker { link, window, .. } = self;
        if window.len() == 0 {
            // No answer will make room, but a header that the worker has read may.
            window.release(&mut **link);
        }
        let mut any = false;
        while let Some(Queued { frame, seq, payload, attempt, is_told }) = self.queue.front() {
            // The context of a header may be on its way.
            let Some(payload) = payload.as_ref().filter(|_| self.window.len() < self.link.depth()) else { break };
            if *attempt > 1 {
                self.link.set_attempt(*attempt);
            }
            match self.link.send(frame, &payload[..].into(), &[]) {
                Ok(Some(number)) => {
                    let Frame { kind, count, skip, .. } = *frame;
                    let range = TaskRange {
                        job: None,
                        first: *seq,
                        count,
                        next: skip,
                        pins: None,
                        home: Home::ANYWHERE,
                        since: Stamp::NONE,
                    };
                    let range = (kind == FrameKind::Tasks).then_some(range);
                    if kind != FrameKind::Stop {
                        self.window.push(InFlight { seq: number, range });
                    }
                    if *is_told {
                        self.link.cancel(&[number]);
                    }
                    self.queue.pop_front();
                    any = true;
                }
                Ok(None) => break,
                // It is dying, and its end is on its way.
                Err(_) => {
                    self.kill();
                    break;
                }
            }
        }
        if any {
            self.link.flush();
        }
    }

    pub(super) fn kill(&self) {
        if let Some(body) = &self.body {
            body.signal(ChildSignal::Kill);
        }
    }

    fn condemn(&mut self, cause: &str) {
        self.condemned.get_or_insert_with(|| cause.to_owned());
        self.kill();
    }

    /// Takes its answers, as long as not more than `most` bytes are to be sent.
    pub(super) fn collect(&mut self, slot: Slot, outbox: &mut Outbox, weighed: bool, most: usize) {
        while self.condemned.is_none() && outbox.len() < most {
            let answer = match self.link.receive() {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(error) => return self.condemn(&error.to_string()),
            };
            if weighed && self.weighed.elapsed() >= WEIGH_EVERY {
                self.weighed = Instant::now();
                self.tell_watched(slot, outbox);
            }
            if let Err(cause) = self.take(slot, outbox, answer) {
                return self.condemn(cause);
            }
            self.link.consumed();
            let Worker { link, window, .. } = self;
            window.release(&mut **link);
        }
    }

    /// Takes one answer: checks it against what the worker has, and sends it.
    fn take(&mut self, slot: Slot, outbox: &mut Outbox, answer: Answer) -> Result<(), &'static str> {
        let Answer { kind, seq, first, count, nanos, payload, attached: _ } = answer;
        let range = self.window.oldest(seq).ok_or("an answer to a frame that it does not have")?;
        if first != range.next || count == 0 || count > range.left() {
            return Err("an answer to tasks that it does not have");
        }
        let number = match kind {
            AnswerKind::Values => 0,
            AnswerKind::Failure | AnswerKind::Handles if count != 1 => {
                return Err("a failure of several tasks at once");
            }
            AnswerKind::Failure | AnswerKind::Handles => 1,
            AnswerKind::Taken | AnswerKind::Returned => return Err("an answer about descriptors that it was not sent"),
        };
        let numbers = [number, range.first, u64::from(first), u64::from(count), nanos];
        range.next += count;
        match payload {
            _ if kind == AnswerKind::Handles => {
                let text = "it refers to shared memory, or has an end of ipc-channel in it, which means nothing on another \
                            machine: return the data itself";
                let failure = Failure::Encode { text: text.to_owned() };
                outbox.put(Kind::Answer, slot, &numbers, &codec::to_bytes(&failure));
            }
            Payload::Own(bytes) => outbox.put_bytes(Kind::Answer, slot, &numbers, Bytes::Own(bytes)),
            Payload::Inline(bytes, len) => {
                outbox.put(Kind::Answer, slot, &numbers, bytes.get(..len).unwrap_or_default());
            }
            payload => match payload.to_vec() {
                Ok(bytes) => outbox.put_bytes(Kind::Answer, slot, &numbers, Bytes::Own(bytes)),
                Err(error) if count == 1 => {
                    let failure = codec::to_bytes(&Failure::Decode { text: error.0 });
                    outbox.put(Kind::Answer, slot, &[1, numbers[1], numbers[2], 1, nanos], &failure);
                }
                Err(_) => return Err("values for which there is no memory"),
            },
        }
        Ok(())
    }

    /// Takes what it had finished of a frame that it was still answering, once it has ended.
    pub(super) fn salvage(&mut self, slot: Slot, outbox: &mut Outbox) {
        if self.condemned.is_some() {
            return;
        }
        let progress = self.link.progress();
        let answer = match self.link.salvage() {
            Ok(Some(answer)) => answer,
            // It was answering nothing.
            Ok(None) => return,
            Err(error) => return self.condemn(&error.to_string()),
        };
        let Some(range) = self.window.oldest(answer.seq) else { return };
        if progress.seq != answer.seq || answer.first != range.next || progress.done <= range.next {
            return;
        }
        let count = progress.done.min(range.count) - range.next;
        if let Err(cause) = self.take(slot, outbox, Answer { count, nanos: 0, ..answer }) {
            self.condemn(cause);
        }
    }

    /// The account of a worker that has ended.
    pub(super) fn end(mut self, death: Death) -> Ended {
        let output = self.output.as_ref().and_then(Captured::last_lines);
        let Progress { seq, started, done } = self.link.progress();
        // What has not even got into its link was not begun.
        let queued = self.queue.iter().find(|it| it.frame.kind == FrameKind::Tasks).map_or(self.seen, |it| it.seq);
        let unfinished = self.window.bury(Progress { seq, started, done });
        let begun = unfinished.iter().rev().find(|(_, range, resume)| *resume > range.next);
        let progress = match (begun, unfinished.first()) {
            (Some((_, range, resume)), _) => (range.first, *resume, range.next),
            (None, Some((_, range, _))) => (range.first, 0, 0),
            (None, None) => (queued, 0, 0),
        };
        Ended { death, progress, condemned: self.condemned, output }
    }

    /// Takes a frame back, if it was not begun. Returns whether it was not.
    pub(super) fn take_back(&mut self, seq: u64) -> bool {
        let queued = self.queue.iter().position(|it| it.seq == seq && it.frame.kind == FrameKind::Tasks);
        if let Some(at) = queued {
            self.queue.remove(at);
            return true;
        }
        let number = self.number(seq);
        match number {
            Some(number) if self.link.revoke(number) == Revoked::Taken => self.window.unload(number).is_some(),
            _ => false,
        }
    }

    /// The number in its link of a frame of the pool.
    fn number(&self, seq: u64) -> Option<u64> {
        self.window.all().into_iter().find(|number| self.window.range(*number).is_some_and(|it| it.first == seq))
    }

    /// Kills it if it runs a task of one of these frames.
    pub(super) fn kill_if_running(&mut self, frames: &[u64]) {
        let numbers: Vec<u64> = frames.iter().filter_map(|seq| self.number(*seq)).collect();
        if let (Some(Body::Process(child)), false) = (&self.body, numbers.is_empty()) {
            kill_if_running(child, &numbers, &*self.link);
        }
    }

    /// Tells tasks of these frames that nobody waits for them; all tasks, if none are named.
    pub(super) fn cancel(&mut self, frames: &[u64]) {
        if frames.is_empty() {
            return self.link.cancel_all();
        }
        let numbers: Vec<u64> = frames.iter().filter_map(|seq| self.number(*seq)).collect();
        self.link.cancel(&numbers);
        self.queue.iter_mut().filter(|queued| frames.contains(&queued.seq)).for_each(|queued| queued.is_told = true);
    }

    /// Gives the memory back that a burst has used, if nothing is under way.
    pub(super) fn trim(&mut self) {
        let Worker { link, window, .. } = self;
        window.release(&mut **link);
        link.trim();
    }

    pub(super) fn tell_watched(&self, slot: Slot, outbox: &mut Outbox) {
        let Some(body) = &self.body else { return };
        let memory = body.pid().and_then(usage::anonymous_memory).map_or(0, |bytes| bytes.saturating_add(1));
        outbox.put(Kind::Watched, slot, &[memory, u64::from(body.is_stopped())], &[]);
    }
}
