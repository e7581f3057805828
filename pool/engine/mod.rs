//! The machinery of a pool; `README.md` in this folder explains the protocol.

pub(crate) mod call;
pub(crate) mod chunk;
pub(crate) mod core;
pub(crate) mod courier;
pub(crate) mod drive;
pub(crate) mod gather;
pub(crate) mod job;
pub(crate) mod job_stats;
pub(crate) mod launch;
pub(crate) mod ledger;
pub(crate) mod logs;
pub(crate) mod output;
pub(crate) mod place;
pub(crate) mod progress;
pub(crate) mod results;
pub(crate) mod routines;
pub(crate) mod shutdown;
pub(crate) mod staff;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod stock;
pub(crate) mod supervisor;
pub(crate) mod supply;
pub(crate) mod trace;
pub(crate) mod work;
pub(crate) mod worker;
