//! How processes end: exit codes, signals, deadlines.

use super::common::alone::{alone_by, is_program, program};
use super::common::fork::go_on_in_both;
use super::common::proc::{self, eventually};
use super::common::starts::starting;
use super::common::watchdog::watchdog;
use multiproc::{Process, ProcessHandle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(1000);

fn sleeper() -> Process<()> {
    starting().spawn(|| std::thread::sleep(LONG), ()).unwrap()
}

#[test]
fn every_exit_code_comes_back() {
    let _watchdog = watchdog(60);
    for code in [0, 1, 8, 77, 255] {
        let process = starting().spawn(|code: i32| -> () { std::process::exit(code) }, (code,)).unwrap();
        process.wait();
        assert_eq!(process.exitcode(), Some(code));
        let error = process.join().unwrap_err();
        assert!(error.is_lost() && error.exit_code() == Some(code) && error.signal().is_none(), "{error}");
    }
    let process = starting().spawn(|| 5, ()).unwrap();
    process.wait();
    assert_eq!(process.exitcode(), Some(0));
}

#[test]
fn a_fork_reports_nothing() {
    let _watchdog = watchdog(60);
    // What the fork would say comes first: the original waits for its end.
    let returns = starting().spawn(|| go_on_in_both().unwrap_or(99), ()).unwrap();
    assert_eq!(returns.join().unwrap(), 0);
    let panics = starting().spawn(|| go_on_in_both().unwrap(), ()).unwrap();
    assert_eq!(panics.join().unwrap(), 0);
}

fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 256]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + room[7] }
}

#[test]
fn every_signal_is_a_negative_exit_code() {
    let _watchdog = watchdog(60);
    type Send = fn(&ProcessHandle);
    let cases = [(15, ProcessHandle::terminate as Send), (9, ProcessHandle::kill), (2, ProcessHandle::interrupt)];
    for (signal, send) in cases {
        let process = sleeper();
        assert!(process.is_alive() && process.exitcode().is_none());
        send(&process);
        process.wait();
        assert!(!process.is_alive());
        assert_eq!(process.exitcode(), Some(-signal));
        // To one that has ended it is no error.
        send(&process);
        let error = process.join().unwrap_err();
        assert!(error.is_lost() && error.signal() == Some(signal), "{error}");
    }
    let process = starting().spawn(|| -> () { std::process::abort() }, ()).unwrap();
    assert_eq!(process.join().unwrap_err().signal(), Some(6));
    let process = starting().spawn(overflow, (0,)).unwrap();
    let error = process.join().unwrap_err();
    assert!(error.signal() == Some(11) && error.to_string().contains("stack overflow"), "{error}");
}

#[test]
fn a_wait_with_a_limit_ends_in_time() {
    let _watchdog = watchdog(60);
    let process = sleeper();
    let start = Instant::now();
    assert!(!process.wait_timeout(Duration::ZERO));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!process.wait_timeout(Duration::from_millis(50)));
    assert!(start.elapsed() >= Duration::from_millis(49));
    assert!(process.join_timeout(Duration::from_millis(1)).is_none());
    process.kill();
    assert!(process.wait_timeout(LONG));
    assert!(process.wait_timeout(Duration::ZERO));
    assert!(process.join_timeout(Duration::ZERO).unwrap().is_err());
}

#[test]
fn the_sentinel_becomes_readable_at_the_end() {
    let _watchdog = watchdog(60);
    let process = sleeper();
    let is_ready = |timeout: Duration| {
        let mut fds = [PollFd::from_borrowed_fd(process.sentinel(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::try_from(timeout).unwrap())).unwrap() == 1
    };
    assert!(!is_ready(Duration::from_millis(20)));
    process.terminate();
    assert!(is_ready(LONG));
    let _: std::os::fd::BorrowedFd<'_> = process.as_fd();
}

#[test]
fn a_process_killed_by_a_stranger_is_noticed() {
    let _watchdog = watchdog(60);
    let process = sleeper();
    let pid = process.pid();
    let killer = std::thread::spawn(move || assert!(proc::kill(pid)));
    assert_eq!(process.join().unwrap_err().signal(), Some(9));
    killer.join().unwrap();
}

#[test]
fn many_ended_at_once_all_say_so() {
    let _watchdog = watchdog(120);
    let processes: Vec<Process<()>> = (0..30).map(|_| sleeper()).collect();
    processes.iter().for_each(|process| process.terminate());
    for process in processes {
        process.wait();
        assert_eq!(process.exitcode(), Some(-15));
    }
}

#[test]
fn what_was_published_counts_even_if_the_process_dies_on_its_way_out() {
    let _watchdog = watchdog(60);
    // Its own child keeps it from exiting until it is killed.
    let parent = || {
        drop(sleeper());
        5
    };
    let process = starting().spawn(parent, ()).unwrap();
    let inner = || proc::children_of(process.pid());
    assert!(eventually(Duration::from_secs(20), || !inner().is_empty()));
    let child = inner()[0];
    // Long enough for it to have returned and published, also on a machine under load.
    assert!(!process.wait_timeout(Duration::from_secs(2)), "it does not wait for its child");
    process.kill();
    process.wait();
    assert_eq!(process.exitcode(), Some(-9));
    assert_eq!(process.join().unwrap(), 5);
    assert!(eventually(Duration::from_secs(20), || !proc::is_alive(child)));
}

#[test]
fn results_arrive_although_the_program_ignores_its_children() {
    let _watchdog = watchdog(60);
    let starter = ["env", "--ignore-signal=CHLD"];
    if !alone_by(&starter, "endings::results_arrive_although_the_program_ignores_its_children") {
        return;
    }
    // The kernel reaps its children at once, and their status is lost. What they have said is not.
    assert!(proc::ignores(rustix::process::Signal::CHILD));
    let process = starting().spawn(|| 5, ()).unwrap();
    process.wait();
    assert!(!process.is_alive() && process.exitcode().is_none());
    assert_eq!(process.join().unwrap(), 5);
    let error = starting().spawn(|| -> () { std::process::abort() }, ()).unwrap().join().unwrap_err();
    assert!(error.is_lost() && error.to_string().contains("how is unknown"), "{error}");
}

#[test]
fn standard_input_is_empty() {
    let _watchdog = watchdog(60);
    let read = || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).unwrap();
        (text, std::fs::read_link("/proc/self/fd/0").unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(starting().spawn(read, ()).unwrap().join().unwrap(), (String::new(), "/dev/null".to_owned()));
}

/// Runs this test in a program of its own; what it wrote, and what it complained of.
fn output_of(name: &str) -> (String, String) {
    let output = program(name).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_output_of_a_process_is_written_however_it_ends() {
    const NAME: &str = "endings::the_output_of_a_process_is_written_however_it_ends";
    if is_program(NAME) {
        let print = |text: String, exit: bool| {
            // Without a line feed it stays in the buffer.
            print!("{text}");
            if exit {
                std::process::exit(0);
            }
        };
        starting().spawn(print, ("<returned>".to_owned(), false)).unwrap().wait();
        return starting().spawn(print, ("<exited>".to_owned(), true)).unwrap().wait();
    }
    let _watchdog = watchdog(60);
    let (out, _) = output_of(NAME);
    assert!(out.contains("<returned>") && out.contains("<exited>"), "{out}");
}

#[test]
fn failures_are_reported_on_stderr() {
    const NAME: &str = "endings::failures_are_reported_on_stderr";
    if is_program(NAME) {
        let fail = || Err::<(), _>(std::io::Error::other("x".parse::<i32>().unwrap_err()));
        starting().try_spawn(fail, ()).unwrap().wait();
        starting().name("panics").spawn(|| -> () { panic!("on purpose") }, ()).unwrap().wait();
        return std::io::stdout().flush().unwrap();
    }
    let _watchdog = watchdog(60);
    let (_, error) = output_of(NAME);
    assert!(error.contains("Process Process-1:\nerror: invalid digit found in string\n"), "{error}");
    assert!(error.contains("Process panics:\npanicked at tests/process/endings.rs:"), "{error}");
    assert!(error.contains(":\non purpose\n"), "{error}");
}
