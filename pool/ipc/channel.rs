//! The channel link: frames and answers as messages on a stream, without memory files or shared futexes. Here the pool's end;
//! the worker's end is `channel_worker`.
//!
//! One frame is under way at a time, so that nothing waits at a worker that could not be taken back, and neither side's
//! sending can wait for the other's: the pool sends only to a worker that has answered everything, and never waits for room.
//! What does not fit the stream is kept, and sent by the reactor's thread when there is room. That thread also reads what
//! arrives, and rings the bell when a message is whole. What comes behind that message stays in the stream until the pool has
//! taken it, so a worker that sends without end waits.
//!
//! What the ring tells by a shared word travels here as a message in front of each task: it brings the value of the task
//! before and says that the next one is started. So a worker that dies leaves the same exact account.

use crate::attached_fds::AttachedFds;
use crate::ipc::bell::Bell;
use crate::ipc::control::Control;
use crate::ipc::desk::{self, Desk};
use crate::ipc::link::{
    Answer, AnswerKind, Frame, FrameKind, Link, MOST_ATTACHED, Parts, Payload, Progress, Unsent, damaged, lost,
};
use crate::ipc::message::{self, Arrived, Message, Reader};
use crate::ipc::result_limit::ResultLimit;
use crate::sys::descriptor::move_up;
use crate::sys::poll::Interest;
use crate::sys::reactor::reactor;
use crate::sys::stream;
use crate::sys::time::Deadline;
use crate::sys::usage;
use parking_lot::Mutex;
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

/// What is under way in a stream.
#[derive(Debug)]
struct Traffic {
    arrived: Reader,
    /// What the pool has not taken yet: a message, or why there will be no more.
    next: Option<io::Result<Message>>,
    /// The worker has ended.
    has_ended: bool,
    /// Nothing more will arrive.
    is_closed: bool,
    /// What is to be sent, and how much of that was.
    outgoing: Vec<u8>,
    sent: usize,
    /// The reactor waits for room.
    waits_for_room: bool,
}

/// The stream, with what the pool and the reactor's thread do there, whoever comes first.
#[derive(Debug)]
struct Wire {
    stream: Arc<OwnedFd>,
    /// The same once more: the reactor watches either for one thing.
    to_worker: Arc<OwnedFd>,
    traffic: Mutex<Traffic>,
    /// There may be something for the pool.
    changed: AtomicBool,
    /// The pool has no use for the link any more.
    over: AtomicBool,
    bell: Bell,
}

impl Wire {
    /// Reads until a message is whole or there is nothing more now. Returns whether the pool should look.
    fn pull(&self, traffic: &mut Traffic) -> bool {
        for _ in 0..if traffic.has_ended { LAST_READS } else { READS } {
            if traffic.next.is_some() || traffic.is_closed {
                return true;
            }
            traffic.next = traffic.arrived.take().transpose();
            if traffic.next.is_some() {
                return true;
            }
            match traffic.arrived.read(self.stream.as_fd()) {
                Ok(Arrived::Something) => {}
                Ok(Arrived::Nothing) => return false,
                // What is left of the last message is no message.
                Ok(Arrived::End) => traffic.is_closed = true,
                Err(error) => traffic.next = Some(Err(error)),
            }
        }
        // There may be more.
        true
    }

    /// Sends what there is room for. When there is room for the rest, the reactor's thread goes on.
    ///
    /// # Errors
    ///
    /// The worker is gone.
    fn push(self: &Arc<Self>, traffic: &mut Traffic) -> io::Result<()> {
        while traffic.sent < traffic.outgoing.len() {
            let rest = IoSlice::new(&traffic.outgoing[traffic.sent..]);
            match stream::send(self.to_worker.as_fd(), &[rest])? {
                Some(len) => traffic.sent += len,
                None if traffic.waits_for_room => return Ok(()),
                None => {
                    traffic.waits_for_room = true;
                    let (wire, to_worker) = (Arc::clone(self), Arc::clone(&self.to_worker));
                    reactor()?.watch(to_worker, Interest::Writable, Deadline::NEVER, move |_| {
                        let mut traffic = wire.traffic.lock();
                        traffic.waits_for_room = false;
                        if wire.push(&mut traffic).is_err() {
                            // Its end is told elsewhere. What it has said before counts.
                            (traffic.outgoing, traffic.sent) = (Vec::new(), 0);
                        }
                    });
                    return Ok(());
                }
            }
        }
        (traffic.outgoing, traffic.sent) = (Vec::new(), 0);
        Ok(())
    }

    /// On the reactor's thread, when something has arrived. Returns whether there may be more.
    fn hear(&self) -> bool {
        if self.pull(&mut self.traffic.lock()) {
            self.changed.store(true, Relaxed);
            self.bell.ring();
        }
        !self.over.load(Relaxed)
    }
}

/// The pool's end.
#[derive(Debug)]
pub(crate) struct ChannelLink {
    wire: Arc<Wire>,
    /// Where the system allows memory files.
    desk: Option<Desk>,
    control: Control,
    next_frame: u64,
    /// Payloads of frames that are under way, in case they have to go elsewhere.
    payloads: BTreeMap<u64, Vec<u8>>,
    progress: Progress,
}

impl Drop for ChannelLink {
    fn drop(&mut self) {
        self.wire.over.store(true, Relaxed);
        // So that the reactor lets go of it, whoever has the other end.
        stream::shut_down(self.wire.stream.as_fd());
    }
}

/// Makes the pool's end of a link, and the descriptors for
/// [`ChannelWorker::new`](crate::ipc::channel_worker::ChannelWorker::new): the stream, and the memory of the desk if there is
/// any.
///
/// # Errors
///
/// There are no descriptors left, or there is no reactor.
pub(crate) fn create(bell: Bell, control: Control, limit: ResultLimit) -> io::Result<(ChannelLink, Vec<OwnedFd>)> {
    let reactor = reactor()?;
    let (ours, theirs) = stream::pair()?;
    let traffic = Traffic {
        arrived: Reader::new(Some(limit)),
        next: None,
        has_ended: false,
        is_closed: false,
        outgoing: Vec::new(),
        sent: 0,
        waits_for_room: false,
    };
    let wire = Arc::new(Wire {
        to_worker: Arc::new(move_up(ours.as_fd())?),
        stream: Arc::new(ours),
        traffic: Mutex::new(traffic),
        changed: AtomicBool::new(false),
        over: AtomicBool::new(false),
        bell,
    });
    let heard = Arc::clone(&wire);
    reactor.watch_arrivals(Arc::clone(&wire.stream), move || heard.hear());
    let (desk_file, desk) = desk::create().ok().unzip();
    let (payloads, progress) = (BTreeMap::new(), Progress::default());
    let link = ChannelLink { wire, desk, control, next_frame: 0, payloads, progress };
    Ok((link, std::iter::once(theirs).chain(desk_file).collect()))
}

impl ChannelLink {
    /// The next message, if it has arrived.
    ///
    /// # Errors
    ///
    /// What has arrived is none.
    fn next_message(&mut self) -> io::Result<Option<Message>> {
        // Before the look: what changes afterwards sets it once more.
        if !self.wire.changed.swap(false, Relaxed) {
            return Ok(None);
        }
        let mut traffic = self.wire.traffic.lock();
        let mut may_be_more = self.wire.pull(&mut traffic);
        let message = traffic.next.take();
        if message.is_some() {
            // The reactor's thread has left what is behind it, and does not come again for that.
            may_be_more = self.wire.pull(&mut traffic);
        }
        let may_be_more = may_be_more && (traffic.next.is_some() || !traffic.is_closed);
        self.wire.changed.fetch_or(may_be_more, Relaxed);
        message.transpose()
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
    fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    fn depth(&self) -> usize {
        1
    }

    fn send(
        &mut self,
        frame: &Frame,
        payload: &Parts<'_>,
        attached: &[Arc<AttachedFds>],
    ) -> Result<Option<u64>, Unsent> {
        let seq = self.next_frame;
        self.control.send_attached(seq, attached)?;
        let mut traffic = self.wire.traffic.lock();
        message::append(&mut traffic.outgoing, &(seq, frame, attached.len()), payload);
        // It may be on its way, or go with the next one.
        self.wire.push(&mut traffic).map_err(|_| Unsent::Broken)?;
        drop(traffic);
        if frame.kind == FrameKind::Tasks {
            self.payloads.insert(seq, payload.to_vec());
        }
        self.next_frame += 1;
        Ok(Some(seq))
    }

    fn sent(&self) -> u64 {
        self.next_frame
    }

    fn has_answer(&self) -> bool {
        self.wire.changed.load(Relaxed)
    }

    fn hindrance(&self) -> Option<&'static str> {
        self.wire.traffic.lock().is_closed.then_some("it has closed its end of the link")
    }

    fn receive(&mut self) -> io::Result<Option<Answer>> {
        loop {
            let Some(message) = self.next_message()? else { return Ok(None) };
            let said: Said = message.head()?;
            if said.seq >= self.next_frame || said.seq < self.progress.seq {
                return Err(damaged("an answer to a frame that it does not have"));
            }
            if matches!(said.outcome, Some((AnswerKind::Returned, _))) {
                return Err(damaged("it gives a frame back that nobody wants back"));
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

    fn ended(&mut self) {
        // All that it has sent is in the stream.
        self.wire.traffic.lock().has_ended = true;
        self.wire.changed.store(true, Relaxed);
    }

    fn progress(&self) -> Progress {
        self.progress
    }

    fn payload(&self, seq: u64) -> Vec<u8> {
        self.payloads.get(&seq).cloned().unwrap_or_default()
    }

    fn release_below(&mut self, seq: u64) {
        self.payloads = self.payloads.split_off(&seq);
    }
}

#[cfg(all(test, not(loom)))]
mod fuzz;
#[cfg(all(test, not(loom)))]
mod tests;
