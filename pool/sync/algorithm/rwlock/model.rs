//! The lock for readers and writers under the model checker.

use super::*;
use crate::sync::algorithm::testing::{Crowd, check};
use crate::sys::futex::{end_deadlines, end_slices};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

struct Shared {
    crowd: Crowd,
    lock: RwLock,
    /// The checker reports a writer that is not alone in here.
    data: UnsafeCell<()>,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared { crowd: Crowd::new(), lock: RwLock::new(), data: UnsafeCell::new(()) })
    }

    fn read(&self, slot: u16) -> Outcome {
        let party = self.crowd.party(slot, 1);
        let outcome = self.lock.read_until(&party, Deadline::NEVER);
        self.data.with(|_| ());
        self.lock.unlock_read(&party).unwrap();
        outcome
    }

    fn write(&self, slot: u16, deadline: Deadline) -> Outcome {
        let party = self.crowd.party(slot, 1);
        let outcome = self.lock.write_until(&party, deadline);
        if outcome.is_acquired() {
            self.data.with_mut(|_| ());
            self.lock.unlock_write(&party).unwrap();
        }
        outcome
    }
}

fn spawn(shared: &Arc<Shared>, body: impl Fn(&Shared) -> Outcome + 'static) -> thread::JoinHandle<Outcome> {
    let shared = Arc::clone(shared);
    thread::spawn(move || body(&shared))
}

/// Slices do not end: a lost wake-up would be a deadlock.
#[test]
fn readers_and_a_writer_all_have_their_turn() {
    check(2, || {
        let shared = Shared::new();
        let writer = spawn(&shared, |shared| shared.write(2, Deadline::NEVER));
        let reader = spawn(&shared, |shared| shared.read(3));
        assert_eq!(shared.read(1), Outcome::Acquired);
        assert_eq!((writer.join().unwrap(), reader.join().unwrap()), (Outcome::Acquired, Outcome::Acquired));
    });
}

#[test]
fn two_writers_and_a_reader_all_have_their_turn() {
    check(2, || {
        let shared = Shared::new();
        let writer = spawn(&shared, |shared| shared.write(2, Deadline::NEVER));
        let reader = spawn(&shared, |shared| shared.read(3));
        assert_eq!(shared.write(1, Deadline::NEVER), Outcome::Acquired);
        assert_eq!((writer.join().unwrap(), reader.join().unwrap()), (Outcome::Acquired, Outcome::Acquired));
    });
}

/// A writer that gives up keeps no reader waiting, be it before the other reader has gone or after.
#[test]
fn a_timeout_keeps_nobody() {
    for stays in [false, true] {
        check(2, move || {
            let shared = Shared::new();
            let holder = shared.crowd.party(1, 1);
            assert_eq!(shared.lock.try_read(&holder), Outcome::Acquired);
            let writer = spawn(&shared, |shared| shared.write(2, Deadline::after(Duration::from_secs(1000))));
            let reader = spawn(&shared, |shared| shared.read(3));
            if !stays {
                shared.lock.unlock_read(&holder).unwrap();
            }
            end_deadlines();
            let wrote = writer.join().unwrap();
            assert!(wrote == Outcome::TimedOut || (wrote == Outcome::Acquired && !stays));
            assert_eq!(reader.join().unwrap(), Outcome::Acquired);
        });
    }
}

#[test]
fn the_dead_keep_nobody() {
    for writes in [false, true] {
        check(2, move || {
            let shared = Shared::new();
            let victim = shared.crowd.party(1, 1);
            let taken = if writes { shared.lock.try_write(&victim) } else { shared.lock.try_read(&victim) };
            assert_eq!(taken, Outcome::Acquired);
            let writer = spawn(&shared, |shared| shared.write(2, Deadline::NEVER));
            let reader = spawn(&shared, |shared| shared.read(3));
            shared.crowd.kill(1);
            end_slices();
            let expected = if writes { Outcome::AcquiredPoisoned } else { Outcome::Acquired };
            assert_eq!((writer.join().unwrap(), reader.join().unwrap()), (expected, expected));
        });
    }
}
