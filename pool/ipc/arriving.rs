//! The payload of a frame that the pool still writes while the worker reads it: both copy at the same time.

use crate::ipc::bell::Bell;
use crate::ipc::ring_memory::RingMemory;
use crate::ipc::spin::Spinner;
use crate::sys::copy::{self, SharedBytes};
use crate::sys::memory::Part;
use std::fmt;

/// A part of the task file, as the worker sees it.
pub(crate) struct Arriving {
    memory: RingMemory,
    bell: Bell,
    spinner: Spinner,
    /// The frame.
    seq: u64,
    part: Part,
}

impl Arriving {
    /// The payload of frame `seq`: `len` bytes of the data area from `start` on, of which those before the last body are there.
    pub(super) fn new(memory: &RingMemory, bell: &Bell, seq: u64, (start, len): (usize, usize)) -> Arriving {
        Arriving {
            memory: memory.clone(),
            bell: bell.clone(),
            spinner: Spinner::new(),
            seq,
            part: memory.task_part(start, len),
        }
    }
}

impl copy::Arriving for Arriving {
    fn bytes(&self) -> SharedBytes<'_> {
        self.part.bytes()
    }

    /// Does not end before the pool has written that much. If the pool ends before that, so does the worker's process.
    fn wait_for(&self, len: usize) {
        let (slots, head) = (self.memory.tasks().slots, self.memory.head());
        if self.spinner.follow(&self.bell, || Some(slots.written(self.seq)).filter(|written| *written < len)) {
            return;
        }
        // The pool does not run, or needs this CPU: it is not to be disturbed for each piece.
        let is_missing = || slots.written(self.seq) < self.part.bytes().len();
        while is_missing() {
            head.sleep_blocked(&self.bell, is_missing);
        }
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").field("seq", &self.seq).field("part", &self.part).finish_non_exhaustive()
    }
}
