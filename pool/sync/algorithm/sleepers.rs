//! Where those sleep who wait for a change: a word beside what changes, which is 1 if somebody may sleep on it.
//!
//! Who waits sets the mark, looks once more whether the change has come, and sleeps as long as the mark stands. Who makes
//! a change looks at the mark, and if it stands takes it away and wakes somebody. Whoever has slept sets the mark again
//! before it looks, since others may sleep on.
//!
//! Whoever sets the mark hides from others, who are about to sleep, that it was taken away: they sleep on it and have missed
//! their wake-up. So whoever has set the mark, whether or not it has slept, and then leaves something over, wakes the next.
//!
//! ## Memory ordering
//!
//! One side makes the change and then looks at the mark; the other sets the mark and then looks for the change. One of
//! them must see the other (`// SYNC: sleepers`). The fence between the two steps is asymmetric: light for who makes a
//! change, and heavy for who is about to sleep (`sys/fence.rs`). Where the kernel refuses it to one who waits, that one may
//! be missed, very rarely, and therefore sleeps in slices of 1 to 2 ms.
//!
//! Whoever sets the mark must see, when it looks whether it leaves something over, all that was there when the mark was taken
//! away before; so the exchanges of the mark are AcqRel (`// SYNC: sleepers woken`).

use crate::sync::algorithm::word::kill;
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::fence;
use crate::sys::futex::{self, Slices};
use Ordering::{AcqRel, Relaxed};

/// In the word: somebody may sleep.
const ASLEEP: u32 = 1;

/// The word. All zero is one on which nobody sleeps.
#[repr(transparent)]
pub(crate) struct Sleepers(AtomicU32);

impl Sleepers {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> Sleepers {
        fence::take_part();
        Sleepers(AtomicU32::new(0))
    }

    /// Notes that somebody may sleep. An exchange, so that all changes of the mark are in one order.
    pub(crate) fn mark(&self) {
        // SYNC: sleepers woken
        self.0.swap(ASLEEP, AcqRel);
        kill::point();
    }

    /// Notes that the calling thread is about to sleep. It looks once more for the change before it does.
    pub(crate) fn announce(&self, slices: &mut Slices) {
        Sleepers::announce_at([self], slices);
    }

    /// Sleeps for one slice at most; false = the deadline has passed already.
    pub(crate) fn sleep(&self, slices: &mut Slices) -> bool {
        kill::point();
        slices.sleep(&self.0, ASLEEP)
    }

    /// Notes at all of these that the calling thread is about to sleep, see [`Sleepers::announce`].
    pub(crate) fn announce_at<'a>(all: impl IntoIterator<Item = &'a Sleepers>, slices: &mut Slices) {
        // SYNC: sleepers
        all.into_iter().for_each(Sleepers::mark);
        if !fence::heavy() {
            slices.shorten();
        }
    }

    /// Sleeps at all of these, and at a word of the caller's as long as it says what is expected of it, for one slice at
    /// most; false = the deadline has passed already.
    pub(crate) fn sleep_at<'a>(
        all: impl IntoIterator<Item = &'a Sleepers>,
        own: Option<(&AtomicU32, u32)>,
        slices: &mut Slices,
    ) -> bool {
        kill::point();
        let words: Vec<_> = own.into_iter().chain(all.into_iter().map(|it| (&it.0, ASLEEP))).collect();
        slices.sleep_any(&words)
    }

    /// Wakes up to `count` of those who sleep, if there are any. The change was made just before.
    #[inline]
    pub(crate) fn call(&self, count: u32) {
        // SYNC: sleepers
        fence::light();
        if self.0.load(Relaxed) != 0 {
            self.wake(count);
        }
    }

    #[cold]
    fn wake(&self, count: u32) {
        // Otherwise somebody else has woken one meanwhile, who wakes the next.
        // SYNC: sleepers woken
        if self.0.swap(0, AcqRel) != 0 {
            kill::point();
            futex::wake(&self.0, count);
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;

    /// Whoever sets the mark after it was taken away sees what was there before that. Without the fence of who makes the change,
    /// which in real life is none for the processor: the checker takes it for a full one.
    #[test]
    fn who_sets_the_mark_again_sees_why_it_was_taken_away() {
        loom::model(|| {
            let shared = Arc::new((Sleepers::new(), AtomicU32::new(0)));
            shared.0.mark();
            let caller = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    shared.1.store(1, Relaxed);
                    shared.0.wake(1);
                })
            };
            let is_taken_away = shared.0.0.load(Relaxed) == 0;
            shared.0.mark();
            if is_taken_away {
                assert_eq!(shared.1.load(Relaxed), 1);
            }
            caller.join().unwrap();
        });
    }
}
