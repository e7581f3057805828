//! Workers and processes that die, and whether the error says of what.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "backtrace")]
mod crashes;
#[cfg(feature = "backtrace")]
mod handlers;
mod out_of_memory;

use multiproc::TaskError;

/// The error of a task that has lost its worker.
fn lost<R: std::fmt::Debug>(result: multiproc::Result<R>) -> TaskError {
    let error = result.unwrap_err();
    let task = error.task().unwrap();
    assert!(task.is_worker_lost(), "{error}");
    task.clone()
}
