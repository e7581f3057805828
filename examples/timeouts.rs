//! Tasks that hang, crash, fail or work, with time limits and second tries.
//!
//!     cargo run --release --example timeouts
//!     cargo run --release --example timeouts -- --size 100 --workers 8
//!
//! Each task gets an outcome of its own, in bounded time; a worker that hangs is stopped alone. Then flaky tasks are run with
//! retries: each of them fails twice before it works. Python's `Pool` has nothing for any of this.

use multiproc::{Pool, RawArray, TaskError, cpu_count};
use std::error::Error;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(200);

/// The task: every fifth hangs, crashes, or fails.
fn work(number: u64) -> Result<u64, String> {
    match number % 5 {
        1 => std::thread::sleep(Duration::from_secs(3600)),
        2 => std::process::abort(),
        3 => return Err(format!("number {number} is not for me")),
        _ => {}
    }
    Ok(number * number)
}

/// A task that works at its third try; the tries are counted in shared memory, since the worker may be another one.
fn flaky(tries: &RawArray<u32>, number: usize) -> Result<usize, String> {
    match tries.fetch_add(number, 1) {
        0 => std::process::abort(),
        1 => Err("not yet".to_owned()),
        _ => Ok(number),
    }
}

fn kind(outcome: &Result<u64, TaskError>) -> usize {
    match outcome {
        Ok(_) => 0,
        Err(error) if error.is_timeout() => 1,
        Err(error) if error.is_worker_lost() => 2,
        Err(_) => 3,
    }
}

fn flag(name: &str, default: u64) -> u64 {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("timeouts: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let (count, workers) = (flag("--size", 20), flag("--workers", cpu_count() as u64) as usize);
    let pool = Pool::new(workers)?;

    let start = Instant::now();
    let outcomes: Vec<_> = pool.tasks(work, 0..count).timeout(LIMIT).fallible().iter().collect();
    let took = start.elapsed();
    for (number, outcome) in outcomes.iter().enumerate().take(5) {
        match outcome {
            Ok(value) => println!("task {number}: {value}"),
            Err(error) if error.is_timeout() => println!("task {number}: stopped at its time limit"),
            Err(error) if error.is_worker_lost() => println!("task {number}: lost its worker"),
            Err(error) => {
                println!("task {number}: failed: {}", error.source().map_or(String::new(), |it| it.to_string()))
            }
        }
    }
    let mut counts = [0usize; 4];
    outcomes.iter().for_each(|outcome| counts[kind(outcome)] += 1);
    let [done, timed_out, crashed, failed] = counts;
    println!("of {count} tasks: {done} done, {timed_out} timed out, {crashed} crashed, {failed} failed");
    for (number, outcome) in (0..).zip(&outcomes) {
        assert_eq!(kind(outcome), if number % 5 == 4 { 0 } else { number % 5 }, "task {number}");
    }
    // Each one that hangs holds one worker for as long as the limit, and a moment.
    let bound = (LIMIT * 3) * timed_out.div_ceil(workers.max(1)) as u32 + Duration::from_secs(10);
    assert!(took < bound, "{took:?} is more than {bound:?}");

    let tries = RawArray::new(count as usize);
    let worked = pool.with(&tries).tasks(flaky, 0..count as usize).retries(2).fallible().run()?;
    assert!(worked.into_iter().eq(0..count as usize) && tries.read(..).iter().all(|tries| *tries == 3));
    println!("{count} flaky tasks worked, each at its third try");
    Ok(())
}
