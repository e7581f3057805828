//! The stream between a pool and an agent, at either end.

use crate::process::enlist::Enlisted;
use crate::sys::poll::{self, Interest};
use crate::sys::stream;
use crate::sys::time::Deadline;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// How long a reader or writer waits before it looks again.
const LOOK_EACH: Duration = Duration::from_secs(1);

/// The agent's end: its calls wait.
#[derive(Debug)]
pub(super) struct AgentStream {
    input: File,
    output: File,
}

impl AgentStream {
    /// # Errors
    ///
    /// There is no such stream, or the pool is not to be reached.
    pub(super) fn open(enlisted: Enlisted) -> io::Result<AgentStream> {
        let Enlisted { input, output, url } = enlisted;
        match url.as_str() {
            "stdio:" => Ok(AgentStream { input: input.into(), output: output.into() }),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("it does not know how to reach a pool at `{url}`"),
            )),
        }
    }

    /// Reads what is there, once there is anything; 0 = the other end has closed.
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.input).read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody has made the descriptor, which others may have as well, one that does not wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll::wait(&[(self.input.as_fd(), Interest::Readable)], Deadline::after(LOOK_EACH))?;
                }
                other => return other,
            }
        }
    }

    /// Writes everything.
    pub(super) fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.output).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll::wait(&[(self.output.as_fd(), Interest::Writable)], Deadline::after(LOOK_EACH))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The pool's end: its calls never wait.
#[derive(Debug)]
pub(super) struct PoolStream {
    socket: Arc<OwnedFd>,
}

impl PoolStream {
    pub(super) fn plain(socket: Arc<OwnedFd>) -> PoolStream {
        PoolStream { socket }
    }

    /// Reads what is there; 0 = the other end has closed, `None` = nothing is there yet.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        stream::receive(self.socket.as_fd(), into)
    }

    /// Writes as much as there is room for; `None` = there is no room yet.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        stream::send(self.socket.as_fd(), &[IoSlice::new(bytes)])
    }

    /// Ends it, also for those who wait on it now.
    pub(super) fn shut_down(&self) {
        stream::shut_down(self.socket.as_fd());
    }
}
