//! [`RemoteConnection`]: messages to and from another program.

use super::address::Address;
use super::frame::{Outgoing, Reader};
use crate::error::{ConnectionError, ConnectionKind};
use crate::pickle::value::PyValue;
use crate::sys::poll::{self, Interest};
use crate::sys::stream;
use crate::sys::time::Deadline;
use parking_lot::{Mutex, MutexGuard};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A connection to another program, in this language or in Python: what [`Listener::accept`](crate::Listener::accept) and
/// [`Client::connect`](crate::Client::connect) give. Python's `multiprocessing.connection.Connection`.
///
/// ```
/// use multiproc::{Client, Listener};
/// use std::time::Duration;
///
/// let listener = Listener::bind(("localhost", 0), "secret password")?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || Client::connect(address, "secret password"));
/// let server = listener.accept()?;
/// let client = client.join().unwrap()?;
///
/// assert_eq!(client.recv_bytes_timeout(100, Duration::from_millis(1))?, None);
/// server.send_bytes(b"hello")?;
/// assert_eq!(client.recv_bytes(100)?, b"hello");
/// drop(server);
/// assert!(client.recv_bytes(100).unwrap_err().is_disconnected());
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Threads may share one: messages do not mix. Dropping it closes the connection.
///
/// Nothing is encrypted, and after the authentication nothing proves who sends: connect programs of one machine or of a
/// network that is trusted, or through a tunnel.
///
/// # If a process dies
///
/// What the process at the other end has sent is received. Then calls fail with [`ConnectionError::is_disconnected`],
/// or with [`ConnectionError::is_cut_short`] if it has died in the middle of a message.
pub struct RemoteConnection {
    socket: OwnedFd,
    peer: Option<Address>,
    /// The most bytes of a message that [`RemoteConnection::recv`] takes.
    max_message: usize,
    reader: Mutex<Reader>,
    writer: Mutex<Writer>,
}

/// The most bytes of a message that is received as a value, if nothing else is said.
pub(super) const MAX_MESSAGE: usize = 256 << 20;

/// What is left of earlier messages in the direction of the other end.
#[derive(Default)]
struct Writer {
    /// Why the other end cannot find the next frame.
    out_of_step: Option<String>,
}

/// Locks a mutex; `None` = another thread had it locked until the deadline.
pub(super) fn lock_by<T>(mutex: &Mutex<T>, deadline: Deadline) -> Option<MutexGuard<'_, T>> {
    match deadline.instant() {
        Some(instant) => mutex.try_lock_until(instant),
        None => Some(mutex.lock()),
    }
}

impl RemoteConnection {
    pub(super) fn new(socket: OwnedFd, peer: Option<Address>, max_message: usize) -> RemoteConnection {
        RemoteConnection { socket, peer, max_message, reader: Mutex::default(), writer: Mutex::default() }
    }

    /// Returns where the other end is; `None` if it has no address, as clients of Unix sockets. Python's
    /// `Listener.last_accepted`.
    pub fn peer(&self) -> Option<&Address> {
        self.peer.as_ref()
    }

    /// Sends a value, pickled for Python, as soon as there is room for it. What becomes what is told at [`PyValue`].
    ///
    /// ```
    /// # use multiproc::{AuthKey, Client, Listener, PyValue};
    /// # let listener = Listener::bind(("localhost", 0), AuthKey::none())?;
    /// # let client = Client::connect(listener.address(), AuthKey::none())?;
    /// # let connection = listener.accept()?;
    /// // connection.send([2.25, None, 'junk'])
    /// connection.send(&(2.25, (), "junk"))?;
    /// // number, nothing, text = client.recv()
    /// let (number, nothing, text): (f64, Option<u8>, String) = client.recv()?;
    /// assert_eq!((number, nothing, &*text), (2.25, None, "junk"));
    /// // Bytes are a list of numbers, unless said otherwise.
    /// connection.send(&PyValue::Bytes(b"junk".to_vec()))?;
    /// assert_eq!(client.recv::<Vec<u8>>()?, b"junk");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_encode`]: the value's `Serialize` implementation refuses; nothing was sent. Else as
    /// [`RemoteConnection::send_bytes`].
    ///
    /// # Timeouts
    ///
    /// See [`RemoteConnection::send_bytes`] and [`RemoteConnection::send_timeout`].
    pub fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), ConnectionError> {
        self.send_bytes(&PyValue::of(value)?.to_pickle()?)
    }

    /// Sends a value, and waits for room for at most `timeout`. Returns whether it was sent.
    ///
    /// # Errors
    ///
    /// See [`RemoteConnection::send`] and [`RemoteConnection::send_bytes_timeout`].
    pub fn send_timeout<T: Serialize + ?Sized>(&self, value: &T, timeout: Duration) -> Result<bool, ConnectionError> {
        self.send_bytes_timeout(&PyValue::of(value)?.to_pickle()?, timeout)
    }

    /// Receives the next value, as soon as it is there. Nothing of what the other end could make Python call is called; what
    /// is read takes at most 256 times as much memory as the message, and 32 MiB.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_decode`]: the message is none of the type, or of something that is no plain value, which the
    /// error names; the message is gone, and the next one can be received. [`ConnectionError::is_too_long`]: it has more
    /// bytes than [`ListenerBuilder::max_message`](crate::ListenerBuilder::max_message) or
    /// [`ClientBuilder::max_message`](crate::ClientBuilder::max_message) allow. Else as [`RemoteConnection::recv_bytes`].
    ///
    /// # Timeouts
    ///
    /// See [`RemoteConnection::recv_bytes`] and [`RemoteConnection::recv_timeout`].
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T, ConnectionError> {
        PyValue::from_pickle(&self.recv_bytes(self.max_message)?)?.extract()
    }

    /// Receives the next value, and waits for it for at most `timeout`; `None` if it has not come as a whole.
    ///
    /// # Errors
    ///
    /// See [`RemoteConnection::recv`].
    pub fn recv_timeout<T: DeserializeOwned>(&self, timeout: Duration) -> Result<Option<T>, ConnectionError> {
        let message = self.recv_bytes_timeout(self.max_message, timeout)?;
        message.map(|bytes| PyValue::from_pickle(&bytes)?.extract()).transpose()
    }

    /// Sends bytes as they are, of any number, as soon as there is room for them.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_disconnected`]: nobody is at the other end any more. [`ConnectionError::is_out_of_step`]:
    /// after a time limit in the middle of a message.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the other end does not read and the system's buffers are full; see
    /// [`RemoteConnection::send_bytes_timeout`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.send_by(bytes, Deadline::NEVER).map(|_| ())
    }

    /// Sends bytes, and waits for room for at most `timeout`. Returns whether they were sent.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_timeout`]: only a part of the message was sent in time. It cannot be taken back, so that
    /// nothing more can be sent. And as [`RemoteConnection::send_bytes`].
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<bool, ConnectionError> {
        self.send_by(bytes, Deadline::after(timeout))
    }

    pub(crate) fn send_by(&self, bytes: &[u8], deadline: Deadline) -> Result<bool, ConnectionError> {
        let Some(mut writer) = lock_by(&self.writer, deadline) else { return Ok(false) };
        if let Some(text) = &writer.out_of_step {
            return Err(ConnectionError::new(ConnectionKind::OutOfStep { text: text.clone() }));
        }
        let mut message = Outgoing::new(bytes);
        while !message.send(self.as_fd())? {
            if !deadline.passed() {
                poll::wait(&[(self.as_fd(), Interest::Writable)], deadline)?;
            } else if !message.has_begun() {
                return Ok(false);
            } else {
                let text = "the other end has read only a part of the message in time";
                writer.out_of_step = Some(text.to_owned());
                return Err(ConnectionError::timed_out(text));
            }
        }
        Ok(true)
    }

    /// Receives the next message as bytes, as soon as it is there.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_disconnected`]: nobody is at the other end any more, and all that was sent was received:
    /// Python's
    /// `EOFError`. [`ConnectionError::is_cut_short`]: the same, in the middle of a message.
    /// [`ConnectionError::is_too_long`]: the message has more than `most` bytes; the connection is closed then, as in
    /// Python.
    ///
    /// # Timeouts
    ///
    /// Waits as long as nothing, or only a part of a message, is sent; see [`RemoteConnection::recv_bytes_timeout`].
    pub fn recv_bytes(&self, most: usize) -> Result<Vec<u8>, ConnectionError> {
        loop {
            // Without a time limit nothing but a message or an error ends the wait.
            if let Some(bytes) = self.recv_by(most, Deadline::NEVER)? {
                return Ok(bytes);
            }
        }
    }

    /// Receives the next message as bytes, and waits for it for at most `timeout`; `None` if it has not come as a whole.
    /// What has come of it is kept, and the next call goes on from there.
    ///
    /// # Errors
    ///
    /// See [`RemoteConnection::recv_bytes`].
    pub fn recv_bytes_timeout(&self, most: usize, timeout: Duration) -> Result<Option<Vec<u8>>, ConnectionError> {
        self.recv_by(most, Deadline::after(timeout))
    }

    /// Receives a message that is to be read as a value.
    pub(crate) fn recv_value_by(&self, deadline: Deadline) -> Result<Option<Vec<u8>>, ConnectionError> {
        self.recv_by(self.max_message, deadline)
    }

    fn recv_by(&self, most: usize, deadline: Deadline) -> Result<Option<Vec<u8>>, ConnectionError> {
        let Some(mut reader) = lock_by(&self.reader, deadline) else { return Ok(None) };
        loop {
            match reader.read(self.as_fd(), most)? {
                Some(message) => return Ok(Some(message)),
                None if deadline.passed() => return Ok(None),
                None => poll::wait(&[(self.as_fd(), Interest::Readable)], deadline)?,
            };
        }
    }

    /// Ends the connection, also for threads that wait for it now.
    pub(crate) fn shut_down(&self) {
        stream::shut_down(self.as_fd());
    }

    /// Waits for at most `timeout` until something can be received, be it a part of a message, or nobody is left at
    /// the other end. Returns whether that is so. Takes nothing away.
    ///
    /// # Errors
    ///
    /// The system refuses to wait.
    pub fn poll(&self, timeout: Duration) -> Result<bool, ConnectionError> {
        Ok(poll::wait(&[(self.as_fd(), Interest::Readable)], Deadline::after(timeout))?[0])
    }
}

/// Can be read when a message, or a part of one, can be received, or nobody is left at the other end.
impl AsFd for RemoteConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for RemoteConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteConnection").field("peer", &self.peer).finish_non_exhaustive()
    }
}
