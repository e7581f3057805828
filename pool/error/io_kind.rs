//! [`IoKind`]: what kind of error of the system it was.

use serde::{Deserialize, Serialize};
use std::io;

/// [`io::ErrorKind`] as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IoKind(pub(crate) io::ErrorKind);

const IO_KINDS: [io::ErrorKind; 17] = [
    io::ErrorKind::Other,
    io::ErrorKind::NotFound,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::NotConnected,
    io::ErrorKind::AddrInUse,
    io::ErrorKind::AddrNotAvailable,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::AlreadyExists,
    io::ErrorKind::WouldBlock,
    io::ErrorKind::InvalidInput,
    io::ErrorKind::InvalidData,
    io::ErrorKind::TimedOut,
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::OutOfMemory,
];

impl Serialize for IoKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = IO_KINDS.iter().position(|kind| *kind == self.0).unwrap_or(0);
        serializer.serialize_u8(u8::try_from(at).unwrap_or(0))
    }
}

impl<'de> Deserialize<'de> for IoKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<IoKind, D::Error> {
        let at = u8::deserialize(deserializer)?;
        Ok(IoKind(IO_KINDS.get(usize::from(at)).copied().unwrap_or(io::ErrorKind::Other)))
    }
}
