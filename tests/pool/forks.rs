//! `fork` by foreign code: the fork is told that it has no part in anything, and the original does not notice.

use super::common::alone::alone;
use super::common::fork::{go_on_in_both, in_fork};
use super::common::journal::{Journal, Pen};
use super::common::links::{HANDLES, on_each_link, on_nodes};
use super::common::scratch::Scratch;
use multiproc::{Lock, Pool, Process, Value, current_task};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// 0 if what came is an error that speaks of the fork.
fn is_refused<T, E: std::fmt::Display>(result: Result<T, E>) -> i32 {
    match result {
        Err(error) if error.to_string().contains("forked") => 0,
        Err(error) => {
            eprintln!("another error: {error}");
            1
        }
        Ok(_) => {
            eprintln!("no error");
            2
        }
    }
}

fn works(pool: &Pool) {
    assert_eq!(pool.map(|x: u32| x + 1, 0..100).unwrap(), (1..101).collect::<Vec<_>>());
}

#[test]
fn a_fork_is_refused_and_the_pool_goes_on() {
    if !alone("forks::a_fork_is_refused_and_the_pool_goes_on") {
        return;
    }
    on_each_link(60, |builder| {
        let mut pool = Some(builder().processes(2).build().unwrap());
        works(pool.as_ref().unwrap());
        let pids = pool.as_ref().unwrap().worker_pids();
        for orderly in [false, true] {
            let refuses = |ask: &dyn Fn(&Pool) -> i32| {
                assert_eq!(in_fork(orderly, || ask(pool.as_ref().unwrap())), 0);
            };
            refuses(&|pool| is_refused(pool.map(|x: u32| x, 0..3)));
            refuses(&|pool| is_refused(pool.apply(|| 1, ())));
            refuses(&|pool| is_refused(pool.map_async(|x: u32| x, 0..3).map(drop)));
            refuses(&|pool| is_refused(pool.resize(5)));
            // A pool or a process of its own it cannot have either.
            if !on_nodes("a program that has no processes here leaves them to its forks") {
                refuses(&|_| is_refused(Pool::new(1)));
                refuses(&|_| is_refused(Process::spawn(|| (), ())));
            }
            // Its copy of the pool goes without a trace: when the fork just ends, and when it is dropped.
            refuses(&|_| 0);
            let drops = in_fork(orderly, || {
                drop(pool.take());
                0
            });
            assert_eq!(drops, 0);
            works(pool.as_ref().unwrap());
        }
        let mut now = pool.as_ref().unwrap().worker_pids();
        now.sort();
        let mut before = pids;
        before.sort();
        assert_eq!(now, before, "a worker was lost");
    });
}

#[test]
fn a_fork_does_not_release_what_the_original_holds() {
    if on_nodes(HANDLES) {
        return;
    }
    if !alone("forks::a_fork_does_not_release_what_the_original_holds") {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let (lock, value) = (Lock::new(), Value::new(7));
        for orderly in [false, true] {
            let mut held = Some(lock.lock().unwrap());
            let mut inside = Some(value.lock().unwrap());
            let drops = in_fork(orderly, || {
                **inside.as_mut().unwrap() = 8;
                drop((held.take(), inside.take()));
                0
            });
            assert_eq!(drops, 0);
            assert_eq!(in_fork(orderly, || is_refused(lock.lock())), 0);
            assert_eq!(in_fork(orderly, || is_refused(lock.acquire())), 0);
            assert_eq!(in_fork(orderly, || is_refused(Lock::try_new())), 0);
            let looks = |(lock, value): (Lock, Value<i32>)| (lock.locked(), value.get_lock().locked());
            assert_eq!(pool.apply(looks, ((lock.clone(), value.clone()),)).unwrap(), (true, true));
            assert_eq!((held.is_some(), **inside.as_ref().unwrap()), (true, 7));
            drop((held, inside));
            assert_eq!(pool.apply(looks, ((lock.clone(), value.clone()),)).unwrap(), (false, false));
        }
    });
}

#[test]
fn forks_in_the_middle_of_calls_disturb_nobody() {
    if !alone("forks::forks_in_the_middle_of_calls_disturb_nobody") {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let busy = scope.spawn(|| {
                let mut rounds = 0;
                while !over.load(Relaxed) {
                    works(&pool);
                    rounds += 1;
                }
                rounds
            });
            for _ in 0..100 {
                // It may find any lock of ours locked by a thread that it does not have, so it only ends.
                assert_eq!(in_fork(false, || 3), 3);
            }
            over.store(true, Relaxed);
            assert!(busy.join().unwrap() > 0);
        });
        works(&pool);
    });
}

/// Forks in some tasks, and returns or panics in the fork; what the original returns says how the fork has ended.
fn forks_now_and_then((path, x): (String, u64)) -> (u64, i32) {
    Pen::open(&path).write(0, x);
    if x % 8 != 3 && x % 8 != 5 {
        return (x, 0);
    }
    match go_on_in_both() {
        Some(end) => (x, end),
        None if x % 8 == 3 => (x, 99),
        None => panic!("the fork"),
    }
}

#[test]
fn a_fork_of_a_worker_ends_where_its_task_does() {
    on_each_link(60, |builder| {
        let journal = Journal::new();
        let pool = builder().processes(2).build().unwrap();
        let tasks: Vec<_> = (0..40).map(|x| (journal.path(), x)).collect();
        let results = pool.tasks(forks_now_and_then, tasks).chunksize(4).each();
        let results: Vec<_> = results.into_iter().map(|it| it.map_err(|error| error.to_string())).collect();
        assert_eq!(results, (0..40).map(|x| Ok((x, 0))).collect::<Vec<_>>());
        let mut started: Vec<_> = journal.read().iter().map(|entry| entry.task).collect();
        started.sort_unstable();
        assert_eq!(started, (0..40).collect::<Vec<_>>());
    });
}

#[test]
fn a_fork_has_no_part_in_calls_that_are_under_way() {
    if !alone("forks::a_fork_has_no_part_in_calls_that_are_under_way") {
        return;
    }
    on_each_link(60, |builder| {
        for orderly in [false, true] {
            let scratch = Scratch::new("forks");
            let pool = builder().processes(2).build().unwrap();
            let flag = scratch.text().to_owned();
            let until = |flag: String| {
                while !Path::new(&flag).exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                current_task().unwrap().is_cancelled()
            };
            let runs = pool.tasks(until, [flag.clone(), flag.clone()]).submit().unwrap();
            let mut runs = Some(runs);
            let mut waits = Some(pool.map_async(|x: u32| x + 1, 0..3).unwrap());
            let mut streams = Some(pool.imap(|x: u32| x, 0..100));
            let has_no_part = in_fork(orderly, || {
                let (runs, waits, mut streams) = (runs.take().unwrap(), waits.take().unwrap(), streams.take().unwrap());
                waits.kill();
                pool.close();
                pool.terminate();
                if waits.cancel() || is_refused(runs.get()) + is_refused(streams.next().unwrap()) > 0 {
                    return 1;
                }
                // What it drops ends here alone.
                is_refused(pool.join())
            });
            assert_eq!(has_no_part, 0);
            std::fs::write(&flag, "").unwrap();
            assert_eq!(runs.unwrap().get().unwrap(), [false, false], "the fork has cancelled it");
            assert_eq!(waits.unwrap().get().unwrap(), [1, 2, 3]);
            assert_eq!(streams.unwrap().map(Result::unwrap).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
            works(&pool);
        }
    });
}
