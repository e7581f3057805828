//! Workers and processes that die, and whether the error says of what.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "backtrace")]
mod crashes;
#[cfg(feature = "backtrace")]
mod handlers;
mod out_of_memory;
