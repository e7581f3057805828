//! What a pool is told so that people see what it does: a page at its end, a view of it while it works.

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

    /// Lets other programs of this user look at the pool while it works: `multiproc-top` shows it in a terminal.
    /// `MULTIPROC_VIEW=1` in the environment does that for all pools of a program.
    ///
    /// Who looks sees the workers, what each is at and since when, queues, calls, and how long tasks run and wait; and can ask
    /// for the stack of a worker, end its task, and resize the pool. As long as nobody does, it costs a descriptor: there is no
    /// thread for it. What can be asked, and how, is in `docs/view.md`.
    ///
    /// ```
    /// use multiproc::Pool;
    /// use std::io::{BufRead, BufReader, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// # let folder = std::env::temp_dir().join(format!("view-{}", std::process::id()));
    /// # std::fs::create_dir(&folder)?;
    /// # unsafe { std::env::set_var("XDG_RUNTIME_DIR", &folder) };
    /// let pool = Pool::builder().processes(2).view().build()?;
    /// pool.map(|x: u64| x * x, 0..100)?;
    ///
    /// // What another program would do:
    /// let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap();
    /// let socket = std::fs::read_dir(format!("{runtime}/multiproc"))?.next().unwrap()?.path();
    /// let mut stream = BufReader::new(UnixStream::connect(socket)?);
    /// let mut ask = |request: &str| {
    ///     let mut answer = String::new();
    ///     writeln!(stream.get_mut(), "{request}").unwrap();
    ///     stream.read_line(&mut answer).unwrap();
    ///     serde_json::from_str::<serde_json::Value>(&answer).unwrap()
    /// };
    /// let number = ask("pools")["pools"][0]["pool"].clone();
    /// assert_eq!(ask(&format!("show {number}"))["tasks"], 100);
    /// # drop(pool);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// The socket is in `multiproc` in the runtime folder of the user (`XDG_RUNTIME_DIR`), or in `/tmp/multiproc-UID` where there
    /// is none: a folder of mode 700, into which nobody else can look. Its name goes with the last such pool of the program; that
    /// of a program that was killed is removed by the next one that makes such a pool.
    ///
    /// # Errors
    ///
    /// A folder that cannot be made, or has other rights, is an error of [`PoolBuilder::build`].
    pub fn view(mut self) -> Self {
        self.options.view = true;
        self
    }
}
