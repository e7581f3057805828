//! `SharedMemory`: by name, with Python, without a name, and after a kill.

use super::common::alone::alone;
use super::common::evil::hide_proc;
use super::common::links::on_each_pool;
use super::common::proc::{books_are_in_order, eventually, kill};
use super::common::python::Python;
use super::common::watchdog::watchdog;
use multiproc::{Pool, Process, SharedMemory};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

pub(super) const SOON: Duration = Duration::from_secs(20);

/// A name that no other test uses.
pub(super) fn name(what: &str) -> String {
    format!("multiproc-{}-{what}", std::process::id())
}

pub(super) fn exists(name: &str) -> bool {
    Path::new("/dev/shm").join(name).exists()
}

fn io_kind<T>(result: Result<T, multiproc::Error>) -> Option<ErrorKind> {
    result.err().expect("an error").io_kind()
}

/// Python 3.11 removes what it has merely attached to when it ends, unless it is told not to.
const ATTACH: &str = "
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(name=sys.argv[1])
resource_tracker.unregister(memory._name, 'shared_memory')
";

#[test]
fn a_name_is_made_found_and_removed() {
    let _watchdog = watchdog(60);
    let name = name("basics");
    let memory = SharedMemory::create(&*name, 512).unwrap();
    assert_eq!((memory.name(), memory.size()), (Some(&*name), 512));
    assert_eq!(format!("{memory:?}"), format!("SharedMemory({name:?}, size=512)"));
    assert_eq!(memory.read(..), [0; 512]);
    memory.write(0, &[42]);
    let same = SharedMemory::open(&name).unwrap();
    assert_eq!((same.read(0..1), same.size()), (vec![42], 512));
    same.write(511, b"x");
    assert_eq!(memory.read(511..=511), b"x");
    // As C programs write it.
    assert_eq!(SharedMemory::open(&format!("/{name}")).unwrap().name(), Some(&*name));

    assert_eq!(io_kind(SharedMemory::create(&*name, 512)), Some(ErrorKind::AlreadyExists));
    let error = SharedMemory::open(&format!("{name}-missing")).unwrap_err();
    assert_eq!(error.io_kind(), Some(ErrorKind::NotFound));
    assert_eq!(error.to_string(), format!("there is no shared memory called \"{name}-missing\""));

    // Whoever has only opened it leaves the name alone.
    drop(same);
    assert!(exists(&name));
    memory.unlink().unwrap();
    assert_eq!(io_kind(memory.unlink()), Some(ErrorKind::NotFound));
    assert_eq!(io_kind(SharedMemory::open(&name)), Some(ErrorKind::NotFound));
    // It is still there.
    memory.write(1, b"on");
    assert_eq!(memory.read(..3), b"\x2aon");
}

#[test]
fn wrong_names_and_sizes_are_refused() {
    let _watchdog = watchdog(60);
    let long = "x".repeat(256);
    for wrong in ["", "/", ".", "..", "a/b", "../a", "//a", "a\0b", &long] {
        assert!(SharedMemory::create(wrong, 1).unwrap_err().is_invalid_argument(), "{wrong}");
        assert!(SharedMemory::open(wrong).unwrap_err().is_invalid_argument(), "{wrong}");
    }
    assert!(SharedMemory::create(&*name("zero"), 0).unwrap_err().is_invalid_argument());
    assert!(SharedMemory::anonymous(0).unwrap_err().is_invalid_argument());
    let large = name("large");
    for size in [1 << 50, usize::MAX] {
        assert!(SharedMemory::create(&*large, size).unwrap_err().io_kind().is_some());
        assert!(SharedMemory::anonymous(size).unwrap_err().is_shared_memory());
    }
    assert!(!exists(&large));
    // The longest, and letters of all kinds.
    let longest = format!("{:é<1$}", name("long"), 100);
    let longest = format!("{longest}{}", "x".repeat(255 - longest.len()));
    assert_eq!(SharedMemory::create(&*longest, 1).unwrap().name(), Some(&*longest));
    assert!(!exists(&longest));
}

#[test]
fn what_is_no_memory_is_no_memory() {
    let _watchdog = watchdog(60);
    let (empty, folder, link) = (name("empty"), name("folder"), name("link"));
    let path = |name: &str| Path::new("/dev/shm").join(name);
    std::fs::write(path(&empty), b"").unwrap();
    std::fs::create_dir(path(&folder)).unwrap();
    std::os::unix::fs::symlink("/dev/null", path(&link)).unwrap();
    let kinds = [&empty, &folder, &link].map(|name| io_kind(SharedMemory::open(name)));
    std::fs::remove_file(path(&empty)).unwrap();
    std::fs::remove_dir(path(&folder)).unwrap();
    std::fs::remove_file(path(&link)).unwrap();
    assert_eq!(kinds[0], Some(ErrorKind::InvalidData));
    assert!(kinds[1].is_some() && kinds[2].is_some());
}

#[test]
fn values_lie_where_they_were_put() {
    let _watchdog = watchdog(60);
    for memory in [SharedMemory::create(None, 100).unwrap(), SharedMemory::anonymous(100).unwrap()] {
        memory.set(3, 0x0102_0304_0506_0708u64);
        memory.set(92, -1.5f64);
        memory.set_many(20, &[1u16, 2, 3]);
        assert_eq!(memory.get::<u64>(3), 0x0102_0304_0506_0708);
        assert_eq!((memory.get::<f64>(92), memory.get::<[u16; 3]>(20)), (-1.5, [1, 2, 3]));
        assert_eq!(memory.get_many::<u16>(20, 4), [1, 2, 3, 0]);
        assert_eq!(memory.read(3..5), 0x0708u16.to_le_bytes());
        assert!(memory.read(100..).is_empty() && memory.get_many::<u64>(100, 0).is_empty());
        let outside: [&dyn Fn(&SharedMemory); 7] = [
            &|it| drop(it.read(99..101)),
            &|it| drop(it.read(101..101)),
            &|it| drop(it.read(..=usize::MAX)),
            &|it| it.write(98, b"abc"),
            &|it| it.set(93, 1u64),
            &|it| assert_eq!(it.get::<u64>(usize::MAX), 0),
            &|it| drop(it.get_many::<u64>(0, usize::MAX)),
        ];
        for access in outside {
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| access(&memory))).unwrap_err();
            let text = panic.downcast_ref::<String>().unwrap();
            assert!(text.contains("do not lie inside of shared memory of 100 bytes"), "{text}");
        }
    }
}

#[test]
fn python_opens_what_we_have_made() {
    let _watchdog = watchdog(60);
    let memory = SharedMemory::create(None, 5000).unwrap();
    let made = memory.name().unwrap();
    assert!(made.len() == 12 && made.starts_with("psm_"), "{made}");
    memory.write(0, b"from rust");
    let program = format!("{ATTACH}print(memory.size, bytes(memory.buf[:9]))\nmemory.buf[4000:4011] = b'from python'");
    let Some(printed) = Python::run(&program, &[made]) else { return };
    assert_eq!(printed, "5000 b'from rust'");
    assert_eq!(memory.read(4000..4011), b"from python");
    assert!(exists(made));
    // The other rules of Python, from its side.
    let made = made.to_owned();
    drop(memory);
    let program = "
import sys
from multiprocessing.shared_memory import SharedMemory
try:
    SharedMemory(name=sys.argv[1])
except FileNotFoundError:
    print('gone')
";
    assert_eq!(Python::run(program, &[&made]).unwrap(), "gone");
}

#[test]
fn we_open_what_python_has_made() {
    let _watchdog = watchdog(60);
    let program = "
import sys
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(create=True, size=3000)
memory.buf[10:15] = b'hello'
print(memory.name)
input()
print(bytes(memory.buf[2000:2004]))
try:
    SharedMemory(name=memory.name, create=True, size=1)
except FileExistsError:
    print('exists')
memory.unlink()
";
    let Some(mut python) = Python::start(program, &[]) else { return };
    let made = python.line();
    let memory = SharedMemory::open(&made).unwrap();
    assert_eq!((memory.size(), memory.read(10..15)), (3000, b"hello".to_vec()));
    // It is not ours: dropping a handle does not touch the name.
    drop(memory.clone());
    drop(SharedMemory::open(&made).unwrap());
    memory.keep();
    assert_eq!(io_kind(SharedMemory::create(&*made, 1)), Some(ErrorKind::AlreadyExists));
    memory.set_many(2000, b"rust");
    python.say("go on");
    assert_eq!(python.line(), "b'rust'");
    assert_eq!(python.line(), "exists");
    assert_eq!(python.end(), "");
    assert!(!exists(&made));
    assert_eq!(memory.read(2000..2004), b"rust");
    assert_eq!(io_kind(memory.unlink()), Some(ErrorKind::NotFound));
}

#[test]
fn a_python_that_is_killed_takes_nothing_of_ours_along() {
    let _watchdog = watchdog(60);
    let memory = SharedMemory::create(None, 10).unwrap();
    let program = format!("{ATTACH}print('open')\ninput()");
    let Some(mut python) = Python::start(&program, &[memory.name().unwrap()]) else { return };
    assert_eq!(python.line(), "open");
    kill(python.pid());
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| python.end())));
    assert!(exists(memory.name().unwrap()));
}

#[test]
fn a_name_goes_with_the_last_handle_of_its_creators() {
    let _watchdog = watchdog(60);
    let memory = SharedMemory::create(None, 10).unwrap();
    let made = memory.name().unwrap().to_owned();
    let (clone, opened) = (memory.clone(), SharedMemory::open(&made).unwrap());
    drop(memory);
    assert!(exists(&made));
    drop(clone);
    assert!(!exists(&made));
    opened.write(0, b"still here");
    assert_eq!(opened.read(..5), b"still");
}

#[test]
fn a_name_that_means_something_else_by_now_stays() {
    let _watchdog = watchdog(60);
    let name = name("again");
    let first = SharedMemory::create(&*name, 10).unwrap();
    std::fs::remove_file(Path::new("/dev/shm").join(&name)).unwrap();
    let second = SharedMemory::create(&*name, 20).unwrap();
    assert_eq!(io_kind(first.unlink()), Some(ErrorKind::NotFound));
    drop(first);
    assert_eq!(SharedMemory::open(&name).unwrap().size(), 20);
    drop(second);
    assert!(!exists(&name));
}

#[test]
fn what_is_kept_stays() {
    let _watchdog = watchdog(60);
    let name = name("kept");
    let pool = Pool::new(1).unwrap();
    let keep = |name: String| SharedMemory::create(&*name, 3).map(|memory| (memory.keep(), memory.write(0, b"abc")).0);
    pool.task(keep, (name.clone(),)).fallible().run().unwrap();
    drop(pool);
    let memory = SharedMemory::open(&name).unwrap();
    assert_eq!(memory.read(..), b"abc");
    memory.unlink().unwrap();
    assert!(!exists(&name));
}

#[test]
fn it_travels_to_tasks_and_back() {
    on_each_pool(2, 60, |pool| {
        for memory in [SharedMemory::create(None, 800).unwrap(), SharedMemory::anonymous(800).unwrap()] {
            let opened = memory.name().map(|name| SharedMemory::open(name).unwrap());
            let squares = |memory: &SharedMemory, i: usize| memory.set(8 * i, (i * i) as u64);
            pool.with(&memory).tasks(squares, 0..100).run().unwrap();
            assert_eq!(memory.get_many::<u64>(0, 100), (0..100).map(|i| i * i).collect::<Vec<u64>>());
            let back = pool.apply(|memory: SharedMemory| memory, (memory.clone(),)).unwrap();
            back.set(0, 7u64);
            assert_eq!(memory.get::<u64>(0), 7);
            if let Some(opened) = opened {
                assert_eq!(pool.apply(|it: SharedMemory| it.get::<u64>(0), (opened,)).unwrap(), 7);
                // The last handle is one that has come back.
                let made = memory.name().unwrap().to_owned();
                drop(memory);
                assert!(exists(&made));
                drop(back);
                // Workers keep what they got with a call until the next ones.
                assert!(eventually(SOON, || pool.map(|x: u64| x, 0..100).is_ok() && !exists(&made)));
            }
        }
    });
}

#[test]
fn what_a_worker_has_made_outlives_it_in_the_hands_of_others() {
    on_each_pool(1, 60, |pool| {
        let make = |size: usize| SharedMemory::create(None, size);
        let made = pool.try_map(make, [10, 20, 30]).unwrap();
        kill(pool.worker_pids()[0]);
        pool.map_each(|x: i32| x, 0..3);
        for (memory, size) in made.iter().zip([10, 20, 30]) {
            assert_eq!(SharedMemory::open(memory.name().unwrap()).unwrap().size(), size);
        }
        let names: Vec<String> = made.iter().map(|memory| memory.name().unwrap().to_owned()).collect();
        drop(made);
        assert!(eventually(SOON, || !names.iter().any(|name| exists(name))), "{names:?}");
    });
}

#[test]
fn a_killed_worker_leaves_no_name() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(2).unwrap();
    let names: Vec<String> = (0..20).map(|i| name(&format!("killed-{i}"))).collect();
    let lost = pool.map_each(
        |name: String| {
            let memory = SharedMemory::create(&*name, 100).unwrap();
            memory.write(0, b"bye");
            std::process::abort();
        },
        names.clone(),
    );
    assert!(lost.iter().all(|it: &Result<(), _>| it.as_ref().unwrap_err().is_worker_lost()));
    assert!(eventually(SOON, || !names.iter().any(|name| exists(name))));
    // Nor does one that ends with handles in its hands.
    let made = pool
        .task(|| SharedMemory::create(None, 1).map(|it| std::mem::ManuallyDrop::new(it).name().unwrap().to_owned()), ())
        .fallible()
        .run();
    let made = made.unwrap();
    assert!(exists(&made));
    drop(pool);
    assert!(eventually(SOON, || !exists(&made)));
    assert!(books_are_in_order());
}

#[test]
fn a_name_can_be_written_anywhere_and_anonymous_memory_only_in_messages() {
    let _watchdog = watchdog(60);
    let memory = SharedMemory::create(None, 10).unwrap();
    memory.write(0, b"json");
    let text = serde_json::to_string(&memory).unwrap();
    let same: SharedMemory = serde_json::from_str(&text).unwrap();
    assert_eq!(same.read(..4), b"json");
    drop(same);
    assert!(exists(memory.name().unwrap()));
    drop(memory);
    let error = serde_json::from_str::<SharedMemory>(&text).unwrap_err().to_string();
    assert!(error.contains("there is no shared memory called \"psm_"), "{error}");
    for hostile in [
        r#"{"Opened":"../etc/passwd"}"#,
        r#"{"Opened":""}"#,
        r#"{"Anonymous":[1,2,3]}"#,
        r#"{"Created":["x",[1,2],[1,2,3]]}"#,
    ] {
        assert!(serde_json::from_str::<SharedMemory>(hostile).is_err(), "{hostile}");
    }
    let error = serde_json::to_string(&SharedMemory::anonymous(1).unwrap()).unwrap_err().to_string();
    assert!(error.contains("can only travel in"), "{error}");
    // In a task it is an error of that task when the name is gone.
    let pool = Pool::new(1).unwrap();
    let gone = SharedMemory::create(None, 1).unwrap();
    gone.unlink().unwrap();
    let error = pool.apply(|memory: SharedMemory| memory.size(), (gone,)).unwrap_err();
    assert!(error.task().unwrap().is_decode() && error.to_string().contains("there is no shared memory"), "{error}");
}

#[test]
fn it_travels_to_processes_and_back() {
    let _watchdog = watchdog(60);
    for memory in [SharedMemory::create(None, 100).unwrap(), SharedMemory::anonymous(100).unwrap()] {
        let process = Process::spawn(|memory: SharedMemory| memory.write(5, b"here"), (memory.clone(),)).unwrap();
        process.join().unwrap();
        assert_eq!(memory.read(5..9), b"here");
    }
    // A daemonic process, which may have no children, makes one as well.
    let make = || SharedMemory::create(None, 7).unwrap();
    let memory = Process::builder().daemon(true).spawn(make, ()).unwrap().join().unwrap();
    assert_eq!(memory.size(), 7);
    let made = memory.name().unwrap().to_owned();
    assert!(exists(&made));
    drop(memory);
    assert!(eventually(SOON, || !exists(&made)));
}

#[test]
fn handles_go_to_any_thread() {
    fn check<T: Send + Sync + Clone + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    check::<SharedMemory>();
}

#[test]
fn a_name_needs_no_proc() {
    if !alone("shared_memory::a_name_needs_no_proc") {
        return;
    }
    let _watchdog = watchdog(60);
    hide_proc();
    if Path::new("/proc/self").exists() {
        println!("not tested: /proc cannot be hidden from a process here");
        return;
    }
    let memory = SharedMemory::create(None, 5000).unwrap();
    let name = memory.name().unwrap().to_owned();
    memory.write(0, b"seen");
    assert_eq!(SharedMemory::open(&name).unwrap().read(..4), b"seen");
    assert_eq!(SharedMemory::create(&*name, 1).unwrap_err().io_kind(), Some(ErrorKind::AlreadyExists));
    drop(memory);
    assert_eq!(SharedMemory::open(&name).unwrap_err().io_kind(), Some(ErrorKind::NotFound));
}
