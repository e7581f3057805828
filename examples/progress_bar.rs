//! Shows how far a long job is, in two ways: by its results, and by a counter in shared memory.
//!
//!     cargo run --release --example progress_bar
//!     cargo run --release --example progress_bar -- --size 1000000 --workers 8
//!
//! The job looks for the number below N that needs the most steps of Collatz's game (halve what is even, else triple it and
//! add 1) to come to 1. In a terminal the bar moves; elsewhere each tenth is a line.

use multiproc::{Pool, RawValue, cpu_count};
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::time::Duration;

/// How many numbers a task looks at.
const RANGE: u64 = 1_000;

/// The number of steps, and the number that needs them.
type Longest = (u32, u64);

fn steps(mut n: u64) -> u32 {
    let mut steps = 0;
    while n != 1 {
        n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

/// The task: the number with the most steps in a range; the lowest of several.
fn longest(range: Range<u64>) -> Longest {
    range.map(|n| (steps(n), n)).fold((0, 0), |best, it| if it.0 > best.0 { it } else { best })
}

/// The same task for a job that nobody reads the results of while it runs.
fn longest_counted(done: &RawValue<u64>, range: Range<u64>) -> Longest {
    let longest = longest(range);
    done.fetch_add(1);
    longest
}

fn ranges(n: u64) -> impl ExactSizeIterator<Item = Range<u64>> {
    (0..n.div_ceil(RANGE) as usize).map(move |at| {
        let start = at as u64 * RANGE;
        start.max(1)..(start + RANGE).min(n)
    })
}

struct Bar {
    total: u64,
    shown: u64,
}

impl Bar {
    fn new(total: u64) -> Bar {
        Bar { total, shown: 0 }
    }

    fn show(&mut self, done: u64) {
        let percent = 100 * done / self.total.max(1);
        assert!(percent >= self.shown, "it went back from {} % to {percent} %", self.shown);
        if std::io::stdout().is_terminal() {
            let full = "#".repeat(percent as usize / 2);
            print!("\r[{full:<50}] {percent:>3} %{}", if done == self.total { "\n" } else { "" });
            let _ = std::io::stdout().flush();
        } else {
            (self.shown / 10 + 1..=percent / 10).for_each(|tenth| println!("{tenth}0 %"));
        }
        self.shown = percent;
    }
}

fn best(all: impl IntoIterator<Item = Longest>) -> Longest {
    all.into_iter().fold((0, 0), |best, it| if (it.0, best.1) > (best.0, it.1) { it } else { best })
}

fn flag(name: &str, default: u64) -> u64 {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("progress_bar: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let n = flag("--size", 300_000).max(2);
    let pool = Pool::new(flag("--workers", cpu_count() as u64) as usize)?;
    let total = ranges(n).len() as u64;

    println!("by its results:");
    let mut bar = Bar::new(total);
    let results = pool.imap_unordered(longest, ranges(n)).zip(1..).map(|(result, count)| {
        bar.show(count);
        result
    });
    let by_results = best(results.collect::<Result<Vec<_>, _>>()?);

    println!("by a counter:");
    let mut bar = Bar::new(total);
    let done = RawValue::new(0);
    let result = pool.with(&done).tasks(longest_counted, ranges(n)).submit()?;
    while !result.wait_timeout(Duration::from_millis(50)) {
        bar.show(done.get());
    }
    bar.show(done.get());
    let by_counter = best(result.get()?);

    let expected = best(ranges(n).map(longest));
    assert_eq!((by_results, by_counter, done.get()), (expected, expected, total));
    println!("below {n}, the number {} needs the most steps: {}", expected.1, expected.0);
    Ok(())
}
