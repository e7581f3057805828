//! Stores in the shared heap, as a map and a list see them: a handle that travels, and one store locked at a time.

use crate::channels::item::{HeapBooks, Packed};
use crate::error::{CollectionError, CollectionKind, Error};
use crate::heap::block::{Block, SharedSlice};
use crate::heap::kind::Kind;
use crate::heap::tree;
use crate::sync::algorithm::store::{self, Entry, Head, Open, Reach, Refusal, Store};
use crate::sync::reclaim;
use crate::sync::this_thread::ThisThread;
use crate::sys::atomic::AtomicU64;
use crate::sys::time::Deadline;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::time::Duration;

/// What a map or list takes of the heap's file, as a part of that: of a full one 2 GiB. Only what is used takes memory.
const SHARE: u64 = 1 << 12;

/// The least that it takes.
const LEAST: u64 = 1 << 20;

/// A handle to some stores.
#[derive(Clone)]
pub(super) struct Core {
    block: Block,
    heads: SharedSlice<Head>,
    words: Vec<SharedSlice<AtomicU64>>,
    timeout: Option<Duration>,
}

thread_local! {
    /// The blocks in which this thread has a store locked while it runs user code.
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Core {
    /// New stores.
    ///
    /// # Errors
    ///
    /// Shared memory is exhausted, or this process has none.
    pub(super) fn new(kind: Kind, count: usize) -> Result<Core, Error> {
        reclaim::take_part();
        let len = (tree::size()? / SHARE).max(LEAST);
        let block = Block::new(kind, usize::try_from(len).unwrap_or(usize::MAX))?;
        Core::of(block, kind, count).ok_or_else(|| Error::shared_memory("a new block is not as it was asked for"))
    }

    /// The stores in a block; `None` = it has none.
    fn of(block: Block, kind: Kind, count: usize) -> Option<Core> {
        if block.kind() != kind as u8 {
            return None;
        }
        let len = block.memory().bytes().len();
        let heads = SharedSlice::new(block.clone(), 0, count)?;
        let words = (0..count).map(|at| {
            let (start, len) = store::words_in(len, count, at)?;
            SharedSlice::new(block.clone(), start, len)
        });
        Some(Core { words: words.collect::<Option<_>>()?, block, heads, timeout: None })
    }

    /// The same, with a time limit.
    pub(super) fn with_timeout(&self, timeout: Duration) -> Core {
        Core { timeout: Some(timeout), ..self.clone() }
    }

    pub(super) fn read<'de, D: Deserializer<'de>>(
        deserializer: D,
        kind: Kind,
        count: usize,
        what: &str,
    ) -> Result<Core, D::Error> {
        reclaim::take_part();
        let (block, timeout) = <(Block, Option<Duration>)>::deserialize(deserializer)?;
        let core = Core::of(block, kind, count);
        let core = core.ok_or_else(|| D::Error::custom(format!("the handle refers to something that is no {what}")))?;
        Ok(Core { timeout, ..core })
    }

    #[inline]
    pub(super) fn books(&self) -> HeapBooks<'_> {
        HeapBooks { block: &self.block, front: 0 }
    }

    /// Until when an operation that begins now may wait.
    #[inline]
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::within(self.timeout)
    }

    /// Locks a store.
    ///
    /// # Errors
    ///
    /// See [`CollectionError::is_timed_out`], [`CollectionError::is_would_deadlock`] and
    /// [`CollectionError::is_shared_memory`].
    #[inline]
    pub(super) fn open<R: Reach>(&self, at: usize, deadline: Deadline) -> Result<Open<'_>, CollectionError> {
        let caller = ThisThread::new()?;
        if INSIDE.with_borrow(|inside| inside.contains(&self.block.identity())) {
            return Err(error(Refusal::WouldDeadlock));
        }
        let store = Store::new(&self.heads[at], &self.words[at]);
        store.open::<R, _>(&caller, &self.books(), deadline).map_err(error)
    }

    /// Runs user code while a store is locked: whatever of the same stores it asks for is refused.
    pub(super) fn inside<T>(&self, code: impl FnOnce() -> T) -> T {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                INSIDE.with_borrow_mut(|inside| _ = inside.pop());
            }
        }
        INSIDE.with_borrow_mut(|inside| inside.push(self.block.identity()));
        let _leave = Leave;
        code()
    }
}

impl Serialize for Core {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.block, self.timeout).serialize(serializer)
    }
}

/// A serialised entry, to be stored.
pub(super) fn entry(tag: u32, packed: &Packed) -> Entry<'_, Block> {
    Entry { tag, item: packed.item() }
}

#[cold]
pub(super) fn error(refusal: Refusal) -> CollectionError {
    CollectionError::new(match refusal {
        Refusal::TimedOut => CollectionKind::TimedOut,
        Refusal::WouldDeadlock => CollectionKind::WouldDeadlock,
        Refusal::Full => CollectionKind::Full,
        Refusal::Damaged => CollectionKind::Damaged,
        Refusal::Refused => {
            let text = "this process can hold or map no more shared memory".to_owned();
            CollectionKind::SharedMemory { text }
        }
    })
}
