//! [`PyException`]: what a method raises for a caller in Python.

use crate::pickle::value::PyValue;
use std::fmt;

/// An exception that a method of an [`Exposed`](crate::Exposed) type raises: a caller in Python gets it as if it was raised
/// there, one in Rust as [`RemoteCallError::exception`](crate::RemoteCallError::exception).
///
/// ```
/// use multiproc::PyException;
///
/// let missing = PyException::new("KeyError", ["name".into()]);
/// assert_eq!(missing.to_string(), "KeyError('name')");
/// let empty = PyException::new("queue.Empty", []);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PyException {
    pub(super) module: String,
    pub(super) name: String,
    pub(super) args: Vec<PyValue>,
}

impl PyException {
    /// Returns an exception of that class, which the caller has to know: a built-in one by its name, others with their
    /// module before it.
    pub fn new(class: &str, args: impl IntoIterator<Item = PyValue>) -> PyException {
        let (module, name) = class.rsplit_once('.').unwrap_or(("builtins", class));
        PyException { module: module.to_owned(), name: name.to_owned(), args: args.into_iter().collect() }
    }

    /// Of a call that is wrong in itself.
    pub(super) fn type_error(text: String) -> PyException {
        PyException::new("TypeError", [text.into()])
    }
}

impl fmt::Display for PyException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.module != "builtins" {
            write!(f, "{}.", self.module)?;
        }
        match &*self.args {
            [only] => write!(f, "{}({only})", self.name),
            args => write!(f, "{}{}", self.name, PyValue::Tuple(args.to_vec())),
        }
    }
}

impl std::error::Error for PyException {}
