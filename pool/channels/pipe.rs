//! [`pipe`]: two ends that send to each other.

use super::channel::{End, Receiver, Sender, try_channel};
use super::core::{Patience, endlessly};
use super::readiness::Readiness;
use super::watcher::Inlet;
use crate::codec::Payload;
use crate::error::{Error, GetError, PutError};
use crate::sync::handle::expect;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// How many messages a pipe has room for in each direction.
const ROOM: usize = 1024;

/// Makes two ends that send to each other: Python's `Pipe()`.
///
/// ```
/// use multiproc::{Connection, Process, pipe};
///
/// fn double(connection: Connection<u64>) {
///     while let Ok(number) = connection.recv() {
///         connection.send(2 * number).unwrap();
///     }
/// }
///
/// let (ours, theirs) = pipe();
/// let other = Process::spawn(double, (theirs,))?;
/// ours.send(21)?;
/// assert_eq!(ours.recv()?, 42);
/// drop(ours); // the other end sees it
/// other.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Each direction has room for 1024 messages; a sender that finds no room waits.
///
/// # Panics
///
/// Panics when [`try_pipe`] fails.
pub fn pipe<T: Payload>() -> (Connection<T>, Connection<T>) {
    expect(try_pipe(), "pipe")
}

/// Makes a pipe, as [`pipe`].
///
/// # Errors
///
/// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
pub fn try_pipe<T: Payload>() -> Result<(Connection<T>, Connection<T>), Error> {
    let (there, back) = (try_channel(ROOM)?, try_channel(ROOM)?);
    let connection = |sender: Sender<T>, receiver: Receiver<T>| Connection { to: sender.end, from: receiver.end };
    Ok((connection(there.0, back.1), connection(back.0, there.1)))
}

/// Makes an end that receives and one that sends: Python's `Pipe(duplex=False)`, in the same order.
///
/// ```
/// let (reader, writer) = multiproc::pipe_oneway();
/// writer.send("hello".to_owned())?;
/// assert_eq!(reader.recv()?, "hello");
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Panics
///
/// Panics when [`try_pipe`] fails.
pub fn pipe_oneway<T: Payload>() -> (Receiver<T>, Sender<T>) {
    let (sender, receiver) = expect(try_channel(ROOM), "pipe");
    (receiver, sender)
}

/// One end of a [`pipe`]. A handle: clones, and what arrives in another process, are the same end.
///
/// A message is a value of the type, or bytes; both sides know which comes next, as in Python.
///
/// ```
/// use multiproc::{Connection, Process, pipe};
/// use std::time::Duration;
///
/// let answer = |end: Connection<String>| {
///     let question = end.recv().unwrap();
///     end.send(question.to_uppercase()).unwrap();
/// };
/// let (ours, theirs) = pipe();
/// assert_eq!(ours.try_recv()?, None);
/// let process = Process::spawn(answer, (theirs,))?;
/// ours.send("hello".to_owned())?;
/// assert_eq!(ours.recv_timeout(Duration::from_secs(60))?.as_deref(), Some("HELLO"));
/// process.join()?;
/// assert!(ours.recv().unwrap_err().is_disconnected());
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # If a process dies
///
/// If the process had the last handle to the other end, the receiver gets what it has sent, and then
/// [`GetError::is_disconnected`](crate::GetError::is_disconnected) within 100 ms. A message that it was sending is
/// there as a whole or not at all.
pub struct Connection<T> {
    to: End<T>,
    from: End<T>,
}

impl<T: Payload> Connection<T> {
    /// Sends a value, as soon as there is room.
    ///
    /// ```
    /// use multiproc::{Connection, Process, pipe};
    ///
    /// let (ours, theirs) = pipe::<String>();
    /// let shout = |end: Connection<String>| end.send(end.recv().unwrap().to_uppercase()).unwrap();
    /// let process = Process::spawn(shout, (theirs,))?;
    /// ours.send("hello".to_owned())?;
    /// assert_eq!(ours.recv()?, "HELLO");
    /// process.join()?;
    /// assert!(ours.recv().unwrap_err().is_disconnected()); // Nobody has the other end any more.
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PutError`] gives the value back. [`PutError::is_disconnected`]: no process has the other end any more. See
    /// [`Queue::put`](crate::Queue::put) for the others.
    ///
    /// # Timeouts
    ///
    /// Waits as long as 1024 messages were not received; see [`Connection::send_timeout`].
    pub fn send(&self, value: T) -> Result<(), PutError<T>> {
        self.to.core.put(value, Patience::Endless, &|| self.to.is_over())
    }

    /// Sends a value if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`]; and as [`Connection::send`].
    pub fn try_send(&self, value: T) -> Result<(), PutError<T>> {
        self.to.core.put(value, Patience::None, &|| self.to.is_over())
    }

    /// Sends a value, and waits for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`]; and as [`Connection::send`].
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.to.core.put(value, Patience::For(timeout), &|| self.to.is_over())
    }

    /// Receives the next value, as soon as it is there.
    ///
    /// # Errors
    ///
    /// [`GetError::is_disconnected`]: no process has the other end any more, and all that was sent was received: Python's
    /// `EOFError`. [`GetError::is_decode`]: the message is no value of the type, and gone. See
    /// [`Queue::get`](crate::Queue::get) for the others.
    ///
    /// # Timeouts
    ///
    /// Waits as long as nothing is sent; see [`Connection::recv_timeout`].
    pub fn recv(&self) -> Result<T, GetError> {
        endlessly(|patience| self.from.core.get(patience, &|| self.from.is_over(), |_| ()))
    }

    /// Receives the next value; `None` if there is none at the moment.
    ///
    /// # Errors
    ///
    /// See [`Connection::recv`].
    pub fn try_recv(&self) -> Result<Option<T>, GetError> {
        self.from.core.get(Patience::None, &|| self.from.is_over(), |_| ())
    }

    /// Receives the next value, and waits for it for at most `timeout`; `None` if none came.
    ///
    /// # Errors
    ///
    /// See [`Connection::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<T>, GetError> {
        self.from.core.get(Patience::For(timeout), &|| self.from.is_over(), |_| ())
    }

    /// Sends bytes as they are, of any number, as soon as there is room.
    ///
    /// ```
    /// let (a, b) = multiproc::pipe::<()>();
    /// a.send_bytes(b"hello")?;
    /// assert_eq!(b.recv_bytes(100)?, b"hello");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Connection::send`].
    ///
    /// # Timeouts
    ///
    /// See [`Connection::send`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), PutError<()>> {
        self.to.core.put_bytes(bytes, Patience::Endless, &|| self.to.is_over()).map_err(|kind| PutError::new(kind, ()))
    }

    /// Receives the next message as bytes, as soon as it is there.
    ///
    /// # Errors
    ///
    /// [`GetError::is_too_long`]: it has more than `most` bytes. It is gone, and the next message can be received; Python
    /// closes the connection. Else as [`Connection::recv`].
    ///
    /// # Timeouts
    ///
    /// See [`Connection::recv`] and [`Connection::poll`].
    pub fn recv_bytes(&self, most: usize) -> Result<Vec<u8>, GetError> {
        endlessly(|patience| self.from.core.get_bytes(most, patience, &|| self.from.is_over()))
    }

    /// Waits for at most `timeout` until a message is there, or nobody is left at the other end. Returns whether that
    /// is so. Takes nothing away.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (one, other) = multiproc::pipe::<u32>();
    /// assert!(!other.poll(Duration::ZERO)?);
    /// one.send(7)?;
    /// assert!(other.poll(Duration::from_secs(60))?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`] in a process that was forked from one that uses the shared memory.
    pub fn poll(&self, timeout: Duration) -> Result<bool, Error> {
        self.from.core.poll(Patience::For(timeout), &|| self.from.is_over())
    }
}

impl<T> Connection<T> {
    /// Returns a descriptor that becomes readable when there is something to receive, or nothing ever will be: see
    /// [`Readiness`].
    ///
    /// # Errors
    ///
    /// There is no descriptor left, or the thread that tells cannot be started. [`Error::is_shared_memory`] in a process that
    /// was forked from one that uses the shared memory.
    pub fn readiness(&self) -> Result<Readiness, Error> {
        Readiness::new(self.inlet())
    }

    pub(super) fn inlet(&self) -> Inlet {
        self.from.inlet()
    }
}

impl<T> Clone for Connection<T> {
    fn clone(&self) -> Self {
        Connection { to: self.to.clone(), from: self.from.clone() }
    }
}

/// Shows how many messages are there.
impl<T> fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection(len={}, disconnected={})", self.from.core.len(), self.from.is_over())
    }
}

impl<T> Serialize for Connection<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.to, &self.from).serialize(serializer)
    }
}

impl<'de, T: Payload> Deserialize<'de> for Connection<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Connection<T>, D::Error> {
        let (sender, receiver): (Sender<T>, Receiver<T>) = Deserialize::deserialize(deserializer)?;
        Ok(Connection { to: sender.end, from: receiver.end })
    }
}
