//! The figures of one process beside those of Python's `multiprocessing.Process`, taken in the same run.
//!
//!     cargo bench --bench process                 # all rows
//!     cargo bench --bench process -- join         # the rows whose name contains "join"
//!     cargo bench --bench process -- --no-python  # without the peer
//!
//! Each figure is a median over many processes; compare ratios, not absolute numbers: machines differ, and drift.

mod common;

use common::{Arguments, median};
use multiproc::{Process, StartMethod};
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 200;

struct Row {
    name: &'static str,
    target: &'static str,
    measure: fn() -> f64,
    /// What Python's start method of the peer is called.
    peer: Option<&'static str>,
}

const ROWS: &[Row] = &[
    Row { name: "start_and_join", target: "<= 0.9", measure: start_and_join, peer: Some("fork") },
    Row { name: "start", target: "-", measure: start, peer: None },
    Row { name: "start_and_join_copy", target: "-", measure: start_and_join_copy, peer: Some("forkserver") },
    Row { name: "start_copy", target: "<= 0.3", measure: start_copy, peer: None },
    Row { name: "exec_and_wait", target: "-", measure: exec_and_wait, peer: None },
];

/// The median over many rounds of what `one` returns, in milliseconds.
fn rounds(mut one: impl FnMut() -> f64) -> f64 {
    one();
    median((0..ROUNDS).map(|_| one() * 1e3).collect())
}

fn increment(x: u64) -> u64 {
    x + 1
}

fn spawn(method: StartMethod) -> Process<u64> {
    Process::builder().start_method(method).spawn(increment, (1,)).expect("spawn")
}

/// From the call of `spawn` to the result of `join`.
fn whole_life(method: StartMethod) -> f64 {
    rounds(|| {
        let start = Instant::now();
        assert_eq!(spawn(method).join().expect("join"), 2);
        start.elapsed().as_secs_f64()
    })
}

/// From the call of `spawn` to its return: the process is ready.
fn until_ready(method: StartMethod) -> f64 {
    rounds(|| {
        let start = Instant::now();
        let process = spawn(method);
        let elapsed = start.elapsed().as_secs_f64();
        process.join().expect("join");
        elapsed
    })
}

fn start_and_join() -> f64 {
    whole_life(StartMethod::Spawn)
}

fn start() -> f64 {
    until_ready(StartMethod::Spawn)
}

fn start_and_join_copy() -> f64 {
    whole_life(StartMethod::Template)
}

fn start_copy() -> f64 {
    until_ready(StartMethod::Template)
}

/// The bound: this program, executed by std, which ends at once.
fn exec_and_wait() -> f64 {
    let program = std::env::current_exe().expect("a path");
    rounds(|| {
        let start = Instant::now();
        assert!(Command::new(&program).arg("--nothing").status().expect("exec").success());
        start.elapsed().as_secs_f64()
    })
}

const PYTHON: &str = r#"
import sys, time, statistics, multiprocessing as mp
def increment(x): return x + 1
if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    times = []
    for i in range(50):
        t = time.perf_counter()
        p = mp.Process(target=increment, args=(1,)); p.start(); p.join()
        times.append((time.perf_counter() - t) * 1e3)
    print(statistics.median(times))
"#;

fn main() {
    let arguments = Arguments::read();
    if arguments.has("--nothing") {
        return;
    }
    println!("{:<20} {:>10} {:<4} {:>8}   {:>12} {:>8}", "row", "multiproc", "unit", "target", "python", "ratio");
    for row in ROWS.iter().filter(|row| arguments.wants(row.name)) {
        let ours = (row.measure)();
        let peer = row.peer.and_then(|method| arguments.python(PYTHON, method));
        let (peer, ratio) = common::beside(peer, |peer| peer / ours);
        println!("{:<20} {:>10.3} {:<4} {:>8}   {:>12} {:>8}", row.name, ours, "ms", row.target, peer, ratio);
    }
}
