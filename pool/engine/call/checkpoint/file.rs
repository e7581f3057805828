//! The file of a checkpoint: a header that says of which call it is, and behind it one record for each result.
//!
//! ```text
//! header   magic 8 | version 4 | length 4 | description | checksum 8
//! record   index 8 | digest of the item 8 | length 8 | checksum of these 8 | bytes of the result | checksum of those 8
//! ```
//!
//! All numbers are little-endian. A record is appended by one write, so a program that is killed leaves whole records and at
//! most one torn one, which is the last. What may be a torn end is cut off when the file is opened again: a record that the
//! file ends within, and one that does not have its checksums if nothing is behind it, or zeros up to the end, which a file
//! system may leave after a power failure. Anything else that is no record is damage, and an error, since there may be good
//! records behind it.

use crate::codec;
use crate::sys::file_lock;
use crate::sys::time::Deadline;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// "mproc" and a byte that no text has, so that nobody takes it for one.
const MAGIC: [u8; 8] = *b"mprocck\xff";

/// The version of the format. Another one is refused.
const VERSION: u32 = 1;

/// The bytes of the header before the description.
const HEADER: usize = 16;

/// The bytes of a record before those of the result.
const HEAD: usize = 32;

/// The bytes of a checksum.
const CHECK: usize = 8;

/// A longer description than this is none of ours: it holds two names.
const LONGEST_DESCRIPTION: u32 = 1 << 20;

/// How long another program may still have the file: one that was killed gives it back with its last thread.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is asked for.
const PAUSE: Duration = Duration::from_millis(10);

/// Of which call the results are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// The name of the function.
    pub(crate) function: String,
    /// The name of the type of a result.
    pub(crate) result: String,
    /// The digest of what `with` was given.
    pub(crate) context: Option<u64>,
}

/// FNV-1a, 64 bits: to notice bytes that are not what was written. It is no defence against forgery: who can write the file
/// can write any result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    fn add(self, bytes: &[u8]) -> Digest {
        Digest(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    pub(crate) fn of(bytes: &[u8]) -> u64 {
        Digest::new().add(bytes).0
    }
}

/// Where the file has the result of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The digest of its item.
    pub(super) item: u64,
    at: u64,
    len: u64,
}

/// What was found in a file.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: HashMap<u64, Record>,
    /// What is behind this is a torn end.
    pub(super) end: u64,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    found: Found,
}

impl Log {
    /// Opens the file of a call, or makes it. What is torn at its end is cut off.
    ///
    /// # Errors
    ///
    /// It cannot be opened, is in use, is of another call, or is damaged; the text says which.
    pub(super) fn open(path: &Path, description: &Description) -> Result<Log, String> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = options.map_err(|error| format!("cannot be opened: {error}"))?;
        lock(&file)?;
        let failed = |error: io::Error| format!("cannot be read: {error}");
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err("is no regular file".to_owned());
        }
        let header = header(description);
        let mut found = read(BufReader::with_capacity(1 << 16, &file), metadata.len(), &header, description)?;
        let written = if found.end == 0 { file.write_all_at(&header, 0) } else { Ok(()) };
        found.end = found.end.max(header.len() as u64);
        written.and_then(|()| file.set_len(found.end)).map_err(|error| format!("cannot be written: {error}"))?;
        Ok(Log { file, found })
    }

    pub(super) fn record(&self, index: u64) -> Option<&Record> {
        self.found.records.get(&index)
    }

    /// The bytes of a result.
    pub(super) fn bytes(&self, record: &Record) -> io::Result<Vec<u8>> {
        let too_large = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(record.len).map_err(too_large)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bytes.resize(len, 0);
        self.file.read_exact_at(&mut bytes, record.at)?;
        Ok(bytes)
    }

    /// Appends results, by one write: each with the number of its task and the digest of its item.
    ///
    /// # Errors
    ///
    /// The system refuses. What it has written of them will be written over, or cut off.
    pub(super) fn append(&mut self, results: &[(u64, u64, &[u8])]) -> io::Result<()> {
        let size = results.iter().map(|(_, _, bytes)| HEAD + bytes.len() + CHECK).sum();
        let mut out = Vec::with_capacity(size);
        let mut places = Vec::with_capacity(results.len());
        for (index, item, bytes) in results {
            let record =
                Record { item: *item, at: self.found.end + (out.len() + HEAD) as u64, len: bytes.len() as u64 };
            places.push((*index, record));
            write_record(&mut out, *index, *item, bytes);
        }
        self.file.write_all_at(&out, self.found.end)?;
        self.found.end += out.len() as u64;
        self.found.records.extend(places);
        Ok(())
    }
}

/// Takes the file for this program alone.
fn lock(file: &File) -> Result<(), String> {
    let until = Deadline::after(PATIENCE);
    loop {
        match file_lock::try_lock(file) {
            Ok(true) => return Ok(()),
            Ok(false) if until.passed() => return Err("is in use by another call or program".to_owned()),
            Ok(false) => std::thread::sleep(PAUSE),
            Err(error) => return Err(format!("cannot be locked: {error}")),
        }
    }
}

/// The header of a new file.
pub(super) fn header(description: &Description) -> Vec<u8> {
    let described = codec::to_bytes(description);
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&u32::try_from(described.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&described);
    let check = Digest::of(&out);
    out.extend_from_slice(&check.to_le_bytes());
    out
}

pub(super) fn write_record(out: &mut Vec<u8>, index: u64, item: u64, bytes: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&item.to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    let check = Digest::of(&out[start..]);
    out.extend_from_slice(&check.to_le_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(&Digest::of(bytes).to_le_bytes());
}

/// What a file of `len` bytes holds, whose header should be `header`.
///
/// # Errors
///
/// It is no checkpoint, one of another call, or damaged.
pub(super) fn read(mut file: impl Read, len: u64, header: &[u8], description: &Description) -> Result<Found, String> {
    let failed = |error: io::Error| format!("cannot be read: {error}");
    let mut found = Found::default();
    if !read_header(&mut file, len, header, description)? {
        return Ok(found);
    }
    found.end = header.len() as u64;
    while found.end < len {
        let left = len - found.end;
        let damaged = |what: &str| format!("is damaged at byte {}: {what}", found.end);
        if left < HEAD as u64 {
            // The last write did not get so far.
            break;
        }
        let mut head = [0; HEAD];
        file.read_exact(&mut head).map_err(failed)?;
        let [index, item, size, check] = words(&head);
        if Digest::of(&head[..HEAD - CHECK]) != check {
            if rest_is_zero(&mut file).map_err(failed)? {
                break;
            }
            return Err(damaged("there is no record"));
        }
        let whole = size.checked_add((HEAD + CHECK) as u64);
        let Some(whole) = whole.filter(|whole| *whole <= left) else { break };
        let digest = digest_of_next(&mut file, size).map_err(failed)?;
        let mut check = [0; CHECK];
        file.read_exact(&mut check).map_err(failed)?;
        if digest != u64::from_le_bytes(check) {
            // Also if nothing is left: a power failure may keep the length of a file and lose what it was to hold.
            if rest_is_zero(&mut file).map_err(failed)? {
                break;
            }
            return Err(damaged("the bytes of a result are not those that were written"));
        }
        match found.records.entry(index) {
            Entry::Vacant(place) => {
                place.insert(Record { item, at: found.end + HEAD as u64, len: size });
            }
            // Nothing is recorded twice.
            Entry::Occupied(_) => return Err(damaged(&format!("task {index} has two results"))),
        }
        found.end += whole;
    }
    Ok(found)
}

/// Reads the header. Returns whether there is a whole one: a program may have been killed while it wrote the first bytes.
fn read_header(file: &mut impl Read, len: u64, expected: &[u8], description: &Description) -> Result<bool, String> {
    let failed = |error: io::Error| format!("cannot be read: {error}");
    let mut header = Vec::new();
    file.by_ref().take(len.min(expected.len() as u64)).read_to_end(&mut header).map_err(failed)?;
    if header == expected {
        return Ok(true);
    }
    let written = header.iter().zip(expected).take_while(|(is, wanted)| is == wanted).count();
    if header[written..].iter().all(|byte| *byte == 0) && rest_is_zero(file).map_err(failed)? {
        // As far as it goes it is what this call would write.
        return Ok(false);
    }
    // A longer one is read on, so that the error can name the other call.
    let more = header.get(12..HEADER).map_or(0, |len| u32::from_le_bytes(len.try_into().unwrap_or_default()));
    let more = u64::from(more.min(LONGEST_DESCRIPTION)) + (HEADER + CHECK) as u64;
    file.by_ref().take(more.saturating_sub(header.len() as u64)).read_to_end(&mut header).map_err(failed)?;
    Err(of_another(&header, description))
}

/// Why a file with these first bytes is not that of the call.
fn of_another(bytes: &[u8], wanted: &Description) -> String {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>().filter(|(magic, _)| **magic == MAGIC) else {
        return "is no checkpoint".to_owned();
    };
    let Some((version, rest)) = rest.split_first_chunk::<4>() else { return "is cut off within its header".to_owned() };
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return format!("has version {version} of the format, and this library writes version {VERSION}");
    }
    let described = rest.split_first_chunk::<4>().and_then(|(len, rest)| {
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (described, check) = (rest.get(..len)?, rest.get(len..len.checked_add(CHECK)?)?);
        let digest = Digest::new().add(magic).add(&version.to_le_bytes()).add(&bytes[12..HEADER]).add(described);
        (digest.0.to_le_bytes() == *check).then_some(described)
    });
    let read = |described: &[u8]| codec::from_bytes::<Description>(described).ok();
    let Some(Description { function, result, context }) = described.and_then(read) else {
        return "has a damaged header".to_owned();
    };
    if function != wanted.function {
        format!("is of a call of `{function}`, and not of `{}`", wanted.function)
    } else if result != wanted.result {
        format!("holds results of the type `{result}`, and `{function}` returns `{}`", wanted.result)
    } else if context != wanted.context {
        format!("is of a call of `{function}` with another context")
    } else {
        "has a damaged header".to_owned()
    }
}

fn words(head: &[u8; HEAD]) -> [u64; 4] {
    let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
    [word(0), word(8), word(16), word(24)]
}

/// The digest of the next `size` bytes, which need not fit into memory.
fn digest_of_next(file: &mut impl Read, size: u64) -> io::Result<u64> {
    let (mut digest, mut left) = (Digest::new(), size);
    let mut piece = [0; 4096];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        file.read_exact(&mut piece[..most])?;
        digest = digest.add(&piece[..most]);
        left -= most as u64;
    }
    Ok(digest.0)
}

/// Whether all bytes that are left are 0.
fn rest_is_zero(file: &mut impl Read) -> io::Result<bool> {
    let mut piece = [0; 4096];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(read) if piece[..read].iter().all(|byte| *byte == 0) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
