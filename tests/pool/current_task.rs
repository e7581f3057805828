//! What a running task knows and says of itself.

use super::common::links::{HANDLES, on_each_pool, on_nodes, on_processes_and_threads};
use super::common::proc::eventually;
use super::common::watchdog::watchdog;
use multiproc::{CurrentTask, Pool, Queue, ThreadPool, current_task};
use std::time::{Duration, Instant};

fn task() -> CurrentTask {
    current_task().expect("a task runs")
}

/// Ends when it is told to, and says so.
fn until_cancelled(told: &Queue<u64>, x: u64) -> u64 {
    told.put(x).unwrap();
    task().cancelled();
    told.put(100 + x).unwrap();
    x
}

#[test]
fn it_knows_its_number_and_how_often_it_was_begun() {
    on_processes_and_threads(2, 60, |pool| {
        let look = |x: u64| {
            assert_eq!(task().index(), x);
            assert!(x % 10 != 7 || task().attempt() == 3, "not yet");
            (task().index(), task().attempt(), task().is_cancelled())
        };
        for chunk in [1, 7] {
            let seen = pool.tasks(look, 0..50).chunksize(chunk).retries(2).run().unwrap();
            for (x, (index, attempt, is_cancelled)) in (0..).zip(seen) {
                assert_eq!((index, attempt, is_cancelled), (x, if x % 10 == 7 { 3 } else { 1 }, false));
            }
        }
    });
    assert!(current_task().is_none());
    let started = Pool::builder().processes(1).initializer(|| assert!(current_task().is_none()), ()).build();
    assert!(started.unwrap().apply(|| std::thread::spawn(|| current_task().is_none()).join().unwrap(), ()).unwrap());
}

#[test]
fn a_task_over_its_soft_limit_delivers_what_it_has() {
    on_processes_and_threads(2, 60, |pool| {
        let work = |x: u64| {
            // Every other task does not care.
            let mut rounds = 0;
            while x % 2 == 0 && !task().cancelled_within(Duration::from_secs(1000)) {
                rounds += 1;
            }
            (x, rounds)
        };
        let values = pool.tasks(work, 0..6).soft_timeout(Duration::from_millis(20)).run().unwrap();
        assert_eq!(values, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
        // What follows at the same workers has not been told.
        assert_eq!(pool.map(|_: u64| task().is_cancelled(), 0..8).unwrap(), [false; 8]);
    });
}

#[test]
fn a_hard_limit_follows_for_one_that_does_not_listen() {
    on_each_pool(1, 60, |pool| {
        let work = |listens: bool| {
            while !(listens && task().is_cancelled()) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let limit = Duration::from_millis(100);
        let results = pool.tasks(work, [true, false, true]).soft_timeout(limit).timeout(5 * limit).each();
        let outcomes = results.iter().map(|result| result.as_ref().map_err(|error| error.is_timeout()));
        assert!(outcomes.eq([Ok(&()), Err(true), Ok(&())]), "{results:?}");
    });
}

#[test]
fn more_time_is_to_be_had() {
    if on_nodes("a pool does not hear that a task on a node asks for more time") {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let limit = Duration::from_millis(100);
        let work = |steps: u64| {
            for _ in 0..steps {
                task().extend_deadline(Duration::from_millis(400));
                std::thread::sleep(Duration::from_millis(20));
            }
            let early = task().is_cancelled();
            // Without it the limits hold: the soft one is 50 ms earlier.
            let start = Instant::now();
            task().cancelled();
            (early, start.elapsed() > Duration::from_millis(100))
        };
        let call = pool.task(work, (20,)).soft_timeout(limit).timeout(limit + Duration::from_secs(50));
        assert_eq!(call.run().unwrap(), (true, false));
        let call = pool.task(work, (20,)).soft_timeout(limit);
        assert_eq!(call.run().unwrap(), (false, true));
        let hang = |()| {
            task().extend_deadline(Duration::from_millis(300));
            std::thread::sleep(Duration::from_secs(1000));
        };
        let start = Instant::now();
        let error = pool.tasks(hang, [()]).timeout(limit).run().unwrap_err();
        assert!(error.task().unwrap().is_timeout() && start.elapsed() >= Duration::from_millis(300), "{error}");
    });
}

#[test]
fn who_is_not_waited_for_any_more_is_told() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        let told = Queue::new();
        let ends = |x: u64| assert_eq!(told.get().unwrap(), 100 + x);

        // By `cancel`.
        let call = pool.with(&told).task(until_cancelled, (1,)).submit().unwrap();
        assert_eq!(told.get().unwrap(), 1);
        call.cancel();
        ends(1);

        // By the end of an iteration.
        let mut results = pool.with(&told).tasks(until_cancelled, [2, 3]).chunksize(1).unordered();
        // Items are read while results are asked for.
        let both = || results.next_timeout(Duration::from_millis(1)).is_pending() && told.len() == 2;
        assert!(eventually(Duration::from_secs(20), both));
        assert_eq!(told.get().unwrap() + told.get().unwrap(), 5);
        drop(results);
        assert_eq!(told.get().unwrap() + told.get().unwrap(), 205);

        // By the failure of another task.
        let fails = |told: &Queue<u64>, x: u64| {
            if x == 4 {
                return until_cancelled(told, x);
            }
            assert_eq!(told.get().unwrap(), 4);
            panic!("the other one runs");
        };
        pool.with(&told).tasks(fails, [4, 5]).chunksize(1).fail_fast(true).run().unwrap_err();
        ends(4);
        assert_eq!(pool.map(|x: u64| (x, task().is_cancelled()), 0..2).unwrap(), [(0, false), (1, false)]);
    });
}

#[test]
fn the_end_of_a_pool_of_threads_is_told() {
    let _watchdog = watchdog(60);
    let (pool, told) = (ThreadPool::new(1).unwrap(), Queue::new());
    let call = pool.with(&told).task(until_cancelled, (1,)).submit().unwrap();
    assert_eq!(told.get().unwrap(), 1);
    drop(pool);
    assert_eq!(told.get().unwrap(), 101);
    // It has ended in time.
    assert_eq!(call.get().unwrap(), 1);
}

#[test]
fn other_threads_of_a_task_may_ask_for_it() {
    on_each_pool(1, 60, |pool| {
        let work = |leave: bool| {
            let own = task();
            let thread = std::thread::spawn(move || {
                own.cancelled();
                own.is_cancelled()
            });
            // A thread that outlives its task is told then.
            leave || thread.join().unwrap()
        };
        assert!(pool.task(work, (false,)).soft_timeout(Duration::from_millis(20)).run().unwrap());
        assert!(pool.apply(work, (true,)).unwrap());
        let text = pool.apply(|| format!("{:?}", task()), ()).unwrap();
        assert_eq!(text, "CurrentTask { index: 0, attempt: 1, is_cancelled: false }");
    });
}

fn progress(pool: &Pool) -> Option<(u64, u64)> {
    pool.stats().workers[0].current.as_ref()?.progress
}

#[test]
fn how_far_it_is_can_be_seen_while_it_runs() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(1, 60, |pool| {
        let told = Queue::new();
        let work = |told: &Queue<u64>, x: u64| {
            task().progress(3, 8);
            until_cancelled(told, x)
        };
        assert_eq!(progress(pool), None);
        let call = pool.with(&told).task(work, (1,)).submit().unwrap();
        assert_eq!(told.get().unwrap(), 1);
        // Over a socket the start of a task is heard of a little later.
        assert!(eventually(Duration::from_secs(20), || progress(pool) == Some((3, 8))));
        assert!(pool.stats().to_string().contains("3 of 8 done"));
        call.cancel();
        assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
        assert_eq!(progress(pool), None);
    });
}
