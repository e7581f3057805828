//! Several results at once: the first that comes, and all of them as they come.
//!
//!     cargo run --release --example first_of
//!
//! Two ways to find the smallest factor of a number race against each other; the others are cancelled when the first is
//! there. Then each of some numbers is factored, and each result is taken as it comes.

use multiproc::{AsyncResult, Pool, as_completed, wait_any};

/// Tries the numbers from `start` on, every `step`-th.
fn smallest_factor(number: u64, start: u64, step: u64) -> u64 {
    let mut factor = start;
    while factor * factor <= number && number % factor != 0 {
        factor += step;
    }
    if factor * factor > number { number } else { factor }
}

fn main() -> multiproc::Result<()> {
    let pool = Pool::new(3)?;

    // Both begin at 3 and find the same factor of an odd number: one tries every number, the other only the odd ones.
    let number = 1_000_003 * 1_000_033;
    let race: Vec<AsyncResult<u64>> =
        [1, 2].iter().map(|step| pool.apply_async(smallest_factor, (number, 3, *step))).collect::<Result<_, _>>()?;
    let first = wait_any(&race).expect("there are two");
    let mut race = race;
    let factor = race.swap_remove(first).get()?;
    // What is left of the race is cancelled here.
    drop(race);
    println!("{number} = {factor} * {}", number / factor);

    let numbers = [9_999_999_967 * 3, 77, 1_000_003 * 1_000_003];
    let results = numbers
        .iter()
        .map(|number| pool.apply_async(smallest_factor, (*number, 3, 2)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut lines = Vec::new();
    for (place, factor) in as_completed(results) {
        lines.push(format!("{} has the factor {}", numbers[place], factor?));
    }
    // In the order of the numbers, so that each run prints the same.
    lines.sort();
    println!("{}", lines.join("\n"));
    Ok(())
}
