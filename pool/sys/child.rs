//! Start a child process, watch it, signal it, reap it.

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It returned from `main` or called `exit` with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// Somebody else has reaped it (`SIGCHLD` ignored, or a foreign `wait`).
    Unknown,
}

/// A child process of this process, known by a descriptor, so that no signal can ever hit a stranger with a reused pid.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    pidfd: Arc<OwnedFd>,
}

impl Child {
    /// Starts `program` with this process's arguments, `stdin` as its standard input and one more environment variable.
    ///
    /// Nothing runs between fork and exec (no `pre_exec`), so that std takes `posix_spawn(3)`: its cost does not grow
    /// with the memory of this process.
    pub(crate) fn start(program: &OsStr, stdin: OwnedFd, variable: (&str, &str)) -> io::Result<Child> {
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments).env(variable.0, variable.1).stdin(Stdio::from(stdin));
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).unwrap_or(-1);
        match Pid::from_raw(pid).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty())) {
            Some(Ok(pidfd)) => Ok(Child { pid, pidfd: Arc::new(pidfd) }),
            outcome => {
                // Without a pidfd it could not be watched: take it back.
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                Err(outcome.and_then(Result::err).map_or_else(|| io::ErrorKind::NotFound.into(), io::Error::from))
            }
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The pidfd: readable once the process has ended.
    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Sends a signal; a process that has ended already is no error.
    pub(crate) fn signal(&self, signal: ChildSignal) {
        let signal = match signal {
            ChildSignal::Terminate => Signal::TERM,
            ChildSignal::Kill => Signal::KILL,
        };
        // ESRCH: it has ended; nothing else can happen to a child of our own.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// Reaps it if it has ended.
    pub(crate) fn try_reap(&self) -> Option<Ending> {
        loop {
            match rustix::process::waitid(
                WaitId::PidFd(self.pidfd.as_fd()),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            ) {
                Ok(None) => return None,
                Ok(Some(status)) => {
                    return Some(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Ending::Code(code),
                        (None, Some(signal)) => Ending::Signal(signal),
                        (None, None) => Ending::Unknown,
                    });
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Some(Ending::Unknown),
            }
        }
    }
}

/// What a parent sends to its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildSignal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// This process's id.
pub(crate) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The id of the process that started this one; 0 when that lives in another pid namespace.
pub(crate) fn parent_pid() -> i32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get())
}
