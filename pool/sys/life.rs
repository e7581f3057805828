//! Whether another process has ended, with all its threads.
//!
//! For those that share a file it is a record lock on a byte of it that says so (`F_SETLK`, `fcntl_locking(2)`). The kernel
//! takes it away when the last thread of the process has left the memory, or the process executes another program. It is
//! not inherited by forks, needs no process id, and looking costs one system call. A process that closes any descriptor of
//! that very file gives it away too early, so nobody relies on it alone: it confirms a [`Mark`](crate::sys::robust::Mark).

#[cfg(not(loom))]
pub(crate) use kernel::{Lives, has_ended};
#[cfg(loom)]
pub(crate) use model::{Lives, ends, has_ended};

#[cfg(not(loom))]
mod kernel {
    use crate::sys::child::open_pidfd;
    use crate::sys::epoll::Epoll;
    use crate::sys::poll::{self, Interest};
    use crate::sys::refusal::errno;
    use crate::sys::time::Deadline;
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
    use std::time::Duration;

    /// A file whose bytes stand for processes.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Lives(BorrowedFd<'static>);

    impl Lives {
        pub(crate) fn of(file: BorrowedFd<'static>) -> Lives {
            Lives(file)
        }

        /// Has the byte `at` stand for this process until it ends.
        ///
        /// # Errors
        ///
        /// It stands for another process, or the system has no record locks.
        pub(crate) fn hold(self, at: u64) -> io::Result<()> {
            self.ask(libc::F_SETLK, at).map(drop)
        }

        /// Whether the byte `at` stands for another process that lives; `false` where that cannot be said.
        pub(crate) fn is_held(self, at: u64) -> bool {
            self.ask(libc::F_GETLK, at).is_ok_and(|lock| lock != libc::F_UNLCK)
        }

        fn ask(self, command: i32, at: u64) -> io::Result<i32> {
            let at = libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut lock = libc::flock {
                l_type: libc::F_WRLCK as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: at,
                l_len: 1,
                l_pid: 0,
            };
            // SAFETY: both commands take a `flock`, which is initialised, and lives on this stack meanwhile.
            let code = unsafe { libc::fcntl(self.0.as_raw_fd(), command, &mut lock) };
            if code == -1 { Err(io::Error::last_os_error()) } else { Ok(lock.l_type.into()) }
        }
    }

    /// Whether the descriptor can be read now; `false` where that cannot be said.
    fn is_readable(fd: BorrowedFd<'_>) -> bool {
        let now = Deadline::after(Duration::ZERO);
        if let Ok(ready) = poll::wait(&[(fd, Interest::Readable)], now) {
            return ready[0];
        }
        // A filter of system calls refuses `ppoll`, but rarely its sister.
        is_readable_by_epoll(fd).unwrap_or(false)
    }

    pub(super) fn is_readable_by_epoll(fd: BorrowedFd<'_>) -> io::Result<bool> {
        let (epoll, mut ready) = (Epoll::new()?, Vec::new());
        epoll.add(fd, 0, Interest::Readable)?;
        epoll.wait(Deadline::after(Duration::ZERO), &mut ready)?;
        Ok(!ready.is_empty())
    }

    /// Whether the process `pid` has ended; `false` where that cannot be said, or another one has the number by now.
    ///
    /// The number was read from shared memory, so it may be any; one that no process can have counts as ended.
    pub(crate) fn has_ended(pid: u64) -> bool {
        let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else { return true };
        match open_pidfd(pid) {
            // Readable once the last thread has ended; a process that nobody has waited for yet included. `pidfd_open(2)`.
            Ok(pidfd) => is_readable(pidfd.as_fd()),
            Err(error) => match errno(&error) {
                // Nobody has the number, or a mere thread of another process has it by now.
                Some(Errno::SRCH | Errno::INVAL) => true,
                // A filter of system calls refuses it. A process that nobody has waited for yet counts as one that lives.
                _ => Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH)),
            },
        }
    }
}

/// A stand-in for the kernel under the model checker: who was marked has left the memory, and a process has ended when
/// [`ends`](model::ends) says so.
#[cfg(loom)]
mod model {
    use loom::sync::atomic::{AtomicU64, Ordering};

    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Lives;

    loom::lazy_static! {
        static ref ENDED: AtomicU64 = AtomicU64::new(0);
    }

    impl Lives {
        pub(crate) fn of(_file: std::os::fd::BorrowedFd<'static>) -> Lives {
            Lives
        }

        pub(crate) fn hold(self, _at: u64) -> std::io::Result<()> {
            Ok(())
        }

        pub(crate) fn is_held(self, _at: u64) -> bool {
            false
        }
    }

    pub(crate) fn has_ended(pid: u64) -> bool {
        // SYNC: death
        ENDED.load(Ordering::Acquire) == pid
    }

    /// The process ends.
    pub(crate) fn ends(pid: u64) {
        // SYNC: death
        ENDED.store(pid, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::Duration;
    use std::time::Instant;

    #[test]
    fn a_process_has_ended_when_it_is_waited_for_and_before() {
        assert!(!has_ended(u64::from(std::process::id())));
        assert!(has_ended(0) && has_ended(u64::MAX) && has_ended(1 << 31));
        let mut child = std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = u64::from(child.id());
        let pidfd = crate::sys::child::open_pidfd(child.id() as i32).unwrap();
        let is_readable = || kernel::is_readable_by_epoll(pidfd.as_fd()).unwrap();
        assert!(!has_ended(pid) && !is_readable());
        child.kill().unwrap();
        let start = Instant::now();
        while !has_ended(pid) {
            assert!(start.elapsed() < Duration::from_secs(9));
            std::thread::yield_now();
        }
        assert!(is_readable());
        child.wait().unwrap();
        assert!(has_ended(pid) && is_readable());
    }

    #[test]
    fn a_byte_stands_for_a_process_until_it_ends() {
        let file: &'static _ = Box::leak(Box::new(crate::sys::memory::create("test", 4096).unwrap()));
        let lives = Lives::of(file.as_fd());
        let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        // SAFETY: the child calls nothing but what is async-signal-safe, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            use std::io::{Read as _, Write as _};
            drop(ours);
            let held = lives.hold(5).is_ok() && lives.hold(5).is_ok();
            let _ = theirs.write_all(&[u8::from(held)]);
            let _ = theirs.read(&mut [0]);
            // SAFETY: it ends the process.
            unsafe { libc::_exit(0) };
        }
        drop(theirs);
        let mut held = [0];
        std::io::Read::read_exact(&mut ours, &mut held).unwrap();
        assert_eq!((held, lives.is_held(5), lives.is_held(4), lives.is_held(6)), ([1], true, false, false));
        assert!(lives.hold(5).is_err());
        drop(ours);
        // SAFETY: a null pointer is allowed, and says that nobody wants the status (`waitpid(2)`).
        let reaped = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert_eq!((reaped, lives.is_held(5)), (child, false));
        lives.hold(5).unwrap();
    }
}
