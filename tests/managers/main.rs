//! Managers, through the public interface and between real processes.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod containers;
mod deaths;
mod proxies;
#[cfg(target_arch = "x86_64")]
mod steps;
