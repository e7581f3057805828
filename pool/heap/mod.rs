//! The shared heap: one memory file for a tree of processes, blocks in it, and handles to these that may travel.

pub(crate) mod block;
mod file;
pub(crate) mod geometry;
pub(crate) mod guardian;
pub(crate) mod held;
pub(crate) mod kind;
pub(crate) mod name;
pub(crate) mod parties;
pub(crate) mod report;
pub(crate) mod scope;
mod table;
pub(crate) mod tree;
