//! A long call in a program that is killed again and again, and goes on where it was.
//!
//!     cargo run --release --example resume
//!     cargo run --release --example resume -- 5000 3
//!
//! The program keeps its results in a file, by `checkpoint`. Here it is a child process, which is killed (SIGKILL) in the middle
//! of its work; then it is started again. Only what was not written is run again.

use multiproc::{Pool, Process};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The task: how many steps a number takes down to 1 (the "Collatz" sequence), the slow way. It notes that it has run.
fn steps(log: String, start: u64) -> u64 {
    let mut log = fs::OpenOptions::new().append(true).create(true).open(log).expect("the log can be opened");
    // One call of the system for the whole line: the other worker writes to the same file.
    log.write_all(format!("{start}\n").as_bytes()).expect("the log can be written");
    let mut most = 0;
    for number in 1..=start {
        let mut number = number;
        let mut steps = 0;
        while number != 1 {
            number = if number % 2 == 0 { number / 2 } else { 3 * number + 1 };
            steps += 1;
        }
        most = most.max(steps);
    }
    most
}

/// The program.
fn work(file: PathBuf, log: String, count: u64) -> multiproc::Result<u64> {
    let pool = Pool::new(2)?;
    let all = pool.star_tasks(steps, (1..=count).map(|start| (log.clone(), start))).checkpoint(file).run()?;
    Ok(all.into_iter().max().unwrap_or(0))
}

/// The tasks that have run so far, and how often each.
fn runs(log: &Path) -> Vec<u64> {
    fs::read_to_string(log).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
}

fn main() -> multiproc::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| {
        text.parse::<u64>().unwrap_or_else(|_| {
            eprintln!("resume: a number is needed, not `{text}`");
            std::process::exit(1)
        })
    });
    let (count, kills) = (numbers.next().unwrap_or(2000), numbers.next().unwrap_or(4));
    let folder = std::env::temp_dir().join(format!("multiproc-resume-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let (file, log) = (folder.join("results"), folder.join("log"));
    let start = || Process::spawn(work, (file.clone(), log.to_string_lossy().into_owned(), count));

    for kill in 1..=kills {
        let program = start()?;
        while (runs(&log).len() as u64) < kill * count / (kills + 1) && program.is_alive() {
            std::thread::yield_now();
        }
        program.kill();
        program.wait();
        println!("killed, after {} tasks have been run", runs(&log).len());
    }
    let most = start()?.join()??;
    let all = runs(&log);
    let different: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(different.len() as u64, count, "each task was run");
    println!("{} of {count} tasks were run again", all.len() as u64 - count);
    println!("the longest way of a number up to {count} has {most} steps");
    fs::remove_dir_all(folder)?;
    Ok(())
}
