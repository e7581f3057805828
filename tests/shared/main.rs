//! Locks and data in shared memory, through the public interface and between real processes.

#[path = "../common/mod.rs"]
mod common;

mod data;
mod faults;
mod handles;
mod lock;
mod names;
mod processes;
mod shareable_list;
mod shared_memory;
