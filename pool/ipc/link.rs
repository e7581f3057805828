//! The link trait: ordered frames to and from one worker, whatever carries them.

use crate::attached_fds::AttachedFds;
use crate::codec::{self, CodecError, Reader};
use crate::error::Failure;
use crate::heap::scope::Pins;
use crate::ipc::desk::Desk;
use crate::ipc::file_bytes::Filled;
use crate::sys::copy::Arriving;
use crate::sys::memory::Mapping;
use crate::sys::usage;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Which kind of link the workers of a pool get.
///
/// ```
/// use multiproc::{LinkKind, Pool};
///
/// let pool = Pool::builder().processes(2).link(LinkKind::Channel).build()?;
/// assert_eq!(pool.map(|x: u64| x + 1, [1, 2])?, [2, 3]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LinkKind {
    /// Rings in shared memory: the fastest, and the default.
    #[default]
    Ring,
    /// Messages over a socket, for systems that forbid memory files or shared futexes. It promises what the ring does, and is
    /// slower: a worker has one frame at a time, and each task is a message.
    Channel,
}

/// A frame from the pool to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    /// The job header that the frame belongs to.
    pub(crate) header: u64,
    /// The number of the first task in the payload.
    pub(crate) first: u64,
    /// How many tasks are in the payload.
    pub(crate) count: u32,
    /// How many of them, from the first on, are not to be run.
    pub(crate) skip: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FrameKind {
    /// Tasks of one job.
    Tasks,
    /// A job header: which function, and its context.
    Header,
    /// The header is not needed any more.
    Forget,
    /// No more frames: run the finalizer and exit.
    Stop,
}

/// The payload of a frame that is sent, in two parts, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) head: &'a [u8],
    /// The numbers of a long vector, where the caller has them, or nothing.
    pub(crate) tail: &'a [u8],
    /// Whether nobody asks for them any more once the worker has begun the task ([`Link::payload`]).
    pub(crate) once: bool,
}

impl<'a> From<&'a [u8]> for Parts<'a> {
    #[inline]
    fn from(head: &'a [u8]) -> Parts<'a> {
        Parts { head, tail: &[], once: false }
    }
}

impl Parts<'_> {
    pub(crate) const NONE: Parts<'static> = Parts { head: &[], tail: &[], once: false };

    #[inline]
    pub(crate) fn len(self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Both, copied.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        [self.head, self.tail].concat()
    }

    /// Both, copied, for as many as want them.
    pub(crate) fn to_arc(self) -> Arc<[u8]> {
        if self.tail.is_empty() {
            return self.head.into();
        }
        // Without a second copy of what is large.
        let mut both: Arc<[u8]> = bytemuck::zeroed_arc_slice(self.len());
        if let Some(both) = Arc::get_mut(&mut both) {
            let (head, tail) = both.split_at_mut(self.head.len());
            head.copy_from_slice(self.head);
            tail.copy_from_slice(self.tail);
        }
        both
    }
}

/// A frame as a worker receives it.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) frame: Frame,
    pub(crate) payload: Payload,
    pub(crate) attached: Vec<Arc<AttachedFds>>,
    /// Whether the frame was not there yet when the worker asked for it.
    pub(crate) waited: bool,
}

/// An answer from a worker: the results of some tasks of one frame.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: AnswerKind,
    /// The frame that it answers.
    pub(crate) seq: u64,
    /// The place of the first task in that frame.
    pub(crate) first: u32,
    /// How many tasks.
    pub(crate) count: u32,
    /// How long the frame's tasks took so far, in nanoseconds; 0 = not measured.
    pub(crate) nanos: u64,
    pub(crate) payload: Payload,
    pub(crate) attached: Vec<Arc<AttachedFds>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AnswerKind {
    /// The values of `count` tasks.
    Values,
    /// The failure of one task.
    Failure,
    /// The value of one task that contains handles to shared memory; behind it these handles once more, see
    /// [`handles`](crate::ipc::handles). Or one that has attached descriptors.
    Handles,
    /// No outcome: the task has its attached descriptors, and is on its way.
    Taken,
    /// No outcome: none of the frame's tasks was begun, and none will be. The reply to [`Revoked::Asked`], which only a link
    /// gives that has asked.
    Returned,
}

/// The most sets of attached descriptors of an answer, which is one value then.
pub(crate) const MOST_ATTACHED: usize = 1;

/// The bytes of a frame or an answer, wherever they lie.
#[derive(Debug)]
pub(crate) enum Payload {
    Inline([u8; crate::ipc::lane::INLINE], usize),
    /// A part of the link's memory: start and length.
    Mapped(Arc<Mapping>, usize, usize),
    /// Still being written: to be read once.
    Arriving(Box<dyn Arriving>),
    /// A memory file of its own.
    File(Arc<Filled>),
    Own(Vec<u8>),
    /// The bytes from this place on.
    #[cfg(feature = "cluster")]
    Part(Vec<u8>, usize),
}

impl Payload {
    /// Payloads up to this many bytes are copied in one go before they are read.
    const COPY: usize = 128 * 1024;

    /// The first `len` bytes of a file that another process has filled.
    ///
    /// # Errors
    ///
    /// See [`Filled::new`].
    pub(crate) fn in_file(len: u64, file: OwnedFd) -> io::Result<Payload> {
        Ok(match len {
            0 => Payload::Own(Vec::new()),
            len => Payload::File(Arc::new(Filled::new(file, len)?)),
        })
    }

    /// Calls `read` with a reader over the bytes; `scratch` is room for a copy.
    ///
    /// # Panics
    ///
    /// Panics never: a mapped part was bounded when it was made, and an impossible one reads as empty.
    #[inline]
    pub(crate) fn read<R>(&self, scratch: &mut Vec<u8>, read: impl FnOnce(&mut Reader<'_>) -> R) -> R {
        match self {
            Payload::Inline(bytes, len) => read(&mut Reader::new(bytes.get(..*len).unwrap_or_default())),
            Payload::Own(bytes) => read(&mut Reader::new(bytes)),
            #[cfg(feature = "cluster")]
            Payload::Part(bytes, start) => read(&mut Reader::new(bytes.get(*start..).unwrap_or_default())),
            Payload::Mapped(mapping, start, len) => match mapping.bytes().slice(*start, *len) {
                Some(bytes) if *len <= Self::COPY => {
                    scratch.clear();
                    match bytes.append_to(scratch) {
                        Ok(()) => read(&mut Reader::new(scratch)),
                        // Then it is read as it lies there.
                        Err(_) => read(&mut Reader::shared(bytes)),
                    }
                }
                Some(bytes) => read(&mut Reader::shared(bytes)),
                None => read(&mut Reader::new(&[])),
            },
            Payload::Arriving(whole) => read(&mut Reader::arriving(&**whole)),
            Payload::File(filled) => read(&mut filled.reader()),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Payload::Inline(_, len) | Payload::Mapped(_, _, len) => *len,
            Payload::Own(bytes) => bytes.len(),
            #[cfg(feature = "cluster")]
            Payload::Part(bytes, start) => bytes.len().saturating_sub(*start),
            Payload::Arriving(whole) => whole.len(),
            Payload::File(filled) => filled.len(),
        }
    }

    /// The same bytes outside of the link.
    ///
    /// # Errors
    ///
    /// There is no memory for them.
    pub(crate) fn into_own(self) -> Result<Payload, CodecError> {
        match self {
            Payload::Mapped(..) | Payload::Arriving(_) => self.to_vec().map(Payload::Own),
            other => Ok(other),
        }
    }

    /// The bytes, copied.
    ///
    /// # Errors
    ///
    /// There is no memory for them.
    pub(crate) fn to_vec(&self) -> Result<Vec<u8>, CodecError> {
        let bytes = match self {
            Payload::Inline(bytes, len) => return Ok(bytes.get(..*len).unwrap_or_default().to_vec()),
            Payload::Own(bytes) => return Ok(bytes.clone()),
            #[cfg(feature = "cluster")]
            Payload::Part(bytes, start) => return Ok(bytes.get(*start..).unwrap_or_default().to_vec()),
            Payload::Mapped(mapping, start, len) => mapping.bytes().slice(*start, *len),
            Payload::Arriving(whole) => {
                return whole.to_vec(0, whole.len()).map_err(|error| CodecError::missing(whole.len(), &error));
            }
            Payload::File(filled) => return filled.to_vec(),
        };
        bytes.map_or(Ok(Vec::new()), |bytes| bytes.to_vec().map_err(|_| CodecError::no_memory(bytes.len())))
    }
}

/// How far a worker has come, as it says itself; never trusted beyond the bounds of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The frame it is at; all frames before are finished.
    pub(crate) seq: u64,
    /// How many tasks of that frame it has started, skipped ones included.
    pub(crate) started: u32,
    /// How many of them are finished and published.
    pub(crate) done: u32,
}

/// What came of taking a frame back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    /// None of its tasks was begun, and none will be.
    Taken,
    /// The worker has begun it.
    Begun,
    /// Who knows is elsewhere, and was asked: an answer of kind [`AnswerKind::Returned`] follows, or the frame's own.
    #[cfg_attr(
        not(any(test, feature = "cluster")),
        expect(dead_code, reason = "said by links of the feature `cluster`")
    )]
    Asked,
}

/// What came over a link cannot be what the other side means.
pub(crate) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The failure of a task whose result this process had no descriptor or no room for: that is no fault of the worker.
#[cold]
pub(super) fn lost(error: &io::Error) -> Payload {
    Payload::Own(codec::to_bytes(&Failure::Decode { text: format!("it could not be received: {error}") }))
}

/// Why a frame was not sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// This process cannot send it to anybody, for want of memory or a descriptor as a rule. Nothing was sent.
    Refused(io::Error),
    /// Nothing can be sent to this worker any more.
    Broken,
}

impl From<io::Error> for Unsent {
    fn from(error: io::Error) -> Unsent {
        if usage::is_shortage(&error) { Unsent::Refused(error) } else { Unsent::Broken }
    }
}

/// The pool's end of a link. Frames are numbered from 0 in the order in which they are sent.
///
/// The methods with a body are for links that keep something in memory that both sides map: frames that the worker has not
/// taken yet, values that it has not handed over, a worker that sleeps. A link that sends everything as it comes has none.
pub(crate) trait Link: Send + std::fmt::Debug {
    /// The most frames that may be under way at once.
    fn depth(&self) -> usize;

    /// Sends a frame and gives its number; `Ok(None)` when there is no room now.
    ///
    /// # Errors
    ///
    /// See [`Unsent`].
    fn send(
        &mut self,
        frame: &Frame,
        payload: &Parts<'_>,
        attached: &[Arc<AttachedFds>],
    ) -> Result<Option<u64>, Unsent>;

    /// How many frames were sent.
    fn sent(&self) -> u64;

    /// Makes sure that a sleeping worker notices what was sent.
    fn flush(&mut self) {}

    /// Whether [`Link::receive`] would give something.
    fn has_answer(&self) -> bool;

    /// Whether the worker is awake, so that a frame reaches it at once.
    fn is_awake(&self) -> bool {
        true
    }

    /// Why no answer can come as things are, whatever the worker has been sent; `None` while one may come.
    fn hindrance(&self) -> Option<&'static str> {
        None
    }

    /// The next answer, if there is one. Never waits.
    ///
    /// # Errors
    ///
    /// The worker wrote something that our own code never writes.
    fn receive(&mut self) -> io::Result<Option<Answer>>;

    /// The last answer's payload was read: its room may be used again. The worker knows so at the latest when
    /// [`Link::receive`] finds no further answer.
    fn consumed(&mut self) {}

    /// The worker's process has ended: makes sure that all it has sent can be received. Never waits.
    fn ended(&mut self) {}

    /// What a dead worker had finished of a frame that it was still answering: with `Answer::count` as it claims.
    fn salvage(&mut self) -> io::Result<Option<Answer>> {
        Ok(None)
    }

    /// How far the worker has come.
    fn progress(&self) -> Progress;

    /// Takes a frame back that the worker has not taken yet. May be asked again for the same frame.
    fn revoke(&mut self, _seq: u64) -> Revoked {
        Revoked::Begun
    }

    /// How long a frame and its answer are on their way, in nanoseconds, as last measured; 0 within one machine.
    fn delay(&self) -> f64 {
        0.0
    }

    /// The payload of a frame that was sent and not yet released; nothing of one that was begun and that is needed
    /// [`once`](Parts::once).
    fn payload(&self, seq: u64) -> Vec<u8>;

    /// Frames below `seq` are not needed any more.
    fn release_below(&mut self, seq: u64);

    /// Gives memory back that a burst has used, if nothing is under way.
    fn trim(&mut self) {}

    /// The first task to be run of the frame that is sent next is begun for the `attempt`th time.
    fn set_attempt(&mut self, attempt: u32) {
        self.desk().into_iter().for_each(|desk| desk.set_attempt(self.sent(), attempt));
    }

    /// Tells the tasks of frames that were sent that nobody waits for them.
    fn cancel(&self, frames: &[u64]) {
        self.desk().into_iter().for_each(|desk| desk.cancel(frames));
    }

    /// Tells all tasks that nobody waits for them.
    fn cancel_all(&self) {
        self.desk().into_iter().for_each(Desk::cancel_all);
    }

    /// What the pool and a running task tell each other, where there is memory for that.
    fn desk(&self) -> Option<&Desk> {
        None
    }
}

/// A worker's end of a link.
pub(crate) trait WorkerLink: Send {
    /// Waits for the next frame, and takes it.
    ///
    /// # Errors
    ///
    /// The pool is gone or the link is damaged; the worker then ends.
    fn next(&mut self) -> io::Result<Incoming>;

    /// As [`WorkerLink::next`] begins, for a worker that does not wait: the last frame is finished, and what was taken back is
    /// passed over. Returns whether there is a frame then.
    fn poll(&mut self) -> bool {
        false
    }

    /// Says that task `at` of the frame is started, and with it that all before are done.
    fn start(&mut self, at: u32);

    /// Gives the value of task `at`: the bytes `head` and `rest`, one behind the other.
    fn value(&mut self, at: u32, head: &[u8], rest: &[u8]) -> io::Result<()>;

    /// Gives the value of task `at`, which refers to shared memory or has attached descriptors, and keeps that until the
    /// pool has taken it over.
    fn value_with_handles(&mut self, at: u32, value: &mut Vec<u8>, pins: Pins) -> io::Result<()>;

    /// Says that task `at` has its attached descriptors.
    fn taken(&mut self, at: u32) -> io::Result<()>;

    /// Gives the failure of task `at`.
    fn failure(&mut self, at: u32, bytes: &[u8]) -> io::Result<()>;

    /// Says that all `count` tasks of the frame are done, and that they took `nanos` nanoseconds.
    fn finish(&mut self, count: u32, nanos: u64) -> io::Result<()>;

    /// Makes sure that a sleeping pool notices what was answered.
    fn flush(&mut self);
}
