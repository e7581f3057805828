//! What happens when workers, agents, and the way to them fail. Each count is exact.

use crate::common::journal::{self, Journal};
use crate::common::proc::{eventually, is_alive, kill, send_signal, stop};
use crate::common::watchdog::watchdog;
use multiproc::cluster::{Command, NodeEventKind};
use multiproc::{Pool, PoolBuilder, TaskError};
use rustix::process::Signal;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Short enough for a test, and long enough for a machine that does other things.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(3);

pub(crate) fn nodes(command: &str) -> PoolBuilder {
    Pool::builder().on(Command::new(command).nodes(2).workers(1)).processes(2).at_least(2).lost_after(LOST_AFTER)
}

/// The same test over standard streams and over an encrypted connection.
fn each_way(test: impl Fn(&dyn Fn(&str) -> PoolBuilder)) {
    println!("over standard streams");
    test(&nodes);
    println!("over a connection");
    test(&|command| {
        let on = Command::new(command).nodes(2).workers(1).listen("127.0.0.1:0");
        nodes(command).on(on)
    });
}

/// The agent that a worker has come from.
fn parent(_: u32) -> (u32, u32) {
    // Long enough that both workers get some.
    std::thread::sleep(Duration::from_millis(20));
    (std::process::id(), std::os::unix::process::parent_id())
}

/// The agents of a pool, by the process ids of their workers.
pub(crate) fn agents(pool: &Pool) -> HashMap<u32, i32> {
    let pairs = pool.tasks(parent, 0..20).chunksize(1).run().unwrap();
    pairs.into_iter().map(|(worker, agent)| (worker, agent as i32)).collect()
}

pub(crate) fn wait_until(what: &str, is_true: impl FnMut() -> bool) {
    assert!(eventually(Duration::from_secs(30), is_true), "{what}");
}

/// Each task has written once that it was begun, at most; and those with a result have.
pub(crate) fn check_runs(journal: &Journal, results: &[Result<u64, TaskError>]) {
    let mut runs: HashMap<u64, u32> = HashMap::new();
    for entry in journal.read() {
        *runs.entry(entry.task).or_default() += 1;
    }
    for (task, result) in (0..).zip(results) {
        let times = runs.get(&task).copied().unwrap_or(0);
        match result {
            Ok(value) => assert_eq!((*value, times), (task, 1), "task {task}"),
            Err(error) => {
                assert!(error.is_worker_lost() && error.may_have_run(), "{error}");
                assert!(times <= 1, "task {task} was run {times} times");
            }
        }
    }
}

#[test]
fn a_task_that_aborts_is_lost_alone_however_many_travel_together() {
    let _watchdog = watchdog(120);
    each_way(|nodes| {
        let pool = nodes("{agent}").build().unwrap();
        let work = |x: u64| if x == 42 { std::process::abort() } else { x };
        for chunk in [1, 7, 100] {
            let results = pool.tasks(work, 0..100u64).chunksize(chunk).each();
            for (index, result) in (0..).zip(&results) {
                match result {
                    Ok(value) => assert_eq!((*value, index == 42), (index, false)),
                    Err(error) => {
                        assert_eq!((error.index(), error.signal()), (42, Some(6)), "{error}");
                        assert!(error.host().is_some() && error.worker().is_some(), "{error}");
                    }
                }
            }
            assert_eq!(results.iter().filter(|it| it.is_err()).count(), 1);
        }
    });
}

#[test]
fn values_of_any_size_that_a_dying_worker_has_finished_arrive() {
    let _watchdog = watchdog(120);
    each_way(|nodes| {
        let pool = nodes("{agent}").build().unwrap();
        // The last one ends with zeros, which look like memory that was never written.
        let work = |len: usize| if len == 1 { std::process::abort() } else { vec![0u8; len] };
        let sizes = [3, 5_000, 0, 300_000, 1, 7];
        let results = pool.tasks(work, sizes).chunksize(6).each();
        for (result, len) in results.iter().zip(sizes) {
            match result {
                Ok(value) => assert_eq!(*value, vec![0; len]),
                Err(error) => assert!(len == 1 && error.is_worker_lost(), "{len}: {error}"),
            }
        }
        assert_eq!(results.iter().filter(|it| it.is_err()).count(), 1);
    });
}

#[test]
fn an_agent_that_is_killed_costs_what_was_under_way_there_and_comes_again() {
    let _watchdog = watchdog(120);
    each_way(|nodes| {
        let journal = Journal::new();
        let events = Arc::<Mutex<Vec<NodeEventKind>>>::default();
        let heard = Arc::clone(&events);
        let builder = nodes("{agent}").initializer(journal::open_in_worker, (journal.path(),));
        let pool = builder.on_node(move |event| heard.lock().unwrap().push(event.kind())).build().unwrap();
        let (worker, agent) = agents(&pool).into_iter().next().unwrap();
        let results = std::thread::scope(|scope| {
            let work = |x: u64| {
                journal::write(0, x);
                std::thread::sleep(Duration::from_millis(5));
                x
            };
            let (pool, work) = (&pool, work);
            let call = scope.spawn(move || pool.tasks(work, 0..200u64).chunksize(1).each());
            wait_until("the first tasks have begun", || journal.read().len() > 20);
            assert!(kill(agent));
            call.join().unwrap()
        });
        check_runs(&journal, &results);
        let lost: Vec<&TaskError> = results.iter().filter_map(|it| it.as_ref().err()).collect();
        // What was sent ahead before anybody knew how long a task takes.
        assert!((1..100).contains(&lost.len()), "{lost:?}");
        assert!(lost.iter().all(|error| error.worker() == Some(worker as i32) && error.host().is_some()), "{lost:?}");
        // Its workers end with it, and another agent takes its place.
        wait_until("its worker is gone", || !is_alive(worker as i32));
        wait_until("both agents are there", || agents(&pool).len() == 2);
        assert!(agents(&pool).values().all(|it| *it != agent));
        let events = events.lock().unwrap();
        assert!(events.contains(&NodeEventKind::Lost) && events.len() >= 4, "{events:?}");
    });
}

#[test]
fn what_was_lost_with_an_agent_is_run_again_if_its_call_says_so() {
    let _watchdog = watchdog(120);
    each_way(|nodes| {
        let pool = nodes("{agent}").build().unwrap();
        let agent = *agents(&pool).values().next().unwrap();
        std::thread::scope(|scope| {
            let work = |x: u64| {
                std::thread::sleep(Duration::from_millis(5));
                x
            };
            let (pool, work) = (&pool, work);
            let before = pool.stats().tasks;
            let call = scope.spawn(move || pool.tasks(work, 0..200u64).chunksize(1).retries(3).run());
            wait_until("some tasks are done", || pool.stats().tasks > before + 20);
            assert!(kill(agent));
            assert_eq!(call.join().unwrap().unwrap(), (0..200).collect::<Vec<u64>>());
        });
    });
}

#[test]
fn an_agent_that_is_stopped_is_lost_in_time_and_ends_when_it_goes_on() {
    let _watchdog = watchdog(120);
    each_way(|nodes| {
        let journal = Journal::new();
        // The shell stays between the pool and the agent, as on another machine.
        let pool = nodes(": ; {agent}").initializer(journal::open_in_worker, (journal.path(),)).build().unwrap();
        let (worker, agent) = agents(&pool).into_iter().next().unwrap();
        stop(agent);
        let start = Instant::now();
        let work = |x: u64| {
            journal::write(0, x);
            x
        };
        let results = pool.tasks(work, 0..100u64).chunksize(1).each();
        assert!(start.elapsed() < LOST_AFTER + Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(results.iter().any(Result::is_ok));
        // It finds frames in its stream, which were given up: nothing of them is begun.
        assert!(send_signal(agent, Signal::CONT));
        wait_until("the agent has ended", || !is_alive(agent));
        wait_until("its worker has ended", || !is_alive(worker as i32));
        check_runs(&journal, &results);
    });
}

#[test]
fn nothing_is_left_when_the_pool_is_gone() {
    let _watchdog = watchdog(120);
    each_way(|nodes| {
        let pool = nodes("{agent}").build().unwrap();
        let agents = agents(&pool);
        assert_eq!(agents.len(), 2);
        drop(pool);
        for (worker, agent) in agents {
            wait_until("all have ended", || !is_alive(worker as i32) && !is_alive(agent));
        }
    });
}

/// A relay between the pool and an agent that does what networks do: `mode` from byte `at` on, counted from the agent.
const RELAY: &str = r#"
import os, subprocess, sys, threading, time
mode, at, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
silent = threading.Event()
def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]
def to_agent():
    try:
        while data := os.read(0, 65536):
            if not silent.is_set():
                write_all(agent.stdin.fileno(), data)
    except OSError:
        pass
    os._exit(0)
threading.Thread(target=to_agent).start()
seen = 0
while data := os.read(agent.stdout.fileno(), 1 if mode == "slow" and seen < at else 65536):
    if mode == "corrupt" and seen <= at < seen + len(data):
        data = bytearray(data)
        data[at - seen] ^= 4
    seen += len(data)
    if mode == "cut" and seen > at:
        os._exit(0)
    if mode == "silent" and seen > at:
        silent.set()
    try:
        if not silent.is_set():
            write_all(1, data)
    except OSError:
        break
os._exit(0)
"#;

/// The command for agents behind a relay of this kind.
fn relay(mode: &str, at: usize) -> Option<String> {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3 for the relay");
        return None;
    }
    Some(format!("python3 -u -c '{RELAY}' {mode} {at} {{agent}}"))
}

/// Runs tasks over relays of this kind: no value may be wrong, and no task may be run twice.
fn over(mode: &str, at: usize) -> Vec<Result<u64, TaskError>> {
    let Some(command) = relay(mode, at) else { return Vec::new() };
    let journal = Journal::new();
    let pool = nodes(&command).initializer(journal::open_in_worker, (journal.path(),)).build().unwrap();
    let work = |x: u64| {
        journal::write(0, x);
        x
    };
    let results = pool.tasks(work, 0..2_000u64).chunksize(5).each();
    check_runs(&journal, &results);
    results
}

#[test]
fn a_byte_that_was_changed_on_its_way_is_never_a_value() {
    let _watchdog = watchdog(120);
    for at in [700, 1_501, 2_222, 9_000] {
        let results = over("corrupt", at);
        assert!(results.is_empty() || results.iter().any(Result::is_err), "byte {at} had no effect");
    }
}

#[test]
fn a_stream_that_is_cut_costs_what_was_under_way() {
    let _watchdog = watchdog(120);
    for at in [2_003, 5_003] {
        let results = over("cut", at);
        assert!(results.is_empty() || results.iter().any(Result::is_err) && results.iter().any(Result::is_ok));
    }
}

#[test]
fn a_stream_that_falls_silent_is_lost_in_time() {
    let _watchdog = watchdog(120);
    let start = Instant::now();
    let results = over("silent", 3_000);
    assert!(results.is_empty() || results.iter().any(Result::is_err));
    assert!(start.elapsed() < 3 * LOST_AFTER + Duration::from_secs(20));
}

#[test]
fn a_stream_that_brings_single_bytes_brings_all() {
    let _watchdog = watchdog(120);
    assert!(over("slow", 20_000).iter().all(Result::is_ok));
}
