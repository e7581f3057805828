//! Where values are read from: bytes of this process, of shared memory, or of a file, and the bodies in them.

use super::{CodecError, HAS_FDS, Result};
use crate::sys::copy::{Arriving, PIECE, SharedBytes};
use crate::sys::file_part::FilePart;
use std::borrow::Cow;

/// Bytes to read values from: in this process's memory, or in memory that another process may change.
///
/// Every read is bounded; what lies beyond the end is an error.
#[derive(Debug)]
pub struct Reader<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) at: usize,
    large: Large<'a>,
}

/// How large bodies are read.
#[derive(Clone, Copy, Debug)]
enum Large<'a> {
    /// As all others.
    Here,
    /// The kernel copies them: the same bytes in their file.
    InFile(FilePart<'a>),
    /// As they arrive, while all before the first of them is there.
    Arriving(&'a dyn Arriving),
}

#[derive(Debug)]
pub(super) enum Bytes<'a> {
    Own(&'a [u8]),
    Shared(SharedBytes<'a>),
}

impl Bytes<'_> {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Shared(bytes) => bytes.len(),
        }
    }
}

pub(super) fn cut_short() -> CodecError {
    CodecError("the data ends too early".to_owned())
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes: Bytes::Own(bytes), at: 0, large: Large::Here }
    }

    pub(crate) fn shared(bytes: SharedBytes<'a>) -> Reader<'a> {
        Reader { bytes: Bytes::Shared(bytes), at: 0, large: Large::Here }
    }

    /// The same bytes in their file.
    pub(crate) fn in_file(self, file: FilePart<'a>) -> Reader<'a> {
        Reader { large: Large::InFile(file), ..self }
    }

    /// Of bytes of which the last body is still being written.
    pub(crate) fn arriving(whole: &'a dyn Arriving) -> Reader<'a> {
        Reader { bytes: Bytes::Shared(whole.bytes()), at: 0, large: Large::Arriving(whole) }
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
        };
        let large = match self.large {
            Large::InFile(file) if len >= BY_KERNEL => {
                file.behind(at).and_then(|file| file.up_to(len)).map_or(Large::Here, Large::InFile)
            }
            Large::InFile(_) => Large::Here,
            other => other,
        };
        Ok(Body { bytes, has_fds, at, large })
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
    /// Where it begins in what the reader reads.
    at: usize,
    large: Large<'a>,
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
            Bytes::Shared(bytes) => match self.large {
                Large::Arriving(whole) => bytes.to_vec_in_pieces(PIECE, |end| whole.wait_for(self.at + end)),
                _ => bytes.to_vec(),
            }
            .map_err(no_memory),
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
        let Large::InFile(file) = self.large else { return None };
        match file.to_vec() {
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
                if let Large::Arriving(whole) = self.large {
                    whole.wait_for(self.at + bytes.len());
                }
                let mut out = Vec::new();
                bytes.append_to(&mut out).map_err(|_| CodecError::no_memory(bytes.len()))?;
                Ok(Cow::Owned(out))
            }
        }
    }
}
