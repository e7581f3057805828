//! `join_all`, and many processes at once.

use super::common::alone::alone;
use super::common::proc;
use super::common::starts::starting;
use super::common::watchdog::watchdog;
use multiproc::{Process, join_all};
use std::time::Duration;

fn work(n: u64) -> u64 {
    if n == u64::MAX {
        std::thread::sleep(Duration::from_secs(1000));
    }
    n * n
}

#[test]
fn join_all_has_the_results_in_order() {
    let _watchdog = watchdog(60);
    let crew: Vec<_> = (0..10).map(|n| starting().spawn(work, (n,)).unwrap()).collect();
    assert_eq!(join_all(crew).unwrap(), (0..10).map(|n| n * n).collect::<Vec<_>>());
    assert_eq!(join_all(Vec::<Process<u64>>::new()).unwrap(), []);
}

#[test]
fn join_all_ends_the_rest_at_the_first_failure() {
    // What its processes complain of would fill the screen.
    if !alone("crew::join_all_ends_the_rest_at_the_first_failure") {
        return;
    }
    let _watchdog = watchdog(60);
    let fail = |n: u64| -> u64 { panic!("{n}") };
    for place in 0..3 {
        let mut crew: Vec<Process<u64>> = (0..2).map(|_| starting().spawn(work, (u64::MAX,)).unwrap()).collect();
        crew.insert(place, starting().name("weak").spawn(fail, (place as u64,)).unwrap());
        let pids: Vec<i32> = crew.iter().map(|process| process.pid()).collect();
        let error = join_all(crew).unwrap_err();
        assert!(error.is_panic() && error.name() == "weak", "{error}");
        assert!(pids.iter().all(|pid| !proc::is_alive(*pid)), "the rest lives on");
    }
}

#[test]
fn join_all_is_bounded() {
    let _watchdog = watchdog(60);
    let stopped = starting().spawn(work, (u64::MAX,)).unwrap();
    // A stopped process does not act on SIGTERM.
    let pid = stopped.pid();
    proc::stop(pid);
    let crew = [stopped, starting().spawn(|| -> u64 { std::process::exit(9) }, ()).unwrap()];
    assert_eq!(join_all(crew).unwrap_err().exit_code(), Some(9));
    assert!(!proc::is_alive(pid));
}

#[test]
fn many_threads_start_and_end_processes() {
    let _watchdog = watchdog(120);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            scope.spawn(move || {
                for round in 0..10 {
                    let process = starting().spawn(|a: u64, b: u64| a * 100 + b, (thread, round)).unwrap();
                    if round % 3 == 2 {
                        process.kill();
                        // It may have been quick.
                        let _ = process.join();
                    } else {
                        assert_eq!(process.join().unwrap(), thread * 100 + round);
                    }
                }
            });
        }
    });
}

#[test]
fn one_process_can_be_watched_by_many_threads() {
    let _watchdog = watchdog(60);
    let process = starting().spawn(work, (u64::MAX,)).unwrap();
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..8).map(|_| scope.spawn(|| process.wait())).collect();
        process.terminate();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
    assert_eq!(process.exitcode(), Some(-15));
}

fn tree(depth: u32) -> u64 {
    if depth == 0 {
        return 1;
    }
    let halves: Vec<_> = (0..2).map(|_| starting().spawn(tree, (depth - 1,)).unwrap()).collect();
    1 + join_all(halves).unwrap().iter().sum::<u64>()
}

#[test]
fn a_tree_of_processes_comes_back_whole() {
    let _watchdog = watchdog(60);
    assert_eq!(tree(3), 15);
}
