//! What a launcher is.

use crate::error::Error;
use crate::ipc::link::Link;
use crate::process::start::News;

/// Makes worker processes, wherever they are to run.
pub(crate) trait Launcher: Send + Sync + std::fmt::Debug {
    /// Starts a worker for a place and gives the pool's end of its link; `tell` hears what becomes of it, on another
    /// thread. The worker takes frames from the moment it is ready.
    ///
    /// # Errors
    ///
    /// Nothing was started, and `tell` will hear nothing.
    fn launch(&self, place: usize, tell: Box<dyn Fn(News) + Send + Sync>) -> Result<Box<dyn Link>, Error>;
}
