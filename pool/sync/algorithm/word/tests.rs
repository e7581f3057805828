//! The lock word with real threads, which stand for processes here.

use super::*;
use crate::sync::algorithm::testing::Crowd;
use Outcome::{Acquired, AcquiredPoisoned, Busy, TimedOut, WouldDeadlock};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

#[test]
fn a_lock_goes_from_hand_to_hand() {
    let crowd = Crowd::new();
    let word = Word::new();
    let (a, b) = (crowd.party(1, 1), crowd.party(2, 1));
    assert!(!word.locked());
    assert_eq!(word.lock(&a), Acquired);
    assert_eq!(word.owner(), Some(a.me()));
    assert_eq!(word.lock(&a), WouldDeadlock);
    assert_eq!(word.try_lock(&a), Busy);
    assert_eq!(word.try_lock(&b), Busy);
    assert_eq!(word.unlock(b.me()), Err(NotReleased::NotYours));
    assert_eq!(word.lock_until(&b, Deadline::after(Duration::from_millis(20))), TimedOut);
    assert_eq!(word.unlock(a.me()), Ok(()));
    assert_eq!(word.unlock(a.me()), Err(NotReleased::Free));
    assert_eq!(word.try_lock(&b), Acquired);
}

#[test]
fn a_raw_lock_is_released_by_anybody_but_a_guard_is_not() {
    let crowd = Crowd::new();
    let word = Word::new();
    let (a, b) = (crowd.party(1, 1), crowd.party(2, 7));
    assert_eq!(word.release(), Err(NotReleased::Free));
    assert_eq!(word.acquire_until(&a, Deadline::NEVER), Acquired);
    assert_eq!(word.try_acquire(&a), Busy);
    assert_eq!(word.unlock(a.me()), Err(NotReleased::NotYours));
    assert_eq!(word.release(), Ok(()));
    assert_eq!(word.release(), Err(NotReleased::Free));
    assert_eq!(word.lock(&b), Acquired);
    assert_eq!(word.release(), Err(NotReleased::NotYours));
    // Raw or not: a thread that waits for itself would wait for ever.
    assert_eq!(word.acquire_until(&b, Deadline::NEVER), WouldDeadlock);
    assert_eq!(word.unlock(b.me()), Ok(()));
}

#[test]
fn poison_stays_until_the_holder_clears_it() {
    let crowd = Crowd::new();
    let word = Word::new();
    let (a, b) = (crowd.party(1, 1), crowd.party(2, 1));
    assert_eq!(word.lock(&a), Acquired);
    crowd.kill(1);
    assert_eq!(word.lock(&b), AcquiredPoisoned);
    assert_eq!(word.unlock(b.me()), Ok(()));
    assert!(word.poisoned() && !word.locked());
    assert_eq!(word.clear_poison(b.me()), Err(NotReleased::Free));
    assert_eq!(word.try_lock(&b), AcquiredPoisoned);
    assert_eq!(word.clear_poison(a.me()), Err(NotReleased::NotYours));
    assert_eq!(word.clear_poison(b.me()), Ok(()));
    assert_eq!(word.unlock(b.me()), Ok(()));
    assert_eq!(word.lock(&b), Acquired);
}

#[test]
fn a_dead_holder_is_reclaimed_before_its_slot_is_used_again() {
    let crowd = Crowd::new();
    let word = Word::new();
    assert_eq!(word.acquire_until(&crowd.party(1, 1), Deadline::NEVER), Acquired);
    word.reclaim(2);
    assert!(word.locked());
    word.reclaim(1);
    assert_eq!(word.lock(&crowd.party(1, 1)), AcquiredPoisoned);
}

#[test]
fn many_threads_count_exactly() {
    let crowd = Crowd::new();
    let word = Word::new();
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for slot in 1..=4 {
            let party = crowd.party(slot, slot);
            let (word, count) = (&word, &count);
            scope.spawn(move || {
                for round in 0..20_000 {
                    if round % 3 == 0 {
                        assert_eq!(word.acquire_until(&party, Deadline::NEVER), Acquired);
                    } else {
                        assert_eq!(word.lock(&party), Acquired);
                    }
                    count.store(count.load(Relaxed) + 1, Relaxed);
                    if round % 1000 == 0 {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                    if round % 3 == 0 { word.release() } else { word.unlock(party.me()) }.unwrap();
                }
            });
        }
    });
    assert_eq!(count.into_inner(), 80_000);
    assert!(!word.locked());
}

#[test]
fn exactly_one_waiter_takes_over_and_the_others_go_on() {
    let crowd = Crowd::new();
    let word = Word::new();
    assert_eq!(word.lock(&crowd.party(1, 1)), Acquired);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for slot in 2..=5 {
            let party = crowd.party(slot, 1);
            let word = &word;
            scope.spawn(move || {
                assert_eq!(word.lock(&party), AcquiredPoisoned);
                word.unlock(party.me()).unwrap();
            });
        }
        std::thread::sleep(Duration::from_millis(30));
        crowd.kill(1);
    });
    assert!(start.elapsed() < Duration::from_secs(9));
}

#[test]
fn killed_at_every_step_the_lock_goes_on() {
    let steps = kill::at_every_step(Word::new, |crowd, word, victim| {
        let (first, last) = (crowd.party(2, 1), crowd.party(3, 1));
        assert_eq!(word.lock(&first), Acquired);
        let victim = victim.run(|party| {
            assert_eq!(word.lock(party), Acquired);
            assert_eq!(word.unlock(party.me()), Ok(()));
        });
        // Long enough for the victim to sleep.
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(word.unlock(first.me()), Ok(()));
        let start = Instant::now();
        let waiter = std::thread::spawn(move || {
            let acquired = word.lock(&last).is_acquired();
            acquired && word.unlock(last.me()).is_ok()
        });
        let killed = victim.wait();
        assert!(waiter.join().unwrap());
        assert!(start.elapsed() < Duration::from_secs(9));
        killed
    });
    assert!(steps >= 2, "{steps}");
}

/// Who has found the holder dead may be slow to take over: meanwhile the holder is reclaimed, and its slot and thread
/// number are those of another one, which holds the lock.
#[test]
fn a_slow_taker_takes_nothing_from_who_has_the_slot_next() {
    let crowd = Crowd::new();
    let word = Word::new();
    let (victim, slow) = (crowd.party(1, 1), crowd.party(2, 1));
    assert_eq!(word.lock(&victim), Outcome::Acquired);
    crowd.kill(1);
    let seen = word.holder.load(Relaxed);
    assert!(dead_holder(seen, &slow));
    word.reclaim(1);
    crowd.revive(1);
    let next = crowd.party(1, 1);
    assert_eq!(word.lock(&next), Outcome::AcquiredPoisoned);
    word.clear_poison(next.me()).unwrap();
    assert!(!word.take_over(seen, slow.me()));
    assert!(!dead_holder(word.holder.load(Relaxed), &slow));
    assert_eq!((word.owner(), word.try_lock(&slow)), (Some(next.me()), Outcome::Busy));
}
