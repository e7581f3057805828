//! What is written down of a name in the file system, so that it goes with the last who holds it.

use crate::heap::memory::Memory;
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::shm::{self, LONGEST_NAME, ShmId};

/// Where things are, in bytes. An inode of 0 says that there is no name to remove.
pub(super) const DEVICE: usize = 0;
pub(super) const INODE: usize = 8;
pub(super) const LEN: usize = 16;
pub(super) const NAME: usize = 24;

pub(super) fn inode(memory: &Memory) -> Option<&AtomicU64> {
    memory.view(INODE)
}

/// What stands there; anything, if a process has written over it.
fn read(memory: &Memory) -> Option<(String, ShmId)> {
    // SYNC: name
    let inode = inode(memory)?.load(Ordering::Acquire);
    let word = |at: usize| memory.view::<AtomicU64>(at).map(|word| word.load(Ordering::Relaxed));
    let len = usize::try_from(word(LEN)?).ok().filter(|len| *len <= LONGEST_NAME)?;
    let mut name = Vec::new();
    memory.bytes().slice(NAME, len)?.append_to(&mut name).ok()?;
    let name = String::from_utf8(name).ok().filter(|name| is_valid(name))?;
    (inode != 0).then_some((name, ShmId { device: word(DEVICE)?, inode }))
}

/// Whether shared memory can be called this. `shm_overview(7)`.
pub(crate) fn is_valid(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME && !name.contains(['/', '\0'])
}

/// The last holder is gone.
pub(super) fn remove(memory: &Memory) {
    if let Some((name, id)) = read(memory) {
        // It may have been removed already, or be called otherwise; and nobody is left to be told.
        let _ = shm::unlink(&name, id);
    }
    if let Some(inode) = inode(memory) {
        // SYNC: name
        inode.store(0, Ordering::Release);
    }
}
