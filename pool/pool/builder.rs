//! [`PoolBuilder`]: a pool with options.

use crate::engine::core::{Core, Engine, Terms};
use crate::engine::launch::spawn::Spawn;
use crate::engine::routines::{self, Routine, Routines};
use crate::engine::worker::Limits;
#[cfg(doc)]
use crate::error::TaskError;
use crate::error::{Error, Result};
use crate::heap::scope::Pins;
use crate::ipc::bell::Bell;
use crate::ipc::link::LinkKind;
use crate::pool::Pool;
use crate::process::args::{Args, Task};
use crate::process::bootstrap::check_host;
use crate::process::returns::assert_captures_nothing;
use crate::sys::cpu::cpu_count;
use crate::sys::memory;
use crate::sys::reactor::fork_generation;
use parking_lot::{Condvar, Mutex};
use std::error::Error as StdError;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Makes a [`Pool`] with options.
///
/// ```
/// use multiproc::{LinkKind, Pool};
///
/// let pool = Pool::builder().processes(2).name("crunch").link(LinkKind::Ring).build()?;
/// assert_eq!(pool.apply(|| 1 + 1, ())?, 2);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder<S = ()> {
    processes: Option<usize>,
    name: String,
    link: LinkKind,
    grace: Duration,
    routines: Routines,
    /// What the arguments of the routines refer to.
    pins: Pins,
    /// The first routine that cannot be had.
    refused: Option<Error>,
    terms: Terms,
    limits: Limits,
    state: PhantomData<fn() -> S>,
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder {
            processes: None,
            name: "worker".to_owned(),
            link: LinkKind::default(),
            grace: Duration::from_secs(1),
            routines: Routines::default(),
            pins: Pins::new(),
            refused: None,
            terms: Terms::default(),
            limits: Limits::default(),
            state: PhantomData,
        }
    }
}

impl<S> PoolBuilder<S> {
    /// The number of workers; `None` means as many as [`cpu_count`].
    pub fn processes(mut self, processes: impl Into<Option<usize>>) -> Self {
        self.processes = processes.into();
        self
    }

    /// What ps and top show for the workers, followed by their number; the system keeps 15 bytes. Default: `worker`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How tasks and results travel. Default: [`LinkKind::Ring`].
    pub fn link(mut self, link: LinkKind) -> Self {
        self.link = link;
        self
    }

    /// How long a worker may take to end after SIGTERM before it gets SIGKILL. Default: 1 second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// A function that each worker runs before its first task, also each later replacement. What it returns is dropped.
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::sync::OnceLock;
    ///
    /// static GREETING: OnceLock<String> = OnceLock::new();
    ///
    /// let pool = Pool::builder()
    ///     .processes(1)
    ///     .initializer(|text: String| GREETING.set(text), ("hello".to_owned(),))
    ///     .build()?;
    /// assert_eq!(pool.apply(|| GREETING.get().cloned(), ())?.as_deref(), Some("hello"));
    /// assert_eq!(GREETING.get(), None); // This process is not the worker.
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If it panics, [`PoolBuilder::build`] gives [`Error::is_initializer`].
    pub fn initializer<F, A>(mut self, f: F, args: A) -> Self
    where
        A: Args,
        F: Task<A>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        let made = Routine::new("initializer", routines::procedure::<F, A>(), &args);
        self.routines.initializer = self.routine(made);
        self
    }

    /// A function that each worker runs when it leaves in order: when the pool is closed, has become smaller, or
    /// replaces it after its share of tasks. A worker that is killed, or whose pool is terminated or dropped, does not
    /// get to it. What it returns is dropped.
    ///
    /// ```
    /// use multiproc::{Pool, RawValue};
    ///
    /// let left = RawValue::new(0u32);
    /// let pool = Pool::builder()
    ///     .processes(2)
    ///     .finalizer(|left: RawValue<u32>| left.fetch_add(1), (left.clone(),))
    ///     .build()?;
    /// pool.close();
    /// pool.join()?;
    /// assert_eq!(left.get(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If it panics, that is reported on stderr, and nothing else happens.
    pub fn finalizer<F, A>(mut self, f: F, args: A) -> Self
    where
        A: Args,
        F: Task<A>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        let made = Routine::new("finalizer", routines::procedure::<F, A>(), &args);
        self.routines.finalizer = self.routine(made);
        self
    }

    /// A function that makes what each worker keeps between tasks: an open file, a connection, a cache. Tasks get it by
    /// [`Pool::on_state`].
    ///
    /// It never leaves its worker, so it needs no `Serialize`, nor `Send`.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::builder().processes(1).state(|start: u64| vec![start], (1,)).build()?;
    /// let sums = pool.on_state().map(
    ///     |seen, x| {
    ///         seen.push(x);
    ///         seen.iter().sum::<u64>()
    ///     },
    ///     [10, 100],
    /// )?;
    /// assert_eq!(sums, [11, 111]);
    ///
    /// // After a panic it is made again.
    /// pool.on_state().apply(|seen: &mut Vec<u64>| seen[99], ()).unwrap_err();
    /// assert_eq!(pool.on_state().apply(|seen: &mut Vec<u64>| seen.len(), ())?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// It is made after the initializer has run, and dropped before the finalizer runs. If `f` panics,
    /// [`PoolBuilder::build`] gives [`Error::is_initializer`].
    pub fn state<F, A>(self, f: F, args: A) -> PoolBuilder<F::Output>
    where
        A: Args,
        F: Task<A>,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.with_state(Routine::new("state", routines::maker::<F, A>(), &args))
    }

    /// Like [`PoolBuilder::state`], for a function that can fail. Its `Err` is [`Error::is_initializer`] of
    /// [`PoolBuilder::build`].
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::fs::File;
    ///
    /// let open = |path: String| File::open(path);
    /// let error = Pool::builder().processes(1).try_state(open, ("/no/such/file".to_owned(),)).build().unwrap_err();
    /// assert!(error.is_initializer() && error.task().unwrap().is_error());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_state<F, A, T, E>(self, f: F, args: A) -> PoolBuilder<T>
    where
        A: Args,
        F: Task<A, Output = Result<T, E>>,
        T: 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        assert_captures_nothing!(F);
        let _ = f;
        self.with_state(Routine::new("state", routines::fallible_maker::<F, A, T, E>(), &args))
    }

    fn with_state<T>(mut self, made: Result<(Routine, Pins)>) -> PoolBuilder<T> {
        self.routines.state = self.routine(made);
        PoolBuilder {
            processes: self.processes,
            name: self.name,
            link: self.link,
            grace: self.grace,
            routines: self.routines,
            pins: self.pins,
            refused: self.refused,
            terms: self.terms,
            limits: self.limits,
            state: PhantomData,
        }
    }

    /// Takes a routine, or notes why it cannot be had.
    fn routine(&mut self, made: Result<(Routine, Pins)>) -> Option<Routine> {
        match made {
            Ok((routine, pins)) => {
                self.pins.extend(pins);
                Some(routine)
            }
            Err(error) => {
                self.refused.get_or_insert(error);
                None
            }
        }
    }

    /// Replaces each worker after `n` tasks: items, not chunks. Python's `maxtasksperchild`.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).max_tasks_per_child(2).build()?;
    /// let pids = pool.map(|_: u32| std::process::id(), 0..6)?;
    /// assert!(pids[0] == pids[1] && pids[1] != pids[2] && pids[3] != pids[4]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// When `n` is 0 or more than 2^32.
    pub fn max_tasks_per_child(mut self, n: usize) -> Self {
        let n = u32::try_from(n).ok().and_then(NonZeroU32::new);
        let Some(n) = n else { panic!("a worker must be allowed at least 1 task, and at most 2^32") };
        self.terms.tasks = Some(n.get());
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
    /// let pids = pool.job().chunksize(1).map(leak, [1 << 10, 64 << 20])?;
    /// assert_eq!(pids[0], pids[1]);
    /// assert_ne!(pids[1], pool.apply(leak, (1 << 10,))?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn max_memory_per_child(mut self, bytes: u64) -> Self {
        self.terms.memory = Some(bytes);
        self
    }

    /// Lets workers leave that have had nothing to do for `patience`, all but one. They come back when there is work for
    /// them. [`Pool::processes`] stays.
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
        self.terms.idle = Some(patience);
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
        self.limits.memory = Some(bytes);
        self.terms.memory_limit = Some(bytes);
        self
    }

    /// Starts the workers and waits until each is ready.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`], and [`Error::is_initializer`].
    pub fn build(self) -> Result<Pool<S>> {
        check_host()?;
        let processes = self.processes.unwrap_or_else(cpu_count);
        if processes == 0 {
            return Err(Error::invalid_argument("a pool needs at least 1 process, not 0"));
        }
        if let Some(error) = self.refused {
            return Err(error);
        }
        let (file, memory) = match self.link {
            LinkKind::Ring => {
                let (file, memory) = memory::create_mapped("multiproc-bell", Bell::LEN)?;
                (Some(Arc::new(file)), memory)
            }
            LinkKind::Channel => (None, memory::private(Bell::LEN)?),
        };
        let bell = Bell::new(Arc::new(memory), 0);
        let launcher = Spawn {
            link: self.link,
            bell: bell.clone(),
            bell_file: file,
            name: self.name,
            routines: self.routines,
            pins: self.pins,
            limits: self.limits,
        };
        let engine = Arc::new(Engine {
            core: Mutex::new(Core::new(processes, self.terms)),
            bell,
            launcher: Box::new(launcher),
            background: Condvar::new(),
            workforce: Condvar::new(),
            grace: self.grace,
            generation: fork_generation(),
        });
        engine.build()?;
        Ok(Pool { engine, state: PhantomData })
    }
}
