//! Queues and channels, through the public interface and between real processes.

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod handles;
mod kills;
mod queue;
#[cfg(target_arch = "x86_64")]
mod steps;
