//! Starting a [`Process`]: its options, and the wait until it is ready.

use crate::codec::{self, Packed, Payload};
use crate::error::{Error, Result};
use crate::heap::scope::{Pins, attached_in};
use crate::identity::{Entry, FnRef};
use crate::ipc::control::{ChildKind, Reply};
use crate::ipc::parcel::Parcel;
use crate::portable::Captures;
use crate::process::args::{Args, Task};
use crate::process::body::{self, First, Run, Setup, function_entry, initializer_entry};
use crate::process::handle::{Process, ProcessHandle};
use crate::process::returns::{Completion, Fallible, Plain};
use crate::process::role::Host;
use crate::process::start::{News, Start, Way, control_pair};
use crate::process::surroundings::Surroundings;
use crate::process::template::StartMethod;
use crate::process::{children, current, pristine};
use parking_lot::{Condvar, Mutex};
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

impl Process<()> {
    /// Starts a process that calls `f` with `args`.
    ///
    /// Returns once it is ready to call it.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn greet(name: String) -> String {
    ///     format!("hello, {name}")
    /// }
    ///
    /// let process = Process::spawn(greet, ("bob".to_owned(),))?;
    /// assert_eq!(process.join()?, "hello, bob");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::is_start`]: it could not be started, or ended before it was ready, or this process is exiting.
    /// - [`Error::is_invalid_argument`]: the arguments could not be serialised; the name contains a NUL.
    /// - [`Error::is_initializer`]: the function of [`ProcessBuilder::initializer`] failed.
    /// - [`Error::is_daemonic`]: this process is daemonic, and such processes are not allowed to have children.
    /// - [`Error::is_not_initialized`], [`Error::is_foreign_host`]: this program cannot be started again.
    ///
    /// # Panics
    ///
    /// A panic of an argument's `Serialize` goes through to the caller. A panic of `f` is the error of
    /// [`Process::join`].
    pub fn spawn<F, A>(f: F, args: A) -> Result<Process<F::Output>>
    where
        A: Args,
        F: Task<A, Output: Payload>,
    {
        Process::builder().spawn(f, args)
    }

    /// Like [`Process::spawn`], for a function that can fail: an `Err` is the failure of the process.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let parse = |text: String| text.parse::<u8>();
    /// assert_eq!(Process::try_spawn(parse, ("7".to_owned(),))?.join()?, 7);
    ///
    /// let process = Process::try_spawn(parse, ("x".to_owned(),))?;
    /// process.wait();
    /// assert_eq!(process.exitcode(), Some(1));
    /// assert!(process.join().unwrap_err().is_error());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Process::spawn`].
    ///
    /// # Panics
    ///
    /// See [`Process::spawn`].
    pub fn try_spawn<F, A, R, E>(f: F, args: A) -> Result<Process<R>>
    where
        A: Args,
        F: Task<A, Output = Result<R, E>>,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        Process::builder().try_spawn(f, args)
    }

    /// Returns a builder for a process with a name, or a daemonic one.
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::default()
    }
}

/// Options of a [`Process`].
///
/// ```
/// use multiproc::Process;
///
/// let process = Process::builder().name("pulse").daemon(true).spawn(|| std::thread::park(), ())?;
/// assert_eq!((process.name(), process.daemon()), ("pulse", true));
/// // It ends with this program.
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct ProcessBuilder {
    name: Option<String>,
    daemon: bool,
    serves: bool,
    start_method: StartMethod,
    initializer: Option<Result<Initializer>>,
    pub(super) surroundings: Surroundings,
}

/// What a process calls before its function.
#[derive(Clone, Debug)]
struct Initializer {
    function: &'static Entry<Run>,
    args: Packed,
}

impl ProcessBuilder {
    /// Sets the name of the process, in errors and for `ps` and `top`. Default: `Process-1`, `Process-2` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets whether the process is daemonic: when this process exits, it ends its daemonic children and waits for the
    /// others. A daemonic process is not allowed to have children. Default: `false`.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Sets a function that the process calls before its own, on the same thread. The function returns `()`, or a `Result`.
    ///
    /// ```
    /// use multiproc::Process;
    /// use std::sync::OnceLock;
    ///
    /// static NAME: OnceLock<String> = OnceLock::new();
    ///
    /// let set = |name: String| NAME.set(name);
    /// let process = Process::builder().initializer(set, ("bob".to_owned(),)).spawn(|| NAME.get().cloned(), ())?;
    /// assert_eq!(process.join()?.as_deref(), Some("bob"));
    ///
    /// let fail = || Err::<(), _>("no license");
    /// let error = Process::builder().initializer(fail, ()).spawn(|| (), ()).unwrap_err();
    /// assert!(error.is_initializer() && error.to_string().contains("no license"), "{error}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// If it panics or returns an `Err`, [`ProcessBuilder::spawn`] gives [`Error::is_initializer`].
    pub fn initializer<F, A>(mut self, f: F, args: A) -> Self
    where
        A: Args,
        F: Task<A, Output: Completion>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        let function = initializer_entry::<F, A>();
        self.initializer = Some(pack(&args, "initializer").map(|args| Initializer { function, args }));
        self
    }

    /// A process of the library's own that serves others: it ends with this one, as a daemonic process does, but does not
    /// heed SIGINT, and user code that it runs may have children.
    pub(crate) fn serves(mut self) -> Self {
        (self.daemon, self.serves) = (true, true);
        self
    }

    /// Sets how the process comes to be. Default: [`StartMethod::Spawn`], which executes this program.
    ///
    /// With [`StartMethod::Template`] it is a copy of a template, a process more that this one starts with the first such
    /// process, and that ends with this one. The template has done nothing, so that a process is as fresh as an executed one,
    /// and there earlier. An environment from which variables are taken away, a folder and a process group it cannot be given:
    /// that is [`Error::is_invalid_argument`].
    ///
    /// ```
    /// use multiproc::{Process, StartMethod};
    ///
    /// let builder = || Process::builder().start_method(StartMethod::Template);
    /// let processes = (0..8).map(|n: u64| builder().spawn(|n: u64| n * n, (n,))).collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(multiproc::join_all(processes)?, [0, 1, 4, 9, 16, 25, 36, 49]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// Starts it, see [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// See [`Process::spawn`].
    ///
    /// # Panics
    ///
    /// See [`Process::spawn`].
    pub fn spawn<F, A>(self, f: F, args: A) -> Result<Process<F::Output>>
    where
        A: Args,
        F: Task<A, Output: Payload>,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        self.start(function_entry::<F, A, Plain>(), &args).map(Process::new)
    }

    /// Starts it, see [`Process::try_spawn`].
    ///
    /// # Errors
    ///
    /// See [`Process::spawn`].
    ///
    /// # Panics
    ///
    /// See [`Process::spawn`].
    pub fn try_spawn<F, A, R, E>(self, f: F, args: A) -> Result<Process<R>>
    where
        A: Args,
        F: Task<A, Output = Result<R, E>>,
        R: Payload,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        let () = Captures::<F>::NOTHING;
        let _ = f;
        self.start(function_entry::<F, A, Fallible>(), &args).map(Process::new)
    }

    fn start<A: Args>(self, function: &'static Entry<Run>, args: &A) -> Result<ProcessHandle> {
        self.launch(function, pack(args, "process")?)
    }

    fn launch(self, function: &'static Entry<Run>, args: Packed) -> Result<ProcessHandle> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let host = Host::check()?;
        children::prepare()?;
        let path = format!("{}{}", current::path(), COUNT.fetch_add(1, Relaxed));
        let name = self.name.unwrap_or_else(|| format!("Process-{path}"));
        if name.contains('\0') {
            return Err(Error::invalid_argument("the name of a process cannot contain a NUL"));
        }
        let failed = |error: io::Error| Error::start(format!("a process could not be started: {error}"));
        let Packed { bytes, mut pins } = args;
        let initializer = match self.initializer.transpose()? {
            None => None,
            Some(Initializer { function, args }) => {
                let sets = attached_in(&args.pins).len();
                pins.extend(args.pins);
                Some(First { function: FnRef::of(function)?, args: args.bytes, sets })
            }
        };
        if self.start_method != StartMethod::Spawn && self.surroundings.needs_execution() {
            return Err(Error::invalid_argument(
                "an environment from which variables are taken away, a folder, and a process group are given to a process when \
                 this program is executed: start it by `StartMethod::Spawn`",
            ));
        }
        let (options, stdin, ends) = self.surroundings.open()?;
        let (args, file) = Parcel::pack(bytes).map_err(failed)?;
        let setup = Setup {
            function: FnRef::of(function)?,
            args,
            initializer,
            limits: self.surroundings.limits.clone(),
            stdin: stdin.is_some(),
            daemon: self.daemon && !self.serves,
            interruptible: !self.serves,
            path: format!("{path}:"),
        };
        let (control, socket) = control_pair().map_err(failed)?;
        let (own_name, ours, attached) = (name.clone(), control.clone(), attached_in(&pins));
        let start = move |_: Way| Start {
            host,
            kind: ChildKind::Ordinary,
            name: own_name,
            role: body::entry(),
            setup: codec::to_bytes(&setup),
            fds: file.into_iter().chain(stdin).map(Arc::new).collect(),
            attached,
            socket,
            control: ours,
            options,
            descendants: None,
        };
        let waiter = Arc::new(StartWaiter::default());
        let told = Arc::clone(&waiter);
        // Taken by the one handle that is made.
        let ends = Mutex::new(ends);
        let handle = move |child| {
            let ends = std::mem::take(&mut *ends.lock());
            ProcessHandle::new(child, control.clone(), name.clone(), function.name(), self.daemon, ends)
        };
        // What the arguments refer to is kept as long as the process lives.
        let tell = move |news| told.hear(news, &handle, &pins);
        match self.start_method {
            StartMethod::Spawn => start(Way::Executed).start(tell)?,
            StartMethod::Template => pristine::template(host).start(start, tell)?,
        }
        waiter.wait()
    }
}

fn pack<A: Args>(args: &A, what: &str) -> Result<Packed> {
    codec::pack(|out| args.encode(out)).map_err(|error| {
        Error::invalid_argument(format!("the arguments of the {what} could not be serialised: {}", error.0))
    })
}

/// A process on its way into life: heard of on the reactor's thread, waited for by the one that starts it.
#[derive(Default)]
struct StartWaiter {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    handle: Option<ProcessHandle>,
    /// What it has said, or what was said of it, before it was ready.
    complaint: Option<Error>,
    outcome: Option<Result<ProcessHandle>>,
}

impl StartWaiter {
    fn hear(&self, news: News, make: &dyn Fn(Arc<crate::sys::child::Child>) -> ProcessHandle, pins: &Pins) {
        let mut state = self.state.lock();
        match news {
            News::Started(child) => {
                // It was sent.
                attached_in(pins).iter().for_each(|attached| attached.close());
                let handle = make(child);
                children::add(handle.clone());
                state.handle = Some(handle);
            }
            News::Replied(Reply::Ready) => state.outcome = state.handle.clone().map(Ok),
            News::Replied(Reply::Refused(cause)) => {
                state.complaint = Some(Error::start(format!("a process could not start: {cause}")));
            }
            News::Silent => {
                state.complaint = Some(Error::start("a process did not become ready in time and was killed"));
            }
            // That is for templates.
            News::Replied(Reply::Threads(_)) => {}
            News::Replied(Reply::Initializer(error)) => state.complaint = Some(Error::initializer(error)),
            News::Impossible(error) => state.outcome = Some(Err(error)),
            News::Exited(death, held) => {
                let Some(handle) = state.handle.take() else { return };
                // What its last message refers to must be taken hold of before its own hold is released.
                handle.receive();
                drop(held);
                children::remove(&handle);
                if state.outcome.is_none() {
                    let (pid, exit) = (handle.pid(), death.exit);
                    let died = || Error::died(format!("process {pid} {exit} before it was ready"), death);
                    state.outcome = Some(Err(state.complaint.take().unwrap_or_else(died)));
                }
            }
        }
        // That it exists is not enough, and a wake-up takes the CPU away from what comes next.
        if state.outcome.is_some() {
            self.changed.notify_one();
        }
    }

    /// Waits until it is ready, or has failed.
    fn wait(&self) -> Result<ProcessHandle> {
        let mut state = self.state.lock();
        loop {
            match state.outcome.take() {
                Some(outcome) => return outcome,
                // Cannot last: a child that was started becomes ready, ends, or is killed at its deadline.
                None => self.changed.wait(&mut state),
            }
        }
    }
}
