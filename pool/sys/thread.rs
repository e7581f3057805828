//! Threads of the library's own, in programs that know nothing of them.
//!
//! A signal that is sent to a process goes to any of its threads that does not block it. So a program that blocks SIGTERM in
//! all its threads, to take it with `sigwait(3)` or a signalfd, must not have threads that do not; and a handler of the
//! program must not run on a small stack. The threads of this library block all signals but those of their own faults.

use crate::sys::child::own_pid;
use crate::sys::signal;
use crate::sys::time::Deadline;
use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

thread_local! {
    /// The signal mask of the thread that has started this one, if that was [`spawn`].
    static STARTER: Cell<Option<signal::Mask>> = const { Cell::new(None) };
}

/// Starts a thread for `work` that no signal disturbs.
///
/// # Errors
///
/// There is no thread left, or no memory for its stack.
pub(crate) fn spawn<R: Send + 'static>(
    thread: Builder,
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<JoinHandle<R>> {
    // The new thread inherits the mask, so that there is no moment without it.
    let starter = signal::block_all();
    let spawned = thread.spawn(move || {
        STARTER.set(Some(starter));
        work()
    });
    signal::set_mask(&starter);
    spawned
}

/// Runs user code on a thread that [`spawn`] has started, with the signal mask of the thread that called `spawn`: the
/// programs and threads that it starts inherit that one, as they would have there.
pub(crate) fn with_starter_mask<R>(code: impl FnOnce() -> R) -> R {
    struct Restore(signal::Mask);
    impl Drop for Restore {
        fn drop(&mut self) {
            signal::set_mask(&self.0);
        }
    }
    let Some(starter) = STARTER.get() else { return code() };
    let _restore = Restore(signal::set_mask(&starter));
    code()
}

/// Starts a thread with a stack of this size, and waits until it has ended.
///
/// The C library keeps its stack and its part of the allocator for the next thread, and looks up what the first thread of a
/// process needs. So the first thread of each copy of this process (`clone(2)`) finds all that there, which takes a new process
/// a tenth of a millisecond.
pub(crate) fn leave_one_behind(stack: usize) {
    // An allocation, or it leaves no part of the allocator behind.
    let work = || drop(std::hint::black_box(Box::new([0u8; 64])));
    // Without it copies do that themselves.
    if let Ok(thread) = Builder::new().stack_size(stack).spawn(work) {
        let _ = thread.join();
    }
}

/// The number of the calling thread. `gettid(2)`.
pub(crate) fn own_number() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Whether this process has a thread with this number; yes, where that cannot be said. `tgkill(2)`.
pub(crate) fn is_alive(number: i32) -> bool {
    // SAFETY: signal 0 is none: the call only looks whether there is such a thread.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, own_pid(), number, 0) };
    sent == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// How many threads this process has; `None` where that cannot be said. `proc(5)`: one folder for each.
pub(crate) fn count() -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/task").ok()?.nlink().checked_sub(2)
}

/// How long [`others`] waits for threads that are about to end: whoever has joined one may still find it.
const ENDING: Duration = Duration::from_millis(100);

/// The names of the threads of this process beside the calling one, those that are about to end left out.
///
/// # Errors
///
/// `/proc` does not say.
pub(crate) fn others() -> io::Result<Vec<String>> {
    let (own, deadline) = (own_number().to_string(), Deadline::after(ENDING));
    loop {
        let mut names = Vec::new();
        for entry in std::fs::read_dir("/proc/self/task")? {
            let entry = entry?;
            if entry.file_name().to_str() != Some(&own) {
                // One that has ended meanwhile has no name any more.
                let name = std::fs::read_to_string(entry.path().join("comm"));
                names.extend(name.ok().map(|name| name.trim_end().to_owned()));
            }
        }
        if names.is_empty() || deadline.passed() {
            return Ok(names);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_and_named() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let named = Builder::new().name("counted".to_owned()).spawn(move || wait.recv()).unwrap();
        assert!(count().unwrap() >= 2);
        assert!(others().unwrap().iter().any(|name| name == "counted"));
        drop(go);
        named.join().unwrap().unwrap_err();
        assert!(others().unwrap().iter().all(|name| name != "counted"));
    }

    fn blocked() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    #[test]
    fn a_thread_of_the_library_blocks_signals_but_not_for_user_code() {
        let own = blocked();
        let look = || (blocked(), with_starter_mask(blocked), blocked());
        let (before, inside, after) = spawn(Builder::new(), look).unwrap().join().unwrap();
        assert_eq!((inside, blocked()), (own, own));
        assert_eq!(before, after);
        let is_blocked = |signal: i32| before >> (signal - 1) & 1 == 1;
        assert!([libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGCHLD].into_iter().all(is_blocked));
        assert!(![libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL].into_iter().any(is_blocked));
        // On a thread of somebody else user code runs as it is.
        assert_eq!(with_starter_mask(blocked), own);
        let panicked = spawn(Builder::new(), || {
            let caught = std::panic::catch_unwind(|| with_starter_mask(|| panic!("on purpose")));
            (caught.is_err(), blocked())
        });
        assert_eq!(panicked.unwrap().join().unwrap(), (true, before));
    }
}
