//! Many at work while one of them is killed somewhere in the middle: everything is as it was in the end.

use crate::sync::algorithm::barrier::Barrier;
use crate::sync::algorithm::condition::Condition;
use crate::sync::algorithm::rlock::RLock;
use crate::sync::algorithm::rwlock::RwLock;
use crate::sync::algorithm::semaphore::{Hold, Semaphore};
use crate::sync::algorithm::testing::{Party, kill};
use crate::sync::algorithm::word::{Caller, MAX_SLOTS, Outcome};
use crate::sys::time::Deadline;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

const NEVER: Deadline = Deadline::NEVER;

/// Runs `work` in a victim until it dies and in three others as often as given, then `check` in a fourth.
fn stress<H: Sync + 'static>(
    make: impl Fn() -> H,
    turns: u32,
    work: fn(&H, &Party<'static>),
    check: impl Fn(&H, &Party<'static>),
) {
    for round in 0..40_u32 {
        // Spread over the whole run, and never twice the same.
        let after = round * round % 97 * 3 + round;
        kill::once(&make, after, |crowd, header, victim| {
            let victim = victim.run(move |party| {
                loop {
                    work(header, party);
                }
            });
            let others = [2, 3, 4].map(|slot| {
                let party = crowd.party(slot, 1);
                std::thread::spawn(move || (0..turns).for_each(|_| work(header, &party)))
            });
            others.into_iter().for_each(|other| other.join().unwrap());
            assert!(victim.wait());
            check(header, &crowd.party(MAX_SLOTS as u16, 1));
        });
    }
}

#[test]
fn semaphore() {
    let make = || {
        let semaphore = Semaphore::new();
        semaphore.init(2, true);
        semaphore
    };
    let work = |semaphore: &Semaphore, party: &Party<'static>| {
        assert_eq!(semaphore.acquire_until(party, Hold::Guard, NEVER), Outcome::Acquired);
        semaphore.release(party, Hold::Guard).unwrap();
    };
    stress(make, 200, work, |semaphore, party| {
        for expected in [Outcome::Acquired, Outcome::Acquired, Outcome::Busy] {
            assert_eq!(semaphore.try_acquire(party, Hold::Guard), expected);
        }
    });
}

#[test]
fn rwlock() {
    let work = |(lock, turn, data): &(RwLock, AtomicU32, AtomicU32), party: &Party<'static>| {
        if turn.fetch_add(1, Relaxed) % 3 == 0 {
            assert!(lock.write_until(party, NEVER).is_acquired());
            assert_eq!(data.swap(1, Relaxed), 0, "alone");
            data.store(0, Relaxed);
            lock.unlock_write(party).unwrap();
        } else {
            assert!(lock.read_until(party, NEVER).is_acquired());
            assert_eq!(data.load(Relaxed), 0, "no writer");
            lock.unlock_read(party).unwrap();
        }
    };
    stress(
        || (RwLock::new(), AtomicU32::new(0), AtomicU32::new(0)),
        200,
        work,
        |(lock, ..), party| {
            assert!(lock.try_write(party).is_acquired());
            assert_eq!((lock.readers(), lock.writer()), (0, Some(party.me())));
        },
    );
}

#[test]
fn condition() {
    let work = |(condition, lock): &(Condition, RLock), party: &Party<'static>| {
        assert!(lock.lock_until(party, NEVER).is_acquired());
        condition.notify(party, lock, 1).unwrap();
        let waited = condition.wait_until(party, lock, Deadline::after(Duration::from_millis(1))).unwrap();
        assert!(waited.lock.is_acquired());
        lock.unlock(party).unwrap();
    };
    stress(
        || (Condition::new(), RLock::new()),
        50,
        work,
        |(condition, lock), party| {
            assert!(lock.try_lock(party).is_acquired());
            assert_eq!((condition.notify(party, lock, 9), condition.waiting()), (Ok(0), 0));
        },
    );
}

#[test]
fn barrier() {
    let make = || {
        let barrier = Barrier::new();
        barrier.init(2);
        barrier
    };
    let work = |barrier: &Barrier, party: &Party<'static>| {
        let action = (party.me().slot() % 2 == 0).then_some(|| ());
        let deadline = Deadline::after(Duration::from_millis(2));
        if barrier.wait_until(party, deadline, action).is_err() {
            barrier.reset(party);
        }
    };
    stress(make, 30, work, |barrier, party| {
        barrier.reset(party);
        assert_eq!((barrier.n_waiting(), barrier.broken(party)), (0, false));
    });
}
