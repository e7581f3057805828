//! Tasks that give values while they run, and a consumer that stops when it has enough.
//!
//!     cargo run --release --example stream_out
//!     cargo run --release --example stream_out -- --size 100 --workers 4
//!
//! Each task looks through a part of the numbers for twin primes and gives each pair as soon as it is found, so that nobody
//! waits for the end of a part, and no list of pairs is ever in memory. In Python a task of a `Pool` can only return.

use multiproc::{Emit, Pool, Result, cpu_count};

/// How many numbers a task looks through.
const PART: u64 = 1_000_000;

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|divisor| divisor * divisor <= n).all(|divisor| n % divisor != 0)
}

/// The task: ends at once when nobody asks for more.
fn twins(part: u64, emit: &Emit<(u64, u64)>) -> Result<()> {
    for n in part * PART..(part + 1) * PART {
        if is_prime(n) && is_prime(n + 2) {
            emit.send((n, n + 2))?;
        }
    }
    Ok(())
}

fn flag(name: &str, default: usize) -> usize {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("stream_out: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> Result<()> {
    let (wanted, workers) = (flag("--size", 20), flag("--workers", cpu_count()));
    let pool = Pool::new(workers)?;
    // There are parts without end; as many are begun as there are workers, and a few more.
    let pairs = pool.generate(twins, 0..).iter().take(wanted).collect::<Result<Vec<_>, _>>()?;
    let text: Vec<String> = pairs.iter().rev().take(5).rev().map(|(a, b)| format!("{a} {b}")).collect();
    println!("the last of the first {wanted} twin primes: {}", text.join(", "));
    assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0));
    // The tasks have ended early, and the workers do something else.
    assert_eq!(pool.map(is_prime, [1_000_003, 1_000_005])?, [true, false]);
    Ok(())
}
