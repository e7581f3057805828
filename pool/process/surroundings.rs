//! What a process runs in: its environment, its folder, its standard streams, and what it may use.

use crate::error::{Error, Result};
use crate::sys::child::{Output, SpawnOptions};
use crate::sys::{cpu, descriptor, pipe, usage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;

/// What a builder has set.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// In the order in which they were set; `None` takes a variable away.
    pub(super) variables: Vec<(OsString, Option<OsString>)>,
    /// Without the variables of this process.
    pub(super) clear: bool,
    pub(super) folder: Option<PathBuf>,
    /// Of stdin, stdout and stderr.
    pub(super) streams: [Option<Stdio>; 3],
    pub(super) group: Option<i32>,
    pub(super) limits: Limits,
}

/// What a process may use; it sees to that itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Limits {
    /// So many bytes of memory more than a fresh process has.
    pub(super) memory: Option<u64>,
    /// The CPUs that it may run on; all of its parent's if there are none.
    pub(super) cpus: Vec<usize>,
    /// What is added to its niceness.
    pub(super) nice: i32,
}

impl Limits {
    /// Sets them for this process, on the thread that runs user code.
    pub(super) fn apply(&self) -> Result<(), String> {
        if !self.cpus.is_empty() {
            cpu::pin(&self.cpus).map_err(|error| format!("sched_setaffinity for the CPUs {:?}: {error}", self.cpus))?;
        }
        if self.nice != 0 {
            cpu::add_nice(self.nice).map_err(|error| format!("a niceness that is larger by {}: {error}", self.nice))?;
        }
        self.memory.map_or(Ok(()), |bytes| usage::limit_memory(bytes).map_err(|error| format!("its memory: {error}")))
    }
}

/// What a standard stream of a [`Process`](crate::Process) is; see [`ProcessBuilder::stdin`](crate::ProcessBuilder::stdin).
///
/// ```
/// use multiproc::{Process, Stdio};
/// use std::fs::File;
///
/// let process = Process::builder().stdin(File::open("/dev/null")?).stderr(Stdio::null()).spawn(|| eprintln!("x"), ())?;
/// process.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stdio(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Inherit,
    Null,
    Piped,
    Given(Arc<OwnedFd>),
}

impl Stdio {
    /// Returns the stream of this process.
    pub fn inherit() -> Stdio {
        Stdio(Kind::Inherit)
    }

    /// Returns an empty input, or an output that goes nowhere: `/dev/null`.
    pub fn null() -> Stdio {
        Stdio(Kind::Null)
    }

    /// Returns a pipe, whose other end is [`ProcessHandle::take_stdin`](crate::ProcessHandle::take_stdin),
    /// [`take_stdout`](crate::ProcessHandle::take_stdout) or [`take_stderr`](crate::ProcessHandle::take_stderr).
    pub fn piped() -> Stdio {
        Stdio(Kind::Piped)
    }

    /// The end of the process, if it is not what every process has, and that of this one.
    fn open(&self, number: usize) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
        Ok(match &self.0 {
            Kind::Inherit if number == 0 => (Some(descriptor::move_up(io::stdin().as_fd())?), None),
            Kind::Inherit => (None, None),
            Kind::Null => (Some(descriptor::null()?), None),
            Kind::Piped => {
                let (reader, writer) = pipe::plain()?;
                let (theirs, ours) = if number == 0 { (reader, writer) } else { (writer, reader) };
                (Some(theirs), Some(ours))
            }
            Kind::Given(fd) => (Some(descriptor::move_up(fd.as_fd())?), None),
        })
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Stdio {
        Stdio(Kind::Given(Arc::new(fd)))
    }
}

impl From<BorrowedFd<'_>> for Stdio {
    /// A copy of the descriptor; [`Stdio::null`] if there is no room for one.
    fn from(fd: BorrowedFd<'_>) -> Stdio {
        fd.try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from)
    }
}

macro_rules! from_owners {
    ($($owner:ident)*) => {$(
        impl From<$owner> for Stdio {
            fn from(owner: $owner) -> Stdio {
                OwnedFd::from(owner).into()
            }
        }
    )*};
}

from_owners!(File ChildStdin ChildStdout ChildStderr);

/// This process's ends of pipes: of stdin, stdout and stderr of another process.
pub(super) type Ends = [Option<OwnedFd>; 3];

impl Surroundings {
    /// Whether there is something that a process gets only when it is executed.
    pub(super) fn needs_execution(&self) -> bool {
        let takes_away = self.clear || self.variables.iter().any(|(_, value)| value.is_none());
        takes_away || self.folder.is_some() || self.group.is_some()
    }

    /// What a process is started with: the options for the system, its standard input if it is to have one, and this process's
    /// ends of its streams.
    ///
    /// # Errors
    ///
    /// A variable that no environment can have, a folder that is none, or no descriptor left.
    pub(super) fn open(&self) -> Result<(SpawnOptions, Option<OwnedFd>, Ends)> {
        for (key, value) in &self.variables {
            check_variable(key, value.as_deref().unwrap_or_default())?;
        }
        if let Some(folder) = &self.folder {
            let found = std::fs::metadata(folder);
            let is_folder = found.map(|found| found.is_dir()).map_err(|error| error.to_string());
            if is_folder != Ok(true) {
                let why = is_folder.err().unwrap_or_else(|| "it is no folder".to_owned());
                return Err(Error::invalid_argument(format!("a process cannot run in {}: {why}", folder.display())));
            }
        }
        let failed = |error: io::Error| Error::start(format!("a process could not be started: its streams: {error}"));
        let open = |number: usize| match &self.streams[number] {
            Some(stream) => stream.open(number).map_err(failed),
            None => Ok((None, None)),
        };
        let (stdin, stdout, stderr) = (open(0)?, open(1)?, open(2)?);
        let output = match (stdout.0, stderr.0) {
            (None, None) => None,
            (stdout, stderr) => {
                let stdout = stdout.map_or_else(|| descriptor::move_up(io::stdout().as_fd()), Ok);
                let stderr = stderr.map_or_else(|| descriptor::move_up(io::stderr().as_fd()), Ok);
                Some(Output { stdout: stdout.map_err(failed)?, stderr: stderr.map_err(failed)? })
            }
        };
        // What was set or taken away last counts.
        let mut last = BTreeMap::new();
        last.extend(self.variables.iter().map(|(key, value)| (key, value)));
        let set = last.iter().filter_map(|(key, value)| Some(((*key).clone(), (*value).clone()?)));
        let removed = last.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| (*key).clone());
        let options = SpawnOptions {
            variables: set.collect(),
            removed: removed.collect(),
            clear: self.clear,
            folder: self.folder.clone(),
            group: self.group,
            output,
            crash: None,
        };
        Ok((options, stdin.0, [stdin.1, stdout.1, stderr.1]))
    }
}

/// Refuses a variable that no environment can have.
pub(crate) fn check_variable(key: &OsStr, value: &OsStr) -> Result<()> {
    let has_nul = |text: &OsStr| text.as_encoded_bytes().contains(&0);
    if key.is_empty() || key.as_encoded_bytes().contains(&b'=') || has_nul(key) || has_nul(value) {
        let text = "a name must not be empty or contain `=` or NUL, and a value must not contain NUL";
        return Err(Error::invalid_argument(format!("invalid environment variable {key:?}: {text}")));
    }
    Ok(())
}
