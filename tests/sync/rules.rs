//! What the types promise beyond Python: guards and raw forms beside each other, errors instead of hangs.

use super::common::proc::eventually;
use super::common::watchdog::watchdog;
use multiproc::{Array, Barrier, BoundedSemaphore, Condition, Error, Event, Lock, RLock, RwLock, Semaphore, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(5);

/// Runs `code` on another thread.
fn elsewhere<R: Send>(code: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(code).join().unwrap())
}

#[test]
fn an_event_that_is_set_and_cleared_at_once_wakes_all() {
    let _watchdog = watchdog(60);
    let event = Event::new();
    assert_eq!(format!("{event:?}"), "Event(unset)");
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| event.wait_timeout(SOON))).collect();
        std::thread::sleep(Duration::from_millis(100));
        event.set();
        event.clear();
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
    });
    event.set();
    assert_eq!(format!("{event:?}"), "Event(set)");
}

#[test]
fn permits_through_guards_and_raw() {
    let _watchdog = watchdog(60);
    let semaphore = BoundedSemaphore::new(2);
    let permit = semaphore.permit().unwrap();
    assert_eq!(format!("{semaphore:?}"), "BoundedSemaphore(value=1)");
    // What a guard holds cannot be released raw.
    assert!(semaphore.release(1).unwrap_err().is_not_held());
    let other = semaphore.try_permit().unwrap().unwrap();
    assert!(semaphore.try_permit().unwrap().is_none());
    assert!(semaphore.permit_timeout(SHORT).unwrap().is_none());
    assert!(!semaphore.try_acquire().unwrap() && !semaphore.acquire_timeout(SHORT).unwrap());
    // A permit is the process's: another thread may drop it.
    elsewhere(move || drop(other));
    drop(permit);
    assert_eq!(semaphore.with(|| semaphore.get_value()).unwrap(), 1);
    semaphore.acquire().unwrap();
    semaphore.acquire().unwrap();
    assert!(semaphore.release(3).unwrap_err().is_not_held());
    assert_eq!(semaphore.get_value(), 0, "all or none");
    semaphore.release(2).unwrap();
    semaphore.release(0).unwrap();

    let semaphore = Semaphore::new(0);
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| semaphore.acquire_timeout(SOON).unwrap())).collect();
        std::thread::sleep(Duration::from_millis(50));
        semaphore.release(3).unwrap();
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
    });
    assert_eq!(format!("{semaphore:?}"), "Semaphore(value=0)");
    semaphore.release(i32::MAX as u32).unwrap();
    let error = Error::from(semaphore.release(1).unwrap_err());
    assert!(error.lock().unwrap().is_not_held() && error.to_string().contains("too many times"), "{error}");
    assert!(semaphore.release(u32::MAX).is_err());
    assert!(Semaphore::try_new(1 << 31).unwrap_err().is_invalid_argument());
    assert!(catch_unwind(|| BoundedSemaphore::new(u32::MAX)).is_err());
}

#[test]
fn a_recursive_lock_belongs_to_its_thread() {
    let _watchdog = watchdog(60);
    let lock = RLock::new();
    assert_eq!(format!("{lock:?}"), "RLock(owner=None, depth=0)");
    let outer = lock.lock().unwrap();
    let inner = lock.try_lock().unwrap().unwrap();
    lock.acquire().unwrap();
    assert!(lock.acquire_timeout(SHORT).unwrap());
    assert_eq!(format!("{lock:?}"), "RLock(owner=this thread, depth=4)");
    elsewhere(|| {
        assert!(lock.try_lock().unwrap().is_none() && lock.lock_timeout(SHORT).unwrap().is_none());
        assert!(!lock.try_acquire().unwrap() && !lock.acquire_timeout(SHORT).unwrap());
        assert!(lock.release().unwrap_err().to_string().contains("another thread"));
    });
    // Guards first, in the order of their making, as `drop(outer)` may come first.
    drop((outer, inner));
    assert!(lock.locked());
    lock.release().unwrap();
    lock.release().unwrap();
    assert!(!lock.locked());
    // A raw release does not take away what a guard stands for.
    let held = lock.lock().unwrap();
    assert!(lock.release().unwrap_err().is_not_held());
    assert!(lock.locked());
    drop(held);
    assert_eq!(lock.with(|| lock.with(|| 7).unwrap()).unwrap(), 7);
    assert!(elsewhere(|| lock.try_acquire().unwrap()));
}

#[test]
fn a_condition_is_used_with_its_lock_held() {
    let _watchdog = watchdog(60);
    let (lock, rlock) = (Lock::new(), RLock::new());
    let made = [Condition::new(), Condition::with_lock(&lock).unwrap(), Condition::with_rlock(&rlock).unwrap()];
    for condition in &made {
        for error in [condition.wait().unwrap_err(), condition.notify(1).unwrap_err()] {
            assert!(error.is_not_held() && error.to_string().contains("does not hold the lock"), "{error}");
        }
        assert!(condition.wait_timeout(SHORT).is_err() && condition.notify_all().is_err());
        assert!(condition.wait_for(|| false).is_err() && condition.wait_for_timeout(|| false, SHORT).is_err());
        // Through the guard, and raw.
        let held = condition.lock().unwrap();
        assert!(!condition.wait_timeout(SHORT).unwrap());
        assert!(condition.wait_for_timeout(|| true, Duration::ZERO).unwrap());
        elsewhere(|| {
            assert!(condition.try_lock().unwrap().is_none() && condition.lock_timeout(SHORT).unwrap().is_none());
            assert!(!condition.try_acquire().unwrap() && !condition.acquire_timeout(SHORT).unwrap());
            assert!(condition.notify(1).is_err());
        });
        drop(held);
        condition.acquire().unwrap();
        assert!(!condition.wait_timeout(SHORT).unwrap());
        assert!(!elsewhere(|| condition.try_acquire().unwrap()));
        assert_eq!(condition.notify(3).unwrap(), 0);
        condition.release().unwrap();
        assert!(condition.release().unwrap_err().is_not_held());
        assert!(format!("{condition:?}").ends_with("waiting=0)"), "{condition:?}");
    }
    // The lock itself will do.
    let _held = (lock.lock().unwrap(), rlock.lock().unwrap());
    assert!(!made[1].wait_timeout(SHORT).unwrap() && !made[2].wait_timeout(SHORT).unwrap());
}

#[test]
fn a_condition_lets_go_of_all_levels_and_takes_them_again() {
    let _watchdog = watchdog(60);
    let condition = Condition::new();
    let _held = (condition.lock().unwrap(), condition.lock().unwrap());
    condition.acquire().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _held = condition.lock().unwrap();
            condition.notify(1).unwrap();
        });
        condition.wait().unwrap();
    });
    assert!(format!("{condition:?}").contains("depth=3"), "{condition:?}");
    condition.release().unwrap();
    assert!(condition.release().is_err());
}

/// Somebody else could get a reference to the same elements otherwise.
#[test]
fn a_condition_does_not_let_go_of_what_is_lent() {
    let _watchdog = watchdog(60);
    let lock = Lock::new();
    let (array, value) = (Array::<u64>::with_lock(4, &lock).unwrap(), Value::with_lock(1u64, &lock).unwrap());
    let condition = Condition::with_lock(&lock).unwrap();
    for _ in 0..2 {
        let elements = array.lock().unwrap();
        let error = condition.wait_timeout(SHORT).unwrap_err();
        assert!(error.is_lent() && error.to_string().contains("guard of a value or array"), "{error}");
        drop(elements);
        let copy = value.lock().unwrap();
        assert!(condition.wait_timeout(SHORT).unwrap_err().is_lent());
        assert_eq!(condition.notify(1).unwrap(), 0);
        drop(copy);
        let _held = condition.lock().unwrap();
        assert!(!condition.wait_timeout(SHORT).unwrap());
    }
    // Also of an array with a lock of its own, and through another handle to it.
    let array = Array::<u64>::new(4);
    let condition = Condition::with_lock(array.get_lock()).unwrap();
    let other = array.clone();
    let elements = other.lock().unwrap();
    assert!(condition.wait_timeout(SHORT).unwrap_err().is_lent());
    drop(elements);
    let _held = condition.lock().unwrap();
    assert!(!condition.wait_timeout(SHORT).unwrap());
}

#[test]
fn readers_and_a_writer() {
    let _watchdog = watchdog(60);
    let lock = RwLock::new();
    let reading = (lock.read().unwrap(), lock.try_read().unwrap().unwrap(), lock.read_timeout(SHORT).unwrap().unwrap());
    assert_eq!(format!("{lock:?}"), "RwLock(writer=None, readers=3)");
    assert!(lock.write().unwrap_err().is_would_deadlock());
    assert!(lock.write_poisoned().unwrap_err().is_would_deadlock());
    assert!(lock.write_timeout(SOON).unwrap_err().is_would_deadlock());
    assert!(lock.try_write().unwrap().is_none());
    elsewhere(|| {
        assert!(lock.try_write().unwrap().is_none() && lock.write_timeout(SHORT).unwrap().is_none());
        drop(lock.read().unwrap());
    });
    // Of another lock this thread does not read.
    drop(RwLock::new().write().unwrap());
    drop(reading);
    let writing = lock.write().unwrap();
    assert_eq!(format!("{lock:?}"), "RwLock(writer=this thread, readers=0)");
    assert!(lock.read().unwrap_err().is_would_deadlock() && lock.write().unwrap_err().is_would_deadlock());
    assert!(lock.try_read().unwrap().is_none() && lock.try_write().unwrap().is_none());
    elsewhere(|| assert!(lock.read_timeout(SHORT).unwrap().is_none()));
    drop(writing);
    drop(lock.write_timeout(SHORT).unwrap().unwrap());
    elsewhere(|| drop(lock.write().unwrap()));
}

#[test]
fn the_action_of_a_barrier_may_panic() {
    let _watchdog = watchdog(60);
    let barrier = Barrier::with_action(2, || panic!("the action"));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| barrier.wait());
        assert!(eventually(SOON, || barrier.n_waiting() == 1));
        let payload = catch_unwind(AssertUnwindSafe(|| barrier.wait())).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the action"));
        waiter.join().unwrap().unwrap_err();
    });
    assert!(barrier.broken());
    let error = Error::from(barrier.wait().unwrap_err());
    assert!(error.barrier().is_some() && error.to_string().starts_with("the barrier is broken"), "{error}");
}

#[test]
fn a_barrier_has_1_to_960_parties() {
    for parties in [0, 961, usize::MAX] {
        assert!(Barrier::try_new(parties).unwrap_err().is_invalid_argument());
        assert!(catch_unwind(|| Barrier::with_action(parties, || ())).is_err());
    }
    assert_eq!(Barrier::new(960).parties(), 960);
}

#[test]
fn a_timeout_is_as_long_as_it_says() {
    let _watchdog = watchdog(60);
    let timeout = Duration::from_millis(60);
    let taken = |code: &mut dyn FnMut()| {
        let start = Instant::now();
        code();
        assert!(start.elapsed() >= timeout && start.elapsed() < timeout + Duration::from_secs(5));
    };
    let (lock, rlock, rwlock) = (Lock::new(), RLock::new(), RwLock::new());
    lock.acquire().unwrap();
    let _held = (rlock.lock().unwrap(), rwlock.read().unwrap());
    taken(&mut || assert!(!lock.acquire_timeout(timeout).unwrap()));
    elsewhere(|| {
        taken(&mut || assert!(rlock.lock_timeout(timeout).unwrap().is_none()));
        taken(&mut || assert!(rwlock.write_timeout(timeout).unwrap().is_none()));
    });
    taken(&mut || assert!(Semaphore::new(0).permit_timeout(timeout).unwrap().is_none()));
    taken(&mut || assert!(Barrier::new(2).wait_timeout(timeout).is_err()));
    taken(&mut || assert!(Barrier::new(2).with_timeout(timeout).wait().is_err()));
}
