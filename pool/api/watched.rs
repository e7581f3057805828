//! What a pool is told so that people see what it does: a page at its end.

use crate::api::builder::PoolBuilder;
#[cfg(doc)]
use crate::error::Error;
use std::path::PathBuf;

impl<S> PoolBuilder<S> {
    /// Writes a page about what the pool has done into a file, when the pool is over: a timeline of the workers, how long tasks
    /// have run and waited, the slowest tasks, failures with the calls that led there, and the functions that were called.
    ///
    /// The page needs nothing beside itself: it has no scripts and loads nothing, so it can be sent to somebody. It is light or
    /// dark as the reader's system is.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let path = std::env::temp_dir().join(format!("run-{}.html", std::process::id()));
    /// let pool = Pool::builder().processes(2).report_to(&path).build()?;
    /// pool.map_each(|x: u32| 12 / x, 0..100);
    /// pool.close();
    /// pool.join()?;
    /// let page = std::fs::read_to_string(&path)?;
    /// assert!(page.contains("attempt to divide by zero"));
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// It is written when [`Pool::join`](crate::Pool::join) or [`Pool::drain`](crate::Pool::drain) has seen the last worker end,
    /// or the pool is dropped. (A pool in a `static` is never dropped: close and join it.) However long the pool lives, what
    /// is kept for the page is bounded: tasks that are too short to be seen are drawn together, and of failures with one cause
    /// the first is kept. A place in the timeline is as exact as in [`PoolBuilder::trace_to`].
    ///
    /// # Errors
    ///
    /// A file that cannot be created is an error of [`PoolBuilder::build`]. What goes wrong at the end is told on stderr.
    pub fn report_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.report = Some(path.into());
        self
    }
}
