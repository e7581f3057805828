//! The thread on which callbacks and wake-ups run: never a thread that drives a pool, so that none of them can stop it.

use crate::process::panic;
use crate::sys::fork::fork_generation;
use crate::sys::signal;
use crate::sys::thread;
use crossbeam::channel::{Sender, unbounded};
use parking_lot::Mutex;
use std::cell::Cell;
use std::io;
use std::thread::Builder;
#[cfg(feature = "cluster")]
use std::time::Duration;

/// What runs once a call is complete.
pub(crate) type Callback = Box<dyn FnOnce() + Send>;

/// The way to the thread, and the fork generation in which it was started.
static THREAD: Mutex<Option<(Sender<Callback>, u32)>> = Mutex::new(None);

thread_local! {
    /// Set on that thread.
    static IS_THIS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the thread on which callbacks run: it must not wait for a callback.
pub(crate) fn is_this_thread() -> bool {
    IS_THIS.get()
}

/// Makes sure that there is such a thread in this process.
///
/// # Errors
///
/// It cannot be started.
pub(crate) fn start() -> io::Result<()> {
    let mut thread = THREAD.lock();
    if thread.as_ref().is_some_and(|(_, generation)| *generation == fork_generation()) {
        return Ok(());
    }
    // As long as the calls that wait for it: each brings one callback or two.
    let (callbacks, inbox) = unbounded::<Callback>();
    // Results are read here, too: they may nest as deep as those that a caller reads, or a worker makes.
    let builder = Builder::new().name("multiproc-calls".to_owned()).stack_size(signal::stack_limit());
    thread::spawn(builder, move || {
        IS_THIS.set(true);
        while let Ok(callback) = inbox.recv() {
            thread::with_starter_mask(|| panic::contain(callback));
        }
    })?;
    *thread = Some((callbacks, fork_generation()));
    Ok(())
}

/// Waits until all that was handed over before is done, but no longer than `patience`, and not at all on that thread.
#[cfg(feature = "cluster")]
pub(crate) fn catch_up(patience: Duration) {
    if is_this_thread() {
        return;
    }
    let (done, reached) = std::sync::mpsc::channel::<()>();
    post(move || drop(done));
    // Ends when the other end is dropped, there or for want of such a thread.
    let _ = reached.recv_timeout(patience);
}

/// Hands one thing over that is to be done there; see [`send`].
pub(crate) fn post(work: impl FnOnce() + Send + 'static) {
    send([Box::new(work) as Callback]);
}

/// Hands callbacks over; [`start`] was called before.
pub(crate) fn send(callbacks: impl IntoIterator<Item = Callback>) {
    let thread = THREAD.lock();
    if let Some((inbox, _)) = &*thread {
        for callback in callbacks {
            // The thread never ends, so it takes everything.
            let _ = inbox.send(callback);
        }
    }
}
