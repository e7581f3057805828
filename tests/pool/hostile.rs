//! Tasks that do to their own process what no code should: at most that task is lost, and nothing is left behind.

use super::common::alone::alone;
use super::common::evil::{self, Deed};
use super::common::links::on_each_link;
use super::common::proc::{eventually, holdings, is_alive};
use multiproc::{Lock, Pool, PoolBuilder};
use std::time::Duration;

/// The task that does it.
const WHEN: u64 = 50;

/// How long what is left behind may stay.
const SOON: Duration = Duration::from_secs(20);

const DEEDS: [&[Deed]; 5] =
    [evil::TO_MEMORY, evil::TO_DESCRIPTORS, evil::TO_SOCKETS, evil::TO_PROCESS, evil::TO_POSTERITY];

/// What a task is told: which deed, and the number of the task.
type Told = (usize, usize, u64);

fn task((group, deed, x): Told) -> (u64, String) {
    if x == WHEN {
        DEEDS[group][deed].1();
    }
    (x * x, "r".repeat(x as usize % 50))
}

/// The names of the threads of this process.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // One that has just ended has no name.
    let mut names: Vec<_> =
        tasks.filter_map(|it| std::fs::read_to_string(it.unwrap().path().join("comm")).ok()).collect();
    names.sort();
    names
}

fn warm_up(pool: &Pool) {
    pool.map(|x: u64| vec![x as u8; 300_000], 0..20).unwrap();
    drop(Lock::new());
}

/// Has one of 200 tasks do each deed of a group in turn.
fn each_harms_itself_alone(group: usize) {
    on_each_link(120, |builder| {
        // What a process keeps once it has had a pool: the thread that starts children, the shared heap.
        let without = holdings();
        warm_up(&builder().processes(2).build().unwrap());
        let is_gone = || {
            holdings().has_no_children_since(&without) && !threads().iter().any(|name| name.starts_with("multiproc-"))
        };
        assert!(eventually(SOON, is_gone), "{:?}, {:?}", holdings(), threads());
        let before = (holdings(), threads());
        for (deed, (name, _)) in DEEDS[group].iter().enumerate() {
            println!("{name}");
            harms_itself_alone(builder().processes(2), (group, deed));
            let is_as_before = || holdings() == before.0 && threads() == before.1;
            assert!(eventually(SOON, is_as_before), "{name}: {:?}, {:?}, {before:?}", holdings(), threads());
        }
    });
}

fn harms_itself_alone(builder: PoolBuilder, (group, deed): (usize, usize)) {
    let pool = builder.build().unwrap();
    let results = pool.tasks(task, (0..200).map(|x| (group, deed, x))).chunksize(10).each();
    assert_eq!(results.len(), 200);
    for (x, result) in (0..).zip(&results) {
        match result {
            Ok(value) => assert_eq!(*value, (x * x, "r".repeat(x as usize % 50))),
            Err(error) => assert!(x == WHEN && error.is_worker_lost(), "{error}"),
        }
    }
    let pids = pool.worker_pids();
    assert_eq!(pool.map(|x: u64| x + 1, 0..500).unwrap(), (1..=500).collect::<Vec<_>>());
    for (x, bytes) in (0..).zip(pool.map(|x: u64| vec![x as u8; 300_000], 0..20).unwrap()) {
        assert!(bytes.len() == 300_000 && bytes.iter().all(|byte| *byte == x));
    }
    let pids: Vec<i32> = pool.worker_pids().into_iter().chain(pids).collect();
    drop(pool);
    assert!(eventually(SOON, || !pids.iter().any(|pid| is_alive(*pid))), "a worker is left");
}

#[test]
fn shared_memory_that_is_maimed() {
    if alone("hostile::shared_memory_that_is_maimed") {
        each_harms_itself_alone(0);
    }
}

#[test]
fn descriptors_that_are_closed_or_replaced() {
    if alone("hostile::descriptors_that_are_closed_or_replaced") {
        each_harms_itself_alone(1);
    }
}

#[test]
fn sockets_that_are_written_to() {
    if alone("hostile::sockets_that_are_written_to") {
        each_harms_itself_alone(2);
    }
}

#[test]
fn processes_that_end_themselves_or_change_their_nature() {
    if alone("hostile::processes_that_end_themselves_or_change_their_nature") {
        each_harms_itself_alone(3);
    }
}

#[test]
fn processes_that_are_left_behind() {
    if alone("hostile::processes_that_are_left_behind") {
        each_harms_itself_alone(4);
    }
}
