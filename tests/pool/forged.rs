//! Workers that forge their answers: whatever they announce costs their own task, and no memory and no time.

use super::common::proc;
use super::common::watchdog::watchdog;
use super::faults::{FIRST_ANSWER, write_into_link};
use multiproc::{Pool, TaskError};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Publishes the first answer of this worker's link: its kind, place and length, and its payload. It answers the first task
/// of the frame behind the job's header.
fn forge_answer(kind: u64, [start, len, rest]: [u64; 3]) -> ! {
    // The state last: it publishes the rest.
    let words = [1, kind, 1, 1 << 32, 1, start, len, rest].into_iter().enumerate();
    write_into_link(words.rev().map(|(at, word)| (FIRST_ANSWER + 8 * at as u64, word)));
    // Long enough for the pool to hear of it.
    loop {
        std::thread::park();
    }
}

/// The control socket of this worker, among others of its kind.
fn control_sockets() -> Vec<OwnedFd> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    let copies = numbers.filter_map(|number| {
        let number = number.to_str().unwrap().parse().unwrap();
        rustix::process::pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).ok()
    });
    // What a program has as its standard input may be a socket, too, but of another type.
    let is_control = |fd: &OwnedFd| rustix::net::sockopt::socket_type(fd).is_ok_and(|it| it == SocketType::SEQPACKET);
    copies.filter(is_control).collect()
}

/// Sends a memory file beside answer 0, and says that it has so many bytes.
fn forge_bytes(file: &File, len: u64) {
    let mark = b"\x93mproc\x1a\x02";
    let message = [&mark[..], &[2], &0u64.to_le_bytes(), &[5], b"Bytes", &len.to_le_bytes()].concat();
    let files = [file.as_fd()];
    for socket in control_sockets() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        let _ = rustix::net::sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::empty());
    }
}

/// A sealed memory file of `len` bytes, of which only the first few are there.
fn hollow(len: u64, head: &[u8]) -> File {
    let file = rustix::fs::memfd_create("forged", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&file, len).unwrap();
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    let mut file = File::from(file);
    file.write_all(head).unwrap();
    file
}

const IN_A_FILE: u64 = 2 << 8;

/// A result of `1 << bits` bytes in a file that is one hole.
fn hollow_result((bits, kind): (u32, u64)) -> Vec<u8> {
    let len = 1u64 << bits;
    forge_bytes(&hollow(len, &(len - 8).to_le_bytes()), len);
    forge_answer(kind | IN_A_FILE, [0; 3])
}

/// A vector of 2^60 elements without bytes, in 17 bytes.
fn endless_result() -> Vec<()> {
    let body = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let word = |at: usize| u64::from_ne_bytes(body[at..at + 8].try_into().unwrap());
    forge_answer(17 << 16, [9u64.to_le(), word(0), word(8)])
}

fn lost(pool: &Pool, task: (u32, u64)) -> TaskError {
    pool.apply(hollow_result, (task,)).unwrap_err().task().unwrap().clone()
}

#[test]
fn a_length_without_bytes_takes_no_memory() {
    let _watchdog = watchdog(60);
    // A value, a failure, a value with handles; in a file that no memory could hold, and in one that it might.
    for kind in [0, 1, 2] {
        for (bits, why) in [(45, "half of the memory"), (28, "does not hold what is said of it")] {
            let pool = Pool::new(1).unwrap();
            let error = lost(&pool, (bits, kind));
            assert!(error.is_worker_lost() && error.to_string().contains(why), "{error}");
            assert_eq!(pool.apply(|x: u64| x + 1, (1,)).unwrap(), 2);
        }
    }
}

#[test]
fn a_result_beyond_the_limit_is_the_error_of_its_task() {
    let _watchdog = watchdog(60);
    let pool = Pool::builder().processes(1).max_result_bytes(1000).build().unwrap();
    let pids = pool.worker_pids();
    let results = pool.tasks(|len: usize| vec![7u8; len], [10, 2000, 900, 80 << 20, 20]).each();
    let lens: Vec<Option<usize>> = results.iter().map(|it| it.as_ref().ok().map(Vec::len)).collect();
    assert_eq!(lens, [Some(10), None, Some(900), None, Some(20)]);
    for at in [1, 3] {
        let error = results[at].as_ref().unwrap_err();
        assert!(error.is_encode() && error.to_string().contains("`max_result_bytes` is 1000"), "{error}");
    }
    let error = pool.apply(|| -> () { panic!("{}", "x".repeat(2000)) }, ()).unwrap_err();
    assert!(error.to_string().contains("its failure: it has"), "{error}");
    assert_eq!(pool.worker_pids(), pids);
}

#[test]
fn a_length_without_elements_takes_no_time() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    let error = pool.apply(endless_result, ()).unwrap_err();
    assert!(error.task().unwrap().is_decode() && error.to_string().contains("more elements than bytes"), "{error}");
}

/// Writes over everything that waits for this worker, as a wild pointer may, and dies.
fn corrupt(x: u64) -> u64 {
    if x == 40 {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.contains("memfd:multiproc-tasks")).expect("tasks are mapped");
        assert!(line.contains(" r--s "), "{line}");
        let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem").unwrap();
        assert!(memory.write_at(&[0xff; 8], start).is_err(), "the tasks can be written");
        // Who has taken which frame is what a worker can write.
        write_into_link((0..256u64).map(|slot| (4096 + 8 * slot, slot.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
        proc::kill(proc::own_pid());
    }
    let until = Instant::now() + Duration::from_micros(20);
    while Instant::now() < until {}
    x + 1
}

#[test]
fn what_waits_behind_a_task_that_writes_wildly_is_run_as_it_was_sent() {
    let _watchdog = watchdog(60);
    for (chunksize, retries) in [(1, 0), (8, 0), (8, 3)] {
        let pool = Pool::new(2).unwrap();
        let results = pool.tasks(corrupt, 0..2000u64).chunksize(chunksize).retries(retries).each();
        assert_eq!(results.len(), 2000);
        for (x, result) in (0..).zip(&results) {
            match result {
                Ok(value) => assert_eq!(*value, x + 1),
                Err(error) => assert!(x == 40 && error.is_worker_lost(), "{error}"),
            }
        }
        assert!(results[40].is_err());
    }
}
