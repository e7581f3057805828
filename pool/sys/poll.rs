//! Wait for several descriptors at once.

use crate::sys::descriptor::beyond_standard;
use crate::sys::refusal::{named, refused};
use crate::sys::time::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something can be read, or the other end is gone.
    Readable,
    /// There is room to write, or the other end is gone.
    Writable,
    /// The other end is gone.
    HangUp,
    /// The child of this process has ended for which the descriptor stands: a pidfd.
    Exit,
}

impl Interest {
    fn flags(self) -> PollFlags {
        match self {
            Interest::Readable | Interest::Exit => PollFlags::IN,
            Interest::Writable => PollFlags::OUT,
            // Hang-ups are always told.
            Interest::HangUp => PollFlags::empty(),
        }
    }
}

/// Waits until one of `sources` is ready or the deadline has passed; tells for each whether it is ready. One that the program has
/// closed is, after a moment.
///
/// `poll(2)`; an interrupted wait is taken up again.
///
/// # Errors
///
/// The system refuses: there is no memory in the kernel, the limit on open files was lowered below the number of sources, or
/// a filter forbids it. A moment has passed then, so that a caller that looks for itself and asks again does not spin.
pub(crate) fn wait(sources: &[(BorrowedFd<'_>, Interest)], deadline: Deadline) -> io::Result<Vec<bool>> {
    let flagged = sources.iter().map(|(fd, interest)| PollFd::from_borrowed_fd(*fd, interest.flags()));
    let mut fds: Vec<PollFd<'_>> = flagged.collect();
    loop {
        let timeout = deadline.remaining().and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                pause(deadline);
                return Err(refused("ppoll", error));
            }
            Ok(_) => {
                if fds.iter().any(|fd| fd.revents().contains(PollFlags::NVAL)) {
                    // It counts as ready, now and ever after.
                    pause(deadline);
                }
                return Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect());
            }
        }
    }
}

/// Whether something can be read now, or the other end is gone.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    wait(&[(fd, Interest::Readable)], Deadline::after(Duration::ZERO)).is_ok_and(|ready| ready[0])
}

/// How long [`pause`] lasts.
const PAUSE: Duration = Duration::from_millis(5);

/// Passes a moment, but not beyond the deadline.
pub(crate) fn pause(deadline: Deadline) {
    std::thread::sleep(deadline.remaining().unwrap_or(PAUSE).min(PAUSE));
}

/// A counter that wakes a [`wait`]. `eventfd(2)`.
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Waker> {
        use rustix::event::EventfdFlags;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Waker(beyond_standard(named("eventfd2", rustix::event::eventfd(0, flags))?)?))
    }

    /// Makes the descriptor readable.
    pub(crate) fn wake(&self) {
        // The only possible error is a full counter, and then it is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes the wake-ups back.
    pub(crate) fn clear(&self) {
        // A look first: if the program has closed the descriptor, its number may be that of something which waits to be read.
        if is_readable(self.0.as_fd()) {
            let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
        }
    }
}

impl From<Waker> for OwnedFd {
    fn from(waker: Waker) -> OwnedFd {
        waker.0
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
