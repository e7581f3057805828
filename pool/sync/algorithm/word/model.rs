//! The lock word under the model checker.

use super::*;
use crate::sync::algorithm::testing::{Crowd, check};
use crate::sys::futex::{end_deadlines, end_slices};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

/// A lock and what it guards; the checker reports unsynchronised access to the latter.
struct Guarded {
    crowd: Crowd,
    word: Word,
    /// The checker reports two at a time in here.
    alone: UnsafeCell<()>,
    count: AtomicU32,
}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded {
            crowd: Crowd::new(),
            word: Word::new(),
            alone: UnsafeCell::new(()),
            count: AtomicU32::new(0),
        })
    }

    /// Counts; the value is right only if the accesses follow each other.
    fn touch(&self) -> u32 {
        self.alone.with_mut(|_| {
            let count = self.count.load(Relaxed) + 1;
            self.count.store(count, Relaxed);
            count
        })
    }

    fn lock_and_touch(&self, slot: u16) -> Outcome {
        let party = self.crowd.party(slot, 1);
        let outcome = self.word.lock(&party);
        self.touch();
        self.word.unlock(party.me()).unwrap();
        outcome
    }
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(1000))
}

/// Slices do not end here: a lost wake-up would be a deadlock.
#[test]
fn one_at_a_time_and_no_wake_up_is_lost() {
    check(3, || {
        let shared = Guarded::new();
        let threads = [2, 3].map(|slot| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.lock_and_touch(slot))
        });
        assert_eq!(shared.lock_and_touch(1), Outcome::Acquired);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Outcome::Acquired);
        }
        assert_eq!(shared.touch(), 4);
        assert!(!shared.word.locked());
    });
}

/// Who gives the lock back and takes it again at once leaves a word that looks as if nothing had happened.
#[test]
fn a_holder_that_comes_back_leaves_nobody_asleep() {
    check(3, || {
        let shared = Guarded::new();
        let waiter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.lock_and_touch(2))
        };
        for _ in 0..3 {
            assert_eq!(shared.lock_and_touch(1), Outcome::Acquired);
        }
        assert_eq!(waiter.join().unwrap(), Outcome::Acquired);
        assert_eq!(shared.touch(), 5);
    });
}

/// A waiter that gives up takes no wake-up with it.
#[test]
fn a_timeout_loses_no_wake_up() {
    check(3, || {
        let shared = Guarded::new();
        let holder = shared.crowd.party(1, 1);
        assert_eq!(shared.word.lock(&holder), Outcome::Acquired);
        let impatient = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let party = shared.crowd.party(2, 1);
                let outcome = shared.word.lock_until(&party, deadline());
                if outcome.is_acquired() {
                    shared.touch();
                    shared.word.unlock(party.me()).unwrap();
                }
                outcome
            })
        };
        let patient = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.lock_and_touch(3))
        };
        end_deadlines();
        shared.word.unlock(holder.me()).unwrap();
        assert_eq!(patient.join().unwrap(), Outcome::Acquired);
        assert!([Outcome::Acquired, Outcome::TimedOut].contains(&impatient.join().unwrap()));
    });
}

/// The holder dies at some time; both waiters get in, one after the other, and know it.
#[test]
fn exactly_one_takes_over() {
    check(3, || {
        let shared = Guarded::new();
        assert_eq!(shared.word.lock(&shared.crowd.party(1, 1)), Outcome::Acquired);
        let threads = [2, 3].map(|slot| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.lock_and_touch(slot))
        });
        // The last thing that it does.
        shared.touch();
        shared.crowd.kill(1);
        end_slices();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Outcome::AcquiredPoisoned);
        }
        assert_eq!(shared.touch(), 4);
    });
}

/// Who takes the lock next sees what was done while it was held raw.
#[test]
fn a_raw_hold_hands_on_what_was_written() {
    check(3, || {
        let shared = Guarded::new();
        assert_eq!(shared.word.try_acquire(&shared.crowd.party(1, 1)), Outcome::Acquired);
        let waiter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.lock_and_touch(2))
        };
        // After the start of the other thread, which would hand it on as well.
        shared.touch();
        shared.word.release().unwrap();
        assert_eq!(waiter.join().unwrap(), Outcome::Acquired);
        assert_eq!(shared.touch(), 3);
    });
}

/// The holder is dead, and a third process frees the lock from it. Whoever waits wakes up without looking for the dead, and
/// sees what the dead one has written.
#[test]
fn reclaiming_hands_on_what_the_dead_one_has_written() {
    check(3, || {
        let shared = Guarded::new();
        assert_eq!(shared.word.lock(&shared.crowd.party(1, 1)), Outcome::Acquired);
        let waiter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.lock_and_touch(2))
        };
        let reclaims = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let caller = shared.crowd.party(3, 1);
                if caller.is_dead(1) {
                    shared.word.reclaim(1);
                } else {
                    end_slices();
                }
            })
        };
        shared.touch();
        shared.crowd.kill(1);
        reclaims.join().unwrap();
        assert_eq!(waiter.join().unwrap(), Outcome::AcquiredPoisoned);
        assert_eq!(shared.touch(), 3);
    });
}
