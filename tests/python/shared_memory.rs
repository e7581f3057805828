//! Python's own test cases of shared memory with a name, under their names. What Python programs themselves read and write
//! is tested in `tests/shared`.
//!
//! Changed: indexes are `usize`, so there are no negative ones; `create` and `open` are two functions, so that opening
//! without a name cannot be written; a leak is not reported, since there is none.

use super::common::alone::{is_program, program};
use super::common::proc::{eventually, send_signal};
use super::common::watchdog::watchdog;
use multiproc::{Item, Process, RawValue, ShareableList, SharedMemory, SharedMemoryManager};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::Stdio;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn name(what: &str) -> String {
    format!("multiproc-python-{what}-{}", std::process::id())
}

fn is_gone(name: &str) -> bool {
    SharedMemory::open(name).is_err_and(|error| error.io_kind() == Some(ErrorKind::NotFound))
}

#[test]
fn test_shared_memory_basics() {
    let _watchdog = watchdog(60);
    let name = name("basics");
    let memory = SharedMemory::create(&*name, 512).unwrap();
    assert_eq!(memory.name(), Some(&*name));
    assert!(memory.size() >= 512);
    memory.write(0, &[42]);
    let attached = SharedMemory::open(&name).unwrap();
    assert_eq!(attached.read(..1), [42]);
    attached.write(1, &[99]);
    assert_eq!(memory.read(..2), [42, 99]);
    // By another process, too.
    let other = Process::spawn(|name: String| SharedMemory::open(&name).unwrap().read(..2), (name.clone(),)).unwrap();
    assert_eq!(other.join().unwrap(), [42, 99]);

    assert!(SharedMemory::create(None, 0).unwrap_err().is_invalid_argument());
    let taken = SharedMemory::create(&*name, 512).unwrap_err();
    assert_eq!(taken.io_kind(), Some(ErrorKind::AlreadyExists));
    memory.unlink().unwrap();
    assert_eq!(memory.unlink().unwrap_err().io_kind(), Some(ErrorKind::NotFound));
    assert!(is_gone(&name));
    // Names that are made up are all different.
    let several: Vec<SharedMemory> = (0..20).map(|_| SharedMemory::create(None, 1).unwrap()).collect();
    let mut names: Vec<_> = several.iter().map(SharedMemory::name).collect();
    names.sort();
    names.dedup();
    assert!(names.len() == 20 && names.iter().all(Option::is_some));
}

#[test]
#[allow(non_snake_case, reason = "its name in Python")]
fn test_shared_memory_ShareableList_basics() {
    let _watchdog = watchdog(60);
    let mixed: Vec<Item> =
        vec!["howdy".into(), b"HoWdY".into(), (-273.154).into(), 100.into(), Item::None, true.into(), 42.into()];
    let list = ShareableList::create(None, mixed.clone()).unwrap();
    assert_eq!((list.len(), list.to_vec().unwrap()), (7, mixed));
    assert_eq!(list.format().unwrap(), "8s8sdqxxxxxx?xxxxxxxx?q");
    assert!(list.get(7).is_err() && list.set(7, 1).is_err());
    assert_eq!((list.index(100).unwrap(), list.count(42).unwrap()), (Some(3), 1));
    list.set(3, 42).unwrap();
    assert_eq!((list.get(3).unwrap(), list.count(42).unwrap()), (42.into(), 2));
    // Another type in the same place.
    list.set(4, "some").unwrap();
    list.set(6, 6.25).unwrap();
    assert_eq!((list.get(4).unwrap(), list.get(6).unwrap()), ("some".into(), 6.25.into()));
    // Eight bytes of UTF-8 fit, nine do not, and nothing is spilt into the neighbour.
    let short = ShareableList::create(None, [Item::from("abcde"), "neighbour".into()]).unwrap();
    short.set(0, "äöüß").unwrap();
    assert_eq!(short.get(0).unwrap(), "äöüß".into());
    assert!(short.set(0, "äöüßx").unwrap_err().is_invalid_argument());
    assert_eq!(short.to_vec().unwrap(), ["äöüß".into(), Item::from("neighbour")]);
    // A copy is another list, what is opened by name is the same.
    let copy = ShareableList::create(None, list.to_vec().unwrap()).unwrap();
    let same = ShareableList::open(list.shared_memory().name().unwrap()).unwrap();
    list.set(0, "changed").unwrap();
    assert_eq!((copy.get(0).unwrap(), same.get(0).unwrap()), ("howdy".into(), "changed".into()));
    let empty = ShareableList::create(None, Vec::<Item>::new()).unwrap();
    assert!(empty.is_empty() && empty.get(0).is_err());
}

/// Of a program that is killed, and of a process of a program that goes on; by SIGTERM as in Python, and by SIGKILL.
#[test]
fn test_shared_memory_cleaned_after_process_termination() {
    const NAME: &str = "shared_memory::test_shared_memory_cleaned_after_process_termination";
    if is_program(NAME) {
        let memory = SharedMemory::create(None, 10).unwrap();
        println!("name: {}", memory.name().unwrap());
        std::thread::sleep(Duration::from_secs(1000));
        unreachable!("{memory:?}");
    }
    let _watchdog = watchdog(120);
    for signal in [Signal::TERM, Signal::KILL] {
        let mut child = program(NAME).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let name = lines.find_map(|line| Some(line.unwrap().split_once("name: ")?.1.to_owned())).unwrap();
        assert!(SharedMemory::open(&name).is_ok());
        assert!(send_signal(i32::try_from(child.id()).unwrap(), signal));
        child.wait().unwrap();
        assert!(eventually(SOON, || is_gone(&name)), "{name} is still there after {signal:?}");

        let told = name_of_a_process(signal);
        assert!(eventually(SOON, || is_gone(&told)), "{told} is still there after {signal:?}");
    }
}

/// A process of this one makes shared memory and is killed; the name of that.
fn name_of_a_process(signal: Signal) -> String {
    let name = format!("{}-{}", name("process"), signal.as_raw());
    let made = RawValue::new(0u32);
    let make = |name: String, made: RawValue<u32>| {
        let memory = SharedMemory::create(&*name, 10).unwrap();
        made.set(1);
        std::thread::sleep(Duration::from_secs(1000));
        drop(memory);
    };
    let process = Process::spawn(make, (name.clone(), made.clone())).unwrap();
    assert!(eventually(SOON, || made.get() == 1));
    assert!(SharedMemory::open(&name).is_ok());
    assert!(send_signal(process.pid(), signal));
    process.wait();
    name
}

#[test]
fn test_shared_memory_shared_memory_manager_basics() {
    let _watchdog = watchdog(60);
    let manager = SharedMemoryManager::new();
    let lists: Vec<ShareableList> = (0..2).map(|_| manager.shareable_list(0..5).unwrap()).collect();
    let memory = manager.shared_memory(20).unwrap();
    assert!(memory.size() >= 20);
    let names = manager.names();
    assert_eq!(names.len(), 3);
    let opened = ShareableList::open(lists[0].shared_memory().name().unwrap()).unwrap();
    assert_eq!(opened.get(3).unwrap(), Item::Int(3));
    // The names stay although no handle is left but the manager's.
    drop((lists, memory));
    assert!(names.iter().all(|name| !is_gone(name)));
    manager.shutdown();
    assert!(names.iter().all(|name| is_gone(name)));
    // Who has the memory open goes on using it.
    assert_eq!(opened.len(), 5);
    let name = {
        let manager = SharedMemoryManager::new();
        manager.shareable_list([1, 2]).unwrap();
        manager.names().remove(0)
    };
    assert!(is_gone(&name));
}

#[test]
fn test_shared_memory_shared_memory_manager_is_killed() {
    let _watchdog = watchdog(60);
    let make = |out: multiproc::Queue<Vec<String>>| {
        let manager = SharedMemoryManager::new();
        manager.shared_memory(10).unwrap();
        manager.shareable_list(0..3).unwrap();
        out.put(manager.names()).unwrap();
        std::thread::sleep(Duration::from_secs(1000));
    };
    let out = multiproc::Queue::new();
    let owner = Process::spawn(make, (out.clone(),)).unwrap();
    let names = out.get().unwrap();
    assert!(names.len() == 2 && names.iter().all(|name| !is_gone(name)));
    send_signal(owner.pid(), Signal::KILL);
    owner.wait();
    assert!(eventually(SOON, || names.iter().all(|name| is_gone(name))));
}
