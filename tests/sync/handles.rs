//! The handles travel: in arguments, in contexts, in results, nested.

use super::common::proc::books_are_in_order;
use super::common::watchdog::watchdog;
use multiproc::{Barrier, BoundedSemaphore, Condition, Event, Lock, Pool, Process, RLock, RwLock, Semaphore};
use serde::{Deserialize, Serialize};

/// One of each.
#[derive(Clone, Serialize, Deserialize)]
struct All {
    event: Event,
    semaphore: Semaphore,
    bounded: Vec<BoundedSemaphore>,
    rlock: Option<RLock>,
    rwlock: RwLock,
    conditions: (Condition, Condition, Condition),
    barrier: Barrier,
}

fn action() {}

fn all(lock: &Lock, rlock: &RLock) -> All {
    All {
        event: Event::new(),
        semaphore: Semaphore::new(3),
        bounded: vec![BoundedSemaphore::new(1), BoundedSemaphore::new(2)],
        rlock: Some(rlock.clone()),
        rwlock: RwLock::new(),
        conditions: (Condition::new(), Condition::with_lock(lock).unwrap(), Condition::with_rlock(rlock).unwrap()),
        barrier: Barrier::with_action(1, action),
    }
}

/// Changes something about each of them.
fn touch(all: &All) {
    all.event.set();
    all.semaphore.acquire().unwrap();
    all.bounded[1].acquire().unwrap();
    drop(all.rlock.as_ref().unwrap().lock().unwrap());
    drop((all.rwlock.read().unwrap(), all.rwlock.try_read().unwrap().unwrap()));
    for condition in [&all.conditions.0, &all.conditions.1, &all.conditions.2] {
        let _held = condition.lock().unwrap();
        assert_eq!(condition.notify_all().unwrap(), 0);
    }
    assert_eq!(all.barrier.wait().unwrap(), 0);
}

fn check(all: &All) {
    assert!(all.event.is_set());
    assert_eq!(all.semaphore.get_value(), 2);
    assert_eq!((all.bounded[0].get_value(), all.bounded[1].get_value()), (1, 1));
    all.semaphore.release(1).unwrap();
    all.bounded[1].release(1).unwrap();
    all.event.clear();
}

#[test]
fn in_arguments_contexts_and_results() {
    let _watchdog = watchdog(60);
    let (lock, rlock) = (Lock::new(), RLock::new());
    let all = all(&lock, &rlock);
    let pool = Pool::new(2).unwrap();
    pool.apply(|all: All| touch(&all), (all.clone(),)).unwrap();
    check(&all);
    pool.with(&all).tasks(|all: &All, _: u32| touch(all), 0..1).run().unwrap();
    check(&all);
    Process::spawn(|all: All| touch(&all), (all.clone(),)).unwrap().join().unwrap();
    check(&all);
    // The given locks are the same ones behind the handle.
    let held = (lock.lock().unwrap(), rlock.lock().unwrap());
    let tries = |all: All| {
        let is_free = |condition: &Condition| condition.try_lock().unwrap().is_some();
        (is_free(&all.conditions.0), is_free(&all.conditions.1), is_free(&all.conditions.2))
    };
    assert_eq!(pool.apply(tries, (all.clone(),)).unwrap(), (true, false, false));
    drop(held);
    assert_eq!(pool.apply(tries, (all,)).unwrap(), (true, true, true));
}

#[test]
fn made_in_a_worker() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(2).unwrap();
    let made = pool.map(|_: u32| all(&Lock::new(), &RLock::new()), 0..4).unwrap();
    drop(pool);
    for all in &made {
        touch(all);
        check(all);
    }
    let made = Process::spawn(|| all(&Lock::new(), &RLock::new()), ()).unwrap().join().unwrap();
    touch(&made);
    check(&made);
    assert!(books_are_in_order());
}

#[test]
fn not_outside_of_messages() {
    let refused = |json: serde_json::Result<String>| {
        let text = json.unwrap_err().to_string();
        assert!(text.contains("can only travel in arguments"), "{text}");
    };
    refused(serde_json::to_string(&Event::new()));
    refused(serde_json::to_string(&Semaphore::new(1)));
    refused(serde_json::to_string(&BoundedSemaphore::new(1)));
    refused(serde_json::to_string(&RLock::new()));
    refused(serde_json::to_string(&RwLock::new()));
    refused(serde_json::to_string(&Condition::new()));
    refused(serde_json::to_string(&Barrier::new(1)));
}
