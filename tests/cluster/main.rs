//! Pools on nodes, through the public interface and on real processes: agents on this machine.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod faults;
mod network;
