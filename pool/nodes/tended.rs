//! Who reads the streams, and what has come of it.

use crate::engine::launch::launcher::{News, Tell};
use crate::ipc::link::AnswerKind;
use crate::nodes::lines::Line;
use crate::nodes::wire::{Body, Kind, Numbers, Rest};
use crate::sys::time::millis;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// What has become of a worker, and who hears it.
pub(super) type Told = (Arc<Tell>, News);

/// What an agent says of a frame.
pub(super) struct Said {
    pub(super) kind: AnswerKind,
    pub(super) seq: u64,
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) nanos: u64,
    pub(super) payload: Rest,
}

impl Said {
    /// Reads it from a message of one of the two kinds.
    pub(super) fn read(kind: Kind, body: Body<'_>) -> Option<Said> {
        let mut numbers = Numbers(body.bytes());
        let kind = match kind {
            Kind::Returned => AnswerKind::Returned,
            _ if numbers.next()? == 0 => AnswerKind::Values,
            _ => AnswerKind::Failure,
        };
        let seq = numbers.next()?;
        if kind == AnswerKind::Returned {
            return Some(Said { kind, seq, first: 0, count: 0, nanos: 0, payload: Rest::default() });
        }
        let (first, count, nanos) = (numbers.next_u32()?, numbers.next_u32()?, numbers.next()?);
        let at = body.bytes().len() - numbers.0.len();
        Some(Said { kind, seq, first, count, nanos, payload: body.into_rest(at) })
    }
}

/// Whether somebody drives the pool, who reads the streams.
#[derive(Debug, Default)]
pub(super) struct Driven {
    /// A driver sleeps, on the streams as well.
    pub(super) is_asleep: AtomicBool,
    /// When a driver has last read, in milliseconds.
    last: AtomicU32,
}

impl Driven {
    /// A driver that has read so short a time ago reads again, or is about to sleep.
    pub(super) const RECENT: Duration = Duration::from_millis(20);

    pub(super) fn note(&self) {
        self.last.store(millis(), Relaxed);
    }

    pub(super) fn is_now(&self) -> bool {
        let recent = || u128::from(millis().wrapping_sub(self.last.load(Relaxed))) < Driven::RECENT.as_millis();
        self.is_asleep.load(Relaxed) || recent()
    }
}

/// What has come of reading a stream.
#[derive(Default)]
pub(super) struct Tended {
    pub(super) news: Vec<Told>,
    /// With the names of their hosts.
    pub(super) lines: Vec<(Arc<str>, Line)>,
    /// Answers wait for a driver.
    pub(super) has_answers: bool,
    /// So many that nothing more is read.
    pub(super) is_full: bool,
}

impl Tended {
    /// Adds that of another stream.
    pub(super) fn join(&mut self, other: Tended) {
        self.news.extend(other.news);
        self.lines.extend(other.lines);
        self.has_answers |= other.has_answers;
        self.is_full |= other.is_full;
    }
}
