//! Two processes and one lock: each does its five steps without being interrupted by the other.
//!
//!     cargo run --release --example lock
//!
//! The classic program of Python's `multiprocessing`. `number` is a plain argument: each process has its own. `main`
//! starts both, drops the handles and ends; a program waits for its processes before it exits. `-- --step-ms 10` makes
//! the pause between two steps shorter.

use multiproc::{Lock, Process};
use std::time::Duration;

fn add(lock: Lock, mut number: u32, step_ms: u64) -> multiproc::Result<()> {
    let _held = lock.lock()?;
    println!("init add1 number = {number}");
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(step_ms));
        number += 1;
        println!("add1 number = {number}");
    }
    Ok(())
}

fn plus(lock: Lock, mut number: u32, step_ms: u64) -> multiproc::Result<()> {
    let _held = lock.lock()?;
    println!("init plus3 number = {number}");
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(step_ms));
        number += 3;
        println!("plus3 number = {number}");
    }
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let step_ms = step_ms(1000);
    let lock = Lock::new();
    let number = 0;
    drop(Process::try_spawn(add, (lock.clone(), number, step_ms))?);
    drop(Process::try_spawn(plus, (lock, number, step_ms))?);
    println!("main end");
    Ok(())
}

/// The value of `--step-ms`.
fn step_ms(default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--step-ms").skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}
