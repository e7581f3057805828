//! What runs in a worker.

pub(crate) mod current_task;
pub(crate) mod emit;
pub(crate) mod kept_state;
pub(crate) mod main_loop;
pub(crate) mod number;
pub(crate) mod routines;
#[cfg(feature = "sandbox")]
pub(crate) mod sandbox;
pub(crate) mod template;
pub(crate) mod work;
