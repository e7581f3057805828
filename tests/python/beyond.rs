//! Cases that CPython does not have, since it does not pass them: what it does instead is said at each.
//!
//! Values of 3 GiB, which older Pythons cannot send, pass here as well; but a test that proves it every time would ask for
//! more memory than a test may.

use super::common::alone::{is_program, program};
use super::common::links::{on_each_link, on_each_link_spawned, on_each_pool, on_ring_pool};
use super::common::proc::{descendants_of, eventually, is_alive, kill, own_pid};
use super::common::watchdog::watchdog;
use multiproc::{Array, Lock, Pool, Process, RawValue, Value};
use serde::{Deserialize, Deserializer, Serialize};
use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn sqr(x: u64) -> u64 {
    x * x
}

fn sleep_long() {
    std::thread::sleep(Duration::from_secs(1000));
}

/// Says who it is, and waits to be killed.
fn wait_for_death(pid: RawValue<i32>) {
    pid.set(own_pid());
    sleep_long();
}

/// In Python `get` hangs for ever.
#[test]
fn test_worker_sigkilled() {
    on_each_pool(2, 60, |pool| {
        for _ in 0..3 {
            let victim = RawValue::new(0);
            let mut result = pool.apply_async(wait_for_death, (victim.clone(),)).unwrap();
            assert!(eventually(SOON, || victim.get() != 0));
            assert!(kill(victim.get()));
            let error = result.get_timeout(SOON).unwrap().unwrap_err();
            assert!(error.is_worker_lost(), "{error}");
            assert_eq!((error.signal(), error.worker()), (Some(9), Some(victim.get())));
            assert_eq!(pool.map(sqr, 0..4).unwrap(), [0, 1, 4, 9]);
        }
    });
}

/// In Python `get` hangs for ever.
#[test]
fn test_task_exits() {
    on_each_pool(2, 60, |pool| {
        let results = pool.map_each(|x: i32| if x == 3 { std::process::exit(77) } else { x }, 0..20);
        for (x, result) in (0..).zip(results) {
            match result {
                Ok(value) => assert_eq!(value, x),
                Err(error) => assert!(x == 3 && error.is_worker_lost() && error.exit_code() == Some(77), "{error}"),
            }
        }
    });
}

/// A panic takes the place of Python's exceptions that are none, such as `SystemExit`: these hang `get`.
#[test]
fn test_task_panics() {
    on_each_pool(1, 60, |pool| {
        let before = pool.worker_pids();
        let results = pool.map_each(|x: i32| assert!(x != 3, "not {x}"), 0..5);
        let error = results[3].as_ref().unwrap_err();
        assert!(error.is_panic() && error.message() == Some("not 3"), "{error}");
        assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 4);
        assert_eq!(pool.worker_pids(), before);
    });
}

/// A value that arrives, but cannot be read.
#[derive(Debug, Serialize)]
struct Unreadable(bool);

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unreadable, D::Error> {
        match bool::deserialize(deserializer)? {
            true => Err(serde::de::Error::custom("cannot be read, on purpose")),
            false => Ok(Unreadable(false)),
        }
    }
}

/// An error that no other process could put together again.
#[derive(Debug)]
struct Peculiar {
    has_text: bool,
}

impl std::fmt::Display for Peculiar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        assert!(self.has_text, "the text, on purpose");
        f.write_str("peculiar")
    }
}

impl std::error::Error for Peculiar {}

/// In Python an exception that cannot be decoded kills the thread of results: all later ones hang.
#[test]
fn test_undecodable_value() {
    on_each_pool(2, 60, |pool| {
        let results = pool.map_each(|x: u32| Unreadable(x % 2 == 1), 0..10);
        for (x, result) in results.into_iter().enumerate() {
            match result {
                Ok(_) => assert!(x % 2 == 0),
                Err(error) => assert!(x % 2 == 1 && error.is_decode(), "{error}"),
            }
        }
        let fail = |has_text: bool| -> Result<(), Peculiar> { Err(Peculiar { has_text }) };
        let error = pool.task(fail, (true,)).fallible().run().unwrap_err();
        assert!(error.task().unwrap().is_error() && error.to_string().ends_with("failed: peculiar"), "{error}");
        let error = pool.task(fail, (false,)).fallible().run().unwrap_err();
        assert!(error.task().unwrap().is_panic() && error.to_string().contains("the text, on purpose"), "{error}");
        assert_eq!(pool.map(sqr, 0..4).unwrap(), [0, 1, 4, 9]);
    });
}

/// In Python all later results hang.
#[test]
fn test_callback_panics() {
    on_each_pool(1, 60, |pool| {
        let bad = pool.apply_async(sqr, (3,)).unwrap().callback(|_| panic!("a callback, on purpose"));
        assert_eq!(bad.get().unwrap(), 9);
        let (tell, told) = channel();
        let good = pool.apply_async(sqr, (4,)).unwrap().callback(move |value| tell.send(*value).unwrap());
        assert_eq!((told.recv_timeout(SOON).unwrap(), good.get().unwrap()), (16, 16));
    });
}

/// In Python workers are started for ever, and `get` hangs.
#[test]
fn test_initializer_fails() {
    on_each_link_spawned(60, |builder| {
        let fail = || -> () { panic!("no database, on purpose") };
        let error = builder().processes(2).initializer(fail, ()).build().unwrap_err();
        assert!(error.is_initializer() && error.to_string().contains("no database, on purpose"), "{error}");
        // It fails only in replacements.
        let starts = RawValue::new(0u32);
        let once = |starts: RawValue<u32>| assert!(starts.fetch_add(1) == 0, "no second time, on purpose");
        let pool = builder().processes(1).initializer(once, (starts.clone(),)).build().unwrap();
        assert_eq!(pool.apply(sqr, (3,)).unwrap(), 9);
        assert!(pool.apply(|| -> () { std::process::abort() }, ()).unwrap_err().task().unwrap().is_worker_lost());
        let error = pool.apply(sqr, (3,)).unwrap_err();
        assert!(error.is_broken() && error.to_string().contains("no second time, on purpose"), "{error}");
        assert!(starts.get() < 20, "{}", starts.get());
        assert!(pool.apply_async(sqr, (3,)).unwrap_err().is_broken());
    });
}

/// In Python the result of `map` is a list of `None`.
#[test]
fn test_map_chunksize_zero() {
    on_ring_pool(1, 60, |pool| {
        assert!(pool.tasks(sqr, 0..3).chunksize(0).run().unwrap_err().is_invalid_argument());
        assert_eq!(pool.map(sqr, 0..3).unwrap(), [0, 1, 4]);
    });
}

/// In Python the first error ends the iteration, and all other results are lost.
#[test]
fn test_imap_chunks_after_an_error() {
    on_each_pool(2, 60, |pool| {
        let all: Vec<_> = pool.tasks(|x: u64| assert!(x != 3), 0..20).chunksize(5).iter().collect();
        assert_eq!(all.len(), 20);
        assert!(all.iter().zip(0..).all(|(result, x)| result.is_err() == (x == 3)));
    });
}

/// In Python `get` hangs for ever.
#[test]
fn test_get_after_terminate() {
    on_each_link(60, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let results: Vec<_> = (0..10).map(|_| pool.apply_async(sleep_long, ()).unwrap()).collect();
        pool.terminate();
        for mut result in results {
            let error = result.get_timeout(SOON).unwrap().unwrap_err();
            assert!(error.is_terminated(), "{error}");
        }
        // One that nobody waits for while the pool ends.
        let started = RawValue::new(0u32);
        let hang = |started: RawValue<u32>| {
            started.set(1);
            sleep_long();
        };
        let pool = builder().processes(1).build().unwrap();
        let mut running = pool.apply_async(hang, (started.clone(),)).unwrap();
        assert!(eventually(SOON, || started.get() == 1));
        pool.terminate();
        pool.join().unwrap();
        let error = running.get_timeout(SOON).unwrap().unwrap_err();
        assert!(error.is_terminated(), "{error}");
    });
}

/// In Python the input is read as fast as it can be, into memory.
#[test]
fn test_imap_infinite_input() {
    on_each_pool(2, 60, |pool| {
        let read = Cell::new(0u64);
        let input = (0u64..).inspect(|_| read.set(read.get() + 1));
        let work = |x: u64| {
            std::thread::sleep(Duration::from_millis(1));
            x
        };
        let mut results = pool.imap(work, input);
        for x in 0..100 {
            assert_eq!(results.next().unwrap().unwrap(), x);
        }
        assert!(read.get() < 1000, "{} items read for 100 results", read.get());
    });
}

/// In Python the others wait for ever.
#[test]
fn test_holder_killed() {
    let _watchdog = watchdog(60);
    let (lock, value, array, held) = (Lock::new(), Value::new(1u64), Array::<u64>::new(2), RawValue::new(0u32));
    let hold = |lock: Lock, value: Value<u64>, array: Array<u64>, held: RawValue<u32>| {
        let _lock = lock.lock().unwrap();
        let _value = value.lock().unwrap();
        let _array = array.lock().unwrap();
        held.set(1);
        sleep_long();
    };
    let wait = |lock: Lock| lock.lock().is_err_and(|error| error.is_owner_died());
    let holder = Process::spawn(hold, (lock.clone(), value.clone(), array.clone(), held.clone())).unwrap();
    assert!(eventually(SOON, || held.get() == 1));
    let waiter = Process::spawn(wait, (lock.clone(),)).unwrap();
    assert!(lock.try_lock().unwrap().is_none());
    holder.kill();
    assert!(waiter.join().unwrap());
    assert!(lock.lock().unwrap_err().is_owner_died());
    assert!(value.get().unwrap_err().is_owner_died());
    assert!(array.get(0).unwrap_err().is_owner_died());
    lock.lock_poisoned().unwrap().clear_poison();
    value.lock_poisoned().unwrap().clear_poison();
    array.lock_poisoned().unwrap().clear_poison();
    assert!(lock.lock().is_ok() && value.get().unwrap() == 1 && array.get(0).unwrap() == 0);
}

/// In Python the workers live on.
#[test]
fn test_parent_sigkilled() {
    const NAME: &str = "beyond::test_parent_sigkilled";
    if is_program(NAME) {
        let pool = Pool::new(2).unwrap();
        let nested = || {
            let inner = Pool::new(2).unwrap();
            println!("started");
            inner.map(|()| sleep_long(), [(); 2])
        };
        let _busy = pool.apply_async(nested, ()).unwrap();
        drop(Process::spawn(sleep_long, ()).unwrap());
        drop(Process::builder().daemon(true).spawn(sleep_long, ()).unwrap());
        sleep_long();
    }
    let _watchdog = watchdog(60);
    let mut child = program(NAME).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let parent = child.id() as i32;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("started")));
    // Two workers, two more in one of them, and two processes.
    assert!(eventually(SOON, || descendants_of(parent).len() == 6));
    let all = descendants_of(parent);
    child.kill().unwrap();
    assert!(eventually(SOON, || !all.iter().any(|pid| is_alive(*pid))));
    child.wait().unwrap();
    let left = std::fs::read_dir("/dev/shm").unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("multiproc")).count(), 0);
}

/// In Python a child that has written more than a pipe holds never ends.
#[test]
fn test_join_before_get() {
    let _watchdog = watchdog(120);
    for len in [1 << 20, 100 << 20] {
        let process = Process::spawn(|len: usize| vec![7u8; len], (len,)).unwrap();
        process.wait();
        assert_eq!(process.exitcode(), Some(0));
        let bytes = process.join().unwrap();
        assert!(bytes.len() == len && bytes[len - 1] == 7);
        let pool = Pool::new(1).unwrap();
        let result = pool.apply_async(|bytes: Vec<u8>| bytes, (bytes,)).unwrap();
        pool.close();
        pool.join().unwrap();
        assert_eq!(result.get().unwrap().len(), len);
    }
}

/// A pool in a task, and so on.
fn count_leaves(depth: u32) -> u64 {
    match depth {
        0 => 1,
        _ => Pool::new(2).unwrap().map(count_leaves, [depth - 1; 2]).unwrap().iter().sum(),
    }
}

/// In Python workers are not allowed to have children.
#[test]
fn test_nested_pools() {
    let _watchdog = watchdog(60);
    assert_eq!(count_leaves(3), 8);
}

/// Python has no time limits for tasks.
#[test]
fn test_task_timeout_kills_one_worker() {
    on_each_pool(2, 60, |pool| {
        let mut before = pool.worker_pids();
        let gate = RawValue::new(0u32);
        let wait = |gate: &RawValue<u32>| {
            assert!(eventually(SOON, || gate.get() == 1));
            own_pid()
        };
        let other = pool.with(&gate).task(wait, ()).submit().unwrap();
        let error = pool.task(sleep_long, ()).timeout(Duration::from_millis(100)).run().unwrap_err();
        assert!(error.task().unwrap().is_timeout(), "{error}");
        gate.set(1);
        // The other worker still is one of the first two.
        let pid = other.get().unwrap();
        before.retain(|it| *it != pid);
        assert_eq!(before, [error.task().unwrap().worker().unwrap()]);
        assert!(!is_alive(before[0]));
        assert_eq!(pool.map(sqr, 0..4).unwrap(), [0, 1, 4, 9]);
    });
}

/// Python cannot cancel.
#[test]
fn test_cancel_before_start() {
    on_each_pool(1, 60, |pool| {
        let (gate, ran) = (RawValue::new(0u32), RawValue::new(0u32));
        let wait = |gate: RawValue<u32>| assert!(eventually(SOON, || gate.get() == 1), "never let go");
        let running = pool.apply_async(wait, (gate.clone(),)).unwrap();
        let queued = pool.apply_async(|ran: RawValue<u32>| ran.set(1), (ran.clone(),)).unwrap();
        assert!(queued.cancel() && !queued.cancel());
        gate.set(1);
        running.get().unwrap();
        assert!(queued.get().unwrap_err().is_cancelled());
        assert_eq!((pool.apply(sqr, (3,)).unwrap(), ran.get()), (9, 0));
    });
}
