//! [`Exposed`]: what of a type programs elsewhere can make and call.

use super::exception::PyException;
use crate::channels::queue::Queue;
use crate::pickle::value::PyValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What of a type other programs can make and call, through a [`ManagerServer`](crate::ManagerServer): how an object is
/// made, and its methods by name.
///
/// ```
/// use multiproc::{Exposed, PyException};
/// use std::sync::atomic::{AtomicI64, Ordering};
///
/// let counter = Exposed::new(["start"], |(start,): (Option<i64>,)| AtomicI64::new(start.unwrap_or(0)))
///     .method("add", ["number"], |counter: &AtomicI64, (number,): (i64,)| counter.fetch_add(number, Ordering::Relaxed))
///     .try_method("divide", ["by"], |counter, (by,): (i64,)| {
///         let value = counter.load(Ordering::Relaxed);
///         value.checked_div(by).ok_or_else(|| PyException::new("ZeroDivisionError", ["division by zero".into()]))
///     });
/// ```
///
/// Parameters have names, as in Python, where arguments may be given by them. A method gets a tuple of as many values as it
/// has parameters (`()` if it has none); one that is not given is `None`, so an `Option` is a parameter with a default.
/// Arguments that are not of the types are a `TypeError` of the caller.
///
/// Several callers may call methods of one object at the same time, each on a thread of its own; what is changed has its
/// own lock. A method that panics is an error of its caller.
pub struct Exposed<T> {
    make: Callable<(), T>,
    methods: BTreeMap<String, Callable<T, PyValue>>,
}

/// Code of the user's, and the names of its parameters.
struct Callable<T, R> {
    parameters: Vec<&'static str>,
    code: Box<Code<T, R>>,
}

type Code<T, R> = dyn Fn(&T, PyValue) -> Result<R, Refusal> + Send + Sync;

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Refusal {
    Raised(PyException),
    /// Something is wrong that is not the method's own affair.
    Failed(String),
}

/// The arguments of a call.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) args: Vec<PyValue>,
    pub(super) kwargs: Vec<(String, PyValue)>,
}

impl Arguments {
    /// One value for each parameter.
    ///
    /// # Errors
    ///
    /// There are too many, one has no such name, or one is given twice.
    fn bind(self, parameters: &[&str]) -> Result<PyValue, Refusal> {
        let wrong = |text: String| Err(Refusal::Raised(PyException::type_error(text)));
        let given = self.args.len();
        if given > parameters.len() {
            return wrong(format!("takes {} positional arguments but {given} were given", parameters.len()));
        }
        let mut values = self.args;
        values.resize(parameters.len(), PyValue::None);
        let mut named = vec![false; parameters.len()];
        for (name, value) in self.kwargs {
            match parameters.iter().position(|parameter| *parameter == name) {
                None => return wrong(format!("got an unexpected keyword argument '{name}'")),
                Some(at) if at < given || named[at] => {
                    return wrong(format!("got multiple values for argument '{name}'"));
                }
                Some(at) => (values[at], named[at]) = (value, true),
            }
        }
        Ok(PyValue::Tuple(values))
    }
}

impl<T, R> Callable<T, R> {
    fn new<A: DeserializeOwned>(
        parameters: &[&'static str],
        code: impl Fn(&T, A) -> Result<R, Refusal> + Send + Sync + 'static,
    ) -> Callable<T, R> {
        let code = move |object: &T, args: PyValue| {
            let args = args.extract().map_err(|error| Refusal::Raised(PyException::type_error(error.to_string())))?;
            code(object, args)
        };
        Callable { parameters: parameters.to_vec(), code: Box::new(code) }
    }

    fn call(&self, object: &T, arguments: Arguments) -> Result<R, Refusal> {
        (self.code)(object, arguments.bind(&self.parameters)?)
    }
}

impl<T: Send + Sync + 'static> Exposed<T> {
    /// Returns a type whose objects `make` makes of the arguments. It may return a handle to an object that there is
    /// already.
    pub fn new<A: DeserializeOwned, const N: usize>(
        parameters: [&'static str; N],
        make: impl Fn(A) -> T + Send + Sync + 'static,
    ) -> Exposed<T> {
        Exposed::try_new(parameters, move |args| Ok(make(args)))
    }

    /// Returns a type, as [`Exposed::new`]; `make` can raise an exception.
    pub fn try_new<A: DeserializeOwned, const N: usize>(
        parameters: [&'static str; N],
        make: impl Fn(A) -> Result<T, PyException> + Send + Sync + 'static,
    ) -> Exposed<T> {
        let make = Callable::new(&parameters, move |(): &(), args| make(args).map_err(Refusal::Raised));
        Exposed { make, methods: BTreeMap::new() }
    }

    /// Adds a method, whose result is a plain value.
    pub fn method<A: DeserializeOwned, R: Serialize, const N: usize>(
        self,
        name: &str,
        parameters: [&'static str; N],
        method: impl Fn(&T, A) -> R + Send + Sync + 'static,
    ) -> Exposed<T> {
        self.try_method(name, parameters, move |object, args| Ok(method(object, args)))
    }

    /// Adds a method that can raise an exception.
    pub fn try_method<A: DeserializeOwned, R: Serialize, const N: usize>(
        mut self,
        name: &str,
        parameters: [&'static str; N],
        method: impl Fn(&T, A) -> Result<R, PyException> + Send + Sync + 'static,
    ) -> Exposed<T> {
        let method = move |object: &T, args: A| {
            let result = method(object, args).map_err(Refusal::Raised)?;
            PyValue::of(&result).map_err(|error| Refusal::Failed(error.to_string()))
        };
        self.methods.insert(name.to_owned(), Callable::new(&parameters, method));
        self
    }
}

impl Exposed<Queue<PyValue>> {
    /// Returns a type whose only object is this queue, which all clients share, with the methods of Python's `queue.Queue`:
    /// `put`, `get`, `put_nowait`,
    /// `get_nowait`, `qsize`, `empty` and `full`.
    pub fn queue(queue: Queue<PyValue>) -> Exposed<Queue<PyValue>> {
        Exposed::new([], move |()| queue.clone())
            .try_method("put", ["item", "block", "timeout"], |queue, (item, block, timeout)| {
                put(queue, item, block, timeout)
            })
            .try_method("put_nowait", ["item"], |queue, (item,)| put(queue, item, Some(false), None))
            .try_method("get", ["block", "timeout"], |queue, (block, timeout)| get(queue, block, timeout))
            .try_method("get_nowait", [], |queue, ()| get(queue, Some(false), None))
            .method("qsize", [], |queue, ()| queue.len())
            .method("empty", [], |queue, ()| queue.is_empty())
            .method("full", [], |queue, ()| queue.is_full())
    }
}

/// How long a method of a queue may wait; `None` = without limit.
fn patience(block: Option<bool>, timeout: Option<f64>) -> Result<Option<Duration>, PyException> {
    match timeout {
        _ if block == Some(false) => Ok(Some(Duration::ZERO)),
        None => Ok(None),
        // What no clock can count to is no limit.
        Some(seconds) if seconds >= 0.0 => Ok(Duration::try_from_secs_f64(seconds).ok()),
        Some(_) => Err(PyException::new("ValueError", ["'timeout' must be a non-negative number".into()])),
    }
}

fn put(queue: &Queue<PyValue>, item: PyValue, block: Option<bool>, timeout: Option<f64>) -> Result<(), PyException> {
    let put = match patience(block, timeout)? {
        None => queue.put(item),
        Some(timeout) => queue.put_timeout(item, timeout),
    };
    put.map_err(|error| match error.is_full() {
        true => PyException::new("queue.Full", []),
        false => PyException::new("OSError", [error.to_string().into()]),
    })
}

fn get(queue: &Queue<PyValue>, block: Option<bool>, timeout: Option<f64>) -> Result<PyValue, PyException> {
    let got = match patience(block, timeout)? {
        None => queue.get().map(Some),
        Some(timeout) => queue.get_timeout(timeout),
    };
    match got {
        Ok(Some(item)) => Ok(item),
        Ok(None) => Err(PyException::new("queue.Empty", [])),
        Err(error) => Err(PyException::new("OSError", [error.to_string().into()])),
    }
}

impl<T> fmt::Debug for Exposed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposed").field("methods", &self.methods.keys()).finish_non_exhaustive()
    }
}

/// A type that is registered, whatever it is.
pub(super) trait Type: Send + Sync {
    fn make(self: Arc<Self>, arguments: Arguments) -> Result<Arc<dyn Object>, Refusal>;
}

/// An object of such a type.
pub(super) trait Object: Send + Sync {
    fn call(&self, method: &str, arguments: Arguments) -> Result<PyValue, Refusal>;

    /// The names of its methods, as far as Python can call them by name.
    fn methods(&self) -> Vec<PyValue>;
}

struct Made<T> {
    object: T,
    exposed: Arc<Exposed<T>>,
}

impl<T: Send + Sync + 'static> Type for Exposed<T> {
    fn make(self: Arc<Self>, arguments: Arguments) -> Result<Arc<dyn Object>, Refusal> {
        Ok(Arc::new(Made { object: self.make.call(&(), arguments)?, exposed: self }))
    }
}

impl<T: Send + Sync> Object for Made<T> {
    fn call(&self, method: &str, arguments: Arguments) -> Result<PyValue, Refusal> {
        match self.exposed.methods.get(method) {
            Some(callable) => callable.call(&self.object, arguments),
            // What Python asks of every object.
            None if ["__repr__", "__str__"].contains(&method) => {
                Ok(format!("<{} of a manager in Rust>", std::any::type_name::<T>()).into())
            }
            None => Err(Refusal::Failed(format!("AttributeError: the object has no method '{method}'"))),
        }
    }

    fn methods(&self) -> Vec<PyValue> {
        let is_identifier = |name: &&String| {
            name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
                && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
        };
        self.exposed.methods.keys().filter(is_identifier).map(|name| name.clone().into()).collect()
    }
}
