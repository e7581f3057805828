//! Work for the first thread of a child, which else only looks whether its parent lives: what must be done on every thread.

use crate::sys::poll::{self, Interest, Waker};
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long the first thread may take to come to it; it never waits for anything but this and the end of its parent.
const WITHIN: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// What the first thread is to do.
struct Inbox {
    waker: Waker,
    work: Mutex<Option<Work>>,
}

static INBOX: OnceLock<Inbox> = OnceLock::new();

/// From now on this thread, the first one, can be given work. Without descriptors it cannot.
pub(super) fn open() {
    if let Ok(waker) = Waker::new() {
        let _ = INBOX.set(Inbox { waker, work: Mutex::new(None) });
    }
}

/// Waits until the other end of the socket is gone, which is `true`, or until the deadline; does its work meanwhile.
///
/// # Errors
///
/// The system refuses to wait.
pub(super) fn wait(lifeline: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    let inbox = INBOX.get();
    let mut waits = vec![(lifeline, Interest::HangUp)];
    waits.extend(inbox.map(|inbox| (inbox.waker.as_fd(), Interest::Readable)));
    let ready = poll::wait(&waits, deadline)?;
    if let (Some(inbox), Some(true)) = (inbox, ready.get(1)) {
        inbox.waker.clear();
        let work = inbox.work.lock().take();
        work.into_iter().for_each(|work| work());
    }
    Ok(ready.first() == Some(&true))
}

/// Runs `work` on the first thread and waits for its value; `None` if that thread does not come to it.
pub(crate) fn run<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let inbox = INBOX.get()?;
    let (tell, told) = channel();
    *inbox.work.lock() = Some(Box::new(move || drop(tell.send(work()))));
    inbox.waker.wake();
    told.recv_timeout(WITHIN).ok()
}
