//! The ring link: two lanes in a memory file that only the pool and one worker map.

use crate::ipc::arena::Arena;
use crate::ipc::bell::{Bell, Spinner};
use crate::ipc::control::Control;
use crate::ipc::lane::{Found, INLINE, Place, Record, SLOTS, Slots};
use crate::ipc::link::{Answer, AnswerKind, Frame, FrameKind, Incoming, Link, Payload, Progress, WorkerLink, slice};
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::copy::SharedBytes;
use crate::sys::futex;
use crate::sys::memory::{self, Atomics, Mapping};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use Ordering::{Acquire, Relaxed, Release};

/// Bytes of each data area. Sparse: only what is used takes memory.
const DATA: usize = 64 << 20;
const TASK_SLOTS: usize = 4096;
const ANSWER_SLOTS: usize = TASK_SLOTS + size_of::<Slots>();
const TASK_DATA: usize = (ANSWER_SLOTS + size_of::<Slots>()).next_multiple_of(4096);
const ANSWER_DATA: usize = TASK_DATA + DATA;
const LEN: usize = ANSWER_DATA + DATA;

/// The most frames that travel outside the ring at once: their messages must fit the socket's buffer.
const MAX_ELSEWHERE: usize = 16;

/// Memory that a burst has touched is given back above this size.
const KEEP: usize = 256 * 1024;

/// What each side tells the other beside the lanes, each word on a cache line of its own.
#[repr(C, align(64))]
#[derive(Debug)]
struct Head {
    /// Written by the pool: answers below this number have been read.
    answers_read: AtomicU64,
    _pad0: [AtomicU64; 7],
    /// Written by the worker: the frame it is at (upper half), and twice the tasks done plus one if one is started.
    progress: AtomicU64,
    _pad1: [AtomicU64; 7],
    /// 1 while the worker sleeps for frames; the pool sets it to 0 and wakes it.
    asleep: AtomicU32,
    _pad2: [AtomicU32; 15],
    /// 1 while the worker sleeps for room for its answers.
    blocked: AtomicU32,
    _pad3: [AtomicU32; 15],
}

// SAFETY: repr(C), atomics only; the padding is spelled out.
#[allow(unsafe_code)]
unsafe impl Atomics for Head {}

/// The memory of one link, seen by either side.
#[derive(Clone, Debug)]
struct Shared(Arc<Mapping>);

impl Shared {
    fn head(&self) -> &Head {
        self.0.view(0)
    }

    fn tasks(&self) -> &Slots {
        self.0.view(TASK_SLOTS)
    }

    fn answers(&self) -> &Slots {
        self.0.view(ANSWER_SLOTS)
    }

    fn data(&self, at: usize) -> SharedBytes<'_> {
        // The length was checked when the file was mapped; an empty piece would refuse every access.
        let all = self.0.bytes();
        all.slice(at, DATA).or_else(|| all.slice(0, 0)).unwrap_or(all)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The pool's end.
#[derive(Debug)]
pub(crate) struct RingLink {
    shared: Shared,
    file: Arc<OwnedFd>,
    control: Control,
    next_frame: u64,
    released: u64,
    arena: Arena,
    /// Payloads that travel in memory files of their own, kept until the frame is released.
    elsewhere: BTreeMap<u64, Vec<u8>>,
    next_answer: u64,
}

/// Makes the memory of a link and the pool's end of it.
pub(crate) fn create(control: Control) -> io::Result<RingLink> {
    let (file, mapping) = memory::create_mapped("multiproc-link", LEN)?;
    Ok(RingLink {
        shared: Shared(Arc::new(mapping)),
        file: Arc::new(file),
        control,
        next_frame: 0,
        released: 0,
        arena: Arena::new(DATA),
        elsewhere: BTreeMap::new(),
        next_answer: 0,
    })
}

impl RingLink {
    /// The memory file, for the worker.
    pub(crate) fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    fn answer(&mut self, record: Record, place: Place, open: bool) -> io::Result<Answer> {
        let kind = match record.kind {
            0 => AnswerKind::Values,
            1 => AnswerKind::Failure,
            _ => return Err(damaged("an answer of an unknown kind")),
        };
        let payload = match place {
            Place::Inline(bytes, len) => Payload::Inline(bytes, len),
            Place::Data(start, len) => Payload::Mapped(Arc::clone(&self.shared.0), ANSWER_DATA + start, len),
            Place::Elsewhere if open => Payload::Own(Vec::new()),
            Place::Elsewhere => {
                let (mapping, len) = self.control.receive_bytes()?;
                Payload::Mapped(Arc::new(mapping), 0, len)
            }
        };
        let [seq, span, nanos] = record.fields;
        Ok(Answer { kind, seq, first: span as u32, count: (span >> 32) as u32, nanos, payload })
    }
}

impl Link for RingLink {
    fn depth(&self) -> usize {
        SLOTS
    }

    fn send(&mut self, frame: &Frame, payload: &[u8]) -> io::Result<Option<u64>> {
        let seq = self.next_frame;
        if seq - self.released >= SLOTS as u64 {
            return Ok(None);
        }
        let place = match Place::inline(payload) {
            Some(place) => place,
            None if payload.len() > self.arena.capacity() => {
                if self.elsewhere.len() >= MAX_ELSEWHERE {
                    return Ok(None);
                }
                self.control.send_bytes(payload, &[])?;
                self.elsewhere.insert(seq, payload.to_vec());
                Place::Elsewhere
            }
            None => {
                let Some(start) = self.arena.take(seq, payload.len()) else { return Ok(None) };
                if !self.shared.data(TASK_DATA).write(start, payload) {
                    return Err(damaged("the ring is smaller than its data"));
                }
                Place::Data(start, payload.len())
            }
        };
        let record = Record {
            kind: match frame.kind {
                FrameKind::Tasks => 0,
                FrameKind::Header => 1,
                FrameKind::Forget => 2,
                FrameKind::Stop => 3,
            },
            tag: frame.skip,
            fields: [frame.header, frame.first, u64::from(frame.count)],
        };
        self.shared.tasks().publish(seq, &record, &place);
        self.next_frame += 1;
        Ok(Some(seq))
    }

    fn sent(&self) -> u64 {
        self.next_frame
    }

    fn connected(&mut self) -> io::Result<()> {
        Err(damaged("a worker of a ring link has nothing to connect to"))
    }

    fn has_answer(&self) -> bool {
        !matches!(self.shared.answers().look(self.next_answer), Found::Nothing | Found::Open)
    }

    fn flush(&mut self) {
        // SYNC: worker asleep
        fence(Ordering::SeqCst);
        let word = &self.shared.head().asleep;
        if word.load(Relaxed) != 0 && word.swap(0, Relaxed) != 0 {
            futex::wake(word, 1);
        }
    }

    fn is_awake(&self) -> bool {
        self.shared.head().asleep.load(Relaxed) == 0
    }

    #[inline]
    fn receive(&mut self) -> io::Result<Option<Answer>> {
        match self.shared.answers().look(self.next_answer) {
            Found::Nothing | Found::Open => Ok(None),
            Found::Revoked | Found::Garbage => Err(damaged("an answer slot in an impossible state")),
            Found::Ready => {
                let Some((record, place)) = self.shared.answers().read(self.next_answer, DATA) else {
                    return Err(damaged("an answer with an impossible length"));
                };
                self.answer(record, place, false).map(Some)
            }
        }
    }

    fn consumed(&mut self) {
        self.next_answer += 1;
        let head = self.shared.head();
        // SYNC: answers read
        head.answers_read.store(self.next_answer, Release);
        fence(Ordering::SeqCst);
        if head.blocked.load(Relaxed) != 0 && head.blocked.swap(0, Relaxed) != 0 {
            futex::wake(&head.blocked, 1);
        }
    }

    fn salvage(&mut self) -> io::Result<Option<Answer>> {
        if self.shared.answers().look(self.next_answer) != Found::Open {
            return Ok(None);
        }
        match self.shared.answers().read(self.next_answer, DATA) {
            Some((record, place)) => self.answer(record, place, true).map(Some),
            None => Err(damaged("an unfinished answer with an impossible length")),
        }
    }

    fn progress(&self) -> Progress {
        // SYNC: task started
        let word = self.shared.head().progress.load(Acquire);
        let (seq, step) = (word >> 32, word as u32);
        // The upper half holds the low 32 bits of the number; it is within 2^31 of what was released.
        let seq = self.released.wrapping_add(u64::from((seq as u32).wrapping_sub(self.released as u32)));
        Progress { seq, started: step.div_ceil(2), done: step / 2 }
    }

    fn revoke(&mut self, seq: u64) -> bool {
        self.shared.tasks().revoke(seq)
    }

    fn payload(&self, seq: u64) -> Vec<u8> {
        if let Some(bytes) = self.elsewhere.get(&seq) {
            return bytes.clone();
        }
        match self.shared.tasks().read(seq, DATA) {
            Some((_, Place::Inline(bytes, len))) => bytes[..len].to_vec(),
            Some((_, Place::Data(start, len))) => {
                Payload::Mapped(Arc::clone(&self.shared.0), TASK_DATA + start, len).to_vec()
            }
            // Only a worker that wrote into its own ring can bring this about; the tasks will not decode.
            _ => Vec::new(),
        }
    }

    fn release_below(&mut self, seq: u64) {
        self.released = self.released.max(seq);
        self.arena.release_below(seq);
        if !self.elsewhere.is_empty() {
            self.elsewhere = self.elsewhere.split_off(&seq);
        }
    }

    fn trim(&mut self) {
        let used = self.arena.take_high_water();
        if !self.arena.is_empty() || self.released != self.next_frame {
            return;
        }
        // With nothing under way the worker writes no answers either. What it has used of its area is not known here;
        // punching a hole where there are no pages costs next to nothing.
        let areas = [(TASK_DATA, used), (ANSWER_DATA, DATA)];
        for (start, used) in areas.into_iter().filter(|area| area.1 > KEEP) {
            // Without it the memory stays in use, which is no error.
            let _ = memory::punch(self.file.as_fd(), (start + KEEP) as u64, (used - KEEP) as u64);
        }
    }
}

/// The worker's end.
pub(crate) struct RingWorker {
    shared: Shared,
    control: Control,
    bell: Bell,
    spinner: Spinner,
    next_frame: u64,
    next_answer: u64,
    arena: Arena,
    /// The answer that is being written.
    open: Option<OpenAnswer>,
    /// The frame that is being answered, and when the pool was last told of an answer.
    seq: u64,
    count: u32,
    /// The value of the last task, when it is small and the only one of its answer.
    single: Option<(Record, Place)>,
    unrung: bool,
    rung: Instant,
}

/// Values are gathered here until the frame is finished or a failure comes between.
#[derive(Debug)]
struct OpenAnswer {
    first: u32,
    count: u32,
    start: usize,
    room: usize,
    len: usize,
}

/// The pool hears of answers at the latest this long after the last time, as long as more frames are waiting.
const RING_EVERY: Duration = Duration::from_micros(50);

impl RingWorker {
    /// Opens the worker's end in a mapped link file.
    pub(crate) fn new(memory: Mapping, control: Control, bell: Bell) -> io::Result<RingWorker> {
        if memory.bytes().len() != LEN {
            return Err(damaged("the link has the wrong size"));
        }
        Ok(RingWorker {
            shared: Shared(Arc::new(memory)),
            control,
            bell,
            spinner: Spinner::new(),
            next_frame: 0,
            next_answer: 0,
            arena: Arena::new(DATA),
            open: None,
            seq: 0,
            count: 0,
            single: None,
            unrung: false,
            rung: Instant::now(),
        })
    }

    fn at(&self, seq: u64, step: u32) -> u64 {
        (seq & 0xffff_ffff) << 32 | u64::from(step)
    }

    /// Passes over frames that were taken back; what the slot after them holds.
    fn look(&mut self) -> Found {
        loop {
            let found = self.shared.tasks().look(self.next_frame);
            if found != Found::Revoked {
                return found;
            }
            self.next_frame += 1;
            self.shared.head().progress.store(self.at(self.next_frame, 0), Release);
        }
    }

    fn wait_for_frame(&mut self) -> io::Result<()> {
        loop {
            match self.look() {
                Found::Ready => return Ok(()),
                Found::Nothing => {}
                _ => return Err(damaged("a frame slot in an impossible state")),
            }
            let (slots, next) = (self.shared.tasks(), self.next_frame);
            if self.spinner.spin(&self.bell, || slots.look(next) != Found::Nothing) {
                continue;
            }
            let asleep = &self.shared.head().asleep;
            asleep.store(1, Relaxed);
            // SYNC: worker asleep
            fence(Ordering::SeqCst);
            if self.shared.tasks().look(self.next_frame) == Found::Nothing {
                let start = Instant::now();
                self.bell.set_awake(false);
                futex::wait(asleep, 1, slice());
                self.bell.set_awake(true);
                self.spinner.slept(start.elapsed());
            }
            self.shared.head().asleep.store(0, Relaxed);
        }
    }

    /// Waits until the pool has read more answers than `read`.
    fn wait_for_room(&mut self, read: u64) {
        self.flush();
        let head = self.shared.head();
        head.blocked.store(1, Relaxed);
        // SYNC: answers read
        fence(Ordering::SeqCst);
        if head.answers_read.load(Acquire) <= read {
            self.bell.set_awake(false);
            futex::wait(&head.blocked, 1, slice());
            self.bell.set_awake(true);
        }
        self.shared.head().blocked.store(0, Relaxed);
    }

    /// Gives back what the pool has read; the number of answers it has read.
    fn collect(&mut self) -> u64 {
        // SYNC: answers read
        let read = self.shared.head().answers_read.load(Acquire);
        self.arena.release_below(read);
        read
    }

    fn wait_for_slot(&mut self) {
        loop {
            let read = self.collect();
            if self.next_answer.wrapping_sub(read) < SLOTS as u64 {
                return;
            }
            self.wait_for_room(read);
        }
    }

    fn record(&self, kind: u8, first: u32, count: u32, nanos: u64) -> Record {
        Record { kind, tag: 0, fields: [self.seq, u64::from(first) | u64::from(count) << 32, nanos] }
    }

    fn publish(&mut self, record: &Record, place: &Place) {
        self.shared.answers().publish(self.next_answer, record, place);
        self.next_answer += 1;
        self.unrung = true;
    }

    /// Publishes the values gathered so far.
    fn close(&mut self, nanos: u64) {
        if let Some(open) = self.open.take() {
            let record = self.record(0, open.first, open.count, nanos);
            self.arena.commit(self.next_answer, open.start, open.len);
            self.publish(&record, &Place::Data(open.start, open.len));
        }
    }

    /// Room for `len` more bytes in the open answer, opening one if need be; `None` when it must go elsewhere.
    fn make_room(&mut self, at: u32, len: usize) -> Option<()> {
        if self.open.as_ref().is_some_and(|open| open.room - open.len >= len) {
            return Some(());
        }
        self.close(0);
        if len > self.arena.capacity() {
            return None;
        }
        self.wait_for_slot();
        let (start, room) = loop {
            let read = self.collect();
            let (start, room) = self.arena.room();
            if room >= len {
                break (start, room);
            }
            self.wait_for_room(read);
        };
        self.open = Some(OpenAnswer { first: at, count: 0, start, room, len: 0 });
        let record = self.record(0, at, 0, 0);
        self.shared.answers().open(self.next_answer, &record, &Place::Data(start, room));
        Some(())
    }

    fn elsewhere(&mut self, kind: u8, at: u32, head: &[u8], rest: &[u8]) -> io::Result<()> {
        self.wait_for_slot();
        self.control.send_bytes(head, rest)?;
        let record = self.record(kind, at, 1, 0);
        self.publish(&record, &Place::Elsewhere);
        Ok(())
    }

    fn task_record(&self) -> io::Result<(Record, Place)> {
        self.shared.tasks().read(self.next_frame, DATA).ok_or_else(|| damaged("a frame with an impossible length"))
    }
}

impl WorkerLink for RingWorker {
    fn next(&mut self) -> io::Result<Incoming> {
        loop {
            if self.unrung && (self.look() != Found::Ready || self.rung.elapsed() > RING_EVERY) {
                self.flush();
            }
            self.wait_for_frame()?;
            let (record, place) = self.task_record()?;
            if !self.shared.tasks().claim(self.next_frame) {
                continue;
            }
            self.seq = self.next_frame;
            self.next_frame += 1;
            self.shared.head().progress.store(self.at(self.seq, 2 * record.tag), Release);
            let kind = match record.kind {
                0 => FrameKind::Tasks,
                1 => FrameKind::Header,
                2 => FrameKind::Forget,
                3 => FrameKind::Stop,
                _ => return Err(damaged("a frame of an unknown kind")),
            };
            let payload = match place {
                Place::Inline(bytes, len) => Payload::Inline(bytes, len),
                Place::Data(start, len) => Payload::Mapped(Arc::clone(&self.shared.0), TASK_DATA + start, len),
                Place::Elsewhere => {
                    let (mapping, len) = self.control.receive_bytes()?;
                    Payload::Mapped(Arc::new(mapping), 0, len)
                }
            };
            let [header, first, count] = record.fields;
            self.count = count as u32;
            let frame = Frame { kind, header, first, count: self.count, skip: record.tag };
            return Ok(Incoming { frame, payload });
        }
    }

    fn has_next(&self) -> bool {
        self.shared.tasks().look(self.next_frame) == Found::Ready
    }

    #[inline]
    fn start(&mut self, at: u32) {
        // Release: whoever sees this task as started sees the values of those before it.
        // SYNC: task started
        self.shared.head().progress.store(self.at(self.seq, 2 * at + 1), Release);
    }

    #[inline]
    fn value(&mut self, at: u32, head: &[u8], rest: &[u8]) -> io::Result<()> {
        let len = head.len() + rest.len();
        if len <= INLINE && self.open.is_none() && at + 1 == self.count {
            let mut bytes = [0; INLINE];
            bytes[..head.len()].copy_from_slice(head);
            bytes[head.len()..len].copy_from_slice(rest);
            self.wait_for_slot();
            self.single = Some((self.record(0, at, 1, 0), Place::Inline(bytes, len)));
            return Ok(());
        }
        if self.make_room(at, len).is_none() {
            return self.elsewhere(0, at, head, rest);
        }
        if let Some(open) = &mut self.open {
            let area = self.shared.data(ANSWER_DATA);
            if !(area.write(open.start + open.len, head) && area.write(open.start + open.len + head.len(), rest)) {
                return Err(damaged("the ring is smaller than its data"));
            }
            open.len += len;
            open.count += 1;
        }
        Ok(())
    }

    fn failure(&mut self, at: u32, bytes: &[u8]) -> io::Result<()> {
        self.close(0);
        if bytes.len() > self.arena.capacity() / 2 {
            return self.elsewhere(1, at, bytes, &[]);
        }
        self.make_room(at, bytes.len());
        if let Some(open) = self.open.take() {
            if !self.shared.data(ANSWER_DATA).write(open.start, bytes) {
                return Err(damaged("the ring is smaller than its data"));
            }
            let record = self.record(1, at, 1, 0);
            self.arena.commit(self.next_answer, open.start, bytes.len());
            self.publish(&record, &Place::Data(open.start, bytes.len()));
        }
        Ok(())
    }

    fn finish(&mut self, count: u32, nanos: u64) -> io::Result<()> {
        if let Some((mut record, place)) = self.single.take() {
            // Complete in shared memory before the task counts as done, published behind it: so that a process killed
            // in between leaves either a task that is not done, or a value that can be salvaged.
            record.fields[2] = nanos;
            self.shared.answers().open(self.next_answer, &record, &place);
            self.shared.head().progress.store(self.at(self.seq, 2 * count), Release);
            self.publish(&record, &place);
            return Ok(());
        }
        self.shared.head().progress.store(self.at(self.seq, 2 * count), Release);
        self.close(nanos);
        Ok(())
    }

    fn flush(&mut self) {
        if self.unrung {
            self.unrung = false;
            self.rung = Instant::now();
            self.bell.ring();
        }
    }
}
