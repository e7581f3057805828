//! What workers on nodes have written and said, on its way to the program.

use crate::engine::callbacks;
use crate::engine::watch::output::{self, Handler, OutputLine};
use crate::engine::watch::records::Relayed;
use crate::nodes::wire::{Kind, Numbers};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// So many bytes of lines may wait for a handler that is slow to take them; more are dropped, and counted.
const MOST_WAITING: usize = 64 << 20;

/// What the worker at a place of the pool has written.
#[derive(Debug)]
pub(super) struct Line {
    place: usize,
    what: Written,
}

#[derive(Debug)]
enum Written {
    /// A line; whether it was to stderr.
    Line(bool, String),
    /// The number of the worker at its agent, and what its code has said by the crate `log` or `tracing`: nothing when it has
    /// said everything.
    Record(u64, Vec<u8>),
}

impl Line {
    /// Reads it from a message of one of the two kinds.
    pub(super) fn read(kind: Kind, mut numbers: Numbers<'_>) -> Option<Line> {
        let place = usize::try_from(numbers.next()?).unwrap_or(usize::MAX);
        let what = match kind {
            Kind::Line => {
                let is_stderr = numbers.next()? != 0;
                Written::Line(is_stderr, String::from_utf8_lossy(numbers.0).into_owned())
            }
            _ => Written::Record(numbers.next()?, numbers.0.to_vec()),
        };
        Some(Line { place, what })
    }
}

/// The way of lines to the program.
#[derive(Debug)]
pub(super) struct Lines {
    /// `None` if nobody has asked for lines.
    handler: Option<Handler>,
    queue: Arc<Queue>,
    /// What the code of the workers has said.
    relayed: Relayed,
}

/// Lines that wait for the handler.
#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Lines {
    pub(super) fn new(handler: Option<Handler>) -> Lines {
        Lines { handler, queue: Arc::default(), relayed: Relayed::default() }
    }

    /// Takes what a worker of the pool of this name has written on a host.
    pub(super) fn take(&self, pool: &str, host: Arc<str>, Line { place, what }: Line) {
        let worker = format!("{pool}-{}", place.saturating_add(1));
        match (what, &self.handler) {
            (Written::Record(source, envelope), _) => {
                self.relayed.take(place, &format!("{worker} on {host}"), source, &envelope);
            }
            (Written::Line(is_stderr, text), Some(handler)) => {
                let len = size_of::<OutputLine>() + text.len();
                if self.queue.bytes.fetch_add(len, Relaxed) >= MOST_WAITING {
                    self.queue.bytes.fetch_sub(len, Relaxed);
                    self.queue.dropped.fetch_add(1, Relaxed);
                    return;
                }
                let (handler, queue) = (handler.clone(), Arc::clone(&self.queue));
                callbacks::post(move || {
                    queue.bytes.fetch_sub(len, Relaxed);
                    let line = |is_stderr, text| OutputLine::of_node(&worker, Arc::clone(&host), is_stderr, text);
                    match queue.dropped.swap(0, Relaxed) {
                        0 => {}
                        count => handler.handle(&line(true, output::dropped(count))),
                    }
                    handler.handle(&line(is_stderr, text));
                });
            }
            // Nobody has asked for it.
            (Written::Line(..), None) => {}
        }
    }
}
