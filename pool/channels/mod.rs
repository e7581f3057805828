//! Queues and what is made of them: values that go from process to process.

mod core;
mod item;
pub(crate) mod queue;
