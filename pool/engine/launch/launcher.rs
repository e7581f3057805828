//! What a launcher is.

use crate::engine::launch::body::Body;
use crate::engine::watch::output::Captured;
use crate::error::{Death, Error};
use crate::ipc::control::Reply;
use crate::ipc::link::Link;
use crate::process::descendants::DescendantControl;
use crate::process::start::{self, HeldByChild};
use crate::sys::time::Deadline;

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
    /// thread. The worker takes frames from the moment it is ready. `None` if there is no room for a worker now; then `tell`
    /// hears [`News::Room`] when there may be, or [`News::Impossible`] when there will not.
    ///
    /// # Errors
    ///
    /// Nothing was started, and `tell` will hear nothing.
    fn launch(&self, place: usize, tell: Tell) -> Result<Option<Launched>, Error>;

    /// How many workers must be ready when the pool is built, if not all, and until when.
    fn quorum(&self) -> Option<(usize, Deadline)> {
        None
    }

    /// How many workers a pool that is being built may have asked for that do not exist yet.
    fn most_at_once(&self) -> usize {
        usize::MAX
    }

    /// No more workers are wanted: what it keeps for them beside the workers themselves ends.
    fn end(&self) {}

    /// Waits until that has ended. Returns whether that came true before the deadline.
    fn wait(&self, deadline: Deadline) -> bool {
        let _ = deadline;
        true
    }

    /// Why workers do not come to be in the way that was asked for, if so.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Whether workers are processes: what is no thread of this one can be ended while it runs a task.
    fn starts_processes(&self) -> bool {
        true
    }

    /// What becomes of the processes that tasks start.
    fn descendants(&self) -> DescendantControl {
        DescendantControl::Off
    }

    /// Whether the worker is no thread of its own: it does something only in [`Launcher::step`].
    fn runs_here(&self) -> bool {
        false
    }

    /// Lets the calling thread be the worker for one step: a start, a frame, or its end. Returns whether there was anything to
    /// do. Runs user code.
    fn step(&self) -> bool {
        false
    }

    /// Whether the calling thread is in a step already.
    fn is_running_here(&self) -> bool {
        false
    }
}

/// Hears what becomes of a worker.
pub(crate) type Tell = Box<dyn Fn(News) + Send + Sync>;

/// What becomes of a worker; told in this order, `Exited` last.
#[derive(Debug)]
pub(crate) enum News {
    /// It exists.
    Started(Body),
    /// It could not be made; nothing follows.
    Impossible(Error),
    /// It has answered.
    Replied(Reply),
    /// It did not answer in time and was killed.
    Silent,
    /// It is to leave once it has done what it is at, since its machine is about to be taken away.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "told by the feature `cluster`"))]
    Draining,
    /// It has ended; nothing follows.
    Exited(Death, HeldByChild),
    /// There may be room for a worker that was asked for in vain; nothing follows.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "told by the feature `cluster`"))]
    Room,
}

impl From<start::News> for News {
    fn from(news: start::News) -> News {
        match news {
            start::News::Started(child) => News::Started(Body::Process(child)),
            start::News::Impossible(error) => News::Impossible(error),
            start::News::Replied(reply) => News::Replied(reply),
            start::News::Silent => News::Silent,
            start::News::Exited(death, held) => News::Exited(death, held),
        }
    }
}

/// The pool's ends of a worker that is being started.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) link: Box<dyn Link>,
    /// What it writes, if the pool reads that.
    pub(crate) output: Option<Captured>,
}
