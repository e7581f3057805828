//! [`PoolBuilder`]: a pool with options.

use crate::codec;
use crate::engine::core::{Core, Engine};
use crate::engine::launch::spawn::Spawn;
use crate::engine::worker::{Startup, initializer_entry};
use crate::error::{Error, Result};
use crate::heap::scope::Pins;
use crate::ipc::bell::Bell;
use crate::ipc::link::LinkKind;
use crate::pool::Pool;
use crate::process::args::{Args, Task};
use crate::process::bootstrap::check_host;
use crate::process::identity::FnRef;
use crate::process::returns::assert_captures_nothing;
use crate::sys::cpu::cpu_count;
use crate::sys::memory;
use crate::sys::reactor::fork_generation;
use parking_lot::{Condvar, Mutex};
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
pub struct PoolBuilder {
    processes: Option<usize>,
    name: String,
    link: LinkKind,
    grace: Duration,
    startup: Option<Result<(Startup, Pins)>>,
    max_tasks: Option<u32>,
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder {
            processes: None,
            name: "worker".to_owned(),
            link: LinkKind::default(),
            grace: Duration::from_secs(1),
            startup: None,
            max_tasks: None,
        }
    }
}

impl PoolBuilder {
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
        let encoded = codec::pack(|out| args.encode(out)).map_err(|error| {
            Error::invalid_argument(format!("the arguments of the initializer could not be serialised: {}", error.0))
        });
        let function = FnRef::of(initializer_entry::<F, A>());
        self.startup =
            Some(encoded.and_then(|args| Ok((Startup { function: function?, args: args.bytes }, args.pins))));
        self
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
        self.max_tasks = Some(n.get());
        self
    }

    /// Starts the workers and waits until each is ready.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`], and [`Error::is_initializer`].
    pub fn build(self) -> Result<Pool> {
        check_host()?;
        let processes = self.processes.unwrap_or_else(cpu_count);
        if processes == 0 {
            return Err(Error::invalid_argument("a pool needs at least 1 process, not 0"));
        }
        let (startup, pins) = self.startup.transpose()?.unzip();
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
            startup,
            pins: pins.unwrap_or_default(),
        };
        let engine = Arc::new(Engine {
            core: Mutex::new(Core::new(processes, self.max_tasks)),
            bell,
            launcher: Box::new(launcher),
            background: Condvar::new(),
            workforce: Condvar::new(),
            grace: self.grace,
            generation: fork_generation(),
        });
        engine.build()?;
        Ok(Pool { engine })
    }
}
