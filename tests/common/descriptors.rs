//! Descriptors of this process: closed, or all taken.

use rustix::process::{Resource, Rlimit};
use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

/// Takes all descriptors that this process may still have.
pub(crate) fn hoard() -> Vec<File> {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(96), maximum }).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Standard input, output and error of this process are closed; opened again when it is dropped.
pub(crate) struct StandardClosed([OwnedFd; 3]);

impl Drop for StandardClosed {
    fn drop(&mut self) {
        let [stdin, stdout, stderr] = &self.0;
        rustix::stdio::dup2_stdin(stdin).unwrap();
        rustix::stdio::dup2_stdout(stdout).unwrap();
        rustix::stdio::dup2_stderr(stderr).unwrap();
    }
}

/// Closes standard input, output and error, as daemons do.
#[allow(unsafe_code)]
pub(crate) fn close_standard() -> StandardClosed {
    let keep = |fd: rustix::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap();
    let kept = [keep(std::io::stdin().as_fd()), keep(std::io::stdout().as_fd()), keep(std::io::stderr().as_fd())];
    for fd in 0..3 {
        // SAFETY: std keeps no record of these, and writes to them whether or not they are open.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    StandardClosed(kept)
}

/// Which of standard input, output and error are open.
pub(crate) fn open_standard() -> Vec<i32> {
    (0..3).filter(|fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok()).collect()
}
