//! Memory files without a name, and their mappings.

use crate::sys::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use crate::sys::copy::SharedBytes;
use crate::sys::descriptor::beyond_standard;
use crate::sys::refusal::named;
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A mapped memory file; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: MmapRaw,
}

impl Mapping {
    /// Leaves it out of core dumps: nobody is told that a process has died before its dump is written.
    ///
    /// `madvise(2)` with `MADV_DONTDUMP`.
    fn without_dump(map: MmapRaw) -> Mapping {
        // Where the system refuses, the dump is longer.
        let _ = map.advise(Advice::DontDump);
        Mapping { map }
    }

    /// Everything that is mapped.
    #[inline]
    pub(crate) fn bytes(&self) -> SharedBytes<'_> {
        // SAFETY: the mapping is readable, and writable unless it was made for reading, where the kernel answers a write
        // with SIGSEGV; it lives as long as `self`; the file cannot shrink (sealed), or else the kernel answers an access
        // behind its end with SIGBUS (`map_shrinkable`). All access is by `SharedBytes` and by atomics (`view`), but for
        // the elements that `sync/slice.rs` lends as a slice: whoever copies them in or out holds their lock.
        unsafe { SharedBytes::new(self.map.as_mut_ptr(), self.map.len()) }
    }

    /// Gives the pages back to the system that lie wholly or in part in the range of `len` bytes from `at` on; they read as zero
    /// afterwards. The page in which the range begins stays.
    ///
    /// `madvise(2)` with `MADV_REMOVE`: [`punch`] for who has no descriptor of the file any more.
    ///
    /// # Errors
    ///
    /// The range does not lie inside, or the system refuses.
    pub(crate) fn punch(&self, at: usize, len: usize) -> io::Result<()> {
        let end = at.checked_add(len).filter(|end| *end <= self.map.len()).ok_or(io::ErrorKind::InvalidInput)?;
        let at = at.next_multiple_of(rustix::param::page_size());
        if at >= end {
            return Ok(());
        }
        // SAFETY: `at` lies inside the mapping, which begins with a page.
        let start = unsafe { self.map.as_mut_ptr().add(at) };
        // SAFETY: the range lies inside a mapping of a memory file, where the call does what a hole in the file does: its bytes
        // become zero. They are shared, and read and written as `bytes` says, so that nobody takes them for constant.
        Ok(unsafe { rustix::mm::madvise(start.cast(), end - at, rustix::mm::Advice::LinuxRemove) }?)
    }

    /// A view of the memory at `at` as a structure of atomics.
    ///
    /// # Panics
    ///
    /// Panics when it does not lie inside or is not aligned.
    #[inline]
    pub(crate) fn view<T: Atomics>(&self, at: usize) -> &T {
        assert!(at.checked_add(size_of::<T>()).is_some_and(|end| end <= self.map.len()), "outside the mapping");
        // SAFETY: `at` lies inside the mapping (just checked).
        let start = unsafe { self.map.as_mut_ptr().add(at) };
        assert!(start as usize % align_of::<T>() == 0, "not aligned");
        // SAFETY: mapped, aligned, and lives as long as `self`. `T: Atomics` promises that every byte of it is part of
        // an atomic, so that writes of other processes are no data races and any bytes are valid.
        unsafe { &*start.cast::<T>() }
    }

    /// A view of the memory at `at` as `count` structures of atomics, one behind the other.
    ///
    /// # Panics
    ///
    /// Panics when they do not lie inside or are not aligned.
    pub(crate) fn views<T: Atomics>(&self, at: usize, count: usize) -> &[T] {
        let end = count.checked_mul(size_of::<T>()).and_then(|len| at.checked_add(len));
        assert!(end.is_some_and(|end| end <= self.map.len()), "outside the mapping");
        // SAFETY: `at` lies inside the mapping (just checked).
        let start = unsafe { self.map.as_mut_ptr().add(at) };
        assert!(start as usize % align_of::<T>() == 0, "not aligned");
        // SAFETY: as in `view`, for each of them; together they lie inside the mapping (just checked).
        unsafe { std::slice::from_raw_parts(start.cast::<T>(), count) }
    }
}

/// A structure of atomics in a mapping, which was looked up once and keeps the mapping.
pub(crate) struct View<T: Atomics + 'static> {
    mapping: Arc<Mapping>,
    start: *const T,
}

// SAFETY: it is a reference to a structure of atomics (`Atomics: Sync`) and a count of references to what it lies in.
unsafe impl<T: Atomics> Send for View<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Atomics> Sync for View<T> {}

impl<T: Atomics> View<T> {
    /// The structure at `at`.
    ///
    /// # Panics
    ///
    /// Panics when it does not lie inside or is not aligned.
    pub(crate) fn new(mapping: &Arc<Mapping>, at: usize) -> View<T> {
        View { mapping: Arc::clone(mapping), start: std::ptr::from_ref(mapping.view(at)) }
    }
}

impl<T: Atomics> Clone for View<T> {
    fn clone(&self) -> Self {
        View { mapping: Arc::clone(&self.mapping), start: self.start }
    }
}

impl<T: Atomics> Deref for View<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `Mapping::view` has made the pointer of a reference into the mapping, which stays where it is as long as
        // `self` holds it.
        unsafe { &*self.start }
    }
}

impl<T: Atomics> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.start).finish()
    }
}

/// Some bytes of a mapping, which were looked up once and keep the mapping.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    mapping: Arc<Mapping>,
    start: *mut u8,
    len: usize,
}

// SAFETY: it is a `SharedBytes`, which is `Send`, and a count of references to what that lies in.
unsafe impl Send for Part {}
// SAFETY: as for `Send`.
unsafe impl Sync for Part {}

impl Part {
    /// The `len` bytes from `at` on.
    ///
    /// # Panics
    ///
    /// Panics when they do not lie inside.
    pub(crate) fn new(mapping: &Arc<Mapping>, at: usize, len: usize) -> Part {
        let part = mapping.bytes().slice(at, len).expect("outside the mapping");
        Part { mapping: Arc::clone(mapping), start: part.start(), len }
    }

    /// The mapping in which they lie.
    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// All of them.
    #[inline]
    pub(crate) fn bytes(&self) -> SharedBytes<'_> {
        // SAFETY: `new` has found them inside the mapping, which lives as long as `self`; for the rest see `Mapping::bytes`.
        unsafe { SharedBytes::new(self.start, self.len) }
    }
}

// SAFETY: every byte is part of the atomic.
unsafe impl Atomics for AtomicU8 {}
// SAFETY: every byte is part of the atomic.
unsafe impl Atomics for AtomicU16 {}
// SAFETY: every byte is part of the atomic.
unsafe impl Atomics for AtomicU32 {}
// SAFETY: every byte is part of the atomic.
unsafe impl Atomics for AtomicU64 {}

/// Types that consist of nothing but atomics and may therefore be viewed in memory that other processes write.
///
/// # Safety
///
/// `repr(C)` or `repr(transparent)`; every field an atomic integer or itself `Atomics`; no padding.
#[allow(unsafe_code)]
pub(crate) unsafe trait Atomics: Sync {}

/// The largest file that this process may make, in bytes; `None` without a limit.
///
/// Growing a file beyond RLIMIT_FSIZE would not only fail but send SIGXFSZ, which kills (setrlimit(2)).
pub(crate) fn size_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current
}

/// Makes a memory file of `len` bytes (sparse: pages come at the first touch) that can neither shrink nor be unsealed.
///
/// `memfd_create(2)`. The name is only for /proc/PID/maps; nothing appears in any file system.
pub(crate) fn create(name: &str, len: usize) -> io::Result<OwnedFd> {
    if size_limit().is_some_and(|limit| len as u64 > limit) {
        // Before a descriptor is taken for it.
        return Err(too_large());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Some systems allow only files that can never be executed (the sysctl vm.memfd_noexec); a kernel before 6.3 does not
    // know them yet.
    let file = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        made => made,
    };
    let file = beyond_standard(named("memfd_create", file)?)?;
    named("ftruncate", rustix::fs::ftruncate(&file, len as u64))?;
    named("fcntl(F_ADD_SEALS)", rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL))?;
    Ok(file)
}

/// Makes a memory file longer.
///
/// # Errors
///
/// This process may not make so large a file.
pub(crate) fn grow(file: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    if size_limit().is_some_and(|limit| len as u64 > limit) {
        return Err(too_large());
    }
    named("ftruncate", rustix::fs::ftruncate(file, len as u64))
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "the file size limit (ulimit -f) is too small")
}

/// Memory of this process alone, for what shares nothing and still wants a [`Mapping`].
pub(crate) fn private(len: usize) -> io::Result<Mapping> {
    Ok(Mapping { map: MmapOptions::new().len(len).map_anon()?.into() })
}

/// Maps the whole file, shared and writable, after checking that it cannot shrink under us.
///
/// # Errors
///
/// The file is not a sealed memory file, is empty, or cannot be mapped.
pub(crate) fn map(file: BorrowedFd<'_>) -> io::Result<Mapping> {
    let len = sealed_len(file)?;
    let map = MmapOptions::new().len(usize::try_from(len).unwrap_or(0)).map_raw(&file)?;
    Ok(Mapping::without_dump(map))
}

/// The same memory file once more, by a descriptor that allows nothing but reading; no mapping of it can be made writable.
///
/// # Errors
///
/// There are no descriptors left, or there is no `/proc`.
pub(crate) fn reopen_for_reading(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    beyond_standard(named(&format!("openat({path}), for which /proc must be mounted"), opened)?)
}

/// Maps the whole file, shared and for reading alone, after checking that it cannot shrink under us. Writing into it ends the
/// process by SIGSEGV.
///
/// # Errors
///
/// See [`map`].
pub(crate) fn map_for_reading(file: BorrowedFd<'_>) -> io::Result<Mapping> {
    let len = sealed_len(file)?;
    let map = MmapOptions::new().len(usize::try_from(len).unwrap_or(0)).map_raw_read_only(&file)?;
    Ok(Mapping::without_dump(map))
}

/// Maps the first `len` bytes of a file that another process has filled, for reading alone, after checking that all of them are
/// there.
///
/// A file can be longer than any memory and hold nothing. Reading such a hole takes the reader's memory; so the length counts
/// only as far as the file has blocks. What the other process takes out of the file later reads as zeros.
///
/// # Errors
///
/// The file is no sealed memory file in ordinary pages (in huge ones a hole may end the reader by SIGBUS), holds less, or
/// cannot be mapped.
pub(crate) fn map_filled(file: BorrowedFd<'_>, len: u64) -> io::Result<Mapping> {
    const TMPFS: u64 = 0x0102_1994;
    sealed_len(file)?;
    let stat = rustix::fs::fstat(file)?;
    let (size, blocks) = (u64::try_from(stat.st_size).unwrap_or(0), u64::try_from(stat.st_blocks).unwrap_or(0));
    if rustix::fs::fstatfs(file)?.f_type as u64 != TMPFS || len > size.min(blocks.saturating_mul(512)) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a memory file does not hold what is said of it"));
    }
    let len = usize::try_from(len.max(1)).map_err(|_| io::ErrorKind::InvalidData)?;
    let map = MmapOptions::new().len(len).map_raw_read_only(&file)?;
    Ok(Mapping::without_dump(map))
}

/// Maps a part of the file, shared and writable, after the same check.
///
/// # Errors
///
/// See [`map`]; the part does not lie inside.
pub(crate) fn map_part(file: BorrowedFd<'_>, at: u64, len: usize) -> io::Result<Mapping> {
    let all = sealed_len(file)?;
    if len == 0 || at.checked_add(len as u64).is_none_or(|end| end > all) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "outside of the memory file"));
    }
    let map = MmapOptions::new().offset(at).len(len).map_raw(&file)?;
    Ok(Mapping::without_dump(map))
}

/// Maps a whole file that others may shrink, since it is not one of ours, shared and writable.
///
/// The mapping is as long as the file is now. What remains: if somebody makes the file shorter later, the next access
/// behind its new end is a SIGBUS, and the process dies of it; nothing else can happen, and nothing can prevent it, since
/// named shared memory cannot be sealed.
///
/// # Errors
///
/// The file is empty or cannot be mapped.
pub(crate) fn map_shrinkable(file: BorrowedFd<'_>) -> io::Result<Mapping> {
    let len = usize::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    if len == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory is empty"));
    }
    let map = MmapOptions::new().len(len).map_raw(&file)?;
    Ok(Mapping { map })
}

/// The length of a memory file that cannot become shorter.
pub(crate) fn sealed_len(file: BorrowedFd<'_>) -> io::Result<u64> {
    let seals = rustix::fs::fcntl_get_seals(file)?;
    let len = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    if !seals.contains(SealFlags::SHRINK) || len == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the memory file is empty or not sealed against shrinking",
        ));
    }
    Ok(len)
}

/// Makes a memory file and maps it.
pub(crate) fn create_mapped(name: &str, len: usize) -> io::Result<(OwnedFd, Mapping)> {
    let file = create(name, len)?;
    let mapping = map(file.as_fd())?;
    Ok((file, mapping))
}

/// The first page from `at` on that nobody has touched: none before it is such a page. `lseek(2)` with `SEEK_HOLE`.
pub(crate) fn first_hole(file: BorrowedFd<'_>, at: u64) -> Option<u64> {
    rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(at)).ok()
}

/// Gives the pages of a byte range back to the system; they read as zero afterwards.
///
/// `fallocate(2)` with `FALLOC_FL_PUNCH_HOLE`.
pub(crate) fn punch(file: BorrowedFd<'_>, at: u64, len: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    Ok(rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, len)?)
}

/// Gives all pages back to the system that lie wholly behind `at`, up to the end of the file; see [`punch`].
pub(crate) fn punch_behind(file: BorrowedFd<'_>, at: u64) -> io::Result<()> {
    let len = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    // Of a page in which a range ends only the bytes would go.
    let page = rustix::param::page_size() as u64;
    let [at, end] = [at, len].map(|it| it.next_multiple_of(page));
    if at < end { punch(file, at, end - at) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::atomic::Ordering;

    #[test]
    fn a_hole_by_the_mapping_reads_as_zero_and_takes_no_memory() {
        let page = rustix::param::page_size();
        let (file, mapping) = create_mapped("test", 8 * page).unwrap();
        assert!((0..8).all(|at| mapping.bytes().write(at * page, b"x")));
        let written = || (0..8).map(|at| mapping.view::<AtomicU8>(at * page).load(Ordering::Relaxed) == b'x');
        let blocks = || rustix::fs::fstat(&file).unwrap().st_blocks;
        let before = blocks();
        mapping.punch(page + 1, 3 * page).unwrap();
        // Who reads a hole by a mapping fills it with zeros.
        assert!(blocks() < before);
        assert_eq!(written().collect::<Vec<_>>(), [true, true, false, false, false, true, true, true]);
        mapping.punch(7 * page + 1, 5).unwrap();
        assert!(written().next_back().unwrap());
        assert!(mapping.punch(page, 8 * page).is_err() && mapping.punch(usize::MAX, 2).is_err());
    }

    #[test]
    fn two_mappings_share_the_bytes() {
        let (file, first) = create_mapped("test", 8192).unwrap();
        let second = map(file.as_fd()).unwrap();
        assert!(first.bytes().write(4096, b"shared"));
        let mut out = Vec::new();
        second.bytes().slice(4096, 6).unwrap().append_to(&mut out).unwrap();
        assert_eq!(out, b"shared");
        punch(file.as_fd(), 4096, 4096).unwrap();
        out.clear();
        second.bytes().slice(4096, 6).unwrap().append_to(&mut out).unwrap();
        assert_eq!(out, [0; 6]);
    }

    #[test]
    fn it_is_left_out_of_core_dumps() {
        let (_file, mapping) = create_mapped("multiproc-test-dump", 8192).unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let of_it = smaps.split("multiproc-test-dump").nth(1).unwrap();
        let flags = of_it.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.split(' ').any(|flag| flag == "dd"), "{flags}");
        drop(mapping);
    }

    #[test]
    fn a_length_counts_as_far_as_there_is_something() {
        let (file, mapping) = create_mapped("test", 1 << 40).unwrap();
        assert!(map_filled(file.as_fd(), 1).is_err());
        assert!(mapping.bytes().write(0, &[7; 5000]));
        assert_eq!(map_filled(file.as_fd(), 5000).unwrap().bytes().len(), 5000);
        assert!(map_filled(file.as_fd(), 1 << 39).is_err());
        assert!(map_filled(file.as_fd(), u64::MAX).is_err());
        assert_eq!(map_filled(file.as_fd(), 0).unwrap().bytes().len(), 1);
        // Where the system has no huge pages, it does not even make such a file.
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        if let Ok(huge) = rustix::fs::memfd_create("test", flags) {
            rustix::fs::ftruncate(&huge, 1 << 30).unwrap();
            rustix::fs::fcntl_add_seals(&huge, SealFlags::SHRINK).unwrap();
            assert!(map_filled(huge.as_fd(), 0).is_err());
        }
    }

    #[test]
    fn what_was_opened_for_reading_cannot_be_written() {
        let (file, mapping) = create_mapped("test", 4096).unwrap();
        let reading = reopen_for_reading(file.as_fd()).unwrap();
        assert!(map(reading.as_fd()).is_err());
        let view = map_for_reading(reading.as_fd()).unwrap();
        assert!(mapping.bytes().write(9, b"seen"));
        assert_eq!(view.bytes().slice(9, 4).unwrap().to_vec::<u8>().unwrap(), b"seen");
        assert!(map_for_reading(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }

    #[test]
    fn a_file_that_could_shrink_is_refused() {
        let file = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        assert_eq!(map(file.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(map(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }

    /// A kernel that knows such files may be told to allow no others.
    #[test]
    fn what_is_made_can_never_be_executed_where_the_kernel_knows_that() {
        let file = create("test", 4096).unwrap();
        let known = std::path::Path::new("/proc/sys/vm/memfd_noexec").exists();
        assert_eq!(rustix::fs::fcntl_get_seals(&file).unwrap().contains(SealFlags::EXEC), known);
    }

    #[test]
    fn a_sealed_file_does_not_shrink() {
        let file = create("test", 4096).unwrap();
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        assert!(rustix::fs::ftruncate(&file, 8192).is_ok());
    }
}
