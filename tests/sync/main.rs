//! The synchronisation types, through the public interface and between real processes.

#[path = "../common/mod.rs"]
mod common;

mod deaths;
mod forks;
mod handles;
mod kills;
mod rules;
#[cfg(target_arch = "x86_64")]
mod steps;
mod stopped;
mod threads;
