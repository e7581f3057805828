//! The C library's robust mutex, for comparison.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

/// The C library's robust, process-shared mutex.
pub(crate) struct Robust(Box<UnsafeCell<libc::pthread_mutex_t>>);

impl Robust {
    pub(crate) fn new() -> Robust {
        let mutex = Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        // SAFETY: the target has room for the attributes.
        unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
        // SAFETY: initialised just above.
        unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: initialised just above.
        unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: nobody has locked the mutex yet, and it does not move: it is in a box.
        unsafe { libc::pthread_mutex_init(mutex.get(), attributes.as_ptr()) };
        Robust(mutex)
    }

    pub(crate) fn with(&self, code: impl FnOnce()) {
        let mutex = self.0.get();
        // SAFETY: initialised in `new`, and alive.
        unsafe { libc::pthread_mutex_lock(mutex) };
        code();
        // SAFETY: locked just above by this thread.
        unsafe { libc::pthread_mutex_unlock(mutex) };
    }
}

// SAFETY: a mutex is made for this.
unsafe impl Send for Robust {}
// SAFETY: as for `Send`.
unsafe impl Sync for Robust {}
