//! Barriers with real threads, which stand for processes here.

use super::*;
use crate::sync::algorithm::testing::{Crowd, kill};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const NO_ACTION: Option<fn()> = None;

fn barrier(parties: u32) -> Barrier {
    let barrier = Barrier::new();
    barrier.init(parties);
    barrier
}

fn eventually(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All parties do the same; their answers, sorted.
fn all<T: Send + Ord>(parties: u16, body: impl Fn(u16) -> T + Sync) -> Vec<T> {
    let mut answers: Vec<T> = std::thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> = (1..=parties).map(|slot| scope.spawn(move || body(slot))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    answers.sort();
    answers
}

#[test]
fn nobody_goes_on_before_all_have_come() {
    let crowd = Crowd::new();
    let (barrier, arrivals) = (barrier(5), AtomicU32::new(0));
    all(5, |slot| {
        for round in 1..=100 {
            arrivals.fetch_add(1, SeqCst);
            barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, NO_ACTION).unwrap();
            assert!(arrivals.load(SeqCst) >= round * 5);
            barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, NO_ACTION).unwrap();
            assert!(arrivals.load(SeqCst) == round * 5);
            barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, NO_ACTION).unwrap();
        }
    });
    assert_eq!((barrier.n_waiting(), barrier.broken(&crowd.party(1, 1))), (0, false));
}

#[test]
fn each_party_has_an_index_of_its_own() {
    let crowd = Crowd::new();
    let barrier = barrier(5);
    for _ in 0..10 {
        let indexes = all(5, |slot| barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, NO_ACTION).unwrap());
        assert_eq!(indexes, [0, 1, 2, 3, 4]);
    }
}

#[test]
fn the_action_is_run_once_before_anybody_goes_on() {
    let crowd = Crowd::new();
    let (barrier, runs) = (barrier(4), AtomicU32::new(0));
    for round in 1..=20 {
        let indexes = all(4, |slot| {
            let action = || {
                std::thread::sleep(Duration::from_millis(1));
                runs.fetch_add(1, SeqCst);
            };
            let index = barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, Some(action)).unwrap();
            assert_eq!(runs.load(SeqCst), round);
            index
        });
        assert_eq!(indexes, [0, 1, 2, 3]);
    }
}

#[test]
fn a_panic_of_the_action_breaks_the_barrier() {
    let crowd = Crowd::new();
    let barrier = barrier(3);
    let answers = all(3, |slot| {
        let action = || std::panic::resume_unwind(Box::new("no"));
        let wait = || barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, Some(action));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(wait)).map_err(|_| ()).map(|it| it.is_err())
    });
    assert_eq!(answers, [Ok(true), Ok(true), Err(())]);
    assert!(barrier.broken(&crowd.party(1, 1)));
}

#[test]
fn who_breaks_or_resets_during_the_action_has_the_last_word() {
    for abort in [true, false] {
        let crowd = Crowd::new();
        let (barrier, main) = (barrier(2), crowd.party(9, 1));
        let answers = all(2, |slot| {
            let action = || if abort { barrier.abort(&main) } else { barrier.reset(&main) };
            barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, Some(action))
        });
        assert_eq!((answers, barrier.broken(&main)), (vec![Err(Broken); 2], abort));
    }
}

/// Sends four of five away who wait, by `end`; they get an error.
fn four_are_sent_away(crowd: &Crowd, barrier: &Barrier, end: impl FnOnce()) {
    let wait = |slot| barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, NO_ACTION);
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (1..=4).map(|slot| scope.spawn(move || wait(slot))).collect();
        eventually(|| barrier.n_waiting() == 4);
        end();
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == Err(Broken)));
    });
}

#[test]
fn abort_lasts_until_reset() {
    let crowd = Crowd::new();
    let (barrier, main) = (barrier(5), crowd.party(9, 1));
    four_are_sent_away(&crowd, &barrier, || barrier.abort(&main));
    let wait = |slot| barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, NO_ACTION);
    assert_eq!((wait(1), barrier.broken(&main), barrier.n_waiting()), (Err(Broken), true, 0));
    barrier.reset(&main);
    assert!(!barrier.broken(&main));
    assert_eq!(all(5, |slot| wait(slot).is_ok()), [true; 5]);
}

#[test]
fn reset_sends_those_away_who_wait() {
    let crowd = Crowd::new();
    let (barrier, main) = (barrier(5), crowd.party(9, 1));
    four_are_sent_away(&crowd, &barrier, || barrier.reset(&main));
    let wait = |slot| barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, NO_ACTION);
    assert_eq!(all(5, |slot| wait(slot).is_ok()), [true; 5]);
}

#[test]
fn a_timeout_breaks_the_barrier_for_all() {
    let crowd = Crowd::new();
    let barrier = barrier(5);
    let answers = all(5, |slot| {
        if slot == 1 {
            std::thread::sleep(Duration::from_millis(150));
        }
        barrier.wait_until(&crowd.party(slot, 1), Deadline::after(Duration::from_millis(50)), NO_ACTION).is_err()
    });
    assert_eq!(answers, [true; 5]);
}

#[test]
fn who_comes_during_the_action_belongs_to_the_next_round() {
    let crowd = Crowd::new();
    let (barrier, acts) = (barrier(2), AtomicU32::new(0));
    let action = || {
        acts.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis(20));
    };
    let answers = all(4, |slot| barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, Some(action)).unwrap());
    assert_eq!((answers, acts.load(SeqCst)), (vec![0, 0, 1, 1], 2));
}

#[test]
fn a_party_that_dies_waiting_breaks_the_barrier() {
    let crowd = Crowd::new();
    let barrier = barrier(3);
    let wait = |slot| barrier.wait_until(&crowd.party(slot, 1), Deadline::NEVER, NO_ACTION);
    // The victim: an entry, and nobody behind it.
    let (open, ended) = barrier.open(&crowd.party(1, 1), || Deadline::NEVER).unwrap();
    let mut open = open;
    assert!(LIST.join(&mut open, 1, 0).is_some());
    barrier.close(open, &ended);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || wait(2));
        eventually(|| barrier.n_waiting() == 2);
        let start = Instant::now();
        crowd.kill(1);
        assert_eq!(waiter.join().unwrap(), Err(Broken));
        assert!(start.elapsed() < Duration::from_secs(9));
    });
    assert_eq!(wait(3), Err(Broken));
    barrier.reset(&crowd.party(3, 1));
    assert_eq!(all(3, |slot| wait(slot + 1).is_ok()), [true; 3]);
}

#[test]
fn killed_at_every_step_a_party_holds_nobody() {
    for acts in [false, true] {
        // The victim comes last, or waits for others.
        for last in [true, false] {
            let steps = kill::at_every_step(
                || barrier(3),
                |crowd, barrier, victim| {
                    let wait = move |slot, acts: bool| {
                        let deadline = Deadline::after(Duration::from_secs(10));
                        barrier.wait_until(&crowd.party(slot, 1), deadline, acts.then_some(|| ()))
                    };
                    let mut others = Vec::new();
                    let start = |slot| std::thread::spawn(move || wait(slot, acts));
                    others.push(start(2));
                    eventually(|| barrier.n_waiting() == 1);
                    if last {
                        others.push(start(3));
                        eventually(|| barrier.n_waiting() == 2);
                    }
                    let victim = victim.run(move |party| {
                        let deadline = Deadline::after(Duration::from_secs(10));
                        let _ = barrier.wait_until(party, deadline, acts.then_some(|| ()));
                    });
                    std::thread::sleep(Duration::from_millis(3));
                    if !last {
                        others.push(start(3));
                    }
                    let begin = Instant::now();
                    let killed = victim.wait();
                    // If it died before it had come, the others still wait for a third.
                    let finished = || others.iter().all(|other| other.is_finished());
                    let patience = Instant::now();
                    while !finished() && patience.elapsed() < Duration::from_millis(200) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    let fourth = (!finished()).then(|| start(4));
                    let answers: Vec<_> = others.into_iter().map(|other| other.join().unwrap().is_ok()).collect();
                    assert!(begin.elapsed() < Duration::from_secs(9));
                    // Of one round, so all or none.
                    assert!(answers[0] == answers[1], "{answers:?}");
                    // The others may have gone on without a fourth after all.
                    barrier.abort(&crowd.party(2, 1));
                    if let Some(fourth) = fourth {
                        let _ = fourth.join().unwrap();
                    }
                    assert_eq!(barrier.n_waiting(), 0);
                    killed
                },
            );
            assert!(steps >= 3, "{steps}");
        }
    }
}
