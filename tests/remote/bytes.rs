//! Messages between two ends that both behave.

use crate::common::watchdog::watchdog;
use multiproc::{Address, AuthKey, Client, Listener, Queue, RemoteConnection, wait};
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An address of each kind, each new.
pub(crate) fn addresses(name: &str) -> [Address; 3] {
    let unique = format!("multiproc-{name}-{}", std::process::id());
    [("localhost", 0).into(), std::env::temp_dir().join(&unique).into(), format!("\0{unique}").into()]
}

/// Two ends of a connection over `listener`.
pub(crate) fn pair(listener: &Listener) -> (RemoteConnection, RemoteConnection) {
    let address = listener.address().clone();
    let client = std::thread::spawn(move || Client::connect(address, "key"));
    let server = listener.accept().unwrap();
    (server, client.join().unwrap().unwrap())
}

fn connected() -> (RemoteConnection, RemoteConnection) {
    pair(&Listener::bind(("localhost", 0), "key").unwrap())
}

#[test]
fn messages_of_all_sizes_go_both_ways_over_all_families() {
    let _watchdog = watchdog(60);
    for address in addresses("sizes") {
        let listener = Listener::bind(&address, "key").unwrap();
        let (server, client) = pair(&listener);
        let echo = std::thread::spawn(move || {
            while let Ok(bytes) = server.recv_bytes(usize::MAX) {
                server.send_bytes(&bytes).unwrap();
            }
        });
        for len in [0, 1, 1000, 16_384, 16_385, 70_000, 5_000_000] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            client.send_bytes(&bytes).unwrap();
            assert_eq!(client.recv_bytes(len).unwrap(), bytes);
        }
        drop(client);
        echo.join().unwrap();
        drop(listener);
        if let Address::Unix(path) = address {
            assert!(!path.exists());
        }
    }
}

#[test]
fn the_peer_is_known_where_it_has_an_address() {
    let _watchdog = watchdog(60);
    let [tcp, unix, _] = addresses("peer");
    let listener = Listener::bind(tcp, "key").unwrap();
    let (server, client) = pair(&listener);
    assert_eq!(client.peer(), Some(listener.address()));
    assert!(matches!(server.peer(), Some(Address::Tcp(host, port)) if host == "127.0.0.1" && *port != 0));
    assert!(pair(&Listener::bind(unix, "key").unwrap()).0.peer().is_none());
}

#[test]
fn a_wait_ends_in_time_and_what_has_come_is_kept() {
    let _watchdog = watchdog(60);
    let (server, client) = connected();
    let short = Duration::from_millis(20);
    let start = Instant::now();
    assert_eq!(client.recv_bytes_timeout(9, short).unwrap(), None);
    assert!(start.elapsed() >= short && !client.poll(short).unwrap());
    drop(server);
    // A message that comes in parts.
    let listener = Listener::bind(("localhost", 0), AuthKey::none()).unwrap();
    let Address::Tcp(host, port) = listener.address() else { panic!("TCP was asked for") };
    let mut parts = TcpStream::connect((host.as_str(), *port)).unwrap();
    let connection = listener.accept().unwrap();
    for part in [&[0, 0][..], &[0, 6, b'a'], b"bcd"] {
        parts.write_all(part).unwrap();
        assert!(connection.poll(Duration::from_secs(20)).unwrap());
        assert_eq!(connection.recv_bytes_timeout(6, short).unwrap(), None);
    }
    parts.write_all(&[b'e', b'f', 0, 0, 0, 1, b'x']).unwrap();
    assert_eq!(connection.recv_bytes(6).unwrap(), b"abcdef");
    assert_eq!(connection.recv_bytes_timeout(6, Duration::from_secs(20)).unwrap().unwrap(), b"x");
}

#[test]
fn who_does_not_read_stops_a_message_in_time() {
    let _watchdog = watchdog(60);
    let (server, client) = connected();
    let error = server.send_bytes_timeout(&[0; 40_000_000], Duration::from_millis(50)).unwrap_err();
    assert!(error.is_timeout());
    assert!(server.send_bytes(b"next").unwrap_err().is_out_of_step());
    // Only the one direction has suffered.
    client.send_bytes(b"still here").unwrap();
    assert_eq!(server.recv_bytes(99).unwrap(), b"still here");
    // A message of which nothing was sent has not been sent.
    let (server, _client) = connected();
    while server.send_bytes_timeout(&[0; 1000], Duration::ZERO).is_ok_and(|sent| sent) {}
    drop(server);
}

#[test]
fn threads_share_a_connection_and_messages_do_not_mix() {
    let _watchdog = watchdog(60);
    let (server, client) = connected();
    let server = Arc::new(server);
    let senders: Vec<_> = (0..4u8)
        .map(|sender| {
            let server = Arc::clone(&server);
            std::thread::spawn(move || (0..200).for_each(|_| server.send_bytes(&[sender; 30_000]).unwrap()))
        })
        .collect();
    let mut counts = [0; 4];
    for _ in 0..800 {
        let message = client.recv_bytes(30_000).unwrap();
        assert!(message.len() == 30_000 && message.iter().all(|byte| *byte == message[0]));
        counts[usize::from(message[0])] += 1;
    }
    assert_eq!(counts, [200; 4]);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn readiness_is_told_through_the_descriptors() {
    let _watchdog = watchdog(60);
    let listener = Listener::bind(("localhost", 0), AuthKey::none()).unwrap();
    let ready = |fd: std::os::fd::BorrowedFd<'_>| {
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
    };
    assert!(!ready(listener.as_fd()));
    assert!(listener.accept_timeout(Duration::ZERO).unwrap().is_none());
    let client = Client::connect(listener.address(), AuthKey::none()).unwrap();
    assert!(ready(listener.as_fd()));
    let server = listener.accept().unwrap();
    assert!(!ready(listener.as_fd()) && !ready(server.as_fd()));
    client.send_bytes(b"").unwrap();
    assert!(ready(server.as_fd()));
    assert_eq!(server.recv_bytes(0).unwrap(), b"");
    assert!(!ready(server.as_fd()));
    drop(client);
    assert!(ready(server.as_fd()));
}

#[test]
fn a_wait_over_listeners_connections_and_queues() {
    let _watchdog = watchdog(60);
    let (queue, soon) = (Queue::<u8>::new(), Duration::from_secs(20));
    let listener = Listener::bind(("localhost", 0), AuthKey::none()).unwrap();
    assert!(wait(&[&listener, &queue], Duration::ZERO).unwrap().is_empty());
    let client = Client::connect(listener.address(), AuthKey::none()).unwrap();
    assert_eq!(wait(&[&queue, &listener], soon).unwrap(), [1]);
    let server = listener.accept().unwrap();
    assert!(wait(&[&listener, &server, &client], Duration::ZERO).unwrap().is_empty());
    client.send(&1).unwrap();
    queue.put(1).unwrap();
    assert_eq!(wait(&[&client, &server, &queue], soon).unwrap(), [1, 2]);
    drop(server);
    assert_eq!(wait(&[&listener, &client], soon).unwrap(), [1]);
    assert!(client.recv::<u8>().unwrap_err().is_disconnected());
}
