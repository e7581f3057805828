//! Objects of this process, called by real CPython processes of each version that this machine has, and by clients here.

use crate::common::python::{INTERPRETERS, Python};
use crate::common::watchdog::watchdog;
use multiproc::{
    Address, AuthKey, Client, Exposed, Listener, ManagerServer, ManagerServerHandle, PyException, PyValue, Queue,
    RemoteManager,
};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

struct Serving {
    address: Address,
    port: u16,
    handle: ManagerServerHandle,
    thread: JoinHandle<multiproc::Result<()>>,
}

impl Serving {
    fn start(allow_md5: bool) -> Serving {
        let queue = Queue::bounded(3);
        let counter = Exposed::try_new(["start"], |(start,): (Option<i64>,)| match start {
            Some(start) if start < 0 => Err(PyException::new("ValueError", ["below zero".into()])),
            start => Ok(AtomicI64::new(start.unwrap_or(0))),
        });
        let counter = counter
            .method("add", ["number"], |counter, (number,): (i64,)| counter.fetch_add(number, Relaxed) + number)
            .method("panic", [], |_, ()| -> () { panic!("at the disco") })
            .method("tuple", [], |_, ()| (1, "two", 3.0, PyValue::Set(vec![4.into()])))
            .try_method("divide", ["by"], |counter, (by,): (i64,)| {
                let quotient = counter.load(Relaxed).checked_div(by);
                quotient.ok_or_else(|| PyException::new("ZeroDivisionError", ["no".into(), 2.into()]))
            });
        let server = ManagerServer::builder()
            .register("get_queue", Exposed::queue(queue))
            .register("Counter", counter)
            .allow_md5(allow_md5)
            .bind(("localhost", 0), "abracadabra")
            .unwrap();
        let address = server.address().clone();
        let Address::Tcp(_, port) = address else { panic!("TCP was asked for") };
        let handle = server.handle();
        Serving { address, port, handle, thread: std::thread::spawn(move || server.serve()) }
    }

    fn client(&self) -> RemoteManager {
        RemoteManager::connect(&self.address, "abracadabra").unwrap()
    }

    fn end(self) {
        self.handle.shutdown();
        self.thread.join().unwrap().unwrap();
        assert!(RemoteManager::connect(&self.address, "abracadabra").is_err());
    }
}

const CLIENT: &str = r#"
import gc, pickle, queue, sys, threading
from multiprocessing.managers import BaseManager, RemoteError

class Manager(BaseManager):
    pass
Manager.register("get_queue")
Manager.register("Counter")

manager = Manager(address=("127.0.0.1", int(sys.argv[1])), authkey=b"abracadabra")
manager.connect()
counter = manager.Counter(start=5)
assert (counter.add(3), counter.add(number=2)) == (8, 10)
assert counter.tuple() == (1, "two", 3.0, {4})

def raised(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Exception as error:
        return type(error), error.args
assert raised(counter.divide, 0) == (ZeroDivisionError, ("no", 2))
for args, kwargs in [(("x",), {}), ((1, 2), {}), ((), {}), ((), {"other": 1}), ((1,), {"number": 1})]:
    assert raised(counter.add, *args, **kwargs)[0] is TypeError, (args, kwargs)
for call in counter.panic, lambda: counter._callmethod("nothing"), lambda: manager.Counter(-1):
    kind, (text,) = raised(call)
    assert kind is RemoteError
    print(text.splitlines()[0].split(":")[0])
assert "Rust" in str(counter)

shared = manager.get_queue()
for item in [None, ("a", [1, {b"k": 2.5}]), {1, 2}]:
    shared.put(item)
    assert shared.get() == item
assert raised(shared.get_nowait)[0] is queue.Empty
assert raised(shared.get, timeout=0.01)[0] is queue.Empty
assert raised(shared.get, True, -1)[0] is ValueError
for item in range(3):
    shared.put_nowait(item)
assert shared.full() and not shared.empty() and shared.qsize() == 3
assert raised(shared.put, 3, block=False)[0] is queue.Full
assert [shared.get() for _ in range(3)] == [0, 1, 2]

# Each thread has a connection of its own.
thread = threading.Thread(target=lambda: shared.put(shared.get() + 1))
thread.start()
shared.put(41)
thread.join()
assert shared.get() == 42

# What is no plain value is refused, and the connection goes on.
class Evil:
    def __reduce__(self):
        return print, ("called",)
kind, (text,) = raised(shared.put, Evil())
assert kind is RemoteError and "print" in text, text
assert shared.empty()

# A proxy that was pickled is another one of the same object; it asks for the methods by a token.
from multiprocessing import current_process
current_process().authkey = b"abracadabra"
again = pickle.loads(pickle.dumps(counter))
assert again.add(0) == 10 and "refcount=2" in manager._debug_info()
del again
gc.collect()
assert manager._number_of_objects() == 2
assert "refcount=1" in manager._debug_info()
del counter, shared, call, thread
gc.collect()
assert manager._number_of_objects() == 0
print("done")
"#;

#[test]
fn python_clients_of_a_server_here() {
    let _watchdog = watchdog(120);
    for (minor, interpreter) in &*INTERPRETERS {
        let serving = Serving::start(*minor < 12);
        let python = Python::start_with(interpreter, CLIENT, &[&serving.port.to_string()]).unwrap();
        assert_eq!(python.end(), "RuntimeError\nAttributeError\nValueError('below zero')\ndone", "3.{minor}");
        assert_eq!(serving.handle.number_of_objects(), 0);
        serving.end();
    }
}

/// The first two clients of the example "Using a remote manager" of Python's documentation.
const DOCUMENTED: &str = r#"
import sys
from multiprocessing.managers import BaseManager
class QueueManager(BaseManager): pass
QueueManager.register('get_queue')
m = QueueManager(address=('localhost', int(sys.argv[1])), authkey=b'abracadabra')
m.connect()
queue = m.get_queue()
if sys.argv[2] == 'put':
    queue.put('hello')
else:
    print(queue.get())
"#;

#[test]
fn the_documented_example_of_a_remote_manager() {
    let _watchdog = watchdog(60);
    for (minor, interpreter) in &*INTERPRETERS {
        let serving = Serving::start(*minor < 12);
        let client = |what| Python::start_with(interpreter, DOCUMENTED, &[&serving.port.to_string(), what]).unwrap();
        let getter = client("get");
        client("put").end();
        assert_eq!(getter.end(), "hello", "3.{minor}");
        serving.end();
    }
}

#[test]
fn a_client_here_of_a_server_here() {
    let _watchdog = watchdog(60);
    let serving = Serving::start(false);
    let manager = serving.client();
    let counter = manager.create("Counter", (5,)).unwrap();
    assert_eq!(counter.methods(), ["add", "divide", "panic", "tuple"]);
    assert_eq!(counter.call::<i64>("add", (2,)).unwrap(), 7);
    assert_eq!(counter.call::<PyValue>("tuple", ()).unwrap().to_string(), "(1, 'two', 3.0, {4})");
    let error = counter.call::<i64>("divide", (0,)).unwrap_err();
    assert_eq!((error.exception(), error.exception_text()), (Some("ZeroDivisionError"), Some("('no', 2)")));
    let error = counter.call::<()>("panic", ()).unwrap_err();
    assert!(error.traceback().unwrap().contains("at the disco"), "{error}");
    assert_eq!(manager.number_of_objects().unwrap(), 1);
    let clone = counter.clone();
    drop(counter);
    assert_eq!(clone.call::<i64>("add", (1,)).unwrap(), 8);
    drop(clone);
    assert_eq!(manager.number_of_objects().unwrap(), 0);
    let queue = manager.create("get_queue", ()).unwrap().into_queue::<u8>();
    assert!(queue.get_timeout(Duration::from_millis(10)).unwrap().is_none());
    let getter = queue.clone();
    let getter = std::thread::spawn(move || getter.get());
    queue.put(7).unwrap();
    assert_eq!(getter.join().unwrap().unwrap(), 7);
    // A client may end the server, as in Python; calls that wait end then.
    let getter = queue.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let getter = std::thread::spawn(move || {
        getter.put(1).unwrap();
        getter.get().unwrap();
        tell.send(()).unwrap();
        getter.get().unwrap_err()
    });
    told.recv().unwrap();
    manager.shutdown().unwrap();
    assert!(getter.join().unwrap().connection().is_some());
    serving.end();
}

#[test]
fn requests_that_are_none_are_errors_of_their_senders() {
    let _watchdog = watchdog(60);
    let serving = Serving::start(false);
    let answer = |request: &[u8]| {
        let client = Client::connect(&serving.address, "abracadabra").unwrap();
        client.send_bytes(request).unwrap();
        let answer: (String, PyValue) = client.recv().unwrap();
        assert!(client.recv_bytes(1).unwrap_err().is_disconnected());
        answer
    };
    let pickle = |value: &PyValue| value.to_pickle().unwrap();
    let request = |name: &str, args: Vec<PyValue>| {
        let parts = vec![PyValue::None, name.into(), PyValue::Tuple(args), PyValue::Dict(vec![])];
        pickle(&PyValue::Tuple(parts))
    };
    for (what, bytes) in [
        ("nothing", vec![]),
        ("no pickle", b"hello".to_vec()),
        ("no request", pickle(&1.into())),
        ("a pickle that calls", b"cposix\nsystem\n(Vtrue\ntR.".to_vec()),
        ("a pickle that calls in the arguments", b"(NVdummy\n(cposix\nsystem\n(Vtrue\ntRt}t.".to_vec()),
        ("no such function", request("__init__", vec![])),
        ("no type", request("create", vec![])),
        ("a type that is no text", request("create", vec![1.into()])),
        ("no such type", request("create", vec!["Evil".into()])),
        ("no object", request("decref", vec![])),
        ("no such object", request("decref", vec!["99".into()])),
        ("an object that is no number", request("incref", vec!["x".into()])),
        (
            "a call without a connection for it",
            pickle(&PyValue::Tuple(vec![
                "1".into(),
                "add".into(),
                PyValue::Tuple(vec![1.into()]),
                PyValue::Dict(vec![]),
            ])),
        ),
    ] {
        let (kind, text) = answer(&bytes);
        assert_eq!(kind, "#TRACEBACK", "{what}: {text}");
    }
    assert_eq!(answer(&request("dummy", vec![])).0, "#RETURN");
    // One that sends half a request and goes, one that says that it will send 2^60 bytes, one that sends none.
    for raw in [&[0, 0, 0, 9, 1, 2][..], &[&[0xff; 4][..], &(1u64 << 60).to_be_bytes()].concat()] {
        let client = Client::connect(&serving.address, "abracadabra").unwrap();
        assert_eq!(rustix::io::write(&client, raw).unwrap(), raw.len());
        if raw.len() > 6 {
            assert!(client.recv_bytes(100).unwrap_err().is_disconnected());
        }
    }
    let _silent = Client::connect(&serving.address, "abracadabra").unwrap();
    // The others go on.
    assert_eq!(serving.client().create("Counter", (1,)).unwrap().call::<i64>("add", (1,)).unwrap(), 2);
    serving.end();
}

#[test]
fn a_manager_without_the_key_learns_nothing() {
    let _watchdog = watchdog(60);
    let serving = Serving::start(false);
    for key in [AuthKey::from("another"), AuthKey::none()] {
        let connected = RemoteManager::builder().timeout(Duration::from_secs(2)).connect(&serving.address, key);
        connected.unwrap_err();
    }
    serving.end();
}

#[test]
fn answers_that_are_none_are_errors_of_the_call() {
    let _watchdog = watchdog(60);
    let listener = Listener::bind(("localhost", 0), "key").unwrap();
    let address = listener.address().clone();
    // Says what it is told to, whatever it is asked.
    let answers: [&'static [u8]; 6] = [
        b"\x80\x04\x8c\x07#RETURNN\x86.",
        b"",
        b"\x80\x04\x8c\x07#RETURNcposix\nsystem\n\x8c\x04true\x85R\x86.",
        b"\x80\x04\x8c\x06#ERROR\x8c\x04text\x86.",
        b"\x80\x04\x8c\x06#PROXYN\x86.",
        b"\x80\x04\x8c\x05#WHATN\x86.",
    ];
    let server = std::thread::spawn(move || {
        for answer in answers {
            let connection = listener.accept().unwrap();
            connection.recv_bytes(1000).unwrap();
            connection.send_bytes(answer).unwrap();
        }
    });
    let manager = RemoteManager::connect(address, "key").unwrap();
    for _ in 1..answers.len() {
        let error = manager.number_of_objects().unwrap_err();
        assert!(error.is_decode(), "{error}");
    }
    server.join().unwrap();
}
