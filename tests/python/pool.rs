//! `_TestPool`: calls of a pool, blocking and not. (Streams are in `pool_streams`.)
//!
//! Differences that run through all cases: Python raises where we return an `Err` or, for an input iterator, let its panic
//! through; keyword arguments are a context or a struct with named fields; an exception that crosses is a panic with its
//! message and place, or a `RemoteError` with its chain of causes as text, since a Rust error's type cannot travel in
//! general.
//!
//! - `test_enter`: there is no statement to enter. What remains: a terminated pool refuses every call.
//! - `test_context`: the pool is gone after its scope, so that a later call does not build; closing it by hand shows the
//!   refusal.
//! - `test_make_pool`: a negative number of processes does not build.

use super::common::links::{on_each_link, on_processes_and_threads};
use super::common::proc::eventually;
use multiproc::{Event, Pool, RawValue, RemoteError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Long enough for any machine.
const SOON: Duration = Duration::from_secs(30);

/// So long that it is never waited for.
const NEVER_MS: u64 = 1_000_000;

fn sqr(x: u64) -> u64 {
    x * x
}

/// Takes its time.
fn slow_sqr(x: u64, ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    x * x
}

fn mul(x: u64, y: u64) -> u64 {
    x * y
}

fn squares(n: u64) -> Vec<u64> {
    (0..n).map(sqr).collect()
}

#[test]
fn test_apply() {
    #[derive(Serialize, Deserialize)]
    struct Named {
        x: u64,
        exponent: u32,
    }
    on_processes_and_threads(2, 60, |pool| {
        assert_eq!(pool.apply(sqr, (5,)).unwrap(), 25);
        assert_eq!(pool.apply(|Named { x, exponent }| x.pow(exponent), (Named { exponent: 2, x: 3 },)).unwrap(), 9);
        assert_eq!(pool.with(&2).task(|exponent: &u32, x: u64| x.pow(*exponent), (3,)).run().unwrap(), 9);
    });
}

#[test]
fn test_map() {
    on_processes_and_threads(2, 60, |pool| {
        assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(10));
        assert_eq!(pool.tasks(sqr, 0..100).chunksize(20).run().unwrap(), squares(100));
    });
}

#[test]
fn test_starmap() {
    on_processes_and_threads(2, 60, |pool| {
        let pairs = |n: u64| (0..n).zip((0..n).rev());
        let products = |n| pairs(n).map(|(x, y)| mul(x, y)).collect::<Vec<_>>();
        assert_eq!(pool.starmap(mul, pairs(10)).unwrap(), products(10));
        assert_eq!(pool.star_tasks(mul, pairs(100)).chunksize(20).run().unwrap(), products(100));
        assert_eq!(pool.starmap_async(mul, pairs(100)).unwrap().get().unwrap(), products(100));
    });
}

#[test]
fn test_map_async_callbacks() {
    on_processes_and_threads(2, 60, |pool| {
        let parse = |text: String| text.parse::<i32>();
        let run = |text: &str| {
            let (tell, told) = channel();
            let tell_error = tell.clone();
            let result = pool.tasks(parse, [text.to_owned()]).fallible().submit().unwrap();
            let result = result
                .callback(move |values: &Vec<i32>| tell.send(Ok(values.clone())).unwrap())
                .error_callback(move |error| tell_error.send(Err(error.clone())).unwrap());
            result.wait();
            // Both callbacks are gone by now with their ends of the channel, so this ends.
            let told: Vec<_> = told.try_iter().collect();
            assert_eq!(told.len(), 1, "{told:?}");
            (told.into_iter().next().unwrap(), result.get())
        };
        let (told, result) = run("1");
        assert_eq!((told.unwrap(), result.unwrap()), (vec![1], vec![1]));
        let (told, result) = run("a");
        assert!(told.unwrap_err().is_error() && result.unwrap_err().is_error());
    });
}

/// Something that cannot be sent: to be serialised is an error for it.
#[derive(Deserialize)]
struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("cannot be sent, on purpose"))
    }
}

/// Something whose serialisation panics.
#[derive(Deserialize)]
struct Panicking;

impl Serialize for Panicking {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("the serialisation, on purpose")
    }
}

// The misspelling is the original's.
#[test]
fn test_map_unplicklable() {
    on_processes_and_threads(2, 60, |pool| {
        for _ in 0..3 {
            let error = pool.map(|_: Unsendable| (), (0..10).map(|_| Unsendable)).unwrap_err();
            assert!(error.task().unwrap().is_encode() && error.task().unwrap().index() == 0, "{error}");
            assert!(error.to_string().contains("could not be serialised"), "{error}");
            // The error is that item's own affair.
            let mixed = pool.map_each(|_: Result<u64, Unsendable>| 7, [Ok(1), Err(Unsendable), Ok(3)]);
            assert!(mixed[0].is_ok() && mixed[1].as_ref().unwrap_err().is_encode() && mixed[2].is_ok());
            let caught = catch_unwind(AssertUnwindSafe(|| pool.map(|_: Panicking| (), [Panicking])));
            assert_eq!(message(caught.unwrap_err().as_ref()), "the serialisation, on purpose");
            assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(10));
        }
    });
}

/// What a panic says.
fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    match payload.downcast_ref::<String>() {
        Some(text) => text,
        None => payload.downcast_ref::<&str>().unwrap(),
    }
}

#[test]
fn test_map_chunksize() {
    on_processes_and_threads(2, 60, |pool| {
        let mut result = pool.tasks(sqr, []).chunksize(1).submit().unwrap();
        assert_eq!(result.get_timeout(SOON).unwrap().unwrap(), []);
    });
}

/// Counts, but panics in the place of the given number.
struct Faulty {
    next: u64,
    fault: u64,
    len: u64,
}

impl Iterator for Faulty {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let x = self.next;
        assert!(x != self.fault, "the input, on purpose");
        self.next += 1;
        (x < self.len).then_some(x)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.len - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Faulty {}

#[test]
fn test_map_handle_iterable_exception() {
    on_processes_and_threads(2, 60, |pool| {
        let expect = |call: &dyn Fn()| {
            let payload = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
            assert_eq!(message(payload.as_ref()), "the input, on purpose");
        };
        for fault in [0, 0, 3, 3, 7] {
            let input = || Faulty { next: 0, fault, len: 10 };
            expect(&|| drop(pool.map(sqr, input())));
            expect(&|| drop(pool.tasks(sqr, input()).chunksize(4).run()));
            expect(&|| drop(pool.map_each(sqr, input())));
            expect(&|| drop(pool.map_async(sqr, input())));
            // Without a known length.
            expect(&|| drop(pool.map(sqr, input().filter(|_| true))));
        }
        assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(10));
    });
}

#[test]
fn test_async() {
    on_processes_and_threads(2, 60, |pool| {
        let gate = Event::new();
        let late_sqr = |x: u64, gate: Event| (gate.wait(), sqr(x)).1;
        let result = pool.apply_async(late_sqr, (7, gate.clone())).unwrap();
        assert!(!result.ready());
        gate.set();
        assert_eq!(result.get().unwrap(), 49);
    });
}

#[test]
fn test_async_timeout() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let mut result = pool.apply_async(slow_sqr, (6, NEVER_MS)).unwrap();
        let start = Instant::now();
        assert!(result.get_timeout(Duration::from_millis(100)).is_none());
        assert!(start.elapsed() >= Duration::from_millis(99));
        assert!(!result.ready() && result.successful().is_none());
        pool.terminate();
        assert!(pool.join_timeout(SOON).is_some_and(|end| end.is_ok()));
        // Python's `get` would wait for ever now.
        assert!(result.get_timeout(SOON).unwrap().unwrap_err().is_terminated());
    });
}

#[test]
fn test_make_pool() {
    on_each_link(60, |builder| {
        assert!(builder().processes(0).build().unwrap_err().is_invalid_argument());
        let pool = builder().processes(3).build().unwrap();
        assert_eq!(pool.processes(), 3);
        let mut pids = pool.worker_pids();
        pids.sort();
        pids.dedup();
        assert_eq!(pids.len(), 3);
    });
}

#[test]
fn test_terminate() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let started = RawValue::new(0u32);
        let hold = |started: &RawValue<u32>, ms: u64| {
            started.fetch_add(1);
            std::thread::sleep(Duration::from_millis(ms));
        };
        let result = pool.with(&started).tasks(hold, vec![NEVER_MS; 10_000]).submit().unwrap();
        assert!(eventually(SOON, || started.get() == 2));
        pool.terminate();
        pool.join().unwrap();
        let error = result.get().unwrap_err();
        assert!(error.is_terminated(), "{error}");
        assert!(started.get() == 2 && pool.worker_pids().is_empty());
    });
}

#[test]
fn test_empty_iterable() {
    on_processes_and_threads(2, 60, |pool| {
        assert_eq!(pool.map(sqr, []).unwrap(), []);
        assert!(pool.map_each(sqr, []).is_empty());
        assert_eq!(pool.starmap(mul, []).unwrap(), []);
        assert_eq!(pool.imap(sqr, []).count(), 0);
        assert_eq!(pool.imap_unordered(sqr, []).count(), 0);
        assert_eq!(pool.map_async(sqr, []).unwrap().get().unwrap(), []);
        assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(10));
    });
}

#[test]
fn test_context() {
    on_each_link(60, |builder| {
        let results = Pool::scope(2, |pool| pool.map_async(sqr, 0..10).unwrap().get().unwrap()).unwrap();
        assert_eq!(results, squares(10));
        // Python's `with` terminates; so does dropping.
        let pool = builder().processes(2).build().unwrap();
        let mut late = pool.apply_async(slow_sqr, (1, NEVER_MS)).unwrap();
        drop(pool);
        assert!(late.get_timeout(SOON).unwrap().unwrap_err().is_terminated());
        let pool = builder().processes(2).build().unwrap();
        pool.close();
        pool.join().unwrap();
        assert!(pool.map_async(sqr, 0..10).unwrap_err().is_not_running());
    });
}

#[test]
fn test_traceback() {
    on_processes_and_threads(1, 60, |pool| {
        let line = line!() + 1;
        let fail = |()| -> () { panic!("failed with {}", 123) };
        let error = pool.map(fail, [()]).unwrap_err();
        let task = error.task().unwrap();
        assert_eq!(task.message(), Some("failed with 123"));
        assert!(task.location().unwrap().starts_with(&format!("tests/python/pool.rs:{line}:")), "{error}");
        assert_eq!(task.worker(), pool.worker_pids().first().copied());
        for part in ["test_traceback", "tests/python/pool.rs", "failed with 123"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // An error that is returned keeps its causes.
        let chain = |text: String| -> Result<u8, std::io::Error> {
            text.parse().map_err(|error: std::num::ParseIntError| {
                std::io::Error::new(std::io::ErrorKind::InvalidData, Wrapped(error))
            })
        };
        let error = pool.task(chain, ("x".to_owned(),)).fallible().run().unwrap_err();
        let remote = error.source().unwrap().downcast_ref::<RemoteError>().unwrap();
        assert_eq!(remote.to_string(), "not a small number");
        assert_eq!(remote.source().unwrap().to_string(), "invalid digit found in string");
        // A panic of the input is this process's own: nothing remote about it.
        let payload = catch_unwind(AssertUnwindSafe(|| pool.map(sqr, Faulty { next: 0, fault: 0, len: 1 })));
        assert_eq!(message(payload.unwrap_err().as_ref()), "the input, on purpose");
    });
}

#[derive(Debug)]
struct Wrapped(std::num::ParseIntError);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a small number")
    }
}

impl Error for Wrapped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn test_map_no_failfast() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let ended = RawValue::new(0u32);
        // Large errors: they must not get stuck on their way while the pool ends.
        let fail = |ended: &RawValue<u32>, ms: u64| -> () {
            std::thread::sleep(Duration::from_millis(ms));
            ended.fetch_add(1);
            panic!("{}", "x".repeat(1 << 20));
        };
        let error = pool.with(&ended).tasks(fail, [0, 300]).chunksize(1).run().unwrap_err();
        assert_eq!(ended.get(), 2, "it did not wait for all");
        // Python raises the error that arrived first.
        assert_eq!((error.task().unwrap().index(), error.task().unwrap().message().unwrap().len()), (0, 1 << 20));
        pool.close();
        assert!(pool.join_timeout(SOON).is_some_and(|end| end.is_ok()));
    });
}

static LIVING: AtomicI64 = AtomicI64::new(0);

/// Counts how many of its kind there are in this process.
#[derive(Serialize)]
struct Counted(u64);

impl Counted {
    fn new(x: u64) -> Counted {
        LIVING.fetch_add(1, SeqCst);
        Counted(x)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
        // The format of a newtype struct is that of what is in it.
        u64::deserialize(deserializer).map(Counted::new)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, SeqCst);
    }
}

#[test]
fn test_release_task_refs() {
    on_processes_and_threads(1, 60, |pool| {
        let results = pool.map(|it: Counted| Counted::new(it.0 + 1), (0..10).map(Counted::new)).unwrap();
        assert_eq!(results.iter().map(|it| it.0).sum::<u64>(), 55);
        // Only the results are left here, and nothing is left in the worker.
        assert_eq!(LIVING.load(SeqCst), 10);
        drop(results);
        assert_eq!(LIVING.load(SeqCst), 0);
        assert_eq!(pool.apply(|| LIVING.load(SeqCst), ()).unwrap(), 0);
    });
}

#[test]
fn test_enter() {
    on_each_link(60, |builder| {
        let pool = builder().processes(1).build().unwrap();
        assert!(pool.join().unwrap_err().is_still_running());
        pool.terminate();
        pool.join().unwrap();
        assert!(pool.map(sqr, 0..3).unwrap_err().is_terminated());
        assert!(pool.apply_async(sqr, (1,)).unwrap_err().is_terminated());
        assert!(pool.imap(sqr, 0..3).next().unwrap().unwrap_err().is_terminated());
    });
}
