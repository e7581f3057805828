//! Two processes, one lock and one shared number: the second goes on where the first has stopped.
//!
//!     cargo run --release --example value
//!
//! The classic program of Python's `multiprocessing`, as the example `lock`, but with a [`Value`] that both share.
//! `-- --step-ms 10` makes the pause between two steps shorter.

use multiproc::{Lock, Process, Value};
use std::time::Duration;

fn add(lock: Lock, number: Value<u32>, by: u32, step_ms: u64) -> multiproc::Result<()> {
    let _held = lock.lock()?;
    println!("init add{by} number = {}", number.get()?);
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(step_ms));
        *number.lock()? += by;
        println!("add{by} number = {}", number.get()?);
    }
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let step_ms = step_ms(1000);
    let (lock, number) = (Lock::new(), Value::new(0));
    drop(Process::try_spawn(add, (lock.clone(), number.clone(), 1, step_ms))?);
    drop(Process::try_spawn(add, (lock, number, 3, step_ms))?);
    println!("main end");
    Ok(())
}

/// The value of `--step-ms`.
fn step_ms(default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--step-ms").skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}
