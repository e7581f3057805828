//! Shrinks many images, one of which is broken.
//!
//!     cargo run --release --example thumbnails
//!     cargo run --release --example thumbnails -- --size 1000 --workers 8
//!
//! The images are made first, in a folder that is removed at the end. A broken file is one error, and the rest are done;
//! results come as they are ready. The same work without workers must give the same thumbnails.

use multiproc::{Pool, cpu_count};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// By how much a thumbnail is narrower and lower.
const FACTOR: usize = 8;
/// The number of the image that is broken.
const BROKEN: usize = 7;

const HEADER: &str = "P5 640 480 255\n";

/// Makes `count` images in the format PGM; one lacks its second half.
fn make_images(folder: &Path, count: usize) -> std::io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let make = |number: usize| {
        let mut bytes = HEADER.as_bytes().to_vec();
        bytes.extend((0..WIDTH * HEIGHT).map(|at| ((at % WIDTH) * (number + 1) / 8 + at / WIDTH) as u8));
        if number == BROKEN {
            bytes.truncate(bytes.len() / 2);
        }
        let path = folder.join(format!("image-{number:04}.pgm"));
        fs::write(&path, bytes)?;
        Ok(path)
    };
    (0..count).map(make).collect()
}

/// The task: writes the thumbnail beside the image, and returns the image's path and the sum of the thumbnail's pixels.
fn shrink(path: PathBuf) -> Result<(PathBuf, u64), String> {
    let fail = |what: String| format!("{}: {what}", path.file_name().unwrap_or_default().to_string_lossy());
    let bytes = fs::read(&path).map_err(|error| fail(error.to_string()))?;
    let pixels = bytes.strip_prefix(HEADER.as_bytes()).ok_or_else(|| fail("no image of the right size".to_owned()))?;
    if pixels.len() != WIDTH * HEIGHT {
        return Err(fail(format!("{} pixels instead of {}", pixels.len(), WIDTH * HEIGHT)));
    }
    let (width, height) = (WIDTH / FACTOR, HEIGHT / FACTOR);
    let mean = |at: usize| {
        let corner = at / width * FACTOR * WIDTH + at % width * FACTOR;
        let lines = (0..FACTOR).map(|line| &pixels[corner + line * WIDTH..][..FACTOR]);
        (lines.flatten().map(|pixel| usize::from(*pixel)).sum::<usize>() / (FACTOR * FACTOR)) as u8
    };
    let small: Vec<u8> = (0..width * height).map(mean).collect();
    let sum = small.iter().map(|pixel| u64::from(*pixel)).sum();
    let out = [format!("P5 {width} {height} 255\n").into_bytes(), small].concat();
    fs::write(path.with_extension("thumbnail.pgm"), out).map_err(|error| fail(error.to_string()))?;
    Ok((path, sum))
}

fn number(name: &str, default: usize) -> Result<usize, String> {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return Ok(default) };
    text.parse().map_err(|_| format!("{name} needs a number, not `{text}`"))
}

fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (count, workers) = (number("--size", 200)?, number("--workers", cpu_count())?);
    let images = make_images(folder, count)?;
    let start = Instant::now();
    let expected: BTreeMap<PathBuf, u64> = images.iter().cloned().filter_map(|path| shrink(path).ok()).collect();
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, workers] {
        let pool = Pool::new(workers)?;
        let start = Instant::now();
        let (mut done, mut errors) = (BTreeMap::new(), Vec::new());
        for result in pool.tasks(shrink, images.iter().cloned()).fallible().unordered() {
            match result {
                Ok((path, sum)) => drop(done.insert(path, sum)),
                // What `shrink` has returned; `error` itself also names the task.
                Err(error) => errors.push(error.source().map_or(error.to_string(), |cause| cause.to_string())),
            }
        }
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        println!("{} thumbnails, {} errors", done.len(), errors.len());
        errors.iter().for_each(|error| println!("error: {error}"));
        assert_eq!(done, expected, "{workers} workers shrink otherwise than none");
    }
    Ok(())
}

fn main() {
    let folder = std::env::temp_dir().join(format!("multiproc-thumbnails-{}", std::process::id()));
    let outcome = run(&folder);
    let _ = fs::remove_dir_all(&folder);
    if let Err(error) = outcome {
        eprintln!("thumbnails: {error}");
        std::process::exit(1);
    }
}
