//! How the pool passes a large payload through a window of the data area while the worker reads it: memory that is new to a
//! process costs several times what the copies do, and a window is used again and again.
//!
//! The pool waits for a worker that reads, and for no other one: what has not passed when the worker has not got on for a moment
//! goes into a file, so the frame is sent when this ends, whatever the worker does.

use crate::ipc::file_bytes::FileBytes;
use crate::ipc::lane::{Place, Record, Rest, WINDOW, Written};
use crate::ipc::link::Parts;
use crate::ipc::ring_memory::RingMemory;
use crate::sys::copy::{PIECE, SharedBytes};
use std::time::{Duration, Instant};

/// How long the pool waits for a worker that reads nothing while `rest` bytes are to come: not longer than these would take into
/// a file, 4 GiB a second at most. A worker that has to give memory back first, or to get some, may stand still for 0.1 s.
fn patience(rest: usize) -> Duration {
    Duration::from_nanos(rest as u64 / 4)
}

/// How long the pool waits in all for a worker that has read `passed` of `len` bytes: a quarter of a GiB a second is as slow as
/// memory was ever got, where it was measured.
fn patience_in_all(passed: usize, len: usize) -> Duration {
    patience(len) + Duration::from_nanos(4 * passed as u64)
}

/// How long the pool rests while the window is full: the worker takes several times that for all of it.
const NAP: Duration = Duration::from_micros(100);

/// What stands before the numbers of the vector that passes has so many bytes at most, so that it is in the window as a whole.
pub(super) const MOST_BEFORE: usize = WINDOW / 4;

/// Publishes frame `seq`, and writes its payload, in the window or into the file.
pub(super) fn publish_and_write(
    memory: &RingMemory,
    (seq, record, start): (u64, &Record, usize),
    window: SharedBytes<'_>,
    payload: &Parts<'_>,
    file: &mut FileBytes,
) {
    let (slots, head) = (memory.tasks().slots, memory.head());
    let (before, len) = (payload.head.len(), payload.len());
    // The window is as long as both sides say.
    let _ = window.write(0, payload.head);
    head.begin_passing(seq);
    slots.publish_early(seq, record, &Place::Passing(start, len), before);
    head.asleep().call();
    let mut at = before;
    let began = Instant::now();
    let (mut seen, mut since) = (0, began);
    while at < len {
        let Some(passed) = head.passed(seq) else {
            // The worker needs no more of it.
            return;
        };
        let under_way = at - passed.min(at);
        if under_way >= WINDOW / 2 {
            head.blocked().call();
        }
        if under_way == WINDOW {
            let now = Instant::now();
            if passed != seen {
                (seen, since) = (passed, now);
            }
            // It may also say that it has read what it was not given.
            if now - since > patience(len - at) || now - began > patience_in_all(passed.min(at), len) {
                break;
            }
            std::thread::sleep(NAP);
            continue;
        }
        let place = at % WINDOW;
        let end = at + PIECE.min(WINDOW - under_way).min(WINDOW - place).min(len - at);
        let _ = window.write(place, &payload.tail[at - before..end - before]);
        at = end;
        slots.note_written(seq, at);
    }
    if at < len {
        let filled = file.fill_from(at, &[&payload.tail[at - before..]]);
        slots.note(seq, Written { len: at, rest: if filled.is_ok() { Rest::InFile } else { Rest::Lost } });
    }
    head.blocked().call();
}

/// The payload once more, of a frame that the worker has not begun: then it has read nothing of it. Of one that it has begun
/// there is none, and nobody asks for that but after a lie of the worker.
pub(super) fn payload(memory: &RingMemory, seq: u64, (start, len): (usize, usize), file: &FileBytes) -> Vec<u8> {
    let written = memory.tasks().slots.written(seq).len.min(len);
    if memory.head().passed(seq) != Some(0) || written > WINDOW {
        return Vec::new();
    }
    let mut bytes = memory.task_payload(start, written).to_vec().unwrap_or_default();
    bytes.extend(file.to_vec_from(written));
    bytes
}
