//! Connections to other programs: what listeners and clients do with good and bad ones, and with CPython.
//!
//!     cargo test --test remote
#![cfg(feature = "remote")]

#[path = "../common/mod.rs"]
mod common;

mod bytes;
mod hostile;
mod interop;
mod pickles;
mod python_manager;
mod rust_manager;
