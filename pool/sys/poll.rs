//! Wait for several descriptors at once.

use crate::sys::time::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something can be read, or the other end is gone.
    Readable,
    /// The other end is gone.
    HangUp,
}

/// Waits until one of `sources` is ready or the deadline has passed; tells for each whether it is ready.
///
/// `poll(2)`; an interrupted wait is taken up again.
pub(crate) fn wait(sources: &[(BorrowedFd<'_>, Interest)], deadline: Deadline) -> io::Result<Vec<bool>> {
    let mut fds: Vec<PollFd<'_>> = sources
        .iter()
        .map(|(fd, interest)| {
            let flags = if *interest == Interest::Readable { PollFlags::IN } else { PollFlags::empty() };
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    loop {
        let timeout = deadline.remaining().and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
        }
    }
}

/// A counter that wakes a [`wait`]. `eventfd(2)`.
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Waker> {
        use rustix::event::EventfdFlags;
        Ok(Waker(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes the descriptor readable.
    pub(crate) fn wake(&self) {
        // The only possible error is a full counter, and then it is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes the wake-ups back.
    pub(crate) fn clear(&self) {
        // The only possible error is an empty counter.
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl std::os::fd::AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
