//! [`Address`]: where a listener is.

use crate::error::Error;
use crate::sys::stream::Name;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// Where a [`Listener`](crate::Listener) is: a port of a host, a path in the file system, or an abstract name of Linux.
///
/// It is made of what Python takes: a pair of host and port is TCP, a text or a path is a Unix socket, and a text that
/// begins with a zero is an abstract name.
///
/// ```
/// use multiproc::Address;
///
/// assert_eq!(Address::from(("localhost", 6000)).to_string(), "localhost:6000");
/// assert_eq!(Address::from("/tmp/socket"), Address::Unix("/tmp/socket".into()));
/// assert_eq!(Address::from("\0name"), Address::Abstract(b"name".to_vec()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A host, by name or number, and a port: TCP. To a listener an empty host is all interfaces of this machine, and port 0
    /// one that is free.
    Tcp(String, u16),
    /// A path in the file system.
    Unix(PathBuf),
    /// A name that no file system has, and that goes with its listener.
    Abstract(Vec<u8>),
}

impl Address {
    /// The name to listen at.
    ///
    /// IPv4 comes first, as in Python, whose clients do not find a listener of IPv6 by the name of its host.
    pub(super) fn to_listen_at(&self) -> Result<Name, Error> {
        match self {
            Address::Tcp(host, port) if host.is_empty() => Ok(Name::Ip((IpAddr::from([0, 0, 0, 0]), *port).into())),
            _ => self.names().map(|mut names| names.swap_remove(0)),
        }
    }

    /// The names to try one after the other, at least one.
    pub(super) fn names(&self) -> Result<Vec<Name>, Error> {
        Ok(match self {
            Address::Tcp(host, port) => {
                let found = (host.as_str(), *port).to_socket_addrs();
                let found = found.map_err(|error| io::Error::new(error.kind(), format!("{self}: {error}")))?;
                let (four, six): (Vec<_>, Vec<_>) = found.partition(SocketAddr::is_ipv4);
                let names: Vec<Name> = four.into_iter().chain(six).map(Name::Ip).collect();
                if names.is_empty() {
                    return Err(
                        io::Error::new(io::ErrorKind::NotFound, format!("{self}: the host has no address")).into()
                    );
                }
                names
            }
            Address::Unix(path) => vec![Name::Path(path.clone())],
            Address::Abstract(name) => vec![Name::Abstract(name.clone())],
        })
    }

    /// What the other end of a connection is bound to; most ends of Unix sockets are to nothing.
    pub(super) fn of(name: Name) -> Option<Address> {
        match name {
            Name::Ip(address) => Some(address.into()),
            Name::Path(path) => Some(Address::Unix(path)),
            Name::Abstract(name) => Some(Address::Abstract(name)),
            Name::None => None,
        }
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Address {
        Address::Tcp(host.to_owned(), port)
    }
}

impl From<(String, u16)> for Address {
    fn from((host, port): (String, u16)) -> Address {
        Address::Tcp(host, port)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address.ip().to_string(), address.port())
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Address {
        match text.strip_prefix('\0') {
            Some(name) => Address::Abstract(name.as_bytes().to_vec()),
            None => Address::Unix(text.into()),
        }
    }
}

impl From<String> for Address {
    fn from(text: String) -> Address {
        text.as_str().into()
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address::Unix(path)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Address {
        address.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => path.display().fmt(f),
            Address::Abstract(name) => write!(f, "\\0{}", name.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_finds_what_listens_at_a_name() {
        let localhost = Address::from(("localhost", 7));
        assert_eq!(localhost.to_listen_at().unwrap(), Name::Ip("127.0.0.1:7".parse().unwrap()));
        assert_eq!(localhost.names().unwrap()[0], Name::Ip("127.0.0.1:7".parse().unwrap()));
        assert_eq!(Address::from(("", 7)).to_listen_at().unwrap(), Name::Ip("0.0.0.0:7".parse().unwrap()));
        assert!(Address::from(("no host", 7)).names().unwrap_err().io_kind().is_some());
    }

    #[test]
    fn addresses_are_shown_as_they_are_written() {
        let shown = |address: Address| address.to_string();
        assert_eq!(shown("[::1]:80".parse::<SocketAddr>().unwrap().into()), "[::1]:80");
        assert_eq!(shown("\0a\0b".into()), "\\0a\\x00b");
        assert_eq!(shown(Path::new("/a/b").into()), "/a/b");
    }
}
