//! A process is killed at each step of each operation, reclaimed, and its slot given to another one: that one holds nothing,
//! and nobody waits for it.

use crate::sync::algorithm::barrier::Barrier;
use crate::sync::algorithm::condition::Condition;
use crate::sync::algorithm::rlock::RLock;
use crate::sync::algorithm::rwlock::RwLock;
use crate::sync::algorithm::semaphore::{Hold, Semaphore};
use crate::sync::algorithm::testing::{Party, kill};
use crate::sync::algorithm::word::{Caller, NotReleased, Outcome, Word};
use crate::sys::time::Deadline;
use std::sync::mpsc::channel;
use std::time::Duration;

const NEVER: Deadline = Deadline::NEVER;

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(1))
}

/// Does `work` in a victim that dies at each step in turn, reclaims it, gives its slot to a living process, and has a third
/// one `check`, which must not hang; the new owner of the slot is handed in as well.
fn reclaimed<H: Sync + 'static>(
    make: impl Fn() -> H,
    work: fn(&H, &Party<'static>),
    reclaim: fn(&H, &Party<'static>, u16),
    check: fn(&H, &Party<'static>, &Party<'static>),
) {
    let steps = kill::at_every_step(make, |crowd, header, victim| {
        let killed = victim.run(move |party| work(header, party)).wait();
        let (done, is_done) = channel();
        std::thread::spawn(move || {
            if killed {
                reclaim(header, &crowd.party(2, 1), kill::VICTIM);
                crowd.revive(kill::VICTIM);
            }
            check(header, &crowd.party(3, 1), &crowd.party(kill::VICTIM, 2));
            let _ = done.send(());
        });
        is_done.recv_timeout(Duration::from_secs(20)).expect("the check hangs or has panicked");
        killed
    });
    assert!(steps >= 2, "{steps}");
}

#[test]
fn killed_at_every_step_a_lock_word_is_reclaimed() {
    let work = |word: &Word, party: &Party<'static>| {
        assert_eq!(word.lock(party), Outcome::Acquired);
        word.unlock(party.me()).unwrap();
    };
    reclaimed(
        Word::new,
        work,
        |word, _, slot| word.reclaim(slot),
        |word, party, _| {
            assert!(word.try_lock(party).is_acquired());
        },
    );
}

#[test]
fn killed_at_every_step_a_recursive_lock_is_reclaimed() {
    let work = |lock: &RLock, party: &Party<'static>| {
        (0..2).for_each(|_| assert_eq!(lock.lock_until(party, NEVER), Outcome::Acquired));
        (0..2).for_each(|_| lock.unlock(party).unwrap());
    };
    reclaimed(
        RLock::new,
        work,
        |lock, _, slot| lock.reclaim(slot),
        |lock, party, _| {
            assert!(lock.try_lock(party).is_acquired());
            assert_eq!(lock.owner(), Some((party.me(), 1)));
        },
    );
}

#[test]
fn killed_at_every_step_a_semaphore_is_reclaimed() {
    let make = || {
        let semaphore = Semaphore::new();
        semaphore.init(2, true);
        semaphore
    };
    let work = |semaphore: &Semaphore, party: &Party<'static>| {
        (0..2).for_each(|_| assert_eq!(semaphore.acquire_until(party, Hold::Guard, NEVER), Outcome::Acquired));
        assert_eq!(semaphore.acquire_until(party, Hold::Guard, soon()), Outcome::TimedOut);
        (0..2).for_each(|_| semaphore.release(party, Hold::Guard).unwrap());
    };
    let reclaim = |semaphore: &Semaphore, party: &Party<'static>, slot| _ = semaphore.reclaim(party, slot, NEVER);
    reclaimed(make, work, reclaim, |semaphore, party, new| {
        assert_eq!((semaphore.value(), semaphore.release(new, Hold::Guard)), (2, Err(NotReleased::NotYours)));
        for expected in [Outcome::Acquired, Outcome::Acquired, Outcome::Busy] {
            assert_eq!(semaphore.try_acquire(party, Hold::Guard), expected);
        }
    });
}

#[test]
fn killed_at_every_step_a_readers_writer_lock_is_reclaimed() {
    let work = |lock: &RwLock, party: &Party<'static>| {
        assert!(lock.read_until(party, NEVER).is_acquired());
        assert_eq!(lock.write_until(party, soon()), Outcome::TimedOut);
        lock.unlock_read(party).unwrap();
        assert!(lock.write_until(party, NEVER).is_acquired());
        lock.unlock_write(party).unwrap();
    };
    let reclaim = |lock: &RwLock, party: &Party<'static>, slot| _ = lock.reclaim(party, slot, NEVER);
    reclaimed(RwLock::new, work, reclaim, |lock, party, new| {
        assert_eq!((lock.readers(), lock.writer()), (0, None));
        assert_eq!(lock.unlock_read(new), Err(NotReleased::NotYours));
        assert!(lock.read_until(party, NEVER).is_acquired());
        lock.unlock_read(party).unwrap();
        assert!(lock.write_until(party, NEVER).is_acquired());
    });
}

#[test]
fn killed_at_every_step_a_condition_is_reclaimed() {
    let work = |(condition, lock): &(Condition, RLock), party: &Party<'static>| {
        assert!(lock.lock_until(party, NEVER).is_acquired());
        assert!(!condition.wait_until(party, lock, soon()).unwrap().notified);
        assert_eq!(condition.notify(party, lock, 1), Ok(0));
        lock.unlock(party).unwrap();
    };
    let make = || (Condition::new(), RLock::new());
    let reclaim = |(condition, lock): &(Condition, RLock), party: &Party<'static>, slot| {
        condition.reclaim(party, NEVER).unwrap();
        lock.reclaim(slot);
    };
    reclaimed(make, work, reclaim, |(condition, lock), party, _| {
        assert!(lock.try_lock(party).is_acquired());
        assert_eq!((condition.waiting(), condition.notify(party, lock, 9)), (0, Ok(0)));
        assert!(!condition.wait_until(party, lock, soon()).unwrap().notified);
    });
}

#[test]
fn killed_at_every_step_a_barrier_is_reclaimed() {
    for parties in [1, 2] {
        let make = || {
            let barrier = Barrier::new();
            barrier.init(parties);
            barrier
        };
        let work = |barrier: &Barrier, party: &Party<'static>| {
            _ = barrier.wait_until(party, soon(), Some(|| ()));
            barrier.reset(party);
        };
        reclaimed(
            make,
            work,
            |barrier, party, _| barrier.reclaim(party, NEVER).unwrap(),
            |barrier, party, _| {
                assert_eq!(barrier.n_waiting(), 0);
                barrier.reset(party);
                let alone = barrier.wait_until(party, soon(), Some(|| ()));
                assert_eq!((alone.is_ok(), barrier.broken(party)), (barrier.parties() == 1, barrier.parties() == 2));
            },
        );
    }
}
