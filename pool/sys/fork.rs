//! Forks by foreign code: a forked process has the memory of the original, and none of its threads but one.
//!
//! This library never forks. What relies on threads, or stands for a thread, must notice that somebody else has.

use crate::sys::signal;
use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// What [`set_thread_tag`] was told of a thread.
struct Thread {
    tag: Cell<u32>,
    stamp: Cell<u32>,
}

thread_local! {
    static THREAD: Thread = const { Thread { tag: Cell::new(0), stamp: Cell::new(0) } };
}

/// How many forks lie between the process that first used this library and this one.
///
/// Everything that relies on threads of this process compares it with the number it was made at.
#[inline]
pub(crate) fn fork_generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// The number that was last given to this thread by [`set_thread_tag`]; 0 in a new thread, and in a fork.
#[inline]
pub(crate) fn thread_tag() -> u32 {
    THREAD.with(|thread| thread.tag.get())
}

/// What [`set_thread_tag`] has stored beside the tag.
#[inline]
pub(crate) fn thread_stamp() -> u32 {
    THREAD.with(|thread| thread.stamp.get())
}

/// Gives this thread a number, and a second one beside it. Only in a process that has called [`watch_for_forks`] a fork begins
/// without the first.
pub(crate) fn set_thread_tag(tag: u32, stamp: u32) {
    THREAD.with(|thread| {
        thread.tag.set(tag);
        thread.stamp.set(stamp);
    });
}

/// From now on notices forks. `pthread_atfork(3)`.
pub(crate) fn watch_for_forks() {
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        // This is the one thread that goes on.
        THREAD.with(|thread| thread.tag.set(0));
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler adds to an atomic and stores into a thread-local cell without a destructor, both of which are
        // async-signal-safe.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// The process in which this was made, as opposed to forks of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Original(u32);

impl Original {
    /// This process.
    pub(crate) fn here() -> Original {
        watch_for_forks();
        Original(fork_generation())
    }

    /// Whether this is that process. Only the C library's forks are noticed, not a raw `clone(2)`.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        fork_generation() == self.0
    }

    /// Ends a fork of that process, at once and without exit handlers; does nothing in the process itself.
    ///
    /// To be called where user code has returned: it may have forked, and have returned in both processes.
    #[inline]
    pub(crate) fn end_forks(self) {
        if !self.is_here() {
            signal::exit_now(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_a_tag_of_its_own() {
        set_thread_tag(7, 8);
        assert_eq!((thread_tag(), std::thread::spawn(thread_tag).join().unwrap()), (7, 0));
        set_thread_tag(0, 0);
    }

    #[test]
    fn a_fork_has_another_generation_and_no_tag() {
        watch_for_forks();
        set_thread_tag(7, 8);
        let before = fork_generation();
        // SAFETY: the child calls nothing but what is async-signal-safe, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = i32::from(fork_generation() != before + 1 || thread_tag() != 0);
            // SAFETY: it ends the process.
            unsafe { libc::_exit(code) };
        }
        let mut status = -1;
        // SAFETY: the status is written into a variable of ours.
        let reaped = unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!((reaped, status, thread_tag(), fork_generation()), (child, 0, 7, before));
        set_thread_tag(0, 0);
    }
}
