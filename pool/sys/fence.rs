//! An asymmetric fence: next to nothing where something is done often, a system call where it is done rarely.
//!
//! Two sides each write one place and then read the other's: a lock is given back, then one looks whether somebody waits;
//! one says that one waits, then looks whether the lock was given back. At least one of them must see the other, for which
//! each needs a full fence in between, and a full fence costs as much as taking a lock. Here the frequent side only
//! keeps the compiler from reordering, and the rare side has the kernel put a full fence into every thread that runs, of
//! every process that takes part. `membarrier(2)`, `MEMBARRIER_CMD_GLOBAL_EXPEDITED`, Linux 4.16.

use crate::sys::atomic::{Ordering, fence};
use rustix::thread::{MembarrierCommand, membarrier};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, compiler_fence};

/// Whether this process is one of those that [`heavy`] fences.
static TAKES_PART: AtomicBool = AtomicBool::new(false);

/// The frequent side. In a process that does not take part it is a full fence.
#[inline]
pub(crate) fn light() {
    if TAKES_PART.load(Relaxed) {
        compiler_fence(Ordering::SeqCst);
    } else {
        full();
    }
}

#[cold]
fn full() {
    fence(Ordering::SeqCst);
}

/// The rare side; false = the kernel refuses it to this process. Then only those who do not take part are sure to be seen,
/// and with others something may be missed, very rarely. Costs some microseconds.
#[must_use = "without it the other side may be missed"]
pub(crate) fn heavy() -> bool {
    fence(Ordering::SeqCst);
    cfg!(loom) || membarrier(MembarrierCommand::GlobalExpedited).is_ok()
}

/// Makes this process one of those whose threads [`heavy`] fences. Once is enough, and more cost next to nothing.
///
/// In a process of one thread that is done in less than a microsecond; with more the kernel first waits until each CPU has
/// come to a point of rest, some milliseconds. So it is done before `main` where that is possible.
///
/// Where the kernel refuses, all fences of this process stay full ones.
pub(crate) fn take_part() {
    // In a model all fences are full ones.
    if !cfg!(loom) && membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok() {
        TAKES_PART.store(true, Relaxed);
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
