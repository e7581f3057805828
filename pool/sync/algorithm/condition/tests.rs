//! Conditions with real threads, which stand for processes here.

use super::*;
use crate::sync::algorithm::testing::{Crowd, Party, kill};
use Outcome::Acquired;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const GRANTED: Result<Waited, NotWaited> = Ok(Waited { notified: true, lock: Acquired });
const TIMED_OUT: Result<Waited, NotWaited> = Ok(Waited { notified: false, lock: Acquired });

fn eventually(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn locked(lock: &Word, party: &Party<'_>, action: impl FnOnce()) {
    assert!(lock.lock(party).is_acquired());
    action();
    lock.unlock(party.me()).unwrap();
}

#[test]
fn who_does_not_hold_the_lock_can_neither_wait_nor_notify() {
    let crowd = Crowd::new();
    let (condition, lock) = (Condition::new(), Word::new());
    let (a, b) = (crowd.party(1, 1), crowd.party(2, 1));
    assert_eq!(lock.lock(&b), Acquired);
    assert_eq!(condition.wait_until(&a, &lock, Deadline::NEVER), Err(NotWaited::NotHeld));
    assert_eq!(condition.notify(&a, &lock, 1), Err(NotReleased::NotYours));
    assert_eq!((condition.notify(&b, &lock, 1), condition.waiting()), (Ok(0), 0));
}

#[test]
fn a_wait_ends_with_its_deadline() {
    let crowd = Crowd::new();
    let (condition, lock, party) = (Condition::new(), Word::new(), crowd.party(1, 1));
    for raw in [false, true] {
        let taken = if raw { lock.acquire_until(&party, Deadline::NEVER) } else { lock.lock(&party) };
        assert_eq!(taken, Acquired);
        // A notification that nobody waits for is not kept.
        assert_eq!(condition.notify(&party, &lock, 3), Ok(0));
        let start = Instant::now();
        assert_eq!(condition.wait_until(&party, &lock, Deadline::after(Duration::ZERO)), TIMED_OUT);
        assert_eq!(condition.wait_until(&party, &lock, Deadline::after(Duration::from_millis(60))), TIMED_OUT);
        assert!(start.elapsed() >= Duration::from_millis(60));
        assert_eq!(if raw { lock.release() } else { lock.unlock(party.me()) }, Ok(()));
    }
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn exactly_as_many_are_woken_as_notified() {
    let crowd = Crowd::new();
    let (condition, lock, main) = (Condition::new(), Word::new(), crowd.party(9, 1));
    let awake = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for slot in 1..=6 {
            let party = crowd.party(slot, 1);
            let (condition, lock, awake) = (&condition, &lock, &awake);
            scope.spawn(move || {
                locked(lock, &party, || {
                    assert_eq!(condition.wait_until(&party, lock, Deadline::NEVER), GRANTED);
                    awake.fetch_add(1, SeqCst);
                });
            });
        }
        eventually(|| condition.waiting() == 6);
        let mut expected = 0;
        for (count, woken) in [(2, 2), (0, 0), (1, 1), (9, 3), (3, 0)] {
            expected += woken;
            locked(&lock, &main, || assert_eq!(condition.notify(&main, &lock, count), Ok(woken)));
            eventually(|| awake.load(SeqCst) == expected);
            std::thread::sleep(Duration::from_millis(3));
            assert_eq!((awake.load(SeqCst), condition.waiting()), (expected, 6 - expected));
        }
    });
}

#[test]
fn a_recursive_lock_is_given_back_entirely_and_taken_again_as_deep() {
    let crowd = Crowd::new();
    let (condition, lock) = (Condition::new(), RLock::new());
    let (a, b) = (crowd.party(1, 1), crowd.party(2, 1));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                assert_eq!(lock.lock_until(&a, Deadline::NEVER), Acquired);
            }
            assert_eq!(condition.wait_until(&a, &lock, Deadline::NEVER), GRANTED);
            assert_eq!(lock.owner(), Some((a.me(), 3)));
            for _ in 0..3 {
                assert_eq!(lock.unlock(&a), Ok(()));
            }
        });
        eventually(|| condition.waiting() == 1);
        assert_eq!(lock.lock_until(&b, Deadline::NEVER), Acquired);
        assert_eq!(condition.notify(&b, &lock, 1), Ok(1));
        assert_eq!(lock.unlock(&b), Ok(()));
    });
}

#[test]
fn more_than_the_list_holds_is_an_error_and_the_dead_make_room() {
    let crowd = Crowd::new();
    let (condition, lock, party) = (Condition::new(), Word::new(), crowd.party(2, 1));
    for _ in 0..MOST {
        assert!(condition.join(&crowd.party(1, 1), Deadline::NEVER).unwrap().is_some());
    }
    assert_eq!(lock.lock(&party), Acquired);
    assert_eq!(condition.wait_until(&party, &lock, Deadline::NEVER), Err(NotWaited::TooMany));
    crowd.kill(1);
    assert_eq!(condition.wait_until(&party, &lock, Deadline::after(Duration::ZERO)), TIMED_OUT);
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn a_notification_of_a_dead_waiter_goes_to_another() {
    let crowd = Crowd::new();
    let (condition, lock) = (Condition::new(), Word::new());
    let (victim, other, main) = (crowd.party(1, 1), crowd.party(2, 1), crowd.party(3, 1));
    // It waits, is notified, and dies before it takes note.
    assert!(condition.join(&victim, Deadline::NEVER).unwrap().is_some());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            assert_eq!(lock.lock(&other), Acquired);
            assert_eq!(condition.wait_until(&other, &lock, Deadline::NEVER), GRANTED);
            lock.unlock(other.me()).unwrap();
        });
        eventually(|| condition.waiting() == 2);
        locked(&lock, &main, || assert_eq!(condition.notify(&main, &lock, 1), Ok(1)));
        std::thread::sleep(Duration::from_millis(60));
        assert!(!waiter.is_finished(), "the first to come is the first to be notified");
        crowd.kill(1);
        waiter.join().unwrap();
    });
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn killed_at_every_step_a_waiter_takes_nothing_with_it() {
    let make = || (Condition::new(), Word::new());
    let steps = kill::at_every_step(make, |crowd, (condition, lock), victim| {
        let (other, main) = (crowd.party(2, 1), crowd.party(3, 1));
        let victim = victim.run(|party| {
            assert!(lock.lock(party).is_acquired());
            assert!(condition.wait_until(party, lock, Deadline::NEVER).unwrap().notified);
            lock.unlock(party.me()).unwrap();
        });
        std::thread::sleep(Duration::from_millis(3));
        let waiter = std::thread::spawn(move || {
            locked(lock, &other, || assert!(condition.wait_until(&other, lock, Deadline::NEVER).unwrap().notified));
        });
        // One notification for each who lives, or was alive when it was given.
        eventually(|| {
            locked(lock, &main, || {
                condition.notify(&main, lock, 1).unwrap();
            });
            waiter.is_finished()
        });
        waiter.join().unwrap();
        let killed = victim.wait();
        locked(lock, &main, || assert_eq!(condition.notify(&main, lock, 9), Ok(0)));
        assert_eq!(condition.waiting(), 0);
        killed
    });
    assert!(steps >= 6, "{steps}");
}

#[test]
fn killed_at_every_step_a_notifier_holds_nobody() {
    let make = || (Condition::new(), Word::new());
    kill::at_every_step(make, |crowd, (condition, lock), victim| {
        let waiters = [2, 3].map(|slot| {
            let party = crowd.party(slot, 1);
            std::thread::spawn(move || {
                locked(lock, &party, || assert!(condition.wait_until(&party, lock, Deadline::NEVER).unwrap().notified));
            })
        });
        eventually(|| condition.waiting() == 2);
        let killed = victim
            .run(|party| {
                assert!(lock.lock(party).is_acquired());
                assert_eq!(condition.notify(party, lock, 2), Ok(2));
                lock.unlock(party.me()).unwrap();
            })
            .wait();
        let start = Instant::now();
        let main = crowd.party(4, 1);
        locked(lock, &main, || {
            condition.notify(&main, lock, 2).unwrap();
        });
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert!(start.elapsed() < Duration::from_secs(9));
        killed
    });
}

/// Its slot could have a new owner, which would seem to have the cells open for ever.
#[test]
fn a_dead_process_that_has_the_cells_open_is_reclaimed_without_an_entry() {
    let crowd = Crowd::new();
    let (condition, lock) = (Condition::new(), RLock::new());
    std::mem::forget(condition.cells.open(&crowd.party(1, 1)));
    crowd.kill(1);
    condition.reclaim(&crowd.party(2, 1), Deadline::NEVER).unwrap();
    // As if slot 1 had a new owner: nobody is dead here.
    let later = Crowd::new();
    let party = later.party(3, 1);
    assert!(lock.try_lock(&party).is_acquired());
    assert_eq!(condition.notify(&party, &lock, 1), Ok(0));
}
