//! [`RemoteProxy`]: an object that a manager of another program holds.

use super::manager::{RemoteManager, decode, refusal, returned, tuple};
use super::wire::{Answer, Created, Request};
use crate::error::RemoteCallError;
use crate::pickle::value::PyValue;
use crate::process::args::Args;
use crate::sys::time::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An object that a [`RemoteManager`] holds: its methods are called by name, with plain values.
///
/// ```no_run
/// use multiproc::RemoteManager;
///
/// let manager = RemoteManager::connect(("localhost", 50000), "abracadabra")?;
/// // maths = manager.Maths(); maths.add(4, 3)
/// let maths = manager.create("Maths", ())?;
/// let sum: i32 = maths.call("add", (4, 3))?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// A handle: clones are the same object. Dropping the last of them tells the manager that the object is no longer needed
/// here, which takes 2 s at most if the manager does not answer.
#[derive(Clone)]
pub struct RemoteProxy {
    share: Arc<Share>,
    timeout: Option<Duration>,
}

/// What keeps an object alive.
struct Share {
    manager: RemoteManager,
    typeid: String,
    created: Created,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.manager.let_go(&self.created.ident);
    }
}

/// `None` = the method has raised this exception.
pub(super) fn unless<R>(exception: &str, result: Result<R, RemoteCallError>) -> Result<Option<R>, RemoteCallError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.exception() == Some(exception) => Ok(None),
        Err(error) => Err(error),
    }
}

impl RemoteProxy {
    /// Of an object that the manager has counted this one for.
    pub(super) fn new(manager: RemoteManager, typeid: String, created: Created) -> RemoteProxy {
        RemoteProxy { share: Arc::new(Share { manager, typeid, created }), timeout: None }
    }

    /// Calls a method, and returns its result as the type that is asked for; [`PyValue`] takes all.
    ///
    /// # Errors
    ///
    /// - [`RemoteCallError::exception`]: the method has raised one.
    /// - [`RemoteCallError::traceback`]: there is no such method, or it cannot be called so.
    /// - [`RemoteCallError::connection`]: the manager has ended, say.
    /// - [`RemoteCallError::is_timed_out`]: see [`RemoteProxy::with_timeout`].
    /// - [`RemoteCallError::is_encode`], [`RemoteCallError::is_decode`]: the arguments or the result are no plain values,
    ///   or not of the type.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the method takes; see [`RemoteProxy::with_timeout`].
    pub fn call<R: DeserializeOwned>(&self, method: &str, args: impl Args + Serialize) -> Result<R, RemoteCallError> {
        self.call_with(method, args, [])
    }

    /// As [`RemoteProxy::call`], with arguments by the names of their parameters as well.
    ///
    /// ```no_run
    /// # let manager = multiproc::RemoteManager::connect(("localhost", 50000), "abracadabra")?;
    /// # let queue = manager.create("get_queue", ())?;
    /// // queue.get(timeout=1.5)
    /// let item: String = queue.call_with("get", (), [("timeout", 1.5.into())])?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn call_with<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Args + Serialize,
        kwargs: impl IntoIterator<Item = (&'static str, PyValue)>,
    ) -> Result<R, RemoteCallError> {
        let kwargs = kwargs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let answer = self.ask(method, tuple(&args, method)?, kwargs, self.deadline())?;
        returned(answer, method)?.extract().map_err(|error| decode(error, method))
    }

    /// Calls a method whose result stays with the manager as an object: Python's iterator of a dict, say.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`]. [`RemoteCallError::is_decode`]: the result is a value.
    pub fn call_for_object(&self, method: &str, args: impl Args + Serialize) -> Result<RemoteProxy, RemoteCallError> {
        match self.ask(method, tuple(&args, method)?, Vec::new(), self.deadline())? {
            Answer::Object { typeid, created } => Ok(RemoteProxy::new(self.share.manager.clone(), typeid, created)),
            other => Err(refusal(other, method)),
        }
    }

    /// Calls a method that may wait for `patience` by itself, and waits a little longer for the answer.
    pub(super) fn call_patiently<R: DeserializeOwned>(
        &self,
        method: &str,
        args: impl Args + Serialize,
        patience: Duration,
    ) -> Result<R, RemoteCallError> {
        let deadline = self.deadline().earlier(Deadline::after(patience.saturating_add(SLACK)));
        let answer = self.ask(method, tuple(&args, method)?, Vec::new(), deadline)?;
        returned(answer, method)?.extract().map_err(|error| decode(error, method))
    }

    /// Returns a copy of the object as a whole, if it is a plain value (a list, a dict): Python's `proxy._getvalue()`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn value<R: DeserializeOwned>(&self) -> Result<R, RemoteCallError> {
        self.call("#GETVALUE", ())
    }

    /// Returns how the manager shows the object: Python's `str(proxy)`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn repr(&self) -> Result<String, RemoteCallError> {
        self.call("__repr__", ())
    }

    /// Returns a proxy of the same object whose calls wait for at most `timeout`. When that has passed a call ends with
    /// [`RemoteCallError::is_timed_out`]; if its method has begun by then it goes on to its end, and what it returns is lost: an item
    /// that it takes from a queue, say.
    pub fn with_timeout(&self, timeout: Duration) -> RemoteProxy {
        RemoteProxy { timeout: Some(timeout), ..self.clone() }
    }

    /// Returns the manager that holds the object.
    pub fn manager(&self) -> &RemoteManager {
        &self.share.manager
    }

    /// Returns the name of the object's type, as the manager has it registered.
    pub fn typeid(&self) -> &str {
        &self.share.typeid
    }

    /// Returns the names of the methods that can be called.
    pub fn methods(&self) -> &[String] {
        &self.share.created.methods
    }

    fn deadline(&self) -> Deadline {
        Deadline::within(self.timeout)
    }

    fn ask(
        &self,
        method: &str,
        args: Vec<PyValue>,
        kwargs: Vec<(String, PyValue)>,
        deadline: Deadline,
    ) -> Result<Answer, RemoteCallError> {
        let object = Some(self.share.created.ident.clone());
        self.share.manager.call(Request { object, name: method.to_owned(), args, kwargs }, deadline)
    }
}

/// How much longer than it was asked to wait the manager may take to answer.
const SLACK: Duration = Duration::from_secs(10);

impl fmt::Debug for RemoteProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteProxy").field("typeid", &self.share.typeid).finish_non_exhaustive()
    }
}

/// A type whose object is a [`RemoteProxy`] with methods of its own.
macro_rules! remote_type {
    ($name:ident $(<$($parameter:ident),+>)?) => {
        impl$(<$($parameter),+>)? From<RemoteProxy> for $name$(<$($parameter),+>)? {
            fn from(proxy: RemoteProxy) -> Self {
                $name { proxy, $(items: std::marker::PhantomData::<fn() -> ($($parameter,)+)>)? }
            }
        }

        impl$(<$($parameter),+>)? Clone for $name$(<$($parameter),+>)? {
            fn clone(&self) -> Self {
                self.proxy.clone().into()
            }
        }

        impl$(<$($parameter),+>)? std::ops::Deref for $name$(<$($parameter),+>)? {
            type Target = RemoteProxy;

            fn deref(&self) -> &RemoteProxy {
                &self.proxy
            }
        }

        impl$(<$($parameter),+>)? std::fmt::Debug for $name$(<$($parameter),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.proxy).finish()
            }
        }
    };
}

pub(super) use remote_type;
