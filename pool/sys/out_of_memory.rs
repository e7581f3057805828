//! Whether the kernel has ended processes for want of memory: the counter of this process's control group, which its children
//! share.
//!
//! `memory.events` of version 2, `memory.oom_control` of version 1; see `cgroups(7)` and the kernel's documentation of both. A
//! counter that has risen while a child lived, and that no other child explains, is what ended a child that was killed.

use crate::error::Kill;
use crate::sys::descriptor::beyond_standard;
use crate::sys::fork::fork_generation;
use crate::sys::usage;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A control group with a counter.
#[derive(Debug)]
struct Group {
    /// The `/proc/self/cgroup` of a process in it.
    name: String,
    file: Option<File>,
    /// So many of the kills that were counted belong to children that have ended, or to nobody who lives.
    explained: Mutex<u64>,
}

impl Group {
    /// What the counter is now; `None` where there is none.
    fn kills(&self) -> Option<u64> {
        let text = read(self.file.as_ref()?)?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

/// What tells which group this process is in, and the group that was found there last.
#[derive(Debug)]
struct Own {
    /// `/proc/self/cgroup`, which stays that of the process that has opened it.
    file: Option<File>,
    generation: u32,
    group: Arc<Group>,
}

/// The group that this process is in, which may change.
fn own_group() -> Arc<Group> {
    static OWN: Mutex<Option<Own>> = Mutex::new(None);
    let mut own = lock(&OWN);
    let known = own.take().filter(|own| own.generation == fork_generation());
    let (file, group) = match known {
        Some(Own { file, group, .. }) => (file, Some(group)),
        None => (open("/proc/self/cgroup"), None),
    };
    let name = file.as_ref().and_then(read).unwrap_or_default();
    let group = group.filter(|group| group.name == name).unwrap_or_else(|| {
        let file = usage::group_files(&name, "memory.events", "memory.oom_control").find_map(open);
        Arc::new(Group { name, file, explained: Mutex::new(0) })
    });
    *own = Some(Own { file, generation: fork_generation(), group: Arc::clone(&group) });
    group
}

fn open(path: impl AsRef<Path>) -> Option<File> {
    Some(File::from(beyond_standard(File::open(path).ok()?.into()).ok()?))
}

/// The text of a file that the kernel makes anew for whoever reads it from its start.
fn read(file: &File) -> Option<String> {
    let mut text = vec![0; 512];
    let mut len = 0;
    loop {
        match file.read_at(&mut text[len..], len as u64).ok()? {
            0 => break,
            more => len += more,
        }
        if len == text.len() {
            text.resize(2 * len, 0);
        }
    }
    text.truncate(len);
    String::from_utf8(text).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The control group of a child, and the counter when the child was started.
#[derive(Debug)]
pub(crate) struct Before {
    group: Arc<Group>,
    kills: Option<u64>,
}

/// What is now, before a child is started.
pub(crate) fn before() -> Before {
    let group = own_group();
    let kills = group.kills();
    Before { group, kills }
}

impl Before {
    /// Whether the kernel has killed a process for want of memory that can only be the child that was started then: which was
    /// ended by SIGKILL just now.
    pub(crate) fn kill_since(&self) -> Kill {
        let (Some(before), Some(now)) = (self.kills, self.group.kills()) else { return Kill::Unknown };
        let mut explained = lock(&self.group.explained);
        *explained = before.max(*explained);
        if now <= *explained {
            return Kill::ByOthers;
        }
        *explained += 1;
        Kill::OutOfMemory { limit: Some(usage::memory_of_groups(&self.group.name)).filter(|limit| *limit < 1 << 50) }
    }
}
