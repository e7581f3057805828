//! Pipes; most are read without waiting.

use crate::sys::descriptor::beyond_standard;
use crate::sys::poll;
use crate::sys::refusal::named;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A pipe, whose ends wait: the end to read from, and the end to write to. `pipe(2)`.
pub(crate) fn plain() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = named("pipe2", pipe_with(PipeFlags::CLOEXEC))?;
    Ok((beyond_standard(reader)?, beyond_standard(writer)?))
}

/// A pipe: the end to read from, which never waits, and the end to write to, which does.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = plain()?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    Ok((reader, writer))
}

/// Reads what is there; `Ok(0)` when every end to write to is closed, `WouldBlock` when there is nothing now.
pub(crate) fn read(pipe: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    // If the program has closed the descriptor, its number may be that of something which waits to be read.
    if !poll::is_readable(pipe) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut *into))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn an_empty_pipe_does_not_block_and_a_closed_one_ends() {
        let (reader, writer) = pipe().unwrap();
        let mut bytes = [0; 8];
        assert_eq!(read(reader.as_fd(), &mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        rustix::io::write(&writer, b"abc").unwrap();
        assert_eq!(read(reader.as_fd(), &mut bytes).unwrap(), 3);
        drop(writer);
        assert_eq!(read(reader.as_fd(), &mut bytes).unwrap(), 0);
    }
}
