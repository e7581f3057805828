//! Bytes in a memory file of their own: what fits neither a link nor a message.
//!
//! Whoever sends them has the kernel copy them into the file, and whoever reads a large value has it copy that out of the file
//! into its final place ([`FilePart`]): a page that is first touched in a mapping costs several times what it takes to copy it.
//! Pages that a file has got are used again, as long as the file is: getting and giving back a page costs as much once more.

use crate::codec::{CodecError, Reader};
use crate::sys::file_part::FilePart;
use crate::sys::memory::{self, Mapping};
use crate::sys::usage;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

const NAME: &str = "multiproc-message";

/// A memory file that this process fills, again and again.
#[derive(Debug)]
pub(crate) struct FileBytes {
    file: OwnedFd,
    len: usize,
    /// How long the file is.
    room: usize,
    /// Behind so many bytes it has no pages.
    used: usize,
}

impl FileBytes {
    /// A file with these pieces, one behind the other.
    ///
    /// # Errors
    ///
    /// There is no memory, or no descriptor, for a file.
    pub(crate) fn new(pieces: &[&[u8]]) -> io::Result<FileBytes> {
        // A memory file cannot be empty to be mapped; the true length is in the message.
        let room = length(pieces).max(1);
        let mut file = FileBytes { file: memory::create(NAME, room)?, len: 0, room, used: 0 };
        file.fill(pieces)?;
        Ok(file)
    }

    /// Puts others in their place.
    ///
    /// # Errors
    ///
    /// There is no memory for them, or this process may not make so large a file.
    pub(crate) fn fill(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        self.fill_from(0, pieces)
    }

    /// Makes the file so long, at least: that is not refused when it is filled.
    ///
    /// # Errors
    ///
    /// This process may not make so large a file.
    pub(crate) fn reserve(&mut self, len: usize) -> io::Result<()> {
        if len > self.room {
            memory::grow(self.file.as_fd(), len)?;
            self.room = len;
        }
        Ok(())
    }

    /// Puts others in their place from `at` on; what is before that is not to be read.
    ///
    /// # Errors
    ///
    /// See [`FileBytes::fill`].
    pub(crate) fn fill_from(&mut self, at: usize, pieces: &[&[u8]]) -> io::Result<()> {
        let len = at + length(pieces);
        self.reserve(len)?;
        if self.used / 2 > len {
            // What one very large value has left is not kept for many that are smaller.
            memory::punch_behind(self.file.as_fd(), len as u64)?;
            self.used = len;
        }
        // Also if there are not so many in the end.
        self.used = self.used.max(len);
        match FilePart::new(self.file.as_fd(), at as u64, (len - at) as u64).write(pieces) {
            Ok(()) => {}
            Err(error) if usage::is_shortage(&error) => return Err(error),
            // A filter of this process forbids to write files.
            Err(_) => self.fill_mapped(at, pieces)?,
        }
        self.len = len;
        Ok(())
    }

    fn fill_mapped(&self, mut at: usize, pieces: &[&[u8]]) -> io::Result<()> {
        let mapping = memory::map(self.file.as_fd())?;
        for piece in pieces {
            if !mapping.bytes().write(at, piece) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            at += piece.len();
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    pub(crate) fn into_file(self) -> OwnedFd {
        self.file
    }

    /// The bytes, copied; nothing if there is no memory for them.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.to_vec_from(0)
    }

    /// Those from `at` on.
    pub(crate) fn to_vec_from(&self, at: usize) -> Vec<u8> {
        let part = FilePart::new(self.file.as_fd(), 0, self.len as u64).behind(at);
        let len = self.len.saturating_sub(at);
        let by_mapping = || memory::map(self.file.as_fd()).ok()?.bytes().slice(at, len)?.to_vec().ok();
        part.and_then(|part| copied(part, by_mapping)).unwrap_or_default()
    }
}

/// The bytes of a part of a file; `None` if there is no memory for them. `by_mapping` copies them where a filter of this process
/// forbids to read files.
fn copied(part: FilePart<'_>, by_mapping: impl FnOnce() -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    match part.to_vec() {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => None,
        Err(_) => by_mapping(),
    }
}

fn length(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

/// Bytes that another process has put into a memory file, and may change at any time.
#[derive(Debug)]
pub(crate) struct Filled {
    file: OwnedFd,
    /// No page of it is touched where the kernel copies.
    mapping: Mapping,
    /// Its pages go back to the system with it, whoever else has the file.
    last: AtomicBool,
}

impl Filled {
    /// Takes over the first `len` bytes of a file, one at least, after checking that all of them are there.
    ///
    /// # Errors
    ///
    /// See [`memory::map_filled`].
    pub(crate) fn new(file: OwnedFd, len: u64) -> io::Result<Filled> {
        let mapping = memory::map_filled(file.as_fd(), len)?;
        Ok(Filled { file, mapping, last: AtomicBool::new(false) })
    }

    pub(crate) fn len(&self) -> usize {
        self.mapping.bytes().len()
    }

    /// Reads values from them.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::shared(self.mapping.bytes()).in_file(self.part())
    }

    fn part(&self) -> FilePart<'_> {
        FilePart::new(self.file.as_fd(), 0, self.len() as u64)
    }

    /// The bytes, copied.
    ///
    /// # Errors
    ///
    /// There is no memory for them.
    pub(crate) fn to_vec(&self) -> Result<Vec<u8>, CodecError> {
        let no_memory = || CodecError::no_memory(self.len());
        copied(self.part(), || self.mapping.bytes().to_vec().ok()).ok_or_else(no_memory)
    }

    /// Gives the pages back to the system now; what is read later is zeros.
    pub(crate) fn discard(&self) {
        // Without it they stay until the last descriptor is closed.
        let _ = memory::punch_behind(self.file.as_fd(), 0);
    }

    /// Has the pages go back to the system when nobody reads them any more, although who has written them keeps the file.
    pub(crate) fn discard_at_end(&self) {
        self.last.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        if *self.last.get_mut() {
            self.discard();
        }
    }
}

/// A memory file for payloads that go to one worker, which can only read it.
#[derive(Debug)]
pub(crate) struct ReadableFile {
    pub(crate) bytes: FileBytes,
    /// The file once more, for reading.
    pub(crate) reading: OwnedFd,
}

impl ReadableFile {
    /// # Errors
    ///
    /// See [`FileBytes::new`]; or there is no `/proc`.
    pub(crate) fn new(pieces: &[&[u8]]) -> io::Result<ReadableFile> {
        let bytes = FileBytes::new(pieces)?;
        let reading = memory::reopen_for_reading(bytes.file().as_fd())?;
        Ok(ReadableFile { bytes, reading })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use std::os::fd::BorrowedFd;

    fn pages(file: BorrowedFd<'_>) -> u64 {
        let stat = std::fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap();
        std::os::unix::fs::MetadataExt::blocks(&stat) * 512 / 4096
    }

    fn opened(file: &FileBytes) -> Filled {
        Filled::new(file.file().try_clone().unwrap(), file.len() as u64).unwrap()
    }

    #[test]
    fn a_file_is_filled_again_and_again() {
        let mut file = FileBytes::new(&[b"one", b"", b"two"]).unwrap();
        assert_eq!(opened(&file).to_vec().unwrap(), b"onetwo");
        for len in [100_000, 1, 300_000, 5] {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            file.fill(&[&bytes[..len / 2], &bytes[len / 2..]]).unwrap();
            assert_eq!((file.to_vec(), opened(&file).to_vec().unwrap()), (bytes.clone(), bytes.clone()));
            file.fill_mapped(0, &[&bytes]).unwrap();
            assert_eq!(file.to_vec(), bytes);
        }
        file.fill_from(200_000, &[b"be", b"hind"]).unwrap();
        assert_eq!((file.len(), file.to_vec_from(200_000)), (200_006, b"behind".to_vec()));
        file.fill_mapped(200_000, &[b"BE"]).unwrap();
        assert_eq!((file.to_vec_from(200_001), file.to_vec_from(200_007)), (b"Ehind".to_vec(), Vec::new()));
        file.fill(&[&[7; 5]]).unwrap();
        // The pages of the largest are not kept for one of five bytes.
        assert_eq!(pages(file.file().as_fd()), 1);
    }

    #[test]
    fn values_are_read_wherever_they_lie() {
        let (numbers, text) = ((0..100_000).collect::<Vec<u64>>(), "x".repeat(70_000));
        let mut bytes = Vec::new();
        codec::encode(&7u8, &mut bytes).unwrap();
        codec::encode(&numbers, &mut bytes).unwrap();
        codec::encode(&text, &mut bytes).unwrap();
        codec::encode(&vec![1u16, 2], &mut bytes).unwrap();
        let filled = opened(&FileBytes::new(&[&bytes]).unwrap());
        let mut reader = filled.reader();
        assert_eq!(codec::decode::<u8>(&mut reader).unwrap(), 7);
        assert_eq!(codec::decode::<Vec<u64>>(&mut reader).unwrap(), numbers);
        assert_eq!(codec::decode::<String>(&mut reader).unwrap(), text);
        assert_eq!(codec::decode::<Vec<u16>>(&mut reader).unwrap(), [1, 2]);
        assert!(reader.is_empty());
    }

    #[test]
    fn the_pages_go_when_that_is_asked_for() {
        let file = FileBytes::new(&[&[7; 50_000]]).unwrap();
        let filled = opened(&file);
        drop(opened(&file));
        assert_eq!(pages(filled.descriptor()), 13);
        filled.discard_at_end();
        drop(filled);
        assert_eq!(pages(file.file().as_fd()), 0);
    }

    #[test]
    fn who_may_read_cannot_write() {
        let file = ReadableFile::new(&[&[7; 5000]]).unwrap();
        let filled = Filled::new(file.reading.try_clone().unwrap(), 5000).unwrap();
        assert_eq!(filled.to_vec().unwrap(), [7; 5000]);
        filled.discard();
        assert_eq!(file.bytes.to_vec(), [7; 5000]);
        assert!(FilePart::new(filled.descriptor(), 0, 10).write(&[b"x"]).is_err());
    }
}
