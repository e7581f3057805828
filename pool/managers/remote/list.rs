//! [`RemoteList`]: a list that a manager of another program holds.

use super::manager::RemoteManager;
use super::proxy::{RemoteProxy, remote_type, unless};
use crate::error::RemoteCallError;
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// A list that a [`RemoteManager`] holds: Python's `manager.list()`.
///
/// Dereferences to [`RemoteProxy`], as which it fails. Negative places count from the end, as in Python; a place beyond the
/// end is the exception `IndexError`.
pub struct RemoteList<T> {
    proxy: RemoteProxy,
    items: PhantomData<fn() -> (T,)>,
}

remote_type!(RemoteList<T>);

impl RemoteManager {
    /// Makes a list of those items.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn list<T: Serialize + DeserializeOwned + 'static>(
        &self,
        items: impl IntoIterator<Item = T>,
    ) -> Result<RemoteList<T>, RemoteCallError> {
        Ok(self.create("list", (items.into_iter().collect::<Vec<T>>(),))?.into())
    }
}

impl RemoteProxy {
    /// Returns the object as a list, which it has to be.
    pub fn into_list<T>(self) -> RemoteList<T> {
        self.into()
    }
}

impl<T: Serialize + DeserializeOwned + 'static> RemoteList<T> {
    /// Returns a copy of an item.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn get(&self, at: i64) -> Result<T, RemoteCallError> {
        self.call("__getitem__", (at,))
    }

    /// Sets an item.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn set(&self, at: i64, item: T) -> Result<(), RemoteCallError> {
        self.call("__setitem__", (at, item))
    }

    /// Appends an item: `list.append(item)`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn push(&self, item: T) -> Result<(), RemoteCallError> {
        self.call("append", (item,))
    }

    /// Appends many items in one call.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<(), RemoteCallError> {
        self.call("extend", (items.into_iter().collect::<Vec<T>>(),))
    }

    /// Puts an item before the one at that place.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn insert(&self, at: i64, item: T) -> Result<(), RemoteCallError> {
        self.call("insert", (at, item))
    }

    /// Removes the last item and returns it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn pop(&self) -> Result<Option<T>, RemoteCallError> {
        unless("IndexError", self.call("pop", ()))
    }

    /// Removes the item at that place and returns it: `list.pop(at)`.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn remove(&self, at: i64) -> Result<T, RemoteCallError> {
        self.call("pop", (at,))
    }

    /// Returns how many items the list has.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn len(&self) -> Result<usize, RemoteCallError> {
        self.call("__len__", ())
    }

    /// Returns whether the list has no items.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn is_empty(&self) -> Result<bool, RemoteCallError> {
        Ok(self.len()? == 0)
    }

    /// Returns whether the item is in the list.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn contains<Q: ToOwned<Owned = T> + ?Sized>(&self, item: &Q) -> Result<bool, RemoteCallError> {
        self.call("__contains__", (item.to_owned(),))
    }

    /// Sorts the list in place.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn sort(&self) -> Result<(), RemoteCallError> {
        self.call("sort", ())
    }

    /// Reverses the list in place.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn reverse(&self) -> Result<(), RemoteCallError> {
        self.call("reverse", ())
    }

    /// Returns a copy of all items.
    ///
    /// # Errors
    ///
    /// As [`RemoteProxy::call`].
    pub fn to_vec(&self) -> Result<Vec<T>, RemoteCallError> {
        self.value()
    }
}
