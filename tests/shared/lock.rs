//! `Lock`: what it promises, and what becomes of it when its holder dies.

use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{Lock, Pool, RawValue};
use std::time::{Duration, Instant};

#[test]
fn only_one_at_a_time() {
    let _watchdog = watchdog(60);
    let (lock, number) = (Lock::new(), RawValue::new(0u64));
    let pool = Pool::new(4).unwrap();
    let shared = (lock, number.clone());
    let add = |(lock, number): &(Lock, RawValue<u64>), _: u32| {
        for _ in 0..1000 {
            let _held = lock.lock().unwrap();
            // Two steps on purpose: only the lock makes one of them.
            number.set(number.get() + 1);
        }
    };
    pool.with(&shared).tasks(add, 0..40).run().unwrap();
    assert_eq!(number.get(), 40_000);
}

#[test]
fn the_guard_and_the_raw_form() {
    let _watchdog = watchdog(60);
    let lock = Lock::new();
    assert!(!lock.locked());
    let held = lock.lock().unwrap();
    assert!(lock.locked());
    assert!(lock.lock().unwrap_err().is_would_deadlock());
    assert!(lock.acquire().unwrap_err().is_would_deadlock());
    assert!(lock.lock_timeout(Duration::from_secs(50)).unwrap_err().is_would_deadlock());
    assert!(lock.release().unwrap_err().is_not_held());
    assert!(lock.locked());
    assert_eq!(format!("{lock:?}"), "Lock(owner=this thread)");
    let other = lock.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(other.try_lock().unwrap().is_none());
            assert!(!other.try_acquire().unwrap());
            let start = Instant::now();
            assert!(!other.acquire_timeout(Duration::from_millis(30)).unwrap());
            assert!(start.elapsed() >= Duration::from_millis(30));
        });
    });
    drop(held);
    assert!(lock.release().unwrap_err().is_not_held());
    assert_eq!(format!("{lock:?}"), "Lock(owner=None)");

    // Raw, any thread may release it, and taking it twice waits like for anybody else.
    lock.acquire().unwrap();
    assert!(!lock.try_acquire().unwrap());
    assert!(!lock.acquire_timeout(Duration::from_millis(5)).unwrap());
    std::thread::scope(|scope| scope.spawn(|| lock.release()).join().unwrap()).unwrap();
    assert!(!lock.locked());
    assert_eq!(lock.with(|| 7).unwrap(), 7);
}

#[test]
fn another_process_may_release_it_raw() {
    let _watchdog = watchdog(60);
    let lock = Lock::new();
    let pool = Pool::new(1).unwrap();
    lock.acquire().unwrap();
    assert!(pool.apply(|lock: Lock| lock.locked() && !lock.try_acquire().unwrap(), (lock.clone(),)).unwrap());
    pool.apply(|lock: Lock| lock.release().unwrap(), (lock.clone(),)).unwrap();
    assert!(lock.try_acquire().unwrap());
}

/// Takes the lock, says so, and keeps it until it is killed.
fn hold(lock: Lock, at_it: RawValue<u32>) {
    let _held = lock.lock().unwrap();
    at_it.set(1);
    std::thread::sleep(Duration::from_secs(1000));
}

/// Lets a worker take the lock, and kills it.
fn die_with(lock: &Lock) -> Pool {
    let pool = Pool::new(1).unwrap();
    let at_it = RawValue::new(0u32);
    let pid = pool.worker_pids()[0];
    std::thread::scope(|scope| {
        let dying = scope.spawn(|| pool.apply(hold, (lock.clone(), at_it.clone())));
        assert!(eventually(Duration::from_secs(30), || at_it.get() == 1));
        kill(pid);
        assert!(dying.join().unwrap().unwrap_err().task().unwrap().is_worker_lost());
    });
    pool
}

#[test]
fn a_dead_holder_is_an_error_until_somebody_repairs() {
    let _watchdog = watchdog(60);
    let lock = Lock::new();
    let pool = die_with(&lock);
    assert!(lock.lock().unwrap_err().is_owner_died());
    assert!(lock.lock().unwrap_err().is_owner_died());
    assert!(lock.try_acquire().unwrap_err().is_owner_died());
    assert!(lock.is_poisoned() && !lock.locked());
    assert_eq!(format!("{lock:?}"), "Lock(owner=None, poisoned)");
    let seen = pool.apply(|lock: Lock| lock.lock().unwrap_err().is_owner_died(), (lock.clone(),));
    assert!(seen.unwrap());
    let held = lock.lock_poisoned().unwrap();
    assert!(held.is_poisoned());
    held.clear_poison();
    assert!(!held.is_poisoned());
    drop(held);
    drop(lock.lock().unwrap());
    assert!(!lock.lock_poisoned().unwrap().is_poisoned());
}

#[test]
fn who_waits_for_a_dead_holder_goes_on_within_100_ms() {
    let _watchdog = watchdog(120);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let (lock, at_it) = (Lock::new(), RawValue::new(0u32));
        let pool = Pool::new(1).unwrap();
        let pid = pool.worker_pids()[0];
        std::thread::scope(|scope| {
            scope.spawn(|| pool.apply(hold, (lock.clone(), at_it.clone())));
            assert!(eventually(Duration::from_secs(30), || at_it.get() == 1));
            let waiter = scope.spawn(|| {
                assert!(lock.lock().unwrap_err().is_owner_died());
                Instant::now()
            });
            // Until it sleeps, most likely; if it does not yet, the test holds as well.
            std::thread::sleep(Duration::from_millis(20));
            let killed = Instant::now();
            kill(pid);
            waits.push(waiter.join().unwrap() - killed);
        });
    }
    waits.sort();
    // The median, since a machine under load may stop anything for a while.
    assert!(waits[2] < Duration::from_millis(100), "{waits:?}");
}

/// A place in the process table that has got a new owner must not make a lock look held by that one.
#[test]
fn a_lock_of_a_dead_process_is_free_whoever_comes_after_it() {
    let _watchdog = watchdog(120);
    let locks: Vec<Lock> = (0..20).map(|_| Lock::new()).collect();
    let pool = Pool::new(1).unwrap();
    for lock in &locks {
        let lost = pool.apply(
            |lock: Lock| {
                std::mem::forget(lock.lock().unwrap());
                std::process::abort()
            },
            (lock.clone(),),
        );
        let lost: Result<(), _> = lost;
        assert!(lost.unwrap_err().task().unwrap().is_worker_lost());
    }
    // The pool has seen its worker end, so all its locks were freed by now, without anybody having waited for one.
    let free = |lock: &Lock| !lock.locked() && lock.is_poisoned();
    assert!(eventually(Duration::from_secs(10), || locks.iter().all(free)), "{locks:?}");
    for lock in &locks {
        assert!(lock.lock().unwrap_err().is_owner_died());
    }
}
