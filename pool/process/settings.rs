//! Options of a process: what it runs in, and what it may use.

#[cfg(doc)]
use crate::error::Error;
use crate::process::builder::ProcessBuilder;
use crate::process::surroundings::Stdio;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the process runs in, as [`std::process::Command`] has it, and what it may use.
impl ProcessBuilder {
    /// Sets an environment variable of the process, before any of its code runs.
    ///
    /// ```
    /// let process = multiproc::Process::builder().env("STAGE", "test").spawn(|| std::env::var("STAGE").ok(), ())?;
    /// assert_eq!(process.join()?.as_deref(), Some("test"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A name or a value that no environment can have is [`Error::is_invalid_argument`] of [`ProcessBuilder::spawn`].
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.surroundings.variables.push((key.into(), Some(value.into())));
        self
    }

    /// Takes an environment variable away that this process has.
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.surroundings.variables.push((key.into(), None));
        self
    }

    /// Starts the process without the variables of this one; those that are set later count.
    ///
    /// ```
    /// let process = multiproc::Process::builder().env_clear().env("A", "1").spawn(|| std::env::vars().count(), ())?;
    /// assert_eq!(process.join()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A program that needs a variable to find its libraries (`LD_LIBRARY_PATH`) does not start then.
    pub fn env_clear(mut self) -> Self {
        self.surroundings.variables.clear();
        self.surroundings.clear = true;
        self
    }

    /// Sets the folder that the process runs in. Default: that of this process.
    ///
    /// ```
    /// let here = || std::env::current_dir().unwrap();
    /// let process = multiproc::Process::builder().current_dir("/").spawn(here, ())?;
    /// assert_eq!(process.join()?, std::path::Path::new("/"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// What is no folder is [`Error::is_invalid_argument`] of [`ProcessBuilder::spawn`].
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.surroundings.folder = Some(folder.into());
        self
    }

    /// Sets the standard input of the process: a file, a pipe ([`Stdio::piped`]), or that of this process
    /// ([`Stdio::inherit`]). Default: it is empty.
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    /// use std::io::Write;
    ///
    /// let process = Process::builder().stdin(Stdio::piped()).spawn(|| std::io::stdin().lines().count(), ())?;
    /// process.take_stdin().unwrap().write_all(b"one\ntwo\n")?; // Closed when it is dropped.
    /// assert_eq!(process.join()?, 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stdin(mut self, stream: impl Into<Stdio>) -> Self {
        self.surroundings.streams[0] = Some(stream.into());
        self
    }

    /// Sets the standard output of the process. Default: that of this process.
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// let process = Process::builder().stdout(Stdio::piped()).spawn(|| println!("hello"), ())?;
    /// assert_eq!(std::io::read_to_string(process.take_stdout().unwrap())?, "hello\n");
    /// process.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A process that writes more than a pipe holds waits until somebody reads it.
    pub fn stdout(mut self, stream: impl Into<Stdio>) -> Self {
        self.surroundings.streams[1] = Some(stream.into());
        self
    }

    /// Sets the standard error output of the process. Default: that of this process.
    pub fn stderr(mut self, stream: impl Into<Stdio>) -> Self {
        self.surroundings.streams[2] = Some(stream.into());
        self
    }

    /// Puts the process into a process group: 0 is a group of its own, whose number is that of the process. Default: the
    /// group of this process. `setpgid(2)`.
    ///
    /// A process in another group does not get the SIGINT that Ctrl-C sends from the terminal.
    pub fn process_group(mut self, group: i32) -> Self {
        self.surroundings.group = Some(group);
        self
    }

    /// Lets the process have `bytes` more of private memory than it has at its start. An allocation beyond that fails, and
    /// so ends the process: [`ProcessError::is_out_of_memory`](crate::ProcessError::is_out_of_memory).
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.surroundings.limits.memory = Some(bytes);
        self
    }

    /// Lets the process run on these CPUs alone. Default: those of this process.
    ///
    /// ```
    /// let process = multiproc::Process::builder().cpu_affinity([0]).spawn(multiproc::cpu_count, ())?;
    /// assert_eq!(process.join()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// A CPU that this process may not use is [`Error::is_start`] of [`ProcessBuilder::spawn`].
    pub fn cpu_affinity(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.surroundings.limits.cpus = cpus.into_iter().collect();
        self
    }

    /// Adds to the niceness of the process: with a larger one it leaves the CPUs to others. `nice(2)`.
    ///
    /// A negative number takes rights that few processes have; without them it is [`Error::is_start`] of
    /// [`ProcessBuilder::spawn`].
    pub fn nice(mut self, more: i32) -> Self {
        self.surroundings.limits.nice = more;
        self
    }
}
