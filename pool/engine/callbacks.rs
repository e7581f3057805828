//! The thread on which callbacks and wake-ups run: never a thread that drives a pool, so that none of them can stop it.

use crate::process::panic;
use crate::sys::fork::fork_generation;
use crossbeam::channel::{Sender, unbounded};
use parking_lot::Mutex;
use std::io;

/// Something to be done once a call is complete.
pub(crate) type Errand = Box<dyn FnOnce() + Send>;

/// The way to the thread, and the fork generation in which it was started.
static COURIER: Mutex<Option<(Sender<Errand>, u32)>> = Mutex::new(None);

/// Makes sure that there is such a thread in this process.
///
/// # Errors
///
/// It cannot be started.
pub(crate) fn start() -> io::Result<()> {
    let mut courier = COURIER.lock();
    if courier.as_ref().is_some_and(|(_, generation)| *generation == fork_generation()) {
        return Ok(());
    }
    // As long as the calls that wait for it: each brings one errand or two.
    let (errands, inbox) = unbounded::<Errand>();
    std::thread::Builder::new().name("multiproc-calls".to_owned()).spawn(move || {
        while let Ok(errand) = inbox.recv() {
            panic::contain(errand);
        }
    })?;
    *courier = Some((errands, fork_generation()));
    Ok(())
}

/// Hands errands over; [`start`] was called before.
pub(crate) fn send(errands: impl IntoIterator<Item = Errand>) {
    let courier = COURIER.lock();
    if let Some((inbox, _)) = &*courier {
        for errand in errands {
            // The thread never ends, so it takes everything.
            let _ = inbox.send(errand);
        }
    }
}
