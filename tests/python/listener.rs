//! Python's own test cases of listeners and clients, under their names.
//!
//! `_TestListener`, `_TestListenerClient`, `OtherTest`, `ChallengeResponseTest` and what of `_TestConnection`, `_TestPoll`,
//! `TestIgnoreEINTR` and `TestTimeouts` is about sockets. `TestInvalidFamily` is about addresses that are of no family: the type
//! of an address has its family here. `test_empty_authkey` has turned round: Python lets everybody in, or answers such a client
//! as any other, depending on the version; here an empty key is an error.

use super::common::signals::on_sigusr1;
use super::common::watchdog::watchdog;
use multiproc::{Address, AuthKey, Client, Connection, Listener, Process, RemoteConnection, pipe};
use rustix::process::{Pid, Signal, kill_process};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// An address of each family, each new.
fn addresses(name: &str) -> [Address; 3] {
    let unique = format!("multiproc-python-{name}-{}", std::process::id());
    [("localhost", 0).into(), std::env::temp_dir().join(&unique).into(), format!("\0{unique}").into()]
}

/// The two ends of a connection.
fn connected() -> (RemoteConnection, RemoteConnection) {
    let listener = Listener::bind(("localhost", 0), AuthKey::none()).unwrap();
    let client = Client::connect(listener.address(), AuthKey::none()).unwrap();
    (listener.accept().unwrap(), client)
}

#[test]
fn test_multiple_bind() {
    for address in addresses("multiple") {
        let listener = Listener::bind(&address, "key").unwrap();
        let error = Listener::bind(listener.address(), "key").unwrap_err();
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::AddrInUse));
    }
}

#[test]
fn test_context() {
    let _watchdog = watchdog(60);
    let address = {
        let listener = Listener::bind(("localhost", 0), "key").unwrap();
        let address = listener.address().clone();
        let client = std::thread::spawn(move || Client::connect(address, "key").unwrap());
        {
            let server = listener.accept().unwrap();
            server.send_bytes(b"1729").unwrap();
        }
        assert_eq!(client.join().unwrap().recv_bytes(4).unwrap(), b"1729");
        listener.address().clone()
    };
    // Python's: a closed listener is an error of `accept`. Here there is none any more.
    assert!(Client::connect(address, "key").is_err());
}

#[test]
fn test_empty_authkey() {
    assert!(Listener::bind(("localhost", 0), b"").unwrap_err().is_invalid_argument());
    let listener = Listener::bind(("localhost", 0), AuthKey::none()).unwrap();
    assert!(Client::connect(listener.address(), b"").unwrap_err().is_invalid_argument());
}

#[test]
fn test_abstract_socket() {
    let _watchdog = watchdog(60);
    let [_, _, address] = addresses("abstract");
    let listener = Listener::bind(&address, AuthKey::none()).unwrap();
    assert_eq!(listener.address(), &address);
    let client = Client::connect(&address, AuthKey::none()).unwrap();
    client.send_bytes(b"hello").unwrap();
    assert_eq!(listener.accept().unwrap().recv_bytes(9).unwrap(), b"hello");
    drop(listener);
    assert_eq!(Client::connect(&address, "key").unwrap_err().io_kind(), Some(std::io::ErrorKind::ConnectionRefused));
}

/// What the other process of the next cases does.
fn hello(host: String, port: u16) {
    Client::connect((host, port), AuthKey::none()).unwrap().send_bytes(b"hello").unwrap();
}

fn listening() -> (Listener, String, u16) {
    let listener = Listener::bind(("localhost", 0), AuthKey::none()).unwrap();
    let Address::Tcp(host, port) = listener.address().clone() else { panic!("TCP was asked for") };
    (listener, host, port)
}

#[test]
fn test_listener_client() {
    let _watchdog = watchdog(60);
    let (listener, host, port) = listening();
    let process = Process::spawn(hello, (host, port)).unwrap();
    assert_eq!(listener.accept().unwrap().recv_bytes(5).unwrap(), b"hello");
    process.join().unwrap();
}

#[test]
fn test_issue14725() {
    let _watchdog = watchdog(60);
    let (listener, host, port) = listening();
    // The client has gone before it is accepted.
    Process::spawn(hello, (host, port)).unwrap().join().unwrap();
    let connection = listener.accept().unwrap();
    assert_eq!(connection.recv_bytes(5).unwrap(), b"hello");
    assert!(connection.recv_bytes(5).unwrap_err().is_disconnected());
}

#[test]
fn test_issue16955() {
    let _watchdog = watchdog(60);
    for address in addresses("16955") {
        let listener = Listener::bind(address, AuthKey::none()).unwrap();
        let client = Client::connect(listener.address(), AuthKey::none()).unwrap();
        listener.accept().unwrap().send_bytes(b"hello").unwrap();
        assert!(client.poll(Duration::from_secs(20)).unwrap());
    }
}

/// A peer that sends `messages`, one after the other, and reads nothing.
fn fake_listener(messages: &[&[u8]]) -> Address {
    let listener = Listener::bind(("localhost", 0), AuthKey::none()).unwrap();
    let address = listener.address().clone();
    let messages: Vec<Vec<u8>> = messages.iter().map(|message| message.to_vec()).collect();
    std::thread::spawn(move || {
        let connection = listener.accept().unwrap();
        messages.iter().for_each(|message| connection.send_bytes(message).unwrap());
        // Until the client has had enough.
        while connection.recv_bytes(256).is_ok() {}
    });
    address
}

#[test]
fn test_deliver_challenge_auth_failure() {
    let _watchdog = watchdog(60);
    let listener = Listener::bind(("localhost", 0), "key").unwrap();
    let client = Client::connect(listener.address(), AuthKey::none()).unwrap();
    client.send_bytes(b"something bogus").unwrap();
    assert!(listener.accept().unwrap_err().is_authentication());
}

#[test]
fn test_answer_challenge_auth_failure() {
    let _watchdog = watchdog(60);
    let challenge = [b"#CHALLENGE#{sha256}".as_slice(), &[b'r'; 40]].concat();
    let address = fake_listener(&[&challenge, b"something bogus"]);
    let error = Client::connect(address, "key").unwrap_err();
    assert!(error.connection().unwrap().is_authentication());
}

#[test]
fn test_challengeresponse() {
    let _watchdog = watchdog(60);
    for (challenge, answers) in
        [(&b"#CHALLENGE#rrrrrrrrrrrrrrrrrrrr"[..], 16), (b"#CHALLENGE#{md5}rrrrrrrrrrrrrrrrrrrrrrrr", 21)]
    {
        let listener = Listener::bind(("localhost", 0), AuthKey::none()).unwrap();
        let address = listener.address().clone();
        let client = std::thread::spawn(move || Client::builder().allow_md5(true).connect(address, "key"));
        let connection = listener.accept().unwrap();
        connection.send_bytes(challenge).unwrap();
        assert_eq!(connection.recv_bytes(256).unwrap().len(), answers);
        connection.send_bytes(b"#FAILURE#").unwrap();
        assert!(client.join().unwrap().unwrap_err().connection().unwrap().is_authentication());
    }
}

#[test]
fn test_connection() {
    let _watchdog = watchdog(60);
    let (server, client) = connected();
    assert!(!client.poll(Duration::ZERO).unwrap());
    let start = Instant::now();
    assert!(!client.poll(Duration::from_millis(120)).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(120));
    let really_big = vec![b'X'; 16 << 20];
    let echo = std::thread::spawn(move || {
        while let Ok(bytes) = server.recv_bytes(usize::MAX) {
            server.send_bytes(&bytes).unwrap();
        }
    });
    client.send_bytes(&really_big).unwrap();
    assert_eq!(client.recv_bytes(usize::MAX).unwrap(), really_big);
    // A message that is too long closes the connection.
    client.send_bytes(b"hello").unwrap();
    assert!(client.recv_bytes(4).unwrap_err().is_too_long());
    assert!(client.recv_bytes(4).unwrap_err().is_out_of_step());
    echo.join().unwrap();
}

#[test]
fn test_empty_string() {
    let (server, client) = connected();
    assert!(!client.poll(Duration::ZERO).unwrap());
    server.send_bytes(b"").unwrap();
    assert!(client.poll(Duration::from_secs(20)).unwrap() && client.poll(Duration::ZERO).unwrap());
    assert_eq!(client.recv_bytes(0).unwrap(), b"");
    assert!(!client.poll(Duration::ZERO).unwrap());
}

#[test]
fn test_dont_merge() {
    let _watchdog = watchdog(60);
    let (server, client) = connected();
    server.send_bytes(b"a").unwrap();
    server.send_bytes(b"bb").unwrap();
    assert!(client.poll(Duration::from_secs(20)).unwrap());
    assert_eq!((client.recv_bytes(9).unwrap(), client.recv_bytes(9).unwrap()), (b"a".to_vec(), b"bb".to_vec()));
    assert!(!client.poll(Duration::ZERO).unwrap());
}

#[test]
fn test_timeout() {
    // Python's: the default timeout of sockets does not end the wait of a connection. Here there is no such default; a time
    // limit of one wait is not one of the next.
    let _watchdog = watchdog(60);
    let (server, client) = connected();
    assert_eq!(client.recv_bytes_timeout(9, Duration::from_millis(20)).unwrap(), None);
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        server.send_bytes(b"late").unwrap();
    });
    assert_eq!(client.recv_bytes(9).unwrap(), b"late");
    sender.join().unwrap();
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32) {
    SIGNALS.fetch_add(1, Relaxed);
}

/// Accepts a connection and receives a message while signals come; how many have come.
fn interrupted(port: Connection<u16>) -> u32 {
    on_sigusr1(count);
    let listener = Listener::bind(("localhost", 0), "key").unwrap();
    let Address::Tcp(_, number) = listener.address() else { panic!("TCP was asked for") };
    port.send(*number).unwrap();
    let connection = listener.accept().unwrap();
    connection.send_bytes(b"welcome").unwrap();
    assert_eq!(connection.recv_bytes(1 << 20).unwrap().len(), 1 << 20);
    SIGNALS.load(Relaxed)
}

/// Also `test_ignore_listener`.
#[test]
fn test_ignore() {
    let _watchdog = watchdog(60);
    let (ours, theirs) = pipe();
    let process = Process::spawn(interrupted, (theirs,)).unwrap();
    let port = ours.recv().unwrap();
    let disturb = || {
        for _ in 0..10 {
            kill_process(Pid::from_raw(process.pid()).unwrap(), Signal::USR1).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    disturb();
    let client = Client::connect(("localhost", port), "key").unwrap();
    assert_eq!(client.recv_bytes(9).unwrap(), b"welcome");
    disturb();
    client.send_bytes(&vec![0; 1 << 20]).unwrap();
    assert!(process.join().unwrap() > 0);
}
