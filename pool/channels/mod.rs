//! Queues and what is made of them: values that go from process to process.

pub(crate) mod channel;
mod core;
#[cfg(all(test, not(loom)))]
mod fuzz;
pub(crate) mod item;
pub(crate) mod joinable;
pub(crate) mod line;
pub(crate) mod pipe;
pub(crate) mod queue;
pub(crate) mod readiness;
pub(crate) mod simple;
#[cfg(feature = "stream")]
mod stream;
pub(crate) mod wait;
mod watcher;
