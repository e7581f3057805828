//! Pools on nodes, through the public interface and on real processes: agents on this machine.

#[path = "../common/mod.rs"]
mod common;

mod agents;
mod calls;
mod chaos;
mod drain;
mod faults;
mod keyed;
mod lab;
mod namespaces;
mod network;
mod output;
mod relay;
mod ssh;
