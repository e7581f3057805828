//! Options of a pool: what its workers are given: an environment, CPUs, and where they write.

use crate::api::affinity::CpuAffinity;
use crate::api::builder::PoolBuilder;
use crate::engine::launch::spawn::EnvEach;
use crate::engine::watch::output::{Handler, OutputLine};
#[cfg(doc)]
use crate::engine::worker::number::worker_number;
#[cfg(feature = "sandbox")]
use crate::engine::worker::sandbox::Sandbox;
use crate::error::Error;
#[cfg(doc)]
use crate::error::TaskError;
use std::ffi::OsString;

/// The variables by which libraries that start threads of their own are told how many.
const THREADS: [&str; 9] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

impl<S> PoolBuilder<S> {
    /// Sets an environment variable of the workers, before any of their code runs.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).env("STAGE", "worker").build()?;
    /// assert_eq!(pool.apply(|| std::env::var("STAGE").ok(), ())?.as_deref(), Some("worker"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A name or a value that no environment can have is [`Error::is_invalid_argument`] of [`PoolBuilder::build`].
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.options.env.variables.push((key.into(), value.into()));
        self
    }

    /// Sets environment variables of each worker by its number, which counts from 0 and is [`worker_number`] in the worker:
    /// for what every worker must have for itself, such as a GPU.
    ///
    /// ```
    /// use multiproc::{Pool, worker_number};
    ///
    /// let gpu = |number: usize| [("CUDA_VISIBLE_DEVICES", number.to_string())];
    /// let pool = Pool::builder().processes(2).env_each(gpu).build()?;
    /// let look = |_: u32| (std::env::var("CUDA_VISIBLE_DEVICES").unwrap(), worker_number().unwrap());
    /// assert!(pool.map(look, 0..8)?.iter().all(|(gpu, number)| *gpu == number.to_string()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// `f` is called for each number, by [`PoolBuilder::build`] or by the [`Pool::resize`](crate::Pool::resize) that first
    /// needs the number; twice if two threads resize the pool at the same time, and one answer counts. It must not resize
    /// the pool itself. A worker that replaces another one has the same variables. They count before those of
    /// [`PoolBuilder::env`].
    ///
    /// A name or a value that no environment can have is [`Error::is_invalid_argument`] of `build` or `resize`, and a panic
    /// of `f` comes out of them.
    pub fn env_each<F, I, K, V>(mut self, f: F) -> Self
    where
        F: Fn(usize) -> I + Send + Sync + 'static,
        I: IntoIterator<Item = (K, V)>,
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let each = move |number| f(number).into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self.options.env.each = Some(EnvEach(Box::new(each)));
        self
    }

    /// Tells libraries that start threads of their own (OpenMP, BLAS, rayon, numba) to start `n` in each worker, since
    /// otherwise each takes the machine for its own.
    ///
    /// Sets `OMP_NUM_THREADS`, `OPENBLAS_NUM_THREADS`, `GOTO_NUM_THREADS`, `MKL_NUM_THREADS`, `BLIS_NUM_THREADS`,
    /// `VECLIB_MAXIMUM_THREADS`, `NUMEXPR_NUM_THREADS`, `NUMBA_NUM_THREADS` and `RAYON_NUM_THREADS`.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).thread_env(1).build()?;
    /// assert_eq!(pool.apply(|| std::env::var("OMP_NUM_THREADS").ok(), ())?.as_deref(), Some("1"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// 0 is [`Error::is_invalid_argument`] of [`PoolBuilder::build`].
    pub fn thread_env(mut self, n: usize) -> Self {
        if n == 0 {
            return self.refuse(Error::invalid_argument("each worker must be allowed at least 1 thread"));
        }
        self.options.env.variables.extend(THREADS.map(|key| (key.into(), n.to_string().into())));
        self
    }

    /// Has each worker give up rights before its first task, for code that nobody trusts: see [`Sandbox`].
    ///
    /// If what the system can do is less than that, [`PoolBuilder::build`] gives [`Error::is_start`], unless
    /// [`Sandbox::allow_degraded`] was said.
    #[cfg(feature = "sandbox")]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.options.sandbox = Some(sandbox);
        self
    }

    /// Pins workers to CPUs: with `true` worker `i` to number `i` of those that this process may use, from the first again
    /// when there are more workers; with a list, to the CPUs in it in the same way.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(2).cpu_affinity(true).build()?;
    /// assert_eq!(pool.apply(multiproc::cpu_count, ())?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A CPU that this process may not use is [`Error::is_invalid_argument`] of [`PoolBuilder::build`].
    pub fn cpu_affinity(mut self, cpus: impl Into<CpuAffinity>) -> Self {
        self.options.env.affinity = cpus.into();
        self
    }

    /// Reads what the workers write to stdout and stderr, and writes it line by line to this process's own, with the name
    /// of the worker in front. The last lines on stderr of a worker that was lost are [`TaskError::output`].
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).capture_output(true).build()?;
    /// let fail = || {
    ///     eprintln!("the disk is full"); // Shown as `[worker-1] the disk is full`.
    ///     std::process::exit(1)
    /// };
    /// let error = pool.apply(fail, ()).map(|(): ()| ()).unwrap_err();
    /// assert_eq!(error.task().unwrap().output(), Some("the disk is full"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// Lines of different workers do not mix. If the reader of this process's own output is slow, the workers wait
    /// for at most a second; then lines are dropped and counted.
    pub fn capture_output(mut self, on: bool) -> Self {
        self.options.env.output = on.then(Handler::forward);
        self
    }

    /// Like [`PoolBuilder::capture_output`], but hands the lines to `handle`, on a thread of its own.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (lines, written) = mpsc::channel();
    /// let pool = multiproc::Pool::builder()
    ///     .processes(1)
    ///     .on_output(move |line| drop(lines.send(line.to_string())))
    ///     .build()?;
    /// pool.apply(|| println!("hello"), ())?;
    /// assert_eq!(written.recv().unwrap(), "[worker-1] hello");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If it panics, that is reported on stderr, and the next line is handed to it.
    pub fn on_output(mut self, handle: impl Fn(&OutputLine) + Send + Sync + 'static) -> Self {
        self.options.env.output = Some(Handler::new(handle));
        self
    }

    /// Sets whether the processes that tasks start end with their worker: programs run by
    /// [`Command`](std::process::Command), what these start, and daemons. Default: `true`.
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::process::Command;
    ///
    /// let pool = Pool::builder().processes(1).build()?;
    /// let pid = pool.apply(|| Command::new("sleep").arg("1000").spawn().unwrap().id(), ())?;
    /// let runs = || std::fs::read_link(format!("/proc/{pid}/exe")).is_ok();
    /// assert!(runs());
    /// drop(pool);
    /// assert!(!runs());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// They get SIGKILL when the worker has ended: it was killed, a task has crashed it or was over its time limit, it has left
    /// in order, or the pool was dropped. What the caller hears of that end is told after theirs: when a call has returned
    /// [`TaskError::is_timeout`] or [`TaskError::is_worker_lost`], they are gone. A process that the kernel does not let go
    /// of is waited for for a second.
    ///
    /// The workers hand down an environment variable, `MULTIPROC_DESCENDANT_OF`, by which they are found. A process that has
    /// emptied its environment, and whose parents have ended, is found when its worker leaves in order, and not when that was
    /// killed. A program that runs with the rights of another user is not found either.
    pub fn end_descendants(mut self, on: bool) -> Self {
        self.options.limits.descendants = on;
        self
    }
}
