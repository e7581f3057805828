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
