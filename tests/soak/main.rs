//! Everything at once, for as long as you like: all kinds of calls from several threads, while workers are killed, tasks
//! panic, hang and crash, calls are cancelled, and pools are dropped and made again. At the end it counts.
//!
//!     cargo test --test soak                                           # 3 seconds of it
//!     cargo test --release --test soak -- --seconds 60
//!     cargo test --release --test soak -- --seconds 60 --seed 7
//!     cargo test --release --features cluster --test soak -- --hosts 3 --seconds 60     # see `hosts.rs`
//!
//! It ends with exit code 1 if a task has no outcome or a wrong one, if anything hangs, if a process, a descriptor or a
//! block of shared memory stays behind, or if memory grows.

mod blocking;
#[cfg(feature = "cluster")]
#[path = "../common/mod.rs"]
mod common;
mod control;
mod holdings;
#[cfg(feature = "cluster")]
mod hosts;
mod later;
mod options;
mod orders;
mod streams;
mod tally;

use blocking::{apply, map, map_each, starmap, try_map, with};
use control::{after, generate, keyed, on_each_worker, priorities, soft_timeout};
use holdings::{holdings, list_holdings, memory};
use later::{apply_async, future, map_async};
use multiproc::{LinkKind, Pool, RawArray, shared_memory_report};
use options::{insight, new_pool, own_pool, retries, state, timeout};
use orders::{ANSWER, Dice, IS_CALM, is_calm, work_apart};
use rustix::process::{Pid, Signal, kill_process};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use streams::{imap, imap_unordered};
use tally::Tally;

/// Threads that make calls.
const CALLERS: usize = 5;

/// No call here takes nearly as long; one that does has hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// A storm, in which workers are killed, pools replaced, and tasks do harm, and a calm follow each other, in seconds.
/// The calm is for what a storm hides: the end of a worker wakes the whole pool, also one that slept by mistake.
const STORM: u64 = 15;
const CALM: u64 = 45;

/// One thread that makes calls, as the watchdog sees it.
#[derive(Default)]
struct Post {
    /// What it does, and since when.
    doing: Mutex<Option<(&'static str, Instant)>>,
}

/// What all threads share.
struct Soak {
    tally: Tally,
    /// The pool of the moment.
    pool: Mutex<Arc<Pool>>,
    over: AtomicBool,
    posts: Vec<Post>,
    /// For each kind of call how often it was made, and the longest time in microseconds.
    kinds: [(AtomicU32, AtomicU64); KINDS.len()],
}

type Call = fn(&Soak, &Pool, &mut Dice);

const KINDS: [(&str, Call); 22] = [
    ("apply", apply),
    ("map", map),
    ("map_each", map_each),
    ("starmap", starmap),
    ("try_map", try_map),
    ("with", with),
    ("apply_async", apply_async),
    ("map_async", map_async),
    ("future", future),
    ("imap", imap),
    ("imap_unordered", imap_unordered),
    ("timeout", timeout),
    ("retries", retries),
    ("state", state),
    ("insight", insight),
    ("keyed", keyed),
    ("after", after),
    ("generate", generate),
    ("priorities", priorities),
    ("soft_timeout", soft_timeout),
    ("on_each_worker", on_each_worker),
    ("own pool", own_pool),
];

/// Makes calls until it is over.
fn call_again_and_again(soak: &Soak, post: &Post, seed: u64) {
    let mut dice = Dice(seed);
    while !soak.over.load(Relaxed) {
        let kind = dice.throw(KINDS.len() as u64) as usize;
        let (name, call) = KINDS[kind];
        let start = Instant::now();
        *post.doing.lock().unwrap() = Some((name, start));
        let pool = Arc::clone(&soak.pool.lock().unwrap());
        call(soak, &pool, &mut dice);
        soak.kinds[kind].1.fetch_max(start.elapsed().as_micros() as u64, Relaxed);
        // The last one ends the pool.
        drop(pool);
        *post.doing.lock().unwrap() = None;
        soak.kinds[kind].0.fetch_add(1, Relaxed);
    }
}

/// Kills workers until it is over.
fn kill_again_and_again(soak: &Soak, seed: u64) {
    let mut dice = Dice(seed);
    while !soak.over.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(2 + dice.throw(40)));
        if is_calm() {
            continue;
        }
        let pool = Arc::clone(&soak.pool.lock().unwrap());
        if dice.chance(10) {
            // A pool that takes no calls cannot be resized.
            let _ = pool.resize(1 + dice.throw(4) as usize);
        }
        let pids = pool.worker_pids();
        if pids.is_empty() {
            continue;
        }
        let pid = pids[dice.throw(pids.len() as u64) as usize];
        let killed = Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
        soak.tally.kills.fetch_add(u64::from(killed), Relaxed);
    }
}

/// Puts another pool in the place of the one that all use, until it is over.
fn replace_again_and_again(soak: &Soak, post: &Post, seed: u64) {
    let mut dice = Dice(seed);
    while !soak.over.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(100 + dice.throw(1_000)));
        if is_calm() {
            continue;
        }
        *post.doing.lock().unwrap() = Some(("replace", Instant::now()));
        let new = Arc::new(new_pool(soak, &mut dice));
        let old = std::mem::replace(&mut *soak.pool.lock().unwrap(), new);
        match dice.throw(4) {
            0 => old.terminate(),
            1 => {
                old.close();
                if old.join_timeout(PATIENCE).is_none_or(|end| end.is_err()) {
                    soak.tally.wrong("a closed pool does not end");
                }
            }
            _ => {}
        }
        drop(old);
        *post.doing.lock().unwrap() = None;
    }
}

/// Lets every part of the library that stays for good come to life.
fn warm_up() {
    for link in [LinkKind::Ring, LinkKind::Channel] {
        let pool = Pool::builder().processes(1).link(link).build().expect("a pool");
        pool.apply_async(work_apart, (ANSWER, 1)).expect("a call").get().expect("an answer");
        pool.with(&RawArray::<u32>::new(1)).tasks(|_: &RawArray<u32>, _: u32| (), [1]).run().expect("an answer");
    }
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|it| it != name);
    arguments.nth(1).map(|value| {
        value.parse().unwrap_or_else(|_| {
            eprintln!("soak: {name} must be a number, not {value}");
            std::process::exit(1);
        })
    })
}

/// Whether a runner asks for something else than this test: a list, the ignored ones, or tests of other names.
fn is_not_meant() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|it| it == name);
    if has("--list") && !has("--ignored") {
        println!("soak: test");
    }
    let filters = || arguments.iter().filter(|it| !it.starts_with('-') && it.parse::<u64>().is_err());
    has("--list") || has("--ignored") || filters().next().is_some() && !filters().any(|it| "soak".contains(it.as_str()))
}

fn main() {
    if is_not_meant() {
        return;
    }
    let seconds = argument("--seconds").unwrap_or(3);
    let seed = argument("--seed").unwrap_or(42).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    #[cfg(feature = "cluster")]
    if let Some(count) = argument("--hosts") {
        warm_up();
        return hosts::soak(count.max(1) as usize, seconds, seed);
    }
    warm_up();
    std::thread::sleep(Duration::from_millis(300));
    let before = holdings();
    let first = Pool::new(2).expect("a pool");
    let soak = Soak {
        tally: Tally::default(),
        pool: Mutex::new(Arc::new(first)),
        over: AtomicBool::new(false),
        posts: (0..=CALLERS).map(|_| Post::default()).collect(),
        kinds: Default::default(),
    };
    let start = Instant::now();
    let mut early = 0.0;
    std::thread::scope(|scope| {
        let soak = &soak;
        let mut threads = Vec::new();
        for (number, post) in (1..).zip(&soak.posts[1..]) {
            threads.push(scope.spawn(move || call_again_and_again(soak, post, seed.wrapping_mul(2 * number + 1))));
        }
        threads.push(scope.spawn(move || kill_again_and_again(soak, seed.rotate_left(7))));
        threads.push(scope.spawn(move || replace_again_and_again(soak, &soak.posts[0], seed.rotate_left(13))));
        // This thread is the watchdog.
        while !threads.iter().all(|thread| thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            let elapsed = start.elapsed();
            if early == 0.0 && elapsed > Duration::from_secs(seconds) / 3 {
                early = memory();
            }
            IS_CALM.store(elapsed.as_secs() % (STORM + CALM) >= STORM, Relaxed);
            soak.over.store(elapsed > Duration::from_secs(seconds), Relaxed);
            for post in &soak.posts {
                let doing = *post.doing.lock().unwrap();
                if let Some((name, _)) = doing.filter(|(_, since)| since.elapsed() > PATIENCE) {
                    eprintln!("soak: 1 hang: {name} has not returned for {} s", PATIENCE.as_secs());
                    std::process::exit(1);
                }
            }
        }
    });
    let Soak { tally, pool, kinds, .. } = soak;
    drop(pool);
    let late = memory();
    let settled = Instant::now();
    while holdings() != before && settled.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for ((name, _), (count, longest)) in KINDS.iter().zip(&kinds) {
        println!("{:>8} x {name}, in up to {} ms", count.load(Relaxed), longest.load(Relaxed) / 1_000);
    }
    let after = holdings();
    let [processes, descriptors, threads] = [0, 1, 2].map(|at| after[at].saturating_sub(before[at]));
    let memory = shared_memory_report().expect("a report");
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let (submitted, outcomes, kills) = (count(&tally.submitted), tally.outcomes(), count(&tally.kills));
    println!(
        "soak: {} s, {} calls, {submitted} tasks submitted, {outcomes} outcomes ({} values, {} errors, {} dropped by \
         their callers), {} wrong, {kills} workers killed, {} pools, 0 hangs; left behind: {processes} processes, \
         {descriptors} descriptors, {threads} threads, {} blocks of shared memory; resident memory {early:.1} MiB early, \
         {late:.1} MiB late",
        start.elapsed().as_secs(),
        count(&tally.calls),
        count(&tally.values),
        count(&tally.errors),
        count(&tally.cancelled),
        count(&tally.wrong),
        count(&tally.pools),
        memory.blocks,
    );
    let flat = late < early * 1.25 + 16.0;
    // Killing a process in the middle of taking or leaving a block may lose that block.
    let blocks = memory.blocks == 0 && memory.lost as u64 <= kills && memory.damage.is_empty();
    let left = processes + descriptors + threads;
    if submitted != outcomes || count(&tally.wrong) > 0 || left > 0 || !flat || !blocks {
        eprintln!("soak: something is wrong: {memory:?}");
        if left > 0 {
            list_holdings();
        }
        std::process::exit(1);
    }
}
