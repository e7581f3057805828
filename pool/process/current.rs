//! Who this process is, and who its parent is.

use crate::error::Result;
use crate::sys::child::{open_pidfd, own_pid, parent_pid};
use crate::sys::poll::{self, Interest};
use crate::sys::time::Deadline;
use parking_lot::RwLock;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

/// What a child of this library knows of itself, whatever its role.
struct Child {
    name: String,
    parent: i32,
    parent_name: String,
}

/// What a [`Process`](crate::Process) knows beyond that.
struct Role {
    daemon: bool,
    /// The numbers of its ancestors and its own: `1:2:`; what the names of its own children begin with.
    path: String,
}

/// A copy of a process that was a child is another child; each is never forgotten.
static CHILD: RwLock<Option<&'static Child>> = RwLock::new(None);
static ROLE: OnceLock<Role> = OnceLock::new();

/// From now on this process is a child of that one.
pub(crate) fn be_child(name: &str, parent: i32, parent_name: String) {
    *CHILD.write() = Some(Box::leak(Box::new(Child { name: name.to_owned(), parent, parent_name })));
}

/// From now on this process is a `Process`.
pub(crate) fn be_process(daemon: bool, path: String) {
    let _ = ROLE.set(Role { daemon, path });
}

/// Its name.
pub(crate) fn name() -> &'static str {
    CHILD.read().map_or("MainProcess", |child| &child.name)
}

/// Whether it is daemonic.
pub(crate) fn is_daemon() -> bool {
    ROLE.get().is_some_and(|role| role.daemon)
}

/// What the numbers of its children begin with.
pub(crate) fn path() -> &'static str {
    ROLE.get().map_or("", |role| &role.path)
}

/// What a process is told about itself; made by [`current_process`].
///
/// ```
/// use multiproc::{Process, current_process};
///
/// let name = || (current_process().name().to_owned(), current_process().daemon());
/// let process = Process::builder().name("indexer").daemon(true).spawn(name, ())?;
/// assert_eq!(process.join()?, ("indexer".to_owned(), true));
/// assert_eq!(current_process().pid(), std::process::id() as i32);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CurrentProcess {
    name: String,
    pid: i32,
    daemon: bool,
}

/// Returns who the calling process is.
///
/// ```
/// use multiproc::{Process, current_process};
///
/// assert_eq!(current_process().name(), "MainProcess");
/// let process = Process::builder().name("reader").spawn(|| current_process().name().to_owned(), ())?;
/// assert_eq!(process.join()?, "reader");
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn current_process() -> CurrentProcess {
    CurrentProcess { name: name().to_owned(), pid: own_pid(), daemon: is_daemon() }
}

impl CurrentProcess {
    /// Returns the name: `MainProcess` for a process that was not started by this library.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns whether the process is a [`Process`](crate::Process) that is daemonic.
    pub fn daemon(&self) -> bool {
        self.daemon
    }
}

impl fmt::Debug for CurrentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CurrentProcess { name, pid, daemon } = self;
        f.debug_struct("CurrentProcess").field("name", name).field("pid", pid).field("daemon", daemon).finish()
    }
}

/// The process that has started this one; made by [`parent_process`].
///
/// ```
/// use multiproc::{Process, parent_process};
///
/// let parent = || parent_process().map(|parent| (parent.pid(), parent.is_alive()));
/// assert_eq!(Process::spawn(parent, ())?.join()?, Some((std::process::id() as i32, true)));
/// assert!(parent_process().is_none(), "this process was not started by this library");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct ParentProcess {
    name: &'static str,
    pid: i32,
}

/// Returns the process that has started this one; `None` in the main process.
///
/// A child ends with its parent, at the latest a moment later, whatever the parent dies of. So there is rarely a need
/// to watch it.
///
/// ```
/// use multiproc::{Process, current_process, parent_process};
///
/// assert!(parent_process().is_none());
/// let process = Process::spawn(|| parent_process().map(|parent| parent.pid()), ())?;
/// assert_eq!(process.join()?, Some(current_process().pid()));
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn parent_process() -> Option<ParentProcess> {
    CHILD.read().map(|child| ParentProcess { name: &child.parent_name, pid: child.parent })
}

impl ParentProcess {
    /// Returns the name of the parent.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Returns the process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns whether the parent has not ended yet.
    pub fn is_alive(&self) -> bool {
        parent_pid() == self.pid
    }

    /// Waits until the parent has ended, for at most `timeout`. Returns whether it has ended.
    ///
    /// # Errors
    ///
    /// See [`ParentProcess::sentinel`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        let sentinel = match self.sentinel() {
            Ok(sentinel) => sentinel,
            Err(_) if !self.is_alive() => return Ok(true),
            Err(error) => return Err(error),
        };
        Ok(poll::wait(&[(sentinel, Interest::Readable)], Deadline::after(timeout))? == [true])
    }

    /// Returns a descriptor that becomes readable once the parent has ended (a pidfd).
    ///
    /// # Errors
    ///
    /// It has ended already, or there is no descriptor left.
    pub fn sentinel(&self) -> Result<BorrowedFd<'static>> {
        static SENTINEL: OnceLock<OwnedFd> = OnceLock::new();
        if let Some(fd) = SENTINEL.get() {
            return Ok(fd.as_fd());
        }
        let fd = open_pidfd(self.pid)?;
        // Only now is it certain that the number was not another process's by the time of the call.
        if !self.is_alive() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the parent process has ended").into());
        }
        Ok(SENTINEL.get_or_init(|| fd).as_fd())
    }
}

impl fmt::Debug for ParentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParentProcess").field("name", &self.name()).field("pid", &self.pid()).finish()
    }
}
