//! Counts the words of text files, and prints the ten most frequent.
//!
//!     cargo run --release --example word_count                        # this repository's own documents
//!     cargo run --release --example word_count -- FILE...             # any text files
//!     cargo run --release --example word_count -- --workers 4 FILE...
//!
//! Files are cut into pieces, one task each: a worker opens the file, reads its piece and returns the counts. The wall
//! time is printed for one worker and for several; the starting of the workers is shown apart. Both results are checked
//! against a count without workers.

use multiproc::{Pool, cpu_count};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Counts = HashMap<String, u64>;

/// The bytes of a file from `start` to `end`. A line belongs to the piece in which it starts.
#[derive(Clone, Serialize, Deserialize)]
struct Piece {
    path: PathBuf,
    start: u64,
    end: u64,
}

const PIECE: u64 = 256 * 1024;

fn pieces(path: &Path) -> io::Result<Vec<Piece>> {
    let len = fs::metadata(path)?.len();
    let starts = (0..len).step_by(PIECE as usize);
    Ok(starts.map(|start| Piece { path: path.to_owned(), start, end: (start + PIECE).min(len) }).collect())
}

/// The task: counts the words of one piece.
fn count(piece: Piece) -> io::Result<Counts> {
    let mut counts = Counts::new();
    let mut file = BufReader::new(File::open(&piece.path)?);
    let mut line = Vec::new();
    let mut at = piece.start;
    if at > 0 {
        // The rest of a line that has started in the piece before. (If a line starts here, that is its line feed.)
        file.seek(SeekFrom::Start(at - 1))?;
        at += file.read_until(b'\n', &mut line)? as u64 - 1;
    }
    while at < piece.end {
        line.clear();
        at += file.read_until(b'\n', &mut line)? as u64;
        let text = String::from_utf8_lossy(&line).to_lowercase();
        for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.to_owned(), 1)),
            }
        }
    }
    Ok(counts)
}

fn merge(all: Vec<Counts>) -> Counts {
    all.into_iter().fold(Counts::new(), |mut sum, counts| {
        counts.into_iter().for_each(|(word, count)| *sum.entry(word).or_default() += count);
        sum
    })
}

/// Counts with so many workers: the counts, how long the workers took to start, and how long the work took.
fn with_workers(workers: usize, pieces: &[Piece]) -> multiproc::Result<(Counts, Duration, Duration)> {
    let start = Instant::now();
    let pool = Pool::new(workers)?;
    let started = start.elapsed();
    let counts = merge(pool.try_map(count, pieces.iter().cloned())?);
    Ok((counts, started, start.elapsed() - started))
}

/// The documents of this repository.
fn own_documents() -> io::Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = Vec::new();
    for folder in ["", "docs", "pool/engine"].map(|folder| root.join(folder)) {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "md") {
                documents.push(path);
            }
        }
    }
    Ok(documents)
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut workers = cpu_count();
    if arguments.first().is_some_and(|it| it == "--workers") {
        let given = arguments.drain(..arguments.len().min(2)).nth(1).ok_or("--workers needs a number")?;
        workers = given.parse().map_err(|_| format!("`{given}` is not a number of workers"))?;
    }
    let files = match arguments.is_empty() {
        true => own_documents()?,
        false => arguments.into_iter().map(PathBuf::from).collect(),
    };
    let mut work = Vec::new();
    for file in &files {
        work.extend(pieces(file).map_err(|error| format!("{}: {error}", file.display()))?);
    }

    let start = Instant::now();
    let expected = merge(work.iter().cloned().map(count).collect::<io::Result<_>>()?);
    let alone = start.elapsed();

    let mut ranking: Vec<_> = expected.iter().collect();
    ranking.sort_by_key(|&(word, count)| (std::cmp::Reverse(*count), word));
    for (word, count) in ranking.iter().take(10) {
        println!("{count:>8}  {word}");
    }
    let total: u64 = expected.values().sum();
    println!("{total} words, {} different, in {} files ({} pieces)", expected.len(), files.len(), work.len());
    println!("without workers {alone:>10.1?}");
    for workers in [1, workers] {
        let (counts, started, took) = with_workers(workers, &work)?;
        assert_eq!(counts, expected, "{workers} workers count otherwise than none");
        println!(
            "{workers:>7} worker{} {took:>10.1?}  (started in {started:.1?})",
            if workers == 1 { " " } else { "s" }
        );
    }
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("word_count: {error}");
        std::process::exit(1);
    }
}
