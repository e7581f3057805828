//! Pools on nodes, through the public interface and on real processes: agents on this machine.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod drain;
mod faults;
mod network;
mod output;
mod ssh;
