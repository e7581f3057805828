//! Four stages, each a process, with pipes between them: read lines, parse them, compute (by several processes), write.
//!
//!     cargo run --release --example pipeline
//!
//! `-- --lines 20000 --workers 2` are the defaults. Nobody sends a last message that says so: a stage ends when the stages
//! before it have ended, since then nobody is left at the other end of its pipe. The last stage waits for all workers at
//! once, and puts their results back in order.

use multiproc::{Process, Receiver, Result, Sender, Waitable, join_all, pipe_oneway, wait};
use std::collections::BTreeMap;
use std::time::Instant;

/// A line, and what has become of it.
type Line = (u64, String);
type Numbers = (u64, Vec<u64>);
type Sum = (u64, u64);

fn text(number: u64) -> String {
    format!("{} {} {}", number, number * 7 % 1000, number * 13 % 1000)
}

fn compute(numbers: &[u64]) -> u64 {
    numbers.iter().map(|number| number * number).sum()
}

fn read(lines: u64, to: Sender<Line>) -> Result<()> {
    for number in 0..lines {
        to.send((number, text(number)))?;
    }
    Ok(())
}

/// Deals the lines out in turn.
fn parse(from: Receiver<Line>, to: Vec<Sender<Numbers>>) -> Result<()> {
    for line in from {
        let (number, text) = line?;
        let numbers = text.split(' ').map(|word| word.parse().unwrap_or(0)).collect();
        to[number as usize % to.len()].send((number, numbers))?;
    }
    Ok(())
}

fn work(from: Receiver<Numbers>, to: Sender<Sum>) -> Result<()> {
    for line in from {
        let (number, numbers) = line?;
        to.send((number, compute(&numbers)))?;
    }
    Ok(())
}

/// Takes from whoever has something, and gives the results in their order.
fn write(mut from: Vec<Receiver<Sum>>) -> Result<Vec<u64>> {
    let (mut early, mut sums) = (BTreeMap::new(), Vec::new());
    while !from.is_empty() {
        let sources: Vec<&dyn Waitable> = from.iter().map(|it| it as &dyn Waitable).collect();
        for place in wait(&sources, None)?.into_iter().rev() {
            match from[place].recv() {
                Ok((number, sum)) => _ = early.insert(number, sum),
                Err(error) if error.is_disconnected() => drop(from.remove(place)),
                Err(error) => return Err(error.into()),
            }
        }
        while let Some(sum) = early.remove(&(sums.len() as u64)) {
            sums.push(sum);
        }
    }
    Ok(sums)
}

fn main() -> Result<()> {
    let (lines, workers) = (argument("--lines", 20_000), argument("--workers", 2));
    let start = Instant::now();
    let (from_reader, to_parser) = pipe_oneway();
    let (mut to_workers, mut from_workers, mut crew) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..workers {
        let ((numbers, to_worker), (sums, to_writer)) = (pipe_oneway(), pipe_oneway());
        crew.push(Process::try_spawn(work, (numbers, to_writer))?);
        to_workers.push(to_worker);
        from_workers.push(sums);
    }
    crew.push(Process::try_spawn(parse, (from_reader, to_workers))?);
    crew.push(Process::try_spawn(read, (lines, to_parser))?);
    let sums = Process::try_spawn(write, (from_workers,))?.join()?;
    join_all(crew)?;
    let parsed = |number| text(number).split(' ').map(|word| word.parse().unwrap_or(0)).collect::<Vec<_>>();
    assert!(sums.iter().copied().eq((0..lines).map(|number| compute(&parsed(number)))), "the order is lost");
    println!("{} lines through {workers} workers, in order; the last gives {}", sums.len(), sums[sums.len() - 1]);
    println!("{:.1?}", start.elapsed());
    Ok(())
}

/// The number behind an argument.
fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}
