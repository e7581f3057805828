//! One tour through a pool: each kind of call, errors, time limits, and its end.
//!
//!     cargo run --release --example pool_demo -- --workers 4
//!
//! The long program on pools of Python's documentation of `multiprocessing`.

use multiproc::Pool;
use std::time::Duration;

fn multiply(a: i64, b: i64) -> i64 {
    a * b
}

fn plus(a: i64, b: i64) -> i64 {
    a + b
}

fn divide(x: i64) -> i64 {
    100 / (x - 5)
}

fn sleeps(x: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(x));
    x
}

fn main() -> multiproc::Result<()> {
    let pool = Pool::new(argument("--workers", 4))?;

    let mut results = Vec::new();
    for i in 0..3 {
        results.push(pool.apply_async(multiply, (i, 7))?);
    }
    for i in 0..3 {
        results.push(pool.apply_async(plus, (i, 8))?);
    }
    let values = results.into_iter().map(|result| result.get()).collect::<Result<Vec<_>, _>>()?;
    println!("apply_async: {values:?}");
    println!("map: {:?}", pool.map(i64::abs, [3, -4, 5])?);
    println!("imap: {:?}", pool.imap(i64::abs, [3, -4, 5]).collect::<Result<Vec<_>, _>>()?);
    let mut unordered = pool.imap_unordered(i64::abs, [3, -4, 5]).collect::<Result<Vec<_>, _>>()?;
    unordered.sort();
    println!("imap_unordered, sorted: {unordered:?}");

    assert!(pool.apply(divide, (5,)).is_err_and(|error| error.task().is_some_and(|task| task.is_panic())));
    println!("apply: an error, as expected");
    assert!(pool.map(divide, 0..10).is_err());
    println!("map: an error, as expected");
    let (good, bad): (Vec<_>, Vec<_>) = pool.imap(divide, 0..10).partition(|result| result.is_ok());
    println!("imap: {} results and {} error", good.len(), bad.len());

    let mut result = pool.apply_async(sleeps, (300,))?;
    let mut waits = 0;
    let value = loop {
        match result.get_timeout(Duration::from_millis(20)) {
            Some(value) => break value?,
            None => waits += 1,
        }
    };
    println!("get with a time limit: {value} {}", if waits > 0 { "after some waits" } else { "at once" });

    pool.close();
    assert!(pool.map(i64::abs, [1]).is_err_and(|error| error.is_not_running()));
    println!("a closed pool takes no calls");
    pool.join()?;

    let pool = Pool::new(2)?;
    pool.apply_async(sleeps, (100_000,))?.detach();
    pool.terminate();
    pool.join()?;
    println!("terminated");
    Ok(())
}

/// The number behind an argument.
fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}
