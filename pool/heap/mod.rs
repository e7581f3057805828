//! The shared heap: one memory file for a tree of processes, blocks in it, and handles to these that may travel.

pub(crate) mod block;
mod books;
mod doubt;
mod file;
pub(crate) mod geometry;
pub(crate) mod guardian;
pub(crate) mod held;
pub(crate) mod holdings;
pub(crate) mod kind;
mod layout;
pub(crate) mod memory;
pub(crate) mod name;
pub(crate) mod process_table;
pub(crate) mod reclaim;
pub(crate) mod record;
mod release;
pub(crate) mod report;
pub(crate) mod scope;
mod table;
pub(crate) mod tree;
