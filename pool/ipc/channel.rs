//! The channel link: frames and answers as messages of ipc-channel, without memory files or shared futexes.
//!
//! A message is the length of its head in 4 bytes, the head, and the payload as it is. One frame is under way at a time, so
//! that nothing waits at a worker that could not be taken back, and neither side's sending can wait for the other's: the
//! pool sends only to a worker that has answered everything, and its answers are read by a thread of their own.
//!
//! What the ring tells by a shared word travels here as a message in front of each task: it brings the value of the task
//! before and says that the next one is started. So a worker that dies leaves the same exact account.

use crate::attached_fds::AttachedFds;
use crate::codec;
use crate::heap::scope::{Pins, attached_in};
use crate::ipc::bell::Bell;
use crate::ipc::control::Control;
use crate::ipc::handles;
use crate::ipc::link::{
    Answer, AnswerKind, Frame, FrameKind, Incoming, Link, MOST_ATTACHED, Payload, Progress, WorkerLink,
};
use crate::sys::thread;
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// The ends that the worker makes and sends to the pool: for frames, and of answers.
type Ends = (IpcBytesSender, IpcBytesReceiver);

/// How long the pool waits for the last messages of a worker that has ended. They are in the socket already; only a
/// process that has inherited the worker's end could keep it open.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
struct Said {
    seq: u64,
    /// The task that was started, after what comes with this message.
    started: Option<u32>,
    /// What comes with it: the outcome of this task.
    outcome: Option<(AnswerKind, u32)>,
    /// The frame is finished; its tasks took so many nanoseconds.
    finished: Option<u64>,
    /// So many sets of attached descriptors are on the control socket.
    attached: usize,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn pack<T: Serialize>(head: &T, payload: &[&[u8]]) -> Vec<u8> {
    let head = codec::to_bytes(head);
    let mut message = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    message.extend_from_slice(&head);
    payload.iter().for_each(|part| message.extend_from_slice(part));
    message
}

fn unpack<T: serde::de::DeserializeOwned>(mut message: Vec<u8>) -> io::Result<(T, Vec<u8>)> {
    let cut = || damaged("a message is cut short");
    let (len, rest) = message.split_first_chunk::<4>().ok_or_else(cut)?;
    let len = u32::from_le_bytes(*len) as usize;
    let head = rest.get(..len).ok_or_else(cut)?;
    let head = codec::from_bytes(head).map_err(|error| damaged(&error.0))?;
    message.drain(..4 + len);
    Ok((head, message))
}

/// What the reading thread has received and the pool has not taken yet.
#[derive(Debug, Default)]
struct Received {
    messages: VecDeque<Vec<u8>>,
    ended: bool,
}

/// The pool's end.
pub(crate) struct ChannelLink {
    /// Until the worker has connected.
    server: Option<IpcOneShotServer<Ends>>,
    frames: Option<IpcBytesSender>,
    received: Arc<(Mutex<Received>, Condvar)>,
    bell: Bell,
    control: Control,
    next_frame: u64,
    /// Payloads of frames that are under way, in case they have to go elsewhere.
    payloads: BTreeMap<u64, Vec<u8>>,
    progress: Progress,
}

impl std::fmt::Debug for ChannelLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelLink").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// Makes the pool's end of a link, and the name by which the worker connects to it.
pub(crate) fn create(bell: Bell, control: Control) -> io::Result<(ChannelLink, String)> {
    let (server, name) = IpcOneShotServer::new()?;
    let link = ChannelLink {
        server: Some(server),
        frames: None,
        received: Arc::default(),
        bell,
        control,
        next_frame: 0,
        payloads: BTreeMap::new(),
        progress: Progress::default(),
    };
    Ok((link, name))
}

fn read_answers(answers: &IpcBytesReceiver, received: &(Mutex<Received>, Condvar), bell: &Bell) {
    let (queue, changed) = received;
    // An error is the end of the worker, or of what it says that can be understood.
    while let Ok(message) = answers.recv() {
        queue.lock().messages.push_back(message);
        bell.ring();
    }
    queue.lock().ended = true;
    changed.notify_all();
    bell.ring();
}

impl Link for ChannelLink {
    fn depth(&self) -> usize {
        1
    }

    fn send(&mut self, frame: &Frame, payload: &[u8], attached: &[Arc<AttachedFds>]) -> io::Result<Option<u64>> {
        let Some(frames) = &self.frames else { return Ok(None) };
        let seq = self.next_frame;
        self.control.send_attached(seq, attached)?;
        frames.send(&pack(&(seq, frame, attached.len()), &[payload]))?;
        if frame.kind == FrameKind::Tasks {
            self.payloads.insert(seq, payload.to_vec());
        }
        self.next_frame += 1;
        Ok(Some(seq))
    }

    fn sent(&self) -> u64 {
        self.next_frame
    }

    fn connected(&mut self) -> io::Result<()> {
        let server = self.server.take().ok_or_else(|| damaged("a worker connected twice"))?;
        // The worker has connected and sent its ends already, so this does not wait. ipc-channel panics if they arrive
        // without their descriptors, since this process may have no more.
        let accepted = catch_unwind(AssertUnwindSafe(|| server.accept()));
        let accepted = accepted.map_err(|_| damaged("a worker's ends of the link did not arrive"))?;
        let (_, (frames, answers)) = accepted.map_err(|error| damaged(&error.to_string()))?;
        self.frames = Some(frames);
        let (received, bell) = (Arc::clone(&self.received), self.bell.clone());
        let reader = std::thread::Builder::new().name("multiproc-link".to_owned()).stack_size(256 * 1024);
        thread::spawn(reader, move || read_answers(&answers, &received, &bell))?;
        Ok(())
    }

    fn flush(&mut self) {}

    fn has_answer(&self) -> bool {
        !self.received.0.lock().messages.is_empty()
    }

    fn is_awake(&self) -> bool {
        true
    }

    fn receive(&mut self) -> io::Result<Option<Answer>> {
        loop {
            let Some(message) = self.received.0.lock().messages.pop_front() else { return Ok(None) };
            let (said, payload) = unpack::<Said>(message)?;
            let Said { seq, started, outcome, finished, attached } = said;
            if seq >= self.next_frame || seq < self.progress.seq {
                return Err(damaged("an answer to a frame that it does not have"));
            }
            if seq > self.progress.seq {
                self.progress = Progress { seq, started: 0, done: 0 };
            }
            if let Some((_, at)) = outcome.filter(|(kind, _)| *kind != AnswerKind::Taken) {
                self.progress.done = at.saturating_add(1);
                self.progress.started = self.progress.done;
            }
            if let Some(at) = started {
                self.progress = Progress { seq, started: at.saturating_add(1), done: at };
            }
            if finished.is_some() {
                self.progress = Progress { seq: seq + 1, started: 0, done: 0 };
            }
            let Some((kind, first)) = outcome else { continue };
            let nanos = finished.unwrap_or(0);
            if attached > MOST_ATTACHED {
                return Err(damaged("an answer with too many attached descriptors"));
            }
            let attached = self.control.receive_attached(seq, attached, false)?;
            return Ok(Some(Answer { kind, seq, first, count: 1, nanos, payload: Payload::Own(payload), attached }));
        }
    }

    fn consumed(&mut self) {}

    fn ended(&mut self) {
        if self.frames.is_none() {
            return;
        }
        let (queue, changed) = &*self.received;
        let mut received = queue.lock();
        let until = std::time::Instant::now() + LAST_WORDS;
        while !received.ended && !changed.wait_until(&mut received, until).timed_out() {}
    }

    fn salvage(&mut self) -> io::Result<Option<Answer>> {
        // Every value that was finished has arrived as an answer of its own.
        Ok(None)
    }

    fn progress(&self) -> Progress {
        self.progress
    }

    fn revoke(&mut self, _seq: u64) -> bool {
        false
    }

    fn payload(&self, seq: u64) -> Vec<u8> {
        self.payloads.get(&seq).cloned().unwrap_or_default()
    }

    fn release_below(&mut self, seq: u64) {
        self.payloads = self.payloads.split_off(&seq);
    }

    fn trim(&mut self) {}
}

/// The worker's end.
pub(crate) struct ChannelWorker {
    frames: IpcBytesReceiver,
    answers: IpcBytesSender,
    control: Control,
    seq: u64,
    /// The outcome of the last task, which travels with the start of the next or the end of the frame.
    outcome: Option<(AnswerKind, u32)>,
    payload: Vec<u8>,
    attached: usize,
    /// What the answers to the last frame refer to. The next frame comes when the pool has taken them all.
    pins: Pins,
}

impl ChannelWorker {
    /// Connects to the pool.
    ///
    /// # Errors
    ///
    /// The pool is gone, or there are no descriptors left.
    pub(crate) fn connect(server: String, control: Control) -> io::Result<ChannelWorker> {
        let (to_worker, frames) = ipc::bytes_channel()?;
        let (answers, from_worker) = ipc::bytes_channel()?;
        let greeting = IpcSender::<Ends>::connect(server)?;
        greeting.send((to_worker, from_worker)).map_err(|error| damaged(&error.to_string()))?;
        let (payload, pins) = (Vec::new(), Pins::new());
        Ok(ChannelWorker { frames, answers, control, seq: 0, outcome: None, payload, attached: 0, pins })
    }

    fn say(&mut self, started: Option<u32>, finished: Option<u64>) -> io::Result<()> {
        let attached = std::mem::take(&mut self.attached);
        let said = Said { seq: self.seq, started, outcome: self.outcome.take(), finished, attached };
        self.answers.send(&pack(&said, &[&std::mem::take(&mut self.payload)]))
    }

    fn keep(&mut self, kind: AnswerKind, at: u32, parts: &[&[u8]]) {
        self.outcome = Some((kind, at));
        parts.iter().for_each(|part| self.payload.extend_from_slice(part));
    }
}

impl WorkerLink for ChannelWorker {
    fn next(&mut self) -> io::Result<Incoming> {
        let message = self.frames.recv().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let ((seq, frame, attached), payload) = unpack::<(u64, Frame, usize)>(message)?;
        let attached = self.control.receive_attached(seq, attached, false)?;
        self.seq = seq;
        self.pins.clear();
        Ok(Incoming { frame, payload: Payload::Own(payload), attached })
    }

    fn has_next(&self) -> bool {
        false
    }

    fn start(&mut self, at: u32) {
        // If this fails the pool is gone, and so is this process in a moment.
        let _ = self.say(Some(at), None);
    }

    fn value(&mut self, at: u32, head: &[u8], rest: &[u8]) -> io::Result<()> {
        self.keep(AnswerKind::Values, at, &[head, rest]);
        Ok(())
    }

    fn value_with_handles(&mut self, at: u32, value: &mut Vec<u8>, pins: Pins) -> io::Result<()> {
        handles::append(value, &pins);
        let attached = attached_in(&pins);
        self.control.send_attached(self.seq, &attached)?;
        attached.iter().for_each(|it| it.close());
        self.attached = attached.len();
        self.pins.extend(pins);
        self.keep(AnswerKind::Handles, at, &[value]);
        Ok(())
    }

    fn taken(&mut self, at: u32) -> io::Result<()> {
        self.keep(AnswerKind::Taken, at, &[]);
        self.say(None, None)
    }

    fn failure(&mut self, at: u32, bytes: &[u8]) -> io::Result<()> {
        self.keep(AnswerKind::Failure, at, &[bytes]);
        Ok(())
    }

    fn finish(&mut self, _count: u32, nanos: u64) -> io::Result<()> {
        self.say(None, Some(nanos))
    }

    fn flush(&mut self) {
        if self.outcome.is_some() {
            // As in `start`.
            let _ = self.say(None, None);
        }
    }
}
