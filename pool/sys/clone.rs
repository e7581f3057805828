//! A sibling: a copy of this process, as `fork(2)` makes one, whose parent is the parent of this process.
//!
//! `clone(2)` with `CLONE_PARENT`: who has started this process waits for the copy and learns how it ended, is watched by it
//! (`PR_SET_PDEATHSIG`), and this process may end before it. The copy has all memory of this process, which neither sees the
//! other change, and its descriptors.

use crate::sys::descriptor::beyond_standard;
use crate::sys::refusal::{named, refused};
use crate::sys::thread;
use rustix::io::Errno;
use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Who has come back from [`sibling`].
#[derive(Debug)]
pub(crate) enum Sibling {
    /// This process, with a descriptor for the copy: readable once that has ended.
    Original(OwnedFd),
    /// The copy.
    Copy,
}

/// Makes a copy of this process, which must have one thread: what others hold locked would stay so in the copy for ever.
///
/// The C library is not told: handlers of `pthread_atfork(3)` do not run, and the copy's thread is unknown to the kernel's list
/// of robust locks. So user code in the copy runs on a thread of its own.
///
/// # Errors
///
/// There are other threads, or no memory or number for a process.
pub(crate) fn sibling() -> io::Result<Sibling> {
    match thread::count() {
        Some(1) => {}
        count => return Err(io::Error::other(format!("a process is copied only with one thread, not with {count:?}"))),
    }
    let mut pidfd: c_int = -1;
    let place = thread_number_place();
    let of_thread = if place == 0 { 0 } else { libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID };
    let flags = c_long::from(libc::CLONE_PARENT | libc::CLONE_PIDFD | of_thread | libc::SIGCHLD);
    // Where the kernel takes the last two arguments the other way round, both are the same: the one for thread-local storage
    // counts only with a flag of its own.
    // SAFETY: without `CLONE_VM` the copy has memory of its own and goes on on its copy of this stack (0), as after fork(2).
    // There is no other thread (checked above), so that no lock is held by one that the copy does not have. The kernel writes
    // the descriptor into a variable of ours, and, in the copy, the number of its thread to where the C library keeps it.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, &raw mut pidfd, place, place) };
    match pid {
        -1 => Err(refused("clone", Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))),
        0 => Ok(Sibling::Copy),
        _ => {
            // SAFETY: the kernel has just opened it for this process, and nobody else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            beyond_standard(pidfd).map(Sibling::Original)
        }
    }
}

/// Where the C library keeps the number of the calling thread, for the kernel to change it in a copy; 0 where that is not known.
/// `prctl(2)`, `PR_GET_TID_ADDRESS`.
fn thread_number_place() -> usize {
    // Others have told the kernel of another word.
    if !cfg!(target_env = "gnu") {
        return 0;
    }
    let mut place = 0usize;
    // SAFETY: the kernel writes an address into a variable of ours, or refuses.
    let asked = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) };
    if asked == 0 { place } else { 0 }
}

/// Has standard output and error go to these descriptors.
///
/// # Errors
///
/// The system refuses.
pub(crate) fn redirect(stdout: &OwnedFd, stderr: &OwnedFd) -> io::Result<()> {
    named("dup2", rustix::stdio::dup2_stdout(stdout))?;
    named("dup2", rustix::stdio::dup2_stderr(stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_copied() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        let error = sibling().unwrap_err();
        assert!(error.to_string().contains("one thread"), "{error}");
        drop(go);
        other.join().unwrap().unwrap_err();
    }
}
