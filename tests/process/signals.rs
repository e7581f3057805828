//! Signals: what children make of them whatever their parent does, and what is left to the program.

use super::common::alone::alone;
use super::common::proc::{Signals, eventually, own_pid, signals_of, signals_of_thread};
use super::common::signals::{block, ignore};
use super::common::starts::starting;
use super::common::watchdog::watchdog;
use multiproc::{Pool, active_children};
use rustix::process::Signal;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(1000);

/// What no library may block: the signals by which a thread hurts itself.
const FAULTS: [Signal; 7] =
    [Signal::SEGV, Signal::BUS, Signal::FPE, Signal::ILL, Signal::TRAP, Signal::SYS, Signal::ABORT];

#[test]
fn children_heed_signals_that_their_parent_blocks_or_ignores() {
    if !alone("signals::children_heed_signals_that_their_parent_blocks_or_ignores") {
        return;
    }
    let _watchdog = watchdog(60);
    let signals = [Signal::TERM, Signal::INT, Signal::USR1, Signal::CHILD];
    block(&signals);
    ignore(&signals);
    let child = || starting().daemon(true).spawn(|| std::thread::sleep(LONG), ()).unwrap();
    let process = child();
    let seen = signals_of_tasks(process.pid());
    assert!(seen.blocked.is_empty() && !signals.iter().any(|it| seen.ignored.contains(it)), "{seen:?}");
    process.terminate();
    process.wait();
    let process = child();
    process.interrupt();
    process.wait();
    // The kernel reaps children of a parent that ignores SIGCHLD; so their status is not known.
    assert!(active_children().is_empty());
    let pool = Pool::new(1).unwrap();
    let seen = signals_of_tasks(pool.worker_pids()[0]);
    assert!(seen.blocked.is_empty() && !signals.iter().any(|it| seen.ignored.contains(it)), "{seen:?}");
    // A program that a task starts is one that the user can end.
    let status = pool.apply(|| Command::new("sh").args(["-c", "kill $$"]).status().unwrap().to_string(), ()).unwrap();
    assert!(status.contains("SIGTERM"), "{status}");
}

/// What stays ignored when a program was started with `nohup`, or in the background.
#[test]
fn what_the_terminal_must_not_do_it_does_not_do_to_children() {
    if !alone("signals::what_the_terminal_must_not_do_it_does_not_do_to_children") {
        return;
    }
    let _watchdog = watchdog(60);
    ignore(&[Signal::HUP, Signal::QUIT]);
    let pool = Pool::new(1).unwrap();
    let seen = signals_of(pool.worker_pids()[0]);
    assert!(seen.ignored.contains(&Signal::HUP) && seen.ignored.contains(&Signal::QUIT), "{seen:?}");
}

#[test]
fn programs_that_a_task_starts_heed_ctrl_c() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    let start = || {
        let command = Command::new("sh").args(["-c", "echo begins; exec sleep 1000"]).stdout(Stdio::piped()).spawn();
        let mut child = command.unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 7]).unwrap();
        let id = i32::try_from(child.id()).unwrap();
        let seen = signals_of(id);
        assert!(super::common::proc::send_signal(id, Signal::INT));
        (seen.ignored.contains(&Signal::INT), seen.blocked.is_empty(), child.wait().unwrap().to_string())
    };
    let (ignored, free, status) = pool.apply(start, ()).unwrap();
    assert!(!ignored && free && status.contains("SIGINT"), "{ignored} {free} {status}");
    // The worker itself goes on.
    let look = || {
        assert!(super::common::proc::send_signal(own_pid(), Signal::INT));
        own_pid()
    };
    assert_eq!(pool.apply(look, ()).unwrap(), pool.worker_pids()[0]);
}

/// The signals of the thread of a child that runs user code: the one after the first.
fn signals_of_tasks(pid: i32) -> Signals {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ids = threads.map(|it| it.unwrap().file_name().to_str().unwrap().parse::<i32>().unwrap());
    let id = ids.filter(|id| *id != pid).min().unwrap();
    signals_of_thread(&format!("{pid}/task/{id}"))
}

fn blocked_by_helpers() -> Vec<Signal> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let all: Vec<Signal> = (1..32).filter_map(Signal::from_named_raw).collect();
        block(&all.into_iter().filter(|it| !FAULTS.contains(it)).collect::<Vec<_>>());
        tell.send(signals_of_thread("thread-self").blocked).unwrap();
    });
    told.recv().unwrap()
}

/// The signals that the threads of the library block in this process, by the names of the threads.
fn threads_of_the_library() -> Vec<(String, Signals)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = entry.unwrap().path();
        // Other threads, such as those of this test, may end between the two looks.
        let Ok(name) = std::fs::read_to_string(path.join("comm")) else { continue };
        if name.starts_with("multiproc") {
            let id = path.file_name().unwrap().to_str().unwrap().to_owned();
            found.push((name.trim().to_owned(), signals_of_thread(&format!("self/task/{id}"))));
        }
    }
    found
}

#[test]
fn a_program_can_wait_for_signals_that_it_blocks() {
    if !alone("signals::a_program_can_wait_for_signals_that_it_blocks") {
        return;
    }
    let _watchdog = watchdog(60);
    // Before the program blocks anything, threads of every kind are there.
    let path = std::env::temp_dir().join(format!("process-signals-{}", own_pid()));
    let pool = Pool::builder().processes(1).link(multiproc::LinkKind::Channel).on_output(|_| ()).trace_to(&path);
    let pool = pool.build().unwrap();
    let (tell, told) = mpsc::channel();
    let called =
        pool.apply_async(|| 1, ()).unwrap().callback(move |_| tell.send(signals_of_thread("thread-self")).unwrap());
    assert_eq!(called.get().unwrap(), 1);
    // User code on such a thread has the signals of a thread of the user's, so that it can start programs.
    assert_eq!(told.recv().unwrap().blocked, signals_of_thread("thread-self").blocked);
    let expected = blocked_by_helpers();
    let all_block = || {
        let threads = threads_of_the_library();
        threads.len() >= 6 && threads.iter().all(|(_, seen)| seen.blocked == expected)
    };
    assert!(eventually(Duration::from_secs(20), all_block), "{:?}", threads_of_the_library());
    drop(pool);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_thread_beside_a_task_leaves_signals_to_it() {
    let _watchdog = watchdog(60);
    let look = || {
        block(&[Signal::TERM]);
        assert!(super::common::proc::send_signal(own_pid(), Signal::TERM));
        signals_of_thread("thread-self").pending.contains(&Signal::TERM)
            || signals_of(own_pid()).pending.contains(&Signal::TERM)
    };
    assert!(starting().spawn(look, ()).unwrap().join().unwrap());
}
