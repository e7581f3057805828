//! The lock for readers and writers with real threads, which stand for processes here.

use super::*;
use crate::sync::algorithm::testing::{Crowd, kill};
use Outcome::{Acquired, AcquiredPoisoned, Busy, TimedOut, WouldDeadlock};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(20))
}

#[test]
fn many_read_or_one_writes() {
    let crowd = Crowd::new();
    let lock = RwLock::new();
    let (a, b) = (crowd.party(1, 1), crowd.party(2, 1));
    assert_eq!(
        (lock.read_until(&a, Deadline::NEVER), lock.try_read(&a), lock.try_read(&b)),
        (Acquired, Acquired, Acquired)
    );
    assert_eq!((lock.readers(), lock.try_write(&b), lock.write_until(&b, soon())), (3, Busy, TimedOut));
    assert_eq!((lock.unlock_read(&a), lock.unlock_read(&a)), (Ok(()), Ok(())));
    assert_eq!(lock.unlock_read(&a), Err(NotReleased::NotYours));
    assert_eq!((lock.try_write(&a), lock.unlock_read(&b), lock.try_write(&a)), (Busy, Ok(()), Acquired));
    assert_eq!(lock.writer(), Some(a.me()));
    assert_eq!((lock.try_read(&b), lock.read_until(&b, soon())), (Busy, TimedOut));
    assert_eq!((lock.try_read(&a), lock.try_write(&a)), (Busy, Busy));
    assert_eq!(
        (lock.read_until(&a, Deadline::NEVER), lock.write_until(&a, Deadline::NEVER)),
        (WouldDeadlock, WouldDeadlock)
    );
    assert_eq!(lock.unlock_write(&b), Err(NotReleased::NotYours));
    assert_eq!((lock.unlock_write(&a), lock.unlock_write(&a)), (Ok(()), Err(NotReleased::Free)));
    assert_eq!((lock.try_write(&b), lock.readers()), (Acquired, 0));
}

#[test]
fn it_is_the_turn_of_readers_that_wait() {
    let crowd = Crowd::new();
    let lock = RwLock::new();
    let (writer, reader) = (crowd.party(1, 1), crowd.party(2, 1));
    assert_eq!(lock.try_write(&writer), Acquired);
    // As a reader does before it sleeps. A real one could be faster than this thread's next look.
    let mut open = lock.cells.open(&reader);
    open.line_up(READ);
    open.commit();
    lock.unlock_write(&writer).unwrap();
    assert_eq!(lock.cells.peek(READERS_TURN), 1);
    assert_eq!(lock.try_read(&reader), Acquired);
}

#[test]
fn writers_are_alone() {
    let crowd = Crowd::new();
    let lock = RwLock::new();
    // Readers inside, or -1 for a writer.
    let inside = AtomicI32::new(0);
    std::thread::scope(|scope| {
        for slot in 1..=6 {
            let party = crowd.party(slot, 1);
            let (lock, inside) = (&lock, &inside);
            scope.spawn(move || {
                for round in 0..400 {
                    if (round + i32::from(slot)) % 3 == 0 {
                        assert_eq!(lock.write_until(&party, Deadline::NEVER), Acquired);
                        assert_eq!(inside.swap(-1, SeqCst), 0);
                        assert_eq!(inside.swap(0, SeqCst), -1);
                        lock.unlock_write(&party).unwrap();
                    } else {
                        assert_eq!(lock.read_until(&party, Deadline::NEVER), Acquired);
                        assert!(inside.fetch_add(1, SeqCst) >= 0);
                        if round % 50 == 0 {
                            std::thread::sleep(Duration::from_micros(100));
                        }
                        inside.fetch_sub(1, SeqCst);
                        lock.unlock_read(&party).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!((lock.readers(), lock.writer()), (0, None));
}

/// Others who come and go all the time keep neither a writer nor a reader out.
#[test]
fn nobody_starves() {
    for crowd_writes in [false, true] {
        let crowd = Crowd::new();
        let lock = RwLock::new();
        let (done, turns) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for slot in 1..=3 {
                let party = crowd.party(slot, 1);
                let (lock, done, turns) = (&lock, &done, &turns);
                scope.spawn(move || {
                    while !done.load(SeqCst) {
                        if crowd_writes {
                            assert_eq!(lock.write_until(&party, Deadline::NEVER), Acquired);
                        } else {
                            assert_eq!(lock.read_until(&party, Deadline::NEVER), Acquired);
                        }
                        std::thread::sleep(Duration::from_millis(1));
                        turns.fetch_add(1, SeqCst);
                        if crowd_writes { lock.unlock_write(&party) } else { lock.unlock_read(&party) }.unwrap();
                    }
                });
            }
            let party = crowd.party(9, 1);
            while turns.load(SeqCst) < 3 {
                std::thread::yield_now();
            }
            let start = Instant::now();
            for _ in 0..3 {
                if crowd_writes {
                    assert_eq!(lock.read_until(&party, Deadline::NEVER), Acquired);
                    lock.unlock_read(&party).unwrap();
                } else {
                    assert_eq!(lock.write_until(&party, Deadline::NEVER), Acquired);
                    lock.unlock_write(&party).unwrap();
                }
            }
            done.store(true, SeqCst);
            assert!(start.elapsed() < Duration::from_secs(9));
        });
    }
}

#[test]
fn a_dead_reader_does_not_keep_writers_out() {
    let crowd = Crowd::new();
    let lock = RwLock::new();
    let (victim, other) = (crowd.party(1, 1), crowd.party(2, 1));
    assert_eq!((lock.try_read(&victim), lock.try_read(&victim), lock.try_read(&other)), (Acquired, Acquired, Acquired));
    crowd.kill(1);
    assert_eq!(lock.try_write(&other), Busy);
    assert_eq!(lock.readers(), 1);
    lock.unlock_read(&other).unwrap();
    assert_eq!((lock.try_write(&other), lock.poisoned()), (Acquired, false));
}

#[test]
fn a_dead_writer_leaves_poison() {
    let crowd = Crowd::new();
    let lock = RwLock::new();
    let (victim, a, b) = (crowd.party(1, 1), crowd.party(2, 1), crowd.party(3, 1));
    assert_eq!(lock.try_write(&victim), Acquired);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| lock.read_until(&a, Deadline::NEVER));
        std::thread::sleep(Duration::from_millis(10));
        let start = Instant::now();
        crowd.kill(1);
        assert_eq!(reader.join().unwrap(), AcquiredPoisoned);
        assert!(start.elapsed() < Duration::from_secs(9));
    });
    assert_eq!(lock.clear_poison(&a), Err(NotReleased::NotYours));
    lock.unlock_read(&a).unwrap();
    assert_eq!((lock.try_write(&b), lock.clear_poison(&b), lock.unlock_write(&b)), (AcquiredPoisoned, Ok(()), Ok(())));
    assert_eq!(lock.try_read(&a), Acquired);
}

#[test]
fn killed_at_every_step_readers_and_writers_go_on() {
    for writes in [false, true] {
        let steps = kill::at_every_step(RwLock::new, |crowd, lock, victim| {
            let first = crowd.party(2, 1);
            assert_eq!(lock.try_write(&first), Acquired);
            let victim = victim.run(move |party| {
                if writes {
                    assert!(lock.write_until(party, Deadline::NEVER).is_acquired());
                    lock.unlock_write(party).unwrap();
                } else {
                    assert!(lock.read_until(party, Deadline::NEVER).is_acquired());
                    lock.unlock_read(party).unwrap();
                }
            });
            std::thread::sleep(Duration::from_millis(2));
            lock.unlock_write(&first).unwrap();
            let start = Instant::now();
            let others = [3, 4].map(|slot| {
                let party = crowd.party(slot, 1);
                std::thread::spawn(move || {
                    assert!(lock.write_until(&party, Deadline::NEVER).is_acquired());
                    lock.unlock_write(&party).unwrap();
                    assert!(lock.read_until(&party, Deadline::NEVER).is_acquired());
                    lock.unlock_read(&party).unwrap();
                })
            });
            let killed = victim.wait();
            others.into_iter().for_each(|other| other.join().unwrap());
            assert!(start.elapsed() < Duration::from_secs(9));
            assert!(lock.try_write(&first).is_acquired());
            assert_eq!((lock.readers(), lock.writer()), (0, Some(first.me())));
            killed
        });
        assert!(steps >= 8, "{steps}");
    }
}
