//! [`RemoteManager`]: a manager of another program, seen from here.

use super::wire::{Answer, Request};
use crate::connection::address::Address;
use crate::connection::auth::AuthKey;
use crate::connection::client::{Client, ClientBuilder};
use crate::connection::remote::RemoteConnection;
use crate::error::{ConnectionError, RemoteCallError, RemoteCallKind, Result};
use crate::pickle::value::PyValue;
use crate::sys::child::own_pid;
use crate::sys::time::Deadline;
use serde::Serialize;
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long the manager may take to be told that an object is no longer needed here.
const FAREWELL: Duration = Duration::from_secs(2);

/// A manager of another program, in Python or in this language: what Python's `BaseManager(address, authkey).connect()`
/// gives.
///
/// ```no_run
/// use multiproc::RemoteManager;
///
/// // class QueueManager(BaseManager): pass
/// // QueueManager.register('get_queue')
/// // m = QueueManager(address=('foo.bar.org', 50000), authkey=b'abracadabra'); m.connect()
/// let manager = RemoteManager::connect(("foo.bar.org", 50000), "abracadabra")?;
/// // queue = m.get_queue(); queue.put('hello')
/// let queue = manager.create("get_queue", ())?.into_queue::<String>();
/// queue.put("hello".to_owned())?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// The objects are those that the other program has registered: [`RemoteManager::create`] asks for one by the name of its
/// type. Those of Python's `SyncManager` have methods here: [`RemoteManager::dict`], [`RemoteManager::queue`], …
///
/// Arguments and results are plain values ([`PyValue`]); no code travels, and nothing is called here.
///
/// A handle: clones are the same manager, and threads may share one. Each thread has a connection of its own, so that a call
/// that waits (for an item of a queue, say) keeps no other thread waiting; the locks of the other side tell threads apart
/// by it.
///
/// # If a process dies
///
/// If the manager's, every call ends with an error that [`RemoteCallError::connection`] is in. If this one's, its objects
/// stay with the manager until that ends, as for Python's clients.
#[derive(Clone)]
pub struct RemoteManager {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    key: AuthKey,
    client: ClientBuilder,
}

/// A connection of this thread that carries calls of objects.
struct Held {
    manager: Weak<Inner>,
    /// The process that has opened it: a fork of that must not use it.
    owner: i32,
    connection: RemoteConnection,
}

thread_local! {
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

impl RemoteManager {
    /// Connects to a manager that serves at the address and has the key.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`](crate::Client::connect); or the other end is no manager.
    ///
    /// # Timeouts
    ///
    /// After 60 s, see [`RemoteManagerBuilder::timeout`].
    pub fn connect(address: impl Into<Address>, key: impl Into<AuthKey>) -> Result<RemoteManager> {
        RemoteManager::builder().connect(address, key)
    }

    /// Returns a builder for a manager with options.
    pub fn builder() -> RemoteManagerBuilder {
        RemoteManagerBuilder { client: Client::builder() }
    }

    /// Returns where the manager serves.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Returns how many objects the manager holds.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`](crate::RemoteProxy::call).
    pub fn number_of_objects(&self) -> Result<usize, RemoteCallError> {
        const NAME: &str = "number_of_objects";
        let number = self.ask_server(Request::of_server(NAME, vec![]), NAME, self.inner.client.timeout)?;
        number.extract().map_err(|error| decode(error, NAME))
    }

    /// Ends the manager, for all its clients.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`](crate::RemoteProxy::call).
    pub fn shutdown(&self) -> Result<(), RemoteCallError> {
        const NAME: &str = "shutdown";
        self.ask_server(Request::of_server(NAME, vec![]), NAME, self.inner.client.timeout).map(drop)
    }

    /// How long the manager may take to make an object.
    pub(super) fn timeout(&self) -> Duration {
        self.inner.client.timeout
    }

    /// Tells the manager that an object is no longer needed here.
    pub(super) fn let_go(&self, ident: &str) {
        // If the manager has ended the object has gone before.
        let _ = self.ask_server(Request::of_server("decref", vec![ident.into()]), "decref", FAREWELL);
    }

    /// Asks the server itself, over a connection of its own.
    pub(super) fn ask_server(
        &self,
        request: Request,
        method: &str,
        timeout: Duration,
    ) -> Result<PyValue, RemoteCallError> {
        let message = request.write().map_err(|failure| encode(&failure, method))?;
        let deadline = Deadline::after(timeout);
        let connection = self.open(method, timeout)?;
        returned(ask(&connection, &message, method, deadline)?, method)
    }

    fn open(&self, method: &str, timeout: Duration) -> Result<RemoteConnection, RemoteCallError> {
        let inner = &self.inner;
        let connected = inner.client.clone().timeout(timeout).connect(&inner.address, &inner.key);
        connected.map_err(|error| broken(ConnectionError::of(&error), method))
    }

    /// Calls an object over this thread's connection.
    ///
    /// The connection is not back in its place until the answer was received: after an error, or a time limit, an answer
    /// that comes later would be taken for that of the next call.
    pub(super) fn call(&self, request: Request, deadline: Deadline) -> Result<Answer, RemoteCallError> {
        let method = request.name.clone();
        let message = request.write().map_err(|failure| encode(&failure, &method))?;
        let connection = match self.take_held() {
            Some(connection) => connection,
            None => self.open_for_calls(&method, deadline)?,
        };
        let answer = ask(&connection, &message, &method, deadline);
        if !answer.as_ref().is_err_and(|error| error.connection().is_some() || error.is_timed_out()) {
            self.hold(connection);
        }
        answer
    }

    /// A connection that the server gives a thread of its own.
    fn open_for_calls(&self, method: &str, deadline: Deadline) -> Result<RemoteConnection, RemoteCallError> {
        let timeout = deadline.remaining().unwrap_or(Duration::MAX).min(self.inner.client.timeout);
        let connection = self.open(method, timeout)?;
        let name = std::thread::current().name().unwrap_or("a thread").to_owned();
        let request = Request::of_server("accept_connection", vec![name.into()]);
        let message = request.write().map_err(|failure| encode(&failure, method))?;
        returned(ask(&connection, &message, method, Deadline::after(timeout))?, method)?;
        Ok(connection)
    }

    fn take_held(&self) -> Option<RemoteConnection> {
        let here = own_pid();
        HELD.with_borrow_mut(|held| {
            let at = held.iter().position(|it| it.owner == here && it.manager.as_ptr() == Arc::as_ptr(&self.inner))?;
            Some(held.swap_remove(at).connection)
        })
    }

    fn hold(&self, connection: RemoteConnection) {
        let manager = Arc::downgrade(&self.inner);
        HELD.with_borrow_mut(|held| {
            // Those of managers that nobody here has any more go with this.
            held.retain(|it| it.manager.strong_count() > 0);
            held.push(Held { manager, owner: own_pid(), connection });
        });
    }
}

impl fmt::Debug for RemoteManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteManager").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

/// The options of a remote manager.
///
/// ```no_run
/// // A manager in Python 3.9.
/// let manager = multiproc::RemoteManager::builder().allow_md5(true).connect(("localhost", 50000), "abracadabra")?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is connected without `connect`"]
pub struct RemoteManagerBuilder {
    client: ClientBuilder,
}

impl RemoteManagerBuilder {
    /// Sets whether HMAC-MD5 will do, see [`ClientBuilder::allow_md5`].
    pub fn allow_md5(self, allow: bool) -> RemoteManagerBuilder {
        RemoteManagerBuilder { client: self.client.allow_md5(allow) }
    }

    /// Sets how long the manager may take to accept a connection and to make an object. Default: 60 s. For calls of
    /// objects see [`RemoteProxy::with_timeout`](crate::RemoteProxy::with_timeout).
    pub fn timeout(self, timeout: Duration) -> RemoteManagerBuilder {
        RemoteManagerBuilder { client: self.client.timeout(timeout) }
    }

    /// Sets the most bytes of a result. Default: 256 MiB.
    pub fn max_message(self, bytes: usize) -> RemoteManagerBuilder {
        RemoteManagerBuilder { client: self.client.max_message(bytes) }
    }

    /// Connects, as [`RemoteManager::connect`].
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::connect`].
    ///
    /// # Timeouts
    ///
    /// As it was set.
    pub fn connect(self, address: impl Into<Address>, key: impl Into<AuthKey>) -> Result<RemoteManager> {
        let timeout = self.client.timeout;
        let inner = Inner { address: address.into(), key: key.into(), client: self.client };
        // Here, and not at the first call, it shows whether the key is right.
        let connection = inner.client.connect(&inner.address, &inner.key)?;
        let message = Request::of_server("dummy", vec![]).write().map_err(|failure| encode(&failure, "dummy"))?;
        returned(ask(&connection, &message, "dummy", Deadline::after(timeout))?, "dummy")?;
        Ok(RemoteManager { inner: Arc::new(inner) })
    }
}

/// Sends a request and waits for its answer.
fn ask(
    connection: &RemoteConnection,
    message: &[u8],
    method: &str,
    deadline: Deadline,
) -> Result<Answer, RemoteCallError> {
    let too_late = || RemoteCallError::new(RemoteCallKind::TimedOut, method);
    if !connection.send_by(message, deadline).map_err(|error| broken(error, method))? {
        return Err(too_late());
    }
    let answer = connection.recv_value_by(deadline).map_err(|error| broken(error, method))?.ok_or_else(too_late)?;
    Answer::read(&answer).map_err(|failure| decode(ConnectionError::decode(failure.to_string()), method))
}

/// The value that an answer is.
pub(super) fn returned(answer: Answer, method: &str) -> Result<PyValue, RemoteCallError> {
    match answer {
        Answer::Returned(value) => Ok(value),
        other => Err(refusal(other, method)),
    }
}

/// The arguments of a call.
pub(super) fn tuple<A: Serialize>(args: &A, method: &str) -> Result<Vec<PyValue>, RemoteCallError> {
    let args = PyValue::of(args).map_err(|error| encode(&error, method))?;
    match args {
        PyValue::Tuple(args) => Ok(args),
        // The tuple of none.
        _ => Ok(Vec::new()),
    }
}

#[cold]
pub(super) fn encode(error: &impl fmt::Display, method: &str) -> RemoteCallError {
    RemoteCallError::new(RemoteCallKind::Encode { text: error.to_string() }, method)
}

#[cold]
pub(super) fn decode(error: impl fmt::Display, method: &str) -> RemoteCallError {
    RemoteCallError::new(RemoteCallKind::Decode { text: error.to_string() }, method)
}

#[cold]
fn broken(source: ConnectionError, method: &str) -> RemoteCallError {
    RemoteCallError::new(RemoteCallKind::Connection { source }, method)
}

/// The error that an answer without a result is.
#[cold]
pub(super) fn refusal(answer: Answer, method: &str) -> RemoteCallError {
    let kind = match answer {
        Answer::Raised { class, text } => RemoteCallKind::Raised { class, text },
        Answer::Failed(traceback) => RemoteCallKind::Failed { traceback },
        Answer::Returned(_) | Answer::Object { .. } => {
            RemoteCallKind::Decode { text: "the manager has answered another question".to_owned() }
        }
    };
    RemoteCallError::new(kind, method)
}
