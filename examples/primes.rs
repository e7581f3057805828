//! Counts the primes below N, by ranges of very uneven cost.
//!
//!     cargo run --release --example primes                 # below 10,000,000: 664,579
//!     cargo run --release --example primes -- 1000000      # 78,498
//!     cargo run --release --example primes -- 1000000 8    # the same with 8 workers
//!
//! The widest range has 2,048 times as many numbers as the narrowest, and a number costs the more the larger it is. The
//! pool hands out the ranges as workers get free, so that all of them end at about the same time; nothing is tuned here.

use multiproc::{Pool, cpu_count};
use std::ops::Range;
use std::time::Instant;

/// How many primes there are below some numbers: <https://oeis.org/A006880>.
const KNOWN: [(u64, u64); 6] = [
    (1_000, 168),
    (10_000, 1_229),
    (100_000, 9_592),
    (1_000_000, 78_498),
    (10_000_000, 664_579),
    (100_000_000, 5_761_455),
];

/// Whether `n`, which is odd, has no divisor among the primes up to its square root.
fn is_prime(small: &[u64], n: u64) -> bool {
    small.iter().take_while(|&&prime| prime * prime <= n).all(|prime| n % prime != 0)
}

/// The task: counts the primes in a range. Every worker has got the small primes once.
fn count(small: &[u64], range: Range<u64>) -> u64 {
    let two = u64::from(range.contains(&2));
    two + (range.start.max(3) | 1..range.end).step_by(2).filter(|&n| is_prime(small, n)).count() as u64
}

/// Ranges that cover 0..n, with widths of 100, 200, 400 .. 204,800, and again.
fn ranges(n: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < n {
        let end = (start + (100 << (ranges.len() % 12))).min(n);
        ranges.push(start..end);
        start = end;
    }
    ranges
}

/// The odd primes up to the square root of `n`.
fn small_primes(n: u64) -> Vec<u64> {
    let mut small = Vec::new();
    for candidate in (3..=n.isqrt()).step_by(2) {
        if is_prime(&small, candidate) {
            small.push(candidate);
        }
    }
    small
}

fn number(argument: Option<String>, default: u64) -> u64 {
    let Some(text) = argument else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("primes: `{text}` is not a number");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let n = number(arguments.next(), 10_000_000);
    let workers = number(arguments.next(), cpu_count() as u64) as usize;
    let (small, ranges) = (small_primes(n), ranges(n));
    println!("{} ranges", ranges.len());
    for workers in [1, workers] {
        let pool = Pool::new(workers)?;
        let start = Instant::now();
        let primes: u64 = pool.with(&small[..]).tasks(count, ranges.iter().cloned()).run()?.iter().sum();
        println!(
            "{primes} primes below {n}, {workers} worker{}: {:.1?}",
            if workers == 1 { "" } else { "s" },
            start.elapsed()
        );
        if let Some((_, known)) = KNOWN.iter().find(|known| known.0 == n) {
            assert_eq!(primes, *known);
        }
    }
    Ok(())
}
