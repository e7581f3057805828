//! Python's `multiprocessing`, for Rust, without its pains.

mod error;
#[allow(unsafe_code)]
mod sys;

pub use crate::error::{Error, RemoteError, Result, TaskError};
pub use crate::sys::cpu::cpu_count;
