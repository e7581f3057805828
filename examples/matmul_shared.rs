//! Multiplies two matrices, by blocks of rows, into one array in shared memory.
//!
//!     cargo run --release --example matmul_shared
//!     cargo run --release --example matmul_shared -- --size 1000 --workers 8
//!
//! The three matrices are `RawArray`s: handles that travel once with the call, while the numbers stay where they are. A task
//! writes rows that no other task writes, so there is nothing to lock.

use multiproc::{Pool, RawArray, cpu_count};
use std::time::Instant;

/// How many rows a task computes.
const ROWS: usize = 16;

/// Two factors, their product, and how many rows and columns each has.
type Matrices = (RawArray<f64>, RawArray<f64>, RawArray<f64>, usize);

/// A number of -1 to 1, made of its place.
fn value(place: usize) -> f64 {
    let seed = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (seed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// The product of some rows of a matrix and all of another.
fn product(rows: &[f64], other: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; rows.len()];
    for (row, line) in rows.chunks(n).zip(out.chunks_mut(n)) {
        for (factor, other) in row.iter().zip(other.chunks(n)) {
            line.iter_mut().zip(other).for_each(|(total, it)| *total += factor * it);
        }
    }
    out
}

/// The task: the rows from `first` on.
fn multiply((a, b, c, n): &Matrices, first: usize) {
    let last = (first + ROWS).min(*n);
    c.write(first * n, &product(&a.read(first * n..last * n), &b.read(..), *n));
}

fn flag(name: &str, default: usize) -> usize {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("matmul_shared: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let (n, workers) = (flag("--size", 400), flag("--workers", cpu_count()));
    let a = RawArray::from(&(0..n * n).map(value).collect::<Vec<_>>());
    let b = RawArray::from(&(0..n * n).map(|at| value(at + n * n)).collect::<Vec<_>>());
    let start = Instant::now();
    let expected = product(&a.read(..), &b.read(..), n);
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, workers] {
        let c = RawArray::new(n * n);
        let pool = Pool::new(workers)?;
        let start = Instant::now();
        let matrices: Matrices = (a.clone(), b.clone(), c.clone(), n);
        pool.with(&matrices).tasks(multiply, (0..n).step_by(ROWS)).run()?;
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert_eq!(c.read(..), expected, "{workers} workers multiply otherwise than none");
    }
    let trace: f64 = (0..n).map(|at| expected[at * n + at]).sum();
    println!("{n} x {n}, the same product each time; the sum of its diagonal is {trace:.6}");
    Ok(())
}
