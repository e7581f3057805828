//! Where values are read from: bytes of this process, of shared memory, or of a file, and the bodies in them.

use super::{CodecError, HAS_FDS, Result};
use crate::sys::copy::{Arriving, SharedBytes};
use crate::sys::file_part::FilePart;
use std::borrow::Cow;

/// Bytes to read values from: in this process's memory, or in memory that another process may change.
///
/// Every read is bounded; what lies beyond the end is an error.
#[derive(Debug)]
pub struct Reader<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) at: usize,
    /// The same bytes in their file: out of there the kernel copies large bodies.
    file: Option<FilePart<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Bytes<'a> {
    Own(&'a [u8]),
    Shared(SharedBytes<'a>),
    /// Still being written: so many of them, from there on.
    Arriving(&'a dyn Arriving, usize, usize),
}

impl Bytes<'_> {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Shared(bytes) => bytes.len(),
            Bytes::Arriving(.., len) => *len,
        }
    }
}

pub(super) fn cut_short() -> CodecError {
    CodecError("the data ends too early".to_owned())
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes: Bytes::Own(bytes), at: 0, file: None }
    }

    pub(crate) fn shared(bytes: SharedBytes<'a>) -> Reader<'a> {
        Reader { bytes: Bytes::Shared(bytes), at: 0, file: None }
    }

    /// The same bytes in their file.
    pub(crate) fn in_file(self, file: FilePart<'a>) -> Reader<'a> {
        Reader { file: Some(file), ..self }
    }

    /// Of bytes that are still being written.
    pub(crate) fn arriving(whole: &'a dyn Arriving) -> Reader<'a> {
        Reader { bytes: Bytes::Arriving(whole, 0, whole.len()), at: 0, file: None }
    }

    /// Passes over the first bytes, which an earlier reader has read.
    ///
    /// # Errors
    ///
    /// There are not so many.
    pub(crate) fn pass(&mut self, len: usize) -> Result<()> {
        self.advance(len).map(drop)
    }

    /// How many bytes were read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.len()
    }

    /// Whether the next bytes are these.
    pub(crate) fn begins_with(&self, expected: &[u8]) -> bool {
        let end = self.at.saturating_add(expected.len());
        match self.bytes {
            Bytes::Own(bytes) => bytes.get(self.at..end) == Some(expected),
            Bytes::Shared(bytes) => bytes.slice(self.at, expected.len()).is_some_and(|part| {
                let mut copy = vec![0; expected.len()];
                part.read_into(&mut copy);
                copy == expected
            }),
            // To be looked at twice they are too early.
            Bytes::Arriving(..) => false,
        }
    }

    /// The position of the next `len` bytes, which are then read.
    #[inline]
    pub(super) fn advance(&mut self, len: usize) -> Result<usize> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.len()).ok_or_else(cut_short)?;
        Ok(std::mem::replace(&mut self.at, end))
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let at = self.advance(N)?;
        let mut out = [0; N];
        match self.bytes {
            Bytes::Own(bytes) => out.copy_from_slice(&bytes[at..at + N]),
            Bytes::Shared(bytes) => bytes.slice(at, N).ok_or_else(cut_short)?.read_into(&mut out),
            Bytes::Arriving(whole, from, _) => {
                whole.read_into(from + at, &mut out).map_err(|error| CodecError::missing(N, &error))?;
            }
        }
        Ok(out)
    }

    pub(super) fn body(&mut self) -> Result<Body<'a>> {
        let len = u64::from_le_bytes(self.array()?);
        let has_fds = len & HAS_FDS != 0;
        let len = usize::try_from(len & !HAS_FDS).map_err(|_| cut_short())?;
        let at = self.advance(len)?;
        let bytes = match self.bytes {
            Bytes::Own(bytes) => Bytes::Own(&bytes[at..at + len]),
            Bytes::Shared(bytes) => Bytes::Shared(bytes.slice(at, len).ok_or_else(cut_short)?),
            Bytes::Arriving(whole, from, _) => Bytes::Arriving(whole, from + at, len),
        };
        let file = self.file.filter(|_| len >= BY_KERNEL).and_then(|file| file.behind(at)?.up_to(len));
        Ok(Body { bytes, has_fds, file })
    }

    /// The next body as its own bytes.
    pub(crate) fn body_bytes(&mut self) -> Result<Cow<'a, [u8]>> {
        self.body()?.bytes()
    }
}

/// Bodies of so many bytes are copied by the kernel where they lie in a file: a page of a mapping costs more the first time.
const BY_KERNEL: usize = 32 * 1024;

pub(super) struct Body<'a> {
    bytes: Bytes<'a>,
    pub(super) has_fds: bool,
    file: Option<FilePart<'a>>,
}

impl<'a> Body<'a> {
    pub(super) fn to_vec<N: bytemuck::Pod>(&self) -> Result<Vec<N>> {
        let odd = || CodecError("the length is not a multiple of the element size".to_owned());
        if self.bytes.len() % size_of::<N>() != 0 {
            return Err(odd());
        }
        if let Some(copied) = self.by_kernel() {
            return copied;
        }
        let no_memory = |_| CodecError::no_memory(self.bytes.len());
        match self.bytes {
            Bytes::Shared(bytes) => bytes.to_vec().map_err(no_memory),
            Bytes::Arriving(whole, at, len) => whole.to_vec(at, len).map_err(|error| CodecError::missing(len, &error)),
            Bytes::Own(bytes) => {
                let mut out = Vec::new();
                out.try_reserve_exact(bytes.len() / size_of::<N>()).map_err(no_memory)?;
                match bytemuck::try_cast_slice(bytes) {
                    Ok(numbers) => out.extend_from_slice(numbers),
                    // Not aligned.
                    Err(_) => {
                        out.resize(bytes.len() / size_of::<N>(), N::zeroed());
                        bytemuck::cast_slice_mut(&mut out).copy_from_slice(bytes);
                    }
                }
                Ok(out)
            }
        }
    }

    /// A copy by the kernel; `None` for a body that is small, does not lie in a file, or where a filter forbids to read files.
    fn by_kernel<N: bytemuck::Pod>(&self) -> Option<Result<Vec<N>>> {
        match self.file?.to_vec() {
            Ok(copied) => Some(Ok(copied)),
            Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                Some(Err(CodecError::no_memory(self.bytes.len())))
            }
            Err(_) => None,
        }
    }

    pub(super) fn bytes(&self) -> Result<Cow<'a, [u8]>> {
        if let Some(copied) = self.by_kernel() {
            return copied.map(Cow::Owned);
        }
        match self.bytes {
            Bytes::Own(bytes) => Ok(Cow::Borrowed(bytes)),
            Bytes::Shared(bytes) => {
                let mut out = Vec::new();
                bytes.append_to(&mut out).map_err(|_| CodecError::no_memory(bytes.len()))?;
                Ok(Cow::Owned(out))
            }
            Bytes::Arriving(whole, at, len) => {
                whole.to_vec(at, len).map(Cow::Owned).map_err(|error| CodecError::missing(len, &error))
            }
        }
    }
}
