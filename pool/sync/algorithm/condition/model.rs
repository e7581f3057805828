//! Conditions under the model checker.

use super::*;
use crate::sync::algorithm::testing::{Crowd, check};
use crate::sys::futex::{end_deadlines, end_slices};
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

type Shared = Arc<(Crowd, Condition, Word)>;

fn shared() -> Shared {
    Arc::new((Crowd::new(), Condition::new(), Word::new()))
}

/// A thread that waits; it has made its entry already, as if it had been first to hold the lock.
fn waiter(shared: &Shared, slot: u16, deadline: Deadline) -> thread::JoinHandle<bool> {
    let entry = shared.1.join(&shared.0.party(slot, 1), Deadline::NEVER).flatten().unwrap();
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let party = shared.0.party(slot, 1);
        let ended = entry.wait(&shared.1.cells, &mut Slices::new(deadline), || shared.1.sweep(&party, deadline));
        match ended {
            Some(_) => {
                entry.leave(&shared.1.cells);
                true
            }
            None => shared.1.give_up(entry),
        }
    })
}

fn notify(shared: &Shared, slot: u16, count: usize) -> usize {
    let party = shared.0.party(slot, 1);
    assert!(shared.2.lock(&party).is_acquired());
    let notified = shared.1.notify(&party, &shared.2, count).unwrap();
    shared.2.unlock(party.me()).unwrap();
    notified
}

/// Slices do not end: a lost notification would be a deadlock.
#[test]
fn a_notification_reaches_who_lets_go_of_the_lock() {
    check(2, || {
        let shared = shared();
        let party = shared.0.party(2, 1);
        // Holding the lock before the notifier comes.
        assert!(shared.2.lock(&party).is_acquired());
        let notifier = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || assert_eq!(notify(&shared, 1, 1), 1))
        };
        let waited = shared.1.wait_until(&party, &shared.2, Deadline::NEVER).unwrap();
        assert_eq!(waited, Waited { notified: true, lock: Outcome::Acquired });
        notifier.join().unwrap();
        assert_eq!(shared.2.owner(), Some(party.me()));
    });
}

#[test]
fn one_notification_ends_one_wait() {
    check(2, || {
        let shared = shared();
        let deadline = Deadline::after(Duration::from_secs(1000));
        let waiters = [2, 3].map(|slot| waiter(&shared, slot, deadline));
        assert_eq!(notify(&shared, 1, 1), 1);
        end_deadlines();
        let notified = waiters.into_iter().map(|waiter| waiter.join().unwrap());
        assert_eq!(notified.filter(|notified| *notified).count(), 1);
    });
}

/// The first waiter dies, be it before or after it was notified; the second gets the notification.
#[test]
fn the_dead_take_no_notification_with_them() {
    check(2, || {
        let shared = shared();
        assert!(shared.1.join(&shared.0.party(3, 1), Deadline::NEVER).flatten().is_some());
        let second = waiter(&shared, 2, Deadline::NEVER);
        let killer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.0.kill(3);
                end_slices();
            })
        };
        assert_eq!(notify(&shared, 1, 1), 1);
        assert!(second.join().unwrap());
        killer.join().unwrap();
    });
}
