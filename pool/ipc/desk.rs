//! What the pool and a running task tell each other: that nobody waits for it any more, how often it was begun, how much
//! longer it needs, how far it is. Words in memory that both map, written and read only when somebody asks.
//!
//! Each word is a message of its own: a flag, a number, a point in time. Where two belong together a reader may see a new one
//! beside an old one, and then takes the words of one task for those of the next one at most, which replaces them a moment
//! later. So they need no order, but for one thing: who waits for a word of the pool looks, and then sleeps as long as the pool
//! says nothing. The pool counts what it says, Release, after it has stored it, and who waits loads that count, Acquire, before
//! the look (`// SYNC: task cancelled`).

use crate::ipc::head::Head;
use crate::ipc::lane::SLOTS;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::futex;
use crate::sys::memory::{self, Atomics, Mapping};
use crate::sys::time::{self, Deadline};
use Ordering::{Acquire, Relaxed, Release};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Where the words are in the memory, behind the head.
const AT: usize = 512;

/// The bytes of a memory that has a head and these words, and nothing else.
const LEN: usize = 4096;

/// How often who waits for a word of the pool looks whether the task has ended.
const LOOK_EACH: Duration = Duration::from_millis(100);

/// The words, those of each side on cache lines of their own.
#[repr(C, align(64))]
#[derive(Debug)]
struct Words {
    /// Written by the pool: nobody waits for any task of this worker.
    over: AtomicU32,
    /// Written by the pool: counts what it has said. Who waits for that sleeps on it.
    said: AtomicU32,
    _pad0: [AtomicU64; 7],
    /// Written by the worker: the task ([`code`]) that needs longer, and until when, in milliseconds of the clock that all
    /// processes share.
    longer: [AtomicU64; 2],
    /// Written by the worker: the task that says how far it is, how much of its work is done, and of how much.
    progress: [AtomicU64; 3],
    _pad1: [AtomicU64; 3],
    /// Written by the pool, one for each frame that may be under way: see [`order`].
    orders: [AtomicU64; SLOTS],
}

// SAFETY: repr(C), atomics only; the padding is spelled out.
unsafe impl Atomics for Words {}

/// Makes the memory of a desk that belongs to no ring.
///
/// # Errors
///
/// The system has no memory files.
pub(super) fn create() -> io::Result<(OwnedFd, Desk)> {
    let (file, memory) = memory::create_mapped("multiproc-desk", LEN)?;
    Ok((file, Desk(Arc::new(memory))))
}

/// Maps the memory of [`create`] in the worker.
///
/// # Errors
///
/// It is something else.
pub(super) fn open(file: &OwnedFd) -> io::Result<Desk> {
    let memory = memory::map(file.as_fd())?;
    if memory.bytes().len() != LEN {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the memory for messages to tasks has the wrong size"));
    }
    Ok(Desk(Arc::new(memory)))
}

/// What a frame's order says beside its number, which stands above: how often its task was begun, and whether nobody waits
/// for it.
const ATTEMPT_BITS: u32 = 15;
const CANCELLED: u64 = 1;

fn order(seq: u64, attempt: u32) -> u64 {
    let attempt = u64::from(attempt).min((1 << ATTEMPT_BITS) - 1);
    seq << (ATTEMPT_BITS + 1) | attempt << 1
}

/// One number for a task: its frame, and its place in that.
fn code(seq: u64, at: u32) -> u64 {
    (seq << 32 | u64::from(at)) + 1
}

/// One side's view of the words.
#[derive(Clone, Debug)]
pub(crate) struct Desk(Arc<Mapping>);

impl Desk {
    /// The words in a memory that begins with a [`Head`] and is at least [`LEN`] bytes long.
    pub(super) fn of(memory: &Arc<Mapping>) -> Desk {
        Desk(Arc::clone(memory))
    }

    fn words(&self) -> &Words {
        self.0.view(AT)
    }

    pub(super) fn head(&self) -> &Head {
        self.0.view(0)
    }

    fn order(&self, seq: u64) -> &AtomicU64 {
        &self.words().orders[seq as usize % SLOTS]
    }

    /// The order of a frame, if there is one.
    fn order_of(&self, seq: u64) -> Option<u64> {
        let found = self.order(seq).load(Relaxed);
        (found >> (ATTEMPT_BITS + 1) == order(seq, 0) >> (ATTEMPT_BITS + 1)).then_some(found)
    }
}

/// The pool's side.
impl Desk {
    /// The task of the frame `seq`, which is sent next, is begun for the `attempt`th time.
    pub(crate) fn set_attempt(&self, seq: u64, attempt: u32) {
        self.order(seq).store(order(seq, attempt), Relaxed);
    }

    /// Nobody waits for the tasks of frames that were sent.
    pub(crate) fn cancel(&self, frames: &[u64]) {
        for &seq in frames {
            let before = self.order_of(seq).unwrap_or_else(|| order(seq, 1));
            self.order(seq).store(before | CANCELLED, Relaxed);
        }
        if !frames.is_empty() {
            self.call();
        }
    }

    /// Nobody waits for any task.
    pub(crate) fn cancel_all(&self) {
        self.words().over.store(1, Relaxed);
        self.call();
    }

    fn call(&self) {
        // SYNC: task cancelled
        self.words().said.fetch_add(1, Release);
        futex::wake(&self.words().said, u32::MAX);
    }

    /// How much longer the only task of a frame needs, from now on, if it has said so.
    pub(crate) fn longer(&self, seq: u64, at: u32) -> Option<Duration> {
        let [task, until] = &self.words().longer;
        let left = until.load(Relaxed).saturating_sub(time::shared_millis());
        (task.load(Relaxed) == code(seq, at) && left > 0).then(|| Duration::from_millis(left))
    }

    /// How far a task is, if it has said so: how much of its work is done, and of how much.
    pub(crate) fn progress(&self, seq: u64, at: u32) -> Option<(u64, u64)> {
        let [task, done, total] = &self.words().progress;
        (task.load(Relaxed) == code(seq, at)).then(|| (done.load(Relaxed), total.load(Relaxed)))
    }
}

/// The worker's side.
impl Desk {
    /// The frame, by the low half of its number, and the place in it of the task that is running.
    pub(crate) fn running(&self) -> Option<(u32, u32)> {
        let (seq, step) = self.head().progress();
        (step % 2 == 1).then_some((seq, step / 2))
    }

    /// Whether this task is running.
    pub(crate) fn is_running(&self, seq: u64, at: u32) -> bool {
        self.running() == Some((seq as u32, at))
    }

    /// Whether nobody waits for this task. One that has ended counts.
    pub(crate) fn is_cancelled(&self, seq: u64, at: u32) -> bool {
        self.words().over.load(Relaxed) != 0
            || self.order_of(seq).is_some_and(|order| order & CANCELLED != 0)
            || !self.is_running(seq, at)
    }

    /// Waits until nobody waits for this task; whether that came true.
    pub(crate) fn wait_cancelled(&self, seq: u64, at: u32, deadline: Deadline) -> bool {
        loop {
            // Before the look: what is said after it ends the sleep.
            // SYNC: task cancelled
            let said = self.words().said.load(Acquire);
            if self.is_cancelled(seq, at) {
                return true;
            }
            if deadline.passed() {
                return false;
            }
            // The end of the task wakes nobody.
            futex::wait(&self.words().said, said, deadline.earlier(Deadline::after(LOOK_EACH)));
        }
    }

    /// How often the task of a frame was begun, this time included.
    pub(crate) fn attempt(&self, seq: u64) -> u32 {
        let attempt = self.order_of(seq).map(|order| (order >> 1) as u32 & ((1 << ATTEMPT_BITS) - 1));
        attempt.unwrap_or(1).max(1)
    }

    /// This task needs so much longer, from now on.
    pub(crate) fn need(&self, seq: u64, at: u32, more: Duration) {
        let [task, until] = &self.words().longer;
        let more = u64::try_from(more.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        until.store(time::shared_millis().saturating_add(more), Relaxed);
        task.store(code(seq, at), Relaxed);
    }

    /// So much of this task's work is done.
    pub(crate) fn set_progress(&self, seq: u64, at: u32, done: u64, total: u64) {
        let words = &self.words().progress;
        for (word, value) in words.iter().zip([code(seq, at), done, total]) {
            word.store(value, Relaxed);
        }
    }
}
