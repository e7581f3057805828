//! What becomes of the processes that a worker's tasks have started: they end when the worker has ended.
//!
//! The kernel forgets whose descendant a process is when its parent ends: an orphan goes to the next *subreaper* above it, or
//! to the init process. So there are two ways to find them.
//!
//! - **While the worker lives** it is that subreaper: none of its descendants leaves its tree. The kernel gives the orphans to
//!   its first thread, which runs no user code; that thread reaps them, and no others (`__WNOTHREAD`), since what user code
//!   has started belongs to the threads of user code. A worker that leaves in order asks the kernel whether it has any
//!   children, which is one system call, and ends those.
//! - **When it was killed** its tree is gone. Then a *tag* tells: a variable in its environment, which all that it starts
//!   inherits. Processes with the tag, and the descendants of these, are killed, until a look finds none. What is killed is
//!   a pidfd that was opened before the look that told whose it is, so that no process id can have changed hands meanwhile.
//!
//! The pool's process is no subreaper. It would be given the orphans of everything that the program starts; as they belong to
//! its main thread then, they cannot be told from children that the program has started itself and will wait for.

use crate::sys::child::{open_pidfd, own_pid};
use crate::sys::poll::{self, Interest};
use crate::sys::procfs;
use crate::sys::random::random;
use crate::sys::reactor::Reactor;
use crate::sys::signal;
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::Duration;

/// How the processes that the tasks of a pool have started are found when their worker has ended, so that they end as well;
/// from [`PoolStats::descendants`](crate::PoolStats::descendants).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DescendantControl {
    /// They are left alone: the workers are threads, or
    /// [`PoolBuilder::end_descendants`](crate::PoolBuilder::end_descendants) says so.
    Off,
    /// A worker is the subreaper of its descendants, and looks through the processes below it when it leaves in order. When it
    /// was killed, the pool looks for the environment variable that it has handed down.
    Walk,
}

/// The variable that says whose descendant a process is: the tags of the workers above it, with commas between them. Empty
/// in a process that stays although its parent ends.
const VARIABLE: &str = "MULTIPROC_DESCENDANT_OF";

/// How long processes that were killed may take to end, before they are left to themselves.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a look waits for processes that are about to execute a program.
const EXECUTING: Duration = Duration::from_millis(100);

/// This process, if it is a worker whose descendants end with it. (A fork of it is none.)
static KEEPER: AtomicI32 = AtomicI32::new(0);

/// The tag of one worker, for its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descendants {
    tag: u64,
}

impl Descendants {
    /// A tag that no other worker has.
    pub(crate) fn new() -> Descendants {
        // Random, so that no process of another program has it either.
        Descendants { tag: random() }
    }

    /// The variable that the worker is started with.
    pub(crate) fn variable(self) -> (OsString, OsString) {
        let tag = text(self.tag);
        let value = match std::env::var(VARIABLE) {
            // This process is a descendant of a worker itself: then so is the new one.
            Ok(outer) if !outer.is_empty() => format!("{outer},{tag}"),
            _ => tag,
        };
        (VARIABLE.into(), value.into())
    }

    /// The worker has ended: kills its descendants, and then calls `then` on the reactor's thread, where this is called.
    pub(crate) fn end(self, reactor: &'static Reactor, then: impl FnOnce() + Send + 'static) {
        let sweep = Sweep { tag: self.tag, then: Box::new(|| reactor.post(then)) };
        let mut due = DUE.lock();
        due.sweeps.push(sweep);
        if due.has_thread {
            return;
        }
        due.has_thread = true;
        drop(due);
        let builder = std::thread::Builder::new().name("multiproc-sweep".to_owned()).stack_size(256 * 1024);
        if thread::spawn(builder, sweep_all).is_err() {
            // There is no thread for it: then this one is late for others.
            sweep_all();
        }
    }
}

/// A tag as it stands in the variable.
fn text(tag: u64) -> String {
    format!("{tag:016x}")
}

/// In a worker, before it runs any code of tasks: from now on it looks after its descendants.
///
/// # Errors
///
/// The system refuses it.
pub(crate) fn look_after() -> io::Result<()> {
    extern "C" fn on_exit() {
        end_own();
    }
    procfs::adopt_orphans()?;
    KEEPER.store(own_pid(), Relaxed);
    // A task may call `exit`.
    signal::at_exit(on_exit)
}

fn is_keeper() -> bool {
    KEEPER.load(Relaxed) == own_pid()
}

/// In a worker, now and then on its first thread: reaps the orphans that have ended.
pub(crate) fn reap_orphans() {
    if is_keeper() {
        procfs::reap_own();
    }
}

/// In a worker that leaves in order, as the last thing that it does: kills its descendants.
pub(crate) fn end_own() {
    // A worker without children has no descendants, since it would have been given them.
    if is_keeper() && procfs::has_children() {
        let own = own_pid();
        end_all(|| procfs::processes().into_iter().filter_map(|pid| child(pid, own)).collect());
    }
}

/// The variable of a process that stays when its parent ends.
pub(crate) fn stays() -> (OsString, OsString) {
    (VARIABLE.into(), OsString::new())
}

/// The descendants of one worker that has ended, and what follows when they have.
struct Sweep {
    tag: u64,
    then: Box<dyn FnOnce() + Send>,
}

/// The sweeps that are due, and whether there is a thread that makes them.
struct Due {
    sweeps: Vec<Sweep>,
    has_thread: bool,
}

static DUE: Mutex<Due> = Mutex::new(Due { sweeps: Vec::new(), has_thread: false });

/// Looks for the descendants of all workers that have ended, since a look goes through all processes, until no more are due.
fn sweep_all() {
    loop {
        let mut due = DUE.lock();
        if due.sweeps.is_empty() {
            due.has_thread = false;
            return;
        }
        let sweeps = std::mem::take(&mut due.sweeps);
        drop(due);
        let tags: Vec<String> = sweeps.iter().map(|sweep| text(sweep.tag)).collect();
        end_all(|| tagged(&tags));
        sweeps.into_iter().for_each(|sweep| (sweep.then)());
    }
}

/// Kills what `find` finds, again and again until that is nothing, or what was killed does not end: a process that the kernel
/// does not let go of, as it waits for a disk, ends later.
fn end_all(find: impl Fn() -> Vec<OwnedFd>) {
    let deadline = Deadline::after(PATIENCE);
    while !deadline.passed() {
        let found = find();
        if found.is_empty() {
            return;
        }
        // What may not be killed, as it runs with the rights of another user, is not waited for.
        let killed: Vec<&OwnedFd> = found.iter().filter(|process| procfs::kill(process)).collect();
        if killed.is_empty() {
            return;
        }
        for process in killed {
            while !has_ended(process, deadline) && !deadline.passed() {}
        }
    }
}

/// Waits until a process has ended; whether that came true.
fn has_ended(process: &OwnedFd, deadline: Deadline) -> bool {
    poll::wait(&[(process.as_fd(), Interest::Readable)], deadline).is_ok_and(|ready| ready[0])
}

/// The processes that have one of the tags, and the descendants of these.
fn tagged(tags: &[String]) -> Vec<OwnedFd> {
    let mut buffer = Vec::new();
    let patience = Deadline::after(EXECUTING);
    let mut has_tag = |pid| {
        let value = procfs::variable_of(pid, VARIABLE, patience, &mut buffer);
        value.is_some_and(|value| {
            value.split(|byte| *byte == b',').any(|it| tags.iter().any(|tag| it == tag.as_bytes()))
        })
    };
    let mut others: Vec<i32> = procfs::processes();
    let mut found: Vec<(i32, OwnedFd)> = Vec::new();
    others.retain(|&pid| {
        // The second look is at the process behind the descriptor, or at another one that has the tag as well.
        let process =
            Some(pid).filter(|pid| has_tag(*pid)).and_then(|pid| open_pidfd(pid).ok()).filter(|_| has_tag(pid));
        let is_found = process.is_some();
        found.extend(process.map(|process| (pid, process)));
        !is_found
    });
    // Their children may have emptied their environment. A parent that is alive is the one that was found.
    let is_alive = |process: &OwnedFd| !has_ended(process, Deadline::after(Duration::ZERO));
    let mut at = 0;
    while let Some(&(parent, _)) = found.get(at) {
        others.retain(|&pid| {
            let process = child(pid, parent).filter(|_| is_alive(&found[at].1));
            let is_found = process.is_some();
            found.extend(process.map(|process| (pid, process)));
            !is_found
        });
        at += 1;
    }
    found.into_iter().map(|(_, process)| process).collect()
}

/// The process `pid`, if it is a child of `parent`, and does not stay when its parent ends.
fn child(pid: i32, parent: i32) -> Option<OwnedFd> {
    if procfs::parent_of(pid) != Some(parent) {
        return None;
    }
    let process = open_pidfd(pid).ok()?;
    let patience = Deadline::after(EXECUTING);
    let stays = procfs::variable_of(pid, VARIABLE, patience, &mut Vec::new()).is_some_and(<[u8]>::is_empty);
    (procfs::parent_of(pid) == Some(parent) && !stays).then_some(process)
}
