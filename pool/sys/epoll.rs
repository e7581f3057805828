//! Wait for any number of descriptors, each known by a number of the caller's. `epoll(7)`.
//!
//! Unlike `poll(2)` it does not fail when the limit on open files (RLIMIT_NOFILE) is lowered below the number of descriptors
//! that wait.

use crate::sys::descriptor::beyond_standard;
use crate::sys::poll::{Interest, pause};
use crate::sys::refusal::named;
use crate::sys::time::Deadline;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// No wait is longer: a caller without a deadline waits again. (The old form of the system call takes milliseconds.)
const LONGEST: Duration = Duration::from_secs(3600);

/// A set of descriptors to wait for.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        Ok(Epoll(beyond_standard(named("epoll_create1", epoll::create(CreateFlags::CLOEXEC))?)?))
    }

    /// Takes a descriptor into the set.
    ///
    /// # Errors
    ///
    /// It is in the set already; there is no memory in the kernel; the descriptor is one that is always ready.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, number: u64, interest: Interest) -> io::Result<()> {
        let flags = match interest {
            Interest::Readable | Interest::Exit => EventFlags::IN,
            Interest::Writable => EventFlags::OUT,
            // Hang-ups are always told.
            Interest::HangUp => EventFlags::empty(),
        };
        Ok(epoll::add(&self.0, fd, EventData::new_u64(number), flags)?)
    }

    /// Takes a stream into the set that is ready each time when something more has arrived, or the other end is gone: also if
    /// nobody has read what was there (`EPOLLET`).
    ///
    /// # Errors
    ///
    /// See [`Epoll::add`].
    pub(crate) fn add_arrivals(&self, stream: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, stream, EventData::new_u64(number), EventFlags::IN | EventFlags::ET)?)
    }

    /// Takes a socket into the set that this process is about to leave to another one, and stays there as long as that one has it
    /// open. It is ready once, when its other end is gone (`EPOLLONESHOT`, and question 6 of `epoll(7)`).
    ///
    /// # Errors
    ///
    /// See [`Epoll::add`].
    pub(crate) fn add_foreign(&self, socket: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, socket, EventData::new_u64(number), EventFlags::ONESHOT)?)
    }

    /// Takes a descriptor out of the set. It must be open still: a copy of it in another process would keep it in the set.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        // The only possible error is that it is not in the set.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until some descriptors are ready, and adds their numbers to `ready`, or until the deadline has passed.
    ///
    /// # Errors
    ///
    /// The system refuses; a moment has passed then, so that a caller that asks again does not spin.
    pub(crate) fn wait(&self, deadline: Deadline, ready: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [const { std::mem::MaybeUninit::<Event>::uninit() }; 64];
        let timeout = deadline.remaining().unwrap_or(LONGEST).min(LONGEST);
        let timeout = Timespec::try_from(timeout).unwrap_or_default();
        match epoll::wait(&self.0, &mut events, Some(&timeout)) {
            Ok((events, _)) => ready.extend(events.iter().map(|event| event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                pause(deadline);
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Can be read when one of the set is ready.
#[cfg(feature = "remote")]
impl std::os::fd::AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn only_what_is_ready_is_told_and_only_while_it_is_in_the_set() {
        let epoll = Epoll::new().unwrap();
        let (a, b) = crate::sys::socket::pair().unwrap();
        let (c, d) = crate::sys::socket::pair().unwrap();
        epoll.add(b.as_fd(), 7, Interest::Readable).unwrap();
        epoll.add(d.as_fd(), 8, Interest::HangUp).unwrap();
        assert!(epoll.add(b.as_fd(), 9, Interest::Readable).is_err());
        let wait = || {
            let mut ready: Vec<u64> = Vec::new();
            epoll.wait(Deadline::after(Duration::from_millis(1)), &mut ready).unwrap();
            ready
        };
        assert_eq!(wait(), [0u64; 0]);
        crate::sys::socket::send(a.as_fd(), b"x", &[], Deadline::NEVER).unwrap();
        crate::sys::socket::send(c.as_fd(), b"x", &[], Deadline::NEVER).unwrap();
        assert_eq!(wait(), [7u64]);
        epoll.remove(b.as_fd());
        assert_eq!(wait(), [0u64; 0]);
        drop(c);
        assert_eq!(wait(), [8u64]);
    }
}
