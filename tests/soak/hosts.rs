//! The same for one pool on several hosts: a worker is killed every 20 ms, and a host cut off every 3 s, in one of two ways.
//!
//!     cargo test --release --features cluster --test soak -- --hosts 3 --seconds 60
//!
//! Each task writes into a journal that it has begun. At the end the journal is held against the outcomes: what has a result was
//! run, nothing was run twice unless its call has `retries`, and nothing is left on any host. The hosts are servers of OpenSSH on
//! this machine; without any, they are agents that a command starts.

use crate::common::journal::{self, Journal};
use crate::common::proc::{children_of, eventually, kill, own_pid};
use crate::common::sshd::Hosts;
use crate::common::watchdog::watchdog;
use crate::holdings::{holdings, list_holdings};
use crate::orders::Dice;
use multiproc::cluster::{Command, NodeEventKind, Nodes};
use multiproc::{Pool, TaskError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Threads that make calls.
const CALLERS: u64 = 3;

const KILL_EVERY: Duration = Duration::from_millis(20);
const CUT_EVERY: Duration = Duration::from_secs(3);
const LOST_AFTER: Duration = Duration::from_secs(3);

/// So often a task may be run again. No task is as unlucky as that.
const RETRIES: u32 = 50;

/// What has become of the tasks of a call.
struct Outcomes {
    /// The number of its first task; no two tasks have the same.
    first: u64,
    has_result: Vec<bool>,
    has_retries: bool,
}

/// What all threads share.
struct Storm {
    pool: Pool,
    over: AtomicBool,
    tasks: AtomicU64,
    calls: Mutex<Vec<Outcomes>>,
    kills: AtomicU64,
    cuts: AtomicU64,
}

fn answer_to(task: u64) -> u64 {
    task.wrapping_mul(31) + 7
}

/// Has begun, and takes up to 2 ms.
fn work(task: u64) -> u64 {
    journal::write(0, task);
    if task % 4 != 0 {
        std::thread::sleep(Duration::from_micros(task % 2_000));
    }
    answer_to(task)
}

/// Makes calls until it is over.
fn call_again_and_again(storm: &Storm, mut dice: Dice) {
    while !storm.over.load(Relaxed) {
        let count = 1 + dice.throw(300);
        let first = storm.tasks.fetch_add(count, Relaxed);
        let has_retries = dice.chance(3);
        let mut call = storm.pool.tasks(work, first..first + count);
        if !dice.chance(4) {
            call = call.chunksize(1 + dice.throw(20) as usize);
        }
        let results = if has_retries { call.retries(RETRIES).each() } else { call.each() };
        assert_eq!(results.len() as u64, count, "a call has lost the outcome of a task");
        let check = |(task, result): (u64, &Result<u64, TaskError>)| match result {
            Ok(value) => {
                assert_eq!(*value, answer_to(task), "task {task} has the result of another one");
                true
            }
            Err(error) => {
                assert!(!has_retries && error.is_worker_lost() && error.may_have_run(), "task {task}: {error}");
                false
            }
        };
        let has_result = (first..).zip(&results).map(check).collect();
        storm.calls.lock().unwrap().push(Outcomes { first, has_result, has_retries });
    }
}

/// Kills workers until it is over.
fn kill_again_and_again(storm: &Storm, mut dice: Dice) {
    while !storm.over.load(Relaxed) {
        std::thread::sleep(KILL_EVERY);
        // Five that cannot even start, one after the other, are the end of a pool.
        let ready = storm.pool.stats().workers.into_iter().filter(|worker| worker.startup.is_some());
        let pids: Vec<i32> = ready.filter_map(|worker| worker.pid).collect();
        if !pids.is_empty() {
            let killed = kill(pids[dice.throw(pids.len() as u64) as usize]);
            storm.kills.fetch_add(u64::from(killed), Relaxed);
        }
    }
}

/// Cuts hosts off until it is over: the way there ends, or falls silent for longer than anybody waits.
fn cut_again_and_again(storm: &Storm, hosts: Option<&Hosts>, count: usize, mut dice: Dice) {
    let mut silent: Option<(usize, Instant)> = None;
    let mut next = Instant::now() + CUT_EVERY;
    while !storm.over.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        if let (Some(hosts), Some((host, _))) = (hosts, silent.filter(|(_, since)| since.elapsed() > 2 * LOST_AFTER)) {
            hosts.cut(host);
            silent = None;
        }
        if Instant::now() < next {
            continue;
        }
        next += CUT_EVERY;
        let host = dice.throw(count as u64) as usize;
        match hosts {
            Some(hosts) if silent.is_none() && dice.chance(2) => {
                hosts.silence(host);
                silent = Some((host, Instant::now()));
            }
            Some(hosts) => hosts.cut(host),
            None => children_of(own_pid()).get(host).into_iter().for_each(|agent| _ = kill(*agent)),
        }
        storm.cuts.fetch_add(1, Relaxed);
    }
    silent.iter().zip(hosts).for_each(|((host, _), hosts)| hosts.cut(*host));
}

/// Holds what was run against what has a result. Returns how many tasks were lost, and how many were run again.
fn check(calls: &[Outcomes], journal: &Journal, tasks: u64) -> (u64, u64) {
    let mut runs = vec![0u32; tasks as usize];
    journal.read().iter().for_each(|entry| runs[entry.task as usize] += 1);
    let (mut lost, mut again) = (0, 0);
    for call in calls {
        for (task, has_result) in (call.first..).zip(&call.has_result) {
            let times = runs[task as usize];
            assert!(times <= 1 || call.has_retries, "task {task} was run {times} times");
            assert!(times >= 1 || !has_result, "task {task} has a result, and was never run");
            lost += u64::from(!has_result);
            again += u64::from(times > 1);
        }
    }
    let outcomes: usize = calls.iter().map(|call| call.has_result.len()).sum();
    assert_eq!(outcomes as u64, tasks, "there are more or fewer outcomes than tasks");
    (lost, again)
}

/// Does all of that on `count` hosts. Panics if anything is wrong.
pub(crate) fn soak(count: usize, seconds: u64, seed: u64) {
    let _watchdog = watchdog(seconds + 180);
    // What stays for good comes to life.
    drop(Pool::builder().on(Command::new("{agent}").workers(1)).on_node(|_| ()).build().expect("a pool"));
    std::thread::sleep(Duration::from_millis(300));
    let before = holdings();
    let hosts = Hosts::start(count);
    let nodes: Nodes = match &hosts {
        Some(hosts) => hosts.ssh().workers(2).into(),
        None => Command::new("{agent}").nodes(count).workers(2).into(),
    };
    let journal = Journal::new();
    let events = Arc::new([const { AtomicU64::new(0) }; 3]);
    let heard = Arc::clone(&events);
    let pool = Pool::builder()
        .on(nodes)
        .at_least(2 * count)
        .within(Duration::from_secs(120))
        .lost_after(LOST_AFTER)
        .initializer(journal::open_in_worker, (journal.path(),))
        .on_node(move |event| {
            let at = match event.kind() {
                NodeEventKind::Joined => 0,
                NodeEventKind::Lost => 1,
                _ => 2,
            };
            heard[at].fetch_add(1, Relaxed);
        })
        .build()
        .expect("a pool");
    let zero = || AtomicU64::new(0);
    let (over, calls) = (AtomicBool::new(false), Mutex::default());
    let storm = Storm { pool, over, tasks: zero(), calls, kills: zero(), cuts: zero() };
    std::thread::scope(|scope| {
        let (storm, hosts) = (&storm, hosts.as_ref());
        for number in 1..=CALLERS {
            scope.spawn(move || call_again_and_again(storm, Dice(seed.wrapping_mul(2 * number + 1))));
        }
        scope.spawn(move || kill_again_and_again(storm, Dice(seed.rotate_left(7))));
        scope.spawn(move || cut_again_and_again(storm, hosts, count, Dice(seed.rotate_left(13))));
        std::thread::sleep(Duration::from_secs(seconds));
        storm.over.store(true, Relaxed);
    });
    let Storm { pool, tasks, calls, kills, cuts, .. } = storm;
    drop(pool);
    let calls = calls.into_inner().unwrap();
    let (lost, again) = check(&calls, &journal, tasks.load(Relaxed));
    for (at, hosts) in (0..count).zip(hosts.iter().cycle()) {
        assert!(eventually(2 * LOST_AFTER, || hosts.processes(at).is_empty()), "something is left on host {at}");
    }
    drop(hosts);
    let is_clean = eventually(Duration::from_secs(10), || holdings() == before);
    if !is_clean {
        list_holdings();
    }
    let [joined, gone, failed] = [0, 1, 2].map(|at| events[at].load(Relaxed));
    println!(
        "soak: {seconds} s on {count} hosts, {} calls, {tasks:?} tasks, as many outcomes, {lost} of them lost with their worker \
         or host, {again} run again by `retries`, 0 twice without; {kills:?} workers killed, {cuts:?} cuts; hosts joined {joined} \
         times, were lost {gone} times, did not come {failed} times; left behind: nothing on any host",
        calls.len()
    );
    assert!(is_clean, "left behind here: {before:?} became {:?}", holdings());
}
