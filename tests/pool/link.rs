//! What a program and its tasks may do to a link: run out of descriptors, interrupt, write nonsense, leave it open. Over each
//! kind of link.

use super::common::alone::{alone, is_program, passes, program};
use super::common::descriptors::{close_standard, hoard, open_standard};
use super::common::links::{HANDLES, on_each_link, on_nodes};
use super::common::proc::{self, eventually, holdings};
use super::common::scratch::Scratch;
use super::common::signals;
use multiproc::{LinkKind, Pool, TaskError};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

fn large(len: usize) -> Vec<u8> {
    vec![7; len]
}

fn die_if(dies: bool) -> bool {
    if dies {
        std::process::abort();
    }
    dies
}

#[test]
fn signals_that_interrupt_every_thread_of_the_program_change_nothing() {
    if !alone("link::signals_that_interrupt_every_thread_of_the_program_change_nothing") {
        return;
    }
    signals::interrupt_on_sigusr1();
    on_each_link(120, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
                        let id = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
                        signals::send_sigusr1_to_thread(id);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let vectors = pool.tasks(large, [300_000; 100]).chunksize(1).run().unwrap();
            assert!(vectors.iter().all(|vector| vector.len() == 300_000));
            assert!(pool.apply(die_if, (true,)).is_err());
            assert_eq!(pool.apply(large, (5,)).unwrap(), [7; 5]);
            over.store(true, Relaxed);
        });
    });
}

#[test]
fn a_large_result_without_a_descriptor_for_it_costs_its_task_at_most() {
    if !alone("link::a_large_result_without_a_descriptor_for_it_costs_its_task_at_most") {
        return;
    }
    on_each_link(120, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let pids = pool.worker_pids();
        let hoard = hoard();
        for len in [300_000, 80 << 20] {
            match pool.apply(large, (len,)) {
                Ok(bytes) => assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == 7)),
                Err(error) => {
                    assert!(error.task().is_some_and(TaskError::is_decode), "{error}");
                    let text = error.to_string();
                    assert!(text.contains("it could not be received") && text.contains("Too many open"), "{text}");
                }
            }
        }
        drop(hoard);
        assert_eq!(pool.apply(large, (80 << 20,)).unwrap().len(), 80 << 20);
        assert_eq!(pool.worker_pids(), pids);
    });
}

/// Takes all descriptors of this worker, and returns more than fits its link.
fn hoarding_worker(len: usize) -> Vec<u8> {
    let result = large(len);
    std::mem::forget(hoard());
    result
}

#[test]
fn a_worker_without_descriptors_tells_of_a_result_that_it_cannot_send() {
    on_each_link(60, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let pids = pool.worker_pids();
        match pool.apply(hoarding_worker, (80 << 20,)) {
            Ok(bytes) => assert_eq!(bytes.len(), 80 << 20),
            Err(error) => {
                assert!(error.task().is_some_and(TaskError::is_encode), "{error}");
                let text = error.to_string();
                assert!(text.contains("it cannot be sent") && text.contains("Too many open"), "{text}");
            }
        }
        assert_eq!(pool.apply(large, (5,)).unwrap(), [7; 5]);
        assert_eq!(pool.worker_pids(), pids);
    });
}

/// Copies of the sockets of this process: what a worker talks to its pool by.
fn own_sockets() -> Vec<OwnedFd> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().map(|it| it.unwrap().path());
    let is_socket = |path: &std::path::PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    let numbers: Vec<i32> =
        entries.filter(is_socket).map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect();
    let copy = |number| rustix::process::pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).ok();
    numbers.into_iter().filter_map(copy).collect()
}

/// Starts a program that outlives this worker and has copies of all its sockets, and of its output if that is captured. Returns
/// its process id.
fn leave_a_daemon(is_captured: bool) -> i32 {
    for copy in own_sockets() {
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
        // It is inherited.
        std::mem::forget(copy);
    }
    let mut command = Command::new("sleep");
    if !is_captured {
        // It would be that of this test, which is waited for.
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    command.arg("600").spawn().unwrap().id() as i32
}

/// The threads of the library in this process.
fn threads() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/task").unwrap();
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry.unwrap().path().join("comm")).ok();
    entries.filter_map(name).filter(|name| name.starts_with("multiproc-")).collect()
}

#[test]
fn what_the_daemon_of_a_task_keeps_open_costs_the_program_nothing() {
    if on_nodes("what a daemon keeps open is that of its agent") {
        return;
    }
    if !alone("link::what_the_daemon_of_a_task_keeps_open_costs_the_program_nothing") {
        return;
    }
    on_each_link(120, |builder| {
        let first = holdings();
        // The first pool makes what a process has once.
        drop(builder().processes(1).on_output(|_| ()).build().unwrap());
        let is_over = || threads().is_empty() && holdings().has_no_children_since(&first);
        assert!(eventually(Duration::from_secs(20), is_over), "{:?} {:?}", threads(), holdings());
        let before = holdings();
        for is_captured in [false, true] {
            // They stay although their workers end.
            let builder = builder().processes(2).end_descendants(false);
            let builder = if is_captured { builder.on_output(|_| ()) } else { builder };
            let pool = builder.build().unwrap();
            let daemons = pool.map(leave_a_daemon, [is_captured; 2]).unwrap();
            // A worker that dies is replaced, whoever has its sockets.
            assert!(pool.apply(die_if, (true,)).is_err());
            assert_eq!(pool.map(die_if, [false; 10]).unwrap(), [false; 10]);
            drop(pool);
            let is_over = || threads().is_empty() && holdings() == before;
            let is_over = eventually(Duration::from_secs(20), is_over);
            assert!(daemons.into_iter().all(proc::kill), "a daemon has ended before");
            assert!(is_over, "{:?} {:?}\n{before:?}", threads(), holdings());
        }
    });
}

/// Closes the sockets of this worker, or writes nonsense into them, and lives on for some time.
fn fall_silent_for(time: Duration, nonsense: Option<u8>) {
    for socket in own_sockets() {
        // The pool may have closed the other end since it has seen the nonsense on another socket.
        let _ = match nonsense {
            Some(byte) => rustix::net::send(&socket, &[byte; 200], rustix::net::SendFlags::NOSIGNAL).map(drop),
            None => rustix::net::shutdown(&socket, rustix::net::Shutdown::Both),
        };
    }
    std::thread::sleep(time);
}

/// Does so for good.
fn fall_silent(nonsense: Option<u8>) {
    fall_silent_for(Duration::from_secs(600), nonsense);
}

#[test]
fn a_worker_that_closes_its_sockets_and_lives_on_is_lost() {
    on_each_link(60, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let error = pool.apply(fall_silent, (None,)).unwrap_err();
        assert!(error.task().unwrap().is_worker_lost(), "{error}");
        assert_eq!(pool.apply(large, (5,)).unwrap(), [7; 5]);
    });
}

#[test]
fn nonsense_on_the_sockets_of_a_worker_costs_its_task_at_most() {
    on_each_link(60, |builder| {
        for byte in [0, 0x93, 0xa5, 0xff] {
            let pool = builder().processes(1).build().unwrap();
            let error = pool.task(fall_silent, (Some(byte),)).timeout(Duration::from_secs(2)).run().unwrap_err();
            let task = error.task().unwrap();
            // A ring has none of its messages there.
            assert!(task.is_worker_lost() || task.is_timeout(), "{error}");
            assert_eq!(pool.apply(large, (5,)).unwrap(), [7; 5]);
        }
    });
}

/// An initializer that writes nonsense where the worker would answer, once the file is there.
fn scribble(path: String) {
    if std::path::Path::new(&path).exists() {
        fall_silent_for(Duration::from_millis(200), Some(0xa5));
    }
}

/// The same, and is ready before anybody has read it.
fn scribble_and_go_on(path: String) {
    if std::path::Path::new(&path).exists() {
        fall_silent_for(Duration::ZERO, Some(0xa5));
    }
}

#[test]
fn workers_that_write_nonsense_before_they_are_ready_break_their_pool() {
    let _watchdog = super::common::watchdog::watchdog(60);
    let path = Scratch::new("nonsense");
    let said = || (path.text().to_owned(),);
    let builder = || Pool::builder().processes(1).link(LinkKind::Channel);
    for builder in [builder().initializer(scribble, said()), builder().initializer(scribble_and_go_on, said())] {
        let pool = builder.build().unwrap();
        File::create(&path).unwrap();
        // The second call may find its worker ready, and is handed from it to the next one.
        let broken = || pool.apply(die_if, (true,)).is_err_and(|error| error.is_broken());
        let is_broken = eventually(Duration::from_secs(30), broken);
        std::fs::remove_file(&path).unwrap();
        assert!(is_broken, "workers are started for ever");
    }
}

#[test]
fn a_pool_needs_no_temporary_folder() {
    if on_nodes(HANDLES) {
        return;
    }
    let name = "link::a_pool_needs_no_temporary_folder";
    if !is_program(name) {
        let mut program = program(name);
        program.env("TMPDIR", "/nonexistent");
        return passes(name, program);
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(1).build().unwrap();
        assert!(pool.apply(die_if, (true,)).is_err());
        assert_eq!(pool.apply(large, (5,)).unwrap(), [7; 5]);
        // Ends of ipc-channel need it, which is the error of their task.
        let (sender, _receiver) = multiproc::ipc_channel::ipc::channel::<u8>().unwrap();
        let error = pool.apply(|_: multiproc::ipc_channel::ipc::IpcSender<u8>| (), (sender,)).unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
        assert_eq!(pool.apply(large, (5,)).unwrap(), [7; 5]);
    });
}

/// Makes one pool after the other over each link, and says so.
fn make_pools() {
    for round in 0.. {
        let link = if round % 2 == 0 { LinkKind::Ring } else { LinkKind::Channel };
        let pool = Pool::builder().processes(2).link(link).build().unwrap();
        pool.map(die_if, [false; 10]).unwrap();
        println!("made a pool");
    }
}

#[test]
fn a_program_that_is_killed_leaves_no_name() {
    let name = "link::a_program_that_is_killed_leaves_no_name";
    if is_program(name) {
        return make_pools();
    }
    let _watchdog = super::common::watchdog::watchdog(60);
    let folder = Scratch::new("names");
    std::fs::create_dir(&folder).unwrap();
    for pools in 1..6 {
        let mut child = program(name).env("TMPDIR", &*folder).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.filter(|line| line.as_ref().unwrap().contains("made a pool")).take(pools).count(), pools);
        // While the next one is being made.
        child.kill().unwrap();
        child.wait().unwrap();
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(names.is_empty(), "{names:?}");
    }
}

#[test]
fn descriptors_that_the_program_has_closed_stay_closed() {
    if on_nodes("workers inherit from agents, which have standard streams") {
        return;
    }
    if !alone("link::descriptors_that_the_program_has_closed_stay_closed") {
        return;
    }
    on_each_link(60, |builder| {
        let closed = close_standard();
        let trace = Scratch::new("closed.json");
        let pool = builder().processes(2).on_output(|_| ()).trace_to(&trace).build().unwrap();
        let with_pool = open_standard();
        let vectors = pool.map(large, [5, 300_000, 80 << 20]).unwrap();
        let lost = pool.apply(die_if, (true,)).unwrap_err();
        let values = pool.map(die_if, [false; 10]).unwrap();
        let process = multiproc::Process::spawn(open_standard, ()).unwrap().join();
        let lock = multiproc::Lock::try_new().map(|lock| lock.lock().is_ok());
        let in_workers = builder().processes(1).build().unwrap().apply(open_standard, ());
        let in_the_end = open_standard();
        drop(pool);
        drop(closed);
        assert_eq!((with_pool, in_the_end), (vec![], vec![]));
        assert_eq!(vectors.iter().map(Vec::len).collect::<Vec<_>>(), [5, 300_000, 80 << 20]);
        assert!(lost.task().unwrap().is_worker_lost() && values == [false; 10] && lock.unwrap(), "{lost}");
        // Children have something there, so that what they open gets other numbers.
        assert_eq!((process.unwrap(), in_workers.unwrap()), (vec![0, 1, 2], vec![0, 1, 2]));
    });
}

/// An initializer that closes all that it knows nothing of.
fn close_sockets() {
    for socket in own_sockets() {
        let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
    }
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_start_that_fails_says_why() {
    on_each_link(60, |builder| {
        let error = builder().processes(1).on_output(|_| ()).initializer(close_sockets, ()).build().unwrap_err();
        // It says so itself, or its parent does: a template has no thread that would look.
        let says = |text| error.to_string().contains(text);
        assert!(
            error.is_start() && (says("its control socket was closed") || says("has closed its control socket")),
            "{error}"
        );
        // The sockets of a process that ends are closed as well.
        let error = builder().processes(1).initializer(|| -> () { std::process::exit(3) }, ()).build().unwrap_err();
        assert!(error.is_start() && error.to_string().contains("exited with code 3 before it was ready"), "{error}");
    });
}

#[test]
fn workers_start_when_there_are_descriptors_again() {
    if !alone("link::workers_start_when_there_are_descriptors_again") {
        return;
    }
    on_each_link(120, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let hoard = hoard();
        // As many starts fail at once as would break the pool one after the other.
        pool.resize(8).unwrap();
        drop(hoard);
        assert_eq!(pool.map(large, 0..100).unwrap().len(), 100);
        assert!(eventually(Duration::from_secs(20), || pool.worker_pids().len() == 8), "{}", pool.stats());
        assert_eq!(pool.map(die_if, [false; 100]).unwrap(), [false; 100]);
    });
}

#[test]
fn a_pool_breaks_when_there_are_no_descriptors_for_long() {
    if on_nodes("agents have descriptors of their own") {
        return;
    }
    if !alone("link::a_pool_breaks_when_there_are_no_descriptors_for_long") {
        return;
    }
    on_each_link(120, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let hoard = hoard();
        pool.resize(3).unwrap();
        let broken = || {
            let result = pool.apply(die_if, (false,));
            result.is_err_and(|error| {
                let text = error.to_string();
                error.is_broken() && text.contains("could not start") && text.contains("the limit on open files")
            })
        };
        let is_broken = eventually(Duration::from_secs(20), broken);
        drop(hoard);
        assert!(is_broken, "{:?}", pool.apply(die_if, (false,)));
    });
}

/// With MULTIPROC_LONG=1, since it takes some gigabytes of memory.
#[test]
fn values_of_more_than_two_gigabytes_travel_both_ways() {
    if std::env::var_os("MULTIPROC_LONG").is_none() {
        return;
    }
    const LEN: usize = 2_300_000_000;
    on_each_link(300, |builder| {
        let pool = builder().processes(1).max_result_bytes(3 << 30).build().unwrap();
        let bytes = pool.apply(large, (LEN,)).unwrap();
        assert!(bytes.len() == LEN && bytes.iter().all(|byte| *byte == 7));
        let look = |bytes: Vec<u8>| (bytes.len(), bytes[LEN - 1]);
        assert_eq!(pool.apply(look, (bytes,)).unwrap(), (LEN, 7));
    });
}
