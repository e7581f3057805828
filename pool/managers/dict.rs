//! [`DictProxy`]: a map in a manager's server.

use crate::codec::Payload;
use crate::error::ManagerError;
use crate::managers::handle::ManagerHandle;
use crate::managers::proxy::{Proxy, typed_proxy};
use crate::portable::{Captures, Portable};
use crate::sys::any::conjure;
use std::collections::HashMap;
use std::hash::Hash;

/// A map that a [`Manager`](crate::Manager) holds: Python's `Manager().dict()`.
///
/// A handle, as [`Proxy`], to which it dereferences: `dict.call(..)` calls any function of a `HashMap<K, V>`.
///
/// ```
/// let manager = multiproc::Manager::new()?;
/// let ages = manager.dict([("ann".to_owned(), 40), ("bob".to_owned(), 41)])?;
/// assert_eq!(ages.insert("ann".to_owned(), 42)?, Some(40));
/// assert_eq!(ages.get("ann")?, Some(42));
/// assert_eq!(ages.remove("bob")?, Some(41));
/// assert_eq!(ages.len()?, 1);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Keys are asked for as those of a `HashMap` are: by `&str`, if they are `String`s. What a method gives is a copy. A change in
/// one step is [`DictProxy::update`]; two calls are two steps, between which others may call.
///
/// All methods fail as [`Proxy::call`] does.
pub struct DictProxy<K, V> {
    proxy: Proxy<HashMap<K, V>>,
}

typed_proxy!(DictProxy<K, V>, HashMap<K, V>);

impl ManagerHandle {
    /// Makes a map in the server, see [`DictProxy`].
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn dict<K, V>(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<DictProxy<K, V>, ManagerError>
    where
        K: Payload + Eq + Hash + Send,
        V: Payload + Send,
    {
        let entries: Vec<(K, V)> = entries.into_iter().collect();
        let make = |entries: Vec<(K, V)>| HashMap::from_iter(entries);
        Ok(DictProxy { proxy: self.create(make, (entries,))? })
    }
}

impl<K: Payload + Eq + Hash + Send, V: Payload + Send> DictProxy<K, V> {
    /// Returns a copy of the value of a key.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>, ManagerError>
    where
        Q: ToOwned<Owned = K> + ?Sized,
        V: Clone,
    {
        self.call(|map: &mut HashMap<K, V>, key: K| map.get(&key).cloned(), (key.to_owned(),))
    }

    /// Sets the value of a key, and returns the one that it had.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>, ManagerError> {
        self.call(HashMap::insert, (key, value))
    }

    /// Returns the value of a key, and first sets it if it has none: Python's `setdefault()`.
    ///
    /// ```
    /// let manager = multiproc::Manager::new()?;
    /// let ages = manager.dict([("ann".to_owned(), 40)])?;
    /// assert_eq!(ages.get_or_insert("ann".to_owned(), 1)?, 40);
    /// assert_eq!(ages.get_or_insert("bob".to_owned(), 1)?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn get_or_insert(&self, key: K, value: V) -> Result<V, ManagerError>
    where
        V: Clone,
    {
        let get = |map: &mut HashMap<K, V>, key: K, value: V| map.entry(key).or_insert(value).clone();
        self.call(get, (key, value))
    }

    /// Changes the value of a key in one step, and returns what `change` gives. A key without a value gets the
    /// default first.
    ///
    /// ```
    /// let manager = multiproc::Manager::new()?;
    /// let counts = manager.dict::<String, u32>([])?;
    /// counts.update("a", |count| *count += 1)?;
    /// assert_eq!(counts.update("a", |count| { *count += 1; *count })?, 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// `change` captures nothing; with more arguments use [`Proxy::call`].
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn update<Q, F, R>(&self, key: &Q, change: F) -> Result<R, ManagerError>
    where
        Q: ToOwned<Owned = K> + ?Sized,
        F: Fn(&mut V) -> R + Portable,
        R: Payload,
        V: Default,
    {
        let () = Captures::<F>::NOTHING;
        let _ = change;
        self.call(|map: &mut HashMap<K, V>, key: K| conjure::<F>()(map.entry(key).or_default()), (key.to_owned(),))
    }

    /// Takes the value of a key out.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn remove<Q: ToOwned<Owned = K> + ?Sized>(&self, key: &Q) -> Result<Option<V>, ManagerError> {
        self.call(|map: &mut HashMap<K, V>, key: K| map.remove(&key), (key.to_owned(),))
    }

    /// Takes any one entry out: Python's `popitem()`.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn pop(&self) -> Result<Option<(K, V)>, ManagerError>
    where
        K: Clone,
    {
        let pop = |map: &mut HashMap<K, V>| {
            let key = map.keys().next()?.clone();
            map.remove_entry(&key)
        };
        self.call(pop, ())
    }

    /// Returns whether a key has a value.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn contains_key<Q: ToOwned<Owned = K> + ?Sized>(&self, key: &Q) -> Result<bool, ManagerError> {
        self.call(|map: &mut HashMap<K, V>, key: K| map.contains_key(&key), (key.to_owned(),))
    }

    /// Returns the number of entries.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn len(&self) -> Result<usize, ManagerError> {
        self.call(|map: &mut HashMap<K, V>| map.len(), ())
    }

    /// Returns whether the map has no entries.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        self.len().map(|len| len == 0)
    }

    /// Sets all these in one step: Python's `update()`.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn extend(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), ManagerError> {
        let entries: Vec<(K, V)> = entries.into_iter().collect();
        self.call(|map: &mut HashMap<K, V>, entries: Vec<(K, V)>| map.extend(entries), (entries,))
    }

    /// Takes all entries out, and drops them.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.call(|map: &mut HashMap<K, V>| map.clear(), ())
    }

    /// Returns a copy of all keys, in no order.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn keys(&self) -> Result<Vec<K>, ManagerError>
    where
        K: Clone,
    {
        self.call(|map: &mut HashMap<K, V>| map.keys().cloned().collect::<Vec<K>>(), ())
    }

    /// Returns a copy of all values, in no order.
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn values(&self) -> Result<Vec<V>, ManagerError>
    where
        V: Clone,
    {
        self.call(|map: &mut HashMap<K, V>| map.values().cloned().collect::<Vec<V>>(), ())
    }

    /// Returns a copy of the whole map, as it was at one moment: Python's `dict(d)`, and `d.items()` in one go.
    ///
    /// ```
    /// let manager = multiproc::Manager::new()?;
    /// let ages = manager.dict([("ann".to_owned(), 40), ("bob".to_owned(), 41)])?;
    /// assert_eq!(ages.to_map()?.values().sum::<i32>(), 81);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Proxy::call`].
    pub fn to_map(&self) -> Result<HashMap<K, V>, ManagerError>
    where
        K: Clone,
        V: Clone,
    {
        self.call(|map: &mut HashMap<K, V>| map.clone(), ())
    }
}
