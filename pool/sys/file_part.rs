//! Bytes into a memory file and out of it by the kernel, without touching a mapping.
//!
//! A page that is first touched in a mapping costs a page fault, about a microsecond for its 4 KiB, several times what it
//! takes to copy them. For bytes that are written once and read once the kernel's own copies are cheaper, `pwritev(2)` and
//! `pread(2)`, and where memory is short they fail, while a touch ends the process by SIGBUS.

use crate::sys::large_vec::with_room;
use crate::sys::memory::size_limit;
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

/// A part of a memory file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilePart<'a> {
    file: BorrowedFd<'a>,
    at: u64,
    len: u64,
}

impl<'a> FilePart<'a> {
    pub(crate) fn new(file: BorrowedFd<'a>, at: u64, len: u64) -> FilePart<'a> {
        FilePart { file, at, len }
    }

    /// Its length in bytes.
    pub(crate) fn len(self) -> u64 {
        self.len
    }

    /// The first bytes; `None` when there are not so many.
    pub(crate) fn up_to(self, len: usize) -> Option<FilePart<'a>> {
        (len as u64 <= self.len).then_some(FilePart { len: len as u64, ..self })
    }

    /// The bytes from `at` on; `None` when that is behind the end.
    pub(crate) fn behind(self, at: usize) -> Option<FilePart<'a>> {
        let at = at as u64;
        Some(FilePart { at: self.at.checked_add(at)?, len: self.len.checked_sub(at)?, ..self })
    }

    /// Writes the pieces one behind the other, from the start on.
    ///
    /// # Errors
    ///
    /// They do not fit; there is no memory; the system does not allow it.
    pub(crate) fn write(self, pieces: &[&[u8]]) -> io::Result<()> {
        let len: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let end = self.at.checked_add(len).filter(|_| len <= self.len).ok_or(io::ErrorKind::InvalidInput)?;
        if size_limit().is_some_and(|limit| end > limit) {
            // It would not only fail but send SIGXFSZ, which kills (setrlimit(2)).
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let (mut rest, mut at) = (&mut slices[..], self.at);
        while at < end {
            match rustix::io::pwritev(self.file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// All bytes as a vector of plain values; an incomplete one at the end is left out.
    ///
    /// # Errors
    ///
    /// There is no memory for it; the system does not allow it.
    pub(crate) fn to_vec<T: bytemuck::Pod>(self) -> io::Result<Vec<T>> {
        let count = usize::try_from(self.len).unwrap_or(usize::MAX).checked_div(size_of::<T>()).unwrap_or(0);
        let mut out = with_room::<T>(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let room = &mut out.spare_capacity_mut()[..count];
        // SAFETY: the same bytes, of which nothing is asked while they are uninitialised.
        let room: &mut [MaybeUninit<u8>] =
            unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), size_of_val(room)) };
        let mut done = 0;
        while done < room.len() {
            match rustix::io::pread(self.file, &mut room[done..], self.at + done as u64) {
                Ok(([], _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((read, _)) => done += read.len(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // SAFETY: the capacity is `count` at least, and all bytes of so many were filled in; any are a valid `T` (`Pod`).
        unsafe { out.set_len(count) };
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory;
    use std::os::fd::AsFd;

    #[test]
    fn what_was_written_is_read_and_nothing_outside_is_touched() {
        let (file, mapping) = memory::create_mapped("test", 3 << 20).unwrap();
        let part = FilePart::new(file.as_fd(), 4096, 2 << 20);
        let numbers: Vec<u64> = (0..(1 << 18) - 1).collect();
        part.write(&[b"12345678", b"", bytemuck::cast_slice(&numbers)]).unwrap();
        assert_eq!(part.behind(8).unwrap().to_vec::<u64>().unwrap(), numbers);
        assert_eq!(part.to_vec::<u8>().unwrap()[..8], *b"12345678");
        assert!(part.behind((2 << 20) - 7).unwrap().to_vec::<u64>().unwrap().is_empty());
        let outside = [mapping.bytes().slice(0, 4096).unwrap(), mapping.bytes().slice(4096 + (2 << 20), 4096).unwrap()];
        assert!(outside.iter().all(|it| it.to_vec::<u8>().unwrap() == [0; 4096]));
        assert!(part.behind(2 << 20).unwrap().write(&[b"x"]).is_err() && part.behind((2 << 20) + 1).is_none());
        assert!(part.write(&[&vec![0; 1 << 20], &vec![0; (1 << 20) + 1]]).is_err());
        assert!(FilePart::new(file.as_fd(), 2 << 20, 2 << 20).to_vec::<u8>().is_err());
        assert!(FilePart::new(file.as_fd(), u64::MAX - 5, 10).write(&[b"xxxxxx"]).is_err());
    }
}
