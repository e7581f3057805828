//! What happens when a worker dies: 100 tasks, of which one kills its own process with SIGKILL.
//!
//!     cargo run --release --example crash
//!
//! The other 99 have their results, the one has an error that tells what happened, and the pool goes on.

use multiproc::Pool;
use rustix::process::{Signal, getpid, kill_process};

fn work(x: u64) -> u64 {
    if x == 42 {
        kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    }
    x * x
}

fn main() -> multiproc::Result<()> {
    let pool = Pool::new(2)?;
    let (results, errors): (Vec<_>, Vec<_>) = pool.map_each(work, 0..100).into_iter().partition(Result::is_ok);
    println!("{} results, their sum is {}", results.len(), results.into_iter().flatten().sum::<u64>());
    for error in errors.into_iter().filter_map(Result::err) {
        println!("error: {error}");
    }
    let results = pool.map(work, 0..10)?;
    println!("the pool goes on: {results:?}");
    Ok(())
}
