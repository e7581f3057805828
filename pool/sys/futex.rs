//! Wait on a 32-bit word that several processes map, and wake who waits there.
//!
//! `futex(2)`, without `FUTEX_PRIVATE_FLAG`: the kernel then finds the waiters by the memory file and its offset, not
//! by the address in one process. (std and parking_lot set that flag, so their locks never wake another process.)

#[cfg(not(loom))]
pub(crate) use kernel::{wait, wake};
#[cfg(loom)]
pub(crate) use model::{wait, wake};

#[cfg(not(loom))]
mod kernel {
    use crate::sys::atomic::AtomicU32;
    use crate::sys::time::Deadline;
    use rustix::thread::futex;

    /// Sleeps while `word` holds `expected`, until a wake-up or the deadline.
    ///
    /// Returns on every wake-up, signal and spurious return as well: the caller looks at its condition again.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) {
        let timeout = match deadline.remaining() {
            Some(left) if left.is_zero() => return,
            Some(left) => futex::Timespec::try_from(left).ok(),
            None => None,
        };
        // Every outcome means the same to the caller: look again. (EAGAIN: the word has changed; EINTR: a signal;
        // ETIMEDOUT: the deadline, which the caller checks itself.)
        let _ = futex::wait(word, futex::Flags::empty(), expected, timeout.as_ref());
    }

    /// Wakes up to `count` waiters.
    pub(crate) fn wake(word: &AtomicU32, count: u32) {
        // An error is impossible for a mapped, aligned word; and a lost wake-up costs one time slice at most, since
        // every waiter looks at its condition again after a bounded sleep.
        let _ = futex::wake(word, futex::Flags::empty(), count);
    }
}

/// A stand-in for the kernel under the model checker: a futex never sleeps through a change of its word, and here it
/// simply lets others run until the word has changed.
#[cfg(loom)]
mod model {
    use crate::sys::atomic::{AtomicU32, Ordering};
    use crate::sys::time::Deadline;

    pub(crate) fn wait(word: &AtomicU32, expected: u32, _deadline: Deadline) {
        if word.load(Ordering::SeqCst) == expected {
            loom::thread::yield_now();
        }
    }

    pub(crate) fn wake(_word: &AtomicU32, _count: u32) {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{wait, wake};
    use crate::sys::atomic::{AtomicU32, Ordering};
    use crate::sys::time::Deadline;
    use std::time::{Duration, Instant};

    #[test]
    fn a_changed_word_does_not_sleep() {
        wait(&AtomicU32::new(1), 0, Deadline::NEVER);
    }

    #[test]
    fn the_deadline_ends_the_wait() {
        let start = Instant::now();
        wait(&AtomicU32::new(0), 0, Deadline::after(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(19));
    }

    #[test]
    fn a_wake_ends_the_wait() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                while word.load(Ordering::Acquire) == 0 {
                    wait(&word, 0, Deadline::after(Duration::from_secs(10)));
                }
            });
            word.store(1, Ordering::Release);
            while !waiter.is_finished() {
                wake(&word, 1);
                std::thread::yield_now();
            }
        });
    }
}
