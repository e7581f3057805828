//! [`Ran`]: what trace and report are told of tasks that a worker has run.

use std::time::{Duration, Instant};

/// Tasks of one call that a worker has run one after the other, or the task that it ran when it died.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    /// The place of the worker in the pool, and its process.
    pub(crate) place: usize,
    pub(crate) pid: Option<i32>,
    pub(crate) function: &'static str,
    /// The number of the first task in its call.
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) start: Instant,
    pub(crate) lasted: Duration,
    /// The worker has died in the middle of it.
    pub(crate) lost: bool,
}
