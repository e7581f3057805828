//! [`Process`] and [`ProcessHandle`]: a process that was started, to wait for it, to signal it, and to have its result.

use crate::codec::{self, CodecError, Payload};
use crate::error::{Exit, Failure, ProcessError, ProcessKind};
use crate::heap::scope::{self, Pin, Pins, attached_in};
use crate::ipc::control::Control;
use crate::ipc::handles;
use crate::ipc::link::MOST_ATTACHED;
use crate::ipc::parcel::Contents;
use crate::process::body::Report;
use crate::process::panic;
use crate::process::surroundings::Ends;
use crate::sys::child::{Child, ChildSignal};
use crate::sys::time::Deadline;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A process that runs one function, and whose result can be had.
///
/// It is this program, started again: it runs the function and nothing else, not `main`. Arguments and result travel
/// between the processes. What does not need the result is in [`ProcessHandle`], to which it dereferences: waiting,
/// signals, the exit code.
///
/// ```
/// use multiproc::Process;
///
/// fn sum(numbers: Vec<u64>) -> u64 {
///     numbers.iter().sum()
/// }
///
/// let process = Process::spawn(sum, (vec![1, 2, 3],))?;
/// assert!(process.name().starts_with("Process-"));
/// assert_eq!(process.join()?, 6);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # The life of a process
///
/// - The process ends when the function has returned, with exit code 0; threads that it has left running end with it.
///   Handlers of `atexit(3)` are run, and what the standard streams hold is written.
/// - A panic, or an `Err` of [`Process::try_spawn`], is exit code 1; what happened is written to the process's stderr,
///   and is the error of [`Process::join`].
/// - The new process has an empty stdin, and the stdout and stderr of this process. SIGINT and SIGTERM end it, whatever
///   this process does with them.
/// - **Dropping the handle detaches**: the process goes on.
/// - **When this process exits** (`main` returns, or panics, or calls `exit`), it sends SIGTERM to its daemonic
///   children and SIGKILL a second later, and waits for all the others, however long they take.
/// - **When this process is killed**, or aborts, all its children end at once.
///
/// A function that captures, and a function pointer, is refused when the program is built; pass what it captures as an
/// argument.
///
/// ```compile_fail
/// let factor = 3;
/// multiproc::Process::spawn(move |x: i32| x * factor, (2,)).unwrap();
/// ```
#[must_use = "dropping it detaches the process: call `join`, or `drop` to say that this is meant"]
pub struct Process<R> {
    handle: ProcessHandle,
    result: PhantomData<fn() -> R>,
}

impl<R: Payload> Process<R> {
    pub(crate) fn new(handle: ProcessHandle) -> Process<R> {
        Process { handle, result: PhantomData }
    }

    /// Waits until the process has ended, and returns what its function returned.
    ///
    /// ```
    /// let process = multiproc::Process::spawn(u64::pow, (2, 10))?;
    /// assert_eq!(process.join()?, 1024);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ProcessError::is_panic`], [`ProcessError::is_error`]: the function panicked, or returned an `Err` (of
    ///   [`Process::try_spawn`]).
    /// - [`ProcessError::is_lost`]: the process ended before the function returned: it was killed, or called `exit`, be
    ///   it with code 0.
    /// - [`ProcessError::is_encode`], [`ProcessError::is_decode`]: a value could not be sent or read.
    pub fn join(self) -> Result<R, ProcessError> {
        self.handle.wait();
        self.result()
    }

    /// Waits like [`Process::join`], but no longer than `timeout`; `None` if the process still runs then.
    ///
    /// It may be called again, also after it has given the result: every call decodes it anew.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let process = multiproc::Process::spawn(|| std::thread::sleep(Duration::from_secs(100)), ())?;
    /// assert!(process.join_timeout(Duration::from_millis(10)).is_none());
    /// process.kill();
    /// assert_eq!(process.join().unwrap_err().signal(), Some(9));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Process::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Option<Result<R, ProcessError>> {
        self.handle.wait_timeout(timeout).then(|| self.result())
    }

    /// The result of a process that has ended.
    pub(super) fn result(&self) -> Result<R, ProcessError> {
        let kind = match self.handle.shared.received() {
            Received::Value(contents, pins) => match read(contents, pins) {
                Ok(value) => return Ok(value),
                Err(CodecError(text)) => Failure::Decode { text }.into(),
            },
            Received::Failure(failure) => failure.clone().into(),
            Received::Nothing => ProcessKind::Ended { death: self.handle.shared.child.death().clone() },
        };
        let Shared { name, function, child, .. } = &*self.handle.shared;
        Err(ProcessError::new(kind, name, function, child.pid()))
    }
}

impl<R> Deref for Process<R> {
    type Target = ProcessHandle;

    fn deref(&self) -> &ProcessHandle {
        &self.handle
    }
}

impl<R> AsFd for Process<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.describe("Process", f)
    }
}

/// A process that was started with [`Process`], without its result; from [`active_children`](crate::active_children).
///
/// A clone is another handle of the same process; dropping the last one detaches. Signals never hit a stranger: a
/// process that has ended gets none, even if its id is in use again.
#[derive(Clone)]
pub struct ProcessHandle {
    shared: Arc<Shared>,
}

struct Shared {
    child: Arc<Child>,
    control: Control,
    name: String,
    function: &'static str,
    daemon: bool,
    received: OnceLock<Received>,
    /// This process's ends of its standard streams, until somebody takes them.
    ends: Mutex<Ends>,
}

/// A result that contains handles may have so many bytes, since it is copied to take these off.
const MOST_WITH_HANDLES: usize = 1 << 30;

/// The longest description of a failure that is read, in bytes.
const MOST_OF_A_FAILURE: usize = 64 << 20;

/// What a process has left behind.
enum Received {
    /// With what it refers to.
    Value(Contents, Pins),
    Failure(Failure),
    /// It ended before it could say anything.
    Nothing,
}

impl Shared {
    /// What the process has said; it has ended.
    fn received(&self) -> &Received {
        self.received.get_or_init(|| match receive(&self.control) {
            Ok(received) => received,
            Err(error) => Received::Failure(Failure::Decode { text: format!("its last message: {error}") }),
        })
    }
}

/// Receives what a process that has ended has said.
fn receive(control: &Control) -> io::Result<Received> {
    match control.receive::<Report>(false) {
        Ok(Some((Report::Value(parcel), fds))) => Ok(Received::Value(parcel.open(fds.first())?, Pins::new())),
        Ok(Some((Report::Handles(parcel, count), fds))) => {
            let bytes = parcel.open(fds.first())?.to_vec(MOST_WITH_HANDLES)?;
            let (value, mut pins) = handles::take_off(bytes).ok_or(io::ErrorKind::InvalidData)?;
            let attached = control.receive_attached(0, count.min(MOST_ATTACHED), false)?;
            pins.extend(attached.into_iter().map(Pin::AttachedFds));
            Ok(Received::Value(Contents::Inline(value), pins))
        }
        Ok(Some((Report::Failure(parcel), fds))) => {
            let bytes = parcel.open(fds.first())?.to_vec(MOST_OF_A_FAILURE)?;
            let damaged = |error: CodecError| io::Error::new(io::ErrorKind::InvalidData, error.0);
            Ok(Received::Failure(codec::from_bytes(&bytes).map_err(damaged)?))
        }
        Ok(None) => Ok(Received::Nothing),
        // A process of its own may have kept the socket open.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
        Err(error) => Err(error),
    }
}

/// Reads the value that a process has returned.
fn read<R: Payload>(contents: &Contents, pins: &Pins) -> Result<R, CodecError> {
    scope::with_attached(attached_in(pins), || panic::decode(&mut contents.reader()))
}

impl ProcessHandle {
    pub(crate) fn new(
        child: Arc<Child>,
        control: Control,
        name: String,
        function: &'static str,
        daemon: bool,
        ends: Ends,
    ) -> ProcessHandle {
        let (received, ends) = (OnceLock::new(), Mutex::new(ends));
        ProcessHandle { shared: Arc::new(Shared { child, control, name, function, daemon, received, ends }) }
    }

    /// Takes what the process has said, which has ended.
    pub(crate) fn receive(&self) {
        self.shared.received();
    }

    pub(crate) fn child(&self) -> &Child {
        &self.shared.child
    }

    /// Whether both are handles of one process.
    pub(crate) fn is(&self, other: &ProcessHandle) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns the name of the process: given to the builder, or `Process-1`, `Process-2` and so on; `Process-1:2` is
    /// the second child of `Process-1`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the process id.
    pub fn pid(&self) -> i32 {
        self.child().pid()
    }

    /// Returns whether the process is daemonic: it is ended when this process exits.
    pub fn daemon(&self) -> bool {
        self.shared.daemon
    }

    /// Returns whether the process has not ended yet.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let process = multiproc::Process::spawn(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    /// assert!(process.is_alive());
    /// process.kill();
    /// process.wait();
    /// assert!(!process.is_alive());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn is_alive(&self) -> bool {
        self.child().try_reap().is_none()
    }

    /// Returns how the process ended: its exit code, or `-N` if signal `N` killed it; `None` while it runs.
    ///
    /// Also `None` if something else in this program has reaped it, and so has taken its status away;
    /// [`ProcessHandle::is_alive`] is false then.
    ///
    /// ```
    /// let process = multiproc::Process::spawn(|| -> () { std::process::exit(3) }, ())?;
    /// process.wait();
    /// assert_eq!(process.exitcode(), Some(3));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn exitcode(&self) -> Option<i32> {
        match self.child().try_reap()? {
            Exit::Code(code) => Some(code),
            Exit::Signal(signal) => Some(-signal),
            Exit::Unknown => None,
        }
    }

    /// Returns the pipe to the standard input of the process, once; `None` if it has none, see
    /// [`ProcessBuilder::stdin`](crate::ProcessBuilder::stdin).
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.take_end(0).map(ChildStdin::from)
    }

    /// Returns the pipe from the standard output of the process, once; `None` if it has none, see
    /// [`ProcessBuilder::stdout`](crate::ProcessBuilder::stdout).
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        self.take_end(1).map(ChildStdout::from)
    }

    /// Returns the pipe from the standard error output of the process, once; `None` if it has none, see
    /// [`ProcessBuilder::stderr`](crate::ProcessBuilder::stderr).
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        self.take_end(2).map(ChildStderr::from)
    }

    fn take_end(&self, number: usize) -> Option<OwnedFd> {
        self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner)[number].take()
    }

    /// Waits until the process has ended.
    ///
    /// ```
    /// let process = multiproc::Process::spawn(|| -> () { std::process::exit(3) }, ())?;
    /// process.wait();
    /// assert_eq!(process.exitcode(), Some(3));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait(&self) {
        self.child().wait(Deadline::NEVER);
    }

    /// Waits until the process has ended, for at most `timeout`. Returns whether it has ended.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.child().wait(Deadline::after(timeout)).is_some()
    }

    /// Returns a descriptor that becomes readable once the process has ended (a pidfd), to wait for several things at
    /// once.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.child().pidfd().as_fd()
    }

    /// Sends SIGTERM, which ends the process unless it has arranged otherwise. Its own children end with it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let process = multiproc::Process::spawn(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    /// process.terminate();
    /// assert_eq!(process.join().unwrap_err().signal(), Some(15));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn terminate(&self) {
        self.child().signal(ChildSignal::Terminate);
    }

    /// Sends SIGKILL, which always ends the process. Its own children end with it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let process = multiproc::Process::spawn(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    /// process.kill();
    /// process.wait();
    /// assert_eq!(process.exitcode(), Some(-9));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn kill(&self) {
        self.child().signal(ChildSignal::Kill);
    }

    /// Sends SIGINT, which ends the process unless it has arranged otherwise.
    pub fn interrupt(&self) {
        self.child().signal(ChildSignal::Interrupt);
    }

    fn describe(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(kind);
        out.field("name", &self.name()).field("pid", &self.pid()).field("daemon", &self.daemon());
        match self.child().try_reap() {
            None => out.field("state", &format_args!("running")),
            Some(exit) => out.field("state", &format_args!("{exit}")),
        };
        out.finish()
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl fmt::Debug for ProcessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe("ProcessHandle", f)
    }
}

#[cfg(all(test, not(loom)))]
mod fuzz;
