//! The channel link: frames and answers as messages on a stream, without memory files or shared futexes. Here the pool's end;
//! the worker's end is `channel_worker`.
//!
//! One frame is under way at a time, so that nothing waits at a worker that could not be taken back, and neither side's
//! sending can wait for the other's: the pool sends only to a worker that has answered everything, and never waits for room.
//! What does not fit the stream is kept and sent later. The reactor rings the bell when something has arrived, or when there
//! is room again; whoever drives the pool reads and writes.
//!
//! What the ring tells by a shared word travels here as a message in front of each task: it brings the value of the task
//! before and says that the next one is started. So a worker that dies leaves the same exact account.

use crate::attached_fds::AttachedFds;
use crate::ipc::bell::Bell;
use crate::ipc::control::Control;
use crate::ipc::link::{Answer, AnswerKind, Frame, FrameKind, Link, MOST_ATTACHED, Payload, Progress};
use crate::ipc::message::{self, Arrived, Message, Reader, damaged};
use crate::ipc::result_limit::ResultLimit;
use crate::ipc::ring::lost;
use crate::sys::poll::Interest;
use crate::sys::reactor::{Reactor, reactor};
use crate::sys::stream;
use crate::sys::time::Deadline;
use crate::sys::usage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// So often the stream of a worker is read before it is the turn of the others.
const READS: usize = 16;

/// So often it is read after its worker has ended: that is more than it holds, should another process that has inherited the
/// worker's end still write into it.
const LAST_READS: usize = 256;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) seq: u64,
    /// The task that was started, after what comes with this message.
    pub(super) started: Option<u32>,
    /// What comes with it: the outcome of this task.
    pub(super) outcome: Option<(AnswerKind, u32)>,
    /// The frame is finished; its tasks took so many nanoseconds.
    pub(super) finished: Option<u64>,
    /// So many sets of attached descriptors are on the control socket.
    pub(super) attached: usize,
}

/// What the reactor's thread and the pool tell each other of a link.
#[derive(Debug)]
struct Signals {
    /// It may be worth it to look into the stream.
    changed: AtomicBool,
    /// The reactor waits for room in the stream.
    waits_for_room: AtomicBool,
    /// The pool has no use for the link any more.
    over: AtomicBool,
    bell: Bell,
}

impl Signals {
    /// Has the pool look into the stream.
    fn notify(&self) {
        self.changed.store(true, Relaxed);
        self.bell.ring();
    }
}

/// The pool's end.
#[derive(Debug)]
pub(crate) struct ChannelLink {
    stream: Arc<OwnedFd>,
    /// The same once more: the reactor watches either for one thing.
    to_worker: Arc<OwnedFd>,
    reactor: &'static Reactor,
    signals: Arc<Signals>,
    control: Control,
    arrived: Reader,
    /// How often the stream is read at once.
    reads: usize,
    /// Nothing more will arrive.
    is_closed: bool,
    /// What is to be sent, and how much of that was.
    outgoing: Vec<u8>,
    sent: usize,
    next_frame: u64,
    /// Payloads of frames that are under way, in case they have to go elsewhere.
    payloads: BTreeMap<u64, Vec<u8>>,
    progress: Progress,
}

impl Drop for ChannelLink {
    fn drop(&mut self) {
        self.signals.over.store(true, Relaxed);
        // So that the reactor lets go of it, whoever has the other end.
        stream::shut_down(self.stream.as_fd());
    }
}

/// Makes the pool's end of a link, and the descriptor for
/// [`ChannelWorker::new`](crate::ipc::channel_worker::ChannelWorker::new).
///
/// # Errors
///
/// There are no descriptors left, or there is no reactor.
pub(crate) fn create(bell: Bell, control: Control, limit: ResultLimit) -> io::Result<(ChannelLink, OwnedFd)> {
    let reactor = reactor()?;
    let (ours, theirs) = stream::pair()?;
    let to_worker = Arc::new(ours.try_clone()?);
    let stream = Arc::new(ours);
    let [changed, waits_for_room, over] = [(); 3].map(|()| AtomicBool::new(false));
    let signals = Arc::new(Signals { changed, waits_for_room, over, bell });
    let told = Arc::clone(&signals);
    reactor.watch_arrivals(Arc::clone(&stream), move || {
        told.notify();
        !told.over.load(Relaxed)
    });
    let link = ChannelLink {
        stream,
        to_worker,
        reactor,
        signals,
        control,
        arrived: Reader::new(Some(limit)),
        reads: READS,
        is_closed: false,
        outgoing: Vec::new(),
        sent: 0,
        next_frame: 0,
        payloads: BTreeMap::new(),
        progress: Progress::default(),
    };
    Ok((link, theirs))
}

impl ChannelLink {
    /// Sends what there is room for. If that is not all, the pool hears of room for more.
    ///
    /// # Errors
    ///
    /// The worker is gone.
    fn push(&mut self) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            match stream::send(self.to_worker.as_fd(), &[IoSlice::new(&self.outgoing[self.sent..])])? {
                Some(len) => self.sent += len,
                None => {
                    if !self.signals.waits_for_room.swap(true, Relaxed) {
                        let signals = Arc::clone(&self.signals);
                        self.reactor.watch(
                            Arc::clone(&self.to_worker),
                            Interest::Writable,
                            Deadline::NEVER,
                            move |_| {
                                signals.waits_for_room.store(false, Relaxed);
                                signals.notify();
                            },
                        );
                    }
                    return Ok(());
                }
            }
        }
        (self.outgoing, self.sent) = (Vec::new(), 0);
        Ok(())
    }

    /// The next message, if it has arrived.
    ///
    /// # Errors
    ///
    /// What has arrived is none.
    fn next_message(&mut self) -> io::Result<Option<Message>> {
        for reads in 0..self.reads {
            if let Some(message) = self.arrived.take()? {
                // If nothing was read for it, what the reactor has told was of something else that is there.
                if reads == 0 || self.arrived.may_have_more() {
                    self.signals.changed.store(true, Relaxed);
                }
                return Ok(Some(message));
            }
            if self.is_closed {
                return Ok(None);
            }
            match self.arrived.read(self.stream.as_fd())? {
                Arrived::Something => {}
                Arrived::Nothing => return Ok(None),
                // What is left of the last message is no message.
                Arrived::End => self.is_closed = true,
            }
        }
        // There may be more.
        self.signals.changed.store(true, Relaxed);
        Ok(None)
    }

    /// Notes how far the worker has come.
    fn note(&mut self, said: &Said) {
        let Said { seq, started, outcome, finished, .. } = *said;
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
    }
}

impl Link for ChannelLink {
    fn depth(&self) -> usize {
        1
    }

    fn send(&mut self, frame: &Frame, payload: &[u8], attached: &[Arc<AttachedFds>]) -> io::Result<Option<u64>> {
        let seq = self.next_frame;
        self.control.send_attached(seq, attached)?;
        message::append(&mut self.outgoing, &(seq, frame, attached.len()), payload);
        self.push()?;
        if frame.kind == FrameKind::Tasks {
            self.payloads.insert(seq, payload.to_vec());
        }
        self.next_frame += 1;
        Ok(Some(seq))
    }

    fn sent(&self) -> u64 {
        self.next_frame
    }

    fn flush(&mut self) {}

    fn has_answer(&self) -> bool {
        self.signals.changed.load(Relaxed)
    }

    fn is_awake(&self) -> bool {
        true
    }

    fn hindrance(&self) -> Option<&'static str> {
        self.is_closed.then_some("it has closed its end of the link")
    }

    fn receive(&mut self) -> io::Result<Option<Answer>> {
        // Before the look: what changes afterwards sets it once more.
        if !self.signals.changed.swap(false, Relaxed) {
            return Ok(None);
        }
        if self.push().is_err() {
            // The worker is gone. What it has said before counts.
            (self.outgoing, self.sent) = (Vec::new(), 0);
        }
        loop {
            let Some(message) = self.next_message()? else { return Ok(None) };
            let said: Said = message.head()?;
            if said.seq >= self.next_frame || said.seq < self.progress.seq {
                return Err(damaged("an answer to a frame that it does not have"));
            }
            if said.attached > MOST_ATTACHED {
                return Err(damaged("an answer with too many attached descriptors"));
            }
            self.note(&said);
            let Some((kind, first)) = said.outcome else { continue };
            let seq = said.seq;
            let (kind, payload, attached) = match self.control.receive_attached(seq, said.attached, false) {
                Ok(attached) => (kind, Payload::Own(message.payload), attached),
                // This process has no descriptor for them: that is no fault of the worker.
                Err(error) if usage::is_shortage(&error) => (AnswerKind::Failure, lost(&error), Vec::new()),
                Err(error) => return Err(error),
            };
            let nanos = said.finished.unwrap_or(0);
            return Ok(Some(Answer { kind, seq, first, count: 1, nanos, payload, attached }));
        }
    }

    fn consumed(&mut self) {}

    fn ended(&mut self) {
        // All that it has sent is in the stream.
        self.reads = LAST_READS;
        self.signals.changed.store(true, Relaxed);
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

#[cfg(all(test, not(loom)))]
mod tests;
