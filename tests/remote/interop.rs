//! Messages to and from real CPython processes, of each version that this machine has.

use crate::bytes::addresses;
use crate::common::python::{INTERPRETERS, Python};
use crate::common::watchdog::watchdog;
use multiproc::{Address, Client, Listener};

/// The address as a Python expression.
fn expression(address: &Address) -> String {
    match address {
        Address::Tcp(host, port) => format!("({host:?}, {port})"),
        Address::Unix(path) => format!("{:?}", path.to_str().unwrap()),
        Address::Abstract(name) => format!("'\\0{}'", name.escape_ascii()),
        other => panic!("{other} has no expression"),
    }
}

const SIZES: [usize; 6] = [0, 1, 16_384, 16_385, 300_000, 2_000_000];

const CLIENT: &str = r#"
import sys
from multiprocessing.connection import Client
with Client(eval(sys.argv[1]), authkey=b"secret password") as c:
    while True:
        message = c.recv_bytes()
        c.send_bytes(message)
        if message == b"bye":
            break
    try:
        c.recv_bytes()
    except EOFError:
        print("end")
"#;

#[test]
fn a_python_client_of_a_listener_here() {
    let _watchdog = watchdog(120);
    for (minor, interpreter) in &*INTERPRETERS {
        for address in addresses("client") {
            let listener = Listener::builder().allow_md5(*minor < 12).bind(&address, "secret password").unwrap();
            let python = Python::start_with(interpreter, CLIENT, &[&expression(listener.address())]).unwrap();
            let connection = listener.accept().unwrap_or_else(|error| panic!("3.{minor} over {address}: {error}"));
            for size in SIZES {
                let message = vec![b'm'; size];
                connection.send_bytes(&message).unwrap();
                assert_eq!(connection.recv_bytes(size).unwrap(), message);
            }
            connection.send_bytes(b"bye").unwrap();
            assert_eq!(connection.recv_bytes(3).unwrap(), b"bye");
            drop(connection);
            assert_eq!(python.end(), "end");
        }
    }
}

const LISTENER: &str = r#"
import sys
from multiprocessing.connection import Listener
with Listener(eval(sys.argv[1]), authkey=b"secret password") as listener:
    print(repr(listener.address), flush=True)
    with listener.accept() as c:
        try:
            while True:
                c.send_bytes(c.recv_bytes())
        except EOFError:
            print("end")
"#;

/// The address that a Python program has printed.
fn parsed(text: &str, asked: &Address) -> Address {
    match asked {
        Address::Tcp(..) => {
            let port = text.trim_matches(['(', ')']).split(", ").nth(1).unwrap();
            ("127.0.0.1", port.parse().unwrap()).into()
        }
        other => other.clone(),
    }
}

#[test]
fn a_client_here_of_a_python_listener() {
    let _watchdog = watchdog(120);
    for (minor, interpreter) in &*INTERPRETERS {
        for address in addresses("listener") {
            let mut python = Python::start_with(interpreter, LISTENER, &[&expression(&address)]).unwrap();
            let address = parsed(&python.line(), &address);
            let client = Client::builder().allow_md5(*minor < 12).connect(&address, "secret password");
            let client = client.unwrap_or_else(|error| panic!("3.{minor} over {address}: {error}"));
            for size in SIZES {
                let message = vec![b'm'; size];
                client.send_bytes(&message).unwrap();
                assert_eq!(client.recv_bytes(size).unwrap(), message);
            }
            drop(client);
            assert_eq!(python.end(), "end");
        }
    }
}

const REFUSED: &str = r#"
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
try:
    Client(eval(sys.argv[1]), authkey=sys.argv[2].encode())
except (AuthenticationError, EOFError, ConnectionError) as error:
    print(type(error).__name__)
"#;

#[test]
fn a_python_client_without_the_key_or_with_a_weak_digest_is_refused() {
    let _watchdog = watchdog(120);
    for (minor, interpreter) in &*INTERPRETERS {
        let listener = Listener::builder().allow_md5(*minor < 12).bind(("localhost", 0), "secret password").unwrap();
        let python =
            Python::start_with(interpreter, REFUSED, &[&expression(listener.address()), "wrong password"]).unwrap();
        assert!(listener.accept().unwrap_err().is_authentication(), "3.{minor}");
        assert_eq!(python.end(), "AuthenticationError", "3.{minor}");
        if *minor < 12 {
            let listener = Listener::bind(("localhost", 0), "secret password").unwrap();
            let python =
                Python::start_with(interpreter, REFUSED, &[&expression(listener.address()), "secret password"])
                    .unwrap();
            let error = listener.accept().unwrap_err();
            assert!(error.is_authentication() && error.to_string().contains("allow_md5"), "3.{minor}: {error}");
            assert_eq!(python.end(), "AuthenticationError", "3.{minor}");
        }
    }
}

const REFUSING: &str = r#"
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Listener
with Listener(authkey=b"secret password", family="AF_INET") as listener:
    print(repr(listener.address), flush=True)
    for _ in range(int(sys.argv[1])):
        try:
            listener.accept()
        except (AuthenticationError, EOFError) as error:
            print(type(error).__name__)
"#;

#[test]
fn a_python_listener_with_another_key_or_a_weak_digest_is_refused() {
    let _watchdog = watchdog(120);
    for (minor, interpreter) in &*INTERPRETERS {
        let rounds = if *minor < 12 { 2 } else { 1 };
        let mut python = Python::start_with(interpreter, REFUSING, &[&rounds.to_string()]).unwrap();
        let address = parsed(&python.line(), &("", 0).into());
        let error = Client::builder().allow_md5(true).connect(&address, "wrong password").unwrap_err();
        assert!(error.connection().unwrap().is_authentication(), "3.{minor}: {error}");
        assert_eq!(python.line(), "AuthenticationError");
        if *minor < 12 {
            let error = Client::connect(&address, "secret password").unwrap_err();
            assert!(error.to_string().contains("allow_md5"), "3.{minor}: {error}");
            assert_eq!(python.line(), "EOFError");
        }
        python.end();
    }
}
