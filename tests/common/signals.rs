//! Signals and handlers of exit, as far as std and rustix leave them to C.

use rustix::process::Signal;

/// Makes this process ignore signals.
#[allow(unsafe_code)]
pub(crate) fn ignore(signals: &[Signal]) {
    for signal in signals {
        // SAFETY: SIG_IGN involves no handler code.
        unsafe { libc::signal(signal.as_raw(), libc::SIG_IGN) };
    }
}

/// Makes this process ignore SIGTERM.
pub(crate) fn ignore_sigterm() {
    ignore(&[Signal::TERM]);
}

/// Makes this thread block signals. All that it starts inherits that.
#[allow(unsafe_code)]
pub(crate) fn block(signals: &[Signal]) {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: fills in the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set was filled in, and this is the number of a signal.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal.as_raw()) };
    }
    // SAFETY: the set was filled in.
    assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) }, 0);
}

/// Has `handler` called whenever SIGUSR1 comes.
#[allow(unsafe_code)]
pub(crate) fn on_sigusr1(handler: extern "C" fn(i32)) {
    // SAFETY: The handlers of the tests do nothing but count in an atomic.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
}

/// Has every system call that waits interrupted whenever SIGUSR1 comes: by a handler without SA_RESTART.
#[allow(unsafe_code)]
pub(crate) fn interrupt_on_sigusr1() {
    extern "C" fn nothing(_: i32) {}
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros is a valid `sigaction`: no flags, an empty mask, the default action.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
    // SAFETY: the handler does nothing, and the old action is not wanted.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, action, std::ptr::null_mut()) }, 0);
}

/// Sends SIGUSR1 to a thread of this process, if that is still there.
#[allow(unsafe_code)]
pub(crate) fn send_sigusr1_to_thread(id: i32) {
    // SAFETY: takes numbers alone.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), id, libc::SIGUSR1) };
}

/// Sends a signal to the calling thread, which has taken it when this returns.
#[allow(unsafe_code)]
pub(crate) fn raise(signal: Signal) {
    // SAFETY: takes a number alone.
    assert_eq!(unsafe { libc::raise(signal.as_raw()) }, 0);
}

/// Has `handler` called at the exit of this process: `atexit(3)`.
#[allow(unsafe_code)]
pub(crate) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: The handler is a function of this program and lives as long as it.
    assert_eq!(unsafe { libc::atexit(handler) }, 0);
}

/// Stops this process, as a debugger does.
pub(crate) fn stop_self() {
    rustix::process::kill_process(rustix::process::getpid(), Signal::STOP).unwrap();
}
