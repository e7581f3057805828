//! The ring link, the pool's end: sends frames, takes answers. The worker's end is `ring_worker`, what both map is
//! `ring_memory`.

use crate::attached_fds::AttachedFds;
use crate::ipc::arena::Arena;
use crate::ipc::control::Control;
use crate::ipc::desk::Desk;
use crate::ipc::file_bytes::{Filled, ReadableFile};
use crate::ipc::lane::{Found, Place, Record, SLOTS, WINDOW};
use crate::ipc::link::{
    Answer, AnswerKind, Frame, FrameKind, Link, MOST_ATTACHED, Parts, Payload, Progress, Revoked, Unsent, damaged, lost,
};
use crate::ipc::passing;
use crate::ipc::result_limit::ResultLimit;
use crate::ipc::ring_memory::{self, DATA, Files, RingMemory};
use crate::sys::copy::{PIECE, SharedBytes};
use crate::sys::{large_vec, usage};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The most frames that travel outside the ring at once: their messages must fit the socket's buffer.
const MAX_ELSEWHERE: usize = 16;

/// So many files are kept with their pages: one is filled while the worker reads the other.
const MAX_SPARE: usize = 2;

/// A frame with so many bytes in its tail is published before these are written, so that the worker reads the first of them
/// while the pool writes the last. Above the upper bound the worker's vector is in memory that is new to its process; to get that
/// while the pool writes takes longer than one after the other, where it was measured.
const LONG_TAIL: RangeInclusive<usize> = 4 * PIECE..=large_vec::LARGE;

/// The most frames with attached descriptors at once, for the same reason.
const MAX_WITH_FDS: usize = 4;

/// The pool's end.
#[derive(Debug)]
pub(crate) struct RingLink {
    memory: RingMemory,
    desk: Desk,
    files: Files,
    control: Control,
    limit: ResultLimit,
    next_frame: u64,
    released: u64,
    /// Behind the last frame with tasks.
    behind_tasks: u64,
    arena: Arena,
    /// Files with the payloads of frames, until these are released.
    elsewhere: BTreeMap<u64, (FrameKind, ReadableFile)>,
    /// Such files, with their pages, for frames to come.
    spare: Vec<ReadableFile>,
    /// The file with the last answer, if that came in one.
    answer_file: Option<Arc<Filled>>,
    /// The same, once that answer was read: the worker puts the next one there.
    returned: Option<Arc<Filled>>,
    /// Frames that have attached descriptors, until they are released.
    with_fds: VecDeque<u64>,
    next_answer: u64,
    /// Answers below this number were read, as far as the worker was told.
    told: u64,
    /// Whether the answer that was received last takes room in the data area, which the worker may wait for.
    takes_room: bool,
}

/// The worker is told at the latest after so many answers which of them were read: telling costs a fence, which waits until all
/// that was written before has reached memory, and meanwhile the worker has this many slots fewer.
const MOST_UNTOLD: u64 = SLOTS as u64 / 4;

/// Makes the memory of a link and the pool's end of it, with the descriptors for
/// [`RingWorker::new`](crate::ipc::ring_worker::RingWorker::new).
///
/// # Errors
///
/// There is no memory, or no descriptor.
pub(crate) fn create(control: Control, limit: ResultLimit) -> io::Result<(RingLink, [Arc<OwnedFd>; 2])> {
    let (files, memory, for_worker) = ring_memory::create()?;
    let link = RingLink {
        desk: memory.desk(),
        memory,
        files,
        control,
        limit,
        next_frame: 0,
        released: 0,
        behind_tasks: 0,
        arena: Arena::new(DATA),
        elsewhere: BTreeMap::new(),
        spare: Vec::new(),
        answer_file: None,
        returned: None,
        with_fds: VecDeque::new(),
        next_answer: 0,
        told: 0,
        takes_room: false,
    };
    Ok((link, for_worker))
}

impl RingLink {
    /// Tells the worker which answers were read, if it does not know.
    #[inline]
    fn tell_read(&mut self) {
        if self.told < self.next_answer {
            self.told = self.next_answer;
            self.memory.head().note_read(self.told);
        }
    }

    #[inline]
    fn answer(&mut self, record: Record, place: Place, open: bool) -> io::Result<Answer> {
        let kind = match record.kind {
            0 => AnswerKind::Values,
            1 => AnswerKind::Failure,
            2 => AnswerKind::Handles,
            3 => AnswerKind::Taken,
            _ => return Err(damaged("an answer of an unknown kind")),
        };
        let sets = if kind == AnswerKind::Handles && !open { record.tag as usize } else { 0 };
        if sets > MOST_ATTACHED {
            return Err(damaged("an answer with too many attached descriptors"));
        }
        let [seq, span, nanos] = record.fields;
        let (first, count) = (span as u32, (span >> 32) as u32);
        let here = match place {
            Place::Inline(bytes, len) => Some(Payload::Inline(bytes, len)),
            Place::Data(start, len) => Some(self.memory.answer_payload(start, len)),
            Place::Elsewhere if open => Some(Payload::Own(Vec::new())),
            Place::Elsewhere => None,
            Place::Passing(..) => return Err(damaged("an answer that passes through a window")),
        };
        let (kind, payload, attached) = match here {
            Some(payload) if sets == 0 => (kind, payload, Vec::new()),
            here => self.receive_beside(kind, count, here, sets)?,
        };
        Ok(Answer { kind, seq, first, count, nanos, payload, attached })
    }

    /// Receives what an answer has sent beside the ring, and turns it into the failure of its task if this process has no
    /// descriptor or no room for that.
    #[cold]
    fn receive_beside(
        &mut self,
        kind: AnswerKind,
        count: u32,
        here: Option<Payload>,
        sets: usize,
    ) -> io::Result<(AnswerKind, Payload, Vec<Arc<AttachedFds>>)> {
        // Both are taken from the socket, also if one is lost.
        let attached = self.control.receive_attached(self.next_answer, sets, false);
        let payload = match here {
            Some(payload) => Ok(payload),
            None => self.control.receive_bytes(self.next_answer, self.limit),
        };
        if let Ok(Payload::File(filled)) = &payload {
            self.answer_file = Some(Arc::clone(filled));
        }
        match attached.and_then(|attached| Ok((attached, payload?))) {
            Ok((attached, payload)) => Ok((kind, payload, attached)),
            Err(error) if count == 1 && usage::is_shortage(&error) => Ok((AnswerKind::Failure, lost(&error), vec![])),
            Err(error) => Err(error),
        }
    }
}

impl RingLink {
    /// A file with this payload, in pages that are there already if possible. A header, to which the worker goes back with each
    /// of its tasks, gets a file that nobody has written for anything else.
    fn fill(&mut self, kind: FrameKind, &Parts { head, tail, .. }: &Parts<'_>) -> io::Result<ReadableFile> {
        let spare = if kind == FrameKind::Tasks { self.spare.pop() } else { None };
        let Some(mut file) = spare else { return ReadableFile::new(&[head, tail]) };
        file.bytes.fill(&[head, tail])?;
        Ok(file)
    }

    /// Takes a window for the payload of frame `seq`; `None` if that is not to pass through one: it may be needed again, or its
    /// worker has other tasks, or may run others of the frame first, or there is no room.
    fn window(&mut self, seq: u64, frame: &Frame, payload: &Parts<'_>) -> Option<usize> {
        let is_one = frame.kind == FrameKind::Tasks && frame.count == 1 && payload.once;
        let is_long = payload.tail.len() > WINDOW && payload.head.len() <= passing::MOST_BEFORE;
        let is_free = self.behind_tasks <= self.released;
        if is_one && is_long && is_free { self.arena.take(seq, WINDOW) } else { None }
    }

    /// Publishes a frame whose tail is missing in the data area, and writes that while the worker may read what is there.
    fn publish_and_write(
        &self,
        seq: u64,
        record: &Record,
        place: &Place,
        (area, payload): (SharedBytes<'_>, &Parts<'_>),
    ) {
        let (slots, head) = (self.memory.tasks().slots, self.memory.head());
        let mut at = payload.head.len();
        slots.publish_early(seq, record, place, at);
        head.asleep().call();
        for piece in payload.tail.chunks(PIECE) {
            // The area has room for all of them.
            let _ = area.write(at, piece);
            at += piece.len();
            slots.note_written(seq, at);
        }
        head.blocked().call();
    }

    /// Publishes a frame whose payload passes through a window.
    #[cold]
    fn pass(&mut self, seq: u64, record: &Record, start: usize, payload: &Parts<'_>) -> Result<(), Unsent> {
        let window = self.memory.task_data().slice(start, WINDOW).ok_or(Unsent::Broken)?;
        let (_, file) = self.elsewhere.get_mut(&seq).ok_or(Unsent::Broken)?;
        passing::publish_and_write(&self.memory, (seq, record, start), window, payload, &mut file.bytes);
        Ok(())
    }

    /// An answer that came in a file was taken.
    #[cold]
    fn give_back(&mut self, file: Arc<Filled>) {
        if Arc::strong_count(&file) == 1 {
            self.memory.head().return_file(self.next_answer);
            self.returned = Some(file);
        } else {
            // It waits for its call's thread, and the worker makes a new file.
            file.discard_at_end();
            self.returned = None;
        }
    }
}

impl Link for RingLink {
    fn desk(&self) -> Option<&Desk> {
        Some(&self.desk)
    }

    fn depth(&self) -> usize {
        SLOTS
    }

    fn send(
        &mut self,
        frame: &Frame,
        payload: &Parts<'_>,
        attached: &[Arc<AttachedFds>],
    ) -> Result<Option<u64>, Unsent> {
        let seq = self.next_frame;
        let has_fds = !attached.is_empty();
        if seq - self.released >= SLOTS as u64 || has_fds && self.with_fds.len() >= MAX_WITH_FDS {
            // No slot is free, or too many frames with descriptors are under way.
            return Ok(None);
        }
        let mut rest = None;
        let place = match Place::inline(payload.head) {
            Some(place) if payload.tail.is_empty() => place,
            _ if payload.len() > self.arena.capacity() => {
                if self.elsewhere.len() >= MAX_ELSEWHERE {
                    // Too many payloads in files of their own are under way.
                    return Ok(None);
                }
                let window = self.window(seq, frame, payload);
                // First what may fail: then nothing has been sent.
                let filled = if window.is_some() { &Parts::NONE } else { payload };
                let mut file = self.fill(frame.kind, filled).map_err(Unsent::Refused)?;
                file.bytes.reserve(payload.len()).map_err(Unsent::Refused)?;
                let beside = self.control.send_attached(seq, attached);
                let bytes = beside.and_then(|()| self.control.send_bytes(seq, payload.len(), &file.reading));
                // A part of it may have been sent, so nothing else can be.
                bytes.map_err(|_| Unsent::Broken)?;
                self.elsewhere.insert(seq, (frame.kind, file));
                window.map_or(Place::Elsewhere, |start| Place::Passing(start, payload.len()))
            }
            _ => {
                // Without room in the data area the frame waits until older ones are released.
                let Some(start) = self.arena.take(seq, payload.len()) else { return Ok(None) };
                let area = self.memory.task_data().slice(start, payload.len()).ok_or(Unsent::Broken)?;
                let at = payload.head.len();
                if !area.write(0, payload.head) {
                    return Err(Unsent::Broken);
                }
                if LONG_TAIL.contains(&payload.tail.len()) {
                    rest = Some(area);
                } else if !area.write(at, payload.tail) {
                    return Err(Unsent::Broken);
                }
                Place::Data(start, payload.len())
            }
        };
        if has_fds {
            if !self.elsewhere.contains_key(&seq) {
                self.control.send_attached(seq, attached).map_err(|_| Unsent::Broken)?;
            }
            self.with_fds.push_back(seq);
        }
        let record = Record {
            kind: match frame.kind {
                FrameKind::Tasks => 0,
                FrameKind::Header => 1,
                FrameKind::Forget => 2,
                FrameKind::Stop => 3,
            },
            tag: frame.skip,
            fields: [frame.header, frame.first, u64::from(frame.count) | (attached.len() as u64) << 32],
        };
        match (rest, place) {
            (None, Place::Passing(start, _)) => self.pass(seq, &record, start, payload)?,
            (None, _) => self.memory.tasks().slots.publish(seq, &record, &place),
            (Some(area), _) => self.publish_and_write(seq, &record, &place, (area, payload)),
        }
        self.next_frame += 1;
        if frame.kind == FrameKind::Tasks {
            self.behind_tasks = self.next_frame;
        }
        Ok(Some(seq))
    }

    fn sent(&self) -> u64 {
        self.next_frame
    }

    fn has_answer(&self) -> bool {
        !matches!(self.memory.answers().look(self.next_answer), Found::Nothing | Found::Open)
    }

    fn flush(&mut self) {
        self.memory.head().asleep().call();
    }

    fn is_awake(&self) -> bool {
        !self.memory.head().asleep().is_asleep()
    }

    fn hindrance(&self) -> Option<&'static str> {
        let head = self.memory.head();
        (head.asleep().is_asleep() || head.blocked().is_asleep()).then_some("it waits for frames although it has some")
    }

    #[inline]
    fn receive(&mut self) -> io::Result<Option<Answer>> {
        match self.memory.answers().look(self.next_answer) {
            Found::Nothing | Found::Open => {
                // The end of a run of answers.
                self.tell_read();
                Ok(None)
            }
            Found::Revoked | Found::Garbage => Err(damaged("an answer slot in an impossible state")),
            Found::Ready => {
                let Some((record, place)) = self.memory.answers().read(self.next_answer, DATA) else {
                    return Err(damaged("an answer with an impossible length"));
                };
                self.takes_room = !matches!(place, Place::Inline(..));
                self.answer(record, place, false).map(Some)
            }
        }
    }

    fn consumed(&mut self) {
        if let Some(file) = self.answer_file.take() {
            self.give_back(file);
        }
        self.next_answer += 1;
        if self.takes_room || self.next_answer - self.told >= MOST_UNTOLD {
            self.tell_read();
        }
    }

    fn salvage(&mut self) -> io::Result<Option<Answer>> {
        if self.memory.answers().look(self.next_answer) != Found::Open {
            return Ok(None);
        }
        match self.memory.answers().read(self.next_answer, DATA) {
            // The record states all of its room, up to that of the whole area.
            Some((record, Place::Data(start, len))) => {
                self.answer(record, Place::Data(start, self.files.used(start, len)), true).map(Some)
            }
            Some((record, place)) => self.answer(record, place, true).map(Some),
            None => Err(damaged("an unfinished answer with an impossible length")),
        }
    }

    fn progress(&self) -> Progress {
        let (seq, step) = self.memory.head().progress();
        // The whole number is within 2^31 of what was released; and below it, if the worker has finished a frame, and its answer
        // was taken, before it says that it is at the next one.
        let ahead = seq.wrapping_sub(self.released as u32) as i32;
        let seq = self.released.saturating_add_signed(i64::from(ahead));
        Progress { seq, started: step.div_ceil(2), done: step / 2 }
    }

    fn revoke(&mut self, seq: u64) -> Revoked {
        if self.memory.tasks().revoke(seq) { Revoked::Taken } else { Revoked::Begun }
    }

    fn payload(&self, seq: u64) -> Vec<u8> {
        let place = self.memory.tasks().slots.read(seq, DATA);
        if let Some((_, file)) = self.elsewhere.get(&seq) {
            return match place {
                Some((_, Place::Passing(start, len))) => passing::payload(&self.memory, seq, (start, len), &file.bytes),
                _ => file.bytes.to_vec(),
            };
        }
        match place {
            Some((_, Place::Inline(bytes, len))) => bytes[..len].to_vec(),
            Some((_, Place::Data(start, len))) => self.memory.task_payload(start, len).to_vec().unwrap_or_default(),
            // Frames that travel elsewhere were looked up above; nobody but this end writes here.
            _ => Vec::new(),
        }
    }

    fn release_below(&mut self, seq: u64) {
        self.released = self.released.max(seq);
        self.arena.release_below(seq);
        while self.with_fds.front().is_some_and(|with_fds| *with_fds < seq) {
            self.with_fds.pop_front();
        }
        if !self.elsewhere.is_empty() {
            let rest = self.elsewhere.split_off(&seq);
            let released = std::mem::replace(&mut self.elsewhere, rest);
            // The worker still has the file of a header.
            let of_tasks = released.into_values().filter(|(kind, _)| *kind == FrameKind::Tasks).map(|(_, file)| file);
            self.spare.extend(of_tasks.take(MAX_SPARE - self.spare.len()));
        }
    }

    fn trim(&mut self) {
        let used = self.arena.take_high_water();
        if !self.arena.is_empty() || self.released != self.next_frame {
            return;
        }
        // With nothing under way the worker writes no answers either.
        self.files.trim(used);
        self.spare.clear();
        if let Some(file) = &self.returned {
            file.discard();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod fuzz;
#[cfg(all(test, not(loom)))]
mod tests;
