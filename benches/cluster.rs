//! What a pool on nodes costs, beside the same pool on this machine: over the ring, an agent's standard streams, a plain
//! connection and an encrypted one, all on this machine and in one run, in turns.
//!
//!     cargo bench --bench cluster --features cluster              # all rows
//!     cargo bench --bench cluster --features cluster -- apply     # the rows whose name contains "apply"
//!
//! Each figure is the median of 5 rounds, and stands beside the lowest and the highest; a round measures all four ways.

mod common;

use common::{Arguments, RUNS, median, seconds};
use multiproc::cluster::{Command, Listen};
use multiproc::{Pool, PoolBuilder};
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The ways to the workers.
const WAYS: [&str; 4] = ["ring", "stdio", "plain", "tls"];

/// Name, unit, measurement of one way.
type Row = (&'static str, &'static str, fn(&Pool) -> f64);

const ROWS: [Row; 10] = [
    ("apply_p10", "us", |pool| apply(pool, 10)),
    ("apply_p50", "us", |pool| apply(pool, 50)),
    ("apply_p90", "us", |pool| apply(pool, 90)),
    ("map_chunksize_1", "M/s", chunksize_1),
    ("map", "M/s", map),
    ("echo_8MiB", "MiB/s", echo_8_mib),
    ("tasks_5ms", "share", tasks_5ms),
    ("abort_chunk_1", "ms", |pool| abort(pool, 1)),
    ("abort_chunk_7", "ms", |pool| abort(pool, 7)),
    ("abort_chunk_100", "ms", |pool| abort(pool, 100)),
];

fn builder(way: &str) -> PoolBuilder {
    nodes(way, 1, 2).processes(2).at_least(2)
}

fn nodes(way: &str, nodes: usize, workers: usize) -> PoolBuilder {
    let agent = Command::new("{agent}").nodes(nodes).workers(workers);
    match way {
        "ring" => Pool::builder(),
        "stdio" => Pool::builder().on(agent),
        way => Pool::builder().on(agent.listen("127.0.0.1:0").encrypt(way == "tls")),
    }
}

fn apply(pool: &Pool, percent: usize) -> f64 {
    let mut times: Vec<f64> =
        (0..2_000).map(|_| seconds(|| drop(black_box(pool.apply(|x: u64| x + 1, (1,)))))).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() * percent / 100] * 1e6
}

fn chunksize_1(pool: &Pool) -> f64 {
    0.2 / seconds(|| drop(pool.tasks(|x: u64| x + 1, 0..200_000u64).chunksize(1).run().expect("map")))
}

fn map(pool: &Pool) -> f64 {
    5.0 / seconds(|| drop(pool.map(|x: u64| x + 1, 0..5_000_000u64).expect("map")))
}

fn echo_8_mib(pool: &Pool) -> f64 {
    let items = vec![vec![7u8; 8 << 20]; 8];
    64.0 / seconds(|| drop(pool.tasks(|bytes: Vec<u8>| bytes, items).chunksize(1).run().expect("map")))
}

/// 1 = both workers are busy all the time.
fn tasks_5ms(pool: &Pool) -> f64 {
    let busy = |_: u32| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(5) {
            black_box(());
        }
    };
    0.5 / seconds(|| drop(pool.tasks(busy, 0..200u32).run().expect("map")))
}

/// One of 100 tasks aborts: how long the call takes.
fn abort(pool: &Pool, chunksize: usize) -> f64 {
    let mut lost = 0;
    let time = seconds(|| {
        let task = |x: u64| if x == 50 { std::process::abort() } else { x };
        lost = pool.tasks(task, 0..100u64).chunksize(chunksize).each().iter().filter(|it| it.is_err()).count();
    });
    assert_eq!(lost, 1, "exactly that task is lost");
    time * 1e3
}

fn show(name: &str, unit: &str, way: &str, values: Vec<f64>) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    println!("| `{name}`, {unit} | {way} | {:.3} | {low:.3} to {high:.3} |", median(values));
}

/// Until a pool has all of its workers, and the same for its end. Milliseconds.
fn builds(way: &str, workers: usize) -> f64 {
    let mut pool = None;
    let time = seconds(|| pool = Some(nodes(way, 1, workers).processes(workers).at_least(workers).build()));
    drop(pool);
    time * 1e3
}

/// A context of 64 MiB goes to 8 workers of one node: how many bytes go over the network for each of its own.
fn context_share() -> f64 {
    const LEN: usize = 64 << 20;
    let key = std::env::temp_dir().join(format!("multiproc-bench-cluster-{}", std::process::id()));
    let secret = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key);
    secret.and_then(|mut file| file.write_all(&[b'x'; 64])).expect("a key");
    let on = Listen::at("127.0.0.1:0").secret_file(&key).workers(8).encrypt(false);
    let command = on.command().expect("a port");
    let (passed, through) = relay(&command);
    let mut agent =
        std::process::Command::new("sh").arg("-c").arg(format!("exec {through}")).spawn().expect("an agent");
    let pool = Pool::builder().on(on).at_least(8).build().expect("a pool");
    let before = passed.load(Relaxed);
    let context = vec![1u8; LEN];
    let sums = pool.with(&context).tasks(|bytes: &Vec<u8>, x: u64| bytes.len() as u64 + x, 0..800u64).run();
    assert_eq!(sums.expect("map").len(), 800);
    let share = (passed.load(Relaxed) - before) as f64 / LEN as f64;
    drop(pool);
    let _ = agent.wait();
    std::fs::remove_file(key).expect("the key");
    share
}

/// A relay that counts what goes to the agent.
fn relay(command: &str) -> (Arc<AtomicU64>, String) {
    let rest = command.split("tcp:127.0.0.1:").nth(1).expect("a port");
    let port: u16 = rest.split(|it: char| !it.is_ascii_digit()).next().and_then(|it| it.parse().ok()).expect("a port");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("a port").port();
    let passed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&passed);
    std::thread::spawn(move || {
        let (agent, _) = listener.accept().expect("an agent");
        let pool = TcpStream::connect(("127.0.0.1", port)).expect("the pool");
        let (back, there) = (agent.try_clone().expect("a socket"), pool.try_clone().expect("a socket"));
        std::thread::spawn(move || carry(back, there, &AtomicU64::new(0)));
        carry(pool, agent, &count);
    });
    (passed, command.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{own}")))
}

fn carry(mut from: TcpStream, mut to: TcpStream, passed: &AtomicU64) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        passed.fetch_add(len as u64, Relaxed);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// What a pool on 8 agents that has nothing to do takes of a CPU in this process, in percent.
fn idle(way: &str) -> f64 {
    const LASTS: Duration = Duration::from_secs(3);
    let _pool = nodes(way, 8, 1).processes(8).at_least(8).build().expect("a pool");
    std::thread::sleep(Duration::from_millis(200));
    let before = cpu_nanos();
    std::thread::sleep(LASTS);
    (cpu_nanos() - before) / LASTS.as_secs_f64() / 1e7
}

/// How long the threads of this process have run.
fn cpu_nanos() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum()
}

fn main() {
    let arguments = Arguments::read();
    println!("| row | way | median | lowest to highest |\n|---|---|---|---|");
    for (name, unit, measure) in ROWS.iter().filter(|row| arguments.wants(row.0)) {
        let pools = WAYS.map(|way| builder(way).build().expect("a pool"));
        let mut values = WAYS.map(|_| Vec::new());
        // The first round does not count.
        for round in 0..=RUNS {
            for (pool, values) in pools.iter().zip(&mut values) {
                let value = measure(pool);
                if round > 0 {
                    values.push(value);
                }
            }
        }
        for (way, values) in WAYS.iter().zip(values) {
            show(name, unit, way, values);
        }
    }
    for (name, workers) in [("build_1_worker", 1), ("build_32_workers", 32)] {
        if arguments.wants(name) {
            let mut values = WAYS.map(|_| Vec::new());
            for _ in 0..RUNS {
                WAYS.iter().zip(&mut values).for_each(|(way, values)| values.push(builds(way, workers)));
            }
            WAYS.iter().zip(values).for_each(|(way, values)| show(name, "ms", way, values));
        }
    }
    if arguments.wants("context_64MiB") {
        show("context_64MiB", "bytes sent for one", "plain", vec![context_share()]);
    }
    if arguments.wants("idle_8_agents") {
        WAYS[1..].iter().for_each(|way| show("idle_8_agents", "% of a CPU", way, vec![idle(way)]));
    }
}
