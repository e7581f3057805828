//! Primitives that somebody has written over: neither a panic nor a wait without an end.

use crate::sync::algorithm::barrier::Barrier;
use crate::sync::algorithm::condition::Condition;
use crate::sync::algorithm::event::Event;
use crate::sync::algorithm::rlock::RLock;
use crate::sync::algorithm::rwlock::RwLock;
use crate::sync::algorithm::semaphore::{Hold, Semaphore};
use crate::sync::algorithm::tally::Tally;
use crate::sync::algorithm::testing::{Crowd, Party};
use crate::sync::algorithm::word::{Caller, MAX_SLOTS, Word};
use crate::sys::fuzz::{Random, fuzz, within};
use crate::sys::memory::{self, Mapping};
use crate::sys::time::Deadline;
use std::time::Duration;

/// Slots up to this one have living processes: few, so that most that garbage names are dead.
const ALIVE: u16 = 3;

struct Fixture {
    crowd: Crowd,
    memory: Mapping,
}

impl Fixture {
    const LEN: usize = 8192;

    fn new() -> Fixture {
        let crowd = Crowd::new();
        (ALIVE + 1..=MAX_SLOTS as u16).for_each(|slot| crowd.kill(slot));
        Fixture { crowd, memory: memory::private(Fixture::LEN).unwrap() }
    }

    /// Fills the memory. With `is_free` nobody holds the lock that begins it: who waits without a limit for a living holder that
    /// garbage names waits as long as that lives.
    fn scribble(&self, random: &mut Random, is_free: bool) {
        let mut bytes = vec![0; Fixture::LEN];
        for _ in 0..random.below(40) {
            let word = match random.below(3) {
                0 => random.number() as u32,
                1 => 1 << (13 + random.below(10)) | (random.below(2) as u32) << 31 | random.below(4) as u32,
                _ => random.below(1024) as u32,
            };
            // What matters most stands in front.
            let end = *random.pick(&[16, 64, Fixture::LEN / 4]);
            let at = 4 * random.below(end);
            bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        if is_free {
            bytes[..8].fill(0);
        }
        assert!(self.memory.bytes().write(0, &bytes));
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::ZERO)
}

/// Those that wait with a limit, or not at all.
const LOCKS: std::ops::Range<usize> = 12..14;

/// Does something with what stands there, whatever that is.
fn operate(operation: usize, memory: &Mapping, party: &Party<'_>, random: &mut Random) {
    let slot = *random.pick(&[1, 3, 7, 500, 960]);
    match operation {
        0 => {
            let semaphore: &Semaphore = memory.view(0);
            let _ = semaphore.acquire_until(party, Hold::Guard, soon());
            let _ = (semaphore.release(party, Hold::Guard), semaphore.release_many(party, 3), semaphore.value());
        }
        1 => drop(memory.view::<Semaphore>(0).reclaim(party, slot, soon())),
        2 => {
            let lock: &RwLock = memory.view(0);
            let _ = (lock.read_until(party, soon()), lock.unlock_read(party), lock.readers());
        }
        3 => {
            let lock: &RwLock = memory.view(0);
            let _ = (lock.write_until(party, soon()), lock.unlock_write(party), lock.writer());
        }
        4 => drop(memory.view::<RwLock>(0).reclaim(party, slot, soon())),
        5 => {
            let lock: &RwLock = memory.view(0);
            let _ = (lock.try_read(party), lock.try_write(party), lock.clear_poison(party), lock.poisoned());
        }
        6 => {
            let (condition, lock): (&Condition, RLock) = (memory.view(0), RLock::new());
            let _ = lock.lock_until(party, soon());
            let _ =
                (condition.wait_until(party, &lock, soon()), condition.notify(party, &lock, 2), condition.waiting());
        }
        7 => drop(memory.view::<Condition>(0).reclaim(party, soon())),
        8 => drop(memory.view::<Barrier>(0).wait_until(party, soon(), random.once_in(2).then_some(|| ()))),
        9 => {
            let barrier: &Barrier = memory.view(0);
            let _ = (barrier.reclaim(party, soon()), barrier.n_waiting(), barrier.parties(), barrier.broken(party));
        }
        10 => memory.view::<Barrier>(0).abort(party),
        11 => memory.view::<Barrier>(0).reset(party),
        12 => {
            let word: &Word = memory.view(0);
            let _ = (
                word.lock_until(party, soon()),
                word.unlock(party.me()),
                word.release(),
                word.clear_poison(party.me()),
            );
            word.reclaim(slot);
        }
        13 => {
            let lock: &RLock = memory.view(0);
            let _ = (lock.lock_until(party, soon()), lock.unlock(party), lock.release(party), lock.owner());
            lock.reclaim(slot);
        }
        14 => {
            let event: &Event = memory.view(0);
            let _ = (event.wait_until(soon()), event.set(), event.clear(), event.is_set());
        }
        _ => {
            let tally: &Tally = memory.view(0);
            tally.take(slot, 3);
            tally.done(slot);
            tally.leave_open(slot);
            let _ = (tally.done_by_somebody(), tally.join_until(party, || (5, 2), soon()));
            tally.reclaim(slot);
        }
    }
}

#[test]
fn whatever_stands_where_a_primitive_does() {
    fuzz(Fixture::new, |fixture, random| {
        let operation = random.below(16);
        fixture.scribble(random, !LOCKS.contains(&operation));
        let party = fixture.crowd.party(2, 1);
        within(64 * 1024, &"a primitive", || operate(operation, &fixture.memory, &party, random));
    });
}
