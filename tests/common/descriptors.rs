//! Descriptors of this process: closed, or all taken.

use rustix::process::{Resource, Rlimit};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

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

/// Closes all descriptors from `first` on, as programs do that have heard it cleans up: `closefrom(3)`.
#[allow(unsafe_code)]
pub(crate) fn close_from(first: u32) {
    // SAFETY: touches no memory of this process. By number, since musl does not have it by name.
    unsafe { libc::syscall(libc::SYS_close_range, i64::from(first), i64::from(u32::MAX), 0_i64) };
}

/// Closes all descriptors from `first` on, and opens something at their numbers of which nothing ever comes.
#[allow(unsafe_code)]
pub(crate) fn replace_from(first: u32) {
    let (end, other) = rustix::pipe::pipe().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<i32>().unwrap());
    let numbers: Vec<i32> = numbers.filter(|number| *number >= first as i32).collect();
    let kept = [end.as_raw_fd(), other.as_raw_fd()];
    for number in numbers.into_iter().filter(|number| !kept.contains(number)) {
        // SAFETY: touches no memory of this process.
        unsafe { libc::dup2(end.as_raw_fd(), number) };
    }
    // The other end stays open, so that nobody is told of an end.
    std::mem::forget((end, other));
}
