//! The input of a call that nobody waits in: serialised when the call is made, cut into frames when there is room.

use crate::engine::call::feed::{Behind, Feed, Filled, Limits};
use crate::engine::call::home::Home;
use crate::heap::scope::{self, Pins};
use std::collections::VecDeque;
use std::sync::Arc;

/// Tasks that are ready to be handed in.
#[derive(Debug, Default)]
pub(crate) struct Submission {
    bytes: Vec<u8>,
    /// Where each task ends.
    ends: Ends,
    /// The tasks before this one were handed in.
    next: u32,
    count: u32,
    /// The number of each task in the job is its place here, unless tasks before it could not be serialised.
    numbers: Vec<(u32, u64)>,
    /// Which worker may run each task; empty if any may. Those that have a home are cut one by one.
    homes: Vec<Home>,
    /// What the tasks refer to.
    pub(crate) pins: Option<Arc<Pins>>,
    /// What single tasks refer to, and the place behind each.
    attached: VecDeque<(u32, Pins)>,
}

/// Most inputs consist of tasks of one size.
#[derive(Debug)]
enum Ends {
    Every(usize),
    Each(Vec<usize>),
}

impl Default for Ends {
    fn default() -> Ends {
        Ends::Every(0)
    }
}

/// The next tasks of a submission, to become a frame.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) bytes: &'a [u8],
    /// Which worker may run them.
    pub(crate) home: Home,
    /// What the tasks refer to.
    pub(crate) pins: Option<Arc<Pins>>,
}

/// What came of serialising an input.
#[derive(Debug)]
pub(crate) struct Serialised {
    pub(crate) submission: Submission,
    /// How many tasks there were, with those that failed.
    pub(crate) total: u64,
    pub(crate) failed: Vec<(u64, String)>,
    /// Tasks that need not be run, and the bytes of their results.
    pub(crate) known: Vec<(u64, Vec<u8>)>,
}

/// Serialises a whole input.
///
/// # Errors
///
/// The call cannot be made with this input; the text says why.
pub(crate) fn serialise_all(feed: &mut dyn Feed) -> Result<Serialised, String> {
    let mut submission = Submission::default();
    let (mut total, mut failed, mut known) = (0u64, Vec::new(), Vec::new());
    loop {
        let Filled { count, home, behind } = feed.fill(&mut submission.bytes, Limits::one(false));
        if count > 0 {
            submission.note_end();
            if !home.is_anywhere() {
                submission.homes.push(home);
            }
            total += 1;
            if scope::has_fds() {
                submission.attached.push_back((submission.count, scope::take_attached()));
            }
        }
        let ended = behind.ends();
        let stands_in_no_frame = match behind {
            Behind::More | Behind::Tail(_) | Behind::End => false,
            Behind::Refused(error) => {
                failed.push((total, error.0));
                true
            }
            Behind::Known(result) => {
                known.push((total, result));
                true
            }
            Behind::Foreign(text) => return Err(text),
        };
        if stands_in_no_frame {
            total += 1;
            submission.numbers.push((submission.count, total));
        }
        if ended || submission.count == crate::engine::call::chunk::MOST {
            return Ok(Serialised { submission, total, failed, known });
        }
    }
}

impl Submission {
    fn note_end(&mut self) {
        let end = self.bytes.len();
        match &mut self.ends {
            Ends::Every(size) if self.count == 0 => *size = end,
            Ends::Every(size) if *size * (self.count as usize + 1) == end => {}
            Ends::Every(size) => {
                let size = *size;
                let mut ends: Vec<usize> = (1..=self.count as usize).map(|count| count * size).collect();
                ends.push(end);
                self.ends = Ends::Each(ends);
            }
            Ends::Each(ends) => ends.push(end),
        }
        self.count += 1;
    }

    /// Where the bytes of the tasks before `place` end.
    fn end_of(&self, place: u32) -> usize {
        match (&self.ends, place.checked_sub(1)) {
            (_, None) => 0,
            (Ends::Every(size), Some(_)) => size * place as usize,
            (Ends::Each(ends), Some(last)) => ends.get(last as usize).copied().unwrap_or(self.bytes.len()),
        }
    }

    /// The number in the job of the task at a place, and up to which place numbers follow one another.
    fn number(&self, place: u32) -> (u64, u32) {
        let later = self.numbers.partition_point(|(from, _)| *from <= place);
        let until = self.numbers.get(later).map_or(self.count, |(from, _)| *from);
        match later.checked_sub(1).map(|at| self.numbers[at]) {
            Some((from, number)) => (number + u64::from(place - from), until),
            None => (u64::from(place), until),
        }
    }

    /// How many tasks are left.
    pub(crate) fn left(&self) -> u64 {
        u64::from(self.count - self.next)
    }

    /// The next `count` tasks, or fewer: not more bytes than `most_bytes` if there is more than one, and none behind one that
    /// has attached descriptors.
    pub(crate) fn cut(&mut self, count: u32, most_bytes: usize) -> Option<Piece<'_>> {
        let start = self.end_of(self.next);
        let (first, until) = self.number(self.next);
        let with_fds = self.attached.front().map_or(u32::MAX, |(behind, _)| *behind);
        let home = self.homes.get(self.next as usize).copied().unwrap_or(Home::ANYWHERE);
        let count = if home.is_anywhere() { count.max(1) } else { 1 };
        let most = self.next.saturating_add(count).min(until).min(with_fds);
        if most == self.next {
            return None;
        }
        let mut end = most;
        if self.end_of(end) - start > most_bytes {
            // The largest number of tasks that fits, one at least.
            let (mut low, mut high) = (self.next + 1, most);
            while low < high {
                let middle = high - (high - low) / 2;
                if self.end_of(middle) - start <= most_bytes { low = middle } else { high = middle - 1 }
            }
            end = low;
        }
        let mut pins = self.pins.clone();
        if end == with_fds {
            let (_, attached) = self.attached.pop_front().unwrap_or_default();
            let others = pins.iter().flat_map(|pins| pins.iter().cloned());
            pins = Some(Arc::new(attached.into_iter().chain(others).collect()));
        }
        let cut = Piece { first, count: end - self.next, bytes: &self.bytes[start..self.end_of(end)], home, pins };
        self.next = end;
        Some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attached_fds::AttachedFds;
    use crate::codec::{self, CodecError};
    use crate::engine::call::feed::Items;

    fn cuts(items: Vec<&'static str>, count: u32, bytes: usize) -> (Vec<(u64, u32, usize)>, u64, usize) {
        let encode = |item: &&str, out: &mut Vec<u8>| {
            // What it has written before it refuses does not count.
            codec::encode(*item, out)?;
            if *item == "no" { Err(CodecError("no".to_owned())) } else { Ok(()) }
        };
        let mut submitted = serialise_all(&mut Items::new(items.into_iter(), encode)).unwrap();
        let mut cuts = Vec::new();
        while let Some(cut) = submitted.submission.cut(count, bytes) {
            cuts.push((cut.first, cut.count, cut.bytes.len()));
        }
        assert_eq!(submitted.submission.left(), 0);
        (cuts, submitted.total, submitted.failed.len())
    }

    #[test]
    fn tasks_of_one_size_and_of_many() {
        assert_eq!(cuts(vec!["a", "b", "c", "d", "e"], 2, 1000), (vec![(0, 2, 20), (2, 2, 20), (4, 1, 10)], 5, 0));
        assert_eq!(cuts(vec!["a", "bb", "c"], 2, 1000), (vec![(0, 2, 21), (2, 1, 10)], 3, 0));
        assert_eq!(cuts(vec![], 2, 1000), (vec![], 0, 0));
    }

    #[test]
    fn bytes_are_a_limit_too_but_for_a_single_task() {
        assert_eq!(cuts(vec!["a", "b", "c"], 3, 20), (vec![(0, 2, 20), (2, 1, 10)], 3, 0));
        assert_eq!(cuts(vec!["aaaaaaaaaa", "b"], 3, 5), (vec![(0, 1, 19), (1, 1, 10)], 2, 0));
    }

    #[test]
    fn a_task_that_does_not_serialise_leaves_a_gap() {
        assert_eq!(cuts(vec!["a", "no", "no", "b", "c", "no"], 9, 99), (vec![(0, 1, 10), (3, 2, 20)], 6, 3));
        assert_eq!(cuts(vec!["no", "b"], 9, 99), (vec![(1, 1, 10)], 2, 1));
    }

    #[test]
    fn a_task_with_attached_fds_is_the_last_of_its_frame() {
        let encode = |item: &u8, out: &mut Vec<u8>| {
            if *item > 0 {
                scope::pin_attached(AttachedFds::default());
            }
            codec::encode(item, out)
        };
        let items = [0, 0, 1, 1, 0, 0u8].into_iter();
        let (mut submitted, pins) = scope::collect(|| serialise_all(&mut Items::new(items, encode)).unwrap());
        assert!(pins.is_empty());
        let mut cuts = Vec::new();
        while let Some(cut) = submitted.submission.cut(10, 1000) {
            cuts.push((cut.first, cut.count, cut.pins.map_or(0, |pins| scope::attached_in(&pins).len())));
        }
        assert_eq!(cuts, [(0, 3, 1), (3, 1, 1), (4, 2, 0)]);
    }
}
