//! What docs/comparison.md says about libraries in Rust, tried: prints what each of them does.
//!
//!     cargo run --release --manifest-path benches/compare/Cargo.toml --bin claims

use procspawn::spawn;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const WORKERS: usize = 2;

fn die_at_37(x: u32) -> u32 {
    if x == 37 {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).expect("killed");
    }
    x
}

fn nap(millis: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(millis));
    std::process::id()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("the descriptors").count()
}

/// Tasks in a pool of processes, of which one is killed.
fn procspawn_kill() {
    let pool = procspawn::Pool::new(WORKERS).expect("a pool");
    let all: Vec<_> = (0..100).map(|x| pool.spawn(x, die_at_37)).collect();
    let outcomes: Vec<_> = all.into_iter().map(procspawn::JoinHandle::join).collect();
    let results = outcomes.iter().flatten().count();
    let error = outcomes.into_iter().find_map(Result::err).expect("an error");
    println!("procspawn, one of 100 tasks is killed: {results} results, error `{error}`");
    println!("procspawn, afterwards: {:?}", pool.spawn(1, die_at_37).join());
}

fn procspawn_limits() {
    let pool = procspawn::Pool::new(1).expect("a pool");
    pool.spawn(0, nap).join().expect("a process");
    let mut late = pool.spawn(2_000, nap);
    let start = Instant::now();
    let error = late.join_timeout(Duration::from_millis(500)).expect_err("it is late");
    println!("procspawn, join_timeout of half a second: `{error}` after {:.1?}", start.elapsed());
    let ran_on = late.join().is_ok();
    println!("procspawn, join of the same handle: a result: {ran_on}, after {:.1?}", start.elapsed());

    let mut long = pool.spawn(60_000, nap);
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let killed = long.kill();
    println!("procspawn, kill of a running task: {killed:?}, then `{}`", long.join().expect_err("killed"));
    println!(
        "procspawn, the next task after it: {:?} after {:.1?}",
        pool.spawn(0, nap).join().is_ok(),
        start.elapsed()
    );

    let before = descriptors();
    let waiting: Vec<_> = (0..100).map(|_| pool.spawn(1, nap)).collect();
    println!("procspawn, descriptors of a waiting task: {:.1}", (descriptors() - before) as f64 / 100.0);
    waiting.into_iter().for_each(|it| _ = it.join());

    let y = 10;
    println!("procspawn, a macro with named captures: {:?}", spawn!((y) || y + 1).join());
}

/// Runs this program again, with the name of a trial that crashes, and tells how it has ended.
fn crash(name: &str) {
    let program = std::env::current_exe().expect("this program");
    let ended =
        Command::new(program).arg(name).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("a process");
    println!("{name}, a task aborts: the program has ended by {ended}");
}

fn rayon_crash() {
    use rayon::prelude::*;
    (0..100).into_par_iter().for_each(|x| {
        if x == 37 {
            std::process::abort()
        }
    });
}

fn tokio_crash() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async { _ = tokio::task::spawn_blocking(|| std::process::abort()).await });
}

fn rayon_input() {
    use rayon::prelude::*;
    let (taken, data) = (AtomicU32::new(0), vec![1u64; 1000]);
    let endless = std::iter::repeat_with(|| taken.fetch_add(1, SeqCst)).par_bridge();
    let found = endless.find_any(|x| *x == 1000);
    println!("rayon, par_bridge of endless input: found {found:?} after {} items", taken.load(SeqCst));
    println!("rayon, a closure that borrows: {}", (0..1000).into_par_iter().map(|at| data[at]).sum::<u64>());
}

fn tokio_abort() {
    static RAN_ON: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let blocking = tokio::task::spawn_blocking(|| {
            std::thread::sleep(Duration::from_millis(500));
            RAN_ON[0].store(true, SeqCst);
        });
        let awaits = tokio::spawn(async {
            tokio::task::yield_now().await;
            RAN_ON[1].store(true, SeqCst);
        });
        std::thread::sleep(Duration::from_millis(100));
        blocking.abort();
        awaits.abort();
        _ = (blocking.await, awaits.await);
    });
    drop(runtime);
    let said = |at: usize| if RAN_ON[at].load(SeqCst) { "ran on" } else { "was stopped" };
    println!("tokio, abort: a blocking task that runs {}, one at an await {}", said(0), said(1));
}

fn main() {
    procspawn::init();
    match std::env::args().nth(1).as_deref() {
        Some("rayon") => rayon_crash(),
        Some("tokio") => tokio_crash(),
        _ => {
            procspawn_kill();
            procspawn_limits();
            rayon_input();
            tokio_abort();
            crash("rayon");
            crash("tokio");
        }
    }
}
