//! [`RemoteValue`], [`RemoteNamespace`]: single values that a manager of another program holds.

use super::manager::RemoteManager;
use super::proxy::{RemoteProxy, remote_type};
use crate::error::RemoteCallError;
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// A value that a [`RemoteManager`] holds: Python's `manager.Value('i', 0)`.
///
/// Dereferences to [`RemoteProxy`], as which it fails. It has no lock: a `get` and a `set` are two steps, between which
/// others may call.
pub struct RemoteValue<T> {
    proxy: RemoteProxy,
    items: PhantomData<fn() -> (T,)>,
}

remote_type!(RemoteValue<T>);

impl<T: Serialize + DeserializeOwned + 'static> RemoteValue<T> {
    /// Returns a copy of the value.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn get(&self) -> Result<T, RemoteCallError> {
        self.call("get", ())
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn set(&self, value: T) -> Result<(), RemoteCallError> {
        self.call("set", (value,))
    }
}

/// Attributes that a [`RemoteManager`] holds, of any plain values: Python's `manager.Namespace()`.
///
/// Dereferences to [`RemoteProxy`], as which it fails; a name that there is not is the exception `AttributeError`.
pub struct RemoteNamespace {
    proxy: RemoteProxy,
}

remote_type!(RemoteNamespace);

impl RemoteNamespace {
    /// Returns a copy of the value of a name: `namespace.name`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, RemoteCallError> {
        self.call("__getattribute__", (name.to_owned(),))
    }

    /// Sets the value of a name: `namespace.name = value`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn set<T: Serialize + DeserializeOwned + 'static>(&self, name: &str, value: T) -> Result<(), RemoteCallError> {
        self.call("__setattr__", (name.to_owned(), value))
    }

    /// Removes a name: `del namespace.name`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn remove(&self, name: &str) -> Result<(), RemoteCallError> {
        self.call("__delattr__", (name.to_owned(),))
    }
}

impl RemoteManager {
    /// Makes a value, of one of Python's type codes, which Python does not check: `manager.Value(typecode, value)`.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn value<T: Serialize + DeserializeOwned + 'static>(
        &self,
        typecode: &str,
        value: T,
    ) -> Result<RemoteValue<T>, RemoteCallError> {
        Ok(self.create("Value", (typecode.to_owned(), value))?.into())
    }

    /// Makes an empty namespace.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn namespace(&self) -> Result<RemoteNamespace, RemoteCallError> {
        Ok(self.create("Namespace", ())?.into())
    }
}
