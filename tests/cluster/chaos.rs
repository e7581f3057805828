//! What networks do to the stream between a pool and its agents, by a relay of our own. Each count is exact: no value is wrong,
//! no task is run twice, and each has an outcome in time.

use crate::agents::{Agent, Key};
use crate::common::journal::{self, Journal};
use crate::common::proc::{is_alive, send_signal, stop};
use crate::common::watchdog::watchdog;
use crate::faults::{LOST_AFTER, agents, check_runs, wait_until};
use crate::lab::Lab;
use crate::relay::{Relay, Way};
use multiproc::Pool;
use multiproc::cluster::{Command, NodeEventKind};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The same over an encrypted stream and over a plain one: two workers, and one of them behind a relay.
fn each_stream(test: impl Fn(&Lab, &Relay)) {
    let _watchdog = watchdog(120);
    for encrypt in [true, false] {
        println!("encrypt: {encrypt}");
        let key = Key::new();
        let on = key.listen().encrypt(encrypt);
        let near = on.command().unwrap();
        let (relay, far) = Relay::command(&near);
        test(&Lab::new(on, &near, &far, LOST_AFTER), &relay);
    }
}

#[test]
fn a_way_that_is_cut_for_less_than_the_patience_costs_nothing() {
    each_stream(|lab, relay| {
        let results = lab.run(300, || {
            for way in [Way::ToPool, Way::ToAgent] {
                relay.silence(way, true);
            }
            std::thread::sleep(LOST_AFTER / 3);
            for way in [Way::ToPool, Way::ToAgent] {
                relay.silence(way, false);
            }
        });
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert!(is_alive(lab.far.0 as i32));
    });
}

#[test]
fn a_way_that_is_cut_for_good_is_lost_in_time_and_nothing_runs_twice() {
    each_stream(|lab, relay| {
        let start = Instant::now();
        let results = lab.run(300, || {
            relay.silence(Way::ToPool, true);
            relay.silence(Way::ToAgent, true);
        });
        // The other worker takes 1.2 s for all of them.
        assert!(start.elapsed() < LOST_AFTER + Duration::from_secs(10), "{:?}", start.elapsed());
        lab.check_loss(&results);
        assert!(lab.far_ends());
    });
}

#[test]
fn a_way_that_is_cut_in_one_direction_is_lost_in_time() {
    for way in [Way::ToPool, Way::ToAgent] {
        each_stream(|lab, relay| {
            let results = lab.run(300, || relay.silence(way, true));
            lab.check_loss(&results);
            // Also the agent that hears its pool, and is heard no more, ends with its stream.
            relay.silence(way, false);
            assert!(lab.far_ends());
        });
    }
}

#[test]
fn a_connection_that_ends_or_is_reset_in_the_middle_of_a_message_costs_what_was_under_way() {
    for resets in [false, true] {
        each_stream(|lab, relay| {
            let results = lab.run(300, || relay.cut_in(Way::ToPool, 37, resets));
            lab.check_loss(&results);
            assert!(lab.far_ends());
        });
    }
}

#[test]
fn a_byte_that_is_changed_in_either_direction_ends_the_stream() {
    for (way, at) in [(Way::ToPool, 3), (Way::ToPool, 40), (Way::ToAgent, 5), (Way::ToAgent, 111)] {
        each_stream(|lab, relay| {
            let results = lab.run(300, || relay.corrupt_in(way, at));
            lab.check_loss(&results);
            assert!(lab.far_ends());
        });
    }
}

#[test]
fn a_slow_way_is_no_lost_one() {
    each_stream(|lab, relay| {
        // The values take longer than the patience: they come all the same, and the beats between them.
        relay.slow(1 << 20);
        let long = vec![7; 4 << 20];
        let results = lab.pool.tasks(|bytes: Vec<u8>| bytes.len(), vec![long; 2]).chunksize(1).each();
        assert!(results.iter().all(|result| matches!(result, Ok(len) if *len == 4 << 20)), "{results:?}");
        assert!(lab.events.0.lock().unwrap().iter().all(|event| event.kind() == NodeEventKind::Joined));
    });
}

#[test]
fn a_way_that_takes_long_brings_everything() {
    each_stream(|lab, relay| {
        relay.delay(Duration::from_millis(5));
        let results = lab.run(200, || {});
        assert!(results.iter().all(Result::is_ok));
    });
}

#[test]
fn an_agent_that_was_stopped_for_longer_than_the_patience_takes_no_part_any_more() {
    each_stream(|lab, _| {
        let results = lab.run(300, || stop(lab.far.1));
        lab.check_loss(&results);
        assert!(send_signal(lab.far.1, Signal::CONT));
        assert!(lab.far_ends());
        check_runs(&lab.journal, &results);
    });
}

#[test]
fn a_node_that_joins_in_the_middle_of_a_call_takes_part_in_it() {
    let _watchdog = watchdog(180);
    let (key, journal) = (Key::new(), Journal::new());
    let on = key.listen().nodes(2);
    let command = on.command().unwrap();
    let _first = Agent::start(&command);
    let pool = Pool::builder().on(on).processes(2).initializer(journal::open_in_worker, (journal.path(),));
    let pool = pool.build().unwrap();
    let work = |task: u64| {
        journal::write(0, task);
        std::thread::sleep(Duration::from_millis(5));
        std::process::id()
    };
    let (workers, _second) = std::thread::scope(|scope| {
        let call = scope.spawn(|| pool.tasks(work, 0..400u64).chunksize(1).run().unwrap());
        wait_until("some tasks are done", || journal.read().len() > 20);
        let second = Agent::start(&command);
        (call.join().unwrap(), second)
    });
    let mut workers: Vec<u32> = workers;
    assert_eq!((workers.len(), journal.read().len()), (400, 400));
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers.len(), 2);
}

#[test]
fn a_pool_over_connections_grows_and_shrinks() {
    let _watchdog = watchdog(180);
    let on = Command::new("{agent}").nodes(2).workers(4).listen("127.0.0.1:0");
    let pool = Pool::builder().on(on).processes(2).at_least(2).build().unwrap();
    for workers in [8, 1, 3] {
        pool.resize(workers).unwrap();
        assert_eq!(pool.map(|x: u64| x + 1, 0..1_000).unwrap(), (1..=1_000).collect::<Vec<u64>>());
        wait_until("it has so many workers", || pool.worker_pids().len() == workers);
    }
}

/// The name of the next test, which starts itself as a driver.
const DRIVER: &str = "chaos::nothing_is_left_anywhere_when_the_driver_is_killed";

#[test]
fn nothing_is_left_anywhere_when_the_driver_is_killed() {
    use crate::common::alone::{is_program, program};
    use std::io::{BufRead, BufReader};
    let _watchdog = watchdog(180);
    if is_program(DRIVER) {
        let on = Command::new("{agent}").nodes(2).workers(1).listen("127.0.0.1:0");
        let pool = Pool::builder().on(on).at_least(2).build().unwrap();
        for (worker, agent) in agents(&pool) {
            println!("pids {worker} {agent}");
        }
        println!("pids end");
        // Until it is killed.
        let _ = pool.map(|_: u32| std::thread::sleep(Duration::from_secs(60)), 0..4);
        return;
    }
    let mut driver = program(DRIVER).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.filter_map(|line| line.split_once("pids ").map(|(_, rest)| rest.to_owned()));
    let pids: Vec<i32> = told
        .take_while(|rest| rest != "end")
        .flat_map(|rest| rest.split(' ').map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>())
        .collect();
    assert_eq!(pids.len(), 4);
    driver.kill().unwrap();
    driver.wait().unwrap();
    for pid in pids {
        wait_until("all have ended", || !is_alive(pid));
    }
}
