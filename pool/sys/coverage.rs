//! The counters of a build that measures coverage: `-C instrument-coverage`, `cargo llvm-cov`.
//!
//! LLVM's runtime writes them to a file in an exit handler. A child of this library ends by `_exit(2)`, or by SIGTERM, which
//! run no exit handlers, so that what has run in it would not count. In a program without the runtime nothing here does
//! anything.

use crate::sys::poll::{self, Interest, Waker};
use crate::sys::thread;
use crate::sys::time::Deadline;
use std::ffi::c_int;
use std::os::fd::AsFd;
use std::sync::OnceLock;

// A word with the address of the runtime's function, or zero in a program without the runtime: the reference to the function
// is weak, which stable Rust cannot say. So is the word, since a program may contain several versions of this library.
#[cfg(not(miri))]
std::arch::global_asm!(
    ".weak __llvm_profile_write_file",
    ".weak multiproc_coverage_write",
    ".pushsection .data.rel.ro.multiproc_coverage, \"aw\", @progbits",
    ".balign 8",
    "multiproc_coverage_write:",
    ".8byte __llvm_profile_write_file",
    ".popsection",
);

/// `int __llvm_profile_write_file(void)`, compiler-rt/lib/profile/InstrProfiling.h.
type Write = unsafe extern "C" fn() -> c_int;

#[cfg(not(miri))]
fn runtime() -> Option<Write> {
    unsafe extern "C" {
        static multiproc_coverage_write: Option<Write>;
    }
    // SAFETY: the word above. The loader has filled it in before any code runs, with null or the address of such a function.
    unsafe { multiproc_coverage_write }
}

#[cfg(miri)]
fn runtime() -> Option<Write> {
    None
}

/// Writes the counters as they are.
pub(crate) fn write() {
    if let Some(write) = runtime() {
        // SAFETY: the function takes no arguments, and locks what it needs. If it fails there are no counters of this process.
        unsafe { write() };
    }
}

/// Rung by SIGTERM.
static TERMINATED: OnceLock<Waker> = OnceLock::new();

/// Lets this process write its counters before SIGTERM ends it, unless user code handles that signal itself.
pub(crate) fn write_on_termination() {
    if runtime().is_none() {
        return;
    }
    let Ok(waker) = Waker::new() else { return };
    let waker = TERMINATED.get_or_init(|| waker);
    // The runtime may not be called in a handler.
    let builder = std::thread::Builder::new().name("multiproc-coverage".to_owned());
    let ends = thread::spawn(builder, || {
        if poll::wait(&[(waker.as_fd(), Interest::Readable)], Deadline::NEVER).is_ok() {
            write();
        }
        // SAFETY: sets a standard disposition; no handler code is involved.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    });
    if ends.is_ok() {
        // SAFETY: all-zero bytes are a valid sigaction (no flags, empty mask, default handler).
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_flags = libc::SA_RESTART;
        action.sa_sigaction = on_sigterm as *const () as usize;
        // SAFETY: the handler has the signature that is asked for without SA_SIGINFO, and calls only write(2), which is
        // async-signal-safe.
        unsafe { libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut()) };
    }
}

extern "C" fn on_sigterm(_signal: c_int) {
    if let Some(waker) = TERMINATED.get() {
        waker.wake();
    }
}
