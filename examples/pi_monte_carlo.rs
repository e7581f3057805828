//! Estimates pi: the part of random points in a square that fall into its circle.
//!
//!     cargo run --release --example pi_monte_carlo
//!     cargo run --release --example pi_monte_carlo -- --size 50000000 --workers 8
//!
//! Each task has a seed of its own, its number, so that the count is the same for any number of workers, and the same as
//! without any.

use multiproc::{Pool, cpu_count};
use std::f64::consts::PI;
use std::time::Instant;

const TASKS: u64 = 64;

/// A generator of random numbers: splitmix64.
struct Random(u64);

impl Random {
    /// The next number of 0 to 1, without 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The task: how many of so many points lie inside.
fn inside(seed: u64, points: u64) -> u64 {
    let mut random = Random(seed << 32);
    (0..points).filter(|_| random.next().powi(2) + random.next().powi(2) < 1.0).count() as u64
}

/// The number behind a flag.
fn flag(name: &str, default: u64) -> u64 {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("pi_monte_carlo: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let each = (flag("--size", 10_000_000) / TASKS).max(1);
    let workers = flag("--workers", cpu_count() as u64) as usize;
    let points = each * TASKS;

    let start = Instant::now();
    let expected: u64 = (0..TASKS).map(|seed| inside(seed, each)).sum();
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, workers] {
        let pool = Pool::new(workers)?;
        let start = Instant::now();
        let count: u64 = pool.starmap(inside, (0..TASKS).map(|seed| (seed, each)))?.iter().sum();
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert_eq!(count, expected, "{workers} workers count otherwise than none");
    }
    let pi = 4.0 * expected as f64 / points as f64;
    println!("pi is about {pi:.4}: {expected} of {points} points, counted alike each time");
    assert!((pi - PI).abs() < 0.01 || points < 1_000_000, "{pi} is far off");
    Ok(())
}
