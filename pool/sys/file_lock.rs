//! A lock on an open file, which the system gives back when the file is closed, whatever its process has died of.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;

/// Takes the exclusive lock on a file for as long as it is open. Returns whether it was free.
///
/// # Errors
///
/// The file system has no locks.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
