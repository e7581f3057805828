//! A file into which tasks write what they do, in the one order in which it happened over all processes.
//!
//! Each entry is one `write(2)` to a descriptor in append mode, which the kernel makes whole and puts behind all others;
//! so what a task has written stays, whatever becomes of its process a moment later.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The file, deleted when dropped.
pub(crate) struct Journal {
    path: PathBuf,
}

/// What a task has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    /// Which process said it.
    pub(crate) pid: i32,
    pub(crate) what: u32,
    pub(crate) task: u64,
}

const LEN: usize = 16;

impl Journal {
    pub(crate) fn new() -> Journal {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("journal-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        File::create(&path).unwrap();
        Journal { path }
    }

    /// To be passed to tasks, which open it.
    pub(crate) fn path(&self) -> String {
        self.path.to_str().unwrap().to_owned()
    }

    /// All entries so far, oldest first.
    pub(crate) fn read(&self) -> Vec<Entry> {
        let bytes = std::fs::read(&self.path).unwrap();
        assert_eq!(bytes.len() % LEN, 0, "an entry is not whole");
        let word = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().unwrap());
        let entry = |bytes: &[u8]| Entry {
            pid: word(&bytes[..4]) as i32,
            what: word(&bytes[4..8]),
            task: u64::from_ne_bytes(bytes[8..].try_into().unwrap()),
        };
        bytes.chunks_exact(LEN).map(entry).collect()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A journal opened for writing.
pub(crate) struct Pen(File);

impl Pen {
    pub(crate) fn open(path: &str) -> Pen {
        Pen(OpenOptions::new().append(true).open(path).unwrap())
    }

    pub(crate) fn write(&self, what: u32, task: u64) {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&std::process::id().to_ne_bytes());
        bytes[4..8].copy_from_slice(&what.to_ne_bytes());
        bytes[8..].copy_from_slice(&task.to_ne_bytes());
        (&self.0).write_all(&bytes).unwrap();
    }
}

static PEN: OnceLock<Pen> = OnceLock::new();

/// An initializer for workers: opens the journal for [`write`].
pub(crate) fn open_in_worker(path: String) {
    let _ = PEN.set(Pen::open(&path));
}

/// Writes into the journal that [`open_in_worker`] has opened.
pub(crate) fn write(what: u32, task: u64) {
    PEN.get().expect("`open_in_worker` is the initializer").write(what, task);
}
