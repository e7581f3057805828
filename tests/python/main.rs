//! What Python's own tests ask of `multiprocessing`, asked of this library: each case under its Python name, its
//! behaviour in Rust's terms.
//!
//!     cargo test --test python
//!
//! What a case became, and which made no sense, is said at the top of each module.

#[path = "../common/mod.rs"]
mod common;

mod barrier;
mod beyond;
mod connection;
#[cfg(feature = "remote")]
mod listener;
mod managers;
mod pool;
mod pool_streams;
mod pool_workers;
mod process;
mod queue;
#[cfg(feature = "remote")]
mod remote_manager;
mod shared_memory;
mod sync;
mod wait;
