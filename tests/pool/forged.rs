//! Workers that forge their answers: whatever they announce costs their own task, and no memory and no time.

use super::common::watchdog::watchdog;
use super::faults::{FIRST_ANSWER, write_into_link};
use multiproc::{Pool, TaskError};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

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

/// The control socket of this worker.
fn control_socket() -> OwnedFd {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    let mut numbers = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        is_socket.then(|| entry.file_name().to_str().unwrap().parse::<i32>().unwrap())
    });
    let number = numbers.next().expect("a worker has a control socket");
    rustix::process::pidfd_getfd(own, number, PidfdGetfdFlags::empty()).unwrap()
}

/// Sends a memory file beside answer 0, and says that it has so many bytes.
fn forge_bytes(file: &File, len: u64) {
    let message = [&[2][..], &0u64.to_le_bytes(), &[5], b"Bytes", &len.to_le_bytes()].concat();
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    rustix::net::sendmsg(control_socket(), &[IoSlice::new(&message)], &mut control, SendFlags::empty()).unwrap();
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
fn a_length_without_elements_takes_no_time() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    let error = pool.apply(endless_result, ()).unwrap_err();
    assert!(error.task().unwrap().is_decode() && error.to_string().contains("more elements than bytes"), "{error}");
}
