//! `_TestProcess`, `_TestSubclassingProcess`, `_TestAtExit`, `_TestPollEintr`: processes one by one.
//!
//! Differences that run through all cases: a process that exists has been started, so that nothing can be asked of one that
//! has not; there is no `authkey`, since nothing connects from outside.
//!
//! - `test_parent_process`: a grandchild cannot see its parent's end, because it ends with it. That is tested instead.
//! - `test_close`: closing is dropping, which detaches, also while the process runs; to use it afterwards does not build.
//! - `test_wait_for_threads`: threads of a child end with its function, as Rust's threads end with `main`. A child waits for
//!   the threads that it joins.
//! - `test_sys_exit`: a text as an exit code is an `Err` of a function given to `try_spawn`.
//! - `_TestSubclassingProcess.test_subclassing`, `test_stderr_flush`: a function takes the place of a subclass; Rust's stderr
//!   has no buffer.

use super::common::alone::{alone, is_program, program};
use super::common::proc::{eventually, is_alive, own_pid};
use super::common::signals::{at_exit, on_sigusr1};
use super::common::watchdog::watchdog;
use multiproc::{Process, ProcessHandle, RawArray, RawValue, active_children, current_process, parent_process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

fn sleep_long() {
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
fn test_current() {
    let _watchdog = watchdog(60);
    let current = current_process();
    assert_eq!((current.name(), current.pid(), current.daemon()), ("MainProcess", own_pid(), false));
    assert!(parent_process().is_none());
    // In a child it is the very process that was started.
    let process = Process::builder().name("reader").spawn(|| current_process().pid(), ()).unwrap();
    assert_eq!(process.name(), "reader");
    let pid = process.pid();
    assert_eq!(process.join().unwrap(), pid);
}

#[test]
fn test_parent_process() {
    let _watchdog = watchdog(60);
    let told = RawArray::<i32>::new(3);
    let middle = |told: RawArray<i32>| {
        let grandchild = |told: RawArray<i32>| {
            let parent = parent_process().unwrap();
            told.set(1, parent.pid());
            told.set(2, i32::from(parent.is_alive() && !parent.wait_timeout(Duration::ZERO).unwrap()));
            // Last: it says that the rest is there.
            told.set(0, own_pid());
            parent.wait_timeout(Duration::from_secs(1000)).unwrap()
        };
        Process::spawn(grandchild, (told,)).unwrap().join().unwrap()
    };
    let middle = Process::spawn(middle, (told.clone(),)).unwrap();
    assert!(eventually(SOON, || told.get(0) != 0));
    assert_eq!((told.get(1), told.get(2)), (middle.pid(), 1));
    assert!(is_alive(told.get(0)));
    middle.terminate();
    middle.wait();
    assert!(eventually(SOON, || !is_alive(told.get(0))));
}

/// Whether it is among the active children.
fn is_active(process: &ProcessHandle) -> bool {
    active_children().iter().any(|it| it.pid() == process.pid())
}

#[test]
fn test_process() {
    let _watchdog = watchdog(60);
    let gate = RawValue::new(0u32);
    let tell = |gate: RawValue<u32>, number: i32, text: String| {
        assert!(eventually(SOON, || gate.get() == 1));
        (number, text, current_process().name().to_owned(), current_process().pid(), current_process().daemon())
    };
    let process = Process::builder().name("Tell").daemon(true);
    let process = process.spawn(tell, (gate.clone(), 23, "bob".to_owned())).unwrap();
    assert!(process.is_alive() && process.exitcode().is_none() && process.daemon() && is_active(&process));
    assert_eq!(process.name(), "Tell");
    gate.set(1);
    process.wait();
    assert!(!process.is_alive() && !is_active(&process));
    assert_eq!(process.exitcode(), Some(0));
    let pid = process.pid();
    assert_eq!(process.join().unwrap(), (23, "bob".to_owned(), "Tell".to_owned(), pid, true));
}

/// Ends a sleeping child in some way.
fn end_with(end: fn(&ProcessHandle), exitcode: i32) {
    let process = Process::spawn(sleep_long, ()).unwrap();
    let start = Instant::now();
    assert!(!process.wait_timeout(Duration::ZERO));
    assert!(process.join_timeout(Duration::ZERO).is_none());
    assert!(start.elapsed() < Duration::from_secs(5) && process.is_alive() && is_active(&process));
    end(&process);
    process.wait();
    assert!(!process.is_alive() && !is_active(&process));
    assert_eq!(process.exitcode(), Some(exitcode));
    assert_eq!(process.join().unwrap_err().signal(), Some(-exitcode));
}

#[test]
fn test_terminate() {
    let _watchdog = watchdog(60);
    end_with(ProcessHandle::terminate, -15);
}

#[test]
fn test_kill() {
    let _watchdog = watchdog(60);
    end_with(ProcessHandle::kill, -9);
}

/// Python's own handler makes it exit code 1.
#[test]
fn test_interrupt() {
    let _watchdog = watchdog(60);
    end_with(ProcessHandle::interrupt, -2);
}

#[test]
fn test_active_children() {
    let _watchdog = watchdog(60);
    let gate = RawValue::new(0u32);
    let wait = |gate: RawValue<u32>| assert!(eventually(SOON, || gate.get() == 1));
    let process = Process::spawn(wait, (gate.clone(),)).unwrap();
    assert!(is_active(&process));
    gate.set(1);
    process.wait();
    assert!(!is_active(&process));
}

/// Writes its number down and starts two children, one after the other; a number has a digit for each generation.
fn recurse(number: u32, told: RawArray<u32>, next: RawValue<u32>) {
    told.set(next.fetch_add(1) as usize, number);
    for child in [1, 2] {
        if number < 10 {
            Process::spawn(recurse, (10 * number + child, told.clone(), next.clone())).unwrap().join().unwrap();
        }
    }
}

#[test]
fn test_recursion() {
    let _watchdog = watchdog(60);
    let (told, next) = (RawArray::new(16), RawValue::new(0));
    recurse(0, told.clone(), next.clone());
    assert_eq!(told.read(..next.get() as usize), [0, 1, 11, 12, 2, 21, 22]);
}

#[test]
fn test_sentinel() {
    let _watchdog = watchdog(60);
    let gate = RawValue::new(0u32);
    let wait = |gate: RawValue<u32>| assert!(eventually(SOON, || gate.get() == 1));
    let process = Process::spawn(wait, (gate.clone(),)).unwrap();
    assert!(process.sentinel().as_raw_fd() >= 0);
    let is_ready = |timeout: Duration| {
        let mut fds = [PollFd::from_borrowed_fd(process.sentinel(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::try_from(timeout).unwrap())).unwrap() == 1
    };
    assert!(!is_ready(Duration::ZERO));
    gate.set(1);
    assert!(is_ready(SOON));
    assert!(!process.is_alive());
}

#[test]
fn test_close() {
    let _watchdog = watchdog(60);
    let process = Process::spawn(sleep_long, ()).unwrap();
    let pid = process.pid();
    let other = active_children().into_iter().find(|it| it.pid() == pid).unwrap();
    drop(process);
    assert!(is_alive(pid) && other.is_alive());
    other.kill();
    other.wait();
    // Of one that has ended everything may still be asked, and nothing is an error.
    other.terminate();
    other.wait();
    assert_eq!((other.is_alive(), other.exitcode()), (false, Some(-9)));
}

#[test]
fn test_many_processes() {
    let _watchdog = watchdog(120);
    let all: Vec<_> = (0..100).map(|_| Process::spawn(|| (), ()).unwrap()).collect();
    for process in all {
        process.wait();
        assert_eq!(process.exitcode(), Some(0));
    }
    let all: Vec<_> = (0..100).map(|_| Process::spawn(sleep_long, ()).unwrap()).collect();
    all.iter().for_each(|process| process.terminate());
    for process in all {
        process.wait();
        assert_eq!(process.exitcode(), Some(-15));
    }
}

#[test]
fn test_child_fd_inflation() {
    if !alone("process::test_child_fd_inflation") {
        return;
    }
    let _watchdog = watchdog(60);
    let alive = RawValue::new(0u32);
    let count = |alive: RawValue<u32>| {
        alive.fetch_add(1);
        assert!(eventually(SOON, || alive.get() == 5));
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    };
    let all: Vec<_> = (0..5).map(|_| Process::spawn(count, (alive.clone(),)).unwrap()).collect();
    let counts = multiproc::join_all(all).unwrap();
    assert_eq!(counts, [counts[0]; 5]);
}

#[test]
fn test_wait_for_threads() {
    let _watchdog = watchdog(60);
    let event = RawValue::new(0u32);
    let work = |event: RawValue<u32>| {
        std::thread::spawn(sleep_long);
        let joined = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            event.set(1);
        });
        joined.join().unwrap();
    };
    let process = Process::spawn(work, (event.clone(),)).unwrap();
    assert!(process.wait_timeout(SOON));
    assert_eq!((process.exitcode(), event.get()), (Some(0), 1));
}

#[test]
fn test_sys_exit() {
    const NAME: &str = "process::test_sys_exit";
    if is_program(NAME) {
        for code in [1, 0, 8] {
            let process = Process::spawn(|code: i32| -> () { std::process::exit(code) }, (code,)).unwrap();
            process.wait();
            assert_eq!(process.exitcode(), Some(code));
        }
        let returned = Process::spawn(|| (), ()).unwrap();
        returned.wait();
        assert_eq!(returned.exitcode(), Some(0));
        let ends = |text: String| -> Result<(), String> { Err(text) };
        let text = Process::try_spawn(ends, ("ignore this".to_owned(),)).unwrap();
        text.wait();
        assert_eq!(text.exitcode(), Some(1));
        let error = text.join().unwrap_err();
        assert!(error.is_error() && error.to_string().contains("ignore this"), "{error}");
        return;
    }
    let _watchdog = watchdog(60);
    let output = program(NAME).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.ends_with(": ignore this\n"), "{error}");
}

static PATH: OnceLock<String> = OnceLock::new();

extern "C" fn write_file() {
    std::fs::write(PATH.get().unwrap(), "deadbeef").unwrap();
}

#[test]
fn test_atexit() {
    let _watchdog = watchdog(60);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("atexit-{}", own_pid()));
    let register = |path: String, exit: bool| {
        PATH.set(path).unwrap();
        at_exit(write_file);
        if exit {
            std::process::exit(0);
        }
    };
    for exit in [false, true] {
        let process = Process::spawn(register, (path.to_str().unwrap().to_owned(), exit)).unwrap();
        process.wait();
        assert_eq!(process.exitcode(), Some(0));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "deadbeef");
        std::fs::remove_file(&path).unwrap();
    }
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_signal(_: i32) {
    SIGNALS.fetch_add(1, SeqCst);
}

// `_TestPollEintr.test_poll_eintr`
#[test]
fn test_poll_eintr() {
    if !alone("process::test_poll_eintr") {
        return;
    }
    let _watchdog = watchdog(60);
    on_sigusr1(count_signal);
    let disturb = |pid: i32| {
        for _ in 0..20 {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::USR1).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        7
    };
    let process = Process::spawn(disturb, (own_pid(),)).unwrap();
    process.wait();
    assert_eq!((process.exitcode(), process.join().unwrap()), (Some(0), 7));
    assert!(SIGNALS.load(SeqCst) > 0);
}
