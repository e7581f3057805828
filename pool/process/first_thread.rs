//! The first thread of a child, which runs no user code: it looks whether the parent and the other thread live, and does what
//! must be done on every thread.

use crate::ipc::rest::{self, Watch};
use crate::process::descendants;
use crate::sys::poll::{self, Interest};
use crate::sys::procfs;
use crate::sys::time::Deadline;
#[cfg(feature = "sandbox")]
use parking_lot::Mutex;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::time::Duration;

/// How often it looks whether the thread that runs user code is still there.
const LOOK_EACH: Duration = Duration::from_millis(500);

static WATCH: OnceLock<Watch> = OnceLock::new();

/// From now on this thread, the first one, can be disturbed, unless there is no descriptor for that.
pub(super) fn open() {
    if let Ok(watch) = Watch::new() {
        let _ = WATCH.set(watch);
    }
}

/// What disturbs the first thread of this process; `None` where nothing can.
pub(crate) fn watch() -> Option<&'static Watch> {
    WATCH.get()
}

/// Waits until the other end of the socket is gone, which is `true`, or until it is time to look after the other thread; does
/// its work meanwhile. `has_looked` = nothing has happened since the last look.
///
/// # Errors
///
/// The system refuses to wait.
pub(super) fn wait(lifeline: BorrowedFd<'_>, has_looked: &mut bool) -> io::Result<bool> {
    let watch = watch();
    // While the thread that runs user code rests, it does not end by itself, and makes no children; those that it has made
    // may become children of this thread at any time.
    let may_rest = *has_looked && watch.is_some_and(Watch::rests) && !procfs::has_children();
    let until = if may_rest { rest::long() } else { Deadline::after(LOOK_EACH) };
    let mut waits = vec![(lifeline, Interest::HangUp)];
    waits.extend(watch.map(|watch| (watch.as_fd(), Interest::Readable)));
    let ready = poll::wait(&waits, until)?;
    *has_looked = !ready.contains(&true);
    if let (Some(watch), Some(true)) = (watch, ready.get(1)) {
        watch.clear();
        #[cfg(feature = "sandbox")]
        work();
    }
    descendants::reap_orphans();
    Ok(ready.first() == Some(&true))
}

#[cfg(feature = "sandbox")]
type Work = Box<dyn FnOnce() + Send>;

/// What the first thread is to do.
#[cfg(feature = "sandbox")]
static WORK: Mutex<Option<Work>> = Mutex::new(None);

#[cfg(feature = "sandbox")]
fn work() {
    let work = WORK.lock().take();
    work.into_iter().for_each(|work| work());
}

/// Runs `work` on the first thread and waits for its value; `None` if that thread does not come to it.
#[cfg(feature = "sandbox")]
pub(crate) fn run<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    /// How long it may take to come to it; it never waits for anything but this and the end of its parent.
    const WITHIN: Duration = Duration::from_secs(10);
    let watch = watch()?;
    let (tell, told) = std::sync::mpsc::channel();
    *WORK.lock() = Some(Box::new(move || drop(tell.send(work()))));
    watch.disturb();
    told.recv_timeout(WITHIN).ok()
}
