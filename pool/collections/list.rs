//! [`SharedList`]: a list in shared memory.

use super::core::{Core, entry, error};
use super::entry as entries;
use crate::channels::item::Packed;
use crate::codec::Payload;
use crate::error::{CollectionError, Error};
use crate::heap::kind::Kind;
use crate::sync::algorithm::store::list::Row;
use crate::sync::algorithm::store::{Found, Open};
use crate::sync::handle::expect;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

/// A list of values in shared memory, which many processes change.
///
/// What most programs want of Python's `Manager().list()`, without a server: an operation takes a fraction of a microsecond.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same list.
///
/// ```
/// use multiproc::{Process, SharedList};
///
/// let list = SharedList::new();
/// list.extend(["a".to_owned(), "b".to_owned()])?;
/// let process = Process::spawn(|list: SharedList<String>| list.push("c".to_owned()).unwrap(), (list.clone(),))?;
/// process.join()?;
/// assert_eq!(list.get(2)?.as_deref(), Some("c"));
/// assert_eq!(list.iter()?.collect::<String>(), "abc");
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// - Items are serialised, and handles may be in them. What is got is a copy; to change an item in one step there is
///   [`SharedList::update`].
/// - One lock protects the list, and is held for some nanoseconds. To put in or take out an item in the middle moves those behind
///   it: 8 bytes each.
/// - An item that serialises to 48 bytes or less takes 80; a larger one has a block of its own. There is room for 26 million.
///   For numbers an [`Array`](crate::Array) is better, and for what goes from process to process a [`Queue`](crate::Queue).
///
/// # If a process dies
///
/// The list goes on, and nothing is half changed, as in a [`SharedDict`](crate::SharedDict).
pub struct SharedList<T> {
    core: Core,
    items: PhantomData<fn(T) -> T>,
}

impl<T: Payload> SharedList<T> {
    /// Makes an empty list.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for the list; [`SharedList::try_new`] returns an error instead.
    pub fn new() -> SharedList<T> {
        expect(SharedList::try_new(), "list")
    }

    /// Makes an empty list.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new() -> Result<SharedList<T>, Error> {
        Ok(SharedList { core: Core::new(Kind::List, 1)?, items: PhantomData })
    }

    /// Returns a copy of an item; `None` = the list is not that long.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`](crate::SharedDict::get).
    pub fn get(&self, at: usize) -> Result<Option<T>, CollectionError> {
        let found = self.look(&self.open()?, at)?;
        found.map(entries::value).transpose()
    }

    /// Replaces an item; false = the list is not that long, and has not changed.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::insert`](crate::SharedDict::insert).
    pub fn set(&self, at: usize, item: T) -> Result<bool, CollectionError> {
        let packed = entries::pack(&[], &item)?;
        self.open()?.replace(&self.core.books(), at, &entry(0, &packed)).map_err(error)
    }

    /// Changes an item in one step, and gives what `change` gives; `None` = the list is not that long.
    ///
    /// ```
    /// let list = multiproc::SharedList::new();
    /// list.push(vec![1])?;
    /// assert_eq!(list.update(0, |numbers| { numbers.push(2); numbers.len() })?, Some(2));
    /// assert_eq!(list.get(0)?, Some(vec![1, 2]));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// Others wait as long as `change` takes. In it, everything else that is asked of the same list is refused
    /// ([`CollectionError::is_would_deadlock`]).
    ///
    /// # Errors
    ///
    /// As [`SharedDict::insert`](crate::SharedDict::insert). If the new item cannot be stored, the old one stays.
    ///
    /// # Panics
    ///
    /// A panic of `change` goes through to the caller, and nothing has changed.
    pub fn update<R>(&self, at: usize, change: impl FnOnce(&mut T) -> R) -> Result<Option<R>, CollectionError> {
        let open = self.open()?;
        let Some(before) = self.look(&open, at)? else { return Ok(None) };
        // The user's `Deserialize`, `change`, and the user's `Serialize`.
        let (packed, result) = self.core.inside(|| {
            let mut item = entries::value::<T>(before)?;
            let result = change(&mut item);
            Ok::<_, CollectionError>((entries::pack(&[], &item)?, result))
        })?;
        open.replace(&self.core.books(), at, &entry(0, &packed)).map_err(error)?;
        Ok(Some(result))
    }

    /// Appends an item.
    ///
    /// ```
    /// let list = multiproc::SharedList::<String>::new();
    /// list.push("a".to_owned())?;
    /// list.extend(["b", "c"].map(String::from))?;
    /// assert_eq!((list.len()?, list.get(2)?), (3, Some("c".to_owned())));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`SharedDict::insert`](crate::SharedDict::insert).
    pub fn push(&self, item: T) -> Result<(), CollectionError> {
        let packed = entries::pack(&[], &item)?;
        self.open()?.append(&self.core.books(), &[entry(0, &packed)]).map_err(error)
    }

    /// Appends many items in one step: all, or none.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::insert`](crate::SharedDict::insert): none was appended.
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<(), CollectionError> {
        let packed: Result<Vec<Packed>, CollectionError> =
            items.into_iter().map(|item| entries::pack(&[], &item)).collect();
        let packed = packed?;
        let all: Vec<_> = packed.iter().map(|packed| entry(0, packed)).collect();
        self.open()?.append(&self.core.books(), &all).map_err(error)
    }

    /// Takes the last item out.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`](crate::SharedDict::get).
    pub fn pop(&self) -> Result<Option<T>, CollectionError> {
        let open = self.open()?;
        let Some(last) = open.len().checked_sub(1) else { return Ok(None) };
        self.take(open, last)
    }

    /// Puts an item in front of the one at `at`; behind the last, if the list is not that long.
    ///
    /// ```
    /// let list = multiproc::SharedList::new();
    /// list.extend([1, 3])?;
    /// list.insert(1, 2)?;
    /// assert_eq!(list.iter()?.collect::<Vec<_>>(), [1, 2, 3]);
    /// assert_eq!((list.remove(0)?, list.pop()?, list.get(7)?), (Some(1), Some(3), None));
    /// assert!(list.set(0, 5)? && !list.set(1, 6)?, "there is one item");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`SharedDict::insert`](crate::SharedDict::insert).
    pub fn insert(&self, at: usize, item: T) -> Result<(), CollectionError> {
        let packed = entries::pack(&[], &item)?;
        self.open()?.put_before(&self.core.books(), at, entry(0, &packed)).map_err(error)
    }

    /// Takes an item out, and those behind it move up; `None` = the list is not that long.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`](crate::SharedDict::get).
    pub fn remove(&self, at: usize) -> Result<Option<T>, CollectionError> {
        self.take(self.open()?, at)
    }

    /// Takes the items of a range out, and those behind it move up. What goes beyond the end is none.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`](crate::SharedDict::get).
    pub fn remove_range(&self, range: Range<usize>) -> Result<(), CollectionError> {
        self.open()?.take_out(&self.core.books(), range);
        Ok(())
    }

    /// Takes all items out.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`](crate::SharedDict::get).
    pub fn clear(&self) -> Result<(), CollectionError> {
        self.remove_range(0..usize::MAX)
    }

    /// Returns how many items there are, at one moment.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`](crate::SharedDict::get).
    pub fn len(&self) -> Result<usize, CollectionError> {
        Ok(self.open()?.len())
    }

    /// Returns whether there is none.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`](crate::SharedDict::get).
    pub fn is_empty(&self) -> Result<bool, CollectionError> {
        self.len().map(|len| len == 0)
    }

    /// Returns a copy of all items, as they were at one moment: an iterator over a snapshot.
    ///
    /// # Errors
    ///
    /// As [`SharedDict::get`](crate::SharedDict::get).
    pub fn iter(&self) -> Result<std::vec::IntoIter<T>, CollectionError> {
        let open = self.open()?;
        let all: Result<Vec<_>, _> = (0..open.len()).map(|at| self.look(&open, at)).collect();
        drop(open);
        let items: Result<Vec<T>, _> = all?.into_iter().flatten().map(entries::value).collect();
        Ok(items?.into_iter())
    }

    fn open(&self) -> Result<Open<'_>, CollectionError> {
        self.core.open::<Row>(0, self.core.deadline())
    }

    fn look(&self, open: &Open<'_>, at: usize) -> Result<Option<Packed>, CollectionError> {
        let copy = |found: Found<'_>| entries::copy(found, &self.core.books());
        open.at(at).and_then(|found| found.map(copy).transpose()).map_err(error)
    }

    fn take(&self, open: Open<'_>, at: usize) -> Result<Option<T>, CollectionError> {
        let Some(taken) = self.look(&open, at)? else { return Ok(None) };
        open.take_out(&self.core.books(), at..at + 1);
        drop(open);
        entries::value(taken).map(Some)
    }
}

impl<T> SharedList<T> {
    /// Returns a handle to the same list whose operations wait for at most `timeout`, and fail with
    /// [`CollectionError::is_timed_out`] then.
    pub fn with_timeout(&self, timeout: Duration) -> SharedList<T> {
        SharedList { core: self.core.with_timeout(timeout), items: PhantomData }
    }
}

impl<T: Payload> Default for SharedList<T> {
    fn default() -> SharedList<T> {
        SharedList::new()
    }
}

impl<T> Clone for SharedList<T> {
    fn clone(&self) -> Self {
        SharedList { core: self.core.clone(), items: PhantomData }
    }
}

impl<T> fmt::Debug for SharedList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedList").finish_non_exhaustive()
    }
}

impl<T> Serialize for SharedList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.core.serialize(serializer)
    }
}

impl<'de, T: Payload> Deserialize<'de> for SharedList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedList<T>, D::Error> {
        Ok(SharedList { core: Core::read(deserializer, Kind::List, 1, "list")?, items: PhantomData })
    }
}
