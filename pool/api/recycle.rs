//! Options of a pool: when its workers leave.

use crate::api::builder::PoolBuilder;
#[cfg(doc)]
use crate::api::pool::Pool;
use crate::error::Error;
#[cfg(doc)]
use crate::error::TaskError;
use crate::ipc::result_limit::ResultLimit;
use std::time::Duration;

/// The limit of a result is never below this many bytes, so that why one was refused can be told.
const LEAST_RESULT: u64 = 512;

impl<S> PoolBuilder<S> {
    /// Replaces each worker after `n` tasks: items, not chunks. Python's `maxtasksperchild`.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).max_tasks_per_child(2).build()?;
    /// let pids = pool.map(|_: u32| std::process::id(), 0..6)?;
    /// assert!(pids[0] == pids[1] && pids[1] != pids[2] && pids[3] != pids[4]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// 0, and more than 2^32 - 1, is [`Error::is_invalid_argument`] of [`PoolBuilder::build`].
    pub fn max_tasks_per_child(mut self, n: usize) -> Self {
        match u32::try_from(n) {
            Ok(1..) => self.options.recycle.tasks = u32::try_from(n).ok(),
            _ => {
                let text = format!("a worker must be allowed at least 1 task and at most 2^32 - 1, not {n}");
                return self.refuse(Error::invalid_argument(text));
            }
        }
        self
    }

    /// Replaces each worker whose own memory is larger than `bytes` after a task, or after tasks that travelled together.
    /// What it frees counts as far as the allocator has given it back.
    ///
    /// Counted is what is resident and belongs to no file and no shared memory; a fresh worker has some hundred KiB.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).max_memory_per_child(32 << 20).build()?;
    /// let leak = |bytes: usize| {
    ///     std::mem::forget(vec![1u8; bytes]);
    ///     std::process::id()
    /// };
    /// let pids = pool.tasks(leak, [1 << 10, 64 << 20]).chunksize(1).run()?;
    /// assert_eq!(pids[0], pids[1]);
    /// assert_ne!(pids[1], pool.apply(leak, (1 << 10,))?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn max_memory_per_child(mut self, bytes: u64) -> Self {
        self.options.recycle.memory = Some(bytes);
        self.options.limits.lean = true;
        self
    }

    /// Lets workers leave that have had nothing to do for `patience`, all but one. They come back when there is work
    /// for them. [`Pool::processes`] does not change. A patience of less than a millisecond means a millisecond.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::builder().processes(3).idle_timeout(Duration::from_millis(1)).build()?;
    /// while pool.worker_pids().len() > 1 {
    ///     std::thread::sleep(Duration::from_millis(1));
    /// }
    /// assert_eq!(pool.map(|x: u32| x + 1, 0..3)?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn idle_timeout(mut self, patience: Duration) -> Self {
        self.options.recycle.idle = Some(patience);
        self
    }

    /// Limits the memory of each worker: `bytes` more than a fresh one has. An allocation beyond that aborts the worker,
    /// as allocations that fail do in Rust, and its task's error is [`TaskError::is_worker_lost`] with the limit in its text.
    ///
    /// The system counts what is writable, used or not (`RLIMIT_DATA`), so also stacks of threads; not shared memory.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).memory_limit(64 << 20).build()?;
    /// let fill = |bytes: usize| vec![1u8; bytes].len();
    /// assert_eq!(pool.apply(fill, (1 << 20,))?, 1 << 20);
    /// let error = pool.apply(fill, (1 << 30,)).unwrap_err();
    /// assert!(error.task().unwrap().is_worker_lost() && error.to_string().contains("memory"), "{error}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.options.limits.memory = Some(bytes);
        self.options.limits.lean = true;
        self.options.recycle.memory_limit = Some(bytes);
        self
    }

    /// Limits the result of each task, in bytes as they travel. The default is half of the memory that this process may use:
    /// of the machine's, or of its control group's.
    ///
    /// A result beyond that fails its task with [`TaskError::is_encode`], and its worker lives on. Less than 512 bytes means 512:
    /// that much the report of a failure takes. The limit also holds against
    /// a worker that lies: it cannot make this process take more memory than that for one result.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).max_result_bytes(1 << 20).build()?;
    /// let zeros = |bytes: usize| vec![0u8; bytes];
    /// assert_eq!(pool.apply(zeros, (1000,))?.len(), 1000);
    /// let error = pool.apply(zeros, (2 << 20,)).unwrap_err();
    /// assert!(error.task().unwrap().is_encode() && error.to_string().contains("`max_result_bytes` is 1048576"), "{error}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn max_result_bytes(mut self, bytes: u64) -> Self {
        self.options.limits.result = ResultLimit(Some(bytes.max(LEAST_RESULT)));
        self
    }
}
