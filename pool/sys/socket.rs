//! Messages with descriptors between a parent and its child: `unix(7)`, `SOCK_SEQPACKET`, `SCM_RIGHTS`.

use crate::sys::descriptor::beyond_standard;
use crate::sys::poll::{self, Interest};
use crate::sys::random::random;
use crate::sys::refusal::{named, refused};
use crate::sys::time::Deadline;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// The largest number of descriptors in one message of ours: as many as ipc-channel puts into one.
pub(crate) const MAX_FDS: usize = 64;

/// The largest message of ours, in bytes; more travels in a memory file.
pub(crate) const MAX_LEN: usize = 64 * 1024;

/// Two ends that exchange whole messages.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (a, b) = named("socketpair", pair)?;
    Ok((beyond_standard(a)?, beyond_standard(b)?))
}

/// Sends one message with its descriptors; waits while the other end's buffer is full, but not beyond the deadline.
///
/// # Errors
///
/// The other end is gone (`BrokenPipe`, `ConnectionReset`), has read nothing in time (`TimedOut`), or too many descriptors.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], deadline: Deadline) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MAX_FDS || !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in one message"));
    }
    loop {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) if deadline.passed() => {
                let text = "sendmsg: the socket is full, and the other process does not read what is in it";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            // A message may fit although there is little room, which the system does not tell: so look again soon. If it
            // refuses to wait, a moment has passed as well.
            Err(rustix::io::Errno::AGAIN) => {
                let soon = deadline.earlier(Deadline::after(Duration::from_millis(20)));
                let _ = poll::wait(&[(socket, Interest::Writable)], soon);
            }
            Err(error) => return Err(refused("sendmsg", error)),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one message with its descriptors (close-on-exec); `Ok(None)` when the other end is gone.
///
/// # Errors
///
/// A message that was cut short (`MSG_TRUNC`) or has too many descriptors is `InvalidData`; `WouldBlock` when `wait` is
/// false and nothing is there. If there were no descriptors left for those in the message (`MSG_CTRUNC`), it is lost, and the
/// error is that of the system (EMFILE).
pub(crate) fn receive(socket: BorrowedFd<'_>, wait: bool) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    // Room for what is there, and no more: a new process pays for every fresh page.
    let mut bytes = match next_len(socket, wait) {
        Ok(len) => vec![0; len.min(MAX_LEN)],
        // The other end has gone with bytes unread: an end like any other.
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        // That happens often, and nobody reads a text.
        Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => return Err(refused("recvfrom", error)),
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let message = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(refused("recvmsg", error)),
            Ok(message) => break message,
        }
    };
    let (len, flags) = (message.bytes, message.flags);
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received.map(beyond_standard));
        }
    }
    let fds = fds.into_iter().collect::<io::Result<Vec<OwnedFd>>>()?;
    // Nobody sends more than the most, so it is this process that had no descriptor left.
    if flags.contains(ReturnFlags::CTRUNC) && fds.len() < MAX_FDS {
        return Err(refused("recvmsg", rustix::io::Errno::MFILE));
    }
    if flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a control message was cut short"));
    }
    if len == 0 && fds.is_empty() {
        // Nothing at all: the other end has closed the socket.
        return Ok(None);
    }
    bytes.truncate(len);
    Ok(Some((bytes, fds)))
}

/// The length of the next message, which stays where it is; 0 when the other end is gone.
fn next_len(socket: BorrowedFd<'_>, wait: bool) -> rustix::io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
    let flags = if wait { flags } else { flags | RecvFlags::DONTWAIT };
    rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut [0u8; 0], flags)).map(|(_, len)| len)
}

/// Has `connect` connect to a socket in the file system, and gives what it makes of that with our end of the connection.
/// The name is gone when this returns.
///
/// # Errors
///
/// The temporary folder refuses, or it was not this process that has connected.
pub(crate) fn connected<T>(connect: impl FnOnce(String) -> io::Result<T>) -> io::Result<(T, OwnedFd)> {
    let random = random();
    let path = std::env::temp_dir().join(format!("multiproc-{}-{random:x}", std::process::id()));
    let name = path.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    let refused = |error: rustix::io::Errno| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("no socket in the temporary folder (TMPDIR), {name}: {error}"))
    };
    let address = SocketAddrUnix::new(&path).map_err(refused)?;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&listener, &address).map_err(refused)?;
    let made = rustix::net::listen(&listener, 1).map_err(io::Error::from).and_then(|()| connect(name));
    let removed = std::fs::remove_file(&path);
    let made = made?;
    removed?;
    let ours = beyond_standard(rustix::net::accept_with(&listener, SocketFlags::CLOEXEC)?)?;
    match rustix::net::sockopt::socket_peercred(&ours)?.pid == rustix::process::getpid() {
        true => Ok((made, ours)),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Whether the other end of a connected Unix socket belongs to the user of this process.
pub(crate) fn is_of_own_user(socket: BorrowedFd<'_>) -> bool {
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Whether the descriptor is a socket.
///
/// By `fstat(2)`, which nobody forbids, and not by `getsockopt(2)`, which a filter of system calls may refuse.
pub(crate) fn is_socket(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_message_keeps_its_bounds_and_descriptors() {
        let (a, b) = pair().unwrap();
        assert!(is_socket(a.as_fd()));
        assert!(!is_socket(std::fs::File::open("/dev/null").unwrap().as_fd()));
        send(a.as_fd(), b"one", &[a.as_fd(), b.as_fd()], Deadline::NEVER).unwrap();
        send(a.as_fd(), b"two", &[], Deadline::NEVER).unwrap();
        let (bytes, fds) = receive(b.as_fd(), true).unwrap().unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (&b"one"[..], 2));
        drop(fds);
        assert_eq!(receive(b.as_fd(), true).unwrap().unwrap().0, b"two");
        assert_eq!(receive(b.as_fd(), false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert!(receive(b.as_fd(), true).unwrap().is_none());
    }

    #[test]
    fn a_connection_by_name_leaves_no_name() {
        let mut name = String::new();
        let connect = |path: String| {
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(&path)?)?;
            name = path;
            Ok(socket)
        };
        let (theirs, ours) = connected(connect).unwrap();
        send(theirs.as_fd(), b"hello", &[], Deadline::NEVER).unwrap();
        assert_eq!(receive(ours.as_fd(), true).unwrap().unwrap().0, b"hello");
        assert!(!std::path::Path::new(&name).exists());
        assert!(connected(|_| Err::<(), _>(io::ErrorKind::NotFound.into())).is_err());
    }

    #[test]
    fn a_full_socket_is_an_error_in_time() {
        let (a, b) = pair().unwrap();
        let send = |within| send(a.as_fd(), b"x", &[], Deadline::after(Duration::from_millis(within)));
        while send(0).is_ok() {}
        assert_eq!(send(50).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            receive(b.as_fd(), true).unwrap();
            b
        });
        send(20_000).unwrap();
        reader.join().unwrap();
    }

    #[test]
    fn too_much_is_an_error() {
        let (a, b) = pair().unwrap();
        assert!(send(a.as_fd(), b"x", &[a.as_fd(); MAX_FDS + 1], Deadline::NEVER).is_err());
        send(a.as_fd(), &vec![0; MAX_LEN + 1], &[], Deadline::NEVER).unwrap();
        assert_eq!(receive(b.as_fd(), true).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
