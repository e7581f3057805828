//! Where a call takes its tasks from, and the frames that are made of them.

use crate::codec::CodecError;
use crate::heap::scope::{self, Pins};

/// Where tasks come from.
pub(crate) trait Feed {
    /// Appends up to `most` tasks to `out`, and stops early once it is longer than `bytes`, or behind a task with
    /// attached descriptors.
    fn fill(&mut self, out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled;

    /// How many more there are at most, if known.
    fn left(&self) -> Option<u64>;
}

/// What [`Feed::fill`] did.
#[derive(Debug)]
pub(crate) struct Filled {
    /// So many tasks were appended.
    pub(crate) count: u32,
    /// The next task behind them could not be serialised.
    pub(crate) failed: Option<CodecError>,
    /// There are no more.
    pub(crate) ended: bool,
}

/// Tasks from an iterator.
#[derive(Debug)]
pub(crate) struct Items<I, E> {
    items: I,
    encode: E,
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Items<I, E> {
    pub(crate) fn new(items: I, encode: E) -> Items<I, E> {
        Items { items, encode }
    }
}

impl<I: Iterator, E: Fn(&I::Item, &mut Vec<u8>) -> Result<(), CodecError>> Feed for Items<I, E> {
    fn fill(&mut self, out: &mut Vec<u8>, most: u32, bytes: usize) -> Filled {
        let start = out.len();
        let mut count = 0;
        while count < most && out.len() - start < bytes && !scope::has_fds() {
            let Some(item) = self.items.next() else { return Filled { count, failed: None, ended: true } };
            if let Err(error) = (self.encode)(&item, out) {
                // Of its arguments that could be serialised.
                scope::take_attached();
                return Filled { count, failed: Some(error), ended: false };
            }
            count += 1;
        }
        Filled { count, failed: None, ended: false }
    }

    fn left(&self) -> Option<u64> {
        self.items.size_hint().1.map(|most| most as u64)
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
            if let Some(error) = filled.failed {
                self.failed.push((self.next, error.0));
                self.next += 1;
            }
            self.ended = filled.ended;
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
        assert_eq!((filled.count, filled.failed.is_some(), filled.ended, out.len()), (2, true, false, 16));
        assert_eq!(feed.left(), Some(2));
        let filled = feed.fill(&mut out, 10, 8);
        assert_eq!((filled.count, filled.ended), (1, false));
        let filled = feed.fill(&mut out, 10, 1000);
        assert_eq!((filled.count, filled.ended), (1, true));
    }
}
