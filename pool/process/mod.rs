//! Processes: which function one runs, how it comes to life, and how it ends.

pub(crate) mod args;
#[allow(unsafe_code)]
pub(crate) mod bootstrap;
#[allow(unsafe_code)]
pub(crate) mod identity;
pub(crate) mod panic;
pub(crate) mod returns;
pub(crate) mod start;
