//! Sockets that carry a stream of bytes, TCP or Unix. No call here waits, but for those that say so, and [`connect`], which
//! waits until its deadline.

use crate::sys::descriptor::beyond_standard;
use crate::sys::poll::{self, Interest, pause};
use crate::sys::refusal::{named, refused};
use crate::sys::time::Deadline;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags,
    SocketType, sockopt,
};
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Ip(SocketAddr),
    Path(PathBuf),
    /// A name of Linux's own, which is in no file system.
    Abstract(Vec<u8>),
    /// The end of somebody who connects has no name.
    None,
}

impl Name {
    fn encode(&self) -> io::Result<SocketAddrAny> {
        Ok(match self {
            Name::Ip(address) => (*address).into(),
            Name::Path(path) => SocketAddrUnix::new(path.as_path())?.into(),
            Name::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?.into(),
            Name::None => return Err(io::ErrorKind::InvalidInput.into()),
        })
    }

    fn decode(address: SocketAddrAny) -> Name {
        if let Ok(address) = SocketAddr::try_from(address.clone()) {
            return Name::Ip(address);
        }
        let Ok(address) = SocketAddrUnix::try_from(address) else { return Name::None };
        match (address.path_bytes(), address.abstract_name()) {
            (Some(path), _) if !path.is_empty() => Name::Path(Path::new(OsStr::from_bytes(path)).to_owned()),
            (_, Some(name)) if !name.is_empty() => Name::Abstract(name.to_vec()),
            _ => Name::None,
        }
    }

    fn socket(&self) -> io::Result<OwnedFd> {
        let family = match self {
            Name::Ip(SocketAddr::V4(_)) => AddressFamily::INET,
            Name::Ip(SocketAddr::V6(_)) => AddressFamily::INET6,
            _ => AddressFamily::UNIX,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        beyond_standard(named("socket", rustix::net::socket_with(family, SocketType::STREAM, flags, None))?)
    }
}

/// Binds a socket to the name and listens; the socket, and the name that it has got.
pub(crate) fn listen(name: &Name, backlog: i32) -> io::Result<(OwnedFd, Name)> {
    let socket = name.socket()?;
    if matches!(name, Name::Ip(_)) {
        // As all servers do: a port whose last connections are not forgotten yet can be bound again.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &name.encode()?)?;
    rustix::net::listen(&socket, backlog)?;
    let bound = Name::decode(rustix::net::getsockname(&socket)?);
    Ok((socket, bound))
}

/// Takes one that wants to connect; `None` if there is none.
///
/// # Errors
///
/// The system has no descriptor or no memory left. A moment has passed then, since the one that wants to connect is still
/// there, and a caller that asks again would spin.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, Name)>> {
    loop {
        match rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((socket, name)) => {
                let name = name.map_or(Name::None, Name::decode);
                if matches!(name, Name::Ip(_)) {
                    sockopt::set_tcp_nodelay(&socket, true)?;
                }
                return Ok(Some((beyond_standard(socket)?, name)));
            }
            Err(Errno::AGAIN) => return Ok(None),
            // The second: who wanted to connect has gone again.
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => {
                pause(Deadline::NEVER);
                return Err(refused("accept4", error));
            }
        }
    }
}

/// Connects to who listens at the name.
///
/// # Errors
///
/// Nobody listens there, or has taken the connection in time (`TimedOut`).
pub(crate) fn connect(name: &Name, deadline: Deadline) -> io::Result<OwnedFd> {
    let (socket, address) = (name.socket()?, name.encode()?);
    let too_late = || io::Error::new(io::ErrorKind::TimedOut, "connect: nobody has taken the connection in time");
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            // Too many wait there to be accepted (Unix sockets only), and no descriptor tells when there is room.
            Err(Errno::AGAIN) => {
                if deadline.passed() {
                    return Err(too_late());
                }
                pause(deadline);
            }
            Err(Errno::INPROGRESS | Errno::INTR) => {
                if !poll::wait(&[(rustix::fd::AsFd::as_fd(&socket), Interest::Writable)], deadline)?[0] {
                    return Err(too_late());
                }
                sockopt::socket_error(&socket)?.map_err(io::Error::from)?;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if matches!(name, Name::Ip(_)) {
        // Where nobody listens at a port that the kernel gives to clients, it can give a socket just that one, which is then
        // connected to itself.
        if Name::decode(rustix::net::getsockname(&socket)?) == *name {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        sockopt::set_tcp_nodelay(&socket, true)?;
    }
    Ok(socket)
}

/// So much may be under way in a [`pair`], where the system allows it (`net.core.wmem_max`).
const ROOM: usize = 1 << 20;

/// The two ends of a stream without a name.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (a, b) = named("socketpair", pair)?;
    for end in [&a, &b] {
        // Less room is no harm.
        let _ = sockopt::set_socket_send_buffer_size(end, ROOM);
    }
    Ok((beyond_standard(a)?, beyond_standard(b)?))
}

/// Reads what is there, up to the length of `into`; 0 = the other end has closed, `None` = nothing is there yet.
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<usize>> {
    read(socket, into, RecvFlags::DONTWAIT)
}

/// Like [`receive`], but waits until something is there.
pub(crate) fn wait_and_receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Option<usize>> {
    read(socket, into, RecvFlags::empty())
}

fn read(socket: BorrowedFd<'_>, into: &mut [u8], flags: RecvFlags) -> io::Result<Option<usize>> {
    match rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *into, flags)) {
        Ok((_, len)) => Ok(Some(len)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes as much of the parts as there is room for, in their order; `None` = there is no room yet. Raises no SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    write(socket, parts, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// Like [`send`], but waits for room.
pub(crate) fn wait_and_send(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    write(socket, parts, SendFlags::NOSIGNAL)
}

fn write(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>], flags: SendFlags) -> io::Result<Option<usize>> {
    let mut nothing = SendAncillaryBuffer::default();
    match rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, parts, &mut nothing, flags)) {
        Ok(len) => Ok(Some(len)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Ends the connection in both directions, also for those who wait on it now.
pub(crate) fn shut_down(socket: BorrowedFd<'_>) {
    // The only possible error is that it has ended already.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn exchange(name: &Name) {
        let (listener, bound) = listen(name, 4).unwrap();
        assert!(accept(listener.as_fd()).unwrap().is_none());
        let client = connect(&bound, Deadline::after(Duration::from_secs(20))).unwrap();
        let (server, _) = accept(listener.as_fd()).unwrap().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receive(server.as_fd(), &mut buffer).unwrap(), None);
        assert_eq!(send(client.as_fd(), &[IoSlice::new(b"ab"), IoSlice::new(b"cd")]).unwrap(), Some(4));
        poll::wait(&[(server.as_fd(), Interest::Readable)], Deadline::NEVER).unwrap();
        assert_eq!((receive(server.as_fd(), &mut buffer).unwrap(), &buffer[..4]), (Some(4), &b"abcd"[..]));
        shut_down(client.as_fd());
        poll::wait(&[(server.as_fd(), Interest::Readable)], Deadline::NEVER).unwrap();
        assert_eq!(receive(server.as_fd(), &mut buffer).unwrap(), Some(0));
        // Somebody else may get the port of a listener that has closed, but not a name that is a file or abstract.
        if !matches!(bound, Name::Ip(_)) {
            drop(listener);
            refuses(&bound);
        }
    }

    fn refuses(name: &Name) {
        let until = Deadline::after(Duration::from_secs(20));
        let error = loop {
            match connect(name, Deadline::NEVER) {
                Err(error) => break error,
                // A child that another test has started has a copy of the listener until it executes.
                Ok(_) => assert!(!until.passed(), "somebody listens"),
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_port_without_a_listener_refuses() {
        let name = Name::Ip("127.0.0.1:0".parse().unwrap());
        let socket = name.socket().unwrap();
        rustix::net::bind(&socket, &name.encode().unwrap()).unwrap();
        refuses(&Name::decode(rustix::net::getsockname(&socket).unwrap()));
    }

    #[test]
    fn a_client_is_not_connected_to_itself() {
        // As many tries as the kernel needs to give a client each of its ports. It gives even ones to clients, odd ones to
        // listeners that ask for any, so that no other test listens here.
        let name = Name::Ip("127.0.0.1:40002".parse().unwrap());
        for _ in 0..40_000 {
            refuses(&name);
        }
    }

    #[test]
    fn all_kinds_of_names_connect() {
        exchange(&Name::Ip("127.0.0.1:0".parse().unwrap()));
        let unique = format!("multiproc-stream-{}", std::process::id());
        exchange(&Name::Abstract(unique.clone().into_bytes()));
        let path = std::env::temp_dir().join(unique);
        exchange(&Name::Path(path.clone()));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_copy_of_an_end_does_not_keep_a_pair_open() {
        let (a, b) = pair().unwrap();
        assert_eq!(receive(b.as_fd(), &mut [0; 8]).unwrap(), None);
        assert_eq!(wait_and_send(a.as_fd(), &[IoSlice::new(b"abc")]).unwrap(), Some(3));
        assert_eq!(wait_and_receive(b.as_fd(), &mut [0; 8]).unwrap(), Some(3));
        let _copy = a.try_clone().unwrap();
        shut_down(a.as_fd());
        assert_eq!(wait_and_receive(b.as_fd(), &mut [0; 8]).unwrap(), Some(0));
    }

    #[test]
    fn a_full_backlog_is_an_error_in_time() {
        let name = Name::Abstract(format!("multiproc-backlog-{}", std::process::id()).into_bytes());
        let (_listener, bound) = listen(&name, 0).unwrap();
        let connect = || connect(&bound, Deadline::after(Duration::from_millis(20)));
        let connected: Vec<_> = std::iter::repeat_with(connect).take_while(Result::is_ok).take(8).collect();
        assert!(connected.len() < 8);
        assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
