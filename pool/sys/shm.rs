//! Shared memory with a name: `shm_overview(7)`.
//!
//! The one place where something of this library has a name outside of its processes, so the one place where a kill
//! could leave something behind. A block is therefore made without a name and gets it in one step at the very end, after
//! the caller has written down what it will be called and which inode it is; and a name is only ever removed while it
//! still means that inode.

use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where the names are, on every Linux: the C libraries have the same constant.
const FOLDER: &str = "/dev/shm";

/// The most bytes of a name.
pub(crate) const LONGEST_NAME: usize = 255;

/// Which block it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShmId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The id and the length.
pub(crate) fn look(file: BorrowedFd<'_>) -> io::Result<(ShmId, u64)> {
    let stat = rustix::fs::fstat(file)?;
    Ok((id_of(&stat), u64::try_from(stat.st_size).unwrap_or(0)))
}

fn id_of(stat: &rustix::fs::Stat) -> ShmId {
    ShmId { device: stat.st_dev, inode: stat.st_ino }
}

/// Makes a block of `len` zero bytes called `name`, for this user alone; `before` hears its id before it has the name.
///
/// All its memory is reserved at once: an error now and not a SIGBUS when it is first touched and there is none left.
///
/// # Errors
///
/// The name exists, there is not enough memory, or this process may not make such files.
pub(crate) fn create(name: &str, len: u64, mut before: impl FnMut(ShmId)) -> io::Result<OwnedFd> {
    if super::memory::size_limit().is_some_and(|limit| len > limit) {
        // Trying would not only fail but send SIGXFSZ, which kills.
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file size limit (ulimit -f) is too small"));
    }
    let mode = Mode::RUSR | Mode::WUSR;
    let file = match rustix::fs::open(FOLDER, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(file) => file,
        Err(_) => return create_by_name(name, len, before),
    };
    resize(&file, len)?;
    before(look(file.as_fd())?.0);
    // The two documented ways to give a file without a name one: open(2), `O_TMPFILE`. The second one needs no `/proc`, but a
    // right (CAP_DAC_READ_SEARCH) or Linux 6.10.
    let (unnamed, path) = (format!("/proc/self/fd/{}", file.as_raw_fd()), format!("{FOLDER}/{name}"));
    let named = match rustix::fs::linkat(CWD, unnamed, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
        Err(Errno::NOENT) => rustix::fs::linkat(&file, "", CWD, &path, AtFlags::EMPTY_PATH),
        named => named,
    };
    match named {
        Err(Errno::NOENT) => create_by_name(name, len, before),
        named => named.map(|()| file).map_err(io::Error::from),
    }
}

/// Like [`create`], where files without a name are not to be had, or cannot be given one: a kill between the first two steps
/// leaves the name.
fn create_by_name(name: &str, len: u64, mut before: impl FnMut(ShmId)) -> io::Result<OwnedFd> {
    use rustix::shm::OFlags;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    let file = rustix::shm::open(name, flags, Mode::RUSR | Mode::WUSR)?;
    let (id, _) = look(file.as_fd())?;
    before(id);
    if let Err(error) = resize(&file, len) {
        let _ = unlink(name, id);
        return Err(error);
    }
    Ok(file)
}

fn resize(file: &OwnedFd, len: u64) -> io::Result<()> {
    rustix::fs::ftruncate(file, len)?;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        // A file system that cannot reserve.
        Err(Errno::OPNOTSUPP) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Opens the block of that name. `shm_open(3)`.
///
/// # Errors
///
/// There is none, it is no block, or it belongs to somebody else.
pub(crate) fn open(name: &str) -> io::Result<OwnedFd> {
    // No symbolic links, as in C; and something that is no file must not make us wait.
    let flags = rustix::shm::OFlags::RDWR.bits() | (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = rustix::shm::open(name, rustix::shm::OFlags::from_bits_retain(flags), Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no shared memory has this name, but something else"));
    }
    Ok(file)
}

/// Removes the name if it still means that block. Mappings of the block go on.
///
/// # Errors
///
/// `NotFound`: nothing has the name, or another block.
pub(crate) fn unlink(name: &str, id: ShmId) -> io::Result<()> {
    if id_of(&rustix::fs::lstat(format!("{FOLDER}/{name}"))?) != id {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(rustix::shm::unlink(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(what: &str) -> String {
        format!("multiproc-test-{}-{what}", std::process::id())
    }

    type Create = fn(&str, u64, &mut dyn FnMut(ShmId)) -> io::Result<OwnedFd>;

    const WAYS: [Create; 2] =
        [|name, len, before| create(name, len, before), |name, len, before| create_by_name(name, len, before)];

    #[test]
    fn both_ways_make_the_same() {
        let name = name("both");
        for create in WAYS {
            let mut told = None;
            let file = create(&name, 5000, &mut |id| told = Some(id)).unwrap();
            let (id, len) = look(file.as_fd()).unwrap();
            assert_eq!((told, len), (Some(id), 5000));
            assert_eq!(create(&name, 10, &mut |_| {}).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(look(open(&name).unwrap().as_fd()).unwrap(), (id, 5000));
            let other = ShmId { inode: id.inode + 1, ..id };
            assert_eq!(unlink(&name, other).unwrap_err().kind(), io::ErrorKind::NotFound);
            unlink(&name, id).unwrap();
            assert_eq!(unlink(&name, id).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(open(&name).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn what_does_not_fit_leaves_nothing() {
        let name = name("large");
        for create in WAYS {
            assert!(create(&name, 1 << 60, &mut |_| {}).is_err());
            assert_eq!(open(&name).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
