//! Where a call takes its tasks from, and the frames that are made of them.

use crate::codec::CodecError;
use crate::engine::call::checkpoint::Checkpoint;
use crate::engine::call::home::Home;
use crate::heap::scope::{self, Pins};
use std::sync::Arc;

/// Where tasks come from.
pub(crate) trait Feed {
    /// Appends up to `most` tasks to `out`, and stops early once it is longer than `bytes`, or behind a task with
    /// attached descriptors.
    fn fill(&mut self, out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled;

    /// How many more there are at most, if known.
    fn left(&self) -> Option<u64>;

    /// Whether there is one more for sure.
    fn has_more(&self) -> bool;
}

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

/// Tasks from an iterator.
#[derive(Debug)]
pub(crate) struct Items<I: Iterator, E> {
    items: I,
    encode: E,
    /// What few calls have.
    extra: Option<Extra<I::Item>>,
}

/// What few calls have.
#[derive(Debug)]
struct Extra<T> {
    /// The hash of the key of an item: each is then a frame of its own.
    key: Option<fn(&T) -> u64>,
    /// Where results of an earlier run are, and the number of the next task.
    checkpoint: Option<(Arc<Checkpoint>, u64)>,
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Items<I, E> {
    pub(crate) fn new(items: I, encode: E, key: Option<fn(&I::Item) -> u64>) -> Items<I, E> {
        Items { items, encode, extra: key.map(|key| Extra { key: Some(key), checkpoint: None }) }
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
    fn fill_with(&mut self, mut extra: Extra<I::Item>, out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled {
        let start = out.len();
        let most = if extra.key.is_some() { most.min(1) } else { most };
        let mut filled = Filled::anywhere(0, Behind::More);
        while filled.count < most && out.len() - start < bytes {
            let Some(item) = self.items.next() else {
                filled.behind = Behind::End;
                break;
            };
            if let Some(key) = extra.key {
                filled.home = Home::key(key(&item));
            }
            let before = out.len();
            let known = match &mut extra.checkpoint {
                Some(checkpoint) => self.look_up(checkpoint, &item, out),
                None => (self.encode)(&item, out).map(|()| None).map_err(|error| {
                    scope::take_attached();
                    Behind::Refused(error)
                }),
            };
            match known {
                Ok(None) => filled.count += 1,
                Ok(Some(result)) => filled.behind = Behind::Known(result),
                Err(behind) => filled.behind = behind,
            }
            if !matches!(filled.behind, Behind::More) {
                out.truncate(before);
                break;
            }
        }
        self.extra = Some(extra);
        filled
    }

    /// Appends an item, and looks for its result in the file of the call.
    fn look_up(
        &self,
        (checkpoint, number): &mut (Arc<Checkpoint>, u64),
        item: &I::Item,
        out: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Behind> {
        let index = std::mem::replace(number, *number + 1);
        let before = out.len();
        let (encoded, pins) = scope::collect(|| (self.encode)(item, out));
        match encoded {
            Err(error) => Err(Behind::Refused(error)),
            // It is another one in each run, so that nobody could tell whether the item is the same.
            Ok(()) if !pins.is_empty() => Err(Behind::Foreign(checkpoint.cannot_compare(index))),
            Ok(()) => checkpoint.look_up(index, &out[before..]).map_err(Behind::Foreign),
        }
    }
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Feed for Items<I, E> {
    fn fill(&mut self, out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled {
        if let Some(extra) = self.extra.take() {
            return self.fill_with(extra, out, most, bytes);
        }
        let start = out.len();
        let mut count = 0;
        while count < most && out.len() - start < bytes && !scope::has_fds() {
            let Some(item) = self.items.next() else { return Filled::anywhere(count, Behind::End) };
            let before = out.len();
            if let Err(error) = (self.encode)(&item, out) {
                // Of its arguments that could be serialised.
                out.truncate(before);
                scope::take_attached();
                return Filled::anywhere(count, Behind::Refused(error));
            }
            count += 1;
        }
        Filled::anywhere(count, Behind::More)
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

    /// Makes up to `room` frames of up to `count` tasks.
    pub(crate) fn make(&mut self, feed: &mut dyn Feed, room: usize, count: u32, most_bytes: usize) {
        self.bytes.clear();
        let mut known_bytes = 0;
        while self.frames.len() < room && !self.ended {
            let before = self.bytes.len();
            let filled = feed.fill(&mut self.bytes, count, most_bytes);
            if filled.count > 0 {
                let pins = scope::take_pins();
                let (first, end) = (self.next, self.bytes.len());
                self.frames.push(ReadyFrame { first, count: filled.count, end, home: filled.home, pins });
                self.next += u64::from(filled.count);
                self.total_bytes += (self.bytes.len() - before) as u64;
                self.last_count = filled.count;
            }
            self.ended = filled.behind.ends();
            match filled.behind {
                Behind::More | Behind::End => {}
                Behind::Refused(error) => {
                    self.failed.push((self.next, error.0));
                    self.next += 1;
                }
                Behind::Known(result) => {
                    known_bytes += result.len();
                    self.known.push((self.next, result));
                    self.next += 1;
                    // They take room as well: where results are kept until they are taken, and here.
                    if self.known.len() >= room * count as usize || known_bytes > most_bytes {
                        return;
                    }
                }
                Behind::Foreign(text) => self.foreign = Some(text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn a_feed_stops_where_a_task_does_not_serialise() {
        let refuse_two = |item: &u64, out: &mut Vec<u8>| {
            if *item == 2 { Err(CodecError("no".to_owned())) } else { codec::encode(item, out) }
        };
        let mut feed = Items::new(0..5u64, refuse_two, None);
        let mut out = Vec::new();
        let filled = feed.fill(&mut out, 10, 1000);
        assert!(matches!(filled, Filled { count: 2, behind: Behind::Refused(_), .. }) && out.len() == 16);
        assert_eq!(feed.left(), Some(2));
        let filled = feed.fill(&mut out, 10, 8);
        assert!(matches!(filled, Filled { count: 1, behind: Behind::More, .. }));
        let filled = feed.fill(&mut out, 10, 1000);
        assert!(matches!(filled, Filled { count: 1, behind: Behind::End, .. }));
    }
}
