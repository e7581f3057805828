//! An asymmetric fence: next to nothing where something is done often, a system call where it is done rarely.
//!
//! Two sides each write one place and then read the other's: a lock is given back, then one looks whether somebody waits;
//! one says that one waits, then looks whether the lock was given back. At least one of them must see the other, for which
//! each needs a full fence in between, and a full fence costs as much as taking a lock. Here the frequent side only
//! keeps the compiler from reordering, and the rare side has the kernel put a full fence into every thread that runs, of
//! every process that takes part. `membarrier(2)`, `MEMBARRIER_CMD_GLOBAL_EXPEDITED`, Linux 4.16.

use crate::sys::atomic::Ordering;

/// The frequent side.
#[inline(always)]
pub(crate) fn light() {
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(loom)]
    crate::sys::atomic::fence(Ordering::SeqCst);
}

/// The rare side; false = the kernel refuses, so that the frequent side may be missed. Costs some microseconds.
#[must_use = "without it the other side may be missed"]
pub(crate) fn heavy() -> bool {
    crate::sys::atomic::fence(Ordering::SeqCst);
    cfg!(loom) || kernel::fence_all()
}

/// Makes this process one of those whose threads [`heavy`] fences. Once is enough, and more cost next to nothing.
///
/// In a process of one thread that is done in less than a microsecond; with more the kernel first waits until each CPU has
/// come to a point of rest, some milliseconds. So it is done before `main` where that is possible.
///
/// Where the kernel refuses, it refuses [`heavy`] as well, as a rule, and whoever waits knows that it may miss something.
pub(crate) fn take_part() {
    kernel::register();
}

mod kernel {
    use rustix::thread::{MembarrierCommand, membarrier};

    pub(super) fn fence_all() -> bool {
        membarrier(MembarrierCommand::GlobalExpedited).is_ok()
    }

    pub(super) fn register() {
        // See `take_part`.
        let _ = membarrier(MembarrierCommand::RegisterGlobalExpedited);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    /// Store, fence, load on both sides: one of the two must see the other. With two light fences it fails at once.
    #[test]
    fn one_side_sees_the_other() {
        take_part();
        const ROUNDS: u32 = 20_000;
        let (frequent, rare, seen) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let meet = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    meet.wait();
                    frequent.store(round, Relaxed);
                    light();
                    seen.store(rare.load(Relaxed), Relaxed);
                    meet.wait();
                }
            });
            for round in 1..=ROUNDS {
                meet.wait();
                rare.store(round, Relaxed);
                let fenced = heavy();
                let it = frequent.load(Relaxed);
                meet.wait();
                assert!(!fenced || it == round || seen.load(Relaxed) == round, "neither has seen the other");
            }
        });
    }
}
