//! Ten processes print one line each, one at a time.
//!
//!     cargo run --release --example lock_hello
//!
//! The first program on locks of Python's documentation of `multiprocessing`.

use multiproc::{Lock, Process, join_all};

fn f(lock: Lock, number: u32) -> multiproc::Result<()> {
    let _held = lock.lock()?;
    println!("hello world {number}");
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let lock = Lock::new();
    let crew: Result<Vec<_>, _> = (0..10).map(|number| Process::try_spawn(f, (lock.clone(), number))).collect();
    join_all(crew?)?;
    Ok(())
}
