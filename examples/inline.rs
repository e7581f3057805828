//! One function that uses a pool, on processes, on threads, and on the thread that calls it.
//!
//!     cargo run --release --example inline
//!     MULTIPROC_INLINE=1 cargo run --release --example inline
//!
//! The last is for debuggers and profilers: a breakpoint in the task stops, and the stack shows who has made the call. The
//! variable does it for all pools of a program, without a change of it.

use multiproc::{Pool, ThreadPool};
use std::process;
use std::thread::{self, ThreadId};

/// Where a task runs: its process, and whether it is on the thread whose name it is given.
fn place(x: u64, caller: String) -> (u32, bool, u64) {
    (process::id(), name_of(thread::current().id()) == caller, x * x)
}

fn name_of(thread: ThreadId) -> String {
    format!("{thread:?}")
}

fn run(what: &str, pool: &Pool) -> multiproc::Result<()> {
    let caller = name_of(thread::current().id());
    let results = pool.starmap(place, (0..100).map(|x| (x, caller.clone())))?;
    let elsewhere = results.iter().filter(|(pid, _, _)| *pid != process::id()).count();
    let here = results.iter().filter(|(pid, here, _)| *pid == process::id() && *here).count();
    let sum: u64 = results.iter().map(|(_, _, square)| square).sum();
    println!("{what}: {elsewhere} tasks in other processes, {here} on the thread that calls; the sum is {sum}");
    Ok(())
}

fn main() -> multiproc::Result<()> {
    run("processes", &Pool::new(2)?)?;
    let threads = ThreadPool::new(2)?;
    run("threads", &threads)?;
    run("inline", &Pool::builder().inline().build()?)
}
