//! What runs in a worker.

pub(crate) mod kept_state;
pub(crate) mod main_loop;
pub(crate) mod number;
pub(crate) mod routines;
pub(crate) mod template;
pub(crate) mod work;
