//! Python's `multiprocessing`, for Rust, without its pains.

mod codec;
mod engine;
mod error;
mod ipc;
mod pool;
mod process;
#[allow(unsafe_code)]
mod sys;

pub use crate::codec::Payload;
pub use crate::error::{Error, RemoteError, Result, TaskError};
pub use crate::ipc::link::LinkKind;
pub use crate::pool::{Job, Pool, PoolBuilder, With};
pub use crate::process::args::{Args, Task, TaskWith};
pub use crate::process::bootstrap::init;
pub use crate::sys::cpu::cpu_count;
