//! Reads the log of a web server, by ranges of bytes: status codes, busiest paths, errors.
//!
//!     cargo run --release --example log_parse
//!     cargo run --release --example log_parse -- --size 5000000 --workers 8
//!
//! The log is made first, in a folder that is removed at the end. A task is a range of bytes; it opens the file itself, and
//! looks at the lines that start in its range. Results are added up as they come, in any order.

use multiproc::{Pool, cpu_count};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

const PIECE: u64 = 256 * 1024;
const STATUS: [u16; 10] = [200, 200, 200, 200, 200, 200, 304, 301, 404, 500];

fn make_log(path: &Path, lines: u64) -> io::Result<()> {
    let (mut file, mut state) = (BufWriter::new(File::create(path)?), 42u64);
    for number in 0..lines {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = state >> 33;
        let (status, page, size) = (STATUS[(random % 10) as usize], random / 10 % 50, random / 500 % 100_000);
        let (host, page, minute, second) = (random % 250, page * page % 31, number / 60 % 60, number % 60);
        writeln!(
            file,
            "10.0.0.{host} - - [28/Nov/2026:15:{minute:02}:{second:02} +0000] \"GET /page/{page} HTTP/1.1\" {status} {size}"
        )?;
    }
    file.write_all(b"the end of this line is los")?;
    file.flush()
}

/// What some lines say.
#[derive(Default, PartialEq, Debug, Serialize, Deserialize)]
struct Summary {
    status: BTreeMap<u16, u64>,
    paths: BTreeMap<String, u64>,
    bytes: u64,
    unreadable: u64,
}

impl Summary {
    /// Adds a line, unless it is not one of a log.
    fn add(&mut self, line: &str) -> Option<()> {
        let mut parts = line.split('"');
        let (_, request, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let (status, bytes) = rest.trim().split_once(' ')?;
        let (status, bytes): (u16, u64) = (status.parse().ok()?, bytes.parse().ok()?);
        let path = request.split(' ').nth(1)?;
        *self.status.entry(status).or_default() += 1;
        *self.paths.entry(path.to_owned()).or_default() += 1;
        self.bytes += bytes;
        Some(())
    }

    fn merge(mut self, other: Summary) -> Summary {
        other.status.into_iter().for_each(|(status, count)| *self.status.entry(status).or_default() += count);
        other.paths.into_iter().for_each(|(path, count)| *self.paths.entry(path).or_default() += count);
        self.bytes += other.bytes;
        self.unreadable += other.unreadable;
        self
    }
}

/// A file, and the range of its bytes.
type Piece = (PathBuf, u64, u64);

/// The task: what the lines say that start in the range.
fn parse((path, mut at, end): Piece) -> io::Result<Summary> {
    let (mut file, mut line, mut summary) = (BufReader::new(File::open(path)?), Vec::new(), Summary::default());
    if at > 0 {
        // The rest of a line that has started before. (If a line starts here, that is the line feed before it.)
        file.seek(SeekFrom::Start(at - 1))?;
        at += file.read_until(b'\n', &mut line)? as u64 - 1;
    }
    while at < end {
        line.clear();
        at += file.read_until(b'\n', &mut line)? as u64;
        if summary.add(&String::from_utf8_lossy(&line)).is_none() {
            summary.unreadable += 1;
        }
    }
    Ok(summary)
}

fn number(name: &str, default: usize) -> Result<usize, String> {
    let Some(text) = std::env::args().skip_while(|it| it != name).nth(1) else { return Ok(default) };
    text.parse().map_err(|_| format!("{name} needs a number, not `{text}`"))
}

fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (lines, workers) = (number("--size", 400_000)?, number("--workers", cpu_count())?);
    fs::create_dir_all(folder)?;
    let path = folder.join("access.log");
    make_log(&path, lines as u64)?;
    let length = fs::metadata(&path)?.len();
    let pieces: Vec<Piece> =
        (0..length).step_by(PIECE as usize).map(|start| (path.clone(), start, (start + PIECE).min(length))).collect();

    let start = Instant::now();
    let expected = pieces
        .iter()
        .cloned()
        .map(parse)
        .try_fold(Summary::default(), |sum, it| it.map(|summary| sum.merge(summary)))?;
    println!("without workers {:>10.1?}", start.elapsed());
    for workers in [1, workers] {
        let pool = Pool::new(workers)?;
        let start = Instant::now();
        let mut summary = Summary::default();
        for piece in pool.tasks(parse, pieces.iter().cloned()).fallible().unordered() {
            summary = summary.merge(piece?);
        }
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert_eq!(summary, expected, "{workers} workers read otherwise than none");
    }
    expected.status.iter().for_each(|(status, count)| println!("{status}: {count}"));
    let mut busiest: Vec<_> = expected.paths.iter().collect();
    busiest.sort_by_key(|&(path, count)| (std::cmp::Reverse(*count), path));
    busiest.iter().take(5).for_each(|(path, count)| println!("{count:>8}  {path}"));
    let lines: u64 = expected.status.values().sum();
    let errors: u64 = expected.status.range(400..).map(|(_, count)| count).sum();
    let percent = 100.0 * errors as f64 / lines as f64;
    println!("{lines} lines, {} bytes, {percent:.1} % errors, {} unreadable", expected.bytes, expected.unreadable);
    Ok(())
}

fn main() {
    let folder = std::env::temp_dir().join(format!("multiproc-log-parse-{}", std::process::id()));
    let outcome = run(&folder);
    let _ = fs::remove_dir_all(&folder);
    if let Err(error) = outcome {
        eprintln!("log_parse: {error}");
        std::process::exit(1);
    }
}
