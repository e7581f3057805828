//! Python's own test cases of managers that are reached over an address, under their names: `_TestRemoteManager` and
//! `_TestManagerRestart`. The format is pickle, and not XML as in Python's case: that one is as old as Python 2.

use super::common::watchdog::watchdog;
use multiproc::{Address, Exposed, ManagerServer, Process, PyValue, Queue, RemoteManager};

fn server(address: impl Into<Address>) -> ManagerServer {
    let queue = Exposed::queue(Queue::new());
    ManagerServer::builder().register("get_queue", queue).bind(address, "the key").unwrap()
}

fn port(server: &ManagerServer) -> u16 {
    let Address::Tcp(_, port) = *server.address() else { panic!("TCP was asked for") };
    port
}

/// What the other process puts.
fn values() -> Vec<PyValue> {
    vec![
        "hello world".into(),
        PyValue::None,
        true.into(),
        2.25.into(),
        "hall\u{e5} v\u{e4}rlden".into(),
        "\u{43f}\u{440}\u{438}\u{432}\u{456}\u{442} \u{441}\u{432}\u{456}\u{442}".into(),
        PyValue::Bytes(b"hall\xe5 v\xe4rlden".to_vec()),
    ]
}

fn putter(port: u16) {
    let manager = RemoteManager::connect(("localhost", port), "the key").unwrap();
    manager.create("get_queue", ()).unwrap().into_queue().put(PyValue::Tuple(values())).unwrap();
}

#[test]
fn test_remote() {
    let _watchdog = watchdog(60);
    let server = server(("localhost", 0));
    let (port, handle) = (port(&server), server.handle());
    let serving = std::thread::spawn(move || server.serve());
    let manager = RemoteManager::connect(("localhost", port), "the key").unwrap();
    let queue = manager.create("get_queue", ()).unwrap().into_queue::<PyValue>();
    Process::spawn(putter, (port,)).unwrap().join().unwrap();
    assert_eq!(queue.get().unwrap(), PyValue::Tuple(values()));
    // A function cannot be sent; Python's case expects an error of pickle.
    assert!(manager.create("time.sleep", ()).unwrap_err().traceback().is_some());
    handle.shutdown();
    serving.join().unwrap().unwrap();
}

#[test]
fn test_rapid_restart() {
    let _watchdog = watchdog(60);
    let mut address = Address::from(("localhost", 0));
    for _ in 0..3 {
        let server = server(address);
        address = server.address().clone();
        let (port, handle) = (port(&server), server.handle());
        let serving = std::thread::spawn(move || server.serve());
        Process::spawn(putter, (port,)).unwrap().join().unwrap();
        let manager = RemoteManager::connect(("localhost", port), "the key").unwrap();
        let queue = manager.create("get_queue", ()).unwrap().into_queue::<PyValue>();
        assert_eq!(queue.get().unwrap(), PyValue::Tuple(values()));
        handle.shutdown();
        serving.join().unwrap().unwrap();
    }
}
