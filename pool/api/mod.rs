//! The face of the library: [`Pool`](pool::Pool), its builder, and calls.

pub(crate) mod async_result;
#[cfg(feature = "indicatif")]
mod bar;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod imap;
pub(crate) mod one;
pub(crate) mod pool;
mod recycle;
pub(crate) mod thread_pool;
pub(crate) mod with;
pub(crate) mod worker_env;
