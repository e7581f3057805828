//! [`ListProxy`]: a list in a manager's server.

use crate::codec::Payload;
use crate::error::ManagerError;
use crate::managers::handle::ManagerHandle;
use crate::managers::proxy::{Proxy, typed_proxy};
use crate::portable::{Captures, Portable};
use crate::sys::any::conjure;

/// A list that a [`Manager`](crate::Manager) holds: Python's `Manager().list()`.
///
/// A handle, as [`Proxy`], to which it dereferences: `list.call(..)` calls any function of a `Vec<T>`.
///
/// ```
/// let manager = multiproc::Manager::new()?;
/// let list = manager.list([1, 2])?;
/// list.push(3)?;
/// assert_eq!(list.get(2)?, Some(3));
/// assert_eq!(list.set(0, 10)?, Some(1));
/// assert_eq!(list.to_vec()?, [10, 2, 3]);
/// assert_eq!(list.get(3)?, None);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// A list may hold lists, and these are not copies then: `manager.list([list.clone()])`.
///
/// All methods fail as [`Proxy::call`] does.
pub struct ListProxy<T> {
    proxy: Proxy<Vec<T>>,
}

typed_proxy!(ListProxy<T>, Vec<T>);

impl ManagerHandle {
    /// Makes a list in the server, see [`ListProxy`].
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn list<T: Payload + Send>(&self, items: impl IntoIterator<Item = T>) -> Result<ListProxy<T>, ManagerError> {
        let items: Vec<T> = items.into_iter().collect();
        Ok(ListProxy { proxy: self.create(|items: Vec<T>| items, (items,))? })
    }
}

impl<T: Payload + Send> ListProxy<T> {
    /// Returns a copy of an item; `None` = the list is not that long.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn get(&self, at: usize) -> Result<Option<T>, ManagerError>
    where
        T: Clone,
    {
        self.call(|list: &mut Vec<T>, at: usize| list.get(at).cloned(), (at,))
    }

    /// Replaces an item, and returns the one that was there; `None` = the list is not that long, and has not changed.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn set(&self, at: usize, item: T) -> Result<Option<T>, ManagerError> {
        let set = |list: &mut Vec<T>, at: usize, item: T| list.get_mut(at).map(|place| std::mem::replace(place, item));
        self.call(set, (at, item))
    }

    /// Changes an item in one step, and returns what `change` gives; `None` = the list is not that long.
    ///
    /// `change` captures nothing; with more arguments use [`Proxy::call`].
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn update<F, R>(&self, at: usize, change: F) -> Result<Option<R>, ManagerError>
    where
        F: Fn(&mut T) -> R + Portable,
        R: Payload,
    {
        let () = Captures::<F>::NOTHING;
        let _ = change;
        self.call(|list: &mut Vec<T>, at: usize| list.get_mut(at).map(conjure::<F>()), (at,))
    }

    /// Appends an item: Python's `append()`.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn push(&self, item: T) -> Result<(), ManagerError> {
        self.call(Vec::push, (item,))
    }

    /// Appends all these in one step.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<(), ManagerError> {
        let items: Vec<T> = items.into_iter().collect();
        self.call(|list: &mut Vec<T>, items: Vec<T>| list.extend(items), (items,))
    }

    /// Takes the last item out.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn pop(&self) -> Result<Option<T>, ManagerError> {
        self.call(Vec::pop, ())
    }

    /// Puts an item in front of the one at `at`; behind the last, if the list is not that long.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn insert(&self, at: usize, item: T) -> Result<(), ManagerError> {
        self.call(|list: &mut Vec<T>, at: usize, item: T| list.insert(at.min(list.len()), item), (at, item))
    }

    /// Takes an item out, and those behind it move up; `None` = the list is not that long.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn remove(&self, at: usize) -> Result<Option<T>, ManagerError> {
        self.call(|list: &mut Vec<T>, at: usize| (at < list.len()).then(|| list.remove(at)), (at,))
    }

    /// Returns the number of items.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn len(&self) -> Result<usize, ManagerError> {
        self.call(|list: &mut Vec<T>| list.len(), ())
    }

    /// Returns whether the list has no items.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        self.len().map(|len| len == 0)
    }

    /// Takes all items out, and drops them.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.call(|list: &mut Vec<T>| list.clear(), ())
    }

    /// Returns whether an item equals this one.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn contains<Q>(&self, item: &Q) -> Result<bool, ManagerError>
    where
        Q: ToOwned<Owned = T> + ?Sized,
        T: PartialEq,
    {
        self.call(|list: &mut Vec<T>, item: T| list.contains(&item), (item.to_owned(),))
    }

    /// Sorts the list. Items that are equal keep their order.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn sort(&self) -> Result<(), ManagerError>
    where
        T: Ord,
    {
        self.call(|list: &mut Vec<T>| list.sort(), ())
    }

    /// Reverses the order of the items.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn reverse(&self) -> Result<(), ManagerError> {
        self.call(|list: &mut Vec<T>| list.reverse(), ())
    }

    /// Returns a copy of the whole list, as it was at one moment.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn to_vec(&self) -> Result<Vec<T>, ManagerError>
    where
        T: Clone,
    {
        self.call(|list: &mut Vec<T>| list.clone(), ())
    }
}
