//! Turns a hang into a failure.

use std::io::Write as _;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ends the watch when dropped.
#[must_use = "the watch ends when it is dropped"]
pub(crate) struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watchdog {
    /// Waits for its thread, so that nobody who counts threads afterwards finds it.
    fn drop(&mut self) {
        self.stop.take();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the watchdog has panicked");
        }
    }
}

/// How many times as long as on a quiet machine a test may take, on one that is slow and has other tests to run.
const BUSY: u64 = 4;

/// Aborts this process if the result still lives after four times as many `seconds`, within which a quiet machine is done.
///
/// A test that hangs cannot be failed from outside of its thread, so the whole process goes, and says why.
pub(crate) fn watchdog(seconds: u64) -> Watchdog {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let seconds = BUSY * seconds;
    let (stop, stopped) = channel();
    let thread = std::thread::spawn(move || {
        if stopped.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
            // Not captured, as what `eprintln` writes would be: nobody would see it.
            let _ = writeln!(std::io::stderr(), "watchdog: {test} has not ended within {seconds} s");
            std::process::abort();
        }
    });
    Watchdog { stop: Some(stop), thread: Some(thread) }
}
