//! The sleep of one party, which others end.
//!
//! The party says that it is about to sleep, looks once more for what it waits for, and sleeps if there is nothing. The others
//! publish something, then look whether it sleeps, and wake it.
//!
//! ## Memory ordering
//!
//! Each side writes its own place and then reads the other's. With a sequentially consistent fence between the two steps on
//! both sides, at least one of them sees the other: `// SYNC: sleeper`.

use crate::sys::atomic::{AtomicU32, Ordering, fence};
use crate::sys::futex;
use crate::sys::time::Deadline;
use Ordering::{Relaxed, SeqCst};

/// The word of a party: 1 while the party sleeps or is about to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeper<'a>(pub(super) &'a AtomicU32);

impl Sleeper<'_> {
    /// Says that the party is about to sleep. It must look once more for what it waits for before [`Sleeper::sleep`].
    pub(super) fn prepare(self) {
        self.0.store(1, Relaxed);
        // SYNC: sleeper
        fence(SeqCst);
    }

    /// Sleeps until somebody calls, or the deadline.
    pub(super) fn sleep(self, deadline: Deadline) {
        futex::wait(self.0, 1, deadline);
    }

    /// Says that the party is awake.
    pub(super) fn rise(self) {
        self.0.store(0, Relaxed);
    }

    /// Wakes the party if it sleeps. What it may wait for was published before. Returns whether it slept, or was about to.
    #[inline]
    pub(super) fn call(self) -> bool {
        // SYNC: sleeper
        fence(SeqCst);
        let is_asleep = self.is_asleep();
        if is_asleep {
            self.wake();
        }
        is_asleep
    }

    #[cold]
    fn wake(self) {
        // Of several callers one pays for the system call.
        if self.0.swap(0, Relaxed) != 0 {
            futex::wake(self.0, 1);
        }
    }

    /// Whether the party sleeps or is about to.
    pub(super) fn is_asleep(self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;

    /// `callers` publish one thing each; the sleeper ends when it has seen all of them. Time does not pass, so a lost call is
    /// a deadlock. At most three preemptions.
    fn all_are_seen(callers: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let parts: Arc<(AtomicU32, Vec<AtomicU32>)> =
                Arc::new((AtomicU32::new(0), (0..callers).map(|_| AtomicU32::new(0)).collect()));
            let caller = |at: usize| {
                let parts = Arc::clone(&parts);
                loom::thread::spawn(move || {
                    parts.1[at].store(1, Relaxed);
                    Sleeper(&parts.0).call();
                })
            };
            let threads: Vec<_> = (0..callers).map(caller).collect();
            let (word, published) = &*parts;
            let is_all_there = || published.iter().all(|it| it.load(Relaxed) != 0);
            while !is_all_there() {
                Sleeper(word).prepare();
                if !is_all_there() {
                    Sleeper(word).sleep(Deadline::NEVER);
                }
                Sleeper(word).rise();
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn what_was_published_is_seen() {
        all_are_seen(1);
    }

    #[test]
    fn what_two_have_published_is_seen() {
        all_are_seen(2);
    }
}
