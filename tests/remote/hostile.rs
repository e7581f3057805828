//! Peers that do not behave: each is an error for itself alone, in time.

use crate::bytes::addresses;
use crate::common::watchdog::watchdog;
use multiproc::{Address, Client, Listener};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

fn port(listener: &Listener) -> u16 {
    let Address::Tcp(_, port) = listener.address() else { panic!("TCP was asked for") };
    *port
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&i32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(head)).unwrap()];
    stream.read_exact(&mut body).unwrap();
    body
}

#[test]
fn clients_that_misbehave_are_told_apart_and_the_next_is_welcome() {
    let _watchdog = watchdog(60);
    let listener = Listener::bind(("localhost", 0), "key").unwrap();
    let frame_of_2_60 = [&[0xff; 4][..], &(1u64 << 60).to_be_bytes()].concat();
    type Check = fn(&multiproc::ConnectionError) -> bool;
    let cases: [(&str, Vec<u8>, Check); 9] = [
        ("goes at once", vec![], |it| it.is_disconnected()),
        ("half a length", vec![0, 0], |it| it.is_cut_short()),
        ("half a frame", vec![0, 0, 0, 9, 1, 2], |it| it.is_cut_short()),
        ("an empty frame", frame(b""), |it| it.is_authentication()),
        ("257 bytes", frame(&[b'x'; 257]), |it| it.is_too_long()),
        ("2^60 bytes", frame_of_2_60, |it| it.is_too_long()),
        ("a length below zero", vec![0x80, 0, 0, 0], |it| it.is_protocol()),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), |it| it.is_too_long()),
        ("a wrong answer", frame(&[&b"{sha256}"[..], &[7; 32]].concat()), |it| it.is_authentication()),
    ];
    for (name, bytes, check) in cases {
        let mut stream = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let error = listener.accept().unwrap_err();
        assert!(check(&error), "{name}: {error}");
        // A good one comes through after each.
        crate::bytes::pair(&listener);
    }
}

#[test]
fn a_wrong_key_is_an_error_on_both_sides() {
    let _watchdog = watchdog(60);
    for address in addresses("keys") {
        let listener = Listener::bind(&address, "key").unwrap();
        let address = listener.address().clone();
        let client = std::thread::spawn(move || Client::connect(address, "another").unwrap_err());
        assert!(listener.accept().unwrap_err().is_authentication());
        assert!(client.join().unwrap().connection().unwrap().is_authentication());
    }
}

#[test]
fn an_empty_key_is_refused() {
    assert!(Listener::bind(("localhost", 0), "").unwrap_err().is_invalid_argument());
    assert!(Client::connect(("localhost", 1), b"").unwrap_err().is_invalid_argument());
}

#[test]
fn a_silent_client_keeps_nobody_waiting() {
    let _watchdog = watchdog(60);
    let listener =
        Listener::builder().handshake_timeout(Duration::from_millis(100)).bind(("localhost", 0), "key").unwrap();
    let _silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port(&listener))).unwrap()).collect();
    let mut late = 0;
    let address = listener.address().clone();
    let client = std::thread::spawn(move || Client::connect(address, "key").unwrap());
    let _server = loop {
        match listener.accept() {
            Ok(server) => break server,
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                late += 1;
            }
        }
    };
    client.join().unwrap();
    while late < 3 {
        assert!(listener.accept().unwrap_err().is_timeout());
        late += 1;
    }
    assert!(listener.accept_timeout(Duration::from_millis(1)).unwrap().is_none());
}

#[test]
fn a_crowd_of_silent_clients_keeps_nobody_out() {
    let _watchdog = watchdog(60);
    let listener = Listener::bind(("localhost", 0), "key").unwrap();
    let mut silent = Vec::new();
    let mut dropped = 0;
    // More than may be in the middle of their authentication, taken as they come so that the system refuses none.
    for _ in 0..200 {
        silent.push(TcpStream::connect(("127.0.0.1", port(&listener))).unwrap());
        match listener.accept_timeout(Duration::from_millis(1)) {
            Ok(none) => assert!(none.is_none()),
            Err(error) if error.is_timeout() => dropped += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(dropped > 0);
    let address = listener.address().clone();
    let client = std::thread::spawn(move || Client::connect(address, "key").unwrap());
    let _server = loop {
        match listener.accept() {
            Ok(server) => break server,
            Err(error) => assert!(error.is_timeout(), "{error}"),
        }
    };
    client.join().unwrap();
}

#[test]
fn a_client_is_told_what_kind_of_listener_it_has_met() {
    let _watchdog = watchdog(60);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(server.local_addr().unwrap());
    let meet = |bytes: Vec<u8>, timeout: Duration| {
        let address = address.clone();
        let client = std::thread::spawn(move || Client::builder().timeout(timeout).connect(address, "key"));
        let mut stream = server.accept().unwrap().0;
        stream.write_all(&bytes).unwrap();
        let error = client.join().unwrap().unwrap_err();
        (error.connection().unwrap().clone(), stream)
    };
    let minute = Duration::from_secs(60);
    assert!(meet(frame(b"hello"), minute).0.is_protocol());
    assert!(meet(b"220 mail.example ESMTP\r\n".to_vec(), minute).0.is_too_long());
    assert!(meet(vec![], Duration::from_millis(50)).0.is_timeout());
    // Python up to 3.11, which is not allowed: no answer leaves this process.
    let (error, mut stream) = meet(frame(&[b"#CHALLENGE#".as_slice(), &[7; 20]].concat()), minute);
    assert!(error.is_authentication() && error.to_string().contains("allow_md5"), "{error}");
    let mut sent = Vec::new();
    stream.read_to_end(&mut sent).unwrap();
    assert_eq!(sent, b"");
}

#[test]
fn a_listener_without_the_key_that_welcomes_everybody_is_found_out() {
    let _watchdog = watchdog(60);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(server.local_addr().unwrap());
    let client = std::thread::spawn(move || Client::connect(address, "key"));
    let mut stream = server.accept().unwrap().0;
    stream.write_all(&frame(&[b"#CHALLENGE#{sha256}".as_slice(), &[7; 40]].concat())).unwrap();
    let answer = read_frame(&mut stream);
    stream.write_all(&frame(b"#WELCOME#")).unwrap();
    // It knows no better answer to our challenge than our own to its.
    assert!(read_frame(&mut stream).starts_with(b"#CHALLENGE#{sha256}"));
    stream.write_all(&frame(&answer)).unwrap();
    assert_eq!(read_frame(&mut stream), b"#FAILURE#");
    assert!(client.join().unwrap().unwrap_err().connection().unwrap().is_authentication());
}

#[test]
fn nobody_there_is_an_error_that_names_the_address() {
    let address = Listener::bind(("localhost", 0), "key").unwrap().address().clone();
    let error = Client::connect(&address, "key").unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::ConnectionRefused));
    assert!(error.to_string().starts_with(&address.to_string()), "{error}");
    let error = Client::connect("/no such folder/socket", "key").unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
}
