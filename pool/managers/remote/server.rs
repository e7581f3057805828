//! [`ManagerServer`]: has other programs call objects of this one.

use super::exposed::{Arguments, Exposed, Refusal, Type};
use super::objects::{Objects, Unknown};
use super::wire::{self, Request};
use crate::connection::address::Address;
use crate::connection::auth::AuthKey;
use crate::connection::listener::{Listener, ListenerBuilder};
use crate::connection::remote::RemoteConnection;
use crate::error::{Panic, Result};
use crate::pickle::value::PyValue;
use crate::process::panic::{describe, guarded};
use crate::sys::poll::{self, Interest, Waker};
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// How long a client may take to say what it wants, and to read the answer. Between two calls it may take any time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many clients may be connected at a time.
const MAX_CLIENTS: usize = 1000;

/// How often to look for clients that have not authenticated themselves in time.
const ROUND: Duration = Duration::from_secs(1);

/// Serves objects of this program to others, in Python or in this language: Python's `BaseManager(..).get_server()`.
///
/// ```
/// use multiproc::{Exposed, ManagerServer, PyValue, Queue, RemoteManager};
///
/// // QueueManager.register('get_queue', callable=lambda: queue)
/// // m = QueueManager(address=('', 50000), authkey=b'abracadabra')
/// let server = ManagerServer::builder()
///     .register("get_queue", Exposed::queue(Queue::new()))
///     .register("Maths", Exposed::new([], |()| ()).method("add", ["x", "y"], |_, (x, y): (i64, i64)| x + y))
///     .bind(("localhost", 0), "abracadabra")?;
/// let (address, handle) = (server.address().clone(), server.handle());
/// // s = m.get_server(); s.serve_forever()
/// let serving = std::thread::spawn(move || server.serve());
///
/// // A client, which may be in another program, and in Python.
/// let manager = RemoteManager::connect(address, "abracadabra")?;
/// let maths = manager.create("Maths", ())?;
/// assert_eq!(maths.call::<i64>("add", (4, 3))?, 7);
/// let queue = manager.create("get_queue", ())?.into_queue::<String>();
/// queue.put("hello".to_owned())?;
/// assert_eq!(queue.get()?, "hello");
///
/// handle.shutdown();
/// serving.join().unwrap()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Each client has a thread here, which carries its calls out. Only methods that are registered can be called; arguments and
/// results are plain values ([`PyValue`]), and nothing in a message is ever run. Whoever has the key may make objects, call
/// them, and end the server, as in Python.
///
/// # If a process dies
///
/// A client that is killed leaves its objects behind until the server ends, as Python's does. Everybody else goes on.
pub struct ManagerServer {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    types: BTreeMap<String, Arc<dyn Type>>,
    objects: Objects,
    clients: Mutex<Clients>,
    is_stopped: AtomicBool,
    stop: Waker,
}

/// Those that are connected.
#[derive(Default)]
struct Clients {
    connections: BTreeMap<u64, Arc<RemoteConnection>>,
    last: u64,
}

impl ManagerServer {
    /// Returns a builder, which types are registered with, and which is then bound to an address.
    pub fn builder() -> ManagerServerBuilder {
        ManagerServerBuilder { types: BTreeMap::new(), listener: Listener::builder() }
    }

    /// Returns where the server serves; with the port that was free if port 0 was asked for.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Returns a handle, to end the server.
    pub fn handle(&self) -> ManagerServerHandle {
        ManagerServerHandle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until [`ManagerServerHandle::shutdown`] is called or a client asks for it: Python's `serve_forever()`.
    ///
    /// Then all clients are disconnected. A method that is being called goes on to its end on its own thread.
    ///
    /// # Errors
    ///
    /// [`Error::io_kind`](crate::Error::io_kind): the system refuses to wait.
    pub fn serve(self) -> Result<()> {
        while !self.shared.is_stopped.load(Relaxed) {
            let sources = [(self.listener.as_fd(), Interest::Readable), (self.shared.stop.as_fd(), Interest::Readable)];
            poll::wait(&sources, Deadline::after(ROUND))?;
            // An error is about one client that is gone, or about a system that has no descriptor left for one; the next
            // may be another thing.
            if let Ok(Some(connection)) = self.listener.accept_timeout(Duration::ZERO) {
                self.shared.welcome(connection);
            }
        }
        let clients = std::mem::take(&mut self.shared.clients.lock().connections);
        clients.values().for_each(|connection| connection.shut_down());
        Ok(())
    }
}

impl Shared {
    /// Gives a client a thread; drops it if there is none left.
    fn welcome(self: &Arc<Self>, connection: RemoteConnection) {
        let connection = Arc::new(connection);
        let number = {
            let mut clients = self.clients.lock();
            if clients.connections.len() >= MAX_CLIENTS {
                return;
            }
            clients.last += 1;
            let number = clients.last;
            clients.connections.insert(number, Arc::clone(&connection));
            number
        };
        let shared = Arc::clone(self);
        let work = move || {
            // An error is the client's, which is gone then.
            let _ = shared.attend(&connection);
            shared.clients.lock().connections.remove(&number);
        };
        let thread = std::thread::Builder::new().name("multiproc-client".to_owned());
        if thread::spawn(thread, work).is_err() {
            self.clients.lock().connections.remove(&number);
        }
    }

    /// Does what a client asks for.
    fn attend(&self, connection: &RemoteConnection) -> Result<()> {
        let first = connection.recv_value_by(Deadline::after(PATIENCE))?;
        let Some(first) = first else { return Ok(()) };
        let request = match Request::read(&first) {
            Ok(request) => request,
            Err(failure) => return send(connection, &wire::failed(&failure.to_string())),
        };
        if request.object.is_some() || request.name != "accept_connection" {
            let is_last = request.object.is_none() && request.name == "shutdown";
            let sent = send(connection, &answer(self.ask(request)));
            // Not before the answer is on its way: connections end with the server.
            if is_last {
                self.shut_down();
            }
            return sent;
        }
        send(connection, &answer(Ok(PyValue::None)))?;
        loop {
            let Some(message) = connection.recv_value_by(Deadline::NEVER)? else { continue };
            let result = match Request::read(&message) {
                Ok(request) => self.call(request),
                Err(failure) => Err(Refusal::Failed(failure.to_string())),
            };
            send(connection, &answer(result))?;
        }
    }

    /// What is asked of the server itself.
    fn ask(&self, request: Request) -> Result<PyValue, Refusal> {
        let object = |args: &[PyValue]| match args {
            [PyValue::Str(ident), ..] => Ok(ident.clone()),
            _ => Err(Refusal::Failed("the name of an object was expected".to_owned())),
        };
        match &*request.name {
            "dummy" | "shutdown" => Ok(PyValue::None),
            "create" => self.create(request),
            "incref" => {
                self.objects.count(&object(&request.args)?)?;
                Ok(PyValue::None)
            }
            "decref" => {
                self.objects.discount(&object(&request.args)?)?;
                Ok(PyValue::None)
            }
            "get_methods" => Ok(PyValue::Tuple(self.objects.get(&object(&request.args)?)?.methods())),
            "number_of_objects" => Ok((self.objects.len() as u64).into()),
            "debug_info" => Ok(self.objects.describe()),
            other => Err(Refusal::Failed(format!("'{other}' unrecognized"))),
        }
    }

    fn create(&self, request: Request) -> Result<PyValue, Refusal> {
        let mut args = request.args;
        if args.is_empty() {
            return Err(Refusal::Failed("the name of a type was expected".to_owned()));
        }
        let PyValue::Str(typeid) = args.remove(0) else {
            return Err(Refusal::Failed("the name of a type must be a str".to_owned()));
        };
        let Some(kind) = self.types.get(&typeid) else {
            return Err(Refusal::Failed(format!("KeyError: no type '{typeid}' is registered")));
        };
        let made = contain(&typeid, || Arc::clone(kind).make(Arguments { args, kwargs: request.kwargs }));
        // Python's managers tell this as a failure of the server, and so its clients expect it.
        let object = made.map_err(|refusal| match refusal {
            Refusal::Raised(exception) => Refusal::Failed(exception.to_string()),
            failed => failed,
        })?;
        let methods = object.methods();
        let ident = self.objects.insert(&typeid, object);
        Ok(PyValue::Tuple(vec![ident.into(), PyValue::Tuple(methods)]))
    }

    /// Calls a method of an object.
    fn call(&self, request: Request) -> Result<PyValue, Refusal> {
        let Request { object, name, args, kwargs } = request;
        let object = self.objects.get(object.as_deref().unwrap_or_default())?;
        contain(&name, || object.call(&name, Arguments { args, kwargs }))
    }

    fn shut_down(&self) {
        self.is_stopped.store(true, Relaxed);
        self.stop.wake();
    }
}

impl From<Unknown> for Refusal {
    fn from(_: Unknown) -> Refusal {
        Refusal::Failed("KeyError: the manager has no such object".to_owned())
    }
}

/// Runs code of the user's, whose panics are errors of the caller.
fn contain<R>(name: &str, code: impl FnOnce() -> Result<R, Refusal>) -> Result<R, Refusal> {
    let code = || thread::with_starter_mask(code);
    guarded(|| catch_unwind(AssertUnwindSafe(code))).unwrap_or_else(|payload| {
        let Panic { message, location, .. } = describe(payload);
        let place = location.map(|place| format!(" at {place}")).unwrap_or_default();
        Err(Refusal::Failed(format!("RuntimeError: `{name}` panicked{place}: {message}")))
    })
}

/// What a client is told.
fn answer(result: Result<PyValue, Refusal>) -> Vec<u8> {
    let written = match result {
        Ok(value) => wire::returned(&value),
        Err(Refusal::Raised(exception)) => wire::raising(&exception.module, &exception.name, &exception.args),
        Err(Refusal::Failed(text)) => Ok(wire::failed(&text)),
    };
    written.unwrap_or_else(|failure| wire::failed(&failure.to_string()))
}

/// Sends an answer; who does not read it in time is disconnected.
fn send(connection: &RemoteConnection, answer: &[u8]) -> Result<()> {
    match connection.send_by(answer, Deadline::after(PATIENCE))? {
        true => Ok(()),
        false => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

impl fmt::Debug for ManagerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerServer").field("address", self.address()).finish_non_exhaustive()
    }
}

/// Ends a [`ManagerServer`].
#[derive(Clone)]
pub struct ManagerServerHandle {
    shared: Arc<Shared>,
}

impl ManagerServerHandle {
    /// Has [`ManagerServer::serve`] return. Does not wait for that.
    pub fn shutdown(&self) {
        self.shared.shut_down();
    }

    /// Returns how many objects the server holds.
    pub fn number_of_objects(&self) -> usize {
        self.shared.objects.len()
    }
}

impl fmt::Debug for ManagerServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerServerHandle").finish_non_exhaustive()
    }
}

/// The types and options of a server; see [`ManagerServer`].
#[must_use = "nothing is served without `bind` and `serve`"]
pub struct ManagerServerBuilder {
    types: BTreeMap<String, Arc<dyn Type>>,
    listener: ListenerBuilder,
}

impl ManagerServerBuilder {
    /// Registers a type under the name by which clients ask for it: Python's `register(typeid, callable, exposed=..)`.
    pub fn register<T: Send + Sync + 'static>(mut self, typeid: &str, exposed: Exposed<T>) -> ManagerServerBuilder {
        self.types.insert(typeid.to_owned(), Arc::new(exposed));
        self
    }

    /// Sets whether HMAC-MD5 will do, see [`ListenerBuilder::allow_md5`].
    pub fn allow_md5(self, allow: bool) -> ManagerServerBuilder {
        ManagerServerBuilder { listener: self.listener.allow_md5(allow), ..self }
    }

    /// Sets the most bytes of a request. Default: 256 MiB.
    pub fn max_message(self, bytes: usize) -> ManagerServerBuilder {
        ManagerServerBuilder { listener: self.listener.max_message(bytes), ..self }
    }

    /// Listens at the address for clients that have the key; [`ManagerServer::serve`] serves them.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`](crate::Listener::bind).
    pub fn bind(self, address: impl Into<Address>, key: impl Into<AuthKey>) -> Result<ManagerServer> {
        let listener = self.listener.bind(address, key)?;
        let shared = Shared {
            types: self.types,
            objects: Objects::default(),
            clients: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            stop: Waker::new()?,
        };
        Ok(ManagerServer { listener, shared: Arc::new(shared) })
    }
}

impl fmt::Debug for ManagerServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerServerBuilder").field("types", &self.types.keys()).finish_non_exhaustive()
    }
}
