//! A real process is run instruction by instruction through each operation, and killed with SIGKILL: after the first
//! instruction by which anything changes in the memory that it shares with others, after the second, and so on, and before
//! each system call, until it lives to the end. Then the survivors must go on, or be told.

use super::common::victim::at_every_step;
use multiproc::{Barrier, BoundedSemaphore, Condition, Event, Lock, LockError, RLock, RawValue, RwLock, Semaphore};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

fn no_help<T>(_: &T) {}

/// What was to be taken was, or a holder has died: then it is repaired.
fn expect_taken<G>(taken: Result<Option<G>, LockError>, repair: impl FnOnce()) {
    match taken {
        Ok(held) => drop(held.expect("the lock hangs")),
        Err(error) => {
            assert!(error.is_owner_died(), "{error}");
            repair();
        }
    }
}

/// The lock can be taken, and is sound afterwards.
fn take_lock(lock: &Lock, _: bool) {
    expect_taken(lock.lock_timeout(LONG), || lock.lock_poisoned().unwrap().clear_poison());
    lock.with(|| ()).unwrap();
}

#[test]
fn lock() {
    fn work(lock: &Lock) {
        drop(lock.lock().unwrap())
    }
    at_every_step!("lock", Lock, Lock::new, work, no_help, take_lock);
}

#[test]
fn lock_raw() {
    fn work(lock: &Lock) {
        lock.acquire().and_then(|()| lock.release()).unwrap()
    }
    at_every_step!("lock_raw", Lock, Lock::new, work, no_help, take_lock);
}

#[test]
fn lock_that_is_held() {
    let make = || {
        let lock = Lock::new();
        lock.acquire().unwrap();
        lock
    };
    fn work(lock: &Lock) {
        drop(lock.lock().unwrap())
    }
    let help = |lock: &Lock| lock.release().unwrap();
    let check = |lock: &Lock, lived| {
        // Held raw since before the victim came, if nobody has helped, or from now on.
        if lock.try_acquire().is_ok() {
            let _ = lock.release();
        }
        take_lock(lock, lived);
    };
    at_every_step!("lock_that_is_held", Lock, make, work, help, check);
}

#[test]
fn recursive_lock() {
    fn work(lock: &RLock) {
        let held = (lock.lock().unwrap(), lock.lock().unwrap());
        lock.acquire().and_then(|()| lock.release()).unwrap();
        drop(held);
    }
    let check = |lock: &RLock, _| {
        expect_taken(lock.lock_timeout(LONG), || lock.lock_poisoned().unwrap().clear_poison());
        assert_eq!(format!("{lock:?}"), "RLock(owner=None, depth=0)");
    };
    at_every_step!("recursive_lock", RLock, RLock::new, work, no_help, check);
}

/// Whoever wants to write can, and then whoever wants to read; `died` = a writer may have.
fn read_and_write(lock: &RwLock, died: bool) {
    expect_taken(lock.write_timeout(LONG), || {
        assert!(died, "no writer has died");
        lock.write_poisoned().unwrap().clear_poison();
    });
    drop(lock.read_timeout(LONG).unwrap().expect("the lock hangs"));
}

#[test]
fn readers_writer_lock_read() {
    fn work(lock: &RwLock) {
        drop((lock.read().unwrap(), lock.read().unwrap()))
    }
    let check = |lock: &RwLock, _| read_and_write(lock, false);
    at_every_step!("readers_writer_lock_read", RwLock, RwLock::new, work, no_help, check);
}

#[test]
fn readers_writer_lock_written() {
    fn work(lock: &RwLock) {
        drop(lock.write().unwrap())
    }
    let check = |lock: &RwLock, _| read_and_write(lock, true);
    at_every_step!("readers_writer_lock_written", RwLock, RwLock::new, work, no_help, check);
}

/// Only in the long form, MULTIPROC_LONG=1: a minute, in which the victim looks through the table of readers.
#[test]
fn readers_writer_lock_wanted_in_vain() {
    if std::env::var_os("MULTIPROC_LONG").is_none() {
        return;
    }
    let make = || {
        let lock = RwLock::new();
        std::mem::forget(lock.read().unwrap());
        lock
    };
    fn work(lock: &RwLock) {
        assert!(lock.write_timeout(Duration::ZERO).unwrap().is_none())
    }
    let check = |lock: &RwLock, _| {
        drop(lock.read_timeout(LONG).unwrap().expect("a writer that died keeps readers away"));
        assert_eq!(format!("{lock:?}"), "RwLock(writer=None, readers=1)");
    };
    at_every_step!("readers_writer_lock_wanted_in_vain", RwLock, make, work, no_help, check);
}

#[test]
fn semaphore_permit() {
    let make = || Semaphore::new(2);
    fn work(semaphore: &Semaphore) {
        drop((semaphore.permit().unwrap(), semaphore.permit().unwrap()))
    }
    let check = |semaphore: &Semaphore, _| {
        let both = [0, 1].map(|_| semaphore.permit_timeout(LONG).unwrap().expect("a permit is lost"));
        assert_eq!(semaphore.get_value(), 0);
        drop(both);
    };
    at_every_step!("semaphore_permit", Semaphore, make, work, no_help, check);
}

#[test]
fn semaphore_raw() {
    let make = || Semaphore::new(1);
    fn work(semaphore: &Semaphore) {
        semaphore.acquire().and_then(|()| semaphore.release(1)).unwrap()
    }
    let check = |semaphore: &Semaphore, lived| {
        let value = semaphore.get_value();
        assert!(if lived { value == 1 } else { value <= 1 }, "{value}");
        semaphore.release(1).unwrap();
        assert!(semaphore.acquire_timeout(LONG).unwrap());
        assert_eq!(semaphore.get_value(), value);
    };
    at_every_step!("semaphore_raw", Semaphore, make, work, no_help, check);
}

#[test]
fn semaphore_that_is_empty() {
    let make = || Semaphore::new(0);
    fn work(semaphore: &Semaphore) {
        drop(semaphore.permit().unwrap())
    }
    let help = |semaphore: &Semaphore| semaphore.release(1).unwrap();
    let check = |semaphore: &Semaphore, _| {
        // The one of the helper, if there was one, and this one.
        semaphore.release(1).unwrap();
        drop(semaphore.permit_timeout(LONG).unwrap().expect("a permit is lost"));
        assert!((1..=2).contains(&semaphore.get_value()));
    };
    at_every_step!("semaphore_that_is_empty", Semaphore, make, work, help, check);
}

#[test]
fn bounded_semaphore() {
    let make = || BoundedSemaphore::new(1);
    fn work(semaphore: &BoundedSemaphore) {
        drop(semaphore.permit().unwrap())
    }
    let check = |semaphore: &BoundedSemaphore, _| {
        drop(semaphore.permit_timeout(LONG).unwrap().expect("a permit is lost"));
        assert!(semaphore.get_value() == 1 && semaphore.release(1).is_err());
    };
    at_every_step!("bounded_semaphore", BoundedSemaphore, make, work, no_help, check);
}

/// Whoever waits sees the next `set()`.
fn set_and_wait(event: &Event, _: bool) {
    event.clear();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| event.wait_timeout(LONG));
        event.set();
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn event_set_and_cleared() {
    fn work(event: &Event) {
        event.set();
        event.clear();
    }
    at_every_step!("event_set_and_cleared", Event, Event::new, work, no_help, set_and_wait);
}

#[test]
fn event_awaited() {
    fn work(event: &Event) {
        event.wait()
    }
    at_every_step!("event_awaited", Event, Event::new, work, |event: &Event| event.set(), set_and_wait);
}

/// One notification wakes one that waits.
fn notify_one(condition: &Condition, _: bool) {
    expect_taken(condition.lock_timeout(LONG), || condition.lock_poisoned().unwrap().clear_poison());
    let waits = RawValue::new(0u32);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let _held = condition.lock().unwrap();
            waits.set(1);
            condition.wait_timeout(LONG).unwrap()
        });
        // Who has the lock after that has it while the other waits.
        while waits.get() == 0 {
            std::thread::yield_now();
        }
        let _held = condition.lock().unwrap();
        condition.notify(1).unwrap();
        drop(_held);
        assert!(waiter.join().unwrap(), "a notification is lost");
    });
}

#[test]
fn condition_awaited() {
    fn work(condition: &Condition) {
        let _held = condition.lock().unwrap();
        condition.wait().unwrap();
    }
    let help = |condition: &Condition| {
        let _held = condition.lock().unwrap();
        condition.notify(1).unwrap();
    };
    at_every_step!("condition_awaited", Condition, Condition::new, work, help, notify_one);
}

#[test]
fn condition_notified() {
    fn work(condition: &Condition) {
        let _held = condition.lock().unwrap();
        condition.notify(1).unwrap();
    }
    at_every_step!("condition_notified", Condition, Condition::new, work, no_help, notify_one);
}

/// All parties of a barrier that was broken meet again once it was reset.
fn meet_again(barrier: &Barrier, parties: usize) {
    barrier.reset().unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..parties).map(|_| scope.spawn(|| barrier.wait_timeout(LONG))).collect();
        let mut indices: Vec<usize> =
            all.into_iter().map(|it| it.join().unwrap().expect("it hangs or breaks")).collect();
        indices.sort();
        assert_eq!(indices, (0..parties).collect::<Vec<_>>());
    });
}

#[test]
fn barrier_passed() {
    fn work(barrier: &Barrier) {
        drop(barrier.wait())
    }
    let help = |barrier: &Barrier| assert!(barrier.wait_timeout(LONG).is_ok());
    at_every_step!("barrier_passed", Barrier, || Barrier::new(2), work, help, |barrier: &Barrier, _| {
        meet_again(barrier, 2);
    });
}

#[test]
fn barrier_with_an_action() {
    let make = || Barrier::with_action(1, || ());
    fn work(barrier: &Barrier) {
        drop(barrier.wait())
    }
    at_every_step!("barrier_with_an_action", Barrier, make, work, no_help, |barrier: &Barrier, _| {
        meet_again(barrier, 1);
    });
}

#[test]
fn barrier_aborted_and_reset() {
    fn work(barrier: &Barrier) {
        barrier.abort().and_then(|()| barrier.reset()).unwrap()
    }
    at_every_step!("barrier_aborted_and_reset", Barrier, || Barrier::new(2), work, no_help, |barrier: &Barrier, _| {
        meet_again(barrier, 2);
    });
}
