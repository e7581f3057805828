//! What `log` and `tracing` have in common: how a worker sends, and how what has come waits for a logger or a subscriber.

use crate::codec;
use crate::engine::callbacks;
use crate::ipc::control::Control;
use crate::sys::fork::Original;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The most verbose level of what is wanted, as a number from 1 (error) to 5 (trace).
pub(crate) type Level = u8;

/// By which crate it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Log,
    Tracing,
}

/// One thing that a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(super) kind: Kind,
    /// What follows cannot be understood without it.
    pub(super) is_needed: bool,
    /// So many before it found no room.
    pub(super) lost: u64,
    #[serde(with = "crate::codec::bytes")]
    pub(super) bytes: Vec<u8>,
}

/// So many may wait for a logger or a subscriber; more are dropped, and counted.
pub(super) const MOST_WAITING: usize = 4096;

/// How long a worker waits, once, for the pool's process to read.
const PATIENCE: Duration = Duration::from_millis(100);

/// The beginning of a text, of at most so many bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What waits for a logger or a subscriber, and how much could not.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

impl Queue {
    pub(super) const fn new() -> Queue {
        Queue { waiting: AtomicUsize::new(0), lost: AtomicU64::new(0) }
    }

    /// Room for one more thing to be handed on. If there is none, the thing counts as lost.
    pub(super) fn room(&'static self) -> Option<Room> {
        let room = Room(self);
        if self.waiting.fetch_add(1, Relaxed) < MOST_WAITING {
            return Some(room);
        }
        self.lose(1);
        None
    }

    pub(super) fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Relaxed);
    }

    /// Says how many were lost since it was last asked.
    pub(super) fn take_lost(&self) -> Option<String> {
        match self.lost.swap(0, Relaxed) {
            0 => None,
            lost => Some(format!("{lost} records of workers were dropped, since what takes them was too slow")),
        }
    }
}

/// Of something that waits for a logger or a subscriber.
#[derive(Debug)]
pub(super) struct Room(&'static Queue);

impl Room {
    /// Has it done where callbacks run.
    pub(super) fn hand_on(self, work: impl FnOnce() + Send + 'static) {
        callbacks::post(move || {
            drop(self);
            work();
        });
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// The end of a worker. What it cannot send in time is lost, and counted.
pub(super) struct Outlet {
    kind: Kind,
    control: Control,
    /// A fork of the worker says nothing: nobody could tell it from the worker.
    original: Original,
    flow: Mutex<Flow>,
}

#[derive(Default)]
struct Flow {
    lost: u64,
    /// The pool's process did not read within [`PATIENCE`], the last time.
    is_stuck: bool,
}

impl Outlet {
    pub(super) fn new(kind: Kind, control: Control) -> Outlet {
        Outlet { kind, control, original: Original::here(), flow: Mutex::default() }
    }

    /// Whether this is the worker, and no fork of it.
    pub(super) fn is_here(&self) -> bool {
        self.original.is_here()
    }

    /// Something cannot be sent, since what it needs could not.
    #[cfg(feature = "tracing")]
    pub(super) fn lose(&self) {
        self.flow.lock().lost += 1;
    }

    /// Sends something. Returns whether it could; if not, it counts as lost unless it `is_needed`.
    pub(super) fn send<T: Serialize>(&self, told: &T, is_needed: bool) -> bool {
        if !self.is_here() {
            return false;
        }
        let bytes = codec::to_bytes(told);
        let mut flow = self.flow.lock();
        let within = if flow.is_stuck { Duration::ZERO } else { PATIENCE };
        let envelope = Envelope { kind: self.kind, is_needed, lost: flow.lost, bytes };
        // If nobody listens any more, this process is about to end.
        flow.is_stuck = self.control.send_within(&envelope, Deadline::after(within)).is_err();
        match flow.is_stuck {
            false => flow.lost = 0,
            true => flow.lost += u64::from(!is_needed),
        }
        !flow.is_stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn what_nobody_reads_is_lost_and_counted() {
        let (ours, theirs) = Control::pair();
        let outlet = Outlet::new(Kind::Log, theirs);
        let start = Instant::now();
        // More than there is room for. The first one that finds none waits, and no other.
        let sent = (0..5_000).filter(|number| outlet.send(number, false)).count();
        assert!(sent < 5_000 && start.elapsed() < Duration::from_secs(20), "{sent} in {:?}", start.elapsed());
        assert!(!outlet.send(&0, true));
        for number in 0..sent {
            let (envelope, _) = ours.receive::<Envelope>(false).unwrap().unwrap();
            assert_eq!((envelope.lost, codec::from_bytes::<i32>(&envelope.bytes).unwrap()), (0, number as i32));
        }
        assert!(outlet.send(&7, false) && outlet.send(&8, false));
        let lost = |_| ours.receive::<Envelope>(false).unwrap().unwrap().0.lost;
        assert_eq!([0, 1].map(lost), [5_000 - sent as u64, 0]);
    }

    #[test]
    fn texts_are_cut_between_letters() {
        assert_eq!((cut("abc", 5), cut("abc", 2), cut("aä", 2), cut("", 0)), ("abc", "ab", "a", ""));
    }
}
