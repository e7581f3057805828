//! Hashes all files below a folder.
//!
//!     cargo run --release --example dir_hash                     # this repository's own sources
//!     cargo run --release --example dir_hash -- --workers 8 PATH
//!
//! The folder is walked while files are being hashed, and no further ahead than needed; a file that cannot be read is an
//! error of its own. The result does not depend on the order in which files end. (FNV-1a is no hash against malice; its
//! place here is to need no other crate.)

use multiproc::{Pool, cpu_count};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// All that is below a folder and is no folder; entries of folders that cannot be read are left out.
struct Walk {
    /// What is still to be looked at.
    left: Vec<PathBuf>,
}

impl Iterator for Walk {
    type Item = PathBuf;

    fn next(&mut self) -> Option<PathBuf> {
        loop {
            let path = self.left.pop()?;
            // Of links only the targets of files are followed.
            if !fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir()) {
                return Some(path);
            }
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            self.left.extend(entries.map(|entry| entry.path()));
        }
    }
}

fn walk(folder: &Path) -> Walk {
    Walk { left: vec![folder.to_owned()] }
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The task: the hash of a file.
fn hash(path: PathBuf) -> Result<(PathBuf, u64), String> {
    let read = || -> io::Result<u64> {
        let (mut file, mut buffer, mut sum) = (File::open(&path)?, vec![0; 64 * 1024], START);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(sum),
                len => sum = fnv(sum, &buffer[..len]),
            }
        }
    };
    match read() {
        Ok(sum) => Ok((path, sum)),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// One hash of all: over paths and hashes, sorted.
fn digest(hashes: &BTreeMap<PathBuf, u64>) -> u64 {
    hashes
        .iter()
        .fold(START, |sum, (path, hash)| fnv(fnv(sum, path.as_os_str().as_encoded_bytes()), &hash.to_le_bytes()))
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut workers = cpu_count();
    if arguments.first().is_some_and(|it| it == "--workers") {
        let given = arguments.drain(..arguments.len().min(2)).nth(1).ok_or("--workers needs a number")?;
        workers = given.parse().map_err(|_| format!("`{given}` is not a number of workers"))?;
    }
    let folder = arguments.first().map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("pool"), PathBuf::from);
    fs::symlink_metadata(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;

    let start = Instant::now();
    let expected: BTreeMap<_, _> = walk(&folder).filter_map(|path| hash(path).ok()).collect();
    println!("without workers {:>10.1?}", start.elapsed());
    let mut errors = Vec::new();
    for workers in [1, workers] {
        let pool = Pool::new(workers)?;
        let start = Instant::now();
        let mut hashes = BTreeMap::new();
        errors.clear();
        for result in pool.tasks(hash, walk(&folder)).fallible().unordered() {
            match result {
                Ok((path, hash)) => drop(hashes.insert(path, hash)),
                Err(error) => {
                    errors.push(std::error::Error::source(&error).map_or(error.to_string(), |it| it.to_string()))
                }
            }
        }
        println!("{workers:>7} worker{} {:>10.1?}", if workers == 1 { " " } else { "s" }, start.elapsed());
        assert_eq!(hashes, expected, "{workers} workers hash otherwise than none");
    }
    errors.iter().for_each(|error| println!("error: {error}"));
    println!("{:016x}  {} files", digest(&expected), expected.len());
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("dir_hash: {error}");
        std::process::exit(1);
    }
}
