//! A map and a list of values in shared memory.

mod core;
pub(crate) mod dict;
mod entry;
pub(crate) mod list;
