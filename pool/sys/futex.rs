//! Wait on a 32-bit word that several processes map, and wake who waits there.
//!
//! `futex(2)`, without `FUTEX_PRIVATE_FLAG`: the kernel then finds the waiters by the memory file and its offset, not
//! by the address in one process. (std and parking_lot set that flag, so their locks never wake another process.)

#[cfg(not(loom))]
pub(crate) use kernel::{Slices, wait, wake};
#[cfg(loom)]
pub(crate) use model::{Slices, end_deadlines, end_slices, wait, wake};

#[cfg(not(loom))]
mod kernel {
    use crate::sys::atomic::AtomicU32;
    use crate::sys::time::Deadline;
    use rustix::io::Errno;
    use rustix::thread::futex;
    use rustix::time::{ClockId, clock_gettime};
    use std::time::Duration;

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

    /// The most words at which the kernel lets a thread sleep at once (FUTEX_WAITV_MAX).
    const MOST: usize = 128;

    /// Sleeps while each of the words holds what is expected of it, until a wake-up at one of them or the deadline; false =
    /// the kernel cannot do that. `futex_waitv(2)`, Linux 5.16.
    fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) -> bool {
        let waiter = |(word, expected): &(&AtomicU32, u32)| {
            let mut waiter = futex::Wait::new();
            waiter.val = u64::from(*expected);
            waiter.uaddr = futex::WaitPtr::new(std::ptr::from_ref::<AtomicU32>(word).cast_mut().cast());
            waiter.flags = futex::WaitFlags::SIZE_U32;
            waiter
        };
        let waiters: Vec<futex::Wait> = words.iter().map(waiter).collect();
        // Unlike that of `futex(2)` the timeout is an instant.
        let until = deadline.remaining().and_then(|left| {
            let now = clock_gettime(ClockId::Monotonic);
            now.checked_add(futex::Timespec::try_from(left).ok()?)
        });
        let slept = futex::waitv(&waiters, futex::WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic);
        // As in `wait`.
        matches!(slept, Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT))
    }

    /// The shortest slice; the longest is twice as long.
    const SLICE: Duration = Duration::from_millis(25);

    /// The same where a wake-up may be missed although nobody has died.
    const SHORT: Duration = Duration::from_millis(1);

    /// A wait for something that another process may never do because it was killed: sleeps of 25 to 50 ms each, so
    /// that the caller looks around in between.
    #[derive(Debug)]
    pub(crate) struct Slices {
        deadline: Deadline,
        shortest: Duration,
    }

    impl Slices {
        pub(crate) fn new(deadline: Deadline) -> Slices {
            Slices { deadline, shortest: SLICE }
        }

        /// From now on of 1 to 2 ms: a wake-up may be missed although nobody has died.
        pub(crate) fn shorten(&mut self) {
            self.shortest = SHORT;
        }

        /// Sleeps while `word` holds `expected`, for one slice at most; false = the deadline has passed already.
        pub(crate) fn sleep(&mut self, word: &AtomicU32, expected: u32) -> bool {
            if self.deadline.passed() {
                return false;
            }
            wait(word, expected, self.next(self.shortest));
            true
        }

        /// The same for several words, of which there is at least one: a wake-up at any of them ends the slice.
        ///
        /// Where the kernel cannot do that, or cannot for so many words, it is a short slice at the first of them.
        pub(crate) fn sleep_any(&mut self, words: &[(&AtomicU32, u32)]) -> bool {
            let [(word, expected), others @ ..] = words else { return false };
            if others.is_empty() {
                return self.sleep(word, *expected);
            }
            if self.deadline.passed() {
                return false;
            }
            if words.len() > MOST || !wait_any(words, self.next(self.shortest)) {
                wait(word, *expected, self.next(SHORT));
            }
            true
        }

        /// The end of a slice that begins now.
        fn next(&self, shortest: Duration) -> Deadline {
            // The clock's nanoseconds are as good as random here: they keep waiters from waking all at once.
            let jitter = clock_gettime(ClockId::Monotonic).tv_nsec.unsigned_abs() % shortest.as_nanos() as u64;
            Deadline::after(shortest + Duration::from_nanos(jitter)).earlier(self.deadline)
        }
    }
}

/// A stand-in for the kernel under the model checker.
///
/// Time does not pass of itself: who sleeps does so until a wake-up, so that the checker reports a lost one as a
/// deadlock, even where in real life the end of the slice would repair it. A model that needs time to pass lets one of
/// its threads call [`end_slices`](model::end_slices) when somebody was killed, and
/// [`end_deadlines`](model::end_deadlines) for those who do not wait for ever.
#[cfg(loom)]
mod model {
    use crate::sys::atomic::{AtomicU32, Ordering};
    use crate::sys::time::Deadline;
    use loom::sync::Mutex;
    use loom::thread::{Thread, current, park, yield_now};

    #[derive(Default)]
    struct Queue {
        sleepers: Vec<Sleeper>,
        /// Nobody sleeps any more.
        ended: bool,
        /// Nobody who has a deadline sleeps any more.
        deadlines_ended: bool,
    }

    struct Sleeper {
        /// The words at which it sleeps.
        at: Vec<usize>,
        thread: Thread,
        has_deadline: bool,
    }

    loom::lazy_static! {
        static ref QUEUE: Mutex<Queue> = Mutex::new(Queue::default());
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word) as usize
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) {
        wait_any(&[(word, expected)], deadline);
    }

    fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) {
        let me = current();
        let has_deadline = deadline != Deadline::NEVER;
        {
            let mut queue = QUEUE.lock().unwrap();
            // As in the kernel, this look and the entry into the queue are one step for whoever wakes.
            if words.iter().any(|(word, expected)| word.load(Ordering::SeqCst) != *expected) {
                return;
            }
            if queue.ended || (queue.deadlines_ended && has_deadline) {
                drop(queue);
                return yield_now();
            }
            let at = words.iter().map(|(word, _)| address(word)).collect();
            queue.sleepers.push(Sleeper { at, thread: me.clone(), has_deadline });
        }
        while QUEUE.lock().unwrap().sleepers.iter().any(|sleeper| sleeper.thread.id() == me.id()) {
            park();
        }
    }

    pub(crate) fn wake(word: &AtomicU32, count: u32) {
        let mut queue = QUEUE.lock().unwrap();
        for _ in 0..count {
            let Some(first) = queue.sleepers.iter().position(|it| it.at.contains(&address(word))) else { return };
            queue.sleepers.remove(first).thread.unpark();
        }
    }

    /// Lets time pass: all slices and deadlines end, those to come as well.
    pub(crate) fn end_slices() {
        let mut queue = QUEUE.lock().unwrap();
        queue.ended = true;
        queue.sleepers.drain(..).for_each(|sleeper| sleeper.thread.unpark());
    }

    /// Lets all deadlines pass, those to come as well; who has none sleeps on.
    pub(crate) fn end_deadlines() {
        let mut queue = QUEUE.lock().unwrap();
        queue.deadlines_ended = true;
        queue.sleepers.iter().filter(|it| it.has_deadline).for_each(|it| it.thread.unpark());
        queue.sleepers.retain(|it| !it.has_deadline);
    }

    #[derive(Debug)]
    pub(crate) struct Slices {
        deadline: Deadline,
        slept: bool,
    }

    impl Slices {
        pub(crate) fn new(deadline: Deadline) -> Slices {
            Slices { deadline, slept: false }
        }

        /// Time does not pass here anyway.
        pub(crate) fn shorten(&mut self) {}

        /// A deadline has passed as soon as one slice is over.
        pub(crate) fn sleep(&mut self, word: &AtomicU32, expected: u32) -> bool {
            self.sleep_any(&[(word, expected)])
        }

        /// The same for several words.
        pub(crate) fn sleep_any(&mut self, words: &[(&AtomicU32, u32)]) -> bool {
            if self.deadline != Deadline::NEVER && (self.slept || self.deadline.passed()) {
                return false;
            }
            wait_any(words, self.deadline);
            self.slept = true;
            true
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Slices, wait, wake};
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
    fn slices_are_short_where_a_wake_up_may_be_missed() {
        let (word, mut slices) = (AtomicU32::new(0), Slices::new(Deadline::NEVER));
        let start = Instant::now();
        assert!(slices.sleep(&word, 0));
        let long = start.elapsed();
        assert!(long >= Duration::from_millis(24), "{long:?}");
        slices.shorten();
        let start = Instant::now();
        (0..5).for_each(|_| assert!(slices.sleep(&word, 0)));
        assert!(start.elapsed() >= Duration::from_millis(4), "{:?}", start.elapsed());
    }

    #[test]
    fn a_wake_at_any_word_ends_the_slice() {
        for count in [2, 128, 200] {
            let words: Vec<AtomicU32> = (0..count).map(|_| AtomicU32::new(0)).collect();
            let all: Vec<_> = words.iter().map(|word| (word, 0)).collect();
            let start = Instant::now();
            assert!(Slices::new(Deadline::NEVER).sleep_any(&all));
            // Beyond what the kernel can, slices are short.
            assert!(start.elapsed() >= Duration::from_millis(if count > 128 { 1 } else { 24 }));
            assert!(!Slices::new(Deadline::after(Duration::ZERO)).sleep_any(&all));
            let changed = AtomicU32::new(1);
            let start = Instant::now();
            assert!(Slices::new(Deadline::NEVER).sleep_any(&[all[0], (&changed, 0)]));
            assert!(start.elapsed() < Duration::from_millis(24));
        }
        let words = [AtomicU32::new(0), AtomicU32::new(0)];
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut slices = Slices::new(Deadline::NEVER);
                while words[1].load(Ordering::Acquire) == 0 {
                    slices.sleep_any(&[(&words[0], 0), (&words[1], 0)]);
                }
            });
            words[1].store(1, Ordering::Release);
            while !waiter.is_finished() {
                wake(&words[1], 1);
                std::thread::yield_now();
            }
        });
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
