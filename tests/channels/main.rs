//! Queues and channels, through the public interface and between real processes.

#[path = "../common/mod.rs"]
mod common;

mod channel;
mod faults;
mod handles;
mod joinable;
mod kills;
mod pipe;
mod queue;
#[cfg(target_arch = "x86_64")]
mod steps;
mod wait;
