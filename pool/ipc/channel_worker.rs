//! The channel link, the worker's end: takes frames, and says what has become of each task.

use crate::codec;
use crate::error::Failure;
use crate::heap::scope::{Pins, attached_in};
use crate::ipc::channel::Said;
use crate::ipc::control::Control;
use crate::ipc::desk::{self, Desk};
use crate::ipc::handles;
use crate::ipc::link::{AnswerKind, Frame, Incoming, Payload, WorkerLink};
use crate::ipc::message::{self, Arrived, Reader};
use crate::ipc::rest::{Rest, Watch, slice};
use crate::ipc::result_limit::ResultLimit;
use crate::sys::poll::{self, Interest};
use crate::sys::stream;
use crate::sys::time::Deadline;
use crate::sys::usage;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};

/// The worker's end.
pub(crate) struct ChannelWorker {
    stream: OwnedFd,
    desk: Option<Desk>,
    control: Control,
    limit: ResultLimit,
    arrived: Reader,
    seq: u64,
    /// The outcome of the last task, which travels with the start of the next or the end of the frame.
    outcome: Option<(AnswerKind, u32)>,
    payload: Vec<u8>,
    attached: usize,
    /// What the answers to the last frame refer to. The next frame comes when the pool has taken them all.
    pins: Pins,
    /// Who is told when the worker rests.
    watch: Option<&'static Watch>,
}

impl ChannelWorker {
    /// Opens the worker's end with the descriptors of [`create`](crate::ipc::channel::create).
    ///
    /// # Errors
    ///
    /// They are something else.
    pub(crate) fn new(fds: Vec<OwnedFd>, control: Control, limit: ResultLimit) -> io::Result<ChannelWorker> {
        let mut fds = fds.into_iter();
        let (Some(stream), desk, None) = (fds.next(), fds.next(), fds.next()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a channel link has one or two descriptors"));
        };
        Ok(ChannelWorker {
            stream,
            desk: desk.as_ref().map(desk::open).transpose()?,
            control,
            limit,
            arrived: Reader::new(None),
            seq: 0,
            outcome: None,
            payload: Vec::new(),
            attached: 0,
            pins: Pins::new(),
            watch: None,
        })
    }

    /// From now on `watch` is told when the worker rests: this is the end of the process.
    pub(crate) fn set_watch(&mut self, watch: Option<&'static Watch>) {
        self.watch = watch;
    }

    /// Rests until something has come, if that takes a while. Where the system refuses to say, whoever reads waits.
    fn rest(&self) {
        let sources = [(self.stream.as_fd(), Interest::Readable)];
        if poll::wait(&sources, slice()).is_ok_and(|ready| !ready[0]) {
            let _rest = Rest::begin(self.watch);
            let _ = poll::wait(&sources, Deadline::NEVER);
        }
    }

    pub(crate) fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    /// The number of the frame that was taken last.
    #[inline]
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    fn say(&mut self, started: Option<u32>, finished: Option<u64>) -> io::Result<()> {
        let attached = std::mem::take(&mut self.attached);
        let said = Said { seq: self.seq, started, outcome: self.outcome.take(), finished, attached };
        let mut message = Vec::new();
        message::append(&mut message, &said, &std::mem::take(&mut self.payload)[..].into());
        let mut rest = &message[..];
        while !rest.is_empty() {
            // It waits for room, so there is some.
            rest = &rest[stream::wait_and_send(self.stream.as_fd(), &[IoSlice::new(rest)])?.unwrap_or(0)..];
        }
        Ok(())
    }

    /// Keeps, instead of what task `at` has returned, why that cannot be sent.
    #[cold]
    fn refuse(&mut self, at: u32, why: &str) {
        let text = format!("it cannot be sent: {why}");
        self.keep(AnswerKind::Failure, at, &[&codec::to_bytes(&Failure::Encode { text })]);
    }

    fn keep(&mut self, kind: AnswerKind, at: u32, parts: &[&[u8]]) {
        self.outcome = Some((kind, at));
        parts.iter().for_each(|part| self.payload.extend_from_slice(part));
    }
}

impl WorkerLink for ChannelWorker {
    fn next(&mut self) -> io::Result<Incoming> {
        let message = loop {
            if let Some(message) = self.arrived.take()? {
                break message;
            }
            self.rest();
            if self.arrived.wait_and_read(self.stream.as_fd())? == Arrived::End {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let (seq, frame, attached) = message.head::<(u64, Frame, usize)>()?;
        let attached = self.control.receive_attached(seq, attached, false)?;
        self.seq = seq;
        self.pins.clear();
        Ok(Incoming { frame, payload: Payload::Own(message.payload), attached, waited: true })
    }

    fn start(&mut self, at: u32) {
        if let Some(desk) = &self.desk {
            desk.head().note_progress(self.seq, 2 * at + 1);
        }
        // If this fails the pool is gone, and so is this process in a moment.
        let _ = self.say(Some(at), None);
    }

    fn value(&mut self, at: u32, head: &[u8], rest: &[u8]) -> io::Result<()> {
        match self.limit.check(head.len() + rest.len()) {
            Ok(()) => self.keep(AnswerKind::Values, at, &[head, rest]),
            Err(why) => self.refuse(at, &why),
        }
        Ok(())
    }

    fn value_with_handles(&mut self, at: u32, value: &mut Vec<u8>, pins: Pins) -> io::Result<()> {
        handles::append(value, &pins);
        if let Err(why) = self.limit.check(value.len()) {
            self.refuse(at, &why);
            return Ok(());
        }
        let attached = attached_in(&pins);
        match self.control.send_attached(self.seq, &attached) {
            Ok(()) => {}
            Err(error) if usage::is_shortage(&error) => {
                self.refuse(at, &error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
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
        match self.limit.check(bytes.len()) {
            Ok(()) => self.keep(AnswerKind::Failure, at, &[bytes]),
            Err(why) => self.refuse(at, &format!("its failure: {why}")),
        }
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
