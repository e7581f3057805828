//! How the costs of a pool grow: over the number of workers, of tasks, of bytes, of callers, and of results that wait.
//!
//!     cargo bench --bench curves               # all curves; rewrites docs/curves.md and its picture
//!     cargo bench --bench curves -- callers    # the curves whose name contains "callers", printed only
//!     cargo bench --bench curves -- --quick    # up to a hundredth, printed only
//!
//! Each point is the median of 3 runs. A cost that grows straight is a level line; a cliff is a point that falls out of it.

mod common;

use common::Arguments;
use common::page::{self, decade};
use multiproc::Pool;
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 3;

/// How long an idle pool is watched.
const IDLE: Duration = Duration::from_secs(10);

/// Where one line of the document's charts comes from.
struct Curve {
    name: &'static str,
    title: &'static str,
    /// What grows.
    over: &'static str,
    unit: &'static str,
    points: &'static [u64],
    measure: fn(u64) -> f64,
}

const WORKERS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000];
const DECADES: &[u64] = &[1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

const CURVES: &[Curve] = &[
    Curve {
        name: "workers_start",
        title: "Start of a pool, of as many bare `exec`s",
        over: "workers",
        unit: "times",
        points: WORKERS,
        measure: start,
    },
    Curve { name: "workers_end", title: "End of a pool", over: "workers", unit: "ms", points: WORKERS, measure: end },
    Curve {
        name: "workers_idle",
        title: "How often an idle pool wakes up in 10 s",
        over: "workers",
        unit: "times",
        points: &[1, 32, 1000],
        measure: idle,
    },
    Curve {
        name: "workers_task",
        title: "A trivial task, one a chunk",
        over: "workers",
        unit: "ns",
        points: WORKERS,
        measure: task,
    },
    Curve {
        name: "tasks_map",
        title: "An item of `map`",
        over: "items",
        unit: "ns",
        points: &[1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000],
        measure: item_of_map,
    },
    Curve {
        name: "tasks_stream",
        title: "An item of `imap`, a thousand a chunk",
        over: "items",
        unit: "ns",
        points: &[1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000],
        measure: item_of_stream,
    },
    Curve {
        name: "bytes_echo",
        title: "A `Vec<u8>` there and back",
        over: "bytes",
        unit: "ns/KiB",
        points: &[1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 23, 1 << 26, 1 << 28, 1 << 30],
        measure: echo,
    },
    Curve {
        name: "callers",
        title: "A call of `apply`, of all callers together",
        over: "threads that call",
        unit: "us",
        points: &[1, 2, 4, 8, 16, 32, 64],
        measure: callers,
    },
    Curve {
        name: "outstanding",
        title: "A call of `apply_async`, and its `get`",
        over: "results that wait",
        unit: "us",
        points: DECADES,
        measure: outstanding,
    },
];

fn increment(x: u64) -> u64 {
    x + 1
}

fn same(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn pool(workers: u64) -> Pool {
    Pool::new(workers as usize).expect("a pool")
}

fn seconds<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64(), result)
}

/// Of a pool that is ready, beside as many processes that do nothing, of which all are made before the first is waited for.
fn start(workers: u64) -> f64 {
    let bare = || Command::new("/bin/true").stdin(Stdio::null()).spawn().expect("/bin/true");
    let (execs, ()) = seconds(|| {
        let children: Vec<_> = (0..workers).map(|_| bare()).collect();
        children.into_iter().for_each(|mut child| drop(child.wait()));
    });
    let (ours, pool) = seconds(|| pool(workers));
    drop(pool);
    ours / execs
}

fn end(workers: u64) -> f64 {
    let pool = pool(workers);
    let end = || {
        pool.close();
        pool.join().expect("join");
    };
    seconds(end).0 * 1e3
}

/// How often a thread of these processes has gone to sleep.
fn switches(pids: &[i32]) -> u64 {
    let of_thread = |status: String| {
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    let of_process = |pid: &i32| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.filter_map(|it| std::fs::read_to_string(it.path().join("status")).ok()).map(of_thread).sum::<u64>()
    };
    pids.iter().map(of_process).sum()
}

fn idle(workers: u64) -> f64 {
    let pool = pool(workers);
    pool.map(increment, 0..workers).expect("map");
    // What a worker does after its last task is no part of its rest.
    std::thread::sleep(Duration::from_secs(1));
    let own = std::process::id() as i32;
    let pids: Vec<i32> = pool.worker_pids().into_iter().chain([own]).collect();
    let before = switches(&pids);
    std::thread::sleep(IDLE);
    // One is the sleep of this thread.
    (switches(&pids) - before).saturating_sub(1) as f64
}

fn task(workers: u64) -> f64 {
    const TASKS: u64 = 200_000;
    let pool = pool(workers);
    let map = || drop(black_box(pool.tasks(increment, 0..TASKS).chunksize(1).run().expect("map")));
    map();
    seconds(map).0 * 1e9 / TASKS as f64
}

fn item_of_map(items: u64) -> f64 {
    let pool = pool(2);
    pool.map(increment, 0..1000).expect("map");
    seconds(|| black_box(pool.map(increment, 0..items).expect("map"))).0 * 1e9 / items as f64
}

fn item_of_stream(items: u64) -> f64 {
    let pool = pool(2);
    pool.map(increment, 0..1000).expect("map");
    let (took, sum) = seconds(|| {
        let values = pool.tasks(increment, 0..items).chunksize(1000).iter();
        values.map(|value| value.expect("a value")).fold(0u64, u64::wrapping_add)
    });
    assert_eq!(sum, items * (items + 1) / 2);
    took * 1e9 / items as f64
}

fn echo(bytes: u64) -> f64 {
    const PER_RUN: u64 = 1 << 26;
    let pool = pool(2);
    let calls = (PER_RUN / bytes).clamp(1, 10_000);
    let item = (0..bytes).map(|at| at as u8).collect::<Vec<u8>>();
    let mut took = 0.0;
    for call in 0..=calls {
        let argument = item.clone();
        let (once, result) = seconds(|| pool.apply(same, (argument,)).expect("apply"));
        assert_eq!(result.len(), item.len());
        // The first call is not like the others.
        took += if call == 0 { 0.0 } else { once };
    }
    took * 1e9 / (calls * bytes) as f64 * 1024.0
}

fn callers(threads: u64) -> f64 {
    const CALLS: u64 = 20_000;
    let pool = pool(2);
    pool.apply(increment, (0,)).expect("apply");
    let each = CALLS / threads;
    let (took, ()) = seconds(|| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..each).for_each(|x| assert_eq!(pool.apply(increment, (x,)).expect("apply"), x + 1)));
            }
        });
    });
    took * 1e6 / (each * threads) as f64
}

fn outstanding(results: u64) -> f64 {
    let pool = pool(2);
    pool.apply(increment, (0,)).expect("apply");
    let (took, ()) = seconds(|| {
        let calls: Vec<_> = (0..results).map(|x| pool.apply_async(increment, (x,)).expect("a call")).collect();
        calls.into_iter().zip(0..).for_each(|(call, x)| assert_eq!(call.get().expect("a value"), x + 1));
    });
    took * 1e6 / results as f64
}

/// The points of a curve, each with what was measured.
fn measure(curve: &Curve, quick: bool) -> Vec<(u64, f64)> {
    let most = curve.points.last().copied().unwrap_or_default();
    let most = if quick { most / 100 } else { most };
    let points = curve.points.iter().copied().filter(|point| *point <= most.max(1));
    let point = |at| {
        eprintln!("{} at {at}", curve.name);
        (at, common::median((0..RUNS).map(|_| (curve.measure)(at)).collect()))
    };
    points.map(point).collect()
}

/// A figure with three digits.
fn figure(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn table(curve: &Curve, points: &[(u64, f64)]) -> String {
    let mut text = format!("### {}: {}\n\n| {} | {} |\n|--:|--:|\n", curve.name, curve.title, curve.over, curve.unit);
    for (at, value) in points {
        _ = writeln!(text, "| {at} | {} |", figure(*value));
    }
    text + "\n"
}

/// A chart for each curve, both axes logarithmic, two in a row.
fn picture(curves: &[(&Curve, Vec<(u64, f64)>)]) -> String {
    const WIDTH: f64 = 430.0;
    const HEIGHT: f64 = 250.0;
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = 20.0;
    /// Above and below the lines.
    const ROOM: f64 = 44.0;
    let rows = curves.len().div_ceil(2) as f64;
    let mut text = page::canvas(2.0 * WIDTH, rows * HEIGHT);
    for (at, (curve, points)) in curves.iter().enumerate() {
        let (x0, y0) = ((at % 2) as f64 * WIDTH, (at / 2) as f64 * HEIGHT);
        let [xs, ys]: [Vec<f64>; 2] =
            [points.iter().map(|it| it.0 as f64).collect(), points.iter().map(|it| it.1.max(0.1)).collect()];
        let (x_range, y_range) = (decade::range(&xs), decade::range(&ys));
        let x = |value: f64| x0 + LEFT + (WIDTH - LEFT - RIGHT) * decade::place(value, x_range);
        let y = |value: f64| y0 + HEIGHT - ROOM - (HEIGHT - 2.0 * ROOM) * decade::place(value, y_range);
        page::label(&mut text, x0 + 16.0, y0 + 24.0, "start", "#111", &format!("{}, {}", curve.title, curve.unit));
        page::label(&mut text, x0 + WIDTH / 2.0 + 20.0, y0 + HEIGHT - 8.0, "middle", "#555", curve.over);
        for value in decade::lines(x_range) {
            page::line(&mut text, [x(value), y0 + ROOM], [x(value), y0 + HEIGHT - ROOM]);
            page::label(&mut text, x(value), y0 + HEIGHT - ROOM + 16.0, "middle", "#555", &decade::name(value));
        }
        for value in decade::lines(y_range) {
            page::line(&mut text, [x0 + LEFT, y(value)], [x0 + WIDTH - RIGHT, y(value)]);
            page::label(&mut text, x0 + LEFT - 6.0, y(value) + 4.0, "end", "#555", &decade::name(value));
        }
        let path: Vec<String> =
            xs.iter().zip(&ys).map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#2563eb\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (at, value) in xs.iter().zip(&ys) {
            _ = writeln!(text, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#2563eb\"/>", x(*at), y(*value));
        }
    }
    text + "</svg>\n"
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read();
    let quick = arguments.has("--quick");
    let wanted = CURVES.iter().filter(|curve| arguments.wants(curve.name));
    let curves: Vec<_> = wanted.map(|curve| (curve, measure(curve, quick))).collect();
    let tables: String = curves.iter().map(|(curve, points)| table(curve, points)).collect();
    print!("{tables}");
    if quick || curves.len() < CURVES.len() {
        return Ok(());
    }
    page::rewrite("curves", "curves", &format!("{}\n![](curves.svg)\n\n{tables}", page::conditions()?))?;
    page::picture("curves.svg", &picture(&curves))
}
