//! A mark in shared memory that the kernel itself sets when the thread that holds it ends.
//!
//! It is a robust, process-shared mutex that a thread takes and never releases: when the thread ends, for whatever
//! reason, the kernel walks its list of robust locks and sets `FUTEX_OWNER_DIED` in each (`set_robust_list(2)`). That
//! needs no pid: looking costs one load.
//!
//! The thread that holds the mark of its process lives as long as the process, so the mark says that the process is ending.
//! It does not say that it has ended: each thread of a killed process goes on until it leaves the system call that it is
//! in, and may write into shared memory meanwhile. With a core dump a mark comes late: the kernel sets it when the dump
//! has been written.

#[cfg(not(loom))]
pub(crate) use kernel::Mark;
#[cfg(loom)]
pub(crate) use model::Mark;

/// A stand-in for the kernel under the model checker.
#[cfg(loom)]
mod model {
    use crate::sys::atomic::{AtomicU64, Ordering};
    use crate::sys::memory::Atomics;
    use loom::cell::UnsafeCell;
    use std::io;

    /// The checker reports two who take it or clear it at the same time.
    #[derive(Debug)]
    pub(crate) struct Mark(AtomicU64, UnsafeCell<()>);

    // SAFETY: nothing is in the cell, and in models nothing is mapped.
    unsafe impl Atomics for Mark {}

    // SAFETY: as above; that nobody uses the cell at the same time is what the checker checks.
    unsafe impl Sync for Mark {}

    impl Mark {
        pub(crate) fn new() -> Mark {
            Mark(AtomicU64::new(0), UnsafeCell::new(()))
        }

        pub(crate) fn take(&self) -> io::Result<()> {
            self.clear();
            Ok(())
        }

        pub(crate) fn clear(&self) {
            self.1.with_mut(|_| ());
            self.0.store(0, Ordering::Relaxed);
        }

        /// The thread that took it ends.
        pub(crate) fn orphan(&self) {
            // SYNC: death
            self.0.store(1, Ordering::Release);
        }

        pub(crate) fn is_orphaned(&self) -> bool {
            // SYNC: death
            self.0.load(Ordering::Acquire) != 0
        }
    }
}

#[cfg(not(loom))]
mod kernel {
    use crate::sys::memory::Atomics;
    use crate::sys::refusal::refused;
    use rustix::io::Errno;
    use std::io;
    use std::sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed},
    };

    /// The bit that the kernel sets. `linux/futex.h`.
    const FUTEX_OWNER_DIED: u32 = 0x4000_0000;

    /// Where the lock word stands in a `pthread_mutex_t`, in 32-bit words.
    const LOCK_WORD: usize = if cfg!(target_env = "musl") { 1 } else { 0 };

    /// Room for a `pthread_mutex_t`; all zero when nobody holds it.
    #[repr(C, align(64))]
    #[derive(Debug)]
    pub(crate) struct Mark([AtomicU64; 8]);

    // SAFETY: repr(C), atomics only, 64 bytes at an alignment of 64.
    unsafe impl Atomics for Mark {}

    const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= size_of::<Mark>());

    /// Checks that the kernel knows the list of the locks of the calling thread: the C library tells it when the thread begins,
    /// and does not look whether that was refused.
    ///
    /// # Errors
    ///
    /// It does not: nobody would ever hear of the end of this thread.
    fn check_list() -> io::Result<()> {
        let (mut head, mut len) = (std::ptr::null_mut::<libc::c_void>(), 0usize);
        // SAFETY: `get_robust_list(2)` of the calling thread (0) writes a pointer and a size into these two places.
        let code = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
        // Where the kernel may not be asked, it is believed.
        if code == 0 && head.is_null() { Err(refused("set_robust_list", Errno::NOSYS)) } else { Ok(()) }
    }

    impl Mark {
        #[cfg(test)]
        pub(crate) fn new() -> Mark {
            Mark(std::array::from_fn(|_| AtomicU64::new(0)))
        }

        /// Takes the mark for the calling thread, for as long as that lives.
        ///
        /// The caller has the exclusive right to do so: the place in the process table that the mark belongs to is its own.
        ///
        /// # Errors
        ///
        /// The C library or the kernel does not know robust mutexes.
        pub(crate) fn take(&'static self) -> io::Result<()> {
            let check = |code: i32| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
            self.clear();
            let mutex = self.0.as_ptr().cast_mut().cast::<libc::pthread_mutex_t>();
            let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
            // SAFETY: the target has room for the attributes.
            check(unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) })?;
            // SAFETY: initialised just above.
            check(unsafe {
                libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED)
            })?;
            // SAFETY: initialised just above.
            check(unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST) })?;
            // SAFETY: `mutex` points to memory that is large and aligned enough (checked above), that stays mapped for ever
            // (`'static`) and consists of atomics, so that other processes may look at it meanwhile; nobody else takes it.
            check(unsafe { libc::pthread_mutex_init(mutex, attributes.as_ptr()) })?;
            // SAFETY: initialised just above and free, so this neither waits nor fails.
            check(unsafe { libc::pthread_mutex_lock(mutex) })?;
            check_list()
        }

        /// Makes it as if nobody had ever held it.
        pub(crate) fn clear(&self) {
            self.0.iter().for_each(|word| word.store(0, Relaxed));
        }

        /// Whether the thread that took it has ended; Acquire, so that whoever sees this sees all that this thread has done.
        #[inline]
        pub(crate) fn is_orphaned(&self) -> bool {
            // SYNC: death
            let word = self.0[LOCK_WORD / 2].load(Acquire);
            let word =
                if (LOCK_WORD % 2 == 0) == cfg!(target_endian = "little") { word as u32 } else { (word >> 32) as u32 };
            word & FUTEX_OWNER_DIED != 0
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_marks_the_end_of_the_holder() {
        let mark: &'static Mark = Box::leak(Box::new(Mark::new()));
        assert!(!mark.is_orphaned());
        for _ in 0..3 {
            let (tell, told) = std::sync::mpsc::channel();
            let (taken, is_taken) = std::sync::mpsc::channel();
            let holder = std::thread::spawn(move || {
                taken.send(mark.take()).unwrap();
                told.recv().unwrap();
            });
            is_taken.recv().unwrap().unwrap();
            assert!(!mark.is_orphaned());
            tell.send(()).unwrap();
            holder.join().unwrap();
            // join returns when the kernel clears the thread id, which it does after walking the list.
            assert!(mark.is_orphaned());
        }
        mark.clear();
        assert!(!mark.is_orphaned());
    }
}
