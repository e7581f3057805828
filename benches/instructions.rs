//! Fixed runs for `.ci/instructions`, which counts their machine instructions. Prints nothing.
//!
//! The workers are threads, which valgrind can follow, and which have links, ledger and schedule of processes.
//!
//!     cargo bench --bench instructions -- tasks 100000

use multiproc::{Lock, Pool, Process, Queue, ThreadPool};
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

/// So many calls, one after the other.
fn apply(count: u64) {
    let pool = ThreadPool::new(1).expect("a pool");
    (0..count).for_each(|x| assert_eq!(pool.apply(increment, (x,)).expect("a result"), x + 1));
}

/// So many items through a queue, whose two ends one thread has in turn.
fn queue(count: u64) {
    let queue = Queue::bounded(64);
    for batch in 0..count / 32 {
        (0..32).for_each(|at| queue.put(batch * 32 + at).expect("room"));
        (0..32).for_each(|at| assert_eq!(queue.get().expect("an item"), batch * 32 + at));
    }
}

/// So many pools of one process, each with one result: their system calls are counted by `strace -f -c`.
fn first(count: u64) {
    for x in 0..count {
        let pool = Pool::new(1).expect("a pool");
        assert_eq!(pool.apply(increment, (x,)).expect("a result"), x + 1);
    }
}

/// So many processes, one after the other: for `strace` as well.
fn start(count: u64) {
    let run = |x| Process::spawn(increment, (x,)).expect("a process").join().expect("its value");
    (0..count).for_each(|x| assert_eq!(run(x), x + 1));
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
        "apply" => apply(count),
        "queue" => queue(count),
        "first" => first(count),
        "start" => start(count),
        other => panic!("there is no run called {other}"),
    }
}
