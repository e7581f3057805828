//! [`SharedDict`]: a map in shared memory.

use super::core::{Core, entry, error};
use super::entry::{self as entries, Key, copy};
use crate::channels::item::{HeapBooks, Packed};
use crate::codec::Payload;
use crate::error::{CollectionError, Error};
use crate::heap::kind::Kind;
use crate::sync::algorithm::store::dict::{Chains, SHARDS};
use crate::sync::algorithm::store::{Found, Open, Refusal};
use crate::sync::handle::expect;
use crate::sys::time::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A map of values in shared memory, which many processes change at the same time.
///
/// What most programs want of Python's `Manager().dict()`, without a server: an operation takes a fraction of a microsecond.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same map.
///
/// ```
/// use multiproc::{Pool, SharedDict};
///
/// fn count(words: &SharedDict<String, u64>, text: String) {
///     for word in text.split(' ') {
///         words.update(word, |count| *count.get_or_insert(0) += 1).unwrap();
///     }
/// }
///
/// let words = SharedDict::new();
/// let pool = Pool::new(2)?;
/// pool.with(&words).tasks(count, ["to be or not".to_owned(), "to be".to_owned()]).run()?;
/// assert_eq!(words.get("be")?, Some(2));
/// assert_eq!(words.len()?, 4);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// - Keys and values are serialised. Keys are the same if what they serialise to is the same. Handles (locks, queues,
///   other maps …) may be in values, but not in keys.
/// - What is got is a copy. To change a value in one step there is [`SharedDict::update`].
/// - There are 16 locks, and a key selects one of them, so that others can use the map while somebody changes an entry.
/// - An entry whose key and value serialise to 48 bytes or less takes 80 bytes; a larger one has a block of its own. There is
///   room for 26 million entries. Memory that the map has once used it uses again; it goes back to the system with the map.
///
/// # If a process dies
///
/// The map goes on, and no entry is half changed: at whatever instruction the process was killed, what it was doing is done
/// as a whole or not at all. Others that wait for the same lock are delayed by up to 50 ms; whoever takes the lock over looks
/// once at all entries that it protects.
pub struct SharedDict<K, V> {
    core: Core,
    entries: PhantomData<fn(K) -> V>,
}

impl<K: Payload, V: Payload> SharedDict<K, V> {
    /// Makes an empty map.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for the map; [`SharedDict::try_new`] returns an error instead.
    pub fn new() -> SharedDict<K, V> {
        expect(SharedDict::try_new(), "map")
    }

    /// Makes an empty map.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new() -> Result<SharedDict<K, V>, Error> {
        Ok(SharedDict { core: Core::new(Kind::Dict, SHARDS)?, entries: PhantomData })
    }

    /// Returns a copy of the value of a key.
    ///
    /// ```
    /// let ages = multiproc::SharedDict::<String, u32>::new();
    /// ages.insert("ann".to_owned(), 40)?;
    /// assert_eq!((ages.get("ann")?, ages.get("bob")?), (Some(40), None));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`CollectionError::is_would_deadlock`]: this is called inside of an [`update`](SharedDict::update) of the same map.
    /// - [`CollectionError::is_timed_out`]: see [`SharedDict::with_timeout`].
    /// - [`CollectionError::is_encode`], [`CollectionError::is_decode`]: key or value could not be written or read.
    /// - [`CollectionError::is_shared_memory`]: it is exhausted, or this process has no part in it.
    ///
    /// # Timeouts
    ///
    /// Waits as long as somebody is in an [`update`](SharedDict::update) that has the same lock; see
    /// [`SharedDict::with_timeout`].
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>, CollectionError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'static,
    {
        let key = Key::new(key)?;
        let found = self.look(&self.open(&key)?, &key)?;
        found.map(|entry| entries::value_behind::<K, V>(&entry)).transpose()
    }

    /// Returns whether a key has a value.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`].
    pub fn contains_key<Q>(&self, key: &Q) -> Result<bool, CollectionError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'static,
    {
        let key = Key::new(key)?;
        let open = self.open(&key)?;
        let found = open.find(tag(&key), |found| key.is_of(found, &self.core.books())).map_err(error)?;
        Ok(found.is_some())
    }

    /// Sets the value of a key, and gives the one that it had.
    ///
    /// ```
    /// use multiproc::SharedDict;
    ///
    /// let ages = SharedDict::new();
    /// assert_eq!(ages.insert("ann".to_owned(), 5)?, None);
    /// assert_eq!(ages.insert("ann".to_owned(), 6)?, Some(5));
    /// ages.extend([("bob".to_owned(), 7)])?;
    /// assert!(ages.contains_key("bob")?);
    /// let copy: std::collections::HashMap<String, i32> = ages.iter()?.collect(); // Python: dict(ages)
    /// assert_eq!((copy["ann"], copy.len()), (6, 2));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`]; and [`CollectionError::is_full`].
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>, CollectionError> {
        let key = Key::new(&key)?;
        let packed = entries::pack(&key.bytes, &value)?;
        let before = self.put(&self.open(&key)?, &key, &packed, |found, books| copy(found, books))?;
        before.map(|entry| entries::value_behind::<K, V>(&entry)).transpose()
    }

    /// Takes the value of a key out.
    ///
    /// ```
    /// let ages = multiproc::SharedDict::<String, u32>::new();
    /// ages.insert("ann".to_owned(), 40)?;
    /// assert_eq!((ages.remove("ann")?, ages.remove("ann")?), (Some(40), None));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`].
    pub fn remove<Q>(&self, key: &Q) -> Result<Option<V>, CollectionError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'static,
    {
        let key = Key::new(key)?;
        let before = self.take(&self.open(&key)?, &key, |found, books| copy(found, books))?;
        before.map(|entry| entries::value_behind::<K, V>(&entry)).transpose()
    }

    /// Changes the value of a key in one step, and gives what `change` gives. `change` is called with the value, or with `None`
    /// if there is none; what it leaves there is the value then.
    ///
    /// ```
    /// let dict = multiproc::SharedDict::<u32, Vec<String>>::new();
    /// dict.update(&7, |list| list.get_or_insert_default().push("first".to_owned()))?;
    /// assert_eq!(dict.update(&7, |list| list.take())?, Some(vec!["first".to_owned()]));
    /// assert!(!dict.contains_key(&7)?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// Others that use a key with the same lock wait as long as `change` takes. In it, everything else that is asked of
    /// the same map is refused ([`CollectionError::is_would_deadlock`]).
    ///
    /// # Errors
    ///
    /// As [`SharedDict::insert`]. If the new value cannot be stored, the old one stays.
    ///
    /// # Panics
    ///
    /// A panic of `change` goes through to the caller, and nothing has changed.
    ///
    /// # If a process dies
    ///
    /// If the process dies in `change`, nothing has changed.
    pub fn update<Q, R>(&self, key: &Q, change: impl FnOnce(&mut Option<V>) -> R) -> Result<R, CollectionError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'static,
    {
        let key = Key::new(key)?;
        let open = self.open(&key)?;
        let before = self.look(&open, &key)?;
        // The user's `Deserialize`, `change`, and the user's `Serialize`.
        let (packed, result) = self.core.inside(|| {
            let mut value = before.as_ref().map(entries::value_behind::<K, V>).transpose()?;
            let result = change(&mut value);
            let packed = value.map(|value| entries::pack(&key.bytes, &value)).transpose()?;
            Ok::<_, CollectionError>((packed, result))
        })?;
        match packed {
            Some(packed) => drop(self.put(&open, &key, &packed, ignore)?),
            None => drop(self.take(&open, &key, ignore)?),
        }
        Ok(result)
    }

    /// Returns how many entries there are, at one moment.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`].
    pub fn len(&self) -> Result<usize, CollectionError> {
        let count = self.open_all()?.iter().map(Open::count).sum::<u64>();
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Returns whether there is none.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`].
    pub fn is_empty(&self) -> Result<bool, CollectionError> {
        self.len().map(|len| len == 0)
    }

    /// Sets the values of many keys. It is one step for each.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::insert`]: those in front of the one that failed were set.
    pub fn extend(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), CollectionError> {
        entries.into_iter().try_for_each(|(key, value)| {
            let key = Key::new(&key)?;
            let packed = entries::pack(&key.bytes, &value)?;
            self.put(&self.open(&key)?, &key, &packed, ignore).map(drop)
        })
    }

    /// Takes all entries out.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`].
    pub fn clear(&self) -> Result<(), CollectionError> {
        self.open_all()?.iter().for_each(|open| open.clear_all(&self.core.books()));
        Ok(())
    }

    /// Returns a copy of all entries, as they were at one moment, in no order: an iterator over a snapshot.
    ///
    /// ```
    /// let dict = multiproc::SharedDict::new();
    /// dict.extend([(1, "one".to_owned()), (2, "two".to_owned())])?;
    /// for (key, value) in dict.iter()? {
    ///     dict.insert(key, value.to_uppercase())?; // others may use the map, and so may this
    /// }
    /// assert_eq!(dict.get(&2)?.as_deref(), Some("TWO"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`].
    pub fn iter(&self) -> Result<std::vec::IntoIter<(K, V)>, CollectionError> {
        self.snapshot(entries::both)
    }

    /// Returns a copy of all keys, as [`SharedDict::iter`].
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`].
    pub fn keys(&self) -> Result<std::vec::IntoIter<K>, CollectionError> {
        self.snapshot(|entry| entries::both::<K, V>(entry).map(|both| both.0))
    }

    /// Returns a copy of all values, as [`SharedDict::iter`].
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`].
    pub fn values(&self) -> Result<std::vec::IntoIter<V>, CollectionError> {
        self.snapshot(entries::value_behind::<K, V>)
    }

    fn snapshot<R>(
        &self,
        read: impl Fn(&Packed) -> Result<R, CollectionError>,
    ) -> Result<std::vec::IntoIter<R>, CollectionError> {
        let mut all = Vec::new();
        let shards = self.open_all()?;
        for open in &shards {
            let mut copy = |found: Found<'_>| {
                all.push(copy(found, &self.core.books())?);
                Ok(())
            };
            open.each(&mut copy).map_err(error)?;
        }
        drop(shards);
        let read: Result<Vec<R>, CollectionError> = all.iter().map(read).collect();
        Ok(read?.into_iter())
    }

    #[inline]
    fn open(&self, key: &Key) -> Result<Open<'_>, CollectionError> {
        self.core.open::<Chains>((key.hash >> 32) as usize % SHARDS, self.core.deadline())
    }

    /// All shards, locked in their order.
    fn open_all(&self) -> Result<Vec<Open<'_>>, CollectionError> {
        let deadline: Deadline = self.core.deadline();
        (0..SHARDS).map(|at| self.core.open::<Chains>(at, deadline)).collect()
    }

    fn look(&self, open: &Open<'_>, key: &Key) -> Result<Option<Packed>, CollectionError> {
        let books = self.core.books();
        let found = open.find(tag(key), |found| key.is_of(found, &books));
        found.and_then(|found| found.map(|found| copy(found, &books)).transpose()).map_err(error)
    }

    /// Returns what `out` says of the entry that was there.
    fn put<R>(
        &self,
        open: &Open<'_>,
        key: &Key,
        packed: &Packed,
        out: impl FnOnce(Found<'_>, &HeapBooks<'_>) -> Result<R, Refusal>,
    ) -> Result<Option<R>, CollectionError> {
        let books = self.core.books();
        let entry = entry(tag(key), packed);
        open.put(&books, &entry, |found| key.is_of(found, &books), |found| out(found, &books)).map_err(error)
    }

    /// Returns what `out` says of the entry that was there.
    fn take<R>(
        &self,
        open: &Open<'_>,
        key: &Key,
        out: impl FnOnce(Found<'_>, &HeapBooks<'_>) -> Result<R, Refusal>,
    ) -> Result<Option<R>, CollectionError> {
        let books = self.core.books();
        open.take(&books, tag(key), |found| key.is_of(found, &books), |found| out(found, &books)).map_err(error)
    }
}

/// Nothing needs to be known of an entry that goes.
fn ignore(_: Found<'_>, _: &HeapBooks<'_>) -> Result<(), Refusal> {
    Ok(())
}

/// The part of a hash that selects a place in a shard.
#[inline]
fn tag(key: &Key) -> u32 {
    key.hash as u32
}

impl<K, V> SharedDict<K, V> {
    /// Returns a handle to the same map whose operations wait for at most `timeout`, and fail with
    /// [`CollectionError::is_timed_out`] then.
    pub fn with_timeout(&self, timeout: Duration) -> SharedDict<K, V> {
        SharedDict { core: self.core.with_timeout(timeout), entries: PhantomData }
    }
}

impl<K: Payload, V: Payload> Default for SharedDict<K, V> {
    fn default() -> SharedDict<K, V> {
        SharedDict::new()
    }
}

impl<K, V> Clone for SharedDict<K, V> {
    fn clone(&self) -> Self {
        SharedDict { core: self.core.clone(), entries: PhantomData }
    }
}

impl<K, V> fmt::Debug for SharedDict<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedDict").finish_non_exhaustive()
    }
}

impl<K, V> Serialize for SharedDict<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.core.serialize(serializer)
    }
}

impl<'de, K: Payload, V: Payload> Deserialize<'de> for SharedDict<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedDict<K, V>, D::Error> {
        Ok(SharedDict { core: Core::read(deserializer, Kind::Dict, SHARDS, "map")?, entries: PhantomData })
    }
}
