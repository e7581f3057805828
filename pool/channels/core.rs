//! A queue in the shared heap, as all faces of this folder see it: a handle that travels, and items in and out.

use super::item::{self, HeapBooks, Packed};
use crate::codec::{self, Payload};
use crate::error::{Error, GetError, PutError, QueueKind};
use crate::heap::block::{Block, Shared, SharedSlice};
use crate::heap::kind::Kind;
use crate::heap::scope::Pins;
use crate::heap::tree;
use crate::sync::algorithm::queue::{Head, Item, Queue, Refusal, Shape, Taken, Wait};
use crate::sync::reclaim;
use crate::sync::this_thread::ThisThread;
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::time::Deadline;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::marker::PhantomData;
use std::time::Duration;

/// Where the words of a queue begin in its block.
const FRONT: usize = size_of::<Head>();

/// A queue where it lies, whatever its values are.
#[derive(Clone)]
pub(super) struct Place {
    head: Shared<Head>,
    words: SharedSlice<AtomicU64>,
    shape: Shape,
}

impl Place {
    #[inline]
    pub(super) fn queue(&self) -> Queue<'_> {
        Queue { head: &self.head, words: &self.words, shape: &self.shape }
    }
}

/// A handle to a queue of values.
pub(super) struct Core<T> {
    place: Place,
    values: PhantomData<fn(T) -> T>,
}

/// How long an operation may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    None,
    For(Duration),
    Until(Deadline),
    Endless,
}

impl Patience {
    #[inline]
    fn wait(self, is_over: &dyn Fn() -> bool) -> Wait<'_> {
        match self {
            Patience::None => Wait::not(is_over),
            Patience::For(timeout) => Wait::until(Deadline::after(timeout), is_over),
            Patience::Until(deadline) => Wait::until(deadline, is_over),
            Patience::Endless => Wait::until(Deadline::NEVER, is_over),
        }
    }
}

impl<T: Payload> Core<T> {
    /// A new queue, for at most so many items; `None` = as many as there is memory for.
    pub(super) fn new(capacity: Option<usize>) -> Result<Core<T>, Error> {
        reclaim::take_part();
        let small = item::small::<T>();
        let (heap, shape) = match capacity {
            Some(0) => return Err(Error::invalid_argument("a queue needs room for at least 1 item, not 0")),
            Some(capacity) => (tree::size()?, Shape::bounded(capacity, small)),
            None => (tree::size()?, Shape::unbounded(tree::size()?, small)),
        };
        let bytes = |shape: &Shape| FRONT + 8 * shape.words();
        let shape = shape.filter(|shape| (bytes(shape) as u64) < heap);
        let shape = shape.ok_or_else(|| Error::shared_memory("so large a queue does not fit into shared memory"))?;
        let block = Block::new(Kind::Queue, bytes(&shape))?;
        let core = Core::of(block, |head, _| {
            shape.write(head);
            Some(shape)
        });
        core.ok_or_else(|| Error::shared_memory("a new block is not as it was asked for"))
    }

    fn of(block: Block, shape: impl FnOnce(&Head, usize) -> Option<Shape>) -> Option<Core<T>> {
        let len = block.memory().bytes().len().checked_sub(FRONT)? / 8;
        let words = SharedSlice::new(block.clone(), FRONT, len)?;
        let head = Shared::<Head>::new(block, &[Kind::Queue])?;
        let shape = shape(&head, len)?;
        Some(Core { place: Place { head, words, shape }, values: PhantomData })
    }

    /// Puts one value.
    #[inline]
    pub(super) fn put(&self, value: T, patience: Patience, is_over: &dyn Fn() -> bool) -> Result<(), PutError<T>> {
        match self.put_one(&value, patience, is_over) {
            Ok(()) => Ok(()),
            Err(kind) => Err(PutError::new(kind, value)),
        }
    }

    #[inline]
    fn put_one(&self, value: &T, patience: Patience, is_over: &dyn Fn() -> bool) -> Result<(), QueueKind> {
        let caller = ThisThread::new().map_err(no_part)?;
        let (_, refusal) = if item::number(value).is_some() {
            self.put_numbers(&caller, std::slice::from_ref(value), patience.wait(is_over))
        } else {
            let packed = item::pack(&[], value, self.place.shape.small())?;
            self.queue().put(&caller, &self.books(), 1, |_| packed.item(), patience.wait(is_over))
        };
        refusal.map_or(Ok(()), |refusal| Err(kind_of(refusal)))
    }

    /// Puts values that are numbers.
    #[inline]
    fn put_numbers(&self, caller: &ThisThread, values: &[T], wait: Wait<'_>) -> (usize, Option<Refusal>) {
        // All values of a type are, or none.
        let number = |at: usize| item::number(&values[at]).unwrap_or(Item::Number([0; 2], 0));
        self.queue().put(caller, &self.books(), values.len(), number, wait)
    }

    /// Puts all values, and gives those back that it could not put.
    pub(super) fn put_many(
        &self,
        mut values: Vec<T>,
        patience: Patience,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), PutError<Vec<T>>> {
        let caller = match ThisThread::new() {
            Ok(caller) => caller,
            Err(error) => return Err(PutError::new(no_part(error), values)),
        };
        let (done, refusal) = if values.first().is_some_and(|value| item::number(value).is_some()) {
            self.put_numbers(&caller, &values, patience.wait(is_over))
        } else {
            // All are serialised before the first is put, so that none is if one refuses.
            let items: Result<Vec<_>, _> =
                values.iter().map(|value| item::pack(&[], value, self.place.shape.small())).collect();
            match items {
                Ok(items) => {
                    let item = |at: usize| items[at].item();
                    self.queue().put(&caller, &self.books(), items.len(), item, patience.wait(is_over))
                }
                Err(kind) => return Err(PutError::new(kind, values)),
            }
        };
        refusal.map_or(Ok(()), |refusal| Err(PutError::new(kind_of(refusal), values.split_off(done))))
    }

    /// Takes one value; `None` = there was none in the time given. `before` is called right before it counts as taken.
    #[inline]
    pub(super) fn get(
        &self,
        patience: Patience,
        is_over: &dyn Fn() -> bool,
        before: impl Fn(usize),
    ) -> Result<Option<T>, GetError> {
        let value = if codec::fixed_size::<T>().is_some() {
            let mut value = None;
            self.take(1, patience, is_over, before, |item| value = Some(item::read_number(item)))?;
            value
        } else {
            let mut packed = None;
            self.take(1, patience, is_over, before, |item| packed = Some(Packed::of(item)))?;
            packed.map(item::unpack)
        };
        value.transpose().map_err(GetError::new)
    }

    /// Takes up to `most` values, at least one; none = there was none in the time given.
    pub(super) fn get_many(
        &self,
        most: usize,
        patience: Patience,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Vec<Result<T, GetError>>, GetError> {
        // Room for all, so that none is made under the lock.
        let room = most.min(self.len());
        let mut values = Vec::with_capacity(room);
        if codec::fixed_size::<T>().is_some() {
            let out = |item: Taken<'_, Block>| values.push(item::read_number(item).map_err(GetError::new));
            self.take(most, patience, is_over, |_| (), out)?;
        } else {
            let mut items = Vec::with_capacity(room);
            self.take(most, patience, is_over, |_| (), |item| items.push(Packed::of(item)))?;
            values.extend(items.into_iter().map(|item| item::unpack(item).map_err(GetError::new)));
        }
        Ok(values)
    }

    /// Puts bytes that stand for themselves.
    pub(super) fn put_bytes(
        &self,
        bytes: &[u8],
        patience: Patience,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), QueueKind> {
        self.put_message(bytes, Pins::new(), patience, is_over)
    }

    /// Puts bytes, and what they refer to.
    pub(super) fn put_message(
        &self,
        bytes: &[u8],
        pins: Pins,
        patience: Patience,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), QueueKind> {
        let caller = ThisThread::new().map_err(no_part)?;
        let packed = item::pack_message(&[bytes], pins, self.place.shape.small())?;
        let (_, refusal) = self.queue().put(&caller, &self.books(), 1, |_| packed.item(), patience.wait(is_over));
        refusal.map_or(Ok(()), |refusal| Err(kind_of(refusal)))
    }

    /// Takes an item as bytes, of which there may be so many; `None` = there was none in the time given.
    pub(super) fn get_bytes(
        &self,
        most: usize,
        patience: Patience,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<u8>>, GetError> {
        let packed = self.take_message(patience, is_over)?;
        packed.map(|packed| item::bytes(&packed, most)).transpose().map_err(GetError::new)
    }

    /// Takes an item as it lies there; `None` = there was none in the time given.
    pub(super) fn take_message(
        &self,
        patience: Patience,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Option<Packed>, GetError> {
        let mut packed = None;
        self.take(1, patience, is_over, |_| (), |item| packed = Some(Packed::of(item)))?;
        Ok(packed)
    }

    /// Waits for an item, or the end; whether there is either.
    pub(super) fn poll(&self, patience: Patience, is_over: &dyn Fn() -> bool) -> Result<bool, Error> {
        ThisThread::new()?;
        Ok(self.queue().poll(patience.wait(is_over)))
    }

    #[inline]
    fn take(
        &self,
        most: usize,
        patience: Patience,
        is_over: &dyn Fn() -> bool,
        before: impl Fn(usize),
        out: impl FnMut(Taken<'_, Block>),
    ) -> Result<usize, GetError> {
        let caller = ThisThread::new()?;
        match self.queue().take(&caller, &self.books(), most, &before, out, patience.wait(is_over)) {
            Ok(count) => Ok(count),
            Err(Refusal::TimedOut) => Ok(0),
            Err(refusal) => Err(GetError::new(kind_of(refusal))),
        }
    }
}

impl<T> Core<T> {
    #[inline]
    fn queue(&self) -> Queue<'_> {
        self.place.queue()
    }

    #[inline]
    fn books(&self) -> HeapBooks<'_> {
        HeapBooks { block: self.place.head.block(), front: FRONT }
    }

    /// Where it lies.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn len(&self) -> usize {
        usize::try_from(self.queue().len()).unwrap_or(usize::MAX)
    }

    pub(super) fn capacity(&self) -> usize {
        usize::try_from(self.place.shape.capacity()).unwrap_or(usize::MAX)
    }

    pub(super) fn close(&self) -> Result<(), Error> {
        let caller = ThisThread::new()?;
        self.queue().close(&caller, &self.books());
        Ok(())
    }

    /// How many values were ever put, and how many of these are in it.
    pub(super) fn put_so_far(&self) -> (u64, u64) {
        self.queue().put_so_far()
    }

    /// Wakes all who wait, to look whether it is over.
    pub(super) fn wake_all(&self) {
        self.queue().wake_all();
    }

    /// Notes what stands for those who put and those who take; before anybody else knows of the queue.
    pub(super) fn name_ends(&self, ends: [u64; 2]) {
        for (place, end) in self.place.head.ends.iter().zip(ends) {
            // SYNC: queue ends
            place.store(end, Ordering::Release);
        }
    }

    /// What stands for those who put and those who take.
    pub(super) fn ends(&self) -> [u64; 2] {
        // SYNC: queue ends
        self.place.head.ends.each_ref().map(|end| end.load(Ordering::Acquire))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue().is_closed()
    }
}

/// Takes without a time limit: nothing but an item or an error ends such a wait.
#[inline]
pub(super) fn endlessly<V>(mut take: impl FnMut(Patience) -> Result<Option<V>, GetError>) -> Result<V, GetError> {
    loop {
        if let Some(value) = take(Patience::Endless)? {
            return Ok(value);
        }
    }
}

#[cold]
fn no_part(error: Error) -> QueueKind {
    QueueKind::SharedMemory { text: error.to_string() }
}

#[cold]
fn kind_of(refusal: Refusal) -> QueueKind {
    match refusal {
        Refusal::TimedOut => QueueKind::Full,
        Refusal::Closed => QueueKind::Closed,
        Refusal::Over => QueueKind::Disconnected,
        Refusal::Damaged => QueueKind::Damaged,
        Refusal::Refused => {
            QueueKind::SharedMemory { text: "this process can hold or map no more shared memory".to_owned() }
        }
    }
}

impl<T> Clone for Core<T> {
    fn clone(&self) -> Self {
        Core { place: self.place.clone(), values: PhantomData }
    }
}

impl<T> Serialize for Core<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.place.head.block().serialize(serializer)
    }
}

impl<'de, T: Payload> Deserialize<'de> for Core<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Core<T>, D::Error> {
        reclaim::take_part();
        // A queue of other values, whose items are smaller or larger, gives errors when they are read.
        Core::of(Block::deserialize(deserializer)?, Shape::read)
            .ok_or_else(|| D::Error::custom("the handle refers to something that is no queue"))
    }
}

#[cfg(all(test, not(loom)))]
mod fuzz;
