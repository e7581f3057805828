//! Searches that stop when their time is over, and return the best that they have found.
//!
//!     cargo run --release --example soft_limit
//!     cargo run --release --example soft_limit -- --size 16 --workers 4 --milliseconds 2000
//!
//! Each task looks for a short tour through the same cities. It may look for as long as it likes; when its soft limit is over
//! it is told, and returns what it has. A task that did not listen would be stopped by the hard limit. In Python a task is not
//! told of anything, and a pool has no time limits.

use multiproc::{Pool, cpu_count, current_task};
use std::time::Duration;

const CITIES: usize = 60;

/// A small random number generator, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn length(cities: &[(f64, f64)], tour: &[usize]) -> f64 {
    let next = tour.iter().cycle().skip(1);
    tour.iter().zip(next).map(|(&a, &b)| (cities[a].0 - cities[b].0).hypot(cities[a].1 - cities[b].1)).sum()
}

/// The task: turns parts of a random tour around as long as that makes it shorter, again and again; the best length, and how
/// many tours it has tried.
fn search(cities: &[(f64, f64)], seed: u64) -> (f64, u64) {
    let task = current_task().expect("a task runs");
    let (mut random, mut best, mut tours) = (Random(seed), f64::INFINITY, 0);
    while !task.is_cancelled() {
        let mut tour: Vec<usize> = (0..cities.len()).collect();
        (1..tour.len()).rev().for_each(|at| tour.swap(at, random.below(at + 1)));
        let (mut shortest, mut failures) = (length(cities, &tour), 0);
        while failures < 2000 {
            let (a, b) = (random.below(tour.len()), random.below(tour.len()));
            tour[a.min(b)..=a.max(b)].reverse();
            let now = length(cities, &tour);
            if now < shortest {
                (shortest, failures) = (now, 0);
            } else {
                tour[a.min(b)..=a.max(b)].reverse();
                failures += 1;
            }
        }
        best = best.min(shortest);
        tours += 1;
    }
    (best, tours)
}

fn flag(name: &str, default: u64) -> u64 {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("soft_limit: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let (searches, workers) = (flag("--size", 4), flag("--workers", cpu_count() as u64) as usize);
    let limit = Duration::from_millis(flag("--milliseconds", 500));
    let mut random = Random(7);
    let mut place = || random.below(1000) as f64;
    let cities: Vec<(f64, f64)> = (0..CITIES).map(|_| (place(), place())).collect();

    let pool = Pool::new(workers)?;
    let hard = limit + Duration::from_secs(60);
    let found = pool.with(&cities[..]).tasks(search, 1..=searches).soft_timeout(limit).timeout(hard).run()?;
    let tours: u64 = found.iter().map(|(_, tours)| tours).sum();
    let best = found.iter().map(|(length, _)| *length).fold(f64::INFINITY, f64::min);
    println!("{searches} searches of {limit:?} have tried {tours} tours; the shortest is {best:.0} long");
    assert!(found.iter().all(|(length, tours)| *tours > 0 && *length < 1000.0 * CITIES as f64));
    Ok(())
}
