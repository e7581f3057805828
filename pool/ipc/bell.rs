//! The doorbell of a pool.
//!
//! All parties of a pool (the pool itself and its workers) map one small memory file. A party that is awake has its bit
//! set there: `spin.rs` has the rule that needs it.
//!
//! Only the pool sleeps on the bell, and all workers ring it: `sleeper.rs` has the protocol. A pool whose workers are elsewhere
//! sleeps on descriptors instead, and only threads of its own process ring.

use crate::ipc::sleeper::Sleeper;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::memory::{Atomics, Mapping};
use crate::sys::time::Deadline;
use std::fmt;
use std::sync::Arc;

/// The most parties that count for the spinning rule; more simply count as asleep.
const PARTIES: usize = 512;

/// The shared part.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct BellMemory {
    /// The pool.
    sleeping: AtomicU32,
    _pad: [AtomicU32; 15],
    awake: [AtomicU64; PARTIES / 64],
}

// SAFETY: repr(C), consisting of atomics only: 64 bytes and 64 bytes, so no padding.
#[allow(unsafe_code)]
unsafe impl Atomics for BellMemory {}

/// Another way to sleep than on the word of the bell, for a pool that waits for descriptors.
pub(crate) trait Doze: Send + Sync + fmt::Debug {
    /// Sleeps until there is something for the pool, or somebody calls [`Doze::wake`], or the deadline.
    fn sleep(&self, until: Deadline);

    /// Ends the sleep, or the next one.
    fn wake(&self);
}

/// The pool's end, or a worker's.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    memory: Arc<Mapping>,
    /// This party's number; the pool is 0.
    party: usize,
    /// How the pool sleeps, if not on the word.
    doze: Option<Arc<dyn Doze>>,
}

impl Bell {
    pub(crate) const LEN: usize = size_of::<BellMemory>();

    /// `memory` is at least [`Bell::LEN`] bytes long.
    pub(crate) fn new(memory: Arc<Mapping>, party: usize) -> Bell {
        let bell = Bell { memory, party, doze: None };
        bell.set_awake(true);
        bell
    }

    /// The same bell, for a pool that sleeps in another way. Nobody else rings it.
    #[cfg(feature = "cluster")]
    pub(crate) fn with_doze(self, doze: Arc<dyn Doze>) -> Bell {
        Bell { doze: Some(doze), ..self }
    }

    fn shared(&self) -> &BellMemory {
        self.memory.view(0)
    }

    /// The same bell, for another party of this process.
    pub(crate) fn of_party(&self, party: usize) -> Bell {
        Bell::new(Arc::clone(&self.memory), party)
    }

    fn word(&self, party: usize) -> Option<(&AtomicU64, u64)> {
        self.shared().awake.get(party / 64).map(|word| (word, 1 << (party % 64)))
    }

    /// Counts this party as awake or asleep.
    pub(crate) fn set_awake(&self, awake: bool) {
        if let Some((word, bit)) = self.word(self.party) {
            if awake {
                word.fetch_or(bit, Ordering::Relaxed)
            } else {
                word.fetch_and(!bit, Ordering::Relaxed)
            };
        }
    }

    /// Counts a dead party as asleep.
    pub(crate) fn forget(&self, party: usize) {
        if let Some((word, bit)) = self.word(party) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether this party may spin: there is a CPU left for it.
    pub(crate) fn may_spin(&self, cpus: u32) -> bool {
        let awake: u32 = self.shared().awake.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
        awake <= cpus
    }

    fn sleeper(&self) -> Sleeper<'_> {
        Sleeper(&self.shared().sleeping)
    }

    /// Wakes the pool if it sleeps. To be called after the work was published.
    #[inline]
    pub(crate) fn ring(&self) {
        if self.sleeper().call() {
            self.doze.iter().for_each(|doze| doze.wake());
        }
    }

    /// Says that the pool is about to sleep; it must look for work once more before [`Bell::sleep`].
    pub(crate) fn prepare(&self) {
        self.sleeper().prepare();
    }

    /// The pool does not sleep after all.
    pub(crate) fn cancel(&self) {
        self.sleeper().rise();
    }

    /// Sleeps until somebody rings, or the deadline.
    pub(crate) fn sleep(&self, deadline: Deadline) {
        self.set_awake(false);
        match &self.doze {
            None => self.sleeper().sleep(deadline),
            Some(doze) => doze.sleep(deadline),
        }
        self.set_awake(true);
        self.cancel();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::memory::create_mapped;
    use std::time::{Duration, Instant};

    fn bell() -> (Bell, Bell) {
        let memory = Arc::new(create_mapped("test", Bell::LEN).unwrap().1);
        (Bell::new(Arc::clone(&memory), 0), Bell::new(memory, 1))
    }

    #[test]
    fn a_ring_ends_the_sleep() {
        let (pool, worker) = bell();
        pool.prepare();
        worker.ring();
        // The word has changed, so this returns at once and not after the deadline.
        let start = Instant::now();
        pool.sleep(Deadline::after(Duration::from_secs(30)));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_dead_party_does_not_count() {
        let (pool, worker) = bell();
        assert!(!pool.may_spin(1) && pool.may_spin(2));
        pool.forget(1);
        assert!(pool.may_spin(1));
        worker.set_awake(true);
        assert!(!pool.may_spin(1));
    }
}
