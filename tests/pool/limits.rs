//! Time limits, retries, fail-fast, and the number of tasks for each worker.

use super::common::links::{HANDLES, on_each_link, on_each_pool, on_nodes};
use super::common::proc::stop;
use super::common::signals::{ignore_sigterm, stop_self};
use multiproc::RawValue;
use std::collections::HashMap;
use std::time::{Duration, Instant};

fn sleep(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

#[test]
fn a_task_over_its_limit_is_stopped_alone() {
    on_each_pool(2, 60, |pool| {
        let start = Instant::now();
        let limit = Duration::from_millis(200);
        let items = (0..30).map(|x| if x % 10 == 5 { 1_000_000 } else { 1 });
        let results = pool.tasks(sleep, items).timeout(limit).each();
        for (x, result) in results.iter().enumerate() {
            match result {
                Ok(ms) => assert!(x % 10 != 5 && *ms == 1),
                Err(error) => {
                    assert!(x % 10 == 5 && error.is_timeout() && error.index() == x as u64, "{error}");
                    assert!(error.to_string().contains("did not end within its time limit of 200ms"), "{error}");
                }
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        // Without a limit nothing is stopped.
        assert_eq!(pool.map(sleep, [300; 2]).unwrap(), [300; 2]);
        let error = pool.task(sleep, (1_000_000,)).timeout(limit).run().unwrap_err();
        assert!(error.task().unwrap().is_timeout());
        assert_eq!(pool.task(sleep, (1,)).timeout(limit).run().unwrap(), 1);
    });
}

#[test]
fn the_limit_holds_while_nobody_waits() {
    on_each_pool(1, 60, |pool| {
        let later = pool.tasks(sleep, [1, 1_000_000, 1]).timeout(Duration::from_millis(100)).submit().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(later.get().unwrap_err().is_timeout());
        assert_eq!(pool.apply(sleep, (1,)).unwrap(), 1);
    });
}

#[test]
fn who_ignores_sigterm_is_killed() {
    on_each_link(60, |builder| {
        let pool = builder().processes(1).grace(Duration::from_millis(100)).build().unwrap();
        let stubborn = |()| {
            ignore_sigterm();
            std::thread::sleep(Duration::from_secs(1000));
        };
        let error = pool.tasks(stubborn, [()]).timeout(Duration::from_millis(100)).run().unwrap_err();
        assert!(error.task().unwrap().is_timeout(), "{error}");
        assert_eq!(pool.apply(sleep, (1,)).unwrap(), 1);
    });
}

#[test]
fn a_failed_task_is_run_again() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let tries = RawValue::new(0u32);
        let flaky = |tries: RawValue<u32>, how: String| {
            let before = tries.fetch_add(1);
            match (before, how.as_str()) {
                (0..=1, "panic") => panic!("not yet"),
                (0..=1, "exit") => std::process::exit(3),
                (0..=1, "hang") => drop(sleep(1_000_000)),
                (0..=1, "err") => return Err("not yet"),
                _ => {}
            }
            Ok(before)
        };
        for how in ["panic", "exit", "hang", "err"] {
            tries.set(0);
            // A backtrace alone can take long on a machine under load.
            let limit = Duration::from_millis(if how == "hang" { 500 } else { 30_000 });
            let flaky = || pool.task(flaky, (tries.clone(), how.to_owned())).fallible().timeout(limit);
            assert_eq!(flaky().retries(2).run().unwrap(), 2, "{how}");
            tries.set(0);
            let error = flaky().retries(1).run().unwrap_err();
            let task = error.task().unwrap();
            assert_eq!(tries.get(), 2, "{how}");
            let right = match how {
                "panic" => task.is_panic(),
                "exit" => task.is_worker_lost(),
                "hang" => task.is_timeout(),
                _ => task.is_error(),
            };
            assert!(right, "{how}: {task}");
        }
        // Only those that failed.
        let counts: Vec<RawValue<u32>> = (0..100).map(|_| RawValue::new(0)).collect();
        let items = counts.iter().cloned().enumerate();
        let task = |count: RawValue<u32>, index: usize| {
            assert!(count.fetch_add(1) > 0 || index % 10 != 0);
            index
        };
        let all = pool.star_tasks(task, items.map(|(index, count)| (count, index))).retries(1).run().unwrap();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        for (index, count) in counts.iter().enumerate() {
            assert_eq!(count.get(), if index % 10 == 0 { 2 } else { 1 });
        }
    });
}

#[test]
fn the_first_failure_may_end_the_call() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let ran = RawValue::new(0u32);
        let task = |ran: &RawValue<u32>, x: u32| {
            ran.fetch_add(1);
            assert!(x != 5, "five");
            std::thread::sleep(Duration::from_millis(1));
        };
        let call = |n: u32| pool.with(&ran).tasks(task, 0..n).fail_fast(true).chunksize(1);
        let error = call(100_000).run().unwrap_err();
        assert_eq!(error.task().unwrap().message(), Some("five"));
        assert!(ran.get() < 1000, "{}", ran.get());
        let later = call(10_000).submit().unwrap();
        assert_eq!(later.get().unwrap_err().message(), Some("five"));
        assert!(ran.get() < 2000, "{}", ran.get());
        let results = call(1000).each();
        assert_eq!(results.len(), 1000);
        assert!(results[5].as_ref().unwrap_err().is_panic() && results[999].as_ref().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_worker_leaves_after_its_share_of_tasks() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).max_tasks_per_child(10).build().unwrap();
        for chunk in [None, Some(7), Some(100)] {
            let call = pool.tasks(|_: u32| std::process::id(), 0..1000);
            let pids = match chunk {
                Some(n) => call.chunksize(n).run().unwrap(),
                None => call.run().unwrap(),
            };
            let mut tasks = HashMap::new();
            pids.iter().for_each(|pid| *tasks.entry(*pid).or_insert(0) += 1);
            assert!(tasks.values().all(|count| *count <= 10), "{tasks:?}");
            assert!(tasks.len() >= 100);
        }
        let one = builder().processes(1).max_tasks_per_child(1).build().unwrap();
        let mut pids: Vec<u32> = (0..20).map(|_| one.apply(std::process::id, ()).unwrap()).collect();
        pids.dedup();
        assert_eq!(pids.len(), 20);
        one.close();
        one.join().unwrap();
    });
}

#[test]
fn a_stopped_process_is_over_its_limit_too() {
    // Long enough for a short task on a busy machine.
    let limit = Duration::from_millis(500);
    on_each_link(60, |builder| {
        // It gets no time to end by itself: it could not use it.
        let pool = builder().processes(2).grace(Duration::from_secs(1_000)).build().unwrap();
        let stop_and_hang = |x: u64| {
            if x == 5 {
                stop_self();
                sleep(1_000_000);
            }
            x
        };
        let results = pool.tasks(stop_and_hang, 0..20u64).timeout(limit).each();
        for (x, result) in results.iter().enumerate() {
            let timed_out = result.as_ref().is_err_and(|error| error.is_timeout());
            assert!(timed_out == (x == 5), "{x}: {result:?}");
        }
        // A process that stops between two tasks costs none of them.
        for _ in 0..3 {
            for pid in pool.worker_pids() {
                // Not in the middle of a task of the next call.
                stop(pid);
            }
            let results = pool.tasks(|x: u64| x, 0..20u64).timeout(limit).run().unwrap();
            assert_eq!(results, (0..20).collect::<Vec<_>>());
        }
    });
}
