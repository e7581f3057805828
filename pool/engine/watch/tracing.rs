//! Events and spans that the code of workers makes by the crate `tracing`, handed on to the subscriber of this process.
//!
//! A worker describes each callsite once, and refers to it by a number from then on, as it does to spans. Here a callsite is
//! made that looks like it, which lives for ever as all callsites do, and each span is a span of this process's subscriber:
//! made and closed, not entered. A worker adds a span for the task as soon as that has something to say, below the span in
//! which the call was made.

#[cfg(test)]
mod fuzz;
pub(crate) mod sender;
mod sites;
pub(crate) mod spans;
mod values;

use crate::engine::watch::outlet::{self, Queue};
use crate::engine::watch::tracing::sites::Site;
use crate::engine::watch::tracing::values::Values;
use serde::{Deserialize, Serialize};
use tracing_core::LevelFilter;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// It is there: the first thing that it says. What was said at its place until then is over.
    Begun {
        pid: u32,
    },
    /// What a callsite is.
    Site {
        number: u32,
        site: Site,
    },
    /// The span of a task.
    Task(Task),
    Span {
        span: u64,
        site: u32,
        parent: Parent,
        values: Values,
    },
    /// More values of a span.
    Values {
        span: u64,
        values: Values,
    },
    Follows {
        span: u64,
        before: u64,
    },
    Closed {
        span: u64,
    },
    Event {
        site: u32,
        parent: Parent,
        values: Values,
    },
}

/// A task that has something to say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    span: u64,
    /// The number of a [`spans::OfCall`].
    call: Option<u64>,
    function: String,
    index: u64,
    attempt: u32,
}

/// Of which span it is a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Parent {
    /// Of none, as its code says.
    Nothing,
    /// Of none in the worker.
    Worker,
    Span(u64),
}

/// What waits for the subscriber.
pub(super) static QUEUE: Queue = Queue::new();

/// The most verbose level of events and spans that this process wants.
pub(super) fn level() -> Option<outlet::Level> {
    let level = LevelFilter::current().into_level()?;
    sites::LEVELS.iter().position(|it| *it == level).map(|at| at as outlet::Level + 1)
}
