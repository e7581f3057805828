//! The face of the library: [`Pool`](pool::Pool), its builder, and calls.

pub(crate) mod affinity;
pub(crate) mod after;
pub(crate) mod async_result;
#[cfg(feature = "indicatif")]
mod bar;
pub(crate) mod builder;
pub(crate) mod call;
#[cfg(feature = "cluster")]
mod cluster;
pub(crate) mod completed;
mod described;
pub(crate) mod each_worker;
#[cfg(feature = "cluster")]
mod elsewhere;
pub(crate) mod generate;
pub(crate) mod imap;
pub(crate) mod one;
mod options;
pub(crate) mod pool;
mod recycle;
mod signal;
pub(crate) mod thread_pool;
mod trace_context;
mod try_submit;
mod watched;
pub(crate) mod with;
mod worker_env;
