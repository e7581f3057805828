//! `_TestPoolWorkerErrors`, `_TestPoolWorkerLifetime`, `TestInitializers`, `TestPoolNotLeakOnFailure`, `MiscTestCase`: the
//! workers of a pool.
//!
//! - `test_pool_maxtasksperchild_invalid`: of the wrong values only 0 builds.
//! - `test_pool_initializer`: an initializer that cannot be called does not build.
//! - `test_manager_initializer` belongs to managers, of which there are none here.

use super::common::alone::{alone, is_program, program};
use super::common::links::{on_each_link, on_each_link_spawned, on_each_pool};
use super::common::proc::{children_of, eventually, own_pid};
use super::common::watchdog::watchdog;
use multiproc::{Pool, RawValue};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn sqr(x: u64) -> u64 {
    x * x
}

#[test]
fn test_async_error_callback() {
    on_each_pool(2, 60, |pool| {
        let find = |key: String| -> Result<u64, String> { Err(format!("no key `{key}`")) };
        let (tell, told) = channel();
        let result = pool.task(find, ("k".to_owned(),)).fallible().submit().unwrap();
        let result = result.error_callback(move |error| tell.send(error.clone()).unwrap());
        result.wait();
        let told: Vec<_> = told.try_iter().collect();
        let error = result.get().unwrap_err();
        assert!(error.is_error() && error.to_string().ends_with("failed: no key `k`"), "{error}");
        assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), [error.to_string()]);
    });
}

/// A result that cannot be sent.
#[derive(Debug, Deserialize)]
struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("cannot be sent, on purpose"))
    }
}

#[test]
fn test_unpickleable_result() {
    on_each_pool(2, 60, |pool| {
        let mut before = pool.worker_pids();
        before.sort();
        for _ in 0..20 {
            let (tell, told) = channel();
            let result = pool.apply_async(|| Unsendable, ()).unwrap();
            let result = result.error_callback(move |error| tell.send(error.is_encode()).unwrap());
            result.wait();
            assert_eq!(told.try_iter().collect::<Vec<_>>(), [true]);
            let error = result.get().unwrap_err();
            assert!(error.is_encode() && error.to_string().contains("could not be serialised"), "{error}");
        }
        let mut after = pool.worker_pids();
        after.sort();
        assert_eq!(after, before, "a worker was lost");
    });
}

#[test]
fn test_pool_worker_lifetime() {
    on_each_link(60, |builder| {
        let pool = builder().processes(3).max_tasks_per_child(10).build().unwrap();
        assert_eq!(pool.worker_pids().len(), 3);
        let first: HashSet<i32> = pool.worker_pids().into_iter().collect();
        let results: Vec<_> = (0..100).map(|x| pool.apply_async(sqr, (x,)).unwrap()).collect();
        for (x, result) in (0..).zip(results) {
            assert_eq!(result.get().unwrap(), x * x);
        }
        // A hundred tasks are more than three workers may run, so each of them has been replaced, the last ones in a moment.
        let replaced = || {
            let pids = pool.worker_pids();
            pids.len() == 3 && pids.iter().all(|pid| !first.contains(pid))
        };
        assert!(eventually(SOON, replaced), "{first:?} {:?}", pool.worker_pids());
    });
}

#[test]
fn test_pool_worker_lifetime_early_close() {
    on_each_link(60, |builder| {
        let pool = builder().processes(3).max_tasks_per_child(1).build().unwrap();
        let slow = |x: u64| {
            std::thread::sleep(Duration::from_millis(100));
            x * x
        };
        let results: Vec<_> = (0..6).map(|x| pool.apply_async(slow, (x,)).unwrap()).collect();
        pool.close();
        assert!(pool.join_timeout(SOON).is_some_and(|end| end.is_ok()));
        for (x, result) in (0..).zip(results) {
            assert!(result.ready());
            assert_eq!(result.get().unwrap(), x * x);
        }
    });
}

#[test]
fn test_pool_maxtasksperchild_invalid() {
    assert!(Pool::builder().max_tasks_per_child(0).build().unwrap_err().is_invalid_argument());
}

static SEEN: OnceLock<u64> = OnceLock::new();

#[test]
fn test_pool_initializer() {
    on_each_link(60, |builder| {
        let count = RawValue::new(0u32);
        let prepare = |count: RawValue<u32>, value: u64| {
            count.fetch_add(1);
            SEEN.set(value).unwrap();
        };
        let pool = builder().processes(1).initializer(prepare, (count.clone(), 42)).build().unwrap();
        assert_eq!(count.get(), 1);
        assert_eq!(pool.map(|()| *SEEN.get().unwrap(), [(); 10]).unwrap(), [42; 10]);
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn test_release_unused_processes() {
    if !alone("pool_workers::test_release_unused_processes") {
        return;
    }
    on_each_link_spawned(60, |builder| {
        // The fourth of five workers fails, in its own way.
        let count = RawValue::new(0u32);
        let fail = |count: RawValue<u32>| assert!(count.fetch_add(1) != 3, "the fourth, on purpose");
        let error = builder().processes(5).initializer(fail, (count.clone(),)).build().unwrap_err();
        assert!(error.is_initializer() && error.to_string().contains("the fourth, on purpose"), "{error}");
        assert_eq!(children_of(own_pid()), []);
        // There are descriptors for some workers, but not for all.
        let before = getrlimit(Resource::Nofile);
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        setrlimit(Resource::Nofile, Rlimit { current: Some(open + 20), ..before }).unwrap();
        let failed = builder().processes(50).build();
        setrlimit(Resource::Nofile, before).unwrap();
        let error = failed.unwrap_err();
        assert!(error.is_start() || error.io_kind().is_some(), "{error}");
        assert_eq!(children_of(own_pid()), []);
        assert_eq!(builder().processes(5).build().unwrap().map(sqr, 0..4).unwrap(), [0, 1, 4, 9]);
    });
}

#[test]
fn test_large_pool() {
    const NAME: &str = "pool_workers::test_large_pool";
    if is_program(NAME) {
        let pool = Pool::new(200).unwrap();
        assert_eq!(pool.worker_pids().len(), 200);
        println!("sum: {}", pool.map(sqr, 0..1000).unwrap().iter().sum::<u64>());
        return;
    }
    let _watchdog = watchdog(120);
    let output = program(NAME).output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success() && out.contains("sum: 332833500"), "{out}\n{error}");
    assert_eq!(error, "");
}
