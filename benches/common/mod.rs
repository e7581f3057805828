//! What the benchmarks have in common: medians, the arguments on the command line, the peer that runs in Python.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub(crate) mod page;
pub(crate) mod race;
#[allow(unsafe_code)]
pub(crate) mod robust;

use std::process::Command;
use std::time::Instant;

/// So many runs make a figure.
pub(crate) const RUNS: usize = 5;

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median over several runs of a figure that one run gives, after one that does not count.
pub(crate) fn runs(mut one: impl FnMut() -> f64) -> f64 {
    one();
    median((0..RUNS).map(|_| one()).collect())
}

/// Seconds that `work` takes.
pub(crate) fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Nanoseconds for one call of `once`, if a run makes so many `calls`.
pub(crate) fn nanos(calls: u32, mut once: impl FnMut()) -> f64 {
    runs(|| {
        let start = Instant::now();
        for _ in 0..calls {
            once();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    })
}

/// What the command line asks for: parts of the names of rows, and flags.
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    pub(crate) fn read() -> Arguments {
        Arguments(std::env::args().skip(1).collect())
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|argument| argument == flag)
    }

    /// Whether a row is to be measured: all are if none is named.
    pub(crate) fn wants(&self, row: &str) -> bool {
        let mut names = self.0.iter().filter(|argument| !argument.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|name| row.contains(name.as_str()))
    }

    /// The figure that the peer's program prints for a row; `None` if it has none, if Python is missing, or if it is not
    /// asked for.
    pub(crate) fn python(&self, program: &str, row: &str) -> Option<f64> {
        if self.has("--no-python") {
            return None;
        }
        let output = Command::new("python3").arg("-c").arg(program).arg(row).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    }
}

/// The peer's figure and the ratio of the two, for the table.
pub(crate) fn beside(peer: Option<f64>, ratio: impl Fn(f64) -> f64) -> (String, String) {
    let show = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    (show(peer.map(|peer| format!("{peer:.3}"))), show(peer.map(|peer| format!("{:.1}x", ratio(peer)))))
}

/// Name, unit, measurement.
pub(crate) type Row = (&'static str, &'static str, fn() -> f64);

/// Measures the rows that the command line asks for, and prints each beside the figure of the peer's program.
pub(crate) fn table(rows: &[Row], python: &str) {
    let arguments = Arguments::read();
    println!("{:<26} {:>12} {:<5} {:>12} {:>9}", "row", "multiproc", "unit", "python", "ratio");
    for (name, unit, measure) in rows.iter().filter(|row| arguments.wants(row.0)) {
        let ours = measure();
        // Of times the smaller is the better, of rates the larger.
        let better = |peer| if unit.ends_with("/s") { ours / peer } else { peer / ours };
        let (peer, ratio) = beside(arguments.python(python, name), better);
        println!("{name:<26} {ours:>12.2} {unit:<5} {peer:>12} {ratio:>9}");
    }
}
