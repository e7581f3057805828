//! [`Client`]: connects to a listener.

use super::address::Address;
use super::auth::{AuthKey, Secret};
use super::handshake::{Handshake, Side};
use super::remote::{MAX_MESSAGE, RemoteConnection};
use crate::error::{ConnectionError, Error};
use crate::sys::poll::{self, Interest};
use crate::sys::stream;
use crate::sys::time::Deadline;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long a client waits for a listener if nothing else is said: Python's listeners see to one client after the other.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Connects to a [`Listener`](crate::Listener) of another program, in this language or in Python: Python's
/// `multiprocessing.connection.Client`.
///
/// ```no_run
/// use multiproc::Client;
///
/// // with Client(('localhost', 6000), authkey=b'secret password') as connection:
/// let connection = Client::connect(("localhost", 6000), "secret password")?;
/// connection.send_bytes(b"hello")?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
pub struct Client(());

impl Client {
    /// Connects, and authenticates both sides to each other.
    ///
    /// # Errors
    ///
    /// [`Error::io_kind`] says why there is no connection: nobody listens there (`ConnectionRefused`, `NotFound`), the host
    /// is not known. [`Error::connection`] is what went wrong with one: the key is not the same, or the other end is Python
    /// up to 3.11, see [`ClientBuilder::allow_md5`]. [`Error::is_invalid_argument`]: the key is empty.
    ///
    /// # Timeouts
    ///
    /// After 60 s, see [`ClientBuilder::timeout`].
    pub fn connect(address: impl Into<Address>, key: impl Into<AuthKey>) -> Result<RemoteConnection, Error> {
        Client::builder().connect(address, key)
    }

    /// Returns a builder for a client with options.
    pub fn builder() -> ClientBuilder {
        ClientBuilder { allow_md5: false, timeout: TIMEOUT, max_message: MAX_MESSAGE }
    }
}

/// The options of a client.
///
/// ```no_run
/// # use std::time::Duration;
/// let patient = multiproc::Client::builder().timeout(Duration::from_secs(600));
/// let connection = patient.connect(("localhost", 6000), "secret password")?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is connected without `connect`"]
pub struct ClientBuilder {
    allow_md5: bool,
    pub(crate) timeout: Duration,
    max_message: usize,
}

impl ClientBuilder {
    /// Sets whether HMAC-MD5 will do to prove who has the key: Python up to 3.11 knows nothing else. Without it
    /// SHA-256 or better is asked for.
    pub fn allow_md5(mut self, allow: bool) -> ClientBuilder {
        self.allow_md5 = allow;
        self
    }

    /// Sets how long to wait until the other end has accepted the connection and authentication is done. Default: a
    /// minute.
    ///
    /// How long the system takes to look a host's name up is not bounded by it.
    pub fn timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.timeout = timeout;
        self
    }

    /// Sets the most bytes of a message that [`RemoteConnection::recv`] takes. Default: 256 MiB.
    pub fn max_message(mut self, bytes: usize) -> ClientBuilder {
        self.max_message = bytes;
        self
    }

    /// Connects, as [`Client::connect`].
    ///
    /// # Errors
    ///
    /// See [`Client::connect`].
    ///
    /// # Timeouts
    ///
    /// As it was set.
    pub fn connect(&self, address: impl Into<Address>, key: impl Into<AuthKey>) -> Result<RemoteConnection, Error> {
        let address = address.into();
        let key = key.into().checked()?;
        let deadline = Deadline::after(self.timeout);
        let socket = reach(&address, deadline)?;
        let socket = match key {
            Some(key) => authenticate(socket, Secret { key, allow_md5: self.allow_md5 }, deadline)?,
            None => socket,
        };
        Ok(RemoteConnection::new(socket, Some(address), self.max_message))
    }
}

/// Connects to the first of the address's names that takes the connection; the error of the last if none does.
fn reach(address: &Address, deadline: Deadline) -> Result<OwnedFd, Error> {
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for name in address.names()? {
        match stream::connect(&name, deadline) {
            Ok(socket) => return Ok(socket),
            Err(error) => refused = error,
        }
    }
    Err(io::Error::new(refused.kind(), format!("{address}: {refused}")).into())
}

fn authenticate(socket: OwnedFd, secret: Secret, deadline: Deadline) -> Result<OwnedFd, ConnectionError> {
    let mut handshake = Handshake::begin(socket, secret, Side::Client)?;
    while !handshake.advance()? {
        if deadline.passed() {
            return Err(ConnectionError::timed_out("the other end has not authenticated itself, or us, in time"));
        }
        poll::wait(&[(handshake.socket().as_fd(), Interest::Readable)], deadline)?;
    }
    Ok(handshake.into_socket())
}
