//! Bytes in and out of memory that another process may change at any moment.
//!
//! A Rust reference to such memory would promise the compiler what nobody can keep. These copies go through a function
//! pointer that is read by a volatile load, whose outcome the compiler must not assume. So to it they are what a system
//! call is: somebody else's work on raw memory. The bytes that arrive can be any mixture of old and new; they are never trusted.
//!
//! Words of eight bytes are read and written by atomics (`word`), also where other code copies the bytes around them. The memory
//! model of Rust has no rule for accesses of different sizes that overlap; every processor that this library builds for does the
//! smaller ones as parts of the larger.

use crate::sys::large_vec::with_room;
use std::collections::TryReserveError;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that somebody is still writing, from the first to the last, and that are read once, in this order.
pub(crate) trait Arriving: fmt::Debug + Send {
    /// How many there will be.
    fn len(&self) -> usize;

    /// Waits for those from `at` on, and gives as many as there are in one piece; none behind the end.
    ///
    /// # Errors
    ///
    /// They do not come.
    fn wait_for(&self, at: usize) -> io::Result<SharedBytes<'_>>;

    /// Those before `at` were read.
    fn pass(&self, at: usize);
}

impl dyn Arriving + '_ {
    /// Reads so many bytes from `at` on.
    ///
    /// # Errors
    ///
    /// They do not come, or are not so many.
    pub(crate) fn read_into(&self, mut at: usize, out: &mut [u8]) -> io::Result<()> {
        let mut rest = out;
        while !rest.is_empty() {
            let there = self.there(at, rest.len())?;
            let (first, others) = rest.split_at_mut(there.len);
            there.read_into(first);
            (at, rest) = (at + there.len, others);
            self.pass(at);
        }
        Ok(())
    }

    /// Reads `len` bytes from `at` on, as a vector of plain values; an incomplete one at the end is left out.
    ///
    /// # Errors
    ///
    /// See [`Self::read_into`]; or there is no memory for it.
    pub(crate) fn to_vec<T: bytemuck::Pod>(&self, at: usize, len: usize) -> io::Result<Vec<T>> {
        let count = len.checked_div(size_of::<T>()).unwrap_or(0);
        let mut out = with_room::<T>(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let (target, len) = (out.as_mut_ptr().cast::<u8>(), count * size_of::<T>());
        let mut done = 0;
        while done < len {
            let there = self.there(at + done, len - done)?;
            // SAFETY: `done` is below `len`, the length of the target's room.
            let to = unsafe { target.add(done) };
            // SAFETY: the source is `there.len` mapped bytes; so many, and no more than `len - done`, have room in the target.
            unsafe { opaque(to, there.start, there.len) };
            done += there.len;
            self.pass(at + done);
        }
        // SAFETY: the capacity is `count` at least, and `count` values were written; any bytes are a valid `T` (`Pod`).
        unsafe { out.set_len(count) };
        Ok(out)
    }

    /// One to `most` bytes from `at` on.
    fn there(&self, at: usize, most: usize) -> io::Result<SharedBytes<'_>> {
        let there = self.wait_for(at)?;
        let there = there.slice(0, there.len.min(most)).filter(|it| it.len > 0);
        there.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// They are written and read in pieces of so many bytes.
pub(crate) const PIECE: usize = 64 * 1024;

type Memcpy = unsafe extern "C" fn(*mut libc::c_void, *const libc::c_void, usize) -> *mut libc::c_void;

/// A piece of shared memory: may be read and written by other processes at any time.
///
/// Every access is bounded by the length; nothing ever hands out a reference into it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedBytes<'a> {
    start: *mut u8,
    len: usize,
    mapping: PhantomData<&'a ()>,
}

// SAFETY: the type holds no data of its own; all access goes through opaque copies or atomics, which any thread may
// perform on mapped memory at any time.
unsafe impl Send for SharedBytes<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedBytes<'_> {}

impl<'a> SharedBytes<'a> {
    /// # Safety
    ///
    /// `start .. start + len` stays mapped for `'a`. An access that the mapping does not allow is answered by a signal of the
    /// kernel, and touches nothing. No Rust reference to plain bytes of it is used while these are accessed.
    #[inline]
    pub(crate) unsafe fn new(start: *mut u8, len: usize) -> Self {
        SharedBytes { start, len, mapping: PhantomData }
    }

    /// Where it begins.
    pub(crate) fn start(self) -> *mut u8 {
        self.start
    }

    /// Its length in bytes.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// `len` bytes from `at` on; `None` when they do not lie inside.
    #[inline]
    pub(crate) fn slice(self, at: usize, len: usize) -> Option<SharedBytes<'a>> {
        if at.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: `at <= self.len` was just checked, so the pointer stays within (or one past) the piece.
        let start = unsafe { self.start.add(at) };
        Some(SharedBytes { start, len, mapping: PhantomData })
    }

    /// The whole piece as one word: what is so long is copied at once, and not byte by byte.
    #[inline]
    fn word(self) -> Option<&'a AtomicU64> {
        if self.len != 8 || self.start as usize % 8 != 0 {
            return None;
        }
        // SAFETY: the eight bytes lie inside the mapping, are aligned for a u64 (just checked), and are only ever accessed
        // atomically or by opaque copies.
        Some(unsafe { AtomicU64::from_ptr(self.start.cast()) })
    }

    /// Copies `bytes` to `at`; `false`, and nothing is done, when they do not fit.
    #[inline]
    #[must_use]
    pub(crate) fn write(self, at: usize, bytes: &[u8]) -> bool {
        let Some(target) = self.slice(at, bytes.len()) else { return false };
        if bytes.is_empty() {
            // Known where this is inlined, as a rule; the call below takes longer than what is written of most values.
            return true;
        }
        if let (Some(cell), Ok(bytes)) = (target.word(), bytes.try_into()) {
            cell.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            return true;
        }
        // SAFETY: `target` is `bytes.len()` mapped, writable bytes, and cannot overlap `bytes`, since no Rust
        // reference to shared memory exists.
        unsafe { opaque(target.start, bytes.as_ptr(), bytes.len()) };
        true
    }

    /// Copies everything into `out`, which has the same length.
    ///
    /// # Panics
    ///
    /// Panics when the lengths differ.
    #[inline]
    pub(crate) fn read_into(self, out: &mut [u8]) {
        assert_eq!(self.len, out.len(), "lengths differ");
        if let (Some(cell), [_, _, _, _, _, _, _, _]) = (self.word(), &*out) {
            return out.copy_from_slice(&cell.load(Ordering::Relaxed).to_ne_bytes());
        }
        // SAFETY: the source is `len` mapped bytes, the target an exclusive slice of the same length.
        unsafe { opaque(out.as_mut_ptr(), self.start, self.len) };
    }

    /// Appends everything to `out`, without first filling the new part with zeros.
    ///
    /// # Errors
    ///
    /// There is no memory for it; nothing was done.
    pub(crate) fn append_to(self, out: &mut Vec<u8>) -> Result<(), TryReserveError> {
        out.try_reserve(self.len)?;
        // SAFETY: `try_reserve` made room for `self.len` bytes behind the current end.
        let end = unsafe { out.as_mut_ptr().add(out.len()) };
        // SAFETY: the source is `len` mapped bytes, the target the spare capacity just reserved.
        unsafe { opaque(end, self.start, self.len) };
        // SAFETY: the capacity suffices and the bytes up to the new length were just written.
        unsafe { out.set_len(out.len() + self.len) };
        Ok(())
    }

    /// Everything as a vector of plain values; an incomplete one at the end is left out.
    ///
    /// # Errors
    ///
    /// There is no memory for it.
    pub(crate) fn to_vec<T: bytemuck::Pod>(self) -> Result<Vec<T>, TryReserveError> {
        let count = self.len.checked_div(size_of::<T>()).unwrap_or(0);
        let mut out = with_room::<T>(count)?;
        // SAFETY: the source is mapped, and `count` values are no longer; the target has just been made that large.
        unsafe { opaque(out.as_mut_ptr().cast(), self.start, count * size_of::<T>()) };
        // SAFETY: the capacity is `count` at least, and `count` values were written; any bytes are a valid `T` (`Pod`).
        unsafe { out.set_len(count) };
        Ok(out)
    }
}

/// `memcpy` that the optimiser cannot see through.
///
/// # Safety
///
/// As `memcpy(3)`: `len` bytes mapped at both ends, not overlapping.
unsafe fn opaque(to: *mut u8, from: *const u8, len: usize) {
    static MEMCPY: Memcpy = libc::memcpy;
    // SAFETY: a static that is never written.
    let copy = unsafe { std::ptr::read_volatile(&raw const MEMCPY) };
    // SAFETY: the pointer is that of `memcpy`; what it asks for is forwarded to the caller.
    unsafe { copy(to.cast(), from.cast(), len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(bytes: &mut Vec<u64>) -> SharedBytes<'_> {
        let len = bytes.len() * 8;
        // SAFETY: the vector outlives the piece, and the test uses no reference to it meanwhile.
        unsafe { SharedBytes::new(bytes.as_mut_ptr().cast(), len) }
    }

    #[test]
    fn copies_in_and_out() {
        let mut memory = vec![0u64; 4];
        let piece = shared(&mut memory);
        assert!(piece.write(3, b"hello"));
        assert!(piece.write(8, &7u64.to_ne_bytes()));
        let mut out = vec![1u8];
        piece.slice(3, 5).unwrap().append_to(&mut out).unwrap();
        assert_eq!(out, b"\x01hello");
        assert_eq!(piece.slice(8, 8).unwrap().to_vec::<u64>().unwrap(), [7]);
        let mut eight = [0u8; 8];
        piece.slice(8, 8).unwrap().read_into(&mut eight);
        assert_eq!(u64::from_ne_bytes(eight), 7);
    }

    /// Bytes of which so many come, `piece` at a time.
    #[derive(Debug)]
    struct InPieces<'a> {
        whole: SharedBytes<'a>,
        piece: usize,
        comes: usize,
        passed: std::sync::Mutex<Vec<usize>>,
    }

    impl Arriving for InPieces<'_> {
        fn len(&self) -> usize {
            self.whole.len()
        }

        fn wait_for(&self, at: usize) -> io::Result<SharedBytes<'_>> {
            let rest = self.comes - at.min(self.comes);
            Ok(self.whole.slice(at, rest.min(self.piece)).unwrap())
        }

        fn pass(&self, at: usize) {
            self.passed.lock().unwrap().push(at);
        }
    }

    #[test]
    fn what_arrives_in_pieces_is_read_in_pieces() {
        let mut memory: Vec<u64> = (1..5).map(|at| at * 0x0101_0203_0405_0607).collect();
        let whole = shared(&mut memory);
        let passed = || std::sync::Mutex::new(Vec::new());
        let arriving = &InPieces { whole, piece: 15, comes: 32, passed: passed() } as &dyn Arriving;
        assert_eq!(arriving.to_vec::<u16>(0, 32).unwrap(), whole.to_vec::<u16>().unwrap());
        assert_eq!(arriving.to_vec::<u32>(4, 11).unwrap(), whole.slice(4, 8).unwrap().to_vec::<u32>().unwrap());
        let mut out = [0; 20];
        arriving.read_into(10, &mut out).unwrap();
        assert_eq!(out[..], whole.slice(10, 20).unwrap().to_vec::<u8>().unwrap());
        let pieces = InPieces { whole, piece: 15, comes: 32, passed: passed() };
        (&pieces as &dyn Arriving).to_vec::<u8>(0, 32).unwrap();
        assert_eq!(*pieces.passed.lock().unwrap(), [15, 30, 32]);
        let short = &InPieces { whole, piece: 15, comes: 31, passed: passed() } as &dyn Arriving;
        assert!(short.to_vec::<u8>(0, 32).is_err() && short.read_into(0, &mut [0; 32]).is_err());
        assert!(short.to_vec::<u64>(31, 7).unwrap().is_empty());
    }

    #[test]
    fn nothing_outside_is_touched() {
        let mut memory = vec![0u64; 2];
        let piece = shared(&mut memory);
        assert!(!piece.write(12, b"12345"));
        assert!(!piece.write(usize::MAX, b"1"));
        assert!(piece.slice(16, 1).is_none());
        assert!(piece.slice(usize::MAX, 2).is_none());
        assert_eq!(piece.slice(1, 3).unwrap().to_vec::<u16>().unwrap(), [0]);
        assert_eq!(memory, [0, 0]);
    }
}
