//! Draws the Mandelbrot set, row by row, into an image.
//!
//!     cargo run --release --example mandelbrot
//!     cargo run --release --example mandelbrot -- --size 4000 --workers 8 --out mandelbrot.pgm
//!
//! Rows differ much in cost. They come back in order while others are still at work, and are written as they come; at no
//! time is the whole image in memory. Its checksum is compared with that of the same image made without workers.

use multiproc::{Pool, TaskError, cpu_count};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::Instant;

const MOST_STEPS: u16 = 255;

/// After how many steps the orbit of a point leaves the circle of radius 2.
fn steps(re: f64, im: f64) -> u16 {
    let (mut x, mut y) = (0.0, 0.0);
    for step in 0..MOST_STEPS {
        if x * x + y * y > 4.0 {
            return step;
        }
        (x, y) = (x * x - y * y + re, 2.0 * x * y + im);
    }
    MOST_STEPS
}

/// The task: one row of an image of `size` by `size`, a byte for each pixel.
fn row(size: &usize, row: usize) -> Vec<u8> {
    let at = |pixel: usize| pixel as f64 / *size as f64;
    (0..*size).map(|column| 255 - steps(3.0 * at(column) - 2.2, 3.0 * at(row) - 1.5) as u8).collect()
}

/// Writes the rows of an image in the format PGM, and returns their checksum (FNV-1a).
fn write(mut out: impl Write, size: usize, rows: impl Iterator<Item = Result<Vec<u8>, TaskError>>) -> io::Result<u64> {
    writeln!(out, "P5 {size} {size} 255")?;
    let mut sum = 0xcbf2_9ce4_8422_2325;
    for row in rows {
        let row = row.map_err(io::Error::other)?;
        out.write_all(&row)?;
        sum = row.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    }
    out.flush()?;
    Ok(sum)
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|it| it != name).nth(1)
}

fn number(name: &str, default: usize) -> Result<usize, String> {
    argument(name).map_or(Ok(default), |text| text.parse().map_err(|_| format!("{name} needs a number, not `{text}`")))
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (size, workers) = (number("--size", 1500)?, number("--workers", cpu_count())?);
    let start = Instant::now();
    let expected = write(io::sink(), size, (0..size).map(|at| Ok(row(&size, at))))?;
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, workers] {
        let pool = Pool::new(workers)?;
        let out: Box<dyn Write> = match argument("--out") {
            Some(path) => Box::new(BufWriter::new(File::create(path)?)),
            None => Box::new(io::sink()),
        };
        let start = Instant::now();
        let sum = write(out, size, pool.with(&size).tasks(row, 0..size).iter())?;
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert_eq!(sum, expected, "{workers} workers draw otherwise than none");
    }
    println!("{size} rows, the same image each time: {expected:016x}");
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("mandelbrot: {error}");
        std::process::exit(1);
    }
}
