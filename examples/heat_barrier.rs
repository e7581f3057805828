//! Heat that spreads along a rod: each process has a part of it, and all go from step to step together.
//!
//!     cargo run --release --example heat_barrier
//!     cargo run --release --example heat_barrier -- --size 1000000 --steps 1000 --workers 8
//!
//! Two arrays in shared memory are by turns the old state and the new one; a `Barrier` keeps anybody from going on before all
//! have written. At the end one process gives up half way, and breaks the barrier: the others get an error, and nobody waits
//! for it. (The barrier breaks as well when a process that waits at it dies.)

use multiproc::{Barrier, Process, RawArray, cpu_count};
use std::time::Instant;

/// The heat of some places of a rod a step later; of the first and the last place of `old` only the neighbours need it.
fn step(old: &[f64]) -> Vec<f64> {
    old.windows(3).map(|it| it[1] + 0.25 * (it[0] - 2.0 * it[1] + it[2])).collect()
}

fn start_heat(size: usize) -> Vec<f64> {
    let mut rod = vec![0.0; size];
    rod[0] = 100.0;
    rod
}

fn alone(size: usize, steps: usize) -> Vec<f64> {
    let mut rod = start_heat(size);
    for _ in 0..steps {
        let new = step(&rod);
        rod[1..size - 1].copy_from_slice(&new);
    }
    rod
}

/// What each process gets: the barrier, the two arrays, its own part, the number of steps, and at which it gives up.
type Part = (Barrier, [RawArray<f64>; 2], usize, usize, usize, Option<usize>);

/// Returns whether the barrier was still whole at the end.
fn spread((barrier, buffers, first, last, steps, give_up_at): Part) -> bool {
    for number in 0..steps {
        if Some(number) == give_up_at {
            return barrier.abort().is_ok();
        }
        let (old, new) = (&buffers[number % 2], &buffers[(number + 1) % 2]);
        new.write(first, &step(&old.read(first - 1..last + 1)));
        if barrier.wait().is_err() {
            return false;
        }
    }
    true
}

/// The heat behind the last step, and how many processes found the barrier broken.
fn together(
    size: usize,
    steps: usize,
    workers: usize,
    give_up_at: Option<usize>,
) -> multiproc::Result<(Vec<f64>, usize)> {
    let barrier = Barrier::new(workers);
    let buffers = [RawArray::from(&start_heat(size)), RawArray::from(&start_heat(size))];
    let bound = |at: usize| 1 + (size - 2) * at / workers;
    let mut crew = Vec::new();
    for at in 0..workers {
        let give_up_at = give_up_at.filter(|_| at == 0);
        let part: Part = (barrier.clone(), buffers.clone(), bound(at), bound(at + 1), steps, give_up_at);
        crew.push(Process::spawn(spread, (part,))?);
    }
    let whole = crew.into_iter().map(|process| process.join()).collect::<Result<Vec<bool>, _>>()?;
    Ok((buffers[steps % 2].read(..), whole.iter().filter(|whole| !**whole).count()))
}

fn flag(name: &str, default: usize) -> usize {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("heat_barrier: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let (size, steps) = (flag("--size", 100_000).max(10), flag("--steps", 500));
    let most_workers = flag("--workers", cpu_count()).max(1);
    let start = Instant::now();
    let expected = alone(size, steps);
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, most_workers] {
        let start = Instant::now();
        let (rod, broken) = together(size, steps, workers, None)?;
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert!(rod == expected && broken == 0, "{workers} workers compute otherwise than none");
    }
    println!("{steps} steps, bit for bit the same; at place 5 there are {:.6} degrees", expected[5]);
    let (_, broken) = together(size, steps, most_workers, Some(steps / 2))?;
    assert_eq!(broken, most_workers - 1);
    println!("one gives up half way: {broken} find the barrier broken");
    Ok(())
}
