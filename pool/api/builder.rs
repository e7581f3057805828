//! [`PoolBuilder`]: a pool with options. What its workers are given stands in `worker_env.rs`, when they leave in `recycle.rs`.

use crate::api::options::Options;
use crate::api::pool::Pool;
use crate::api::thread_pool::ThreadPool;
#[cfg(feature = "cluster")]
use crate::engine::callbacks;
use crate::engine::watch::worker_event::{WorkerEvent, WorkerHook};
use crate::engine::worker::routines::{self, Nothing, Routine};
use crate::error::{Error, Result};
use crate::heap::scope::Pins;
use crate::ipc::link::LinkKind;
use crate::portable::Captures;
use crate::process::args::{Args, Task};
use crate::process::returns::{Completion, Fallible, Plain};
use crate::process::template::StartMethod;
#[cfg(doc)]
use crate::sys::cpu::cpu_count;
use std::error::Error as StdError;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

impl Pool {
    /// Starts a pool of `processes` workers; `None` means as many as `MULTIPROC_WORKERS` in the environment says, or else
    /// [`cpu_count`].
    ///
    /// Returns once every worker is ready.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(None)?;
    /// assert_eq!(pool.processes(), multiproc::cpu_count());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::is_invalid_argument`]: 0 processes, or more than 65,536.
    /// - [`Error::is_start`]: a worker could not be started; those that had started were ended.
    /// - [`Error::is_not_initialized`], [`Error::is_foreign_host`]: this program cannot be its own worker.
    pub fn new(processes: impl Into<Option<usize>>) -> Result<Pool> {
        Pool::builder().processes(processes).build()
    }

    /// Returns a builder for a pool with more options.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(2).name("crunch").max_tasks_per_child(1000).build()?;
    /// assert_eq!(pool.map(|x: u64| x + 1, 0..3)?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// Runs `work` with a pool of `processes` workers, then closes the pool and waits for the workers to leave.
    ///
    /// ```
    /// let sum = multiproc::Pool::scope(2, |pool| pool.map(|x: u32| x + 1, 0..3))?;
    /// assert_eq!(sum?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Pool::new`].
    pub fn scope<R>(processes: impl Into<Option<usize>>, work: impl FnOnce(&Pool) -> R) -> Result<R> {
        let pool = Pool::new(processes)?;
        let result = work(&pool);
        pool.close();
        pool.join()?;
        Ok(result)
    }
}

impl ThreadPool {
    /// Starts a pool of `threads` threads; `None` means as many as [`cpu_count`](crate::cpu_count).
    ///
    /// # Errors
    ///
    /// See [`Pool::new`].
    pub fn new(threads: impl Into<Option<usize>>) -> Result<ThreadPool> {
        Pool::builder().processes(threads).build_threads()
    }
}

/// Makes a [`Pool`] with options.
///
/// ```
/// use multiproc::{LinkKind, Pool};
///
/// let pool = Pool::builder().processes(2).name("crunch").link(LinkKind::Ring).build()?;
/// assert_eq!(pool.apply(|| 1 + 1, ())?, 2);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// An option that makes no sense is the error of [`PoolBuilder::build`]: [`Error::is_invalid_argument`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder<S = ()> {
    pub(super) options: Options,
    state: PhantomData<fn() -> S>,
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder { options: Options::default(), state: PhantomData }
    }
}

impl<S> PoolBuilder<S> {
    /// Sets the number of workers; `None`, the default, means as many as `MULTIPROC_WORKERS` in the environment says, or else
    /// [`cpu_count`].
    pub fn processes(mut self, processes: impl Into<Option<usize>>) -> Self {
        self.options.processes = processes.into();
        self
    }

    /// Sets the name that `ps` and `top` show for the workers, followed by the number of the worker; the system keeps
    /// 15 bytes. Default: `worker`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Sets how tasks and results travel. Default: [`LinkKind::Ring`].
    pub fn link(mut self, link: LinkKind) -> Self {
        self.options.link = link;
        self
    }

    /// Sets how workers come to be. Default: [`StartMethod::Spawn`], which executes this program for each.
    ///
    /// With [`StartMethod::Template`] this program is executed once, for a *template* that has run the initializer, and each
    /// worker is a copy of it: of its memory, which all share as long as nobody writes there, and of its descriptors.
    ///
    /// ```
    /// use multiproc::{Pool, StartMethod};
    /// use std::sync::OnceLock;
    ///
    /// static MODEL: OnceLock<Vec<u64>> = OnceLock::new();
    ///
    /// let pool = Pool::builder()
    ///     .processes(4)
    ///     .start_method(StartMethod::Template)
    ///     .initializer(|n: u64| MODEL.set((0..n).collect()).unwrap(), (100_000,)) // Once, and not four times.
    ///     .max_tasks_per_child(1)
    ///     .build()?;
    /// assert_eq!(pool.map(|at: usize| MODEL.get().unwrap()[at], [0, 99_999])?, [0, 99_999]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A worker that takes the place of another one costs as little, and the initializer does not run again. So choose it if the
    /// initializer takes long or makes much, or if workers are replaced often. What is different:
    ///
    /// - **The initializer runs once**, in the template, and again only if that has died. What each worker is to have for itself,
    ///   such as a connection, is made by [`PoolBuilder::state`].
    /// - **Tasks run on another thread** than the initializer: what it stores in a `thread_local!` they do not find.
    /// - **The initializer must not leave threads behind**, since a copy of a process has none of them. If it does, the workers
    ///   are started by [`StartMethod::Spawn`], and [`PoolStats::warnings`] names the threads. Threads that have ended are no
    ///   concern.
    /// - Handlers of `pthread_atfork(3)` do not run.
    /// - A process that a task makes by `fork(2)` alone is not found when its worker was killed; a program that it executes is.
    /// - One process more than workers belongs to the pool.
    ///
    /// [`PoolStats::warnings`]: crate::PoolStats::warnings
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.options.start_method = method;
        self
    }

    /// Sets how long a worker may take to end after SIGTERM before it gets SIGKILL. Default: 1 second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// Sets a function that each worker runs before its first task, each later replacement included. The function
    /// returns `()`, or a `Result`.
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
    ///
    /// let connect = |address: String| if address.is_empty() { Err("no address") } else { Ok(()) };
    /// let error = Pool::builder().processes(1).initializer(connect, (String::new(),)).build().unwrap_err();
    /// assert!(error.is_initializer() && error.to_string().contains("no address"), "{error}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If it panics or returns an `Err`, [`PoolBuilder::build`] gives [`Error::is_initializer`].
    pub fn initializer<F, A>(mut self, f: F, args: A) -> Self
    where
        A: Args,
        F: Task<A, Output: Completion>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        let made = Routine::new("initializer", routines::entry::<F, A, Nothing>(), &args);
        self.options.routines.initializer = self.options.routine(made);
        self
    }

    /// Sets a function that each worker runs when it leaves in order: when the pool is closed, has become smaller, or
    /// replaces the worker after its share of tasks. A worker that is killed, or whose pool is terminated or dropped,
    /// does not run it. The function returns `()`, or a `Result`.
    ///
    /// ```
    /// use multiproc::{Pool, RawValue};
    ///
    /// let left = RawValue::new(0u32);
    /// let pool = Pool::builder()
    ///     .processes(2)
    ///     .finalizer(|left: RawValue<u32>| assert!(left.fetch_add(1) < 2), (left.clone(),))
    ///     .build()?;
    /// pool.close();
    /// pool.join()?;
    /// assert_eq!(left.get(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If it panics or returns an `Err`, that is reported on stderr, and nothing else happens.
    pub fn finalizer<F, A>(mut self, f: F, args: A) -> Self
    where
        A: Args,
        F: Task<A, Output: Completion>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        let made = Routine::new("finalizer", routines::entry::<F, A, Nothing>(), &args);
        self.options.routines.finalizer = self.options.routine(made);
        self
    }

    /// Sets a function that makes what each worker keeps between tasks: an open file, a connection, a cache. Tasks
    /// get it by [`Pool::on_state`].
    ///
    /// It never leaves its worker, so it needs no `Serialize`, nor `Send`.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::builder().processes(1).state(|start: u64| vec![start], (1,)).build()?;
    /// let sums = pool.on_state().tasks(
    ///     |seen, x| {
    ///         seen.push(x);
    ///         seen.iter().sum::<u64>()
    ///     },
    ///     [10, 100],
    /// );
    /// assert_eq!(sums.run()?, [11, 111]);
    ///
    /// // After a panic it is made again.
    /// pool.on_state().task(|seen: &mut Vec<u64>| seen[99], ()).run().unwrap_err();
    /// assert_eq!(pool.on_state().task(|seen: &mut Vec<u64>| seen.len(), ()).run()?, 1);
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
        let () = Captures::<F>::NOTHING;
        let _ = f;
        self.with_state(Routine::new("state", routines::entry::<F, A, Plain>(), &args))
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
        let () = Captures::<F>::NOTHING;
        let _ = f;
        self.with_state(Routine::new("state", routines::entry::<F, A, Fallible>(), &args))
    }

    fn with_state<T>(mut self, made: Result<(Routine, Pins)>) -> PoolBuilder<T> {
        self.options.routines.state = self.options.routine(made);
        PoolBuilder { options: self.options, state: PhantomData }
    }

    /// Notes why the pool cannot be had, for [`PoolBuilder::build`].
    pub(super) fn refuse(mut self, error: Error) -> Self {
        self.options.refused.get_or_insert(error);
        self
    }

    /// Writes a trace of which worker ran what when into a file, for [Perfetto](https://ui.perfetto.dev) or
    /// `chrome://tracing`.
    ///
    /// Each worker is a row; each frame of tasks is a box with the name of the function, the number of its first task and
    /// how many there were. Frames that come faster than they can be written are left out, and their number stands at the
    /// end. The trace is complete when the pool is dropped.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let path = std::env::temp_dir().join(format!("trace-{}.json", std::process::id()));
    /// let pool = Pool::builder().processes(2).trace_to(&path).build()?;
    /// pool.map(|x: u64| x * x, 0..100)?;
    /// drop(pool);
    /// let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?).unwrap();
    /// let counts = trace.as_array().unwrap().iter().filter_map(|event| event["args"]["count"].as_u64());
    /// assert_eq!(counts.sum::<u64>(), 100);
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A file that cannot be created is an error of [`PoolBuilder::build`].
    pub fn trace_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.trace = Some(path.into());
        self
    }

    /// Lets at most `n` calls be under way that nobody waits in: those of [`Call::submit`](crate::Call::submit) and the `_async`
    /// methods, until they are complete. `submit` waits then until one is complete, and
    /// [`Call::try_submit`](crate::Call::try_submit) gives the call back. So a program that makes calls faster than the workers
    /// run them does not fill its memory.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::builder().processes(2).max_pending(8).build()?;
    /// for n in 0..100u32 {
    ///     pool.apply_async(|n: u32| n * n, (n,))?.detach(); // Waits while 8 of them are under way.
    /// }
    /// pool.close();
    /// pool.join()?;
    /// assert_eq!(pool.stats().tasks, 100);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A call of many items counts as one. Calls that block or iterate do not count, since they read their input only as
    /// there is room. A callback does not wait, since calls end by what runs on its thread: its calls are made all the same.
    /// Who waits when the pool is closed, drained or terminated gets that as the error.
    ///
    /// 0 is [`Error::is_invalid_argument`] of [`PoolBuilder::build`].
    pub fn max_pending(mut self, n: usize) -> Self {
        if n == 0 {
            return self.refuse(Error::invalid_argument("at least 1 call must be allowed to be pending"));
        }
        self.options.max_pending = Some(n);
        self
    }

    /// Drains the pool when this program is sent one of `signals`, as [`Pool::drain`](crate::Pool::drain) does, without a limit
    /// of time; a second signal terminates it at once.
    ///
    /// This is for services, which are told to stop by SIGTERM. The program itself goes on: calls that need the pool get their
    /// errors, [`Pool::join`](crate::Pool::join) waits until all that runs has ended, and `main` returns.
    ///
    /// ```
    /// use multiproc::{Event, Pool};
    /// use std::process::Command;
    /// use std::time::Duration;
    ///
    /// const SIGTERM: i32 = 15;
    ///
    /// let pool = Pool::builder().processes(1).drain_on(&[SIGTERM]).build()?;
    /// let begun = Event::new();
    /// let work = |begun: Event| {
    ///     begun.set();
    ///     std::thread::sleep(Duration::from_millis(100));
    /// };
    /// let running = pool.apply_async(work, (begun.clone(),))?;
    /// begun.wait();
    /// Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status()?;
    ///
    /// while pool.apply(|| (), ()).is_ok() {} // The service.
    /// pool.join()?;
    /// assert!(running.get().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// The signal loses its usual effect for as long as the pool lives; then it has its former one again. A handler that the
    /// program had for it is called as well. Workers are not protected: the signal must be sent to the program alone, as
    /// `kill PID`, containers, and systemd with `KillMode=mixed` do.
    ///
    /// A signal that no program can take, and one that means a fault of its own code such as SIGSEGV, is
    /// [`Error::is_invalid_argument`] of [`PoolBuilder::build`].
    pub fn drain_on(mut self, signals: &[i32]) -> Self {
        self.options.drain_on = signals.to_vec();
        self
    }

    /// Calls `f` with what happens to the workers: each is started, becomes ready, leaves or dies, and is replaced.
    ///
    /// `f` runs on the thread where callbacks run ([`AsyncResult::callback`](crate::AsyncResult::callback)), with one event
    /// after the other, in their order; so it may use a pool, and should be quick. What it is told of the end of the pool may
    /// come after the pool was dropped. If it panics, that is reported on stderr, and it is called with the next event.
    ///
    /// ```
    /// use multiproc::{Pool, WorkerEvent};
    /// use std::sync::mpsc::channel;
    ///
    /// let (tell, told) = channel();
    /// let pool = Pool::builder().processes(1).on_worker(move |event| drop(tell.send(event.clone()))).build()?;
    /// pool.apply(|| -> () { std::process::exit(3) }, ()).unwrap_err();
    /// let died = told.iter().find(|event| matches!(event, WorkerEvent::Died { .. })).unwrap();
    /// assert!(died.to_string().ends_with("has died: exited with code 3"));
    /// let replaced = told.iter().find(|event| matches!(event, WorkerEvent::Replaced { .. })).unwrap();
    /// assert_eq!((died.worker(), replaced.worker()), (0, 0));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn on_worker(mut self, f: impl Fn(&WorkerEvent) + Send + Sync + 'static) -> Self {
        self.options.on_worker = Some(WorkerHook::new(f));
        self
    }

    /// Makes a pool without workers: tasks run on the thread that waits for them, one after the other, so that a debugger or a
    /// profiler sees them where they were called from. `MULTIPROC_INLINE=1` in the environment does that for all pools of a
    /// program.
    ///
    /// ```
    /// use std::thread::current;
    ///
    /// let pool = multiproc::Pool::builder().inline().build()?;
    /// let thread = |_: u32| format!("{:?}", current().id());
    /// let own = format!("{:?}", current().id());
    /// assert_eq!(pool.map(thread, 0..2)?, [own.clone(), own]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// It has the same calls. Arguments and results travel as bytes all the same, and a panic is the error of its task. What
    /// differs:
    ///
    /// - The number of workers, [`Pool::resize`], time limits, and what only processes can have (environment, CPUs, output,
    ///   memory limits, the kind of link) have no effect, so that a program runs under a debugger as it is.
    /// - [`Call::submit`](crate::Call::submit) and its kind run the tasks before they return.
    /// - Each thread that waits for results runs the initializer and makes a state of its own. If several wait, each may
    ///   run tasks of another one.
    /// - A task that crashes or exits takes the program with it, and a task that waits for results of the same pool gets
    ///   [`Error::is_broken`].
    pub fn inline(mut self) -> Self {
        self.options.inline = true;
        self
    }

    /// Starts the workers and waits until each is ready.
    ///
    /// # Errors
    ///
    /// See [`Pool::new`], and [`Error::is_initializer`].
    pub fn build(self) -> Result<Pool<S>> {
        #[cfg(feature = "cluster")]
        let hears = self.options.cluster.on_node.is_some();
        let started = self.options.start();
        // Whoever hears of nodes has heard what became of them before the error.
        #[cfg(feature = "cluster")]
        if hears && started.is_err() {
            callbacks::catch_up(Duration::from_secs(1));
        }
        started.map(|(engine, attached)| Pool::of(engine, attached))
    }

    /// Starts the workers as threads of this process, and waits until each is ready; see [`ThreadPool`].
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(2).state(|| 0u64, ()).build_threads()?;
    /// let sums = pool.on_state().tasks(|sum, x: u64| { *sum += x; *sum }, [1, 2, 3]).run()?;
    /// assert!(sums.iter().all(|sum| (1..=6).contains(sum)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`PoolBuilder::build`]. [`Error::is_invalid_argument`] as well for an option that only processes can have: their
    /// environment, CPUs, output, memory, and the kind of their link.
    pub fn build_threads(mut self) -> Result<ThreadPool<S>> {
        self.options.on_threads = true;
        self.options.start().map(|(engine, attached)| ThreadPool::of(Pool::of(engine, attached)))
    }
}
