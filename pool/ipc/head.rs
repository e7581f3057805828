//! What the two ends of a ring link tell each other beside the lanes: how far each of them is, and who sleeps.
//!
//! ## Memory ordering
//!
//! The pool stores how many answers it has read, Release, after it has read them; the worker loads that, Acquire, before it
//! writes over their memory (`// SYNC: answers read`). The worker stores its progress, Release, after the values of the tasks
//! that are done; the pool loads it, Acquire, also after the worker's death (`// SYNC: task started`). Of a payload that passes
//! through a window the worker stores how much it has read, Release, after it has; the pool loads that, Acquire, before it writes
//! over it (`// SYNC: part passed`). The two words for sleeping are explained in `sleeper.rs`.

use crate::ipc::bell::Bell;
use crate::ipc::rest::slice;
use crate::ipc::sleeper::Sleeper;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::memory::Atomics;
use Ordering::{Acquire, Release};

/// The words, each on a cache line of its own.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Written by the pool: answers below this number have been read.
    answers_read: AtomicU64,
    /// Written by the pool: the number behind that of the last answer whose file the worker has for itself again.
    file_returned: AtomicU64,
    _pad0: [AtomicU64; 6],
    /// Written by the worker: the frame it is at (upper half), and twice the tasks done plus one if one is started.
    progress: AtomicU64,
    /// Written by the worker, but for the beginning: how many bytes of a payload that passes through a window it has read, below
    /// [`FRAME_BITS`] bits of the number of the frame.
    passed: AtomicU64,
    _pad1: [AtomicU64; 6],
    /// The worker, while it sleeps for frames.
    asleep: AtomicU32,
    _pad2: [AtomicU32; 15],
    /// The worker, while it sleeps for room for its answers, or for the rest of a frame.
    blocked: AtomicU32,
    _pad3: [AtomicU32; 15],
}

/// So many bits of the number of a frame stand above the bytes of it that were read.
const FRAME_BITS: u32 = 16;

/// Most bytes that can be told there; so many say that the worker reads no more of that payload.
const NO_MORE: u64 = u64::MAX >> FRAME_BITS;

// SAFETY: repr(C), atomics only; the padding is spelled out.
unsafe impl Atomics for Head {}

impl Head {
    /// The worker's sleep for frames. The pool calls after it has published some.
    #[inline]
    pub(super) fn asleep(&self) -> Sleeper<'_> {
        Sleeper(&self.asleep)
    }

    /// The worker's sleep for room for its answers, which [`Head::note_read`] ends, or for the rest of a frame, behind which the
    /// pool calls.
    #[inline]
    pub(super) fn blocked(&self) -> Sleeper<'_> {
        Sleeper(&self.blocked)
    }

    /// Has the worker sleep for a slice at most while it `waits` for one of these.
    pub(super) fn sleep_blocked(&self, bell: &Bell, waits: impl Fn() -> bool) {
        self.blocked().prepare();
        if waits() {
            bell.set_awake(false);
            self.blocked().sleep(slice());
            bell.set_awake(true);
        }
        self.blocked().rise();
    }

    /// The pool has read all answers below this number: the worker may use their memory again.
    #[inline]
    pub(super) fn note_read(&self, below: u64) {
        // SYNC: answers read
        self.answers_read.store(below, Release);
        self.blocked().call();
    }

    /// The pool needs the file of this answer no more. To be said before [`Head::note_read`].
    pub(super) fn return_file(&self, answer: u64) {
        // What is in it was read by a system call, before this.
        // SYNC: answers read
        self.file_returned.store(answer + 1, Release);
    }

    /// Whether the file of this answer, which was read, is the worker's again. If the pool has read later ones since, it does
    /// not know of this one any more.
    pub(super) fn is_returned(&self, answer: u64) -> bool {
        // SYNC: answers read
        self.file_returned.load(Acquire) == answer + 1
    }

    /// Below which number the pool has read all answers.
    #[inline]
    pub(super) fn answers_read(&self) -> u64 {
        // SYNC: answers read
        self.answers_read.load(Acquire)
    }

    /// The worker is at step `step` of frame `seq`: twice the tasks done, plus one if one is started.
    #[inline]
    pub(super) fn note_progress(&self, seq: u64, step: u32) {
        // Release: whoever sees a task as started sees the values of those before it.
        // SYNC: task started
        self.progress.store((seq & 0xffff_ffff) << 32 | u64::from(step), Release);
    }

    /// The pool is about to publish frame `seq`, the payload of which passes through a window: nothing of it was read.
    pub(super) fn begin_passing(&self, seq: u64) {
        self.note_passed(seq, 0);
    }

    /// The worker has read the first `len` bytes of the payload of frame `seq`, which passes through a window.
    pub(super) fn note_passed(&self, seq: u64, len: usize) {
        // SYNC: part passed
        self.passed.store(seq << (u64::BITS - FRAME_BITS) | NO_MORE.min(len as u64), Release);
    }

    /// The worker reads no more of it.
    pub(super) fn note_all_passed(&self, seq: u64) {
        self.note_passed(seq, usize::MAX);
    }

    /// How many bytes of that payload the worker says that it has read; `None` once it reads no more.
    pub(super) fn passed(&self, seq: u64) -> Option<usize> {
        // SYNC: part passed
        let word = self.passed.load(Acquire);
        let is_of_frame = (word ^ seq << (u64::BITS - FRAME_BITS)) <= NO_MORE;
        // The worker may be late to say that it needs no more of the last one.
        let len = if is_of_frame { word & NO_MORE } else { 0 };
        (len != NO_MORE).then_some(len as usize)
    }

    /// The low half of the number of the frame that the worker is at, and the step.
    pub(super) fn progress(&self) -> (u32, u32) {
        // SYNC: task started
        let word = self.progress.load(Acquire);
        ((word >> 32) as u32, word as u32)
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::ipc::lane::{Found, Place, Record, Slots};
    use crate::sys::time::Deadline;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    /// A link, and memory that its two ends use in turn: the checker reports an access that is not ordered.
    #[derive(Default)]
    struct Link {
        head: Head,
        memory: UnsafeCell<u64>,
    }

    // SAFETY: all access to the cell is what the models check.
    unsafe impl Sync for Link {}

    fn read(link: &Link) -> u64 {
        // SAFETY: the checker ends the model before an access that another one may race with.
        link.memory.with(|it| unsafe { *it })
    }

    fn write(link: &Link, value: u64) {
        // SAFETY: as above.
        link.memory.with_mut(|it| unsafe { *it = value });
    }

    #[test]
    fn a_frame_wakes_the_worker() {
        loom::model(|| {
            let link = Arc::new((Head::default(), Slots::new()));
            let pool = Arc::clone(&link);
            let pool = loom::thread::spawn(move || {
                pool.1.publish(0, &Record::default(), &Place::Elsewhere);
                pool.0.asleep().call();
            });
            let (head, frames) = &*link;
            while frames.look(0) != Found::Ready {
                head.asleep().prepare();
                if frames.look(0) == Found::Nothing {
                    head.asleep().sleep(Deadline::NEVER);
                }
                head.asleep().rise();
            }
            pool.join().unwrap();
        });
    }

    #[test]
    fn the_memory_of_an_answer_is_used_again_once_it_was_read() {
        loom::model(|| {
            let link = Arc::new(Link::default());
            let pool = Arc::clone(&link);
            let pool = loom::thread::spawn(move || {
                let answer = read(&pool);
                pool.head.note_read(1);
                answer
            });
            while link.head.answers_read() == 0 {
                link.head.blocked().prepare();
                if link.head.answers_read() == 0 {
                    link.head.blocked().sleep(Deadline::NEVER);
                }
                link.head.blocked().rise();
            }
            write(&link, 7);
            assert_eq!(pool.join().unwrap(), 0);
        });
    }

    #[test]
    fn what_passes_through_a_window_is_written_over_once_it_was_read() {
        loom::model(|| {
            let link = Arc::new(Link::default());
            let worker = Arc::clone(&link);
            let worker = loom::thread::spawn(move || {
                let part = read(&worker);
                worker.head.note_passed(3, 8);
                part
            });
            if link.head.passed(3) == Some(8) {
                write(&link, 7);
            }
            assert_eq!(worker.join().unwrap(), 0);
        });
    }

    #[test]
    fn whoever_sees_a_task_started_sees_the_value_of_the_one_before() {
        loom::model(|| {
            let link = Arc::new(Link::default());
            let worker = Arc::clone(&link);
            loom::thread::spawn(move || {
                worker.head.note_progress(3, 1);
                write(&worker, 7);
                worker.head.note_progress(3, 3);
            });
            let (seq, step) = link.head.progress();
            if step == 3 {
                assert_eq!((seq, read(&link)), (3, 7));
            }
        });
    }

    #[test]
    fn the_memory_of_a_frame_is_used_again_once_the_worker_is_past_it() {
        loom::model(|| {
            let link = Arc::new(Link::default());
            let worker = Arc::clone(&link);
            let worker = loom::thread::spawn(move || {
                let frame = read(&worker);
                worker.head.note_progress(1, 0);
                frame
            });
            if link.head.progress() == (1, 0) {
                write(&link, 7);
            }
            assert_eq!(worker.join().unwrap(), 0);
        });
    }
}
