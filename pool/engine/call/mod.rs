//! The data of one call: its tasks, its results, and its account. Nothing in this folder knows a pool.

pub(crate) mod checkpoint;
pub(crate) mod chunk;
pub(crate) mod feed;
pub(crate) mod gate;
pub(crate) mod gather;
pub(crate) mod home;
pub(crate) mod job;
pub(crate) mod job_stats;
pub(crate) mod keyed;
pub(crate) mod progress;
pub(crate) mod results;
pub(crate) mod retry;
pub(crate) mod submission;
pub(crate) mod traceparent;
