//! Python's own test cases of `multiprocessing.connection.wait`, under their names.

use super::common::watchdog::watchdog;
use multiproc::{Process, Receiver, Sender, Waitable, pipe, pipe_oneway, wait};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn as_sources<W: Waitable>(all: &[W]) -> Vec<&dyn Waitable> {
    all.iter().map(|it| it as &dyn Waitable).collect()
}

/// Pauses of some milliseconds, which differ from step to step.
fn pause(step: u32) {
    std::thread::sleep(Duration::from_millis(u64::from(step * 7 % 13)));
}

fn wait_for_four(slow: bool) {
    let _watchdog = watchdog(60);
    let send = |writer: Sender<(u32, i32)>, slow: bool| {
        for number in 0..10 {
            if slow {
                pause(number);
            }
            writer.send((number, multiproc::current_process().pid())).unwrap();
        }
    };
    let (mut readers, mut processes): (Vec<Receiver<(u32, i32)>>, Vec<_>) = Default::default();
    for _ in 0..4 {
        let (reader, writer) = pipe_oneway();
        readers.push(reader);
        processes.push(Process::spawn(send, (writer, slow)).unwrap());
    }
    let expected: BTreeSet<_> =
        processes.iter().flat_map(|process| (0..10).map(|number| (number, process.pid()))).collect();
    let mut messages = BTreeSet::new();
    while !readers.is_empty() {
        for place in wait(&as_sources(&readers), None).unwrap().into_iter().rev() {
            match readers[place].recv() {
                Ok(message) => assert!(messages.insert(message)),
                Err(error) => {
                    assert!(error.is_disconnected(), "{error}");
                    drop(readers.remove(place));
                }
            }
        }
    }
    assert_eq!(messages, expected);
    multiproc::join_all(processes).unwrap();
}

#[test]
fn test_wait() {
    wait_for_four(false);
}

#[test]
fn test_wait_slow() {
    wait_for_four(true);
}

fn wait_for_sockets(slow: bool) {
    let _watchdog = watchdog(60);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let send = |port: u16, slow: bool| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        for number in 0..10 {
            if slow {
                pause(number);
            }
            stream.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
    };
    let port = listener.local_addr().unwrap().port();
    let processes: Vec<_> = (0..4).map(|_| Process::spawn(send, (port, slow)).unwrap()).collect();
    let mut readers: Vec<(TcpStream, String)> = Vec::new();
    let (mut accepted, mut texts) = (0, Vec::new());
    while accepted < 4 || !readers.is_empty() {
        let mut sources: Vec<&dyn Waitable> = vec![&listener];
        sources.extend(readers.iter().map(|(stream, _)| stream as &dyn Waitable));
        for place in wait(&sources, None).unwrap().into_iter().rev() {
            let Some(reader) = place.checked_sub(1) else {
                readers.push((listener.accept().unwrap().0, String::new()));
                accepted += 1;
                continue;
            };
            let mut bytes = [0; 32];
            let count = readers[reader].0.read(&mut bytes).unwrap();
            readers[reader].1 += std::str::from_utf8(&bytes[..count]).unwrap();
            if count == 0 {
                texts.push(readers.remove(reader).1);
            }
        }
    }
    assert_eq!(texts, ["0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"; 4]);
    multiproc::join_all(processes).unwrap();
}

#[test]
fn test_wait_socket() {
    wait_for_sockets(false);
}

#[test]
fn test_wait_socket_slow() {
    wait_for_sockets(true);
}

#[test]
fn test_wait_timeout() {
    let _watchdog = watchdog(60);
    let timeout = Duration::from_millis(200);
    let ((a, b), start) = (pipe::<()>(), Instant::now());
    assert!(wait(&[&a, &b], timeout).unwrap().is_empty());
    assert!(start.elapsed() >= timeout);
    b.send(()).unwrap();
    assert_eq!(wait(&[&a, &b], Duration::from_secs(20)).unwrap(), [0]);
}

#[test]
fn test_wait_integer() {
    // The sentinel of a process, which is a number in Python.
    let _watchdog = watchdog(60);
    let (a, b) = pipe::<u8>();
    let (go, gone) = pipe_oneway::<()>();
    let process = Process::spawn(|go: Receiver<()>| assert!(go.recv().unwrap_err().is_disconnected()), (go,)).unwrap();
    let sentinel = process.sentinel();
    let sources: [&dyn Waitable; 3] = [&a, &sentinel, &b];
    assert!(wait(&sources, Duration::ZERO).unwrap().is_empty());
    drop(gone);
    assert_eq!(wait(&sources, Duration::from_secs(20)).unwrap(), [1]);
    a.send(b'a').unwrap();
    assert_eq!(wait(&sources, Duration::from_secs(20)).unwrap(), [1, 2]);
    b.send(b'b').unwrap();
    assert_eq!(wait(&sources, Duration::from_secs(20)).unwrap(), [0, 1, 2]);
    process.join().unwrap();
}

#[test]
fn test_neg_timeout() {
    // There is none; what Python makes of it is no wait at all.
    let (a, _b) = pipe::<()>();
    let start = Instant::now();
    assert!(wait(&[&a], Duration::ZERO).unwrap().is_empty());
    assert!(start.elapsed() < Duration::from_secs(1));
}
