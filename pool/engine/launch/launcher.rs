//! What a launcher is.

use crate::engine::watch::output::Captured;
use crate::error::Error;
use crate::ipc::link::Link;
use crate::process::start::News;

/// Makes worker processes, wherever they are to run.
pub(crate) trait Launcher: Send + Sync + std::fmt::Debug {
    /// Makes what workers of the places below `workers` need that only code of the user's can tell. Called before a place is
    /// launched for the first time, without any lock.
    ///
    /// # Errors
    ///
    /// What the user's code has told makes no sense.
    fn prepare(&self, workers: usize) -> Result<(), Error> {
        let _ = workers;
        Ok(())
    }

    /// Starts a worker for a place and gives the pool's ends of it; `tell` hears what becomes of it, on another
    /// thread. The worker takes frames from the moment it is ready.
    ///
    /// # Errors
    ///
    /// Nothing was started, and `tell` will hear nothing.
    fn launch(&self, place: usize, tell: Box<dyn Fn(News) + Send + Sync>) -> Result<Launched, Error>;

    /// Whether a worker can be ended while it runs a task.
    fn can_stop_tasks(&self) -> bool {
        true
    }
}

/// The pool's ends of a worker that is being started.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) link: Box<dyn Link>,
    /// What it writes, if the pool reads that.
    pub(crate) output: Option<Captured>,
}
