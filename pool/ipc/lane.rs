//! One direction of a link: records in a circular array of slots, their payload in a circular data area, both in memory
//! that two processes map.
//!
//! The producer fills a slot and then publishes it with one store to its state word; the consumer polls the very line
//! that holds the record, so a small record costs one transfer of one cache line. There is no shared head or tail.
//!
//! ## Memory ordering
//!
//! Everything is published through the state word of a slot: fields and payload are written first, then the state is
//! stored with Release; a reader that loads the state with Acquire sees them. Of a record that is published before all of its
//! payload is there, the producer stores how much is, Release, after it has written that, and the consumer loads it, Acquire,
//! before it reads that. (What passes through a window is written over; that the consumer has read it is said in `head.rs`.)
//! Claiming and revoking a frame are
//! compare-exchanges on one claim word, so exactly one of them wins. Nothing else needs an order.

use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::memory::Atomics;
use Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Slots per lane: the most records that can be under way.
pub(crate) const SLOTS: usize = if cfg!(loom) { 2 } else { 256 };

/// Payloads up to this many bytes lie in the slot itself.
pub(crate) const INLINE: usize = 24;

/// A payload that passes through the data area has so many bytes of it in turn.
pub(crate) const WINDOW: usize = 8 << 20;

/// What of the payload is not there is in the file beside it, or was lost: bits of the word that says how much is there.
const IN_FILE: u64 = 1 << 62;
const LOST: u64 = 1 << 63;

/// State of a slot, in the low bits of its state word; the number of the record stands above.
const READY: u64 = 1;
const OPEN: u64 = 4;

/// What has become of a frame, in the low bits of its claim word; its number stands above.
const CLAIMED: u64 = 2;
const REVOKED: u64 = 3;
const STATE_BITS: u32 = 3;

fn state(seq: u64, state: u64) -> u64 {
    seq << STATE_BITS | state
}

/// One record: exactly one cache line.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Slot {
    state: AtomicU64,
    /// Kind in bits 0 to 7, [`Place`] in bits 8 to 15, inline length in bits 16 to 31, tag in bits 32 to 63.
    kind: AtomicU64,
    fields: [AtomicU64; 3],
    /// The payload itself; or its start in the data area, its length, and how many bytes of it are there.
    payload: [AtomicU64; 3],
}

/// The slots of one lane.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Slots([Slot; SLOTS]);

// SAFETY: repr(transparent) over an array of repr(C) structs of eight AtomicU64 each; 64 bytes, so no padding.
unsafe impl Atomics for Slots {}

#[cfg(loom)]
impl Slots {
    pub(crate) fn new() -> Slots {
        let words = || [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
        Slots(std::array::from_fn(|_| Slot {
            state: AtomicU64::new(0),
            kind: AtomicU64::new(0),
            fields: words(),
            payload: words(),
        }))
    }
}

/// What a record says besides its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) tag: u32,
    pub(crate) fields: [u64; 3],
}

/// Where the payload of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the slot: the bytes and how many of them.
    Inline([u8; INLINE], usize),
    /// In the data area: start and length.
    Data(usize, usize),
    /// It passes through the [`WINDOW`] that starts there, and has this length, which is larger. What does not pass is in a
    /// memory file that came over the control socket, at its place.
    Passing(usize, usize),
    /// In a memory file of its own that came over the control socket.
    Elsewhere,
}

/// What there is of a payload that is published before all of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// So many bytes in the data area.
    pub(crate) len: usize,
    pub(crate) rest: Rest,
}

/// What becomes of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Follows,
    InFile,
    /// The producer had no memory for it.
    Lost,
}

/// What a consumer finds in the slot it looks at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet.
    Nothing,
    /// A record that nobody has taken.
    Ready,
    /// A record that the producer took back.
    Revoked,
    /// A record that is being written.
    Open,
    /// Something that our own code never writes.
    Garbage,
}

impl Slots {
    fn slot(&self, seq: u64) -> &Slot {
        &self.0[seq as usize % SLOTS]
    }

    /// Writes everything but the state.
    #[inline]
    fn fill(&self, seq: u64, record: &Record, place: &Place) {
        let slot = self.slot(seq);
        let (place_code, inline_len) = match *place {
            Place::Inline(bytes, len) => {
                for (word, bytes) in slot.payload.iter().zip(bytes.chunks_exact(8)) {
                    word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Relaxed);
                }
                (0, len as u64)
            }
            Place::Data(start, len) => {
                slot.payload[0].store(start as u64, Relaxed);
                slot.payload[1].store(len as u64, Relaxed);
                slot.payload[2].store(len as u64, Relaxed);
                (1, 0)
            }
            Place::Elsewhere => (2, 0),
            Place::Passing(start, len) => {
                slot.payload[0].store(start as u64, Relaxed);
                slot.payload[1].store(len as u64, Relaxed);
                (3, 0)
            }
        };
        for (word, value) in slot.fields.iter().zip(record.fields) {
            word.store(value, Relaxed);
        }
        let kind = u64::from(record.kind) | place_code << 8 | inline_len << 16 | u64::from(record.tag) << 32;
        slot.kind.store(kind, Relaxed);
    }

    /// Publishes record `seq`. The slot must be free: whoever used it before was told so by the producer's accounting.
    #[inline]
    pub(crate) fn publish(&self, seq: u64, record: &Record, place: &Place) {
        self.fill(seq, record, place);
        self.close(seq);
    }

    /// Publishes record `seq`, of whose payload in the data area only the first `written` bytes are there.
    pub(crate) fn publish_early(&self, seq: u64, record: &Record, place: &Place, written: usize) {
        self.fill(seq, record, place);
        self.note_written(seq, written);
        self.close(seq);
    }

    /// The first `len` bytes of the payload of record `seq` are there, and the rest follows.
    pub(crate) fn note_written(&self, seq: u64, len: usize) {
        self.note(seq, Written { len, rest: Rest::Follows });
    }

    /// What there is of the payload of record `seq`.
    pub(crate) fn note(&self, seq: u64, Written { len, rest }: Written) {
        let rest = match rest {
            Rest::Follows => 0,
            Rest::InFile => IN_FILE,
            Rest::Lost => LOST,
        };
        // SYNC: part of a record
        self.slot(seq).payload[2].store(len as u64 | rest, Release);
    }

    /// What there is of the payload of record `seq`, which lies in the data area or passes through it.
    pub(crate) fn written(&self, seq: u64) -> Written {
        // SYNC: part of a record
        let word = self.slot(seq).payload[2].load(Acquire);
        let rest = match word & (IN_FILE | LOST) {
            0 => Rest::Follows,
            IN_FILE => Rest::InFile,
            _ => Rest::Lost,
        };
        Written { len: (word & !(IN_FILE | LOST)) as usize, rest }
    }

    /// Shows record `seq` as being written, so that what is complete of it can be read should the producer die.
    pub(crate) fn open(&self, seq: u64, record: &Record, place: &Place) {
        self.fill(seq, record, place);
        // SYNC: record open
        self.slot(seq).state.store(state(seq, OPEN), Release);
    }

    /// Publishes record `seq`, which is complete as it was opened.
    pub(crate) fn close(&self, seq: u64) {
        // SYNC: record published
        self.slot(seq).state.store(state(seq, READY), Release);
    }

    /// What slot `seq` holds for the consumer whose next record is `seq`.
    #[inline]
    pub(crate) fn look(&self, seq: u64) -> Found {
        // SYNC: record published, record open
        let word = self.slot(seq).state.load(Acquire);
        if word == state(seq, READY) {
            return Found::Ready;
        }
        // What stands there from the last time round, or nothing at all on the first.
        let last = seq.checked_sub(SLOTS as u64);
        match (word >> STATE_BITS, word & ((1 << STATE_BITS) - 1)) {
            (0, 0) if last.is_none() => Found::Nothing,
            (at, READY | OPEN) if Some(at) == last => Found::Nothing,
            (at, OPEN) if at == seq => Found::Open,
            _ => Found::Garbage,
        }
    }

    /// Reads record `seq`; `None` when a length or place is impossible for a data area of `capacity` bytes.
    ///
    /// Each word is read once, so that what was checked is what is used.
    #[inline]
    pub(crate) fn read(&self, seq: u64, capacity: usize) -> Option<(Record, Place)> {
        let slot = self.slot(seq);
        let kind = slot.kind.load(Relaxed);
        let fields = [0, 1, 2].map(|at: usize| slot.fields[at].load(Relaxed));
        let payload = [0, 1, 2].map(|at: usize| slot.payload[at].load(Relaxed));
        let place = match kind >> 8 & 0xff {
            0 => {
                let len = (kind >> 16 & 0xffff) as usize;
                let mut bytes = [0; INLINE];
                for (target, word) in bytes.chunks_exact_mut(8).zip(payload) {
                    target.copy_from_slice(&word.to_ne_bytes());
                }
                (len <= INLINE).then_some(Place::Inline(bytes, len))?
            }
            1 => {
                let start = usize::try_from(payload[0]).ok()?;
                let len = usize::try_from(payload[1]).ok()?;
                (start.checked_add(len)? <= capacity).then_some(Place::Data(start, len))?
            }
            2 => Place::Elsewhere,
            3 => {
                let (start, len) = (usize::try_from(payload[0]).ok()?, usize::try_from(payload[1]).ok()?);
                let fits = len > WINDOW && start.checked_add(WINDOW)? <= capacity;
                fits.then_some(Place::Passing(start, len))?
            }
            _ => return None,
        };
        Some((Record { kind: kind as u8, tag: (kind >> 32) as u32, fields }, place))
    }
}

/// Who has which frame: a word for each slot that the pool writes and the worker cannot. It holds the last frame of the slot
/// that was claimed or revoked, so a new one needs no store.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Claims([AtomicU64; SLOTS]);

// SAFETY: repr(transparent) over an array of AtomicU64.
unsafe impl Atomics for Claims {}

#[cfg(loom)]
impl Claims {
    pub(crate) fn new() -> Claims {
        Claims(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// The lane of the frames, of which either the worker takes one or the pool takes it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskLane<'a> {
    pub(crate) slots: &'a Slots,
    pub(crate) claims: &'a Claims,
}

impl TaskLane<'_> {
    /// What slot `seq` holds for the worker, whose next frame is `seq`.
    #[inline]
    pub(crate) fn look(&self, seq: u64) -> Found {
        match self.slots.look(seq) {
            // SYNC: record claimed or revoked
            Found::Ready if self.claim_word(seq).load(Acquire) == state(seq, REVOKED) => Found::Revoked,
            found => found,
        }
    }

    /// The worker takes frame `seq`; false when the pool has taken it back.
    #[inline]
    pub(crate) fn claim(&self, seq: u64) -> bool {
        self.decide(seq, CLAIMED)
    }

    /// The pool takes frame `seq` back; false when the worker has taken it.
    pub(crate) fn revoke(&self, seq: u64) -> bool {
        self.decide(seq, REVOKED)
    }

    fn claim_word(&self, seq: u64) -> &AtomicU64 {
        &self.claims.0[seq as usize % SLOTS]
    }

    #[inline]
    fn decide(&self, seq: u64, outcome: u64) -> bool {
        let word = self.claim_word(seq);
        let before = word.load(Relaxed);
        // What stands there belongs to an earlier frame, or to none; whatever it is, one exchange of it wins.
        let is_decided = before == state(seq, CLAIMED) || before == state(seq, REVOKED);
        // SYNC: record claimed or revoked
        !is_decided && word.compare_exchange(before, state(seq, outcome), AcqRel, Acquire).is_ok()
    }
}

impl Place {
    /// `bytes` as an inline payload, if they are few enough.
    pub(crate) fn inline(bytes: &[u8]) -> Option<Place> {
        let mut inline = [0; INLINE];
        inline.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Place::Inline(inline, bytes.len()))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::memory::private;

    #[test]
    fn records_go_round() {
        let memory = private(size_of::<Slots>() + size_of::<Claims>()).unwrap();
        let (slots, claims): (&Slots, &Claims) = (memory.view(0), memory.view(size_of::<Slots>()));
        for seq in 0..3 * SLOTS as u64 {
            assert_eq!(slots.look(seq), Found::Nothing);
            let record = Record { kind: 3, tag: seq as u32, fields: [seq, 2, 3] };
            let place = Place::inline(&seq.to_ne_bytes()).unwrap();
            slots.open(seq, &record, &place);
            assert_eq!(slots.look(seq), Found::Open);
            slots.publish(seq, &record, &place);
            assert_eq!(slots.look(seq), Found::Ready);
            assert_eq!(slots.read(seq, 0), Some((record, place)));
            let lane = TaskLane { slots, claims };
            assert_eq!(lane.look(seq), Found::Ready);
            if seq % 2 == 0 {
                assert!(lane.claim(seq) && !lane.revoke(seq));
            } else {
                assert!(lane.revoke(seq) && !lane.claim(seq));
                assert_eq!(lane.look(seq), Found::Revoked);
            }
        }
    }

    #[test]
    fn garbage_is_told_from_nothing() {
        let memory = private(size_of::<Slots>()).unwrap();
        let slots: &Slots = memory.view(0);
        assert!(memory.bytes().write(0, &[0xff; 64]));
        assert_eq!(slots.look(0), Found::Garbage);
        assert_eq!(slots.read(0, 4096), None);
        slots.publish(1, &Record::default(), &Place::Data(4000, 100));
        let written = |len, rest| Written { len, rest };
        assert_eq!((slots.read(1, 4096), slots.written(1)), (None, written(100, Rest::Follows)));
        assert!(slots.read(1, 4100).is_some());
        slots.publish_early(2, &Record::default(), &Place::Data(0, 100), 8);
        assert_eq!((slots.look(2), slots.written(2)), (Found::Ready, written(8, Rest::Follows)));
        for passing in [Place::Passing(64, WINDOW + 1), Place::Passing(64, usize::MAX)] {
            slots.publish_early(3, &Record::default(), &passing, 8);
            assert_eq!((slots.read(3, WINDOW + 63), slots.read(3, WINDOW + 64).map(|it| it.1)), (None, Some(passing)));
        }
        slots.publish_early(3, &Record::default(), &Place::Passing(64, WINDOW), 8);
        assert_eq!(slots.read(3, 2 * WINDOW), None);
        for rest in [Rest::Follows, Rest::InFile, Rest::Lost] {
            slots.note(3, written(1 << 40, rest));
            assert_eq!(slots.written(3), written(1 << 40, rest));
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;

    fn lane((slots, claims): &(Slots, Claims)) -> TaskLane<'_> {
        TaskLane { slots, claims }
    }

    #[test]
    fn a_published_record_is_complete_and_goes_to_exactly_one() {
        loom::model(|| {
            let memory = Arc::new((Slots::new(), Claims::new()));
            let record = Record { kind: 1, tag: 7, fields: [1, 2, 3] };
            let consumer = {
                let memory = Arc::clone(&memory);
                loom::thread::spawn(move || {
                    if lane(&memory).look(0) == Found::Ready {
                        assert_eq!(memory.0.read(0, 0).map(|it| it.0), Some(record));
                        return lane(&memory).claim(0);
                    }
                    false
                })
            };
            memory.0.publish(0, &record, &Place::Inline([5; INLINE], 8));
            let revoked = lane(&memory).revoke(0);
            let claimed = consumer.join().unwrap();
            assert!(!(claimed && revoked), "both have it");
            if !revoked {
                assert!(claimed, "nobody has it");
            }
        });
    }

    #[test]
    fn what_is_there_of_a_payload_can_be_read() {
        /// A lane, and the data of its record: the checker reports an access that is not ordered.
        struct Lane(Slots, loom::cell::UnsafeCell<u64>);
        // SAFETY: all access to the cell is what the model checks.
        unsafe impl Sync for Lane {}
        loom::model(|| {
            let lane = Arc::new(Lane(Slots::new(), loom::cell::UnsafeCell::new(0)));
            {
                let lane = Arc::clone(&lane);
                loom::thread::spawn(move || {
                    lane.0.publish_early(0, &Record::default(), &Place::Data(0, 8), 0);
                    // SAFETY: the checker ends the model before an access that another one may race with.
                    lane.1.with_mut(|it| unsafe { *it = 7 });
                    lane.0.note_written(0, 8);
                });
            }
            if lane.0.look(0) == Found::Ready && lane.0.written(0).len == 8 {
                // SAFETY: as above.
                assert_eq!(lane.1.with(|it| unsafe { *it }), 7);
            }
        });
    }

    #[test]
    fn a_record_that_is_being_written_can_be_read() {
        loom::model(|| {
            let slots = Arc::new(Slots::new());
            let record = Record { kind: 1, tag: 7, fields: [1, 2, 3] };
            let place = Place::Data(64, 8);
            {
                let slots = Arc::clone(&slots);
                loom::thread::spawn(move || slots.open(0, &record, &place));
            }
            match slots.look(0) {
                Found::Open => assert_eq!(slots.read(0, 4096), Some((record, place))),
                found => assert_eq!(found, Found::Nothing),
            }
        });
    }
}
