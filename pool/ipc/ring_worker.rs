//! The ring link, the worker's end: takes frames, gathers the values of their tasks, publishes them.

use crate::attached_fds::AttachedFds;
use crate::codec;
use crate::error::Failure;
use crate::heap::scope::{Pins, attached_in};
use crate::ipc::arena::Arena;
use crate::ipc::arriving;
use crate::ipc::bell::Bell;
use crate::ipc::control::Control;
use crate::ipc::desk::Desk;
use crate::ipc::file_bytes::FileBytes;
use crate::ipc::handles;
use crate::ipc::lane::{Found, INLINE, Place, Record, SLOTS};
use crate::ipc::link::{Frame, FrameKind, Incoming, WorkerLink, damaged};
use crate::ipc::rest::{self, Rest, SLICE, Watch, slice};
use crate::ipc::result_limit::ResultLimit;
use crate::ipc::ring_memory::{self, DATA, RingMemory};
use crate::ipc::spin::Spinner;
use crate::sys::{large_vec, usage};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// The worker's end.
pub(crate) struct RingWorker {
    memory: RingMemory,
    control: Control,
    limit: ResultLimit,
    bell: Bell,
    spinner: Spinner,
    next_frame: u64,
    next_answer: u64,
    /// How many answers the pool had read at the last look.
    read: u64,
    arena: Arena,
    /// The answer that is being written.
    open: Option<OpenAnswer>,
    /// The frame that is being answered.
    seq: u64,
    count: u32,
    /// The value of the last task, when it is small and the only one of its answer.
    single: Option<(Record, Place)>,
    /// The pool was not told of some answers, and how many nanoseconds the frames have taken since it was told the last time.
    unrung: bool,
    quiet: u64,
    /// What answers refer to, by their number: kept until the pool has read them.
    pins: VecDeque<(u64, Pins)>,
    /// Who is told when the worker rests.
    watch: Option<&'static Watch>,
    /// The file with the last answer that went in one, and the number of that answer.
    file: Option<(u64, FileBytes)>,
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

/// What a frame has sent beside the ring: the length of its payload and a file for that, and its attached descriptors.
type Beside = (Option<(u64, OwnedFd)>, Vec<Arc<AttachedFds>>);

/// The pool hears of answers at the latest so many nanoseconds after the last time, as long as more frames are waiting.
const RING_EVERY: u64 = 50_000;

impl RingWorker {
    /// Opens the worker's end with the descriptors of [`RingLink::files`](crate::ipc::ring::RingLink::files).
    ///
    /// # Errors
    ///
    /// They are no link, or cannot be mapped.
    pub(crate) fn new(
        [shared, tasks]: [&OwnedFd; 2],
        control: Control,
        bell: Bell,
        limit: ResultLimit,
    ) -> io::Result<RingWorker> {
        Ok(RingWorker {
            memory: ring_memory::open(shared, tasks)?,
            control,
            limit,
            bell,
            spinner: Spinner::new(),
            next_frame: 0,
            next_answer: 0,
            read: 0,
            arena: Arena::new(DATA),
            open: None,
            seq: 0,
            count: 0,
            single: None,
            unrung: false,
            quiet: 0,
            pins: VecDeque::new(),
            watch: None,
            file: None,
        })
    }

    /// From now on `watch` is told when the worker rests: this is the end of the process.
    pub(crate) fn set_watch(&mut self, watch: Option<&'static Watch>) {
        self.watch = watch;
    }

    pub(crate) fn desk(&self) -> Desk {
        self.memory.desk()
    }

    /// The number of the frame that was taken last.
    #[inline]
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Passes over frames that were taken back; what the slot after them holds.
    #[inline]
    fn look(&mut self) -> Found {
        let found = self.memory.tasks().look(self.next_frame);
        if found == Found::Revoked { self.look_behind_revoked() } else { found }
    }

    #[cold]
    fn look_behind_revoked(&mut self) -> Found {
        loop {
            let found = self.memory.tasks().look(self.next_frame);
            if found != Found::Revoked {
                return found;
            }
            // The slot is ours until we have passed it. What a frame has sent beside the ring must not be taken for the
            // payload of the next one that does.
            if self
                .task_record()
                .and_then(|(record, place)| self.receive_beside(self.next_frame, &record, &place))
                .is_err()
            {
                return Found::Garbage;
            }
            self.next_frame += 1;
            self.memory.head().note_progress(self.next_frame, 0);
        }
    }

    fn wait_for_frame(&mut self) -> io::Result<()> {
        let mut rest = None;
        loop {
            match self.look() {
                Found::Ready => return Ok(()),
                Found::Nothing if !self.pins.is_empty() || self.file.is_some() => drop(self.collect()),
                Found::Nothing => {}
                _ => return Err(damaged("a frame slot in an impossible state")),
            }
            let (slots, next) = (self.memory.tasks(), self.next_frame);
            if self.spinner.spin(&self.bell, || slots.look(next) != Found::Nothing) {
                continue;
            }
            let asleep = self.memory.head().asleep();
            asleep.prepare();
            if self.memory.tasks().look(self.next_frame) == Found::Nothing {
                let start = Instant::now();
                self.bell.set_awake(false);
                // Only the pool calls, and the worker does not outlive that: a lost call is no matter of a slice here.
                asleep.sleep(if rest.is_some() { rest::long() } else { slice() });
                self.bell.set_awake(true);
                let slept = start.elapsed();
                self.spinner.slept(slept);
                // Memory for a large vector that was kept for long enough is given back. Until then the worker does not rest.
                let may_rest = slept >= SLICE / 8 && !large_vec::is_offered();
                if may_rest && slept >= SLICE && rest.is_none() {
                    rest = Some(Rest::begin(self.watch));
                }
            }
            asleep.rise();
        }
    }

    /// Waits until the pool has read more answers than `read`.
    fn wait_for_room(&mut self, read: u64) {
        self.flush();
        let head = self.memory.head();
        head.sleep_blocked(&self.bell, || head.answers_read() <= read);
    }

    /// Gives back what the pool has read; the number of answers it has read.
    fn collect(&mut self) -> u64 {
        let read = self.memory.head().answers_read();
        self.read = read;
        self.arena.release_below(read);
        while self.pins.front().is_some_and(|(seq, _)| *seq < read) {
            self.pins.pop_front();
        }
        if self.file.as_ref().is_some_and(|(number, _)| *number < read && !self.memory.head().is_returned(*number)) {
            // The pool keeps it, and its memory is to be given back when it was read.
            self.file = None;
        }
        read
    }

    /// A file with these bytes, in pages that are there already if possible.
    fn fill(&mut self, pieces: &[&[u8]]) -> io::Result<FileBytes> {
        let read = self.collect();
        match self.file.take_if(|(number, _)| *number < read) {
            Some((_, mut file)) => file.fill(pieces).map(|()| file),
            None => FileBytes::new(pieces),
        }
    }

    #[inline]
    fn wait_for_slot(&mut self) {
        // As long as there was room for it at the last look, the pool is not asked.
        while self.next_answer.wrapping_sub(self.read) >= SLOTS as u64 {
            let read = self.collect();
            if self.next_answer.wrapping_sub(read) >= SLOTS as u64 {
                self.wait_for_room(read);
            }
        }
    }

    fn record(&self, kind: u8, first: u32, count: u32, nanos: u64) -> Record {
        Record { kind, tag: 0, fields: [self.seq, u64::from(first) | u64::from(count) << 32, nanos] }
    }

    fn publish(&mut self, record: &Record, place: &Place) {
        self.memory.answers().publish(self.next_answer, record, place);
        self.note_published();
    }

    fn note_published(&mut self) {
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
    #[inline]
    fn make_room(&mut self, at: u32, len: usize) -> Option<()> {
        if self.open.as_ref().is_some_and(|open| open.room - open.len >= len) {
            return Some(());
        }
        self.open_answer(at, len)
    }

    #[cold]
    fn open_answer(&mut self, at: u32, len: usize) -> Option<()> {
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
        self.memory.answers().open(self.next_answer, &record, &Place::Data(start, room));
        Some(())
    }

    fn elsewhere(&mut self, record: Record, head: &[u8], rest: &[u8]) -> io::Result<()> {
        self.wait_for_slot();
        let number = self.next_answer;
        let sent = self.fill(&[head, rest]).and_then(|file| {
            self.control.send_bytes(number, file.len(), file.file())?;
            Ok(file)
        });
        match sent {
            Ok(file) => {
                self.publish(&record, &Place::Elsewhere);
                self.file = Some((number, file));
            }
            Err(error) if usage::is_shortage(&error) => {
                return self.refuse(record.fields[1] as u32, &error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Gives, instead of what task `at` has returned, why that cannot be sent.
    #[cold]
    fn refuse(&mut self, at: u32, why: &str) -> io::Result<()> {
        let text = format!("it cannot be sent: {why}");
        self.lone(self.record(1, at, 1, 0), &codec::to_bytes(&Failure::Encode { text }))
    }

    /// Publishes an answer of a kind that is never gathered with others.
    fn lone(&mut self, record: Record, bytes: &[u8]) -> io::Result<()> {
        self.close(0);
        if bytes.len() > self.arena.capacity() / 2 {
            return self.elsewhere(record, bytes, &[]);
        }
        let at = record.fields[1] as u32;
        self.make_room(at, bytes.len());
        if let Some(open) = self.open.take() {
            if !self.memory.answer_data().write(open.start, bytes) {
                return Err(damaged("the ring is smaller than its data"));
            }
            self.arena.commit(self.next_answer, open.start, bytes.len());
            self.publish(&record, &Place::Data(open.start, bytes.len()));
        }
        Ok(())
    }

    /// What frame `seq` has sent beside the ring.
    #[inline]
    fn receive_beside(&self, seq: u64, record: &Record, place: &Place) -> io::Result<Beside> {
        let attached = match record.fields[2] >> 32 {
            0 => Vec::new(),
            count => self.control.receive_attached(seq, count as usize, false)?,
        };
        let file = match place {
            Place::Elsewhere | Place::Passing(..) => Some(self.control.receive_file(seq)?),
            Place::Inline(..) | Place::Data(..) => None,
        };
        Ok((file, attached))
    }

    #[inline]
    fn task_record(&self) -> io::Result<(Record, Place)> {
        self.memory
            .tasks()
            .slots
            .read(self.next_frame, DATA)
            .ok_or_else(|| damaged("a frame with an impossible length"))
    }
}

impl WorkerLink for RingWorker {
    #[inline]
    fn next(&mut self) -> io::Result<Incoming> {
        // Whatever came before is finished: the pool may use its room again, also that of frames without an answer.
        self.memory.head().note_progress(self.next_frame, 0);
        let mut waited = false;
        loop {
            let found = self.look();
            if self.unrung && (found != Found::Ready || self.quiet > RING_EVERY) {
                self.flush();
            }
            if found != Found::Ready {
                waited = true;
                self.wait_for_frame()?;
            }
            let (record, place) = self.task_record()?;
            if !self.memory.tasks().claim(self.next_frame) {
                continue;
            }
            self.seq = self.next_frame;
            self.next_frame += 1;
            if record.tag > 0 {
                self.memory.head().note_progress(self.seq, 2 * record.tag);
            }
            let kind = match record.kind {
                0 => FrameKind::Tasks,
                1 => FrameKind::Header,
                2 => FrameKind::Forget,
                3 => {
                    // It may be long until the pool hears of the end of this process.
                    self.flush();
                    FrameKind::Stop
                }
                _ => return Err(damaged("a frame of an unknown kind")),
            };
            let [header, first, count] = record.fields;
            let (file, attached) = self.receive_beside(self.seq, &record, &place)?;
            let payload = arriving::payload(&self.memory, &self.bell, self.seq, (place, file))?;
            // A large frame without an answer may be what the pool waits for to be out of the way.
            self.unrung |= kind != FrameKind::Tasks && !matches!(place, Place::Inline(..));
            self.count = count as u32;
            let frame = Frame { kind, header, first, count: self.count, skip: record.tag };
            return Ok(Incoming { frame, payload, attached, waited });
        }
    }

    fn poll(&mut self) -> bool {
        self.memory.head().note_progress(self.next_frame, 0);
        if !self.pins.is_empty() {
            self.collect();
        }
        // What is damaged is for `next` to say.
        self.look() != Found::Nothing
    }

    #[inline]
    fn start(&mut self, at: u32) {
        self.memory.head().note_progress(self.seq, 2 * at + 1);
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
        if let Err(why) = self.limit.check(len) {
            return self.refuse(at, &why);
        }
        if self.make_room(at, len).is_none() {
            return self.elsewhere(self.record(0, at, 1, 0), head, rest);
        }
        if let Some(open) = &mut self.open {
            let area = self.memory.answer_data();
            if !(area.write(open.start + open.len, head) && area.write(open.start + open.len + head.len(), rest)) {
                return Err(damaged("the ring is smaller than its data"));
            }
            open.len += len;
            open.count += 1;
        }
        Ok(())
    }

    fn value_with_handles(&mut self, at: u32, value: &mut Vec<u8>, pins: Pins) -> io::Result<()> {
        handles::append(value, &pins);
        if let Err(why) = self.limit.check(value.len()) {
            return self.refuse(at, &why);
        }
        self.close(0);
        self.wait_for_slot();
        let attached = attached_in(&pins);
        match self.control.send_attached(self.next_answer, &attached) {
            Ok(()) => {}
            Err(error) if usage::is_shortage(&error) => return self.refuse(at, &error.to_string()),
            Err(error) => return Err(error),
        }
        attached.iter().for_each(|it| it.close());
        self.pins.push_back((self.next_answer, pins));
        let count = u32::try_from(attached.len()).unwrap_or(u32::MAX);
        self.lone(Record { tag: count, ..self.record(2, at, 1, 0) }, value)
    }

    fn taken(&mut self, at: u32) -> io::Result<()> {
        self.lone(self.record(3, at, 1, 0), &[])?;
        self.flush();
        Ok(())
    }

    fn failure(&mut self, at: u32, bytes: &[u8]) -> io::Result<()> {
        if let Err(why) = self.limit.check(bytes.len()) {
            return self.refuse(at, &format!("its failure: {why}"));
        }
        self.lone(self.record(1, at, 1, 0), bytes)
    }

    #[inline]
    fn finish(&mut self, count: u32, nanos: u64) -> io::Result<()> {
        self.quiet = self.quiet.saturating_add(nanos);
        if let Some((mut record, place)) = self.single.take() {
            // Complete in shared memory before the task counts as done, published behind it: so that a process killed
            // in between leaves either a task that is not done, or a value that can be salvaged.
            record.fields[2] = nanos;
            self.memory.answers().open(self.next_answer, &record, &place);
            self.memory.head().note_progress(self.seq, 2 * count);
            self.memory.answers().close(self.next_answer);
            self.note_published();
            return Ok(());
        }
        self.memory.head().note_progress(self.seq, 2 * count);
        self.close(nanos);
        Ok(())
    }

    fn flush(&mut self) {
        if self.unrung {
            self.unrung = false;
            self.bell.ring();
        }
        self.quiet = 0;
    }
}
