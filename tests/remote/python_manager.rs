//! Calls of objects that a manager in a real CPython process holds, of each version that this machine has.

use crate::common::python::{INTERPRETERS, Python};
use crate::common::watchdog::watchdog;
use multiproc::{Process, PyValue, RemoteCallError, RemoteDict, RemoteManager, RemoteQueue};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const MANAGER: &str = r#"
import queue
from multiprocessing.managers import SyncManager

class Maths:
    def add(self, x, y=1):
        return x + y
    def divide(self, x, y):
        return x / y
    def itself(self):
        return self
    def sleep(self, seconds):
        import time
        time.sleep(seconds)
    def raise_(self, name, *args):
        raise getattr(__import__("builtins"), name)(*args)

class Manager(SyncManager):
    pass

shared = queue.Queue()
Manager.register("get_queue", callable=lambda: shared)
Manager.register("Maths", Maths)
Manager.register("Hidden", Maths, exposed=["add"])
server = Manager(address=("127.0.0.1", 0), authkey=b"abracadabra").get_server()
print(server.address[1], flush=True)
server.serve_forever()
"#;

/// A manager of each Python, and a client of it.
fn each(test: impl Fn(u32, RemoteManager)) {
    let _watchdog = watchdog(180);
    for (minor, interpreter) in &*INTERPRETERS {
        let mut python = Python::start_with(interpreter, MANAGER, &[]).unwrap();
        let port: u16 = python.line().parse().unwrap();
        let manager = RemoteManager::builder().allow_md5(*minor < 12).connect(("127.0.0.1", port), "abracadabra");
        let manager = manager.unwrap_or_else(|error| panic!("3.{minor}: {error}"));
        test(*minor, manager.clone());
        assert_eq!(manager.number_of_objects().unwrap(), 0, "3.{minor}: every object was given back");
        manager.shutdown().unwrap();
        python.end();
        let error = manager.create("dict", ()).unwrap_err();
        assert!(error.connection().is_some(), "{error}");
    }
}

#[test]
fn the_types_of_a_sync_manager() {
    each(|minor, manager| {
        let dict: RemoteDict<String, u64> = manager.dict().unwrap();
        let key = |text: &str| text.to_owned();
        assert_eq!(dict.get("a").unwrap(), None);
        dict.insert(key("a"), 1).unwrap();
        dict.extend([(key("b"), 2), (key("c"), 3)]).unwrap();
        assert_eq!((dict.get("a").unwrap(), dict.len().unwrap()), (Some(1), 3));
        assert_eq!(dict.remove("a").unwrap(), Some(1));
        assert_eq!(dict.remove("a").unwrap(), None);
        assert_eq!(dict.get_or_insert(key("b"), 9).unwrap(), 2);
        assert!(dict.contains_key("b").unwrap() && !dict.is_empty().unwrap());
        assert_eq!(dict.items().unwrap(), [(key("b"), 2), (key("c"), 3)]);
        assert_eq!((dict.keys().unwrap(), dict.values().unwrap()), (vec![key("b"), key("c")], vec![2, 3]));
        assert_eq!(dict.copy().unwrap().to_string(), "{'b': 2, 'c': 3}");
        assert_eq!(dict.value::<BTreeMap<String, u64>>().unwrap().len(), 2);
        assert_eq!(dict.repr().unwrap(), "{'b': 2, 'c': 3}");
        // An iterator stays with the manager.
        let iterator = dict.call_for_object("__iter__", ()).unwrap();
        assert_eq!((iterator.typeid(), iterator.call::<String>("__next__", ()).unwrap()), ("Iterator", key("b")));
        iterator.call::<String>("__next__", ()).unwrap();
        let end = iterator.call::<String>("__next__", ()).unwrap_err();
        assert_eq!(end.exception(), Some("StopIteration"), "3.{minor}");
        dict.clear().unwrap();

        let list = manager.list([3, 1, 2]).unwrap();
        list.push(9).unwrap();
        list.extend([5, 4]).unwrap();
        list.sort().unwrap();
        list.reverse().unwrap();
        list.insert(0, 0).unwrap();
        list.set(-1, 7).unwrap();
        assert_eq!(list.to_vec().unwrap(), [0, 9, 5, 4, 3, 2, 7]);
        assert_eq!((list.get(1).unwrap(), list.pop().unwrap(), list.remove(0).unwrap()), (9, Some(7), 0));
        assert!(list.contains(&5).unwrap() && list.len().unwrap() == 5 && !list.is_empty().unwrap());
        assert_eq!(list.get(99).unwrap_err().exception(), Some("IndexError"));

        let value = manager.value("i", 7i64).unwrap();
        value.set(value.get().unwrap() + 1).unwrap();
        assert_eq!(value.get().unwrap(), 8);

        let names = manager.namespace().unwrap();
        names.set("x", 10u8).unwrap();
        names.set("y", (1.5, "text".to_owned())).unwrap();
        assert_eq!(names.get::<u8>("x").unwrap(), 10);
        assert_eq!(names.get::<(f64, String)>("y").unwrap(), (1.5, "text".to_owned()));
        names.remove("x").unwrap();
        assert_eq!(names.get::<u8>("x").unwrap_err().exception(), Some("AttributeError"));
    });
}

#[test]
fn queues_events_and_locks_wait_in_time() {
    each(|_, manager| {
        let queue: RemoteQueue<String> = manager.queue(1).unwrap();
        let short = Duration::from_millis(20);
        assert!(queue.is_empty().unwrap() && queue.try_get().unwrap().is_none());
        assert!(queue.get_timeout(short).unwrap().is_none());
        queue.put("one".to_owned()).unwrap();
        assert!(!queue.try_put("two".to_owned()).unwrap() && !queue.put_timeout("two".to_owned(), short).unwrap());
        assert!(queue.is_full().unwrap() && queue.len().unwrap() == 1);
        // One thread waits and keeps no other one waiting.
        let getter = queue.clone();
        let getter = std::thread::spawn(move || [getter.get().unwrap(), getter.get().unwrap()]);
        queue.put("two".to_owned()).unwrap();
        assert_eq!(getter.join().unwrap(), ["one", "two"]);
        queue.task_done().unwrap();
        queue.task_done().unwrap();
        queue.join().unwrap();
        assert_eq!(queue.task_done().unwrap_err().exception(), Some("ValueError"));

        let event = manager.event().unwrap();
        assert!(!event.is_set().unwrap() && !event.wait_timeout(short).unwrap());
        let waiter = event.clone();
        let waiter = std::thread::spawn(move || waiter.wait().unwrap());
        event.set().unwrap();
        waiter.join().unwrap();
        event.clear().unwrap();

        let lock = manager.lock().unwrap();
        let held = lock.lock().unwrap();
        assert!(!lock.try_acquire().unwrap() && !lock.acquire_timeout(short).unwrap());
        drop(held);
        assert!(lock.try_acquire().unwrap());
        lock.release().unwrap();
        assert_eq!(lock.release().unwrap_err().exception(), Some("RuntimeError"));
        // The other side tells threads apart by their connections.
        let rlock = manager.rlock().unwrap();
        let _outer = rlock.lock().unwrap();
        let _inner = rlock.lock().unwrap();
        let other = rlock.clone();
        assert!(!std::thread::spawn(move || other.try_acquire().unwrap()).join().unwrap());
        let semaphore = manager.semaphore(2).unwrap();
        let _both = (semaphore.lock().unwrap(), semaphore.lock().unwrap());
        assert!(!semaphore.try_acquire().unwrap());
    });
}

#[test]
fn types_without_a_type_here_are_called_by_name() {
    each(|minor, manager| {
        let array = manager.create("Array", ("i".to_owned(), vec![1, 2, 3])).unwrap();
        array.call::<()>("__setitem__", (0, 7)).unwrap();
        assert_eq!((array.call::<i32>("__getitem__", (0,)).unwrap(), array.call::<u8>("__len__", ()).unwrap()), (7, 3));
        // The array itself is no plain value.
        assert!(array.value::<PyValue>().unwrap_err().to_string().contains("array"), "3.{minor}");

        let barrier = manager.create("Barrier", (2,)).unwrap();
        let other = barrier.clone();
        let other = std::thread::spawn(move || other.call::<u8>("wait", ()).unwrap());
        let places = [barrier.call::<u8>("wait", ()).unwrap(), other.join().unwrap()];
        assert_eq!(places.iter().sum::<u8>(), 1);
        assert_eq!(barrier.call::<u8>("__getattribute__", ("parties".to_owned(),)).unwrap(), 2);
        barrier.call::<()>("abort", ()).unwrap();
        assert_eq!(barrier.call::<u8>("wait", ()).unwrap_err().exception(), Some("threading.BrokenBarrierError"));

        let condition = manager.create("Condition", ()).unwrap();
        assert_eq!(condition.call::<()>("notify", ()).unwrap_err().exception(), Some("RuntimeError"));
        assert!(condition.call::<bool>("acquire", ()).unwrap());
        assert!(!condition.call::<bool>("wait", (0.01,)).unwrap());
        condition.call::<()>("release", ()).unwrap();

        let semaphore = multiproc::RemoteLock::from(manager.create("BoundedSemaphore", (1,)).unwrap());
        assert_eq!(semaphore.release().unwrap_err().exception(), Some("ValueError"));

        let tasks = manager.create("JoinableQueue", ()).unwrap().into_queue::<u8>();
        tasks.put(1).unwrap();
        let hasty = RemoteQueue::<u8>::from(tasks.with_timeout(Duration::from_millis(20)));
        assert!(hasty.join().unwrap_err().is_timed_out());
        tasks.get().unwrap();
        tasks.task_done().unwrap();
        tasks.join().unwrap();
    });
}

#[test]
fn methods_of_registered_types() {
    each(|minor, manager| {
        let maths = manager.create("Maths", ()).unwrap();
        assert!(maths.methods().contains(&"divide".to_owned()));
        assert_eq!(maths.call::<i32>("add", (4, 3)).unwrap(), 7);
        assert_eq!(maths.call_with::<i32>("add", (4,), [("y", 3.into())]).unwrap(), 7);
        assert_eq!(maths.call::<f64>("divide", (1, 4)).unwrap(), 0.25);
        let failed = |result: Result<PyValue, RemoteCallError>| result.unwrap_err();
        let error = failed(maths.call("divide", (1, 0)));
        assert_eq!((error.exception(), error.exception_text()), (Some("ZeroDivisionError"), Some("division by zero")));
        let error = failed(maths.call("raise_", ("KeyError".to_owned(), "k".to_owned(), 2)));
        assert_eq!((error.exception(), error.exception_text()), (Some("KeyError"), Some("('k', 2)")), "3.{minor}");
        assert_eq!(error.to_string(), "`raise_` raised KeyError: ('k', 2)");
        let error = failed(maths.call("add", ()));
        assert_eq!(error.exception(), Some("TypeError"));
        let error = failed(maths.call("nothing", ()));
        assert!(error.traceback().unwrap().contains("AttributeError"), "{error}");
        let error = failed(manager.create("Hidden", ()).unwrap().call("divide", (1, 2)));
        assert!(error.traceback().unwrap().contains("exposed"), "{error}");
        let error = manager.create("Unknown", ()).unwrap_err();
        assert!(error.traceback().unwrap().contains("KeyError"), "{error}");
        // A result that is no plain value is named, and the connection goes on.
        let error = failed(maths.call("itself", ()));
        assert!(error.is_decode() && error.to_string().contains("__main__.Maths"), "{error}");
        let error = maths.call::<u8>("add", (4, 300)).unwrap_err();
        assert!(error.is_decode(), "{error}");
        assert_eq!(maths.call::<i32>("add", (1,)).unwrap(), 2);
        // A time limit: the answer that comes later is nobody's.
        let hasty = maths.with_timeout(Duration::from_millis(50));
        let start = Instant::now();
        assert!(failed(hasty.call("sleep", (3.0,))).is_timed_out());
        assert!(start.elapsed() < Duration::from_secs(3));
        assert_eq!(maths.call::<i32>("add", (2,)).unwrap(), 3);
    });
}

/// What another process does: it connects by itself.
fn worker(port: u16, allow_md5: bool) -> String {
    let manager = RemoteManager::builder().allow_md5(allow_md5).connect(("127.0.0.1", port), "abracadabra").unwrap();
    let queue = manager.create("get_queue", ()).unwrap().into_queue::<String>();
    let item = queue.get().unwrap();
    queue.put(format!("{item} back")).unwrap();
    item
}

#[test]
fn several_processes_meet_at_one_object() {
    each(|minor, manager| {
        let multiproc::Address::Tcp(_, port) = *manager.address() else { panic!("TCP was asked for") };
        let process = Process::spawn(worker, (port, minor < 12)).unwrap();
        let queue = manager.create("get_queue", ()).unwrap().into_queue::<String>();
        queue.put("there".to_owned()).unwrap();
        assert_eq!(process.join().unwrap(), "there");
        assert_eq!(queue.get().unwrap(), "there back");
    });
}

#[test]
fn a_manager_that_is_killed_ends_every_call() {
    let _watchdog = watchdog(60);
    for (minor, interpreter) in &*INTERPRETERS {
        let mut python = Python::start_with(interpreter, MANAGER, &[]).unwrap();
        let port: u16 = python.line().parse().unwrap();
        let manager =
            RemoteManager::builder().allow_md5(*minor < 12).connect(("127.0.0.1", port), "abracadabra").unwrap();
        let queue = manager.queue::<u8>(0).unwrap();
        let getter = queue.clone();
        // It waits for a second item, which never comes.
        let getter = std::thread::spawn(move || {
            let first = getter.get().unwrap();
            (first, getter.get().unwrap_err())
        });
        queue.put(1).unwrap();
        while queue.len().unwrap() > 0 {}
        let pid = rustix::process::Pid::from_raw(python.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let (first, error) = getter.join().unwrap();
        assert!(first == 1 && error.connection().is_some(), "3.{minor}: {error}");
        assert!(queue.put(2).unwrap_err().connection().is_some());
        python.killed();
    }
}

#[test]
fn who_has_no_key_and_who_is_no_manager_is_told() {
    let _watchdog = watchdog(60);
    let Some(mut python) = Python::start(MANAGER, &[]) else { return };
    let port: u16 = python.line().parse().unwrap();
    let error = RemoteManager::builder().allow_md5(true).connect(("127.0.0.1", port), "another").unwrap_err();
    assert!(error.connection().unwrap().is_authentication(), "{error}");
    let manager = RemoteManager::builder().allow_md5(true).connect(("127.0.0.1", port), "abracadabra").unwrap();
    manager.shutdown().unwrap();
    python.end();
    // A listener that welcomes, and answers with something else.
    let listener = multiproc::Listener::bind(("localhost", 0), "key").unwrap();
    let address = listener.address().clone();
    let client = std::thread::spawn(move || RemoteManager::connect(address, "key").unwrap_err());
    let connection = listener.accept().unwrap();
    assert_eq!(connection.recv::<PyValue>().unwrap().to_string(), "(None, 'dummy', (), {})");
    connection.send(&"hello").unwrap();
    let error = client.join().unwrap();
    assert!(error.remote_call().unwrap().is_decode(), "{error}");
}
