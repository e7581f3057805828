//! Queues: order, bounds, ends, deaths.

use super::testing::{Fixture, Thing, never, small};
use super::{Books, Head, Refusal, Shape, Wait};
use crate::sync::algorithm::testing::{Crowd, Party, kill};
use crate::sys::time::Deadline;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Many segments of two slots each, so that everything about segments happens often.
fn tiny(capacity: u64, segments: usize) -> Fixture {
    Fixture::new(Shape::tiny(capacity, 1, segments, true))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(15))
}

fn at_once() -> Deadline {
    Deadline::after(Duration::ZERO)
}

#[test]
fn items_come_in_order_through_all_segments() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    let queue = tiny(10, 6);
    let mut next = (0, 0);
    for round in 0..200_u64 {
        for _ in 0..round % 11 {
            let items = [if next.0 % 3 == 0 { Thing::Block(next.0 as u32 % 64) } else { small(next.0 % 64) }];
            match queue.try_put(&party, &items) {
                (1, None) => next.0 += 1,
                (0, Some(Refusal::TimedOut)) => assert_eq!(queue.queue().len(), 10),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(queue.queue().len(), next.0 - next.1);
        for number in queue.try_take(&party, round as usize % 7).unwrap() {
            assert_eq!(number, next.1 % 64);
            next.1 += 1;
        }
    }
    assert!(next.1 > 100);
    next.1 += queue.try_take(&party, 100).unwrap().len() as u64;
    assert_eq!((next.0, queue.memory.held()), (next.1, 0));
}

#[test]
fn who_was_stopped_with_an_end_locked_holds_up_no_wait_that_has_a_limit() {
    let crowd = Crowd::new();
    let (stopped, party) = (crowd.party(1, 1), crowd.party(2, 1));
    let queue = tiny(7, 5);
    assert_eq!(queue.try_put(&party, &[small(1)]), (1, None));
    let Head { put, take, .. } = queue.queue().head;
    for (end, is_put) in [(put, true), (take, false)] {
        let held = queue.queue().lock(end, &stopped, &queue.memory, is_put, soon);
        if is_put {
            assert_eq!(queue.try_put(&party, &[small(2)]), (0, Some(Refusal::TimedOut)));
            let wait = Wait::until(Deadline::after(Duration::from_millis(50)), &never);
            assert_eq!(queue.put_all(&party, &[small(2)], wait), (0, Some(Refusal::TimedOut)));
        } else {
            assert_eq!(queue.try_take(&party, 1).unwrap(), [0; 0]);
            assert_eq!(queue.take(&party, Deadline::after(Duration::from_millis(50))), Err(Refusal::TimedOut));
        }
        // It goes on.
        drop(held);
    }
    assert_eq!(queue.try_put(&party, &[small(2)]), (1, None));
    assert_eq!(queue.try_take(&party, 3).unwrap(), [1, 2]);
}

#[test]
fn many_are_put_and_taken_in_one_pass() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    let queue = tiny(7, 5);
    let items: Vec<_> = (0..9).map(|it| if it % 4 == 1 { Thing::Block(it) } else { small(it.into()) }).collect();
    assert_eq!(queue.try_put(&party, &items), (7, Some(Refusal::TimedOut)));
    assert_eq!(queue.memory.held(), 2);
    assert_eq!(queue.try_take(&party, 3).unwrap(), [0, 1, 2]);
    assert_eq!(queue.try_put(&party, &items[7..]), (2, None));
    assert_eq!(queue.try_take(&party, 100).unwrap(), [3, 4, 5, 6, 7, 8]);
    assert_eq!(queue.memory.held(), 0);
    assert_eq!(queue.take(&party, at_once()), Err(Refusal::TimedOut));
}

#[test]
fn what_was_put_before_the_end_is_taken_first() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    let queue = tiny(4, 4);
    queue.put(&party, small(1)).unwrap();
    queue.queue().close(&party, &queue.memory);
    assert_eq!(queue.put(&party, small(2)), Err(Refusal::Closed));
    assert_eq!((queue.take(&party, soon()), queue.take(&party, soon())), (Ok(1), Err(Refusal::Closed)));
    let over = tiny(4, 4);
    over.put(&party, small(1)).unwrap();
    let take = || over.queue().take(&party, &over.memory, 1, &|_| (), |_| (), Wait::until(soon(), &|| true));
    assert_eq!((take(), take()), (Ok(1), Err(Refusal::Over)));
    let put = over.put_all(&party, &[small(2)], Wait::until(soon(), &|| true));
    assert_eq!(put, (0, Some(Refusal::Over)));
}

#[test]
fn garbage_costs_one_item_or_an_error() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    // The first words are the table, of two entries; then the slots of two words.
    let make = || {
        let queue = Fixture::new(Shape::tiny(3, 2, 2, false));
        queue.try_put(&party, &[small(1), small(2), small(3)]);
        queue
    };
    for garbage in [1, 3, 0xff04, 900 << 8 | 4, u64::MAX, 7 << 32 | 2, u64::MAX << 32 | 2] {
        let queue = make();
        queue.memory.scribble(4, garbage);
        assert_eq!(queue.try_take(&party, 9).unwrap(), [1], "{garbage:x}");
        assert_eq!(queue.try_take(&party, 9), Err(Refusal::Damaged));
        assert_eq!(queue.try_take(&party, 9).unwrap(), [3]);
    }
    let queue = make();
    queue.memory.scribble(4, 0);
    assert_eq!(queue.try_take(&party, 9).unwrap(), [1, 3]);
    let queue = make();
    queue.memory.scribble(0, 2);
    assert_eq!(queue.try_take(&party, 9), Err(Refusal::Damaged));
}

#[test]
fn what_lies_before_damage_is_taken_once() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    let queue = tiny(7, 4);
    assert_eq!(queue.try_put(&party, &[small(1), small(2), small(3)]), (3, None));
    // Where the table says which segment the third lies in.
    queue.memory.scribble(1, 99);
    assert_eq!(queue.try_take(&party, 9).unwrap(), [1, 2]);
    assert_eq!(queue.try_take(&party, 9), Err(Refusal::Damaged));
}

#[test]
fn positions_go_round() {
    let crowd = Crowd::new();
    let party = crowd.party(1, 1);
    let queue = Fixture::new(Shape::tiny(3, 2, 2, false));
    let Head { put, take, .. } = queue.queue().head;
    // Positions of the first segment, just before they begin again with 0.
    for place in [&put.at, &put.seen, &take.at, &take.seen] {
        place.store(u64::MAX - 2, SeqCst);
    }
    for round in 0..3 {
        assert_eq!(queue.try_put(&party, &[small(round), small(round + 10)]), (2, None));
        assert_eq!(queue.try_take(&party, 9).unwrap(), [round, round + 10]);
    }
}

#[test]
fn producers_and_consumers_lose_nothing() {
    const EACH: u64 = 3000;
    let crowd = Crowd::new();
    let queue = tiny(5, 4);
    let (sum, count) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for slot in 1..=3 {
            let (party, queue) = (crowd.party(slot, 1), &queue);
            scope.spawn(move || (0..EACH).for_each(|it| queue.put(&party, small(it * 4 + u64::from(slot))).unwrap()));
        }
        for slot in 4..=6 {
            let (party, queue, sum, count) = (crowd.party(slot, 1), &queue, &sum, &count);
            scope.spawn(move || {
                // By producer.
                let mut last = [0; 4];
                for _ in 0..EACH {
                    let number = queue.take(&party, Deadline::NEVER).unwrap();
                    let (it, producer) = (number / 4 + 1, (number % 4) as usize);
                    assert!(it > last[producer], "out of order");
                    last[producer] = it;
                    sum.fetch_add(it, SeqCst);
                    count.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!((sum.into_inner(), count.into_inner()), (3 * EACH * (EACH + 1) / 2, 3 * EACH));
}

/// What a victim does, which notes what it has put or taken; and what it is told to.
type Work = fn(&Fixture, &Party<'static>, &Mutex<Vec<u64>>);

/// Kills a victim at each step of `work`; then the survivor `helps`, puts a last item, and takes all that is there. `check`
/// is handed what the victim has noted, what the survivor has taken, and whether the victim was killed. With `reclaimed` its
/// slot is cleared out first and given to a living process.
fn at_every_step(
    make: fn(&Party<'static>) -> Fixture,
    work: Work,
    check: fn(&[u64], &[u64], bool),
    reclaimed: bool,
    helps: fn(&Fixture, &Party<'static>),
) {
    let steps = || {
        let crowd: &'static Crowd = Box::leak(Box::new(Crowd::new()));
        let make = || (make(&crowd.party(2, 1)), Mutex::new(Vec::new()));
        kill::at_every_step(make, |crowd, (queue, noted), victim| {
            let victim = victim.run(move |party| work(queue, party, noted));
            let survivor = crowd.party(3, 1);
            helps(queue, &survivor);
            let killed = victim.wait();
            // Killed over the count of a block: nobody knows whether it was counted, and it may be lost.
            let Head { put, take, .. } = queue.queue().head;
            let in_doubt = [put, take].into_iter().filter(|end| end.pending.load(SeqCst) & 3 == 1).count() as u32;
            let (done, is_done) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                if reclaimed && killed {
                    queue.queue().reclaim(&survivor, kill::VICTIM, |place| queue.memory.leave(place));
                    crowd.revive(kill::VICTIM);
                }
                let mut taken = queue.try_take(&survivor, 100).unwrap();
                queue.put(&survivor, small(99)).unwrap();
                taken.push(queue.take(&survivor, soon()).unwrap());
                assert_eq!(taken.pop(), Some(99), "{taken:?}");
                assert!(queue.memory.held() <= in_doubt, "{} blocks are held by nobody", queue.memory.held());
                let _ = done.send(taken);
            });
            let taken = is_done.recv_timeout(Duration::from_secs(20)).expect("the survivor hangs or has panicked");
            check(&noted.lock().unwrap(), &taken, killed);
            killed
        })
    };
    // A victim that comes late on a busy machine does not wait for what it is to wait for, and has fewer steps.
    assert!((0..10).any(|_| steps() >= 5), "too few steps");
}

fn nothing(_: &Fixture, _: &Party<'static>) {}

/// What was put is there, in order; and at most the one that was being put.
fn all_are_there(put: &[u64], taken: &[u64], killed: bool) {
    assert!(taken.starts_with(put) && taken.len() - put.len() <= usize::from(killed), "{put:?} {taken:?}");
    assert!(taken.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{taken:?}");
}

#[test]
fn killed_at_every_step_while_it_puts() {
    let work: Work = |queue, party, noted| {
        for it in 1..=6 {
            queue.put(party, if it % 2 == 0 { Thing::Block(it) } else { small(it.into()) }).unwrap();
            noted.lock().unwrap().push(it.into());
        }
    };
    for reclaimed in [false, true] {
        at_every_step(|_| tiny(7, 5), work, all_are_there, reclaimed, nothing);
    }
}

#[test]
fn killed_at_every_step_while_it_puts_many() {
    let work: Work = |queue, party, _| {
        let items: Vec<_> = (1..=6).map(|it| if it == 4 { Thing::Block(it) } else { small(it.into()) }).collect();
        assert_eq!(queue.try_put(party, &items), (6, None));
    };
    // Those before a block and the block itself count from one store on, those behind it from another.
    let check = |_: &[u64], taken: &[u64], killed: bool| {
        assert!([0, 4, 6].contains(&taken.len()) && (killed || taken.len() == 6), "{taken:?}");
        all_are_there(taken, taken, killed);
    };
    at_every_step(|_| tiny(7, 5), work, check, false, nothing);
}

/// Six items, of both kinds.
fn filled(party: &Party<'static>) -> Fixture {
    let queue = tiny(7, 5);
    (1..=6).for_each(|it| queue.put(party, if it % 2 == 0 { Thing::Block(it) } else { small(it.into()) }).unwrap());
    queue
}

/// What was taken is gone, and at most one more.
fn the_rest_is_there(noted: &[u64], taken: &[u64], killed: bool) {
    assert!(noted.iter().copied().eq(1..=noted.len() as u64), "{noted:?}");
    let lost = 6 - noted.len() - taken.len();
    assert!(lost <= usize::from(killed), "{noted:?} {taken:?}");
    assert!(taken.iter().copied().eq(7 - taken.len() as u64..=6), "{noted:?} {taken:?}");
}

#[test]
fn killed_at_every_step_while_it_takes() {
    let work: Work = |queue, party, noted| {
        for _ in 0..6 {
            let number = queue.take(party, at_once()).unwrap();
            noted.lock().unwrap().push(number);
        }
    };
    for reclaimed in [false, true] {
        at_every_step(filled, work, the_rest_is_there, reclaimed, nothing);
    }
}

#[test]
fn killed_at_every_step_while_it_waits_for_an_item() {
    let work: Work = |queue, party, noted| {
        let number = queue.take(party, Deadline::NEVER).unwrap();
        noted.lock().unwrap().push(number);
    };
    let helps = |queue: &Fixture, party: &Party<'static>| {
        std::thread::sleep(Duration::from_millis(2));
        (1..=2).for_each(|it| queue.put(party, small(it)).unwrap());
    };
    let check = |noted: &[u64], taken: &[u64], killed: bool| {
        assert!(taken.ends_with(&[2]) && noted.len() + taken.len() >= 2 - usize::from(killed), "{noted:?} {taken:?}");
    };
    at_every_step(|_| tiny(4, 4), work, check, false, helps);
}

#[test]
fn killed_at_every_step_while_it_waits_for_room() {
    let make = |party: &Party<'static>| {
        let queue = tiny(2, 3);
        assert_eq!(queue.try_put(party, &[small(1), small(2)]), (2, None));
        queue
    };
    let work: Work = |queue, party, _| queue.put(party, small(3)).unwrap();
    let helps = |queue: &Fixture, party: &Party<'static>| {
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(queue.take(party, soon()), Ok(1));
    };
    let check = |_: &[u64], taken: &[u64], killed: bool| {
        assert!(taken == [2, 3] || killed && taken == [2], "{taken:?}");
    };
    at_every_step(make, work, check, false, helps);
}

#[test]
fn killed_at_every_step_while_it_closes() {
    let work: Work = |queue, party, _| queue.queue().close(party, &queue.memory);
    kill::at_every_step(
        || tiny(4, 4),
        |crowd, queue, victim| {
            let survivor = crowd.party(3, 1);
            let killed = victim.run(move |party| work(queue, party, &Mutex::new(Vec::new()))).wait();
            let put = queue.put(&survivor, small(1));
            assert!(put == Err(Refusal::Closed) || killed && put.is_ok(), "{put:?}");
            queue.queue().close(&survivor, &queue.memory);
            assert_eq!(queue.put(&survivor, small(2)), Err(Refusal::Closed));
            assert_eq!(queue.try_take(&survivor, 9), if put.is_ok() { Ok(vec![1]) } else { Err(Refusal::Closed) });
            killed
        },
    );
}

#[test]
fn those_who_wait_are_told_of_the_end() {
    let crowd = Crowd::new();
    let (empty, full) = (tiny(1, 2), tiny(1, 2));
    full.put(&crowd.party(1, 1), small(1)).unwrap();
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| empty.take(&crowd.party(2, 1), soon()));
        let putter = scope.spawn(|| {
            let wait = Wait::until(soon(), &never);
            full.put_all(&crowd.party(3, 1), &[small(2)], wait)
        });
        std::thread::sleep(Duration::from_millis(5));
        empty.queue().close(&crowd.party(1, 1), &empty.memory);
        full.queue().close(&crowd.party(1, 1), &full.memory);
        assert_eq!(taker.join().unwrap(), Err(Refusal::Closed));
        assert_eq!(putter.join().unwrap(), (0, Some(Refusal::Closed)));
    });
}
