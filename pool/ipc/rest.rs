//! How long parties sleep. A worker that has nothing to do for a while rests: it sleeps long, and so does the first thread of its
//! process, which else looks again and again whether the other threads are well.

use crate::sys::poll::Waker;
use crate::sys::time::Deadline;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// How long a waiting party sleeps at most before it looks again, so that a wake-up lost with a killed process costs one
/// slice and no more.
pub(super) const SLICE: Duration = Duration::from_millis(250);

pub(crate) fn slice() -> Deadline {
    Deadline::after(SLICE)
}

/// How long a party that rests sleeps at most before it looks again.
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn long() -> Deadline {
    Deadline::after(LONG)
}

/// What the first thread of a process waits on, beside the end of the parent.
#[derive(Debug)]
pub(crate) struct Watch {
    waker: Waker,
    /// Whether the thread that runs user code rests.
    rests: AtomicBool,
}

impl Watch {
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub(crate) fn new() -> io::Result<Watch> {
        Ok(Watch { waker: Waker::new()?, rests: AtomicBool::new(false) })
    }

    /// Readable once somebody has disturbed the first thread.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }

    /// Wakes the first thread.
    pub(crate) fn disturb(&self) {
        self.waker.wake();
    }

    /// Takes what [`Watch::disturb`] has done back.
    pub(crate) fn clear(&self) {
        self.waker.clear();
    }

    /// Whether the thread that runs user code rests. Whoever relies on that must wait until it is disturbed, and after that
    /// pass a while before it believes this again.
    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Relaxed)
    }
}

/// The rest of one thread, until this is dropped.
pub(crate) struct Rest(Option<&'static Watch>);

impl Rest {
    /// `watch` is that of the process, if this is its thread for user code.
    pub(crate) fn begin(watch: Option<&'static Watch>) -> Rest {
        if let Some(watch) = watch {
            watch.rests.store(true, Relaxed);
        }
        Rest(watch)
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(watch) = self.0 {
            watch.rests.store(false, Relaxed);
            watch.disturb();
        }
    }
}
