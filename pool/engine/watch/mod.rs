//! What can be seen of a pool from outside: output of workers, log records, traces, how long tasks took.

pub(crate) mod histogram;
pub(crate) mod json;
#[cfg(feature = "log")]
pub(crate) mod logs;
#[cfg(any(feature = "log", feature = "tracing"))]
pub(crate) mod outlet;
pub(crate) mod output;
pub(crate) mod ran;
pub(crate) mod records;
pub(crate) mod report;
pub(crate) mod trace;
#[cfg(feature = "tracing")]
pub(crate) mod tracing;
pub(crate) mod view;
pub(crate) mod worker_event;
