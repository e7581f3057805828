//! The processes that this one has started and that have not ended yet, and what becomes of them when it exits.

use crate::error::{Error, Result};
use crate::process::handle::ProcessHandle;
use crate::sys::child::{ChildSignal, own_pid};
use crate::sys::signal;
use crate::sys::time::Deadline;
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

/// Ends processes, and waits until they have ended.
pub(crate) fn end_all(doomed: &[ProcessHandle]) {
    end(doomed, &[]);
}

/// The processes that this one has started with [`Process`](crate::Process) and that have not ended yet, in the order
/// of their starts; those whose handles were dropped as well.
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
