//! Threads that end while they hold something, and locks that are used while a thread ends.

use super::common::watchdog::watchdog;
use multiproc::{Array, Condition, Lock, RLock, Value};
use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// What a thread does in the destructor of a thread-local.
struct Late {
    lock: Lock,
    array: Array<u64>,
    tell: Sender<&'static str>,
    go: Receiver<()>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let held = self.lock.lock().unwrap();
        self.tell.send("held").unwrap();
        self.go.recv_timeout(SOON).unwrap();
        assert!(self.array.lock().unwrap_err().is_would_deadlock(), "somebody else has let go of this thread's lock");
        drop(held);
        let mut elements = self.array.lock().unwrap();
        elements[0] = 1;
        self.tell.send("lent").unwrap();
        self.go.recv_timeout(SOON).unwrap();
        assert_eq!(elements[0], 1);
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

/// Another thread that begins meanwhile is not taken for it.
#[test]
fn a_thread_that_ends_is_somebody_until_its_last_destructor_has_run() {
    let _watchdog = watchdog(60);
    let lock = Lock::new();
    let array = Array::<u64>::with_lock(4, &lock).unwrap();
    let condition = Condition::with_lock(&lock).unwrap();
    let ((tell, told), (go, gone)) = (channel(), channel());
    let late = Late { lock: lock.clone(), array: array.clone(), tell, go: gone };
    let ending = {
        let lock = lock.clone();
        std::thread::spawn(move || {
            // Made first, destroyed last.
            LATE.set(Some(late));
            drop(lock.lock().unwrap());
        })
    };
    assert_eq!(told.recv_timeout(SOON), Ok("held"));
    let other = {
        let (lock, condition) = (lock.clone(), condition.clone());
        std::thread::spawn(move || {
            assert!(condition.wait_timeout(Duration::from_millis(1)).unwrap_err().is_not_held());
            assert!(lock.lock_timeout(Duration::from_millis(1)).unwrap().is_none());
        })
    };
    other.join().unwrap();
    go.send(()).unwrap();
    assert_eq!(told.recv_timeout(SOON), Ok("lent"));
    std::thread::spawn(move || assert!(array.try_lock().unwrap().is_none())).join().unwrap();
    go.send(()).unwrap();
    ending.join().unwrap();
    assert!(!lock.locked());
}

#[test]
fn nobody_inherits_what_a_thread_held_that_has_ended() {
    let _watchdog = watchdog(60);
    let (raw, guarded) = (RLock::new(), RLock::new());
    {
        let (raw, guarded) = (raw.clone(), guarded.clone());
        let hold = move || {
            raw.acquire().unwrap();
            std::mem::forget(guarded.lock().unwrap());
        };
        std::thread::spawn(hold).join().unwrap();
    }
    assert!(!raw.try_acquire().unwrap());
    // Numbers of threads that have ended are given away again some time.
    for _ in 0..20 {
        let (raw, guarded) = (raw.clone(), guarded.clone());
        let get = move || {
            assert!(!raw.try_acquire().unwrap() && guarded.try_lock().unwrap().is_none());
            assert!(raw.release().is_err());
        };
        std::thread::spawn(get).join().unwrap();
    }
}

/// As many threads as have numbers at a time are known by a number of their own, which a condition needs.
#[test]
fn the_number_of_a_thread_that_has_ended_is_given_away_again() {
    let _watchdog = watchdog(200);
    let rounds = 10_000;
    let total = Value::new(0u64);
    for _ in 0..rounds {
        let total = total.clone();
        std::thread::spawn(move || total.update(|it| *it += 1).unwrap()).join().unwrap();
    }
    assert_eq!(total.get().unwrap(), rounds);
    let condition = Condition::with_lock(&Lock::new()).unwrap();
    let wait = move || {
        let _held = condition.lock().unwrap();
        assert!(!condition.wait_timeout(Duration::from_millis(1)).unwrap());
    };
    std::thread::spawn(wait).join().unwrap();
}
