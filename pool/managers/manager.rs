//! [`Manager`]: starts a server and ends it.

use crate::channels::channel::try_channel;
use crate::error::{Error, Result};
use crate::managers::handle::{Knock, ManagerHandle};
use crate::managers::request;
use crate::managers::server::serve;
use crate::portable::Captures;
use crate::process::args::{Args, Task};
use crate::process::handle::Process;
use crate::sys::child::own_pid;
use crate::sys::time::Deadline;
use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// How long a server may take to end, if nothing else is said; as long as Python's.
const GRACE: Duration = Duration::from_secs(1);

/// A server process that holds objects, which other processes call functions on: Python's `multiprocessing.Manager`.
///
/// ```
/// use multiproc::{DictProxy, Manager, Pool};
///
/// fn count(words: DictProxy<String, u64>, word: String) {
///     words.update(&word, |count: &mut u64| *count += 1).unwrap();
/// }
///
/// let manager = Manager::new()?;
/// let words = manager.dict([])?;
/// let pool = Pool::new(2)?;
/// pool.starmap(count, ["a", "b", "a"].map(|word| (words.clone(), word.to_owned())))?;
/// assert_eq!(words.get("a")?, Some(2));
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// For data that fits into shared memory there are quicker ways: a [`Value`](crate::Value) or [`Array`](crate::Array) of
/// numbers, a [`Queue`](crate::Queue). Queues, locks, events and barriers need no manager: theirs are handles that travel
/// anywhere.
///
/// # The life of a manager
///
/// - **The server** is this program, started again, as a [`Process`](crate::Process) is. It ends when the `Manager` is dropped,
///   or when this process ends, however it does. What [`Manager::shutdown`] waits for is in its documentation.
/// - **Objects** live in the server, each behind a lock of its own: calls of one object run one after the other, calls of
///   different objects at the same time. Each thread that calls has a thread in the server that carries its calls out.
/// - **Proxies** ([`Proxy`](crate::Proxy) and what dereferences to it) are handles: they travel in arguments, results, items of
///   queues, and other objects of managers. An object goes with its last proxy, of all processes. Proxies that refer to each
///   other in a circle keep their objects until the server ends.
/// - **A function that panics** is an error of its caller. The object stays as the function has left it, and is as usable as
///   before.
/// - In the server, functions may call other objects through proxies, without leaving the process. One that calls the object
///   that it was called on is told so ([`ManagerError::is_would_deadlock`](crate::ManagerError::is_would_deadlock)).
///
/// # If a process dies
///
/// A call that a dead process has begun comes to its end; one that waits for its object is not begun; the proxies of
/// the process are given back, but for one that it was just taking or dropping, whose object stays until the server ends.
/// If the server dies, all calls end with [`ManagerError::is_gone`](crate::ManagerError::is_gone) within 100 ms, and the
/// objects are lost.
pub struct Manager {
    handle: ManagerHandle,
    /// The server.
    process: Process<()>,
    grace: Duration,
    /// The process that has started it: a fork of that must not end it.
    owner: i32,
}

impl Manager {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// See [`Process::spawn`](crate::Process::spawn). [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn new() -> Result<Manager> {
        Manager::builder().start()
    }

    /// Returns a builder for a manager with a name, an initializer, or another time to end in.
    ///
    /// ```
    /// let manager = multiproc::Manager::builder().name("books").start()?;
    /// assert_eq!(manager.value(1)?.get()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder { name: None, initializer: None, grace: GRACE }
    }

    /// Returns a handle, to make objects in other processes.
    pub fn handle(&self) -> ManagerHandle {
        self.handle.clone()
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Returns whether the server has not ended yet.
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Ends the server, and waits until it has ended. Dropping the manager does the same.
    ///
    /// Calls that have begun come to their end, no other begins, and all objects are dropped. If that takes longer than
    /// [`ManagerBuilder::grace`] the server is killed.
    ///
    /// ```
    /// let manager = multiproc::Manager::new()?;
    /// let value = manager.value(1)?;
    /// assert!(manager.is_alive());
    /// manager.shutdown();
    /// assert!(value.get().unwrap_err().is_gone());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn shutdown(self) {
        drop(self);
    }

    fn end(&self) {
        let deadline = Deadline::after(self.grace);
        // An error means that it has ended, or that nobody minds its door.
        let _ = self.handle.knock(Knock::Stop, deadline);
        if !self.process.wait_timeout(deadline.remaining().unwrap_or(Duration::MAX)) {
            self.process.kill();
            self.process.wait();
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if own_pid() == self.owner {
            self.end();
        }
    }
}

impl Deref for Manager {
    type Target = ManagerHandle;

    fn deref(&self) -> &ManagerHandle {
        &self.handle
    }
}

/// Becomes readable once the server has ended.
impl AsFd for Manager {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("server", &self.process).finish_non_exhaustive()
    }
}

/// Runs the initializer in a server.
type Initializer = Box<dyn FnOnce(&ManagerHandle) -> Result<()> + Send>;

/// Options of a [`Manager`].
///
/// ```
/// use multiproc::{Manager, current_process};
///
/// fn prepare(directory: String) {
///     std::env::set_current_dir(directory).unwrap();
/// }
///
/// let manager = Manager::builder().name("registry").initializer(prepare, ("/".to_owned(),)).start()?;
/// let value = manager.value(String::new())?;
/// let look = |_: &mut String| (current_process().name().to_owned(), std::env::current_dir().unwrap());
/// assert_eq!(value.call(look, ())?, ("registry".to_owned(), "/".into()));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "a builder does nothing until `start`"]
pub struct ManagerBuilder {
    name: Option<String>,
    initializer: Option<Initializer>,
    grace: Duration,
}

impl ManagerBuilder {
    /// Sets the name of the server, in errors and for `ps` and `top`. Default: `Process-1`, `Process-2` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets a function that the server runs before all else.
    pub fn initializer<F, A>(mut self, f: F, args: A) -> Self
    where
        A: Args + Send,
        F: Task<A, Output = ()>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        let run = move |handle: &ManagerHandle| {
            handle.ask::<(), A>(0, request::run_entry::<F, A>(), &args, Deadline::NEVER).map_err(Error::from)
        };
        self.initializer = Some(Box::new(run));
        self
    }

    /// Sets how long the server may take to end when it is told to. Default: 1 second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts the server, and waits until it is there.
    ///
    /// # Errors
    ///
    /// See [`Manager::new`]; and the error of the initializer, see [`Error::manager`].
    pub fn start(self) -> Result<Manager> {
        let handle = ManagerHandle::without_server()?;
        let (ready, is_ready) = try_channel(1)?;
        let builder = Process::builder().serves();
        let builder = if let Some(name) = self.name { builder.name(name) } else { builder };
        let process = builder.try_spawn(serve, (handle.clone(), ready))?;
        if is_ready.recv().is_err() {
            process.join()?;
            return Err(Error::start("the server of a manager ended before it was ready"));
        }
        let manager = Manager { handle, process, grace: self.grace, owner: own_pid() };
        if let Some(initialize) = self.initializer {
            initialize(&manager)?;
        }
        Ok(manager)
    }
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ManagerBuilder { name, grace, .. } = self;
        f.debug_struct("ManagerBuilder").field("name", name).field("grace", grace).finish_non_exhaustive()
    }
}
