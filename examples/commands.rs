//! Shell scripts under a time limit, and what they leave running.
//!
//!     cargo run --release --example commands
//!     cargo run --release --example commands -- --size 20 --workers 4
//!
//! Each script starts a helper in the background, every other one as a daemon with a session of its own; every third hangs.
//! When the time limit of a task is over, its worker ends, and so does all that it has started. In Python these go on:
//! `Pool` has no time limits, and who kills a worker leaves the programs that it runs behind.

use multiproc::{Pool, cpu_count};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_millis(500);

/// The task: runs a script; the result is the process id of its helper.
fn run(number: usize) -> Result<u32, String> {
    let helper = if number % 2 == 0 { "sleep 1000 & echo $!" } else { "(setsid sh -c 'sleep 1000 & echo $!' &)" };
    let hang = if number % 3 == 0 { "sleep 1000" } else { ":" };
    let script = format!("{helper}; {hang} >/dev/null");
    let mut shell =
        Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().map_err(|it| it.to_string())?;
    let output = shell.stdout.take().ok_or("no output")?;
    let line = BufReader::new(output).lines().next().ok_or("no helper")?.map_err(|it| it.to_string())?;
    shell.wait().map_err(|it| it.to_string())?;
    line.parse().map_err(|_| line)
}

fn is_running(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

fn flag(name: &str, default: usize) -> usize {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("commands: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let (count, workers) = (flag("--size", 6), flag("--workers", cpu_count()));
    let pool = Pool::new(workers)?;
    let outcomes = pool.tasks(run, 0..count).timeout(LIMIT).fallible().each();
    let hung = outcomes.iter().filter(|outcome| outcome.as_ref().is_err_and(|error| error.is_timeout())).count();
    let helpers: Vec<u32> = outcomes.into_iter().flatten().collect();
    println!("of {count} scripts {hung} hung, and were stopped with all that they had started");
    assert_eq!((hung, helpers.len()), (count.div_ceil(3), count - count.div_ceil(3)));

    // Helpers of the others may still run: what a task has started lives as long as its worker.
    drop(pool);
    println!("{} of {} helpers still run", helpers.iter().filter(|pid| is_running(**pid)).count(), helpers.len());
    assert!(!helpers.into_iter().any(is_running));
    Ok(())
}
