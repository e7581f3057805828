//! The processes that this one has started and that have not ended yet, and what becomes of them when it exits.

use crate::codec::Payload;
use crate::error::{Error, ProcessError, Result};
use crate::process::handle::{Process, ProcessHandle};
use crate::sys::child::{ChildSignal, own_pid};
use crate::sys::poll::{self, Interest};
use crate::sys::signal;
use crate::sys::time::Deadline;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a daemonic process may take to end after SIGTERM when its parent exits.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// All that were started and not yet reaped. (std's mutex: the exit handler comes here, where thread-locals are gone.)
static CHILDREN: Mutex<Vec<ProcessHandle>> = Mutex::new(Vec::new());

/// The process that has registered the exit handler: a fork of it has the handler too, but none of the children.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Set when this process has begun to exit.
static EXITING: AtomicBool = AtomicBool::new(false);

fn children() -> MutexGuard<'static, Vec<ProcessHandle>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes sure that the children of this process are looked after when it exits.
///
/// # Errors
///
/// It is exiting already, or the handler cannot be registered.
pub(crate) fn prepare() -> Result<()> {
    extern "C" fn on_exit() {
        settle();
    }
    if EXITING.load(Relaxed) {
        return Err(Error::start("a process could not be started: this one is exiting"));
    }
    let pid = own_pid();
    if OWNER.swap(pid, Relaxed) != pid {
        signal::at_exit(on_exit)
            .map_err(|error| Error::start(format!("a process could not be started: no exit handler: {error}")))?;
    }
    Ok(())
}

/// A process has come to life.
pub(crate) fn add(handle: ProcessHandle) {
    children().push(handle);
}

/// A process has ended.
pub(crate) fn remove(handle: &ProcessHandle) {
    children().retain(|it| !it.is(handle));
}

/// The rules of exit: daemonic children are ended, all others are waited for, however long they take.
///
/// Runs on whichever thread exits. It waits for processes only, and for no other thread of this one.
pub(crate) fn settle() {
    EXITING.store(true, Relaxed);
    if OWNER.load(Relaxed) != own_pid() {
        return;
    }
    loop {
        let mut alive = children().clone();
        alive.retain(ProcessHandle::is_alive);
        if alive.is_empty() {
            return;
        }
        let (daemons, others): (Vec<_>, Vec<_>) = alive.into_iter().partition(ProcessHandle::daemon);
        end(&daemons, &others);
    }
}

/// Ends `doomed` with SIGTERM, and with SIGKILL those that do not heed it in time; waits for `others` meanwhile.
fn end(doomed: &[ProcessHandle], others: &[ProcessHandle]) {
    let kill_at = Deadline::after(GRACE);
    doomed.iter().for_each(ProcessHandle::terminate);
    others.iter().for_each(ProcessHandle::wait);
    for process in doomed {
        if process.child().wait(kill_at).is_none() {
            process.child().signal(ChildSignal::Kill);
            process.wait();
        }
    }
}

/// Returns the processes that this one has started with [`Process`](crate::Process) and that have not ended yet, in
/// the order of their starts; those whose handles were dropped as well.
///
/// Workers of pools are not among them: [`Pool::worker_pids`](crate::Pool) has these.
///
/// ```
/// use multiproc::{Process, active_children};
///
/// let process = Process::spawn(|| std::thread::sleep(std::time::Duration::from_secs(100)), ())?;
/// assert_eq!(active_children().len(), 1);
/// process.terminate();
/// process.wait();
/// assert!(active_children().is_empty());
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn active_children() -> Vec<ProcessHandle> {
    let mut alive = children().clone();
    alive.retain(ProcessHandle::is_alive);
    alive
}

/// Waits for all processes, and returns their results in order; at the first failure it ends the rest.
///
/// The first failure in time, not in order: a crew that waits for each other must not wait for a member that is gone.
/// The rest get SIGTERM, and SIGKILL a second later; none of them lives any more when this returns.
///
/// ```
/// use multiproc::{Process, join_all};
///
/// let crew: Vec<Process<u64>> = (1..4).map(|n| Process::spawn(|n: u64| n * n, (n,))).collect::<Result<_, _>>()?;
/// assert_eq!(join_all(crew)?, [1, 4, 9]);
///
/// let sleeper = Process::spawn(|| std::thread::sleep(std::time::Duration::from_secs(1000)), ())?;
/// let failing = Process::builder().name("failing").spawn(|| -> () { std::process::exit(1) }, ())?;
/// assert_eq!(join_all([sleeper, failing]).unwrap_err().name(), "failing");
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Errors
///
/// The error of the process that failed first, see [`Process::join`].
pub fn join_all<R: Payload>(processes: impl IntoIterator<Item = Process<R>>) -> Result<Vec<R>, ProcessError> {
    let mut waiting: Vec<(usize, Process<R>)> = processes.into_iter().enumerate().collect();
    let mut results: Vec<Option<R>> = waiting.iter().map(|_| None).collect();
    while !waiting.is_empty() {
        let sources: Vec<_> = waiting.iter().map(|(_, process)| (process.as_fd(), Interest::Readable)).collect();
        // If the system refuses to wait, a moment has passed, and the next look is due.
        let _ = poll::wait(&sources, Deadline::NEVER);
        let (alive, ended): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, process)| process.is_alive());
        waiting = alive;
        for (index, process) in ended {
            match process.result() {
                Ok(value) => results[index] = Some(value),
                Err(error) => {
                    let rest: Vec<_> = waiting.iter().map(|(_, process)| ProcessHandle::clone(process)).collect();
                    end(&rest, &[]);
                    return Err(error);
                }
            }
        }
    }
    Ok(results.into_iter().flatten().collect())
}
