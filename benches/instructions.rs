//! Fixed runs for `.ci/instructions`, which counts their machine instructions. Prints nothing.
//!
//! The workers are threads, which valgrind can follow, and which have links, ledger and schedule of processes.
//!
//!     cargo bench --bench instructions -- tasks 100000

use multiproc::{Lock, ThreadPool};
use std::hint::black_box;

fn increment(x: u64) -> u64 {
    x + 1
}

/// So many uncontended pairs of taking a lock and giving it back.
fn lock(count: u64) {
    let lock = Lock::new();
    (0..count).for_each(|_| drop(black_box(&lock).lock().expect("a lock")));
}

/// So many items by `map`, in chunks of a fixed size.
fn map(count: u64) {
    let pool = ThreadPool::new(1).expect("a pool");
    let results = pool.tasks(increment, 0..count).chunksize(1000).run().expect("results");
    assert_eq!(results.len() as u64, count);
}

/// So many tasks that travel alone.
fn tasks(count: u64) {
    let pool = ThreadPool::new(1).expect("a pool");
    let results = pool.tasks(increment, 0..count).chunksize(1).run().expect("results");
    assert_eq!(results.len() as u64, count);
}

fn main() {
    // `cargo bench` and `cargo test` add options of their own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let [run, count] = &arguments[..] else { return };
    let count = count.parse().expect("a number");
    match run.as_str() {
        "lock" => lock(count),
        "map" => map(count),
        "tasks" => tasks(count),
        other => panic!("there is no run called {other}"),
    }
}
