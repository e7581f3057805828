//! Barriers under the model checker.

use super::*;
use crate::sync::algorithm::testing::{Crowd, check};
use crate::sys::futex::{end_deadlines, end_slices};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

const NO_ACTION: Option<fn()> = None;

struct Shared {
    crowd: Crowd,
    barrier: Barrier,
    /// The checker reports two at a time in here.
    alone: UnsafeCell<()>,
}

fn shared(parties: u32) -> Arc<Shared> {
    let shared = Shared { crowd: Crowd::new(), barrier: Barrier::new(), alone: UnsafeCell::new(()) };
    shared.barrier.init(parties);
    Arc::new(shared)
}

/// Slices do not end: a lost wake-up would be a deadlock.
#[test]
fn what_was_done_before_is_seen_behind() {
    check(3, || {
        let shared = shared(2);
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.alone.with_mut(|_| ());
                shared.barrier.wait_until(&shared.crowd.party(2, 1), Deadline::NEVER, NO_ACTION).unwrap()
            })
        };
        let index = shared.barrier.wait_until(&shared.crowd.party(1, 1), Deadline::NEVER, NO_ACTION).unwrap();
        shared.alone.with_mut(|_| ());
        assert_eq!(index + other.join().unwrap(), 1);
        assert_eq!(shared.barrier.n_waiting(), 0);
    });
}

/// Three parties come to a barrier of two with an action: whoever is left over is sent away in the end.
#[test]
fn the_action_is_alone() {
    check(2, || {
        let shared = shared(2);
        let wait = |shared: &Shared, slot| {
            let action = Some(|| shared.alone.with_mut(|_| ()));
            let answer = shared.barrier.wait_until(&shared.crowd.party(slot, 1), Deadline::NEVER, action);
            if answer.is_ok() {
                shared.alone.with(|_| ());
                shared.barrier.abort(&shared.crowd.party(slot, 1));
            }
            answer.is_ok()
        };
        let others = [2, 3].map(|slot| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || wait(&shared, slot))
        });
        let mut passed = u32::from(wait(&shared, 1));
        for other in others {
            passed += u32::from(other.join().unwrap());
        }
        assert_eq!(passed, 2);
    });
}

/// The victim has come, and dies before the second of three has: broken for all.
#[test]
fn a_death_breaks_it_for_all() {
    check(2, || {
        let shared = shared(3);
        let victim = shared.crowd.party(1, 1);
        assert!(matches!(shared.barrier.arrive(&victim, Deadline::NEVER, false), Ok(Arrived::Waits(_))));
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.barrier.wait_until(&shared.crowd.party(2, 1), Deadline::NEVER, NO_ACTION))
        };
        shared.crowd.kill(1);
        end_slices();
        assert_eq!(other.join().unwrap(), Err(Broken));
        assert!(shared.barrier.broken(&shared.crowd.party(2, 1)));
    });
}

/// A deadline may pass or not: it is the same for both, and they know it.
#[test]
fn a_timeout_breaks_it_for_all_or_none() {
    check(2, || {
        let shared = shared(2);
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let deadline = Deadline::after(Duration::from_secs(1000));
                shared.barrier.wait_until(&shared.crowd.party(2, 1), deadline, NO_ACTION).is_ok()
            })
        };
        end_deadlines();
        let answer = shared.barrier.wait_until(&shared.crowd.party(1, 1), Deadline::NEVER, NO_ACTION).is_ok();
        assert_eq!(answer, other.join().unwrap());
        assert_eq!(shared.barrier.broken(&shared.crowd.party(1, 1)), !answer);
    });
}
