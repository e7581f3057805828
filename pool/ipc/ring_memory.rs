//! The memory of a ring link: two memory files that only the pool and one worker map.
//!
//! The pool alone writes the **task file**: the frames and their payload. The worker is given a descriptor that can only be
//! mapped for reading, so a stray write of a task ends the process instead of changing what waits behind that task; and
//! whatever the worker has done before it died, the pool takes back what it has sent. Both write the **shared file**: who has
//! taken which frame, how far each is, and the answers.

use crate::ipc::desk::Desk;
use crate::ipc::head::Head;
use crate::ipc::lane::{Claims, Slots, TaskLane};
use crate::ipc::link::{Payload, damaged};
use crate::sys::copy::SharedBytes;
use crate::sys::memory::{self, Mapping, Part, View};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Bytes of each data area. Sparse: only what is used takes memory.
pub(super) const DATA: usize = (64 + 8) << 20;

/// Where the parts of the shared file are.
pub(super) const CLAIMS: usize = 4096;
pub(super) const ANSWER_SLOTS: usize = CLAIMS + size_of::<Slots>();
pub(super) const ANSWER_DATA: usize = (ANSWER_SLOTS + size_of::<Slots>()).next_multiple_of(4096);
const SHARED_LEN: usize = ANSWER_DATA + DATA;

/// Where the data is in the task file: behind the slots.
const TASK_DATA: usize = size_of::<Slots>().next_multiple_of(4096);
const TASKS_LEN: usize = TASK_DATA + DATA;

/// Memory that a burst has touched is given back above this size.
const KEEP: usize = 256 * 1024;

/// The files, as far as the pool needs their descriptors: each costs every start of a process of this one some 100 ns, since
/// the kernel copies the table of descriptors for it and closes them one by one.
#[derive(Debug)]
pub(super) struct Files {
    shared: Arc<OwnedFd>,
    /// The task file, by its mapping.
    tasks: Arc<Mapping>,
}

impl Files {
    /// Gives memory back of which nothing is in use: `used` bytes of the tasks' data have been, and nobody knows how many of
    /// the answers'. A hole where there are no pages costs next to nothing.
    pub(super) fn trim(&self, used: usize) {
        // Without it the memory stays in use, which is no error.
        if used > KEEP {
            let _ = self.tasks.punch(TASK_DATA + KEEP, used - KEEP);
        }
        let _ = memory::punch(self.shared.as_fd(), (ANSWER_DATA + KEEP) as u64, (DATA - KEEP) as u64);
    }

    /// How many bytes from `start` on in the answers' data the worker can have written, if it may have written `len`: up to the
    /// first page that nobody has touched.
    pub(super) fn used(&self, start: usize, len: usize) -> usize {
        let from = ANSWER_DATA + start;
        let end = memory::first_hole(self.shared.as_fd(), from as u64).and_then(|end| usize::try_from(end).ok());
        end.map_or(len, |end| len.min(end.saturating_sub(from)))
    }
}

/// The memory of one link, as one of the two sides has mapped it.
#[derive(Clone, Debug)]
pub(super) struct RingMemory {
    /// What each frame needs, in the two files.
    head: View<Head>,
    claims: View<Claims>,
    frames: View<Slots>,
    answers: View<Slots>,
    /// The pool can write there, the worker cannot.
    task_data: Part,
    answer_data: Part,
}

/// Makes the files, and maps them for the pool; with the descriptors for the worker, those of the shared file and of the task
/// file, the latter for reading.
pub(super) fn create() -> io::Result<(Files, RingMemory, [Arc<OwnedFd>; 2])> {
    let (shared, shared_memory) = memory::create_mapped("multiproc-link", SHARED_LEN)?;
    let (tasks, tasks_memory) = memory::create_mapped("multiproc-tasks", TASKS_LEN)?;
    let tasks_for_worker = Arc::new(memory::reopen_for_reading(tasks.as_fd())?);
    let (shared, memory) = (Arc::new(shared), RingMemory::new(shared_memory, tasks_memory));
    let files = Files { shared: Arc::clone(&shared), tasks: Arc::clone(memory.task_data.mapping()) };
    Ok((files, memory, [shared, tasks_for_worker]))
}

/// Maps the files for the worker.
///
/// # Errors
///
/// They are not those of a link.
pub(super) fn open(shared: &OwnedFd, tasks: &OwnedFd) -> io::Result<RingMemory> {
    let (shared, tasks) = (memory::map(shared.as_fd())?, memory::map_for_reading(tasks.as_fd())?);
    if (shared.bytes().len(), tasks.bytes().len()) != (SHARED_LEN, TASKS_LEN) {
        return Err(damaged("the link has the wrong size"));
    }
    Ok(RingMemory::new(shared, tasks))
}

impl RingMemory {
    /// Of mappings that are as long as such files.
    fn new(shared: Mapping, tasks: Mapping) -> RingMemory {
        let (shared, tasks) = (Arc::new(shared), Arc::new(tasks));
        let (head, claims) = (View::new(&shared, 0), View::new(&shared, CLAIMS));
        let (frames, answers) = (View::new(&tasks, 0), View::new(&shared, ANSWER_SLOTS));
        let (task_data, answer_data) = (Part::new(&tasks, TASK_DATA, DATA), Part::new(&shared, ANSWER_DATA, DATA));
        RingMemory { head, claims, frames, answers, task_data, answer_data }
    }

    pub(super) fn desk(&self) -> Desk {
        Desk::of(self.answer_data.mapping())
    }

    #[inline]
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    #[inline]
    pub(super) fn tasks(&self) -> TaskLane<'_> {
        TaskLane { slots: &self.frames, claims: &self.claims }
    }

    #[inline]
    pub(super) fn answers(&self) -> &Slots {
        &self.answers
    }

    /// Where the pool writes the payload of frames.
    #[inline]
    pub(super) fn task_data(&self) -> SharedBytes<'_> {
        self.task_data.bytes()
    }

    /// Where the worker writes the payload of answers.
    #[inline]
    pub(super) fn answer_data(&self) -> SharedBytes<'_> {
        self.answer_data.bytes()
    }

    /// A part of [`RingMemory::task_data`], as its record says.
    ///
    /// # Panics
    ///
    /// Panics when it does not lie inside, which is checked where a record is read.
    pub(super) fn task_part(&self, start: usize, len: usize) -> Part {
        Part::new(self.task_data.mapping(), TASK_DATA + start, len)
    }

    /// The same, as a payload.
    pub(super) fn task_payload(&self, start: usize, len: usize) -> Payload {
        Payload::Mapped(Arc::clone(self.task_data.mapping()), TASK_DATA + start, len)
    }

    /// A part of [`RingMemory::answer_data`].
    pub(super) fn answer_payload(&self, start: usize, len: usize) -> Payload {
        Payload::Mapped(Arc::clone(self.answer_data.mapping()), ANSWER_DATA + start, len)
    }
}
