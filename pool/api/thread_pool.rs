//! [`ThreadPool`]: the same calls on threads.

use crate::api::pool::Pool;
use std::ops::Deref;

/// A pool whose workers are threads of this process: Python's `ThreadPool`.
///
/// It dereferences to [`Pool`], so it has the same calls, and a function that takes a `&Pool` runs on either. For
/// comparison and debugging: a debugger sees all tasks, and a `static` is the same in all of them.
///
/// ```
/// use multiproc::{Pool, ThreadPool};
///
/// fn program(pool: &Pool) -> multiproc::Result<u64> {
///     Ok(pool.map(|x: u64| x * x, 0..10)?.into_iter().sum())
/// }
///
/// let (threads, processes) = (ThreadPool::new(2)?, Pool::new(2)?);
/// assert_eq!(program(&threads)?, program(&processes)?);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// What differs, since a thread is no process:
///
/// - A task that crashes or exits takes the whole program with it; a panic is the error of its task, as in a process.
/// - A running task cannot be stopped: [`Call::timeout`](crate::Call::timeout) is refused, and
///   [`AsyncResult::kill`](crate::AsyncResult::kill) stops nothing. [`Pool::terminate`], and dropping the pool, wait for
///   the tasks that are running; what has not begun is dropped.
/// - [`Pool::worker_pids`] is empty.
///
/// Arguments and results travel as bytes all the same, so that a program that runs on threads runs on processes.
///
/// [`PoolBuilder::build_threads`](crate::PoolBuilder::build_threads) makes one with options: an initializer, a state, a name.
#[derive(Debug)]
pub struct ThreadPool<S = ()> {
    pool: Pool<S>,
}

impl<S> ThreadPool<S> {
    pub(super) fn of(pool: Pool<S>) -> ThreadPool<S> {
        ThreadPool { pool }
    }
}

impl<S> Deref for ThreadPool<S> {
    type Target = Pool<S>;

    fn deref(&self) -> &Pool<S> {
        &self.pool
    }
}
