//! Forks, as foreign code makes them: Python, a C library, a shell around a plugin.

/// Runs `code` in a fork of this process, which ends with its result: by `_exit(2)`, or by way of the handlers of exit if
/// `orderly`. The exit code, or minus the signal that has killed it.
#[allow(unsafe_code)]
pub(crate) fn in_fork(orderly: bool, code: impl FnOnce() -> i32) -> i32 {
    // SAFETY: other threads are gone in the child, and may have left locks of theirs locked. The C library puts its own in
    // order, and what else the child calls is what these tests are about.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        // A fork that hangs is a failure, too.
        // SAFETY: without a handler SIGALRM ends the process.
        unsafe { libc::alarm(20) };
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)).unwrap_or(101);
        if orderly {
            std::process::exit(code);
        }
        // SAFETY: it ends the process.
        unsafe { libc::_exit(code) };
    }
    end_of(child)
}

/// Forks, and goes on in both processes, as a program does that does not look at whether `execve(2)` has failed. `None` in the
/// fork; in the original, how the fork has ended: as [`in_fork`] tells it.
#[allow(unsafe_code)]
pub(crate) fn go_on_in_both() -> Option<i32> {
    // SAFETY: as in `in_fork`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        // A fork that stays is a failure.
        // SAFETY: without a handler SIGALRM ends the process.
        unsafe { libc::alarm(5) };
        return None;
    }
    Some(end_of(child))
}

/// Whether the kernel fences the threads of this process for others that ask; `None` if it does not tell. `membarrier(2)`.
#[allow(unsafe_code)]
pub(crate) fn is_fenced() -> Option<bool> {
    const GET_REGISTRATIONS: libc::c_int = 1 << 9;
    const GLOBAL_EXPEDITED: libc::c_long = 1 << 2;
    // SAFETY: this command only asks.
    let registered = unsafe { libc::syscall(libc::SYS_membarrier, GET_REGISTRATIONS, 0, 0) };
    (registered >= 0).then_some(registered & GLOBAL_EXPEDITED != 0)
}

/// Waits for a fork: its exit code, or minus the signal that has killed it.
#[allow(unsafe_code)]
fn end_of(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the status is written into a variable of ours.
    let reaped = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(reaped, child);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}
