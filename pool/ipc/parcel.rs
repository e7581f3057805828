//! Bytes of any length beside a message on a control socket: in the message, or in a memory file.

use crate::codec::Reader;
use crate::ipc::file_bytes::{FileBytes, Filled};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;

/// So many bytes travel in the message itself; a message has to carry other things as well.
const MOST_INLINE: usize = 16 * 1024;

/// Where the bytes are; part of a message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Parcel {
    /// Here.
    Inline(#[serde(with = "crate::codec::bytes")] Vec<u8>),
    /// In the memory file that travels with the message: so many.
    File(u64),
}

impl Parcel {
    /// Packs bytes; the file travels with the message.
    ///
    /// # Errors
    ///
    /// There is no memory, or no descriptor, for a file.
    pub(crate) fn pack(bytes: Vec<u8>) -> io::Result<(Parcel, Option<OwnedFd>)> {
        if bytes.len() <= MOST_INLINE {
            return Ok((Parcel::Inline(bytes), None));
        }
        let file = FileBytes::new(&[&bytes])?;
        Ok((Parcel::File(file.len() as u64), Some(file.into_file())))
    }

    /// Whether a file travels with the message.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Parcel::File(_))
    }

    /// Opens a parcel that came with this file.
    ///
    /// # Errors
    ///
    /// The sender did not keep to the rules.
    pub(crate) fn open(self, file: Option<&OwnedFd>) -> io::Result<Contents> {
        match self {
            Parcel::Inline(bytes) => Ok(Contents::Inline(bytes)),
            Parcel::File(len) => {
                let file = file.ok_or(io::ErrorKind::InvalidData)?.try_clone()?;
                Ok(Contents::File(Filled::new(file, len)?))
            }
        }
    }
}

/// The bytes of a parcel; those in a file may be changed by the other process at any time.
#[derive(Debug)]
pub(crate) enum Contents {
    Inline(Vec<u8>),
    File(Filled),
}

impl Contents {
    /// Reads values from them.
    pub(crate) fn reader(&self) -> Reader<'_> {
        match self {
            Contents::Inline(bytes) => Reader::new(bytes),
            Contents::File(filled) => filled.reader(),
        }
    }

    /// A copy of them, if they are no more than `most`.
    ///
    /// # Errors
    ///
    /// They are more, or there is no memory for them.
    pub(crate) fn to_vec(&self, most: usize) -> io::Result<Vec<u8>> {
        match self {
            Contents::Inline(bytes) if bytes.len() <= most => Ok(bytes.clone()),
            Contents::File(filled) if filled.len() <= most => {
                filled.to_vec().map_err(|_| io::ErrorKind::OutOfMemory.into())
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory;

    #[test]
    fn bytes_of_every_length_arrive() {
        for len in [0, 1, MOST_INLINE, MOST_INLINE + 1, 1_000_000] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let (parcel, file) = Parcel::pack(bytes.clone()).unwrap();
            assert_eq!(file.is_some(), len > MOST_INLINE);
            let contents = parcel.open(file.as_ref()).unwrap();
            assert_eq!(contents.to_vec(len).unwrap(), bytes);
            assert!(len == 0 || contents.to_vec(len - 1).is_err());
        }
    }

    #[test]
    fn a_parcel_that_lies_is_an_error() {
        assert!(Parcel::File(100).open(None).is_err());
        let file = memory::create("test", 4096).unwrap();
        assert!(Parcel::File(4097).open(Some(&file)).is_err());
        // It is one hole.
        assert!(Parcel::File(4096).open(Some(&file)).is_err());
        assert!(Parcel::File(u64::MAX).open(Some(&file)).is_err());
        let null = std::fs::File::open("/dev/null").unwrap().into();
        assert!(Parcel::File(0).open(Some(&null)).is_err());
    }
}
