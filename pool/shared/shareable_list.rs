//! [`ShareableList`]: a list of mixed values in shared memory, in Python's layout.
//!
//! All numbers are native 64-bit integers. N items lie as follows:
//!
//! ```text
//! 0                 N
//! 8                 N + 1 offsets of the slots from the start of the data, the last one its length
//! 16 + 8 N          data: one slot an item
//! .. + data         N formats of 8 bytes: `q` an integer, `d` a float, `xxxxxxx?` a bool, `xxxxxx?x` nothing,
//!                   `<n>s` n bytes; filled up with NUL
//! .. + 8 N          N codes of 1 byte, what becomes of the bytes: 0 as they are, 1 text, 2 bytes, 3 nothing
//! ```
//!
//! Python writes the length of the *slot* as n and takes all NULs away from the end when it reads, so that bytes that end
//! with some come back too short. Only for those we write their true length, and a blank behind it (`3s `): a reading
//! Python passes over the blank, a writing one sees a format that does not end with `s` and puts its own in its place.

use crate::error::Error;
use crate::shared::item::{Item, content};
use crate::shared::shared_memory::SharedMemory;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io;
use std::sync::Arc;

/// A list of fixed length in shared memory, with items of mixed kinds: Python's
/// `multiprocessing.shared_memory.ShareableList`, byte for byte, so that Python programs read and write it too.
///
/// Items can be replaced, also by items of another kind; text and bytes as far as they fit the slot, which is as large
/// as what was there at first, rounded up to the next multiple of 8. A handle, as [`SharedMemory`], and like that without
/// a lock: what is read while it is being replaced can be a mixture.
///
/// ```
/// use multiproc::{Item, Pool, ShareableList};
///
/// let list = ShareableList::create(None, [Item::from("howdy"), 273.5.into(), (-3).into(), Item::None, true.into()])?;
/// // Python: ShareableList(name=..)
/// let same = ShareableList::open(list.shared_memory().name().unwrap())?;
/// assert_eq!(same.get(0)?, Item::from("howdy"));
/// same.set(0, "hello")?;
/// same.set(3, 5)?;
/// assert_eq!(list.to_vec()?, [Item::from("hello"), 273.5.into(), (-3).into(), 5.into(), true.into()]);
///
/// let error = list.set(0, "too long for eight").unwrap_err();
/// assert!(error.is_invalid_argument());
///
/// let pool = Pool::new(1)?;
/// assert_eq!(pool.task(|list: ShareableList| list.get(2), (list.clone(),)).fallible().run()?, Item::Int(-3));
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Errors
///
/// Nothing that stands in the memory is trusted: if another program has written something else over it, the calls give an
/// error whose [`Error::io_kind`] is `InvalidData`.
///
/// # Differences to Python
///
/// Lengths are those of bytes, not of characters: text always fits the slot that was made for it, and bytes that end with
/// NUL keep them (a reading Python loses them). Items are equal only if their kinds are: `True` is not `1`.
#[derive(Clone)]
pub struct ShareableList {
    memory: SharedMemory,
    slots: Arc<Slots>,
}

/// Where the items are: read and checked once, since it never changes.
struct Slots {
    /// Where each slot begins in the memory, and behind the last one where it ends.
    starts: Vec<usize>,
}

const FORMAT: usize = 8;
const INT: &[u8] = b"q";
const FLOAT: &[u8] = b"d";
const BOOL: &[u8] = b"xxxxxxx?";
const NONE: &[u8] = b"xxxxxx?x";

/// What becomes of the bytes.
const AS_IS: u8 = 0;
const STR: u8 = 1;
const BYTES: u8 = 2;
const NOTHING: u8 = 3;

impl ShareableList {
    /// Creates a list with these items in new shared memory, as [`SharedMemory::create`].
    ///
    /// # Errors
    ///
    /// See [`SharedMemory::create`]; [`Error::is_invalid_argument`]: text or bytes of 10 million bytes or more, or bytes
    /// that end with NUL and have more than 999,999.
    pub fn create<'a, I: Into<Item>>(
        name: impl Into<Option<&'a str>>,
        items: impl IntoIterator<Item = I>,
    ) -> Result<ShareableList, Error> {
        ShareableList::make(items.into_iter().map(Into::into).collect(), |size| SharedMemory::create(name, size))
    }

    /// Creates a list with these items in shared memory without a name, as [`SharedMemory::anonymous`].
    ///
    /// # Errors
    ///
    /// See [`SharedMemory::anonymous`] and [`ShareableList::create`].
    pub fn anonymous<I: Into<Item>>(items: impl IntoIterator<Item = I>) -> Result<ShareableList, Error> {
        ShareableList::make(items.into_iter().map(Into::into).collect(), SharedMemory::anonymous)
    }

    /// Opens the list in the shared memory with this name.
    ///
    /// # Errors
    ///
    /// See [`SharedMemory::open`]; [`Error::io_kind`] `InvalidData`: there is no list in it.
    pub fn open(name: &str) -> Result<ShareableList, Error> {
        ShareableList::of(SharedMemory::open(name)?)
    }

    fn make(
        items: Vec<Item>,
        memory: impl FnOnce(usize) -> Result<SharedMemory, Error>,
    ) -> Result<ShareableList, Error> {
        let start = 16 + 8 * items.len();
        let mut starts = vec![start];
        for item in &items {
            // One byte more than needed at least, as Python.
            let len = content(item).map_or(8, |bytes| 8 * (bytes.len() / 8 + 1));
            format(item, len)?;
            starts.push(starts.last().copied().unwrap_or(start) + len);
        }
        let slots = Slots { starts };
        let memory = memory(slots.code(items.len()))?;
        memory.set(0, items.len() as u64);
        let offsets: Vec<u64> = slots.starts.iter().map(|at| (at - start) as u64).collect();
        memory.set_many(8, &offsets);
        let list = ShareableList { memory, slots: Arc::new(slots) };
        for (index, item) in items.iter().enumerate() {
            list.put(index, item)?;
        }
        Ok(list)
    }

    /// The list that is in the memory.
    fn of(memory: SharedMemory) -> Result<ShareableList, Error> {
        let slots = Slots::read(&memory).ok_or_else(|| damaged("there is no list in this shared memory"))?;
        Ok(ShareableList { memory, slots: Arc::new(slots) })
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.slots.starts.len() - 1
    }

    /// Returns whether the list has no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a copy of the item at `index`.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_argument`]: there is no such item. [`Error::io_kind`] `InvalidData`: see
    /// [`ShareableList`].
    pub fn get(&self, index: usize) -> Result<Item, Error> {
        let slot = self.slot(index, "index out of range")?;
        let format = self.format_at(index);
        let code = self.memory.get::<u8>(self.slots.code(index));
        let wrong = || damaged(&format!("item {index} of the list is damaged"));
        Ok(match (&*format, code) {
            (_, NOTHING) => Item::None,
            (INT, AS_IS) => Item::Int(self.memory.get(slot.0)),
            (FLOAT, AS_IS) => Item::Float(self.memory.get(slot.0)),
            (BOOL, AS_IS) => Item::Bool(self.memory.get::<u8>(slot.0 + 7) != 0),
            (format, STR | BYTES) => {
                let (len, exact) = length(format).ok_or_else(wrong)?;
                if len > slot.1 {
                    return Err(wrong());
                }
                let mut bytes = self.memory.read(slot.0..slot.0 + len);
                if !exact {
                    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
                }
                match code {
                    STR => Item::Str(String::from_utf8(bytes).map_err(|_| wrong())?),
                    _ => Item::Bytes(bytes),
                }
            }
            _ => return Err(wrong()),
        })
    }

    /// Replaces the item at `index`.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_argument`]: there is no such item, or the new one does not fit its slot; nothing has changed
    /// then.
    pub fn set(&self, index: usize, item: impl Into<Item>) -> Result<(), Error> {
        self.put(index, &item.into())
    }

    fn put(&self, index: usize, item: &Item) -> Result<(), Error> {
        let (at, len) = self.slot(index, "assignment index out of range")?;
        let format = format(item, len)?;
        let code = match item {
            Item::Str(_) => STR,
            Item::Bytes(_) => BYTES,
            Item::None => NOTHING,
            _ => AS_IS,
        };
        self.memory.write(self.slots.format(index), &format);
        self.memory.set(self.slots.code(index), code);
        match item {
            Item::None => self.memory.set(at, 0u64),
            Item::Bool(value) => self.memory.set(at, [0, 0, 0, 0, 0, 0, 0, u8::from(*value)]),
            Item::Int(value) => self.memory.set(at, *value),
            Item::Float(value) => self.memory.set(at, *value),
            Item::Str(_) | Item::Bytes(_) => {
                let mut bytes = content(item).unwrap_or_default().to_vec();
                bytes.resize(len, 0);
                self.memory.write(at, &bytes);
            }
        }
        Ok(())
    }

    /// Where the slot begins, and how long it is.
    fn slot(&self, index: usize, otherwise: &str) -> Result<(usize, usize), Error> {
        match self.slots.starts.get(index..).and_then(|rest| rest.first_chunk::<2>()) {
            Some([start, end]) => Ok((*start, end - start)),
            None => {
                Err(Error::invalid_argument(format!("{otherwise}: the list has {} items, not {index}", self.len())))
            }
        }
    }

    fn format_at(&self, index: usize) -> Vec<u8> {
        let mut format = self.memory.get::<[u8; FORMAT]>(self.slots.format(index)).to_vec();
        format.truncate(format.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        format
    }

    /// Returns copies of all items, one after the other.
    ///
    /// ```
    /// use multiproc::{Item, ShareableList};
    ///
    /// let list = ShareableList::anonymous([1, 2, 3])?;
    /// let mut sum = 0;
    /// for item in list.iter() {
    ///     let Item::Int(number) = item? else { continue };
    ///     sum += number;
    /// }
    /// assert_eq!(sum, 6);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Item, Error>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Returns copies of all items.
    ///
    /// # Errors
    ///
    /// See [`ShareableList::get`].
    pub fn to_vec(&self) -> Result<Vec<Item>, Error> {
        self.iter().collect()
    }

    /// Returns how many items are equal to `item`.
    ///
    /// # Errors
    ///
    /// See [`ShareableList::get`].
    pub fn count(&self, item: impl Into<Item>) -> Result<usize, Error> {
        let wanted = item.into();
        self.iter().try_fold(0, |count, item| Ok(count + usize::from(item? == wanted)))
    }

    /// Returns the first place where an item is equal to `item`.
    ///
    /// ```
    /// let list = multiproc::ShareableList::anonymous(["a", "b", "a"])?;
    /// assert_eq!((list.index("b")?, list.index("c")?, list.count("a")?), (Some(1), None, 2));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ShareableList::get`].
    pub fn index(&self, item: impl Into<Item>) -> Result<Option<usize>, Error> {
        let wanted = item.into();
        for (index, item) in self.iter().enumerate() {
            if item? == wanted {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Returns the formats of all items, as Python's module `struct` writes them.
    ///
    /// # Errors
    ///
    /// [`Error::io_kind`] `InvalidData`: they are no text.
    pub fn format(&self) -> Result<String, Error> {
        let formats: Vec<u8> = (0..self.len()).flat_map(|index| self.format_at(index)).collect();
        String::from_utf8(formats).map_err(|_| damaged("the formats of the list are damaged"))
    }

    /// Returns the memory that the list lies in: Python's `list.shm`.
    pub fn shared_memory(&self) -> &SharedMemory {
        &self.memory
    }
}

impl Slots {
    /// Where they are according to the memory; `None` if that cannot be.
    fn read(memory: &SharedMemory) -> Option<Slots> {
        let size = memory.size();
        let count = usize::try_from((size >= 16).then(|| memory.get::<u64>(0))?).ok()?;
        // A slot takes 8 bytes for its offset, 8 for its format and 1 for its code, at least.
        if count > size / 17 || size < 16 + 17 * count {
            return None;
        }
        let start = 16 + 8 * count;
        // One by one, no further than they make sense: there may be room for many and nothing there, which reads as zeros.
        let mut starts = Vec::new();
        for index in 0..=count {
            let at = usize::try_from(memory.get::<u64>(8 + 8 * index)).ok()?.checked_add(start)?;
            let is_right = match starts.last() {
                None => at == start,
                Some(last) => at.checked_sub(*last).is_some_and(|len| len >= 8),
            };
            is_right.then(|| starts.push(at))?;
        }
        let end = starts.last()?.checked_add(9 * count)?;
        (end <= size).then_some(Slots { starts })
    }

    fn format(&self, index: usize) -> usize {
        self.starts.last().copied().unwrap_or_default() + FORMAT * index
    }

    fn code(&self, index: usize) -> usize {
        self.format(self.starts.len() - 1) + index
    }
}

/// The format of an item in a slot of this length.
///
/// # Errors
///
/// It does not fit.
fn format(item: &Item, slot: usize) -> Result<[u8; FORMAT], Error> {
    let written;
    let format = match item {
        Item::None => NONE,
        Item::Bool(_) => BOOL,
        Item::Int(_) => INT,
        Item::Float(_) => FLOAT,
        Item::Str(_) | Item::Bytes(_) => {
            let bytes = content(item).unwrap_or_default();
            if bytes.len() > slot {
                let text = format!("{} bytes exceed the available storage of {slot} bytes", bytes.len());
                return Err(Error::invalid_argument(text));
            }
            let exact = bytes.last() == Some(&0);
            written = if exact { format!("{}s ", bytes.len()) } else { format!("{slot}s") };
            written.as_bytes()
        }
    };
    let mut out = [0; FORMAT];
    match out.get_mut(..format.len()) {
        Some(start) => start.copy_from_slice(format),
        None => return Err(Error::invalid_argument("text or bytes are too long for a shareable list")),
    }
    Ok(out)
}

/// How many bytes a format of text or bytes means, and whether all of them count, NULs at the end too.
fn length(format: &[u8]) -> Option<(usize, bool)> {
    let exact = format.strip_suffix(b" ");
    let digits = exact.unwrap_or(format).strip_suffix(b"s")?;
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let len = plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok())??;
    Some((len, exact.is_some()))
}

#[cold]
fn damaged(text: &str) -> Error {
    io::Error::new(io::ErrorKind::InvalidData, text).into()
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items = f.debug_list();
        for item in self.iter() {
            match item {
                Ok(item) => items.entry(&item),
                Err(_) => items.entry(&format_args!("<damaged>")),
            };
        }
        items.finish()
    }
}

impl Serialize for ShareableList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ShareableList, D::Error> {
        let memory = SharedMemory::deserialize(deserializer)?;
        ShareableList::of(memory).map_err(D::Error::custom)
    }
}

#[cfg(all(test, not(loom)))]
mod fuzz;
