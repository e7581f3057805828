//! Looks for the best parameters of a small model: ridge regression on polynomials, with cross-validation.
//!
//!     cargo run --release --example grid_search
//!     cargo run --release --example grid_search -- --size 20000 --workers 8
//!
//! Each point of the grid is one task with two arguments. The data goes to each worker once; a worker is replaced after 20
//! tasks, which nobody notices.

use multiproc::{Pool, cpu_count};
use std::time::Instant;

const PENALTIES: [f64; 6] = [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0];
const FOLDS: usize = 5;

type Points = Vec<(f64, f64)>;

/// Noisy points of a cubic curve.
fn make_data(size: usize) -> Points {
    let mut state = 7u64;
    let point = |at: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let noise = (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0;
        let x = 2.0 * at as f64 / size as f64 - 1.0;
        (x, 1.5 * x * x * x - x + 0.3 * noise)
    };
    (0..size).map(point).collect()
}

fn powers(x: f64, degree: usize) -> Vec<f64> {
    std::iter::successors(Some(1.0), |power| Some(power * x)).take(degree + 1).collect()
}

/// The coefficients, by Gauss's elimination in the normal equations.
fn fit(points: impl Iterator<Item = (f64, f64)>, degree: usize, penalty: f64) -> Vec<f64> {
    let n = degree + 1;
    let mut rows = vec![vec![0.0; n + 1]; n];
    for (x, y) in points {
        let values = powers(x, degree);
        for i in 0..n {
            for j in 0..n {
                rows[i][j] += values[i] * values[j];
            }
            rows[i][n] += values[i] * y;
        }
    }
    for (i, row) in rows.iter_mut().enumerate() {
        row[i] += penalty;
    }
    for i in 0..n {
        let (above, below) = rows.split_at_mut(i + 1);
        let pivot = &above[i];
        for row in below {
            let factor = row[i] / pivot[i];
            row[i..].iter_mut().zip(&pivot[i..]).for_each(|(it, value)| *it -= factor * value);
        }
    }
    let mut out = vec![0.0; n];
    for i in (0..n).rev() {
        let mut total = rows[i][n];
        for j in i + 1..n {
            total -= rows[i][j] * out[j];
        }
        out[i] = total / rows[i][i];
    }
    out
}

/// The task: the mean square error over all folds, each of which is predicted from the others.
fn loss(points: &Points, (degree, penalty): (usize, f64)) -> f64 {
    let mut total = 0.0;
    for fold in 0..FOLDS {
        let known = points.iter().copied().enumerate().filter(|(at, _)| at % FOLDS != fold).map(|(_, point)| point);
        let coefficients = fit(known, degree, penalty);
        for (x, y) in points.iter().skip(fold).step_by(FOLDS) {
            let values = powers(*x, degree);
            let predicted = coefficients.iter().zip(&values).fold(0.0, |sum, (it, value)| sum + it * value);
            total += (predicted - y) * (predicted - y);
        }
    }
    total / points.len() as f64
}

fn flag(name: &str, default: usize) -> usize {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return default };
    text.parse().unwrap_or_else(|_| {
        eprintln!("grid_search: {name} needs a number, not `{text}`");
        std::process::exit(1)
    })
}

fn main() -> multiproc::Result<()> {
    let points = make_data(flag("--size", 2_000).max(2 * FOLDS));
    let workers = flag("--workers", cpu_count());
    let grid: Vec<_> = (1..9).flat_map(|degree| PENALTIES.map(|penalty| (degree, penalty))).collect();
    let start = Instant::now();
    let expected: Vec<f64> = grid.iter().map(|parameters| loss(&points, *parameters)).collect();
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, workers] {
        let pool = Pool::builder().processes(workers).max_tasks_per_child(20).build()?;
        let start = Instant::now();
        let losses = pool.with(&points).tasks(loss, grid.iter().copied()).run()?;
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert_eq!(losses, expected, "{workers} workers find otherwise than none");
    }
    let (loss, (degree, penalty)) =
        expected.iter().zip(&grid).min_by(|a, b| a.0.total_cmp(b.0)).expect("the grid has points");
    println!("best of {}: degree {degree}, penalty {penalty}, mean square error {loss:.6}", grid.len());
    Ok(())
}
