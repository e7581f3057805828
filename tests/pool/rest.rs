//! What a pool does that has nothing to do.

use crate::common::alone::alone;
use crate::common::evil;
use crate::common::links::on_each_link;
use crate::common::proc::{eventually, own_pid};
use multiproc::Pool;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(100);

/// How often each of these processes' threads has gone to sleep whose name begins so.
fn sleeps(pids: impl IntoIterator<Item = i32>, name: &str) -> BTreeMap<PathBuf, u64> {
    let of_thread = |thread: PathBuf| {
        // One that ends meanwhile has none.
        let status = fs::read_to_string(thread.join("status")).ok()?;
        status.strip_prefix("Name:\t")?.strip_prefix(name)?;
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        Some((thread, count.trim().parse().unwrap()))
    };
    let threads = pids.into_iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).unwrap());
    threads.filter_map(|thread| of_thread(thread.unwrap().path())).collect()
}

/// Waits until no worker has been awake for so long that one that looks around now and then would have been.
fn wait_for_rest(pool: &Pool) {
    let rests = || {
        let before = sleeps(pool.worker_pids(), "");
        std::thread::sleep(Duration::from_millis(1200));
        sleeps(pool.worker_pids(), "") == before
    };
    assert!(eventually(SOON, rests));
}

#[test]
fn a_pool_with_nothing_to_do_does_not_wake_up() {
    on_each_link(200, |builder| {
        let pool = builder().processes(2).build().unwrap();
        pool.map(|x: u32| x, 0..100).unwrap();
        wait_for_rest(&pool);
        // It is there at once if there is something, and rests again.
        assert_eq!(pool.map(|x: u32| x + 1, 0..3).unwrap(), [1, 2, 3]);
        wait_for_rest(&pool);
    });
}

#[test]
fn nor_does_the_library_in_its_program() {
    if !alone("rest::nor_does_the_library_in_its_program") {
        return;
    }
    let pool = Pool::new(2).unwrap();
    pool.map(|x: u32| x, 0..100).unwrap();
    let rests = || {
        let before = sleeps([own_pid()], "multiproc");
        assert!(!before.is_empty());
        std::thread::sleep(Duration::from_secs(4));
        sleeps([own_pid()], "multiproc") == before
    };
    assert!(eventually(SOON, rests));
    drop(pool);
}

#[test]
fn a_worker_whose_thread_ends_after_a_rest_is_noticed() {
    on_each_link(200, |builder| {
        let pool = builder().processes(1).build().unwrap();
        wait_for_rest(&pool);
        assert!(pool.apply(evil::exit_thread, ()).unwrap_err().task().unwrap().is_worker_lost());
        assert_eq!(pool.apply(|x: u32| x, (1,)).unwrap(), 1);
    });
}
