//! Whether another process has ended, asked by its number.

use crate::sys::child::open_pidfd;
use crate::sys::poll::{self, Interest};
use crate::sys::time::Deadline;
use std::os::fd::AsFd;
use std::time::Duration;

/// Whether the process `pid` has ended, with all its threads; `false` where that cannot be said.
///
/// The number was read from shared memory, so it may be any; one that no process can have counts as ended.
pub(crate) fn has_ended(pid: u64) -> bool {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else { return true };
    match open_pidfd(pid) {
        // Readable once the last thread has ended; a process that nobody has waited for yet included. `pidfd_open(2)`.
        Ok(pidfd) => {
            let ended = poll::wait(&[(pidfd.as_fd(), Interest::Readable)], Deadline::after(Duration::ZERO));
            ended.is_ok_and(|ready| ready[0])
        }
        // Nobody has the number, or a mere thread of another process has it by now.
        Err(error) => matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_ended_when_it_is_waited_for_and_before() {
        assert!(!has_ended(u64::from(std::process::id())));
        assert!(has_ended(0) && has_ended(u64::MAX) && has_ended(1 << 31));
        let mut child = std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = u64::from(child.id());
        assert!(!has_ended(pid));
        child.kill().unwrap();
        let start = std::time::Instant::now();
        while !has_ended(pid) {
            assert!(start.elapsed() < Duration::from_secs(9));
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(has_ended(pid));
    }
}
