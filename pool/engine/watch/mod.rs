//! What can be seen of a pool from outside: output of workers, log records, traces, how long tasks took.

pub(crate) mod histogram;
pub(crate) mod json;
pub(crate) mod logs;
pub(crate) mod output;
pub(crate) mod ran;
pub(crate) mod report;
pub(crate) mod trace;
pub(crate) mod view;
pub(crate) mod worker_event;
