//! What of this folder lives in shared memory: nothing but atomics, at most a page each, valid when zeroed.

use crate::sync::word::Word;
use crate::sys::memory::Atomics;

// SAFETY: repr(transparent) over one AtomicU32.
unsafe impl Atomics for Word {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Word>() == 4);
