//! The way to one worker on another machine, as the pool has it.

use crate::attached_fds::AttachedFds;
use crate::ipc::lane::SLOTS;
use crate::ipc::link::{
    Answer, AnswerKind, Frame, FrameKind, Link, LinkKind, Parts, Progress, Revoked, Unsent, damaged,
};
use crate::nodes::node::{Process, State};
use crate::nodes::tended::Said;
use crate::nodes::wire::{Bytes, CONTEXTS, Kind};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most bytes of tasks that are under way to one agent, or there, beside one frame.
const MOST_FLYING: usize = 64 << 20;

/// After so short a time the stream is not read again. What arrives meanwhile is there still, and ends the driver's sleep.
const READ_AGAIN: Duration = Duration::from_micros(2);

/// A frame that was sent and not released.
#[derive(Debug)]
struct Flight {
    seq: u64,
    /// The tasks below this place have an outcome, were given back, or were never meant for this worker.
    next: u32,
    count: u32,
    /// `None` if it has no tasks.
    payload: Option<Arc<[u8]>>,
    /// It was asked for.
    is_asked: bool,
}

impl Flight {
    fn is_open(&self) -> bool {
        self.payload.is_some() && self.next < self.count
    }
}

/// The pool's end of the way to one worker.
#[derive(Debug)]
pub(super) struct NodeLink {
    process: Arc<Process>,
    depth: usize,
    next: u64,
    flights: VecDeque<Flight>,
    /// How often the first task of the next frame was begun, with that time.
    attempt: u32,
}

impl NodeLink {
    /// The way to a worker that its agent links like this.
    pub(super) fn new(process: Arc<Process>, link: LinkKind) -> NodeLink {
        let depth = if link == LinkKind::Channel { 1 } else { SLOTS };
        NodeLink { process, depth, next: 0, flights: VecDeque::new(), attempt: 1 }
    }

    /// Whether something that the agent has said waits to be taken.
    fn has_said(&self, state: &State) -> bool {
        match state.workers.get(&self.process.slot) {
            Some(worker) if Arc::ptr_eq(&worker.process, &self.process) => !worker.answers.is_empty(),
            _ => !self.process.last.lock().is_empty(),
        }
    }

    /// Reads the stream, unless somebody has just now: a turn of driving asks all links of a node, one after the other.
    fn read(&self, state: &mut State) {
        if state.read.elapsed() < READ_AGAIN {
            return;
        }
        let node = &self.process.node;
        node.driven.note();
        state.pull();
        state.read = Instant::now();
        if !state.news.is_empty() || !state.lines.is_empty() {
            node.keeper.wake();
        }
    }

    /// Whether anything waits to be taken, which is looked for in the stream if need be.
    fn look(&self, state: &mut State) -> bool {
        self.has_said(state) || {
            self.read(state);
            self.has_said(state)
        }
    }

    /// Takes what the agent has said of a frame next, and reads the stream if nobody has in this turn.
    fn next_said(&self) -> Option<Said> {
        let state = &mut *self.process.node.state.lock();
        if self.look(state) { self.take_said(state) } else { None }
    }

    /// Takes what the agent has said of a frame next, as far as that was read.
    fn take_said(&self, state: &mut State) -> Option<Said> {
        let said = match state.workers.get_mut(&self.process.slot) {
            Some(worker) if Arc::ptr_eq(&worker.process, &self.process) => worker.answers.pop_front(),
            _ => self.process.last.lock().pop_front(),
        };
        state.waiting -= said.as_ref().map_or(0, |said| said.payload.len());
        said
    }
}

impl Link for NodeLink {
    fn depth(&self) -> usize {
        self.depth
    }

    fn send(&mut self, frame: &Frame, payload: &Parts<'_>, _: &[Arc<AttachedFds>]) -> Result<Option<u64>, Unsent> {
        let (node, slot, seq) = (&self.process.node, self.process.slot, self.next);
        let mut state = node.state.lock();
        if state.lost.is_some() || self.process.gone.lock().is_some() {
            return Err(Unsent::Broken);
        }
        let mut flight = Flight { seq, next: frame.skip, count: frame.count, payload: None, is_asked: false };
        let (header, attempt) = (frame.header, std::mem::replace(&mut self.attempt, 1));
        match frame.kind {
            FrameKind::Tasks => {
                if state.flying > 0 && state.flying + payload.len() > MOST_FLYING {
                    // Room comes with the answers to what is under way.
                    return Ok(None);
                }
                state.flying += payload.len();
                let payload = Arc::clone(flight.payload.insert(payload.to_arc()));
                let [count, skip, attempt] = [frame.count, frame.skip, attempt].map(u64::from);
                let numbers = [seq, header, frame.first, count, skip, attempt];
                state.outbox.put_bytes(Kind::Tasks, slot, &numbers, Bytes::Shared(payload));
            }
            FrameKind::Header => {
                let known = state.contexts.entry(header).or_default();
                known.by.insert(slot);
                known.sent += 1;
                if known.sent == 1 {
                    // What asks for it may come before it, and waits at the agent.
                    state.outbox.put(Kind::Context, CONTEXTS, &[header], payload.head);
                }
                state.outbox.put(Kind::Header, slot, &[seq, header], &[]);
            }
            FrameKind::Forget => {
                state.outbox.put(Kind::Forget, slot, &[seq, header], &[]);
                state.forget(slot, header);
            }
            FrameKind::Stop => state.outbox.put(Kind::Stop, slot, &[seq], &[]),
        }
        drop(state);
        self.flights.push_back(flight);
        self.next += 1;
        Ok(Some(seq))
    }

    fn sent(&self) -> u64 {
        self.next
    }

    fn flush(&mut self) {
        self.process.node.state.lock().push();
    }

    fn has_answer(&self) -> bool {
        self.look(&mut self.process.node.state.lock())
    }

    fn receive(&mut self) -> io::Result<Option<Answer>> {
        let Some(said) = self.next_said() else { return Ok(None) };
        let Said { kind, seq, mut first, mut count, nanos, payload } = said;
        let at = seq.checked_sub(self.flights.front().map_or(seq, |flight| flight.seq));
        let flight =
            at.and_then(|at| self.flights.get_mut(usize::try_from(at).ok()?)).filter(|flight| flight.is_open());
        let flight = flight.ok_or_else(|| damaged("an answer to a frame that it does not have"))?;
        if kind == AnswerKind::Returned {
            if !flight.is_asked {
                return Err(damaged("it gives a frame back that nobody wants back"));
            }
            (first, count) = (flight.next, flight.count - flight.next);
            flight.next = flight.count;
        } else {
            // What is wrong with it otherwise the ledger finds.
            flight.next = first.saturating_add(count).clamp(flight.next, flight.count);
        }
        Ok(Some(Answer { kind, seq, first, count, nanos, payload: payload.into(), attached: Vec::new() }))
    }

    fn progress(&self) -> Progress {
        if let Some((progress, _)) = &*self.process.gone.lock() {
            // Nobody knows what ran: all that was sent may have.
            return progress.unwrap_or(Progress { seq: self.next, started: 0, done: 0 });
        }
        // The agent does not tell when a task begins: the oldest frame that is open counts as begun.
        match self.flights.iter().find(|flight| flight.is_open()) {
            Some(flight) => Progress { seq: flight.seq, started: flight.next + 1, done: flight.next },
            None => Progress { seq: self.next, started: 0, done: 0 },
        }
    }

    fn revoke(&mut self, seq: u64) -> Revoked {
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.seq == seq && flight.is_open()) else {
            return Revoked::Begun;
        };
        if !std::mem::replace(&mut flight.is_asked, true) {
            self.process.say(Kind::Revoke, &[seq]);
        }
        if self.process.gone.lock().is_some() { Revoked::Begun } else { Revoked::Asked }
    }

    fn trim(&mut self) {
        self.process.node.state.lock().outbox.trim();
        self.process.say(Kind::Trim, &[]);
    }

    fn set_attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    fn cancel(&self, frames: &[u64]) {
        if !frames.is_empty() {
            self.process.say(Kind::Cancel, frames);
        }
    }

    fn cancel_all(&self) {
        self.process.say(Kind::Cancel, &[]);
    }

    fn delay(&self) -> f64 {
        let round_trip = self.process.node.state.lock().round_trip;
        if round_trip.is_finite() { round_trip } else { 0.0 }
    }

    fn payload(&self, seq: u64) -> Vec<u8> {
        let flight = self.flights.iter().find(|flight| flight.seq == seq);
        flight.and_then(|flight| flight.payload.as_deref()).unwrap_or_default().to_vec()
    }

    fn release_below(&mut self, seq: u64) {
        let mut freed = 0;
        while self.flights.front().is_some_and(|flight| flight.seq < seq) {
            freed += self.flights.pop_front().and_then(|flight| flight.payload).map_or(0, |payload| payload.len());
        }
        if freed > 0 {
            self.process.node.state.lock().flying -= freed;
        }
    }
}

impl Drop for NodeLink {
    fn drop(&mut self) {
        self.release_below(u64::MAX);
        // Nobody takes the answers of a worker that was condemned.
        let state = &mut *self.process.node.state.lock();
        while self.take_said(state).is_some() {}
    }
}
