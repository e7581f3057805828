//! Python's own test cases of connections, under their names.
//!
//! `test_spawn_close`, `test_sendbytes` and `test_fd_transfer` are about descriptors, offsets into buffers and passing of
//! descriptors: a slice has its bounds, and an end of a pipe is no descriptor here. The cases of `wait` stand in
//! `wait.rs`.

use super::common::alone::alone;
use super::common::signals::on_sigusr1;
use super::common::watchdog::watchdog;
use multiproc::{Connection, Process, Receiver, Sender, pipe, pipe_oneway};
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

#[test]
fn test_context() {
    let (a, b) = pipe::<u64>();
    {
        let (a, b) = (a, b.clone());
        a.send(1729).unwrap();
        assert_eq!(b.recv().unwrap(), 1729);
    }
    // The end of the block was that of the connection.
    assert!(b.recv().unwrap_err().is_disconnected());
}

/// `TestIgnoreEINTR.test_ignore`: signals whose handler returns do not disturb.
#[test]
fn test_ignore() {
    if !alone("connection::test_ignore") {
        return;
    }
    let _watchdog = watchdog(60);
    extern "C" fn handler(_: i32) {}
    let child = |connection: Connection<Vec<u8>>| {
        on_sigusr1(handler);
        connection.send(b"ready".to_vec()).unwrap();
        let received = connection.recv().unwrap();
        connection.send(received).unwrap();
        connection.send_bytes(&vec![b'x'; 4 << 20]).unwrap();
        // Signals need somebody who is there: the message does not wait for its receiver, as it does in Python.
        assert_eq!(connection.recv().unwrap(), b"end");
    };
    let (ours, theirs) = pipe();
    let process = Process::spawn(child, (theirs,)).unwrap();
    let pid = rustix::process::Pid::from_raw(process.pid()).unwrap();
    let disturb = || {
        std::thread::sleep(Duration::from_millis(50));
        rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(ours.recv().unwrap(), b"ready");
    disturb();
    ours.send(b"1234".to_vec()).unwrap();
    assert_eq!(ours.recv().unwrap(), b"1234");
    disturb();
    assert_eq!(ours.recv_bytes(usize::MAX).unwrap(), vec![b'x'; 4 << 20]);
    ours.send(b"end".to_vec()).unwrap();
    process.join().unwrap();
}

/// `TestPicklingConnections.test_pickling`: connections travel through connections.
#[test]
fn test_pickling() {
    let _watchdog = watchdog(60);
    let listen = |to: Connection<Connection<String>>| {
        for _ in 0..2 {
            let (ours, theirs) = pipe();
            to.send(theirs).unwrap();
            ours.send("hello".to_owned()).unwrap();
            assert_eq!(ours.recv().unwrap(), "HELLO");
        }
    };
    let remote = |from: Connection<Connection<String>>| {
        while let Ok(connection) = from.recv() {
            let text = connection.recv().unwrap();
            connection.send(text.to_uppercase()).unwrap();
        }
    };
    let ((listening, to_us), (ours, to_remote)) = (pipe(), pipe());
    let processes = [Process::spawn(listen, (to_us,)).unwrap(), Process::spawn(remote, (to_remote,)).unwrap()];
    for _ in 0..2 {
        ours.send(listening.recv().unwrap()).unwrap();
    }
    drop(ours);
    processes.into_iter().for_each(|process| process.join().unwrap());
}

/// `TestPicklingConnections.test_access`: an end that only reads, and one that only writes.
#[test]
fn test_access() {
    let _watchdog = watchdog(60);
    #[derive(serde::Serialize, serde::Deserialize)]
    enum End {
        Writes(Sender<String>),
        Reads(Receiver<String>),
    }
    let child = |connection: Connection<End>| {
        let End::Writes(writer) = connection.recv().unwrap() else { panic!("another end") };
        writer.send("all is well".to_owned()).unwrap();
        drop(writer);
        let End::Reads(reader) = connection.recv().unwrap() else { panic!("another end") };
        assert_eq!(reader.recv().unwrap(), "foobar");
    };
    let (ours, theirs) = pipe();
    let process = Process::spawn(child, (theirs,)).unwrap();
    let (reader, writer) = pipe_oneway();
    ours.send(End::Writes(writer)).unwrap();
    assert_eq!(reader.recv().unwrap(), "all is well");
    assert!(reader.recv().unwrap_err().is_disconnected());
    let (reader, writer) = pipe_oneway();
    ours.send(End::Reads(reader)).unwrap();
    writer.send("foobar".to_owned()).unwrap();
    process.join().unwrap();
}
