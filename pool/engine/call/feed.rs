//! Where a call takes its tasks from, and the frames that are made of them.

use crate::codec::CodecError;
use crate::engine::call::checkpoint::Checkpoint;
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
    pub(crate) behind: Behind,
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
pub(crate) struct Items<I, E> {
    items: I,
    encode: E,
    /// Where results of an earlier run are, and the number of the next task.
    checkpoint: Option<(Arc<Checkpoint>, u64)>,
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Items<I, E> {
    pub(crate) fn new(items: I, encode: E) -> Items<I, E> {
        Items { items, encode, checkpoint: None }
    }

    /// Passes over tasks whose results are in a file.
    pub(crate) fn resume(mut self, checkpoint: Option<Arc<Checkpoint>>) -> Items<I, E> {
        self.checkpoint = checkpoint.map(|checkpoint| (checkpoint, 0));
        self
    }

    /// As [`Feed::fill`], for a call with a checkpoint.
    #[cold]
    fn fill_from(&mut self, mut from: (Arc<Checkpoint>, u64), out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled {
        let (checkpoint, number) = &mut from;
        let start = out.len();
        let mut filled = Filled { count: 0, behind: Behind::More };
        while filled.count < most && out.len() - start < bytes {
            let Some(item) = self.items.next() else {
                filled.behind = Behind::End;
                break;
            };
            let index = std::mem::replace(number, *number + 1);
            let before = out.len();
            let (encoded, pins) = scope::collect(|| (self.encode)(&item, out));
            let known = match encoded {
                Err(error) => Err(Behind::Refused(error)),
                // It is another one in each run, so that nobody could tell whether the item is the same.
                Ok(()) if !pins.is_empty() => Err(Behind::Foreign(checkpoint.cannot_compare(index))),
                Ok(()) => checkpoint.look_up(index, &out[before..]).map_err(Behind::Foreign),
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
        self.checkpoint = Some(from);
        filled
    }
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Feed for Items<I, E> {
    fn fill(&mut self, out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled {
        if let Some(checkpoint) = self.checkpoint.take() {
            return self.fill_from(checkpoint, out, most, bytes);
        }
        let start = out.len();
        let mut count = 0;
        while count < most && out.len() - start < bytes && !scope::has_fds() {
            let Some(item) = self.items.next() else { return Filled { count, behind: Behind::End } };
            if let Err(error) = (self.encode)(&item, out) {
                // Of its arguments that could be serialised.
                scope::take_attached();
                return Filled { count, behind: Behind::Refused(error) };
            }
            count += 1;
        }
        Filled { count, behind: Behind::More }
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
                self.frames.push(ReadyFrame { first: self.next, count: filled.count, end: self.bytes.len(), pins });
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
        let mut feed = Items::new(0..5u64, refuse_two);
        let mut out = Vec::new();
        let filled = feed.fill(&mut out, 10, 1000);
        assert!(matches!(filled, Filled { count: 2, behind: Behind::Refused(_) }) && out.len() == 16);
        assert_eq!(feed.left(), Some(2));
        let filled = feed.fill(&mut out, 10, 8);
        assert!(matches!(filled, Filled { count: 1, behind: Behind::More }));
        let filled = feed.fill(&mut out, 10, 1000);
        assert!(matches!(filled, Filled { count: 1, behind: Behind::End }));
    }
}
