//! How many calls that nobody waits in may be under way.

use super::common::links::{HANDLES, on_each_link, on_nodes};
use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use super::errors::{Fickle, fickle};
use multiproc::{Event, Pool, TrySubmitError};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn wait(gate: Event) {
    gate.wait();
}

#[test]
fn as_many_calls_as_may_be_are_under_way_and_no_more() {
    on_each_link(60, |builder| {
        const MOST: usize = 3;
        let pool = builder().processes(2).max_pending(MOST).build().unwrap();
        let (open, highest) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..100u32 {
                        let ended = Arc::clone(&open);
                        let result = pool.apply_async(|n: u32| n + 1, (n,)).unwrap();
                        highest.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
                        let result = result.callback(move |_| _ = ended.fetch_sub(1, Relaxed));
                        if n % 2 == 0 {
                            assert_eq!(result.get().unwrap(), n + 1);
                        } else {
                            result.detach();
                        }
                    }
                });
            }
        });
        assert!(eventually(SOON, || open.load(Relaxed) == 0));
        // Each of the threads may have made its call, and not counted it yet when the callback of an earlier one counts down.
        assert!(highest.load(Relaxed) <= MOST + 4, "{highest:?}");
        assert_eq!(pool.stats().tasks, 400);
    });
}

#[test]
fn a_call_without_room_waits_or_is_given_back_unread() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(1).max_pending(2).build().unwrap();
        let gate = Event::new();
        let held: Vec<_> = (0..2).map(|_| pool.apply_async(wait, (gate.clone(),)).unwrap()).collect();
        let read = Cell::new(0);
        let items = (0..5u32).inspect(|_| read.set(read.get() + 1));
        let Err(TrySubmitError::Full(call)) = pool.tasks(|x: u32| x * 2, items).chunksize(2).try_submit() else {
            panic!("there is no room")
        };
        assert_eq!(read.get(), 0);
        let error: multiproc::Error = pool.task(|| (), ()).try_submit().unwrap_err().into();
        assert!(error.is_full() && error.to_string().contains("as many calls"), "{error}");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| pool.apply_async(|| 7, ()).unwrap().get().unwrap());
            // Calls that block need no room.
            let blocks = scope.spawn(|| pool.apply(|| 8, ()).unwrap());
            assert!(eventually(SOON, || pool.stats().jobs.len() == 3), "{}", pool.stats());
            assert!(!waits.is_finished() && !blocks.is_finished());
            gate.set();
            assert_eq!((waits.join().unwrap(), blocks.join().unwrap()), (7, 8));
        });
        held.into_iter().for_each(|result| result.get().unwrap());
        assert_eq!(call.run().unwrap(), [0, 2, 4, 6, 8]);
        assert!(eventually(SOON, || pool.task(|| (), ()).try_submit().is_ok()));
    });
}

#[test]
fn room_comes_back_however_a_call_ends() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(1).max_pending(1).build().unwrap();
        for _ in 0..10 {
            let gate = Event::new();
            drop(pool.apply_async(wait, (gate.clone(),)).unwrap());
            gate.set();
            assert!(pool.apply_async(|| -> () { panic!("of the task") }, ()).unwrap().get().unwrap_err().is_panic());
            let begun = Event::new();
            let hold = |begun: Event| {
                begun.set();
                Event::new().wait();
            };
            let lost = pool.apply_async(hold, (begun.clone(),)).unwrap();
            begun.wait();
            assert!(pool.worker_pids().into_iter().all(kill));
            assert!(lost.get().unwrap_err().is_worker_lost());
            let killed = pool.apply_async(wait, (Event::new(),)).unwrap();
            killed.kill();
            assert!(killed.get().is_err());
            let nothing = pool.map_async(|x: u32| x, 0..0).unwrap();
            assert!(nothing.get().unwrap().is_empty());
            let refused = pool.apply_async(|_: Fickle| (), (fickle("refuse to leave"),)).unwrap();
            assert!(refused.get().unwrap_err().is_encode());
            let panics = || drop(pool.apply_async(|_: Fickle| (), (fickle("panic on leaving"),)));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
            assert!(pool.tasks(|x: u32| x, 0..3).chunksize(0).submit().is_err());
        }
        assert_eq!(pool.on_each_worker(|| 1, ()).run().unwrap(), [(0, 1)]);
    });
}

#[test]
fn who_waits_when_the_pool_ends_is_told() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let ends: [fn(&Pool); 3] = [Pool::close, Pool::terminate, |pool| _ = pool.drain(SOON)];
        for end in ends {
            let pool = builder().processes(1).max_pending(1).build().unwrap();
            let gate = Event::new();
            let held = pool.apply_async(wait, (gate.clone(),)).unwrap();
            std::thread::scope(|scope| {
                let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| pool.apply_async(|| (), ()))).collect();
                let ender = scope.spawn(|| end(&pool));
                for waiter in waiters {
                    let error = waiter.join().unwrap().unwrap_err();
                    assert!(error.is_not_running() || error.is_terminated(), "{error}");
                }
                gate.set();
                ender.join().unwrap();
            });
            drop(held);
        }
    });
}

#[test]
fn a_callback_and_an_input_may_make_calls() {
    let _watchdog = watchdog(60);
    let pool = Arc::new(Pool::builder().processes(1).max_pending(1).build().unwrap());
    let (tell, told) = channel();
    let again = Arc::clone(&pool);
    let first = pool.apply_async(|| 1, ()).unwrap().callback(move |one| {
        let results: Vec<u32> = (0..5).map(|n| again.apply_async(|n: u32| n, (n,)).unwrap().get().unwrap()).collect();
        tell.send((*one, results)).unwrap();
    });
    assert_eq!(told.recv_timeout(SOON).unwrap(), (1, vec![0, 1, 2, 3, 4]));
    first.get().unwrap();
    // The thread that drives makes calls between, and waits for room.
    let items = (0..50u32).inspect(|n| pool.apply_async(|n: u32| n, (*n,)).unwrap().detach());
    assert_eq!(pool.map(|x: u32| x, items).unwrap().len(), 50);
}

#[test]
fn a_pool_without_room_is_refused() {
    let _watchdog = watchdog(60);
    assert!(Pool::builder().max_pending(0).build().unwrap_err().is_invalid_argument());
    let pool = Pool::builder().processes(1).max_pending(usize::MAX).build_threads().unwrap();
    assert_eq!(pool.apply_async(|| 1, ()).unwrap().get().unwrap(), 1);
}
