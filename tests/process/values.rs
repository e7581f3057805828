//! What goes into a process and comes out of it: arguments, results, panics, errors.

use super::common::alone::alone;
use super::common::starts::starting;
use super::common::watchdog::watchdog;
use multiproc::{Pool, Process, RemoteError};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::error::Error as _;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    name: String,
    lines: Vec<(u32, f64)>,
    note: Option<Box<Order>>,
}

#[test]
fn values_of_all_sizes_travel_both_ways() {
    let _watchdog = watchdog(60);
    let order = Order { name: "outer".to_owned(), lines: vec![(1, 2.5), (3, -1.0)], note: None };
    let order = Order { note: Some(Box::new(order.clone())), ..order };
    let echo = |order: Order, twice: bool| (order, twice);
    assert_eq!(starting().spawn(echo, (order.clone(), true)).unwrap().join().unwrap(), (order, true));
    for len in [0, 1, 16_000, 16_384, 16_385, 65_536, 70_000, 8 << 20] {
        let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let text = "x".repeat(len);
        let process = starting().spawn(|bytes: Vec<u8>, text: String| (bytes, text), (bytes.clone(), text.clone()));
        assert!(process.unwrap().join().unwrap() == (bytes, text), "{len}");
    }
}

#[allow(clippy::too_many_arguments, reason = "as many as there may be")]
fn count(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8) -> u8 {
    a + b + c + d + e + f + g + h + i + j + k + l
}

#[test]
fn functions_take_up_to_twelve_arguments() {
    let _watchdog = watchdog(60);
    assert_eq!(starting().spawn(count, (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)).unwrap().join().unwrap(), 12);
    starting().spawn(|| (), ()).unwrap().join().unwrap();
}

#[test]
fn a_result_can_be_had_again_and_by_many_threads() {
    let _watchdog = watchdog(60);
    let process = starting().spawn(|| vec![7u64; 100_000], ()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                process.wait();
                for _ in 0..3 {
                    let value = process.join_timeout(Duration::ZERO).unwrap().unwrap();
                    assert!(value == vec![7; 100_000]);
                }
            });
        }
    });
    assert_eq!(process.join().unwrap().len(), 100_000);
}

#[test]
fn a_panic_is_exit_code_1_and_the_error_of_join() {
    // What its processes complain of would fill the screen.
    if !alone("values::a_panic_is_exit_code_1_and_the_error_of_join") {
        return;
    }
    let _watchdog = watchdog(60);
    let picky = |x: i32| {
        assert!(x > 0, "{x} is too small");
        x
    };
    let process = starting().name("picky").spawn(picky, (-1,)).unwrap();
    let pid = process.pid();
    process.wait();
    assert_eq!(process.exitcode(), Some(1));
    let error = process.join().unwrap_err();
    assert!(error.is_panic() && !error.is_error() && !error.is_lost());
    assert_eq!((error.message(), error.name(), error.pid()), (Some("-1 is too small"), "picky", pid));
    assert!(error.location().unwrap().contains("values.rs:"), "{error}");
    assert!(error.function().contains("a_panic_is_exit_code_1"), "{error}");
    assert!(error.to_string().starts_with(&format!("process picky ({pid}) panicked at tests/process/values.rs:")));

    // Also when it does not fit into a message.
    let process = starting().spawn(|| -> () { panic!("{}", "x".repeat(200_000)) }, ()).unwrap();
    assert_eq!(process.join().unwrap_err().message().unwrap().len(), 200_000);
    let process = starting().spawn(|| -> () { std::panic::panic_any(5u8) }, ()).unwrap();
    assert_eq!(process.join().unwrap_err().message(), Some("a value that is no text"));
}

#[test]
fn an_err_is_exit_code_1_and_keeps_its_causes() {
    // What its processes complain of would fill the screen.
    if !alone("values::an_err_is_exit_code_1_and_keeps_its_causes") {
        return;
    }
    let _watchdog = watchdog(60);
    let read = |path: String| std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"));
    let process = starting().try_spawn(read, ("/no such file".to_owned(),)).unwrap();
    process.wait();
    assert_eq!(process.exitcode(), Some(1));
    let error = multiproc::Error::from(process.join().unwrap_err());
    assert!(error.process().unwrap().is_error() && error.task().is_none());
    assert!(error.to_string().ends_with("failed: /no such file: No such file or directory (os error 2)"), "{error}");
    assert!(error.source().unwrap().is::<RemoteError>());
    // Errors are plain data: a process can return one.
    let process = starting().spawn(|| starting().spawn(|| -> () { std::process::abort() }, ())?.join_error(), ());
    let inner = process.unwrap().join().unwrap().unwrap();
    assert_eq!(inner.signal(), Some(6));
}

trait JoinError {
    fn join_error(self) -> multiproc::Result<multiproc::ProcessError>;
}

impl JoinError for Process<()> {
    fn join_error(self) -> multiproc::Result<multiproc::ProcessError> {
        Ok(self.join().unwrap_err())
    }
}

/// A value that misbehaves on its way, at the place that its text names.
#[derive(Debug, PartialEq)]
struct Fickle(String);

fn fickle(text: &str) -> Fickle {
    Fickle(text.to_owned())
}

fn is_child() -> bool {
    multiproc::parent_process().is_some()
}

impl Serialize for Fickle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.as_str(), is_child()) {
            ("refuse to leave", false) | ("refuse to return", true) => Err(S::Error::custom("no")),
            ("panic on leaving", false) | ("panic on returning", true) => panic!("on leaving"),
            (text, _) => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fickle, D::Error> {
        let text = String::deserialize(deserializer)?;
        match (text.as_str(), is_child()) {
            ("refuse in child", true) | ("refuse at home", false) => Err(D::Error::custom("no")),
            ("panic in child", true) | ("panic at home", false) => panic!("on arrival"),
            _ => Ok(Fickle(text)),
        }
    }
}

#[test]
fn a_value_that_does_not_travel_is_an_error() {
    // What its processes complain of would fill the screen.
    if !alone("values::a_value_that_does_not_travel_is_an_error") {
        return;
    }
    let _watchdog = watchdog(60);
    let spawn = |text: &str| starting().spawn(|it: Fickle| it, (fickle(text),));
    assert_eq!(spawn("fine").unwrap().join().unwrap(), fickle("fine"));
    let error = spawn("refuse to leave").unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("could not be serialised"), "{error}");
    assert!(std::panic::catch_unwind(|| spawn("panic on leaving").map(drop)).is_err());
    for (text, code) in [("refuse in child", 1), ("refuse at home", 0), ("panic at home", 0)] {
        let process = spawn(text).unwrap();
        process.wait();
        assert_eq!(process.exitcode(), Some(code), "{text}");
        let error = process.join().unwrap_err();
        assert!(error.is_decode(), "{text}: {error}");
    }
    let error = spawn("panic in child").unwrap().join().unwrap_err();
    assert!(error.is_panic() && error.message() == Some("on arrival"), "{error}");
    let error = spawn("refuse to return").unwrap().join().unwrap_err();
    assert!(error.is_encode(), "{error}");
    let error = spawn("panic on returning").unwrap().join().unwrap_err();
    assert!(error.is_panic(), "{error}");
}

/// The control socket of this process.
fn control_socket() -> OwnedFd {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let is_socket = |fd: &i32| {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    let number = (3..64).find(is_socket).expect("a control socket");
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(own, number, PidfdGetfdFlags::empty()).unwrap()
}

/// What every message of the library begins with.
const MARK: [u8; 8] = *b"\x93mproc\x1a\x02";

/// How messages name the variant of an enum.
fn name(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// Says something else on the control socket of this process than the library would, before it does.
fn lie(what: Vec<u8>) -> u32 {
    // A message too long for the buffer is refused here, and so not heard.
    let _ = rustix::io::write(control_socket(), &[&MARK[..], &what].concat());
    7
}

/// Says that a terabyte tells what has gone wrong.
fn exaggerate() -> u32 {
    use rustix::fs::{MemfdFlags, SealFlags};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let file = rustix::fs::memfd_create("lie", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&file, 1 << 40).unwrap();
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut files = SendAncillaryBuffer::new(&mut space);
    let fds = [file.as_fd()];
    assert!(files.push(SendAncillaryMessage::ScmRights(&fds)));
    let message = [&MARK[..], &name("Failure")[..], &name("File"), &(1u64 << 40).to_le_bytes()].concat();
    rustix::net::sendmsg(control_socket(), &[IoSlice::new(&message)], &mut files, SendFlags::empty()).unwrap();
    7
}

#[test]
fn a_failure_without_end_is_not_read() {
    let _watchdog = watchdog(60);
    let error = starting().spawn(exaggerate, ()).unwrap().join().unwrap_err();
    assert!(error.is_decode() && error.to_string().contains("does not hold what is said of it"), "{error}");
}

#[test]
fn a_process_that_lies_gives_an_error() {
    let _watchdog = watchdog(120);
    let mut random = 42u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let with =
        |names: &[&str], rest: &[u8]| [&names.iter().flat_map(|it| name(it)).collect::<Vec<u8>>()[..], rest].concat();
    let lies = [
        vec![0xff; 3],
        vec![0],
        with(&["Value"], &[]),
        with(&["Value", "Inline"], &[200]),
        with(&["Value", "File"], &[1; 8]),
        with(&["Handles", "Inline"], &[2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        with(&["Failure", "Inline"], &[3, 1, 1, 1]),
        vec![0; 65_537],
    ];
    let noise = (0..40).map(|_| (0..1 + next() % 40).map(|_| (next() % 4) as u8).collect::<Vec<u8>>());
    for what in lies.into_iter().chain(noise.collect::<Vec<_>>()) {
        let process = starting().spawn(lie, (what.clone(),)).unwrap();
        match process.join() {
            // A lie that is no nonsense cannot be told from the truth: it has the form of a result.
            Ok(_) => assert!(what.len() >= 6 && what[..2] == [0, 0], "{what:?}"),
            Err(error) => assert!(!error.to_string().is_empty(), "{what:?}"),
        }
    }
}

/// Writes to the control socket of this process as code does that takes its descriptor for another one.
fn write_astray(times: usize) -> usize {
    let socket = control_socket();
    rustix::io::ioctl_fionbio(&socket, true).unwrap();
    let write = || rustix::io::write(&socket, b"status: ok\n").is_ok();
    let mut written = 0;
    while written < times {
        if !write() {
            // The socket is full for good only when nobody reads any more: the parent takes what comes behind `Ready`.
            // The kernel says that there is room only when three quarters are free, so one more write has to tell.
            let mut room = [PollFd::new(&socket, PollFlags::OUT)];
            let patience = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
            rustix::event::poll(&mut room, Some(&patience)).unwrap();
            if !write() {
                break;
            }
        }
        written += 1;
    }
    written
}

#[test]
fn stray_lines_on_the_control_socket_cost_nothing() {
    let _watchdog = watchdog(60);
    assert_eq!(starting().spawn(write_astray, (20,)).unwrap().join().unwrap(), 20);
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(write_astray, (20,)).unwrap(), 20);
    // This takes a message on that socket.
    assert_eq!(pool.apply(|| vec![7u8; 80 << 20], ()).unwrap().len(), 80 << 20);
}

#[test]
fn a_full_control_socket_hangs_nobody() {
    let _watchdog = watchdog(60);
    let process = starting().spawn(write_astray, (1 << 20,)).unwrap();
    let error = process.join().unwrap_err();
    assert!(error.is_lost() && error.exit_code() == Some(1), "{error}");
    let pool = Pool::new(1).unwrap();
    assert!(pool.apply(write_astray, (1 << 20,)).unwrap() > 20);
    let error = pool.apply(|| vec![7u8; 80 << 20], ()).unwrap_err();
    assert!(error.task().unwrap().is_worker_lost(), "{error}");
    assert_eq!(pool.apply(|| 5, ()).unwrap(), 5);
}
