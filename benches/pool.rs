//! The pool's figures beside those of Python's `multiprocessing.Pool`, taken in the same run with 2 workers each.
//!
//!     cargo bench --bench pool                 # all rows
//!     cargo bench --bench pool -- apply        # the rows whose name contains "apply"
//!     cargo bench --bench pool -- --no-python  # without the peer
//!
//! Each figure is the median of 5 runs; compare ratios, not absolute numbers: machines differ, and drift.

mod common;

use common::{Arguments, median, runs, seconds};
use multiproc::{LinkKind, Pool, StartMethod};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn increment(x: u64) -> u64 {
    x + 1
}

fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn sum(values: Vec<f64>) -> f64 {
    values.iter().sum()
}

fn busy(micros: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(micros) {
        black_box(());
    }
}

fn pool(link: LinkKind) -> Pool {
    Pool::builder().processes(2).link(link).build().expect("a pool of 2")
}

struct Row {
    name: &'static str,
    unit: &'static str,
    target: &'static str,
    /// Whether more is better.
    more: bool,
    measure: fn(LinkKind) -> f64,
}

const ROWS: &[Row] = &[
    Row { name: "map_default", unit: "M items/s", target: ">= 70", more: true, measure: map_default },
    Row { name: "map_chunksize_1", unit: "M tasks/s", target: ">= 8", more: true, measure: map_chunksize_1 },
    Row { name: "apply_p50", unit: "us", target: "<= 3", more: false, measure: apply },
    Row { name: "apply_from_sleep_p50", unit: "us", target: "<= 30", more: false, measure: apply_from_sleep },
    Row { name: "echo_8MiB", unit: "GiB/s", target: ">= 3.5", more: true, measure: echo_8_mib },
    Row { name: "sum_8MiB", unit: "GiB/s", target: ">= 4", more: true, measure: sum_8_mib },
    Row { name: "first_result", unit: "ms", target: "<= 1.5", more: false, measure: first_result },
    Row { name: "replaced_worker", unit: "ms", target: "-", more: false, measure: replaced_worker },
    Row { name: "replaced_copy", unit: "ms", target: "-", more: false, measure: replaced_copy },
    Row { name: "tasks_5ms", unit: "efficiency", target: ">= 0.97", more: true, measure: tasks_5_ms },
    Row { name: "tasks_20us", unit: "efficiency", target: ">= 0.9", more: true, measure: tasks_20_us },
    Row { name: "idle_worker_pss", unit: "MiB", target: "<= 0.5", more: false, measure: idle_worker },
];

fn map_default(link: LinkKind) -> f64 {
    let pool = pool(link);
    let n = 10_000_000u64;
    runs(|| n as f64 / 1e6 / seconds(|| assert_eq!(pool.map(increment, 0..n).expect("map").len() as u64, n)))
}

fn map_chunksize_1(link: LinkKind) -> f64 {
    let pool = pool(link);
    let n = if link == LinkKind::Ring { 1_000_000u64 } else { 50_000 };
    let map = || pool.tasks(increment, 0..n).chunksize(1).run().expect("map");
    runs(|| n as f64 / 1e6 / seconds(|| assert_eq!(map().len() as u64, n)))
}

fn apply(link: LinkKind) -> f64 {
    let pool = pool(link);
    runs(|| {
        let call = |x| seconds(|| assert_eq!(pool.apply(increment, (x,)).expect("apply"), x + 1)) * 1e6;
        median((0..20_000).map(call).collect())
    })
}

fn apply_from_sleep(link: LinkKind) -> f64 {
    let pool = pool(link);
    runs(|| {
        let call = |x| {
            std::thread::sleep(Duration::from_millis(1));
            seconds(|| assert_eq!(pool.apply(increment, (x,)).expect("apply"), x + 1)) * 1e6
        };
        median((0..500).map(call).collect())
    })
}

fn payload(items: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..items).map(|at| vec![at as u8; 8 << 20])
}

/// The payload counted once, as in the peers' tables; making it is not counted.
fn gib_per_second<T: Clone>(items: Vec<T>, mut work: impl FnMut(Vec<T>)) -> f64 {
    let gib = items.len() as f64 * 8.0 / 1024.0;
    runs(|| {
        let items = items.clone();
        gib / seconds(|| work(items))
    })
}

fn echo_8_mib(link: LinkKind) -> f64 {
    let pool = pool(link);
    gib_per_second(payload(32).collect(), |items| {
        black_box(pool.map(echo, items).expect("map"));
    })
}

fn sum_8_mib(link: LinkKind) -> f64 {
    let pool = pool(link);
    let items: Vec<Vec<f64>> = (0..32).map(|at| vec![f64::from(at); 1 << 20]).collect();
    gib_per_second(items, |items| {
        black_box(pool.map(sum, items).expect("map"));
    })
}

fn first_result(link: LinkKind) -> f64 {
    runs(|| {
        let start = Instant::now();
        let pool = pool(link);
        assert_eq!(pool.apply(increment, (1,)).expect("apply"), 2);
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        drop(pool);
        elapsed
    })
}

/// A task of a pool of one worker, which takes one task each: the worker before it leaves, and another one starts.
fn replacement(link: LinkKind, method: StartMethod) -> f64 {
    let builder = Pool::builder().processes(1).link(link).max_tasks_per_child(1).start_method(method);
    let pool = builder.build().expect("a pool of 1");
    runs(|| {
        let call = |x| seconds(|| assert_eq!(pool.apply(increment, (x,)).expect("apply"), x + 1)) * 1e3;
        median((0..100).map(call).collect())
    })
}

fn replaced_worker(link: LinkKind) -> f64 {
    replacement(link, StartMethod::Spawn)
}

fn replaced_copy(link: LinkKind) -> f64 {
    replacement(link, StartMethod::Template)
}

/// Work done per time, over that of two perfect workers.
fn efficiency(link: LinkKind, count: u64, micros: u64) -> f64 {
    let pool = pool(link);
    let perfect = count as f64 * micros as f64 / 1e6 / 2.0;
    runs(|| perfect / seconds(|| drop(pool.map(busy, std::iter::repeat_n(micros, count as usize)).expect("map"))))
}

fn tasks_5_ms(link: LinkKind) -> f64 {
    efficiency(link, 400, 5_000)
}

fn tasks_20_us(link: LinkKind) -> f64 {
    efficiency(link, 50_000, 20)
}

fn idle_worker(link: LinkKind) -> f64 {
    let pool = pool(link);
    pool.map(increment, 0..100).expect("map");
    runs(|| {
        let pss = |pid: i32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or("0 0");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
        };
        pool.worker_pids().into_iter().map(pss).sum::<f64>() / 2.0
    })
}

const PYTHON: &str = r#"
import sys, time, statistics, multiprocessing as mp
def increment(x): return x + 1
def echo(b): return b
def busy(us):
    end = time.perf_counter() + us / 1e6
    while time.perf_counter() < end: pass
def seconds(f):
    t = time.perf_counter(); f(); return time.perf_counter() - t
def runs(f):
    f(); return statistics.median(f() for _ in range(5))
def pss(pid):
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith("Pss:"): return int(line.split()[1]) / 1024
def first():
    t = time.perf_counter(); p = mp.Pool(2); p.apply(increment, (1,)); d = time.perf_counter() - t
    p.terminate(); p.join(); return d * 1e3
def apply(p, pause):
    def one():
        out = []
        for i in range(2000 if not pause else 200):
            if pause: time.sleep(0.001)
            out.append(seconds(lambda: p.apply(increment, (i,))) * 1e6)
        return statistics.median(out)
    return one
if __name__ == "__main__":
    name = sys.argv[1]
    rows = {
        "map_default": lambda p: runs(lambda: 1e6 / 1e6 / seconds(lambda: p.map(increment, range(1000000)))),
        "map_chunksize_1": lambda p: runs(lambda: 2e4 / 1e6 / seconds(lambda: p.map(increment, range(20000), 1))),
        "apply_p50": lambda p: runs(apply(p, False)),
        "apply_from_sleep_p50": lambda p: runs(apply(p, True)),
        "echo_8MiB": lambda p: (lambda items: runs(lambda: len(items) / 128 / seconds(lambda: p.map(echo, items, 1))))([bytes(8 << 20)] * 16),
        "first_result": lambda p: runs(first),
        "tasks_5ms": lambda p: runs(lambda: 1.0 / seconds(lambda: p.map(busy, [5000] * 400))),
        "tasks_20us": lambda p: runs(lambda: 0.5 / seconds(lambda: p.map(busy, [20] * 50000))),
        "idle_worker_pss": lambda p: statistics.mean(pss(c.pid) for c in mp.active_children()),
    }
    if name in rows:
        with mp.Pool(2) as p:
            p.map(increment, range(100))
            print(rows[name](p))
"#;

fn main() {
    let arguments = Arguments::read();
    let link = if arguments.has("--channel") { LinkKind::Channel } else { LinkKind::Ring };
    println!("{:<22} {:>12} {:<11} {:>9}   {:>12} {:>9}", "row", "multiproc", "unit", "target", "python", "ratio");
    for row in ROWS.iter().filter(|row| arguments.wants(row.name)) {
        let ours = (row.measure)(link);
        let ratio = |peer| if row.more { ours / peer } else { peer / ours };
        let (peer, ratio) = common::beside(arguments.python(PYTHON, row.name), ratio);
        println!("{:<22} {:>12.3} {:<11} {:>9}   {:>12} {:>9}", row.name, ours, row.unit, row.target, peer, ratio);
    }
}
