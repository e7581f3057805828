//! Signals, as far as std and rustix leave them to C.

/// Makes this process ignore SIGTERM.
#[allow(unsafe_code)]
pub(crate) fn ignore_sigterm() {
    // SAFETY: SIG_IGN involves no handler code.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}
