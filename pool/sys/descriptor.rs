//! Where the descriptors of the library lie: behind those of standard input, output and error, which a program may have closed.
//! What it prints must not go into a socket of ours, and what it opens in their place must get their numbers.

use crate::sys::refusal::named;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The first number behind them.
const FIRST: i32 = 3;

/// The same descriptor, or a copy of it in its place if it has the number of a standard one.
///
/// # Errors
///
/// There is no descriptor left.
pub(crate) fn beyond_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST { Ok(fd) } else { move_up(fd.as_fd()) }
}

/// A new descriptor of `/dev/null`, to read and to write.
///
/// # Errors
///
/// There is no descriptor left, or no such file.
pub(crate) fn null() -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    beyond_standard(named("open(/dev/null)", rustix::fs::open(c"/dev/null", flags, 0.into()))?)
}

/// A copy of a descriptor that has no number of a standard one, and is closed when this process executes another program.
///
/// # Errors
///
/// There is no descriptor left.
pub(crate) fn move_up(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    named("fcntl(F_DUPFD_CLOEXEC)", rustix::io::fcntl_dupfd_cloexec(fd, FIRST))
}
