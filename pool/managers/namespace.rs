//! [`NamespaceProxy`]: named values of different types in a manager's server.

use crate::codec::Payload;
use crate::error::ManagerError;
use crate::managers::handle::ManagerHandle;
use crate::managers::proxy::{Proxy, typed_proxy};
use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;

/// Named values, each of a type of its own: what is behind a [`NamespaceProxy`].
#[derive(Default)]
pub struct Namespace {
    values: BTreeMap<String, (Box<dyn Any + Send>, &'static str)>,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.values.iter().map(|(name, (_, of_type))| (name, of_type));
        f.debug_map().entries(types).finish()
    }
}

/// Named values of different types that a [`Manager`](crate::Manager) holds: Python's `Manager().Namespace()`.
///
/// A handle, as [`Proxy`].
///
/// ```
/// let manager = multiproc::Manager::new()?;
/// let settings = manager.namespace()?;
/// settings.set("retries", 3u32)?;
/// settings.set("host", "localhost".to_owned())?;
/// assert_eq!(settings.get("retries")?, Some(3u32));
/// assert_eq!(settings.get::<u32>("missing")?, None);
/// assert!(settings.get::<u32>("host").unwrap_err().is_error()); // it is a `String`
/// assert_eq!(settings.names()?, ["host", "retries"]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// All methods fail as [`Proxy::call`] does.
pub struct NamespaceProxy {
    proxy: Proxy<Namespace>,
}

typed_proxy!(NamespaceProxy, Namespace);

impl ManagerHandle {
    /// Makes an empty namespace in the server, see [`NamespaceProxy`].
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn namespace(&self) -> Result<NamespaceProxy, ManagerError> {
        Ok(NamespaceProxy { proxy: self.create(Namespace::default, ())? })
    }
}

impl NamespaceProxy {
    /// Sets the value of a name, whatever it was before.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn set<T: Payload + Send>(&self, name: &str, value: T) -> Result<(), ManagerError> {
        let set = |space: &mut Namespace, name: String, value: T| {
            space.values.insert(name, (Box::new(value), type_name::<T>()));
        };
        self.call(set, (name.to_owned(), value))
    }

    /// Returns a copy of the value of a name; `None` = it has none.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`]; and [`ManagerError::is_error`]: the value is of another type.
    pub fn get<T: Payload + Send + Clone>(&self, name: &str) -> Result<Option<T>, ManagerError> {
        let get = |space: &mut Namespace, name: String| match space.values.get(&name) {
            None => Ok(None),
            Some((value, of_type)) => match value.downcast_ref::<T>() {
                Some(value) => Ok(Some(value.clone())),
                None => Err(format!("`{name}` is a `{of_type}`, not a `{}`", type_name::<T>())),
            },
        };
        self.try_call(get, (name.to_owned(),))
    }

    /// Drops the value of a name. Returns whether it had one.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn remove(&self, name: &str) -> Result<bool, ManagerError> {
        self.call(|space: &mut Namespace, name: String| space.values.remove(&name).is_some(), (name.to_owned(),))
    }

    /// Returns the names that have values, in alphabetical order.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn names(&self) -> Result<Vec<String>, ManagerError> {
        self.call(|space: &mut Namespace| space.values.keys().cloned().collect::<Vec<String>>(), ())
    }
}
