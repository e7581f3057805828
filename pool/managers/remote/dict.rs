//! [`RemoteDict`]: a dict that a manager of another program holds.

use super::manager::RemoteManager;
use super::proxy::{RemoteProxy, remote_type, unless};
use crate::error::RemoteCallError;
use crate::pickle::value::PyValue;
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// A dict that a [`RemoteManager`] holds: Python's `manager.dict()`.
///
/// Dereferences to [`RemoteProxy`], as which it fails. What a method gives is a copy: two calls are two steps, between which
/// others may call.
pub struct RemoteDict<K, V> {
    proxy: RemoteProxy,
    items: PhantomData<fn() -> (K, V)>,
}

remote_type!(RemoteDict<K, V>);

impl RemoteManager {
    /// Makes an empty dict.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn dict<K, V>(&self) -> Result<RemoteDict<K, V>, RemoteCallError> {
        Ok(self.create("dict", ())?.into())
    }
}

impl RemoteProxy {
    /// Returns the object as a dict, which it has to be.
    pub fn into_dict<K, V>(self) -> RemoteDict<K, V> {
        self.into()
    }
}

impl<K, V> RemoteDict<K, V>
where
    K: Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    /// Returns a copy of the value of a key; `None` if the dict has no such key.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn get<Q: ToOwned<Owned = K> + ?Sized>(&self, key: &Q) -> Result<Option<V>, RemoteCallError> {
        unless("KeyError", self.call("__getitem__", (key.to_owned(),)))
    }

    /// Sets the value of a key: `dict[key] = value`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn insert(&self, key: K, value: V) -> Result<(), RemoteCallError> {
        self.call("__setitem__", (key, value))
    }

    /// Removes a key, and returns its value: `dict.pop(key)`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn remove<Q: ToOwned<Owned = K> + ?Sized>(&self, key: &Q) -> Result<Option<V>, RemoteCallError> {
        unless("KeyError", self.call("pop", (key.to_owned(),)))
    }

    /// Returns the value of a key, after setting it if the key has none: `dict.setdefault(key, value)`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn get_or_insert(&self, key: K, value: V) -> Result<V, RemoteCallError> {
        self.call("setdefault", (key, value))
    }

    /// Sets the values of many keys in one call: `dict.update(entries)`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn extend(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), RemoteCallError> {
        self.call("update", (entries.into_iter().collect::<Vec<(K, V)>>(),))
    }

    /// Returns whether the dict has a key.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn contains_key<Q: ToOwned<Owned = K> + ?Sized>(&self, key: &Q) -> Result<bool, RemoteCallError> {
        self.call("__contains__", (key.to_owned(),))
    }

    /// Returns how many keys the dict has.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn len(&self) -> Result<usize, RemoteCallError> {
        self.call("__len__", ())
    }

    /// Returns whether the dict has no key.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn is_empty(&self) -> Result<bool, RemoteCallError> {
        Ok(self.len()? == 0)
    }

    /// Removes all keys.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn clear(&self) -> Result<(), RemoteCallError> {
        self.call("clear", ())
    }

    /// Returns the keys and their values, in the order of the dict.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn items(&self) -> Result<Vec<(K, V)>, RemoteCallError> {
        self.call("items", ())
    }

    /// Returns the keys, in the order of the dict.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn keys(&self) -> Result<Vec<K>, RemoteCallError> {
        self.call("keys", ())
    }

    /// Returns the values, in the order of the dict.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn values(&self) -> Result<Vec<V>, RemoteCallError> {
        self.call("values", ())
    }

    /// Returns a copy of the dict.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn copy(&self) -> Result<PyValue, RemoteCallError> {
        self.call("copy", ())
    }
}
