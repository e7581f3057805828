//! [`Listener`]: waits for other programs that connect.

use super::address::Address;
use super::auth::{AuthKey, Secret};
use super::handshake::{Handshake, Side};
use super::remote::{MAX_MESSAGE, RemoteConnection, lock_by};
use crate::error::{ConnectionError, Error};
use crate::sys::epoll::Epoll;
use crate::sys::poll::Interest;
use crate::sys::stream;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// How long a client has for its authentication if nothing else is said.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many clients may be in the middle of their authentication; for one more the oldest has to go.
const MAX_PENDING: usize = 128;

/// How many may wait to be accepted if nothing else is said: as many as in Rust's standard library. Python says 1.
const BACKLOG: u32 = 128;

/// The number of the listening socket among the descriptors that are waited for; those of clients begin behind it.
const LISTENING: u64 = 0;

/// Waits for other programs, in this language or in Python, that connect: Python's `multiprocessing.connection.Listener`.
///
/// ```
/// use multiproc::{Client, Listener};
///
/// // with Listener(('localhost', 0), authkey=b'secret password') as listener:
/// let listener = Listener::bind(("localhost", 0), "secret password")?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || Client::connect(address, "secret password"));
/// // with listener.accept() as connection: connection.send_bytes(b'hello')
/// listener.accept()?.send_bytes(b"hello")?;
/// assert_eq!(client.join().unwrap()?.recv_bytes(100)?, b"hello");
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// A client has to show that it has the key, and is shown that the listener has it. Any number of clients may be in the
/// middle of that: one that is silent keeps no other one waiting, is an error of [`Listener::accept`] after 10 s, see
/// [`ListenerBuilder::handshake_timeout`], and can send no message of more than 256 bytes before.
///
/// Dropping it closes it, and removes the path of a Unix socket. Threads may share one.
pub struct Listener {
    socket: OwnedFd,
    address: Address,
    secret: Option<Secret>,
    handshake_timeout: Duration,
    max_message: usize,
    /// Knows the listening socket and those of `pending`.
    ready: Epoll,
    pending: Mutex<Pending>,
    /// What is in the file system.
    _path: RemovedPath,
}

/// The clients in the middle of their authentication, by number; the lowest came first.
#[derive(Default)]
struct Pending {
    clients: BTreeMap<u64, PendingClient>,
    last_number: u64,
}

struct PendingClient {
    handshake: Handshake,
    peer: Option<Address>,
    deadline: Deadline,
}

/// Removes a path when dropped.
struct RemovedPath(Option<PathBuf>);

impl Drop for RemovedPath {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It may be gone already, and nobody is here to be told.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// Listens at the address for clients that have the key.
    ///
    /// # Errors
    ///
    /// [`Error::io_kind`]: somebody else listens there (`AddrInUse`), the host is not one of this machine, the path is not
    /// allowed. [`Error::is_invalid_argument`]: the key is empty.
    pub fn bind(address: impl Into<Address>, key: impl Into<AuthKey>) -> Result<Listener, Error> {
        Listener::builder().bind(address, key)
    }

    /// Returns a builder for a listener with options.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder {
            allow_md5: false,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            backlog: BACKLOG,
            max_message: MAX_MESSAGE,
        }
    }

    /// Returns where the listener is; with the port that was free if port 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for a client that connects and has the key.
    ///
    /// # Errors
    ///
    /// Each is about one client, which is gone then, or about the system; the listener goes on, and so can a loop.
    /// [`ConnectionError::is_authentication`]: it does not have the key, or is Python up to 3.11, see
    /// [`ListenerBuilder::allow_md5`]. [`ConnectionError::is_timeout`]: it has not shown that it has the key in time.
    /// [`ConnectionError::is_protocol`], [`ConnectionError::is_disconnected`], …: it does not want to.
    ///
    /// # Timeouts
    ///
    /// Waits as long as nobody connects; see [`Listener::accept_timeout`].
    pub fn accept(&self) -> Result<RemoteConnection, ConnectionError> {
        loop {
            // Without a time limit nothing but a connection or an error ends the wait.
            if let Some(connection) = self.accept_by(Deadline::NEVER)? {
                return Ok(connection);
            }
        }
    }

    /// Waits for a client for at most `timeout`; `None` if none came. One in the middle of its authentication goes on with
    /// the next call.
    ///
    /// # Errors
    ///
    /// See [`Listener::accept`].
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Option<RemoteConnection>, ConnectionError> {
        self.accept_by(Deadline::after(timeout))
    }

    fn accept_by(&self, deadline: Deadline) -> Result<Option<RemoteConnection>, ConnectionError> {
        // Who waits for the lock waits for another thread that accepts.
        let Some(mut pending) = lock_by(&self.pending, deadline) else { return Ok(None) };
        let mut ready = Vec::new();
        loop {
            let oldest = pending.clients.first_key_value().map(|(number, client)| (*number, client.deadline));
            if let Some((number, _)) = oldest.filter(|(_, deadline)| deadline.passed()) {
                self.drop_client(&mut pending, number);
                return Err(ConnectionError::timed_out("a client has not authenticated itself in time"));
            }
            let until = oldest.map_or(deadline, |(_, oldest)| deadline.earlier(oldest));
            ready.clear();
            self.ready.wait(until, &mut ready)?;
            for number in &ready {
                let accepted = match *number {
                    LISTENING => self.welcome(&mut pending)?,
                    number => self.advance(&mut pending, number)?,
                };
                // Those that are ready as well are told again.
                if accepted.is_some() {
                    return Ok(accepted);
                }
            }
            if ready.is_empty() && deadline.passed() {
                return Ok(None);
            }
        }
    }

    /// Takes the next one that wants to connect, which is a connection if no key is asked for.
    fn welcome(&self, pending: &mut Pending) -> Result<Option<RemoteConnection>, ConnectionError> {
        let Some((socket, name)) = stream::accept(self.socket.as_fd())? else { return Ok(None) };
        let peer = Address::of(name);
        let Some(secret) = &self.secret else { return Ok(Some(self.connection(socket, peer))) };
        let handshake = Handshake::begin(socket, secret.clone(), Side::Listener)?;
        pending.last_number += 1;
        let number = pending.last_number;
        self.ready.add(handshake.socket(), number, Interest::Readable)?;
        let deadline = Deadline::after(self.handshake_timeout);
        pending.clients.insert(number, PendingClient { handshake, peer, deadline });
        match pending.clients.first_key_value() {
            Some((&oldest, _)) if pending.clients.len() > MAX_PENDING => {
                self.drop_client(pending, oldest);
                Err(ConnectionError::timed_out("a client has not authenticated itself, and too many others want to"))
            }
            _ => Ok(None),
        }
    }

    /// Goes on with a client that has sent something; a connection if that was the last.
    fn advance(&self, pending: &mut Pending, number: u64) -> Result<Option<RemoteConnection>, ConnectionError> {
        let Some(client) = pending.clients.get_mut(&number) else { return Ok(None) };
        let advanced = client.handshake.advance();
        if let Ok(false) = advanced {
            return Ok(None);
        }
        let client = self.drop_client(pending, number);
        advanced?;
        Ok(client.map(|client| self.connection(client.handshake.into_socket(), client.peer)))
    }

    fn connection(&self, socket: OwnedFd, peer: Option<Address>) -> RemoteConnection {
        RemoteConnection::new(socket, peer, self.max_message)
    }

    /// Waits no more for a client, and gives it away.
    fn drop_client(&self, pending: &mut Pending, number: u64) -> Option<PendingClient> {
        let client = pending.clients.remove(&number)?;
        self.ready.remove(client.handshake.socket());
        Some(client)
    }
}

/// Can be read when [`Listener::accept`] has something to do: somebody wants to connect, or goes on with the authentication.
/// That need not be enough for a connection, so go on with [`Listener::accept_timeout`].
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The options of a listener.
///
/// ```
/// use multiproc::Listener;
/// use std::time::Duration;
///
/// // A listener that clients in Python 3.9 can use as well.
/// let listener = Listener::builder().allow_md5(true).handshake_timeout(Duration::from_secs(2));
/// let listener = listener.bind(("localhost", 0), "secret password")?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing listens without `bind`"]
pub struct ListenerBuilder {
    allow_md5: bool,
    handshake_timeout: Duration,
    backlog: u32,
    max_message: usize,
}

impl ListenerBuilder {
    /// Sets whether HMAC-MD5 will do to prove who has the key: Python up to 3.11 knows nothing else. Without it
    /// SHA-256 or better is asked for, also of a client that would prefer less; CPython's listeners accept MD5 from
    /// whoever prefers it.
    pub fn allow_md5(mut self, allow: bool) -> ListenerBuilder {
        self.allow_md5 = allow;
        self
    }

    /// Sets how long a client has to show that it has the key. Default: 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> ListenerBuilder {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets how many clients may wait to be accepted before the system refuses or delays others. Default: 128; the
    /// system may have a limit of its own.
    pub fn backlog(mut self, backlog: u32) -> ListenerBuilder {
        self.backlog = backlog;
        self
    }

    /// Sets the most bytes of a message that [`RemoteConnection::recv`] takes. Default: 256 MiB.
    pub fn max_message(mut self, bytes: usize) -> ListenerBuilder {
        self.max_message = bytes;
        self
    }

    /// Listens, as [`Listener::bind`].
    ///
    /// # Errors
    ///
    /// See [`Listener::bind`].
    pub fn bind(&self, address: impl Into<Address>, key: impl Into<AuthKey>) -> Result<Listener, Error> {
        let address = address.into();
        let key = key.into().checked()?;
        let backlog = i32::try_from(self.backlog).unwrap_or(i32::MAX);
        let (socket, name) = stream::listen(&address.to_listen_at()?, backlog)
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
        let path = RemovedPath(match &address {
            Address::Unix(path) => Some(path.clone()),
            _ => None,
        });
        let ready = Epoll::new()?;
        ready.add(socket.as_fd(), LISTENING, Interest::Readable)?;
        Ok(Listener {
            socket,
            address: Address::of(name).unwrap_or(address),
            secret: key.map(|key| Secret { key, allow_md5: self.allow_md5 }),
            handshake_timeout: self.handshake_timeout,
            max_message: self.max_message,
            ready,
            pending: Mutex::default(),
            _path: path,
        })
    }
}
