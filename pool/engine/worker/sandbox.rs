//! What workers give up before they take tasks, for code that nobody trusts.

#[cfg(doc)]
use crate::error::Error;
use crate::process::first_thread;
use crate::sys::sandbox::{self, Extent, FileRules, Refusals};
use crate::sys::{fault, reactor, thread};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// What workers may not do any more once they are ready; for [`PoolBuilder::sandbox`](crate::PoolBuilder::sandbox).
///
/// Each worker gives the rights up when it has run the initializer and made its state, and before its first task; nothing
/// brings them back. What it has opened until then stays open. Below all of it lie these: no signals to processes outside
/// of the sandbox, no look into their memory, no tracing, no new namespaces or mounts, no dumps of memory, and no rights by
/// starting a program (`PR_SET_NO_NEW_PRIVS`).
///
/// ```
/// use multiproc::{Pool, Sandbox};
///
/// fn parse(text: String) -> Result<usize, String> {
///     // As code would do that an attacker has got into:
///     let stolen = std::fs::read_to_string("/etc/passwd");
///     assert!(stolen.is_err() && std::net::TcpStream::connect("127.0.0.1:80").is_err());
///     Ok(text.len())
/// }
///
/// # if std::process::Command::new("true").status().is_ok() && landlock_is_new_enough() {
/// let sandbox = Sandbox::new().no_network().read_only(["/usr"]).no_new_processes();
/// let pool = Pool::builder().processes(2).sandbox(sandbox).build()?;
/// assert_eq!(pool.apply(parse, ("text".to_owned(),))?, Ok(4));
/// # }
/// # fn landlock_is_new_enough() -> bool {
/// #     Pool::builder().processes(1).sandbox(Sandbox::new()).build().is_ok()
/// # }
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[must_use = "it is an option of `PoolBuilder::sandbox`"]
pub struct Sandbox {
    no_network: bool,
    no_new_processes: bool,
    read_only: Option<Vec<PathBuf>>,
    read_write: Option<Vec<PathBuf>>,
    allow_degraded: bool,
}

impl Sandbox {
    /// Returns a sandbox that has only what all have.
    pub fn new() -> Sandbox {
        Sandbox::default()
    }

    /// Refuses sockets of the network: all but local ones (`AF_UNIX`). Those with a name in the file system can still be
    /// connected to.
    pub fn no_network(mut self) -> Self {
        self.no_network = true;
        self
    }

    /// Allows to read, list and execute what is below these paths; may be called again for more. From then on nothing is
    /// allowed below other paths but for those of [`Sandbox::read_write`].
    ///
    /// A path that is not there is an error of [`PoolBuilder::build`](crate::PoolBuilder::build).
    pub fn read_only<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.read_only.get_or_insert_default().extend(paths.into_iter().map(Into::into));
        self
    }

    /// Allows everything below these paths, as [`Sandbox::read_only`] allows to read.
    pub fn read_write<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.read_write.get_or_insert_default().extend(paths.into_iter().map(Into::into));
        self
    }

    /// Refuses forks and other programs. Threads may be started.
    pub fn no_new_processes(mut self) -> Self {
        self.no_new_processes = true;
        self
    }

    /// Takes what the system can do, if that is less: [`sandbox_posture`] tells in a worker what it is. Without it a worker
    /// whose sandbox would be degraded does not start.
    pub fn allow_degraded(mut self) -> Self {
        self.allow_degraded = true;
        self
    }

    /// Lays this process into the sandbox.
    ///
    /// # Errors
    ///
    /// A path is not there, or the sandbox would be degraded.
    pub(super) fn enter(&self) -> Result<(), String> {
        let posture = self.enforce()?;
        if !posture.is_complete() && !self.allow_degraded {
            return Err(format!("its sandbox would be degraded, which `Sandbox::allow_degraded` allows: {posture}"));
        }
        let _ = POSTURE.set(posture);
        Ok(())
    }

    fn enforce(&self) -> Result<SandboxPosture, String> {
        let paths = match (&self.read_only, &self.read_write) {
            (None, None) => None,
            (read_only, read_write) => {
                Some((read_only.as_deref().unwrap_or_default(), read_write.as_deref().unwrap_or_default()))
            }
        };
        let rules = Arc::new(FileRules::new(paths)?);
        // While `/proc` can be read.
        fault::note_mappings();
        let threads = thread::count().and_then(|count| usize::try_from(count).ok());
        sandbox::leave_no_dump();
        let (extent, all_threads) = rules.restrict()?;
        let mut restricted = 1;
        if !all_threads {
            let (first, second) = (Arc::clone(&rules), Arc::clone(&rules));
            restricted += usize::from(first_thread::run(move || first.restrict().is_ok()) == Some(true));
            let own = reactor::started().map(|reactor| reactor.call(move || second.restrict().is_ok()));
            restricted += usize::from(own == Some(true));
        }
        let free_threads = match threads {
            _ if all_threads => 0,
            Some(threads) => threads.saturating_sub(restricted),
            // Nobody knows; so there is at least one.
            None => 1,
        };
        let calls = Refusals { network: self.no_network, processes: self.no_new_processes }.install();
        let files = match extent {
            Extent::Full => Enforcement::Full,
            Extent::Partial => Enforcement::Partial,
            Extent::None => Enforcement::None,
        };
        let system_calls = if calls.is_ok() { Enforcement::Full } else { Enforcement::None };
        Ok(SandboxPosture { files, system_calls, free_threads, refusal: calls.err() })
    }
}

/// What is in force in this process, once it has entered a sandbox.
static POSTURE: OnceLock<SandboxPosture> = OnceLock::new();

/// Returns what is in force of the sandbox that this worker is in; `None` in a process that is in none.
///
/// ```
/// assert!(multiproc::sandbox_posture().is_none());
/// ```
pub fn sandbox_posture() -> Option<SandboxPosture> {
    POSTURE.get().cloned()
}

/// How much of something that was asked for is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// All of it.
    Full,
    /// What this kernel can do, which is not all.
    Partial,
    /// Nothing.
    None,
}

/// What is in force of a [`Sandbox`] in one worker, from [`sandbox_posture`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SandboxPosture {
    /// Files, and signals to other processes: Landlock, of which Linux 6.12 has all that is asked for.
    pub files: Enforcement,
    /// Network, new processes, and ways around: a filter of system calls (seccomp).
    pub system_calls: Enforcement,
    /// Threads on which the rules for files are not in force: those that the initializer has started, on kernels before 7.0.
    pub free_threads: usize,
    /// Why there is no filter.
    refusal: Option<String>,
}

impl SandboxPosture {
    /// Returns whether everything that was asked for is in force, on all threads.
    pub fn is_complete(&self) -> bool {
        self.files == Enforcement::Full && self.system_calls == Enforcement::Full && self.free_threads == 0
    }
}

impl fmt::Display for SandboxPosture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.files {
            Enforcement::Full => "files are restricted (Landlock)",
            Enforcement::Partial => "files are restricted in part (Landlock of a kernel before 6.12)",
            Enforcement::None => "files are not restricted (the kernel has no Landlock)",
        })?;
        match self.free_threads {
            0 => {}
            1 => f.write_str(", but not on 1 thread that was started before")?,
            n => write!(f, ", but not on {n} threads that were started before")?,
        }
        match &self.refusal {
            None => f.write_str("; system calls are filtered"),
            Some(why) => write!(f, "; system calls are not filtered ({why})"),
        }
    }
}
