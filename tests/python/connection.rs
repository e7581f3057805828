//! Python's own test cases of connections, under their names.
//!
//! `test_spawn_close`, `test_sendbytes` and `test_fd_transfer` are about descriptors, offsets into buffers and passing of
//! descriptors: a slice has its bounds, and an end of a pipe is no descriptor here. The cases of `wait` belong to what this
//! library does not have.

use super::common::watchdog::watchdog;
use multiproc::{Connection, Process, pipe, pipe_oneway};
use std::time::{Duration, Instant};

#[test]
fn test_connection() {
    let _watchdog = watchdog(60);
    let (ours, theirs) = pipe::<Vec<f64>>();
    let echo = |connection: Connection<Vec<f64>>| {
        while let Ok(bytes) = connection.recv_bytes(usize::MAX) {
            if bytes.is_empty() {
                return;
            }
            connection.send_bytes(&bytes).unwrap();
        }
    };
    let process = Process::spawn(echo, (theirs,)).unwrap();
    let numbers = vec![1.0, 2.25, -7.5];
    ours.send(numbers.clone()).unwrap();
    assert_eq!(ours.recv().unwrap(), numbers);
    ours.send_bytes(b"hello world").unwrap();
    assert_eq!(ours.recv_bytes(100).unwrap(), b"hello world");
    assert!(!ours.poll(Duration::ZERO).unwrap());
    let start = Instant::now();
    assert!(!ours.poll(Duration::from_millis(120)).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(120));
    ours.send(numbers.clone()).unwrap();
    assert!(ours.poll(Duration::from_secs(20)).unwrap());
    assert_eq!(ours.recv().unwrap(), numbers);
    let really_big = vec![b'X'; 16 << 20];
    ours.send_bytes(&really_big).unwrap();
    assert_eq!(ours.recv_bytes(really_big.len()).unwrap(), really_big);
    ours.send_bytes(b"").unwrap();
    process.join().unwrap();
    assert!(ours.recv().unwrap_err().is_disconnected());
    assert!(ours.recv_bytes(9).unwrap_err().is_disconnected());
}

#[test]
fn test_duplex_false() {
    // That one end only reads and the other only writes is checked when the program is built.
    let (reader, writer) = pipe_oneway::<u32>();
    writer.send(1).unwrap();
    assert_eq!(reader.recv().unwrap(), 1);
    assert!(!reader.is_disconnected());
}

#[test]
fn test_empty_string() {
    let (a, b) = pipe::<()>();
    assert!(!a.poll(Duration::ZERO).unwrap());
    b.send_bytes(b"").unwrap();
    assert!(a.poll(Duration::ZERO).unwrap() && a.poll(Duration::ZERO).unwrap());
    assert_eq!(a.recv_bytes(0).unwrap(), b"");
}

#[test]
fn test_strings() {
    let _watchdog = watchdog(60);
    let strings: [&[u8]; 5] = [b"hello", b"", b"a", b"b", b"bye"];
    let (ours, theirs) = pipe::<Vec<Vec<u8>>>();
    let child = |connection: Connection<Vec<Vec<u8>>>| {
        for string in connection.recv().unwrap() {
            connection.send_bytes(&string).unwrap();
        }
    };
    let process = Process::spawn(child, (theirs,)).unwrap();
    ours.send(strings.map(<[u8]>::to_vec).to_vec()).unwrap();
    for string in strings {
        assert!(ours.poll(Duration::from_secs(20)).unwrap());
        assert_eq!(ours.recv_bytes(100).unwrap(), string);
    }
    process.join().unwrap();
}

#[test]
fn test_boundaries() {
    let _watchdog = watchdog(60);
    let (reader, writer) = pipe::<()>();
    let polls = |reader: Connection<()>| assert!(reader.poll(Duration::from_secs(20)).unwrap());
    let process = Process::spawn(polls, (reader.clone(),)).unwrap();
    writer.send_bytes(b"first").unwrap();
    process.join().unwrap();
    writer.send_bytes(b"second").unwrap();
    assert_eq!(reader.recv_bytes(100).unwrap(), b"first");
    assert_eq!(reader.recv_bytes(100).unwrap(), b"second");
}

#[test]
fn test_dont_merge() {
    let (a, b) = pipe::<()>();
    assert!(!a.poll(Duration::ZERO).unwrap());
    b.send_bytes(b"a").unwrap();
    b.send_bytes(b"bb").unwrap();
    assert!(a.poll(Duration::ZERO).unwrap());
    assert_eq!((a.recv_bytes(9).unwrap(), a.recv_bytes(9).unwrap()), (b"a".to_vec(), b"bb".to_vec()));
    assert!(!a.poll(Duration::ZERO).unwrap());
}
