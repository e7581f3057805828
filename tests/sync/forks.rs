//! Handles and guards in processes that foreign code has forked.

use super::common::alone::alone;
use super::common::fork::{in_fork, is_fenced};
use super::common::watchdog::watchdog;
use multiproc::{Lock, RLock};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Other threads may have been in the books of the heap at the fork, and are not there any more.
#[test]
fn a_fork_may_drop_its_copies_of_handles() {
    if !alone("forks::a_fork_may_drop_its_copies_of_handles") {
        return;
    }
    let _watchdog = watchdog(120);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    drop(Lock::new());
                }
            });
        }
        // And numbers of threads that end.
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                std::thread::spawn(|| drop(Lock::new().lock())).join().unwrap();
            }
        });
        for _ in 0..100 {
            let mut lock = Some(Lock::new());
            let code = in_fork(false, || {
                drop(lock.take());
                0
            });
            if code != 0 {
                stop.store(true, Relaxed);
            }
            assert_eq!(code, 0);
        }
        stop.store(true, Relaxed);
    });
}

#[test]
fn a_fork_that_drops_its_copy_of_a_guard_releases_nothing() {
    if !alone("forks::a_fork_that_drops_its_copy_of_a_guard_releases_nothing") {
        return;
    }
    let _watchdog = watchdog(60);
    let (lock, recursive) = (Lock::new(), RLock::new());
    let mut held = Some((lock.lock().unwrap(), recursive.lock().unwrap()));
    let code = in_fork(false, || {
        drop(held.take());
        0
    });
    assert_eq!(code, 0);
    assert!(lock.locked() && recursive.locked());
    drop(held);
    assert!(!lock.locked() && !recursive.locked());
}

/// A fork may hold the locks of its own that it makes, in memory that it shares with processes that it starts.
#[test]
fn a_fork_is_fenced_for_others_as_its_original() {
    if !alone("forks::a_fork_is_fenced_for_others_as_its_original") {
        return;
    }
    let _watchdog = watchdog(60);
    drop(Lock::new());
    let Some(fenced) = is_fenced() else { return println!("skipped: only Linux from 6.3 on tells") };
    assert!(fenced);
    assert_eq!(in_fork(false, || i32::from(is_fenced() != Some(true))), 0);
}
