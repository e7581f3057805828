//! Signals and handlers of exit, as far as std and rustix leave them to C.

/// Makes this process ignore SIGTERM.
#[allow(unsafe_code)]
pub(crate) fn ignore_sigterm() {
    // SAFETY: SIG_IGN involves no handler code.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

/// Has `handler` called whenever SIGUSR1 comes.
#[allow(unsafe_code)]
pub(crate) fn on_sigusr1(handler: extern "C" fn(i32)) {
    // SAFETY: The handlers of the tests do nothing but count in an atomic.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
}

/// Has `handler` called at the exit of this process: `atexit(3)`.
#[allow(unsafe_code)]
pub(crate) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: The handler is a function of this program and lives as long as it.
    assert_eq!(unsafe { libc::atexit(handler) }, 0);
}
