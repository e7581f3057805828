//! Maps and lists in shared memory, through the public interface and between real processes.

#[path = "../common/mod.rs"]
mod common;

mod dict;
mod kills;
mod list;
#[cfg(target_arch = "x86_64")]
mod steps;
