//! Processes: which function one runs, how it comes to life, and how it ends.

pub(crate) mod args;
pub(crate) mod body;
#[allow(unsafe_code)]
pub(crate) mod bootstrap;
pub(crate) mod builder;
pub(crate) mod children;
pub(crate) mod cloning;
pub(crate) mod context;
pub(crate) mod current;
pub(crate) mod descendants;
#[cfg(feature = "cluster")]
pub(crate) mod enlist;
pub(crate) mod first_thread;
mod guardian;
pub(crate) mod handle;
pub(crate) mod panic;
mod pristine;
pub(crate) mod returns;
pub(crate) mod role;
mod settings;
pub(crate) mod start;
pub(crate) mod surroundings;
pub(crate) mod template;
