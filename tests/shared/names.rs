//! Names of shared memory when processes are killed: whoever it is and whenever it happens, none stays behind.

use super::common::alone::{alone, is_program, program};
use super::common::proc::{books_are_in_order, children_of, eventually, is_alive, kill, name_of, own_pid, send_signal};
use super::common::watchdog::watchdog;
use super::shared_memory::{SOON, exists, name};
use multiproc::{Pool, SharedMemory};
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The guardian among the children of a process.
fn guardian_of(pid: i32) -> Option<i32> {
    children_of(pid).into_iter().find(|pid| name_of(*pid).as_deref() == Some("multiproc-guard"))
}

const PROGRAM: &str = "names::a_program_that_ends_in_any_way_leaves_no_name";

/// Says what it has made, and is then ended in one way or another.
fn be_program() {
    let pool = Pool::new(2).unwrap();
    let make = |_: i32| Box::leak(Box::new(SharedMemory::create(None, 1000).unwrap())).name().unwrap().to_owned();
    let mut names = pool.map(make, 0..4).unwrap();
    let own: Vec<SharedMemory> = (0..3).map(|_| SharedMemory::create(None, 10).unwrap()).collect();
    names.extend(own.iter().map(|memory| memory.name().unwrap().to_owned()));
    let kept = SharedMemory::create(&*name("survivor"), 1).unwrap();
    kept.keep();
    println!("made {} {}", kept.name().unwrap(), names.join(" "));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    std::process::exit(5);
}

#[test]
fn a_program_that_ends_in_any_way_leaves_no_name() {
    let _watchdog = watchdog(100);
    if is_program(PROGRAM) {
        return be_program();
    }
    for signal in [Some(Signal::KILL), Some(Signal::TERM), Some(Signal::ABORT), None] {
        let mut child = program(PROGRAM).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let made = lines.find_map(|line| Some(line.unwrap().split_once("made ")?.1.to_owned())).unwrap();
        let (kept, names) = made.split_once(' ').unwrap();
        let names: Vec<&str> = names.split(' ').collect();
        assert_eq!(names.iter().filter(|name| exists(name)).count(), 7);
        let family = children_of(pid);
        match signal {
            Some(signal) => assert!(send_signal(pid, signal)),
            None => drop(child.stdin.take()),
        }
        child.wait().unwrap();
        assert!(eventually(SOON, || !names.iter().any(|name| exists(name))), "{signal:?}: {names:?}");
        // What is read from it comes to an end, and it is alone no more than a moment.
        assert!(lines.all(|line| line.is_ok()));
        SharedMemory::open(kept).unwrap().unlink().unwrap();
        assert!(eventually(SOON, || !family.iter().any(|pid| is_alive(*pid))));
    }
}

const CHURN: &str = "names::kills_at_any_moment_leave_no_name";

/// Makes and drops names in many processes, which are killed meanwhile.
fn churn() {
    let pool = Pool::new(3).unwrap();
    let make = |(prefix, task): (String, usize)| {
        let mut held = Vec::new();
        for round in 0..50 {
            held.push(SharedMemory::create(&*format!("{prefix}-{task}-{round}"), 100).unwrap());
            if round % 3 == 0 {
                held.swap_remove(round % held.len());
            }
        }
        held.truncate(2);
        held
    };
    let (mut kills, start) = (0, Instant::now());
    let mut kept = Vec::new();
    for call in 0.. {
        let tasks = (0..12).map(|task| (name("churn"), 12 * call + task));
        std::thread::scope(|scope| {
            let results = scope.spawn(|| pool.map_each(make, tasks));
            for at in 0..3 {
                std::thread::sleep(Duration::from_micros(700 * (call as u64 % 7) + 300));
                kills += usize::from(pool.worker_pids().get(at).is_some_and(|pid| kill(*pid)));
            }
            kept = results.join().unwrap().into_iter().flatten().collect();
        });
        // On a busy machine it takes longer until so many have died.
        if start.elapsed() > Duration::from_secs(2) && kills > 20 {
            break;
        }
    }
    assert!(books_are_in_order());
    println!("killed {kills}");
    // With what is in its hands.
    std::process::abort();
}

#[test]
fn kills_at_any_moment_leave_no_name() {
    let _watchdog = watchdog(100);
    if is_program(CHURN) {
        return churn();
    }
    let child = program(CHURN).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let prefix = format!("multiproc-{}-churn", child.id());
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let killed = text[0].split_once("killed ").and_then(|it| it.1.split_whitespace().next()?.parse().ok());
    assert!(killed.is_some_and(|killed: u32| killed > 20), "{text:?}");
    let left = || {
        let names = std::fs::read_dir("/dev/shm").unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&prefix)).collect::<Vec<_>>()
    };
    assert!(eventually(SOON, || left().is_empty()), "{:?}", left());
}

#[test]
fn a_guardian_is_replaced() {
    let _watchdog = watchdog(60);
    if !alone("names::a_guardian_is_replaced") {
        return;
    }
    assert_eq!(guardian_of(own_pid()), None);
    let memory = SharedMemory::create(None, 1).unwrap();
    let guardian = guardian_of(own_pid()).unwrap();
    drop(SharedMemory::create(None, 1).unwrap());
    assert_eq!(guardian_of(own_pid()), Some(guardian));
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        send_signal(guardian, signal);
    }
    assert_eq!(memory.read(..), [0]);
    assert!(is_alive(guardian));
    kill(guardian);
    // One that is being killed is still one until its last thread is gone.
    let replaced = || {
        drop(SharedMemory::create(None, 1).unwrap());
        guardian_of(own_pid()).is_some_and(|it| it != guardian)
    };
    assert!(eventually(SOON, replaced));
    // One that is made by a worker serves all.
    let pool = Pool::new(1).unwrap();
    let worker = pool.task(|| SharedMemory::create(None, 1).map(|_| own_pid()), ()).fallible().run().unwrap();
    assert_eq!(guardian_of(worker), None);
}
