//! The payload of a frame that the pool still writes while the worker reads it: both copy at the same time.
//!
//! It lies in the data area as a whole, or passes through a window of it: a few MiB that are used again and again. What does not
//! pass, since the worker has not read for a while, is in a file.

use crate::ipc::bell::Bell;
use crate::ipc::lane::{Place, Rest, Slots, WINDOW, Written};
use crate::ipc::link::{Payload, damaged};
use crate::ipc::ring_memory::RingMemory;
use crate::ipc::spin::Spinner;
use crate::sys::copy::{self, PIECE, SharedBytes};
use crate::sys::memory::{self, Mapping, Part};
use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The payload of frame `seq`, of which the record says where it is, and the length and the file of which came beside it.
///
/// # Errors
///
/// It does not lie there.
#[inline]
pub(super) fn payload(
    memory: &RingMemory,
    bell: &Bell,
    seq: u64,
    (place, file): (Place, Option<(u64, OwnedFd)>),
) -> io::Result<Payload> {
    let (len, area, file) = match (place, file) {
        (Place::Inline(bytes, len), _) => return Ok(Payload::Inline(bytes, len)),
        (Place::Data(start, len), _) if memory.tasks().slots.written(seq).len >= len => {
            return Ok(memory.task_payload(start, len));
        }
        (Place::Data(start, len), _) => (len, memory.task_part(start, len), None),
        (Place::Passing(start, len), Some((_, file))) => (len, memory.task_part(start, WINDOW), Some(file)),
        (Place::Elsewhere, Some((len, file))) => return Payload::in_file(len, file),
        (Place::Passing(..) | Place::Elsewhere, None) => return Err(damaged("a frame without its payload")),
    };
    let (memory, bell, spinner) = (memory.clone(), bell.clone(), Spinner::new());
    Ok(Payload::Arriving(Box::new(Arriving { memory, bell, spinner, seq, len, area, file, rest: OnceCell::new() })))
}

/// Such a payload, as the worker sees it.
struct Arriving {
    memory: RingMemory,
    bell: Bell,
    spinner: Spinner,
    /// The frame.
    seq: u64,
    len: usize,
    /// Where all of it lies; or the window, if that is shorter.
    area: Part,
    /// The file for what does not pass through the window.
    file: Option<OwnedFd>,
    rest: OnceCell<Mapping>,
}

impl Arriving {
    fn slots(&self) -> &Slots {
        self.memory.tasks().slots
    }

    fn is_passing(&self) -> bool {
        self.area.bytes().len() < self.len
    }

    /// Waits until there is something behind `at`, or nothing more comes.
    fn written_behind(&self, at: usize) -> Written {
        let there = |behind: usize| {
            let written = self.slots().written(self.seq);
            (written.len > behind || written.rest != Rest::Follows).then_some(written)
        };
        let look = || there(at).is_none().then(|| self.slots().written(self.seq).len);
        let enough = match self.spinner.follow(&self.bell, look) {
            true => at,
            // The pool does not run, or needs this CPU: it is not to be disturbed for each piece.
            false if self.is_passing() => (at + WINDOW / 2).min(self.len) - 1,
            false => self.len - 1,
        };
        loop {
            if let Some(written) = there(enough) {
                return written;
            }
            self.memory.head().sleep_blocked(&self.bell, || there(enough).is_none());
        }
    }

    /// What the file has from `at` on.
    fn in_file(&self, at: usize) -> io::Result<SharedBytes<'_>> {
        let file = self.file.as_ref().ok_or_else(|| damaged("a frame without its file"))?;
        if self.rest.get().is_none() {
            let _ = self.rest.set(memory::map_for_reading(file.as_fd())?);
        }
        let rest = self.rest.get().and_then(|rest| rest.bytes().slice(at, self.len - at));
        rest.ok_or_else(|| damaged("a frame whose file is too short"))
    }
}

impl copy::Arriving for Arriving {
    fn len(&self) -> usize {
        self.len
    }

    /// Does not end before the pool has written that much. If the pool ends before that, so does the worker's process.
    fn wait_for(&self, at: usize) -> io::Result<SharedBytes<'_>> {
        let area = self.area.bytes();
        if at >= self.len {
            return Ok(area.slice(0, 0).unwrap_or(area));
        }
        let written = self.written_behind(at);
        let (from, there) = (at % area.len(), written.len.saturating_sub(at));
        match written.rest {
            _ if there > 0 => {
                let piece = area.slice(from, there.min(PIECE).min(area.len() - from));
                piece.ok_or_else(|| damaged("a frame outside of its room"))
            }
            Rest::InFile => self.in_file(at),
            Rest::Follows | Rest::Lost => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    fn pass(&self, at: usize) {
        if self.is_passing() {
            self.memory.head().note_passed(self.seq, at);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.is_passing() {
            self.memory.head().note_all_passed(self.seq);
        }
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arriving { seq, len, area, .. } = self;
        f.debug_struct("Arriving").field("seq", seq).field("len", len).field("area", area).finish_non_exhaustive()
    }
}
