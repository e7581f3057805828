//! Where a call takes its tasks from, and the frames that are made of them.

use crate::codec::{self, CodecError};
use crate::engine::call::checkpoint::Checkpoint;
use crate::engine::call::chunk;
use crate::engine::call::home::Home;
use crate::engine::worker::work::Accepts;
use crate::heap::scope::{self, Pins};
use crate::sys::large_vec::{Room, Used};
use std::marker::PhantomData;
use std::sync::Arc;

/// Where tasks come from.
pub(crate) trait Feed {
    /// Appends tasks to `out`, as many as the limits allow, and none behind one that has attached descriptors or a tail.
    fn fill(&mut self, out: &mut Vec<u8>, limits: Limits) -> Filled;

    /// Returns what is missing of the last task, after [`Behind::Tail`]: the bytes of a vector of numbers, which lie where the
    /// caller has them. `None` if they cannot be had any more; then there are no more tasks, either.
    fn tail(&mut self) -> Option<&[u8]> {
        None
    }

    /// Lets go of what [`Feed::tail`] has returned. The feed may keep its memory, if it is large, for a result that this thread
    /// reads.
    fn release(&mut self) {}

    /// How many more there are at most, if known.
    fn left(&self) -> Option<u64>;

    /// Whether there is one more for sure.
    fn has_more(&self) -> bool;
}

/// What bounds a frame, and what it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// So many tasks at most.
    pub(crate) most: u32,
    /// No further task once it has so many bytes.
    pub(crate) bytes: usize,
    /// Whether its last task may have a tail.
    pub(crate) lends: bool,
}

impl Limits {
    /// A single task.
    pub(crate) fn one(lends: bool) -> Limits {
        Limits { most: 1, bytes: usize::MAX, lends }
    }

    /// Whether the task behind `count` others may have a tail: if it is the last one with it or without.
    #[inline]
    pub(crate) fn lends_behind(self, count: u32) -> bool {
        self.lends && (count + 1 >= self.most || self.bytes <= TAIL)
    }
}

/// A vector of numbers with so many bytes fills a frame by itself. It is not copied into the frame, but from the item to where
/// the worker reads it.
const TAIL: usize = chunk::FRAME_BYTES;

/// The smallest page of memory, in bytes.
const PAGE: usize = 4096;

/// What [`Feed::fill`] did.
#[derive(Debug)]
pub(crate) struct Filled {
    /// So many tasks were appended.
    pub(crate) count: u32,
    /// Which worker may run them.
    pub(crate) home: Home,
    pub(crate) behind: Behind,
}

impl Filled {
    /// Tasks that any worker may run.
    #[inline]
    pub(crate) fn anywhere(count: u32, behind: Behind) -> Filled {
        Filled { count, home: Home::ANYWHERE, behind }
    }
}

/// What comes behind the tasks that were appended.
#[derive(Debug)]
pub(crate) enum Behind {
    /// Perhaps more of them.
    More,
    /// What is missing of the last one, see [`Feed::tail`]. What was appended of it begins here.
    Tail(usize),
    /// Nothing.
    End,
    /// A task that could not be serialised.
    Refused(CodecError),
    /// A task that need not be run: these are the bytes of its result.
    Known(Vec<u8>),
    /// A task for which the call cannot go on.
    Foreign(String),
}

impl Behind {
    pub(crate) fn ends(&self) -> bool {
        matches!(self, Behind::End | Behind::Foreign(_))
    }
}

/// How an item becomes the bytes of a task; see [`Accepts`].
pub(crate) trait Encode<T> {
    fn encode(&self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    fn tail<'t>(&self, _item: &'t T) -> Option<&'t [u8]> {
        None
    }

    fn encode_head(&self, _item: &T, _out: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(())
    }

    fn take_used(&self, _item: T) -> Option<Used> {
        None
    }
}

impl<T, F: Fn(&T, &mut Vec<u8>) -> Result<(), CodecError>> Encode<T> for F {
    #[inline]
    fn encode(&self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self(item, out)
    }
}

/// As a shape says.
#[derive(Debug)]
pub(crate) struct By<K>(PhantomData<fn(K)>);

impl<T, K: Accepts<T>> Encode<T> for By<K> {
    #[inline]
    fn encode(&self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        K::encode(item, out)
    }

    #[inline]
    fn tail<'t>(&self, item: &'t T) -> Option<&'t [u8]> {
        K::tail(item)
    }

    fn encode_head(&self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        K::encode_head(item, out)
    }

    fn take_used(&self, item: T) -> Option<Used> {
        K::into_used(item)
    }
}

/// Tasks from an iterator.
#[derive(Debug)]
pub(crate) struct Items<I: Iterator, E> {
    items: I,
    encode: E,
    /// The item that has the tail of the last task; `None` before the first such task.
    lent: Option<Lent<I::Item>>,
    /// What few calls have.
    extra: Option<Extra<I::Item>>,
}

/// An item with a tail, and what is left of those before.
#[derive(Debug)]
struct Lent<T> {
    item: Option<T>,
    /// The memory of an item that was handed over, for the next result.
    room: Option<Room>,
}

/// What few calls have.
#[derive(Debug)]
struct Extra<T> {
    /// The hash of the key of an item: each is then a frame of its own.
    key: Option<fn(&T) -> u64>,
    /// Where results of an earlier run are, and the number of the next task.
    checkpoint: Option<(Arc<Checkpoint>, u64)>,
}

impl<I: Iterator> Items<I, ()> {
    /// Tasks of a shape.
    pub(crate) fn of<K: Accepts<I::Item>>(items: I) -> Items<I, By<K>> {
        let extra = K::KEY.map(|key| Extra { key: Some(key), checkpoint: None });
        Items { items, encode: By(PhantomData), lent: None, extra }
    }
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Items<I, E> {
    /// Tasks as a function writes them.
    pub(crate) fn new(items: I, encode: E) -> Items<I, E> {
        Items { items, encode, lent: None, extra: None }
    }
}

impl<I: Iterator, E: Encode<I::Item>> Items<I, E> {
    /// Appends an item; or all but its tail, and keeps it, if it `lends` one. Returns whether it does. On an error `out` is as it
    /// was before.
    #[inline]
    fn append(&mut self, item: I::Item, out: &mut Vec<u8>, lends: bool) -> Result<bool, CodecError> {
        let start = out.len();
        let has_tail = lends && self.encode.tail(&item).is_some_and(|tail| tail.len() >= TAIL);
        let encoded = match has_tail {
            true => self.encode.encode_head(&item, out),
            false => self.encode.encode(&item, out),
        };
        if encoded.is_err() {
            // Of its arguments that could be serialised.
            out.truncate(start);
            scope::take_attached();
        } else if has_tail {
            self.lent.get_or_insert(Lent { item: None, room: None }).item = Some(item);
        }
        encoded.map(|()| has_tail)
    }

    /// Passes over tasks whose results are in a file.
    pub(crate) fn resume(mut self, checkpoint: Option<Arc<Checkpoint>>) -> Items<I, E> {
        if checkpoint.is_some() {
            let key = self.extra.and_then(|extra| extra.key);
            self.extra = Some(Extra { key, checkpoint: checkpoint.map(|checkpoint| (checkpoint, 0)) });
        }
        self
    }

    /// As [`Feed::fill`], for a call with a checkpoint or keys.
    #[cold]
    fn fill_with(&mut self, mut extra: Extra<I::Item>, out: &mut Vec<u8>, mut limits: Limits) -> Filled {
        let before = out.len();
        if extra.key.is_some() {
            limits.most = limits.most.min(1);
        }
        let mut filled = Filled::anywhere(0, Behind::More);
        while filled.count < limits.most && out.len() - before < limits.bytes {
            let Some(item) = self.items.next() else {
                filled.behind = Behind::End;
                break;
            };
            if let Some(key) = extra.key {
                filled.home = Home::key(key(&item));
            }
            let start = out.len();
            filled.behind = match &mut extra.checkpoint {
                Some(checkpoint) => self.look_up(checkpoint, &item, out),
                None => match self.append(item, out, limits.lends_behind(filled.count)) {
                    Ok(true) => Behind::Tail(start),
                    Ok(false) => Behind::More,
                    Err(error) => Behind::Refused(error),
                },
            };
            if let Behind::More | Behind::Tail(_) = filled.behind {
                filled.count += 1;
            } else {
                out.truncate(start);
            }
            if !matches!(filled.behind, Behind::More) {
                break;
            }
        }
        self.extra = Some(extra);
        filled
    }

    /// Appends an item as a whole, unless its result is in the file of the call.
    fn look_up(&self, (checkpoint, number): &mut (Arc<Checkpoint>, u64), item: &I::Item, out: &mut Vec<u8>) -> Behind {
        let index = std::mem::replace(number, *number + 1);
        let before = out.len();
        let (encoded, pins) = scope::collect(|| self.encode.encode(item, out));
        match encoded {
            Err(error) => Behind::Refused(error),
            Ok(()) => behind(checkpoint, index, &out[before..], &pins),
        }
    }
}

/// What a checkpoint makes of the item with this number, its bytes, and what it refers to.
fn behind(checkpoint: &Checkpoint, index: u64, item: &[u8], pins: &Pins) -> Behind {
    if !pins.is_empty() {
        // It is another one in each run, so that nobody could tell whether the item is the same.
        return Behind::Foreign(checkpoint.cannot_compare(index));
    }
    match checkpoint.look_up(index, item) {
        Ok(None) => Behind::More,
        Ok(Some(result)) => Behind::Known(result),
        Err(text) => Behind::Foreign(text),
    }
}

impl<I: Iterator, E: Encode<I::Item>> Feed for Items<I, E> {
    fn fill(&mut self, out: &mut Vec<u8>, limits: Limits) -> Filled {
        if let Some(extra) = self.extra.take() {
            return self.fill_with(extra, out, limits);
        }
        let before = out.len();
        let mut count = 0;
        while count < limits.most && out.len() - before < limits.bytes && !scope::has_fds() {
            let Some(item) = self.items.next() else { return Filled::anywhere(count, Behind::End) };
            let start = out.len();
            match self.append(item, out, limits.lends_behind(count)) {
                Ok(false) => count += 1,
                Ok(true) => return Filled::anywhere(count + 1, Behind::Tail(start)),
                Err(error) => return Filled::anywhere(count, Behind::Refused(error)),
            }
        }
        Filled::anywhere(count, Behind::More)
    }

    fn tail(&mut self) -> Option<&[u8]> {
        self.lent.as_ref()?.item.as_ref().and_then(|item| self.encode.tail(item))
    }

    fn release(&mut self) {
        let Some(Lent { item, room }) = &mut self.lent else { return };
        if let Some(memory) = item.take().and_then(|item| self.encode.take_used(item)) {
            room.get_or_insert_default().keep(memory);
        }
    }

    fn left(&self) -> Option<u64> {
        self.items.size_hint().1.map(|most| most as u64)
    }

    fn has_more(&self) -> bool {
        self.items.size_hint().0 > 0
    }
}

/// A frame that is ready to be handed over: where its bytes are in the common buffer.
#[derive(Debug)]
pub(crate) struct ReadyFrame {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) end: usize,
    /// Which worker may run it.
    pub(crate) home: Home,
    /// What its tasks refer to.
    pub(crate) pins: Pins,
}

/// The state of a call's input.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// The number of the next task.
    pub(crate) next: u64,
    /// The bytes of all tasks so far.
    pub(crate) total_bytes: u64,
    pub(crate) last_count: u32,
    pub(crate) ended: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: Vec<ReadyFrame>,
    pub(crate) failed: Vec<(u64, String)>,
    /// Tasks that need not be run, and the bytes of their results.
    pub(crate) known: Vec<(u64, Vec<u8>)>,
    /// Why the call cannot go on.
    pub(crate) foreign: Option<String>,
}

impl Input {
    pub(crate) fn new() -> Input {
        Input::default()
    }

    /// How many tasks there are, as far as the input knows.
    pub(crate) fn total(&self, feed: &dyn Feed) -> Option<u64> {
        if self.ended { Some(self.next) } else { feed.left().map(|left| left.saturating_add(self.next)) }
    }

    /// Makes up to `room` frames, and none behind one whose last task has a tail. Returns that tail, which belongs behind the
    /// bytes of the last frame; nothing if there is none.
    pub(crate) fn make<'f>(&mut self, feed: &'f mut dyn Feed, room: usize, limits: Limits) -> &'f [u8] {
        self.bytes.clear();
        let mut known_bytes = 0;
        while self.frames.len() < room && !self.ended {
            let before = self.bytes.len();
            let mut filled = feed.fill(&mut self.bytes, limits);
            if let Behind::Tail(at) = filled.behind {
                let tail = feed.tail();
                match tail {
                    Some(tail) => {
                        // What is not in memory yet, of a file that is mapped, is read now and not under the core's lock.
                        std::hint::black_box(tail.iter().step_by(PAGE).max());
                        self.bytes.extend_from_slice(&codec::prefix(tail.len()));
                        self.total_bytes += tail.len() as u64;
                    }
                    None => {
                        self.bytes.truncate(at);
                        filled.count -= 1;
                        self.ended = true;
                    }
                }
                self.push(before, &filled);
                return tail.unwrap_or_default();
            }
            self.push(before, &filled);
            self.ended = filled.behind.ends();
            match filled.behind {
                Behind::More | Behind::Tail(_) | Behind::End => {}
                Behind::Refused(error) => {
                    self.failed.push((self.next, error.0));
                    self.next += 1;
                }
                Behind::Known(result) => {
                    known_bytes += result.len();
                    self.known.push((self.next, result));
                    self.next += 1;
                    // They take room as well: where results are kept until they are taken, and here.
                    if self.known.len() >= room * limits.most as usize || known_bytes > limits.bytes {
                        break;
                    }
                }
                Behind::Foreign(text) => self.foreign = Some(text),
            }
        }
        &[]
    }

    /// Makes a frame of the tasks that were appended from `before` on.
    fn push(&mut self, before: usize, filled: &Filled) {
        if filled.count > 0 {
            let pins = scope::take_pins();
            let (first, end) = (self.next, self.bytes.len());
            self.frames.push(ReadyFrame { first, count: filled.count, end, home: filled.home, pins });
            self.next += u64::from(filled.count);
            self.total_bytes += (end - before) as u64;
            self.last_count = filled.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::worker::work::Owned;
    use crate::process::args::Task;

    type Row = (u8, Vec<u64>);

    /// Tasks of a function.
    fn tasks<F: Task<Row>>(_: F, rows: Vec<Row>) -> impl Feed {
        Items::of::<Owned<F, Row>>(rows.into_iter())
    }

    fn limits(most: u32, bytes: usize) -> Limits {
        Limits { most, bytes, lends: true }
    }

    #[test]
    fn a_feed_stops_where_a_task_does_not_serialise() {
        let refuse_two = |item: &u64, out: &mut Vec<u8>| {
            if *item == 2 { Err(CodecError("no".to_owned())) } else { codec::encode(item, out) }
        };
        let mut feed = Items::new(0..5u64, refuse_two);
        let mut out = Vec::new();
        let filled = feed.fill(&mut out, limits(10, 1000));
        assert!(matches!(filled, Filled { count: 2, behind: Behind::Refused(_), .. }) && out.len() == 16);
        assert_eq!(feed.left(), Some(2));
        let filled = feed.fill(&mut out, limits(10, 8));
        assert!(matches!(filled, Filled { count: 1, behind: Behind::More, .. }));
        let filled = feed.fill(&mut out, limits(10, 1000));
        assert!(matches!(filled, Filled { count: 1, behind: Behind::End, .. }));
    }

    #[test]
    fn a_long_vector_stays_where_it_is() {
        let rows = vec![(1, vec![7; TAIL / 8]), (2, vec![8; TAIL / 8 - 2]), (3, vec![9; TAIL])];
        let [first, _, third] = [0, 1, 2].map(|at: usize| rows[at].1.as_ptr().cast::<u8>());
        let mut feed = tasks(|_: u8, numbers: Vec<u64>| numbers.len(), rows);
        let mut input = Input::new();
        let tail = input.make(&mut feed, 8, limits(1, usize::MAX));
        assert_eq!((tail.as_ptr(), tail.len()), (first, TAIL));
        assert_eq!((input.frames.len(), &input.bytes[..]), (1, &[&[1][..], &codec::prefix(TAIL)].concat()[..]));
        feed.release();
        input.frames.clear();
        let tail = input.make(&mut feed, 8, limits(100, TAIL));
        assert_eq!((tail.as_ptr(), tail.len()), (third, 8 * TAIL));
        // The second and the third one share a frame: the former alone does not fill it.
        assert_eq!((input.frames[0].count, input.frames.len(), input.bytes.len()), (2, 1, 2 * (1 + 8) + TAIL - 16));
        feed.release();
        input.frames.clear();
        assert!(input.make(&mut feed, 8, limits(100, TAIL)).is_empty() && input.ended && input.frames.is_empty());
    }

    #[test]
    fn a_chunk_of_several_goes_on_behind_a_long_vector() {
        let rows = || (1..4).map(|number| (number, vec![7; TAIL])).collect();
        let mut feed = tasks(|_: u8, numbers: Vec<u64>| numbers.len(), rows());
        let mut input = Input::new();
        assert_eq!(input.make(&mut feed, 1, limits(3, usize::MAX)).len(), 8 * TAIL);
        assert_eq!((input.frames[0].count, input.bytes.len()), (3, 2 * (1 + 8 + 8 * TAIL) + 1 + 8));
        // Nothing is lent where nobody waits for it to be handed over.
        let mut bytes = Vec::new();
        let filled = tasks(|_: u8, numbers: Vec<u64>| numbers.len(), rows()).fill(&mut bytes, Limits::one(false));
        assert!(matches!(filled, Filled { count: 1, behind: Behind::More, .. }) && bytes.len() == 1 + 8 + 8 * TAIL);
    }
}
