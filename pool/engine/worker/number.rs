//! Which worker of its pool this is.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The number of a thread or a process that is no worker.
const NONE: usize = usize::MAX;

/// The number of the worker that this process is.
static OF_PROCESS: AtomicUsize = AtomicUsize::new(NONE);

thread_local! {
    /// The number of the worker that this thread is.
    static OF_THREAD: Cell<usize> = const { Cell::new(NONE) };
}

/// Returns the number of the pool's worker that calls this, counted from 0; `None` outside of a worker.
///
/// The number belongs to the place of the worker in its pool: a worker that replaces another one has its number, and two
/// workers that live at the same time never have the same. It is there in tasks, in the initializer, in the maker of the
/// state and in the finalizer, and on threads that these start in a worker process. Use it to share out what is numbered as
/// well, such as GPUs, ports or directories; see also [`PoolBuilder::env_each`](crate::PoolBuilder::env_each).
///
/// ```
/// use multiproc::{Pool, worker_number};
///
/// assert_eq!(worker_number(), None);
/// let pool = Pool::builder().processes(2).max_tasks_per_child(1).build()?;
/// let numbers = pool.map(|_: u32| worker_number().unwrap(), 0..8)?;
/// assert!(numbers.iter().all(|number| *number < 2));
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn worker_number() -> Option<usize> {
    let number = match OF_THREAD.get() {
        NONE => OF_PROCESS.load(Relaxed),
        number => number,
    };
    (number != NONE).then_some(number)
}

/// Makes this process the worker `number`.
pub(super) fn set_of_process(number: usize) {
    OF_PROCESS.store(number, Relaxed);
}

/// Runs `code` on this thread as the worker `number`.
pub(crate) fn within<R>(number: usize, code: impl FnOnce() -> R) -> R {
    let before = OF_THREAD.replace(number);
    let result = code();
    OF_THREAD.set(before);
    result
}

/// Makes this thread the worker `number`.
pub(crate) fn set_of_thread(number: usize) {
    OF_THREAD.set(number);
}
