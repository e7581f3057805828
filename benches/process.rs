//! The figures of one process beside those of Python's `multiprocessing.Process`, taken in the same run.
//!
//!     cargo bench --bench process                 # all rows
//!     cargo bench --bench process -- join         # the rows whose name contains "join"
//!     cargo bench --bench process -- --no-python  # without the peer
//!
//! Each figure is a median over many processes; compare ratios, not absolute numbers: machines differ, and drift.

use multiproc::Process;
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
    Row { name: "exec_and_wait", target: "-", measure: exec_and_wait, peer: None },
];

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median over many rounds of what `one` returns, in milliseconds.
fn rounds(mut one: impl FnMut() -> f64) -> f64 {
    one();
    median((0..ROUNDS).map(|_| one() * 1e3).collect())
}

fn increment(x: u64) -> u64 {
    x + 1
}

/// From the call of `spawn` to the result of `join`.
fn start_and_join() -> f64 {
    rounds(|| {
        let start = Instant::now();
        assert_eq!(Process::spawn(increment, (1,)).expect("spawn").join().expect("join"), 2);
        start.elapsed().as_secs_f64()
    })
}

/// From the call of `spawn` to its return: the process is ready.
fn start() -> f64 {
    rounds(|| {
        let start = Instant::now();
        let process = Process::spawn(increment, (1,)).expect("spawn");
        let elapsed = start.elapsed().as_secs_f64();
        process.join().expect("join");
        elapsed
    })
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

fn python(method: &str) -> Option<f64> {
    let output = Command::new("python3").arg("-c").arg(PYTHON).arg(method).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|it| it == "--nothing") {
        return;
    }
    let filters: Vec<&String> = arguments.iter().filter(|it| !it.starts_with("--")).collect();
    let wanted = |row: &&Row| filters.is_empty() || filters.iter().any(|filter| row.name.contains(filter.as_str()));
    println!("{:<16} {:>10} {:<4} {:>8}   {:>12} {:>8}", "row", "multiproc", "unit", "target", "python", "ratio");
    for row in ROWS.iter().filter(wanted) {
        let ours = (row.measure)();
        let without = arguments.iter().any(|it| it == "--no-python");
        let peer = row.peer.filter(|_| !without).and_then(python);
        let ratio = peer.map_or("-".to_owned(), |peer| format!("{:.1}x", peer / ours));
        let peer = peer.map_or("-".to_owned(), |peer| format!("{peer:.3}"));
        println!("{:<16} {:>10.3} {:<4} {:>8}   {:>12} {:>8}", row.name, ours, "ms", row.target, peer, ratio);
    }
}
