//! What travels between a pool and its agents, as bytes: messages in segments, and how they are put together again. Pure: no
//! socket is used here.
//!
//! A segment has a head of 12 bytes: the kind of the message, whether more of it follows, the worker that it is about, the
//! length of what is behind the head, and a checksum of all. So a byte that was changed on its way never becomes a value. The
//! segments of messages to several workers may alternate, and a message waits for no larger one but those to its own worker.

use crate::ipc::link::Payload;
use crc32fast::Hasher;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The bytes of a head.
pub(super) const HEAD: usize = 12;

/// The most bytes of a segment behind its head.
pub(super) const SEGMENT: usize = 64 * 1024;

/// So many bytes of large messages are made ready at a time.
const AT_ONCE: usize = 4 * SEGMENT;

/// The bit of a segment's second byte that says that more of its message follows.
const MORE: u8 = 1;

/// The number of a worker at its agent.
pub(super) type Slot = u16;

/// What is said of contexts is sent in an order of its own, as if it were for this worker: no agent has so many.
pub(super) const CONTEXTS: Slot = Slot::MAX;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    // From the pool.
    /// What all workers are given.
    Setup,
    /// Start a worker.
    Start,
    /// Numbers: frame, header, first task, count, skip, how often the first of the rest was begun; behind them the payload.
    Tasks,
    /// Number: header; behind it what the header says. Sent once for all workers of an agent.
    Context,
    /// Numbers: frame, header.
    Header,
    /// Numbers: frame, header.
    Forget,
    /// Numbers: header, how often it was sent to workers since its context was. Once it has come so often, its context is not
    /// needed any more.
    Drop,
    /// Number: frame. There are no more frames.
    Stop,
    /// Number: frame. Give it back if it was not begun.
    Revoke,
    /// Number: which signal.
    Signal,
    /// End the worker: by SIGTERM, or by SIGKILL if it is stopped.
    EndIt,
    /// Numbers: frames. Kill the worker if it runs a task of one of them.
    KillIfRunning,
    /// Numbers: frames, or none for all. Nobody waits for their tasks.
    Cancel,
    /// Nothing is under way to the worker: the memory that a burst has used is given back.
    Trim,
    /// Number: to be repeated.
    Beat,
    // From the agent.
    /// Number: the process id of a worker.
    Started,
    /// What a worker has said of its start.
    Reply,
    /// Numbers: kind, frame, first task, count, nanoseconds; behind them the payload.
    Answer,
    /// Number: a frame that was asked for, and was not begun.
    Returned,
    /// Numbers: the memory of a worker plus one (0 = unknown), whether it is stopped.
    Watched,
    /// Numbers: the place of a worker, whether it was written to stderr; behind them the line.
    Line,
    /// Number: the place of a worker; behind it what its code has said by the crate `log` or `tracing`.
    Record,
    /// A worker has ended, and how.
    Exited,
    /// A worker could not be started, and why.
    Refused,
    /// The agent was told to end: its workers are to leave when they have done what they are at.
    Draining,
    /// Number: that of the beat; 0 = none, a sign of life.
    Echo,
}

impl Kind {
    pub(super) const ALL: [Kind; 26] = [
        Kind::Setup,
        Kind::Start,
        Kind::Tasks,
        Kind::Context,
        Kind::Header,
        Kind::Forget,
        Kind::Drop,
        Kind::Stop,
        Kind::Revoke,
        Kind::Signal,
        Kind::EndIt,
        Kind::KillIfRunning,
        Kind::Cancel,
        Kind::Trim,
        Kind::Beat,
        Kind::Started,
        Kind::Reply,
        Kind::Answer,
        Kind::Returned,
        Kind::Watched,
        Kind::Line,
        Kind::Record,
        Kind::Exited,
        Kind::Refused,
        Kind::Draining,
        Kind::Echo,
    ];
}

/// Numbers as they travel: seven bits a byte, the lowest first.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads the numbers at the start of a message.
#[derive(Debug)]
pub(super) struct Numbers<'a>(pub(super) &'a [u8]);

impl Numbers<'_> {
    /// The next number; `None` if there is none, or it has more than 64 bits.
    pub(super) fn next(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            number |= bits.checked_shl(shift).filter(|it| it >> shift == bits)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The next number, if it has no more than 32 bits.
    pub(super) fn next_u32(&mut self) -> Option<u32> {
        u32::try_from(self.next()?).ok()
    }
}

/// The bytes of a large message, which are not copied before it is their turn.
#[derive(Debug)]
pub(super) enum Bytes {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Own(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

/// A message that is sent in several segments.
#[derive(Debug)]
struct Bulk {
    kind: Kind,
    numbers: Vec<u8>,
    rest: Bytes,
    /// So much of both was made ready.
    at: usize,
}

impl Bulk {
    /// How much is left.
    fn left(&self) -> usize {
        self.numbers.len() + self.rest.len() - self.at
    }
}

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Segments, and how many bytes of them were sent.
    ready: Vec<u8>,
    sent: usize,
    /// Large messages, and what stands behind them, by worker.
    bulk: BTreeMap<Slot, VecDeque<Bulk>>,
    bulk_len: usize,
    /// Whose turn it is.
    turn: Slot,
}

impl Outbox {
    /// Adds a message: numbers, and behind them some bytes.
    pub(super) fn put(&mut self, kind: Kind, slot: Slot, numbers: &[u64], rest: &[u8]) {
        if self.is_small(slot, numbers, rest) {
            self.put_small(kind, slot, numbers, rest);
        } else {
            self.put_bulk(kind, slot, numbers, Bytes::Own(rest.to_vec()));
        }
    }

    /// The same with bytes of one's own, or that others have as well.
    pub(super) fn put_bytes(&mut self, kind: Kind, slot: Slot, numbers: &[u64], rest: Bytes) {
        if self.is_small(slot, numbers, &rest) {
            self.put_small(kind, slot, numbers, &rest);
        } else {
            self.put_bulk(kind, slot, numbers, rest);
        }
    }

    /// Whether the message is one segment, and stands behind no large one of its worker's.
    fn is_small(&self, slot: Slot, numbers: &[u64], rest: &[u8]) -> bool {
        // A number has 10 bytes at most.
        rest.len() + 10 * numbers.len() <= SEGMENT && !self.bulk.contains_key(&slot)
    }

    fn put_small(&mut self, kind: Kind, slot: Slot, numbers: &[u64], rest: &[u8]) {
        let start = begin(&mut self.ready, kind, slot);
        numbers.iter().for_each(|number| put_number(&mut self.ready, *number));
        self.ready.extend_from_slice(rest);
        end(&mut self.ready[start..], false);
    }

    fn put_bulk(&mut self, kind: Kind, slot: Slot, numbers: &[u64], rest: Bytes) {
        let mut written = Vec::with_capacity(10 * numbers.len());
        numbers.iter().for_each(|number| put_number(&mut written, *number));
        let bulk = Bulk { kind, numbers: written, rest, at: 0 };
        self.bulk_len += bulk.left();
        self.bulk.entry(slot).or_default().push_back(bulk);
    }

    /// How many bytes are still to be sent.
    pub(super) fn len(&self) -> usize {
        self.ready.len() - self.sent + self.bulk_len
    }

    /// Gives the memory back that a burst has used, if all of it was sent.
    pub(super) fn trim(&mut self) {
        if self.sent == self.ready.len() && self.ready.capacity() > AT_ONCE {
            (self.ready, self.sent) = (Vec::new(), 0);
        }
    }

    /// What is to be sent next; empty if there is nothing.
    pub(super) fn next(&mut self) -> &[u8] {
        if self.sent == self.ready.len() {
            self.ready.clear();
            self.sent = 0;
            while self.ready.len() < AT_ONCE && self.ready_segment() {}
        }
        &self.ready[self.sent..]
    }

    /// So many bytes of it were sent.
    pub(super) fn sent(&mut self, len: usize) {
        self.sent = (self.sent + len).min(self.ready.len());
    }

    /// Makes the next segment of a large message ready. Returns whether there is any.
    fn ready_segment(&mut self) -> bool {
        let next = self.bulk.range(self.turn..).next().or_else(|| self.bulk.iter().next());
        let Some(slot) = next.map(|(slot, _)| *slot) else { return false };
        self.turn = slot.wrapping_add(1);
        let Some(queue) = self.bulk.get_mut(&slot) else { return false };
        if let Some(bulk) = queue.front_mut() {
            let len = bulk.left().min(SEGMENT);
            let start = begin(&mut self.ready, bulk.kind, slot);
            let numbers = &bulk.numbers[bulk.at.min(bulk.numbers.len())..];
            let numbers = &numbers[..numbers.len().min(len)];
            let rest = bulk.at.saturating_sub(bulk.numbers.len());
            self.ready.extend_from_slice(numbers);
            self.ready.extend_from_slice(&bulk.rest[rest..rest + len - numbers.len()]);
            bulk.at += len;
            self.bulk_len -= len;
            let is_done = bulk.left() == 0;
            end(&mut self.ready[start..], !is_done);
            if is_done {
                queue.pop_front();
            }
        }
        if queue.is_empty() {
            self.bulk.remove(&slot);
        }
        true
    }
}

/// Begins a segment; returns where.
fn begin(ready: &mut Vec<u8>, kind: Kind, slot: Slot) -> usize {
    let start = ready.len();
    let [low, high] = slot.to_le_bytes();
    ready.extend_from_slice(&[kind as u8, 0, low, high, 0, 0, 0, 0, 0, 0, 0, 0]);
    start
}

/// Ends the segment that was begun.
fn end(segment: &mut [u8], more: bool) {
    let len = u32::try_from(segment.len() - HEAD).unwrap_or(u32::MAX);
    segment[1] = u8::from(more) * MORE;
    segment[4..8].copy_from_slice(&len.to_le_bytes());
    let sum = checksum(&segment[..8], &segment[HEAD..]);
    segment[8..HEAD].copy_from_slice(&sum.to_le_bytes());
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut sum = Hasher::new();
    sum.update(head);
    sum.update(body);
    sum.finalize()
}

/// A message that has arrived.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    pub(super) slot: Slot,
    pub(super) body: Body<'a>,
}

/// What a message says.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// As it lies in the buffer.
    Here(&'a [u8]),
    /// Put together out of several segments.
    Whole(Vec<u8>),
}

impl Body<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Body::Here(bytes) => bytes,
            Body::Whole(bytes) => bytes,
        }
    }

    /// The bytes from the place `at` on.
    pub(super) fn into_rest(self, at: usize) -> Rest {
        match self {
            Body::Here(bytes) => Rest { bytes: bytes.get(at..).unwrap_or_default().to_vec(), at: 0 },
            Body::Whole(bytes) => Rest { at: at.min(bytes.len()), bytes },
        }
    }
}

/// The bytes behind the numbers of a message: they are not moved if they are many.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    at: usize,
}

impl Deref for Rest {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}

impl From<Rest> for Payload {
    fn from(rest: Rest) -> Payload {
        if rest.at == 0 { Payload::Own(rest.bytes) } else { Payload::Part(rest.bytes, rest.at) }
    }
}

/// What has arrived.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    /// What of the buffer was not taken yet.
    fresh: Range<usize>,
    /// Messages of which more follows, by worker.
    partial: BTreeMap<Slot, (Kind, Vec<u8>)>,
    /// How many bytes these have together.
    partial_len: usize,
    /// How many they may have.
    most: usize,
}

/// So many bytes are read from a stream at once.
const READ: usize = 256 * 1024;

impl Inbox {
    /// `most` bytes may be kept of messages that are not whole.
    pub(super) fn new(most: usize) -> Inbox {
        Inbox { buffer: vec![0; READ + HEAD + SEGMENT], fresh: 0..0, partial: BTreeMap::new(), partial_len: 0, most }
    }

    /// One that holds the place of another for a moment.
    pub(super) fn nothing() -> Inbox {
        Inbox { buffer: Vec::new(), fresh: 0..0, partial: BTreeMap::new(), partial_len: 0, most: 0 }
    }

    /// Where to read to, when all messages were taken: never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.fresh.start > 0 {
            // Less than a segment is left.
            self.buffer.copy_within(self.fresh.clone(), 0);
            self.fresh = 0..self.fresh.len();
        }
        &mut self.buffer[self.fresh.end..]
    }

    /// So many bytes were read.
    pub(super) fn has_read(&mut self, len: usize) {
        self.fresh.end = (self.fresh.end + len).min(self.buffer.len());
    }

    /// The next message, if it is whole.
    ///
    /// # Errors
    ///
    /// What has arrived is none.
    pub(super) fn next(&mut self) -> Result<Option<Message<'_>>, &'static str> {
        loop {
            let Some(head) = self.buffer[self.fresh.clone()].first_chunk::<HEAD>() else { return Ok(None) };
            let [kind, more, low, high, rest @ ..] = *head;
            let [a, b, c, d, s0, s1, s2, s3] = rest;
            let len = u32::from_le_bytes([a, b, c, d]) as usize;
            if len > SEGMENT {
                return Err("a segment that is too long");
            }
            let start = self.fresh.start + HEAD;
            if self.fresh.end - start < len {
                return Ok(None);
            }
            let body = start..start + len;
            let sum = checksum(&self.buffer[self.fresh.start..self.fresh.start + 8], &self.buffer[body.clone()]);
            if sum != u32::from_le_bytes([s0, s1, s2, s3]) {
                return Err("a segment that was changed on its way");
            }
            let kind = *Kind::ALL.get(usize::from(kind)).ok_or("a message of an unknown kind")?;
            let slot = Slot::from_le_bytes([low, high]);
            self.fresh.start += HEAD + len;
            let partial = self.partial.remove(&slot);
            if partial.is_none() && more & MORE == 0 {
                return Ok(Some(Message { kind, slot, body: Body::Here(&self.buffer[body]) }));
            }
            let (begun, mut bytes) = partial.unwrap_or((kind, Vec::new()));
            if begun != kind {
                return Err("a message inside of another one");
            }
            if len == 0 && more & MORE != 0 {
                return Err("a segment of a message without anything in it");
            }
            if self.partial_len + len > self.most {
                return Err("a message that is too long");
            }
            bytes.extend_from_slice(&self.buffer[body]);
            if more & MORE == 0 {
                self.partial_len -= bytes.len() - len;
                return Ok(Some(Message { kind, slot, body: Body::Whole(bytes) }));
            }
            self.partial_len += len;
            self.partial.insert(slot, (kind, bytes));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod fuzz;
