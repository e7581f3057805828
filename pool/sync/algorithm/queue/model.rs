//! Models of the slot protocol, of the sleep, and of the end.

use super::testing::{Fixture, Thing, never, small};
use super::{Item, Refusal, Shape, Taken, Wait};
use crate::sync::algorithm::sleepers::Sleepers;
use crate::sync::algorithm::testing::{Crowd, check};
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::futex::{Slices, end_deadlines, end_slices};
use crate::sys::time::Deadline;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

/// Segments of one slot, so that the table changes with each item.
fn shared(capacity: u64) -> Arc<(Crowd, Fixture)> {
    Arc::new((Crowd::new(), Fixture::new(Shape::tiny(capacity, 0, capacity as usize + 1, false))))
}

fn put(shared: &Arc<(Crowd, Fixture)>, slot: u16, items: Vec<Thing>) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let party = shared.0.party(slot, 1);
        items.into_iter().for_each(|item| shared.1.put(&party, item).unwrap());
    })
}

fn take(shared: &Arc<(Crowd, Fixture)>, slot: u16, count: usize) -> thread::JoinHandle<Vec<u64>> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let party = shared.0.party(slot, 1);
        (0..count).map(|_| shared.1.take(&party, Deadline::NEVER).unwrap()).collect()
    })
}

/// Slices do not end: a lost wake-up would be a deadlock.
#[test]
fn one_puts_and_one_takes() {
    check(2, || {
        let shared = shared(1);
        let taker = take(&shared, 2, 2);
        let putter = put(&shared, 1, vec![small(1), Thing::Block(2)]);
        putter.join().unwrap();
        assert_eq!((taker.join().unwrap(), shared.1.memory.held()), (vec![1, 2], 0));
    });
}

#[test]
fn two_put_and_one_takes() {
    check(2, || {
        let shared = shared(1);
        let putters = [1, 2].map(|slot| put(&shared, slot, vec![small(slot.into())]));
        let mut taken = take(&shared, 3, 2).join().unwrap();
        putters.into_iter().for_each(|putter| putter.join().unwrap());
        taken.sort();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn one_puts_and_two_take() {
    check(2, || {
        let shared = shared(2);
        let takers = [2, 3].map(|slot| take(&shared, slot, 1));
        let party = shared.0.party(1, 1);
        assert_eq!(shared.1.try_put(&party, &[small(1), small(2)]), (2, None));
        let mut taken: Vec<u64> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        taken.sort();
        assert_eq!(taken, [1, 2]);
    });
}

/// One that gives up takes no wake-up with it.
#[test]
fn a_timeout_loses_no_item() {
    check(2, || {
        let shared = shared(1);
        let impatient = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let deadline = Deadline::after(Duration::from_secs(1000));
                shared.1.take(&shared.0.party(2, 1), deadline).ok()
            })
        };
        shared.1.put(&shared.0.party(1, 1), small(1)).unwrap();
        end_deadlines();
        let early = impatient.join().unwrap();
        assert_eq!(early.or_else(|| shared.1.try_take(&shared.0.party(1, 1), 1).unwrap().pop()), Some(1));
    });
}

/// Whoever closes, and whoever was at the other end and is gone, is noticed by who sleeps; nothing that was put is lost.
#[test]
fn the_end_is_noticed_behind_the_last_item() {
    for closes in [true, false] {
        check(2, move || {
            let shared = shared(1);
            let gone = Arc::new(AtomicU32::new(0));
            let taker = {
                let (shared, gone) = (Arc::clone(&shared), Arc::clone(&gone));
                thread::spawn(move || {
                    let is_over = || gone.load(Ordering::Acquire) != 0;
                    let mut count = 0;
                    loop {
                        let wait = Wait::until(Deadline::NEVER, &is_over);
                        match shared.1.queue().take(&shared.0.party(2, 1), &shared.1.memory, 1, &|_| (), |_| (), wait) {
                            Ok(taken) => count += taken,
                            Err(refusal) => return (count, refusal),
                        }
                    }
                })
            };
            let party = shared.0.party(1, 1);
            shared.1.put(&party, small(1)).unwrap();
            if closes {
                shared.1.queue().close(&party, &shared.1.memory);
            } else {
                gone.store(1, Ordering::Release);
                shared.1.queue().wake_all();
            }
            let refusal = if closes { Refusal::Closed } else { Refusal::Over };
            assert_eq!(taker.join().unwrap(), (1, refusal));
        });
    }
}

/// One puts, another closes, a third takes until it is told of the end: what was put before the end came out before it. The one
/// who closes has passed no fence since it saw the item, as who puts in its place would have.
#[test]
fn what_another_has_put_is_taken_before_the_end() {
    check(2, || {
        let shared = shared(1);
        let putter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.1.try_put(&shared.0.party(1, 1), &[small(1)]).0)
        };
        let closer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.1.queue().close(&shared.0.party(3, 1), &shared.1.memory))
        };
        let party = shared.0.party(2, 1);
        let mut count = 0;
        loop {
            let wait = Wait::until(Deadline::NEVER, &never);
            match shared.1.queue().take(&party, &shared.1.memory, 1, &|_| (), |_| (), wait) {
                Ok(taken) => count += taken,
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::Closed);
                    break;
                }
            }
        }
        closer.join().unwrap();
        assert_eq!(putter.join().unwrap(), count);
    });
}

/// One waits at two queues, and takes nothing: it is told of what comes to either, and passes a wake-up on that it got instead
/// of one who takes.
#[test]
fn one_waits_at_two_queues_and_keeps_nothing_from_others() {
    check(2, || {
        let (shared, other) = (shared(1), Arc::new(Fixture::new(Shape::tiny(1, 0, 2, false))));
        let waiter = {
            let (shared, other) = (Arc::clone(&shared), Arc::clone(&other));
            thread::spawn(move || {
                let queues = [shared.1.queue(), other.queue()];
                let takers = || queues.iter().map(|queue| queue.takers());
                let mut slices = Slices::new(Deadline::NEVER);
                loop {
                    Sleepers::announce_at(takers(), &mut slices);
                    if queues.iter().any(|queue| queue.is_ready(never)) {
                        return queues.iter().for_each(|queue| queue.pass_on());
                    }
                    Sleepers::sleep_at(takers(), None, &mut slices);
                }
            })
        };
        let taker = take(&shared, 2, 1);
        let party = shared.0.party(1, 1);
        shared.1.put(&party, small(1)).unwrap();
        assert_eq!(taker.join().unwrap(), [1]);
        // It may have looked too late for the one that was taken.
        other.put(&party, small(2)).unwrap();
        waiter.join().unwrap();
    });
}

/// What is done to an item before it is put comes before all that is done with it by who takes it, and that comes before the
/// next that is put in its place. The checker reports an access to the cell that is not ordered.
#[test]
fn an_item_and_its_place_are_handed_over() {
    check(2, || {
        let shared = Arc::new((Crowd::new(), Fixture::new(Shape::tiny(1, 0, 2, false)), UnsafeCell::new(())));
        let putter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let party = shared.0.party(1, 1);
                // One by one: it may find room at its first look, without a wait that would order more than that look.
                for number in 0..2 {
                    let item = |_| {
                        shared.2.with_mut(|_| ());
                        Item::Number([number, 0], 8)
                    };
                    let wait = Wait::until(Deadline::NEVER, &never);
                    assert_eq!(shared.1.queue().put(&party, &shared.1.memory, 1, item, wait), (1, None));
                }
            })
        };
        let party = shared.0.party(2, 1);
        for _ in 0..2 {
            let out = |_: Taken<'_, u32>| shared.2.with(|_| ());
            let wait = Wait::until(Deadline::NEVER, &never);
            assert_eq!(shared.1.queue().take(&party, &shared.1.memory, 1, &|_| (), out, wait), Ok(1));
        }
        putter.join().unwrap();
    });
}

/// Who holds an end dies with its item half written, or half taken: at the step that the others see as its lock held.
#[test]
fn the_lock_of_the_dead_is_taken_over() {
    check(2, || {
        let shared = shared(2);
        // Never released.
        std::mem::forget(shared.1.queue().lock(
            &shared.1.queue().head.put,
            &shared.0.party(1, 1),
            &shared.1.memory,
            true,
            || Deadline::NEVER,
        ));
        std::mem::forget(shared.1.queue().lock(
            &shared.1.queue().head.take,
            &shared.0.party(1, 1),
            &shared.1.memory,
            false,
            || Deadline::NEVER,
        ));
        let taker = take(&shared, 2, 1);
        let putter = put(&shared, 3, vec![small(7)]);
        shared.0.kill(1);
        end_slices();
        putter.join().unwrap();
        assert_eq!(taker.join().unwrap(), [7]);
    });
}
