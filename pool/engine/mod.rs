//! The machinery of a pool; `README.md` in this folder explains the protocol.

pub(crate) mod call;
pub(crate) mod callbacks;
pub(crate) mod core;
pub(crate) mod launch;
pub(crate) mod watch;
pub(crate) mod worker;
