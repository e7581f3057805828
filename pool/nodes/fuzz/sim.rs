//! Workers that exist in the test alone, and what is true of the tasks that they run.

use crate::attached_fds::AttachedFds;
use crate::engine::launch::body::{Obituary, Remote};
use crate::ipc::lane::INLINE;
use crate::ipc::link::{Answer, AnswerKind, Frame, FrameKind, Link, Parts, Payload, Progress, Revoked, Unsent};
use crate::nodes::wire::SEGMENT;
use crate::sys::child::ChildSignal;
use crate::sys::fuzz::Random;
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

/// The most workers at a time.
pub(super) const CAPACITY: usize = 2;

/// The most frames at a worker.
pub(super) const DEPTH: usize = 3;

/// What a task returns.
pub(super) fn value_of(task: u64) -> u64 {
    task.wrapping_mul(3) + 1
}

/// What a header says; some are large, and take several segments.
pub(super) fn context_of(header: u64) -> Vec<u8> {
    let len = if header % 64 == 63 { SEGMENT + 5 } else { 8 };
    let mut context = header.to_le_bytes().to_vec();
    context.resize(len, 7);
    context
}

/// The arguments of the tasks of a frame: their numbers, and sometimes so much behind them that it takes several segments.
pub(super) fn arguments_of(first: u64, count: u32, is_large: bool) -> Vec<u8> {
    let mut bytes: Vec<u8> = (first..first + u64::from(count)).flat_map(u64::to_le_bytes).collect();
    bytes.resize(bytes.len() + usize::from(is_large) * SEGMENT, 0);
    bytes
}

/// What is true of a task, and what the pool has heard of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Task {
    /// How often a worker has begun it.
    pub(super) runs: u32,
    pub(super) has_ended: bool,
    pub(super) outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Value(u64),
    Failed,
    Lost,
}

/// The tasks of a pool, by their numbers.
pub(super) type Tasks = Arc<Mutex<Vec<Task>>>;

/// A worker, and the memory that it shares with its agent.
#[derive(Debug)]
pub(super) struct Sim {
    random: Random,
    /// It says things that our own code never says.
    lies: bool,
    tasks: Tasks,
    sent: u64,
    pub(super) frames: VecDeque<(u64, Frame, Vec<u8>)>,
    /// The frame that it has claimed, and whether it is in the task `progress.done`.
    current: Option<(u64, Frame, bool)>,
    progress: Progress,
    answers: VecDeque<Answer>,
    /// What it is writing: its first task, and the values.
    open: Option<(u32, Vec<u8>)>,
    known: BTreeSet<u64>,
    pub(super) is_dead: bool,
}

impl Sim {
    pub(super) fn new(random: Random, lies: bool, tasks: Tasks) -> Sim {
        Sim {
            random,
            lies,
            tasks,
            sent: 0,
            frames: VecDeque::new(),
            current: None,
            progress: Progress::default(),
            answers: VecDeque::new(),
            open: None,
            known: BTreeSet::new(),
            is_dead: false,
        }
    }

    fn publish(&mut self, seq: u64) {
        if let Some((first, payload)) = self.open.take() {
            let count = self.progress.done - first;
            self.answers.push_back(answer(AnswerKind::Values, seq, first, count, payload));
        }
    }

    /// Does the next thing that it has to do. Returns whether there is any.
    pub(super) fn step(&mut self) -> bool {
        if self.is_dead {
            return false;
        }
        let Some((seq, frame, is_running)) = self.current else { return self.take_frame() };
        let task = (frame.first + u64::from(self.progress.done)) as usize;
        if is_running {
            self.tasks.lock()[task].has_ended = true;
            if self.random.once_in(5) {
                self.publish(seq);
                self.progress.done += 1;
                self.answers.push_back(answer(AnswerKind::Failure, seq, self.progress.done - 1, 1, Vec::new()));
            } else {
                let open = self.open.get_or_insert((self.progress.done, Vec::new()));
                open.1.extend_from_slice(&value_of(task as u64).to_le_bytes());
                self.progress.done += 1;
                if self.random.once_in(3) {
                    self.publish(seq);
                }
            }
            self.current = Some((seq, frame, false));
        } else if self.progress.done < frame.count {
            self.tasks.lock()[task].runs += 1;
            self.progress.started += 1;
            self.current = Some((seq, frame, true));
        } else {
            self.publish(seq);
            self.current = None;
            self.progress = Progress { seq: seq + 1, started: 0, done: 0 };
        }
        true
    }

    fn take_frame(&mut self) -> bool {
        let Some((seq, frame, payload)) = self.frames.pop_front() else { return false };
        self.progress = Progress { seq: seq + 1, started: 0, done: 0 };
        match frame.kind {
            FrameKind::Header => {
                assert!(payload == context_of(frame.header), "the context of another header");
                self.known.insert(frame.header);
            }
            FrameKind::Forget => assert!(self.known.remove(&frame.header), "it is to forget what it does not know"),
            FrameKind::Tasks => {
                assert!(self.known.contains(&frame.header), "tasks whose header it does not know");
                assert!(payload.starts_with(&arguments_of(frame.first, frame.count, false)), "other tasks");
                self.progress = Progress { seq, started: frame.skip, done: frame.skip };
                self.current = Some((seq, frame, false));
            }
            FrameKind::Stop => self.is_dead = true,
        }
        true
    }

    /// Some number that may or may not make sense.
    fn lie(&mut self, truth: u64) -> u64 {
        if self.random.once_in(2) { truth } else { self.random.number() }
    }
}

fn answer(kind: AnswerKind, seq: u64, first: u32, count: u32, payload: Vec<u8>) -> Answer {
    Answer { kind, seq, first, count, nanos: 0, payload: Payload::Own(payload), attached: Vec::new() }
}

/// The agent's end of the link to a worker, and the handle to its process.
#[derive(Clone, Debug)]
pub(super) struct ToSim(pub(super) Arc<Mutex<Sim>>);

impl Link for ToSim {
    fn depth(&self) -> usize {
        DEPTH
    }
    fn send(&mut self, frame: &Frame, payload: &Parts<'_>, _: &[Arc<AttachedFds>]) -> Result<Option<u64>, Unsent> {
        let mut sim = self.0.lock();
        if sim.random.once_in(9) {
            // A worker that is alive does not refuse for good.
            return if sim.is_dead { Err(Unsent::Broken) } else { Ok(None) };
        }
        let seq = sim.sent;
        sim.frames.push_back((seq, *frame, payload.to_vec()));
        sim.sent += 1;
        Ok(Some(seq))
    }
    fn sent(&self) -> u64 {
        self.0.lock().sent
    }
    fn has_answer(&self) -> bool {
        !self.0.lock().answers.is_empty()
    }
    fn receive(&mut self) -> io::Result<Option<Answer>> {
        let sim = &mut *self.0.lock();
        let Some(mut answer) = sim.answers.pop_front() else { return Ok(None) };
        if sim.lies && sim.random.once_in(4) {
            match sim.random.below(6) {
                0 => answer.seq = sim.lie(answer.seq + 1),
                1 => answer.first = sim.lie(u64::from(answer.first) + 1) as u32,
                2 => answer.count = sim.lie(u64::from(answer.count) + 1) as u32,
                3 => answer.kind = *sim.random.pick(&[AnswerKind::Handles, AnswerKind::Taken, AnswerKind::Returned]),
                4 => answer.payload = Payload::Inline([0; INLINE], sim.lie(0) as usize),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(Some(answer))
    }
    fn salvage(&mut self) -> io::Result<Option<Answer>> {
        let sim = &mut *self.0.lock();
        let seq = sim.progress.seq;
        let Some((first, payload)) = sim.open.take() else { return Ok(None) };
        let count = sim.progress.done - first;
        let (seq, first) = if sim.lies { (sim.lie(seq), sim.lie(first.into()) as u32) } else { (seq, first) };
        Ok(Some(answer(AnswerKind::Values, seq, first, count, payload)))
    }
    fn progress(&self) -> Progress {
        let sim = &mut *self.0.lock();
        let Progress { seq, started, done } = sim.progress;
        if !sim.lies {
            return sim.progress;
        }
        Progress { seq: sim.lie(seq), started: sim.lie(started.into()) as u32, done: sim.lie(done.into()) as u32 }
    }
    fn revoke(&mut self, seq: u64) -> Revoked {
        let mut sim = self.0.lock();
        let before = sim.frames.len();
        sim.frames.retain(|(number, ..)| *number != seq);
        if sim.frames.len() < before { Revoked::Taken } else { Revoked::Begun }
    }
    fn payload(&self, _: u64) -> Vec<u8> {
        unreachable!("an agent gives nothing to others")
    }
    fn release_below(&mut self, seq: u64) {
        let sim = self.0.lock();
        // Nobody waits until `Stop` is passed over.
        let mut frames = sim.frames.iter().filter(|(_, frame, _)| frame.kind != FrameKind::Stop);
        let is_past = frames.next().is_none_or(|(number, ..)| seq <= *number);
        assert!(sim.lies || is_past, "a frame that the worker has not reached is not needed any more");
    }
}

impl Remote for ToSim {
    fn pid(&self) -> i32 {
        0
    }
    fn host(&self) -> &Arc<str> {
        unreachable!("an agent does not ask")
    }
    fn signal(&self, signal: ChildSignal) {
        self.0.lock().is_dead |= matches!(signal, ChildSignal::Kill);
    }
    fn tell_to_end(&self) {
        self.0.lock().is_dead = true;
    }
    fn kill_if_running(&self, _: &[u64]) {}
    fn is_stopped(&self) -> bool {
        false
    }
    fn memory(&self) -> Option<u64> {
        None
    }
    fn obituary(&self) -> Obituary {
        Obituary::default()
    }
}
