//! What of this folder lives in shared memory: nothing but atomics, at most a page each, valid when zeroed.

use crate::sync::algorithm::barrier::Barrier;
use crate::sync::algorithm::cells::Cells;
use crate::sync::algorithm::condition::Condition;
use crate::sync::algorithm::event::Event;
use crate::sync::algorithm::queue;
use crate::sync::algorithm::rlock::RLock;
use crate::sync::algorithm::rwlock::RwLock;
use crate::sync::algorithm::semaphore::Semaphore;
use crate::sync::algorithm::store;
use crate::sync::algorithm::tally::Tally;
use crate::sync::algorithm::word::Word;
use crate::sys::memory::Atomics;

// SAFETY: repr(C), two AtomicU32.
unsafe impl Atomics for Word {}

// SAFETY: repr(transparent) over one AtomicU32.
unsafe impl Atomics for Event {}

// SAFETY: repr(C): four AtomicU32, an array of eight AtomicU64 right behind them, and an even number of AtomicU32 (checked
// when it is built), so no padding.
unsafe impl<const N: usize> Atomics for Cells<N> {}

// SAFETY: repr(transparent) over Cells.
unsafe impl Atomics for Semaphore {}

// SAFETY: as above.
unsafe impl Atomics for Condition {}

// SAFETY: as above.
unsafe impl Atomics for Barrier {}

// SAFETY: as above.
unsafe impl Atomics for RwLock {}

// SAFETY: repr(C): a Word of two AtomicU32, and an AtomicU64 right behind it, so no padding (checked below).
unsafe impl Atomics for RLock {}

// SAFETY: repr(C): eight words of eight bytes each time, but for one that is a pair of AtomicU32; so no padding, and 512
// bytes in all (checked below), a multiple of the alignment.
unsafe impl Atomics for queue::Head {}

// SAFETY: repr(C): a pair of AtomicU32 and seven AtomicU64; so no padding, and 64 bytes in all (checked below), which is the
// alignment.
unsafe impl Atomics for store::Head {}

// SAFETY: repr(C), AtomicU32 only.
unsafe impl Atomics for Tally {}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Word>() == 8);
    assert!(size_of::<Event>() == 4);
    assert!(size_of::<RLock>() == 16);
    assert!(size_of::<Semaphore>() <= 4096);
    assert!(size_of::<Condition>() <= 4096);
    assert!(size_of::<Barrier>() <= 4096);
    assert!(size_of::<RwLock>() <= 4096);
    assert!(size_of::<queue::Head>() == 512);
    assert!(size_of::<Tally>() <= 4096);
    assert!(size_of::<store::Head>() == 64);
};
