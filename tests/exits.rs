//! How a program with processes ends, in every way there is: what is waited for, what is ended, and that nothing stays.
//!
//!     cargo test --test exits             # all ways
//!     cargo test --test exits -- panic    # one way
//!
//! The program is this one: started again with the name of a way in its environment, it has a child that runs until it
//! is let go, a daemonic one that would run for ever, a pool, and handles that were dropped. It says so, and ends.

#[path = "common/mod.rs"]
mod common;

use common::proc::{self, eventually};
use common::signals::at_exit;
use common::watchdog::watchdog;
use multiproc::{Pool, Process, current_process};
use rustix::process::Signal;
use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Names the way to end, and the file that lets the child go once it exists.
const VARIABLE: &str = "MULTIPROC_TEST_EXIT";

const LONG: Duration = Duration::from_secs(20);

struct Way {
    name: &'static str,
    /// What the program does.
    program: fn(&str),
    /// What is done to it from outside, once it is about to end.
    from_outside: Option<Signal>,
    /// Whether the child is waited for.
    waits: bool,
    ends: fn(ExitStatus) -> bool,
}

const WAYS: &[Way] = &[
    Way { name: "return", program: family, from_outside: None, waits: true, ends: |it| it.code() == Some(0) },
    Way { name: "exit", program: exit, from_outside: None, waits: true, ends: |it| it.code() == Some(7) },
    Way { name: "thread", program: thread, from_outside: None, waits: true, ends: |it| it.code() == Some(8) },
    Way { name: "panic", program: panic, from_outside: None, waits: true, ends: |it| it.code() == Some(101) },
    Way { name: "process", program: process, from_outside: None, waits: true, ends: |it| it.code() == Some(0) },
    Way { name: "worker", program: worker, from_outside: None, waits: true, ends: |it| it.code() == Some(0) },
    Way { name: "storm", program: storm, from_outside: None, waits: false, ends: |it| it.code() == Some(0) },
    Way { name: "handler", program: handler, from_outside: None, waits: true, ends: |it| it.code() == Some(0) },
    Way { name: "abort", program: abort, from_outside: None, waits: false, ends: |it| it.signal() == Some(6) },
    Way {
        name: "kill",
        program: stay,
        from_outside: Some(Signal::KILL),
        waits: false,
        ends: |it| it.signal() == Some(9),
    },
    Way {
        name: "term",
        program: stay,
        from_outside: Some(Signal::TERM),
        waits: false,
        ends: |it| it.signal() == Some(15),
    },
    Way {
        name: "ctrl-c",
        program: stay,
        from_outside: Some(Signal::INT),
        waits: false,
        ends: |it| it.signal() == Some(2),
    },
];

/// The child that the program must wait for: it ends once it is let go.
fn wait_for_file(path: String) {
    assert!(eventually(Duration::from_secs(60), || Path::new(&path).exists()), "never let go");
    println!("let go");
}

fn sleep() {
    std::thread::sleep(Duration::from_secs(1000));
}

/// A daemonic process that does not act on SIGTERM, since it has stopped.
fn stop() {
    proc::send_signal(proc::own_pid(), Signal::STOP);
    sleep();
}

/// Starts one of each kind, says so, and drops all handles.
fn family(path: &str) {
    let daemon = Process::builder().daemon(true).spawn(sleep, ()).unwrap();
    let stopped = Process::builder().daemon(true).spawn(stop, ()).unwrap();
    let pool = Pool::new(1).unwrap();
    let worker = pool.worker_pids()[0];
    // As in a `static`: it is never dropped.
    std::mem::forget(pool);
    drop(Process::spawn(wait_for_file, (path.to_owned(),)).unwrap());
    println!("leaving {} {} {worker} {}", daemon.pid(), stopped.pid(), current_process().pid());
}

fn exit(path: &str) {
    family(path);
    std::process::exit(7);
}

/// `exit` on a thread that is not the main one, while that waits.
fn thread(path: &str) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            family(path);
            std::process::exit(8);
        });
    });
}

fn panic(path: &str) {
    family(path);
    panic!("on purpose");
}

/// The same rules hold in a process that has processes itself.
fn process(path: &str) {
    drop(Process::spawn(|path: String| family(&path), (path.to_owned(),)).unwrap());
}

/// And in a worker of a pool that is told that there is no more to do.
fn worker(path: &str) {
    let task = |path: String| {
        drop(Process::spawn(wait_for_file, (path,)).unwrap());
        let daemon = Process::builder().daemon(true).spawn(sleep, ()).unwrap();
        println!("leaving {}", daemon.pid());
    };
    Pool::scope(1, |pool| pool.apply(task, (path.to_owned(),)).unwrap()).unwrap();
}

/// Other threads go on starting processes while it ends.
fn storm(_: &str) {
    for _ in 0..3 {
        std::thread::spawn(|| while Process::spawn(|| (), ()).is_ok() {});
    }
    // Until they are at it.
    assert!(eventually(LONG, || multiproc::active_children().len() > 1));
    println!("leaving {}", current_process().pid());
}

/// A pool that is used by handlers of the exit: one that runs before that of the library, and one that runs behind it.
fn handler(path: &str) {
    static POOL: OnceLock<Pool> = OnceLock::new();
    extern "C" fn use_it() {
        let pool = POOL.get().unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(|x: u64| x + 1, 0..10)));
        println!("in a handler: {result:?}");
    }
    at_exit(use_it);
    family(path);
    POOL.set(Pool::new(2).unwrap()).unwrap();
    at_exit(use_it);
}

fn abort(path: &str) {
    family(path);
    std::process::abort();
}

fn stay(path: &str) {
    family(path);
    sleep();
}

/// The lines that the program and all its descendants print; they end when the last of these has ended.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(way: &Way, path: &Path) -> Program {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(VARIABLE, format!("{}={}", way.name, path.to_str().unwrap()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Program { child, lines }
    }

    /// The numbers behind `leaving`.
    fn leaving(&mut self) -> Vec<i32> {
        let line = self.lines.find_map(|line| Some(line.unwrap().strip_prefix("leaving ")?.to_owned())).unwrap();
        line.split(' ').map(|pid| pid.parse().unwrap()).collect()
    }
}

fn check(way: &Way) {
    let _watchdog = watchdog(60);
    let name = format!("exits-{}-{}", std::process::id(), way.name);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut program = Program::start(way, &path);
    let pids = program.leaving();
    let group = rustix::process::Pid::from_raw(program.child.id() as i32).unwrap();
    match way.from_outside {
        Some(Signal::INT) => rustix::process::kill_process_group(group, Signal::INT).unwrap(),
        Some(signal) => rustix::process::kill_process(group, signal).unwrap(),
        None => {}
    }
    if way.waits {
        // The daemonic ones end although the other is still there.
        assert!(eventually(LONG, || !proc::is_alive(pids[0])), "a daemonic process lives on");
        assert!(program.child.try_wait().unwrap().is_none(), "it has not waited");
        File::create(&path).unwrap();
    }
    let rest: Vec<String> = program.lines.by_ref().map(Result::unwrap).collect();
    assert_eq!(rest.contains(&"let go".to_owned()), way.waits, "{rest:?}");
    let status = program.child.wait().unwrap();
    assert!((way.ends)(status), "{status}");
    let gone = || pids.iter().all(|pid| !proc::is_alive(*pid));
    assert!(eventually(LONG, gone), "something lives on");
    let _ = std::fs::remove_file(&path);
}

fn main() {
    if let Ok(text) = std::env::var(VARIABLE) {
        let (name, path) = text.split_once('=').unwrap();
        let way = WAYS.iter().find(|way| way.name == name).unwrap();
        return (way.program)(path);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What runners ask a test binary for.
    if arguments.iter().any(|it| it == "--list") {
        if !arguments.iter().any(|it| it == "--ignored") {
            WAYS.iter().for_each(|way| println!("{}: test", way.name));
        }
        return;
    }
    let filters: Vec<&String> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let ways = WAYS.iter().filter(|way| filters.is_empty() || filters.iter().any(|it| way.name.contains(it.as_str())));
    for way in ways {
        // A shell that runs a script gives this to what it starts in the background.
        if way.from_outside == Some(Signal::INT) && proc::ignores(Signal::INT) {
            println!("test {} ... ignored, since SIGINT is", way.name);
            continue;
        }
        check(way);
        println!("test {} ... ok", way.name);
    }
}
