//! What stands behind the pool's one lock: workers, the ledger, scheduling, supervision.

pub(crate) mod drive;
pub(crate) mod ledger;
pub(crate) mod scaling;
pub(crate) mod serve;
pub(crate) mod settle;
pub(crate) mod shutdown;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod submissions;
pub(crate) mod supervisor;
pub(crate) mod worker_slot;
