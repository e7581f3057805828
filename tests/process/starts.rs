//! Processes that cannot be started.

use super::common::alone::alone;
use super::common::proc::{children_of, eventually, own_pid};
use super::common::watchdog::watchdog;
use multiproc::{Pool, Process};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;

#[test]
fn without_descriptors_it_is_an_error_and_passes() {
    if !alone("starts::without_descriptors_it_is_an_error_and_passes") {
        return;
    }
    let _watchdog = watchdog(60);
    assert_eq!(Process::spawn(|| 1, ()).unwrap().join().unwrap(), 1);
    // At each point of a start the descriptors may run out.
    let mut limit = 3;
    let mut errors = 0;
    loop {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..before }).unwrap();
        let large = vec![1u8; 100_000];
        let outcome = Process::spawn(|bytes: Vec<u8>| bytes.len(), (large,));
        setrlimit(Resource::Nofile, before).unwrap();
        match outcome {
            Ok(process) => {
                // The child has that limit as well, and may have met it on its way back.
                let _ = process.join();
                if limit > 40 {
                    break;
                }
            }
            Err(error) => {
                assert!(error.is_start(), "{error}");
                errors += 1;
            }
        }
        limit += 1;
    }
    assert!(errors > 3, "{errors}");
    assert_eq!(Process::spawn(|| 1, ()).unwrap().join().unwrap(), 1);
    assert!(eventually(Duration::from_secs(10), || children_of(own_pid()).is_empty()));
}

#[test]
fn without_room_for_processes_it_is_an_error_and_passes() {
    if !alone("starts::without_room_for_processes_it_is_an_error_and_passes") {
        return;
    }
    let _watchdog = watchdog(60);
    assert_eq!(Process::spawn(|| 1, ()).unwrap().join().unwrap(), 1);
    // The limit on processes does not hold for root; that on address space makes the new image fail, or start and die.
    let before = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(1 << 20), ..before }).unwrap();
    let outcome = Process::spawn(|| 1, ());
    setrlimit(Resource::As, before).unwrap();
    let error = outcome.unwrap_err();
    assert!(error.is_start(), "{error}");
    assert_eq!(Process::spawn(|| 1, ()).unwrap().join().unwrap(), 1);
    assert!(eventually(Duration::from_secs(10), || children_of(own_pid()).is_empty()));
}

#[test]
fn a_name_may_be_longer_than_a_message() {
    let _watchdog = watchdog(60);
    let name = || multiproc::current_process().name().len();
    let process = Process::builder().name("x".repeat(1 << 20)).spawn(name, ()).unwrap();
    assert_eq!(process.join().unwrap(), 1 << 20);
    let pool = Pool::builder().processes(1).name("x".repeat(1 << 20)).build().unwrap();
    assert_eq!(pool.apply(name, ()).unwrap(), (1 << 20) + "-1".len());
}

/// Under any limit a pool works or says why it cannot be had, and leaves no process behind.
fn under_limits(resource: Resource, limits: impl IntoIterator<Item = u64>) -> (u32, u32) {
    let before = getrlimit(resource);
    let (mut pools, mut errors) = (0, 0);
    for limit in limits {
        setrlimit(resource, Rlimit { current: Some(limit), ..before }).unwrap();
        let built = Pool::builder().processes(2).build();
        let results = built.map(|pool| pool.map_each(|x: u64| x + 1, 0..100));
        setrlimit(resource, before).unwrap();
        match results {
            Ok(results) => {
                pools += 1;
                // The workers have that limit, too, and may fail at it.
                let wrong = |(x, result): (u64, &Result<u64, _>)| result.as_ref().is_ok_and(|it| *it != x + 1);
                assert!(!(0..).zip(&results).any(wrong), "{limit}: {results:?}");
            }
            Err(error) => {
                errors += 1;
                assert!(!error.to_string().is_empty(), "{limit}");
            }
        }
        assert!(eventually(Duration::from_secs(10), || children_of(own_pid()).is_empty()), "{limit}");
    }
    assert_eq!(Pool::new(2).unwrap().apply(|| 5, ()).unwrap(), 5);
    (pools, errors)
}

#[test]
fn a_pool_under_any_limit_works_or_says_why() {
    if !alone("starts::a_pool_under_any_limit_works_or_says_why") {
        return;
    }
    let _watchdog = watchdog(120);
    assert_eq!(Pool::new(1).unwrap().apply(|| 5, ()).unwrap(), 5);
    let (pools, errors) = under_limits(Resource::Nofile, (3..60).step_by(3));
    assert!(pools > 0 && errors > 3, "{pools} pools, {errors} errors");
    let (_, errors) = under_limits(Resource::Fsize, [0, 1, 4096, 100_000, 1 << 20]);
    assert!(errors > 2, "{errors}");
    let now = std::fs::read_to_string("/proc/self/statm").unwrap();
    let now: u64 = now.split(' ').next().unwrap().parse().unwrap();
    let more = [1u64 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 30, 1 << 34];
    let (pools, _) = under_limits(Resource::As, more.map(|more| now * rustix::param::page_size() as u64 + more));
    assert!(pools > 0);
    under_limits(Resource::Data, [1 << 26, 1 << 28, 1 << 30]);
}

/// A worker that may write no large file says so of the results that need one.
#[test]
fn a_worker_that_may_write_no_file_fails_the_tasks_that_need_one() {
    let _watchdog = watchdog(60);
    let limit = |bytes: u64| {
        let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum }).unwrap();
    };
    let pool = Pool::builder().processes(1).initializer(limit, (1 << 20,)).build().unwrap();
    let pids = pool.worker_pids();
    let results = pool.map_each(|len: usize| vec![7u8; len], [10, 80 << 20, 1000]);
    assert!(results[1].as_ref().unwrap_err().is_encode(), "{results:?}");
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(pool.worker_pids(), pids);
}
