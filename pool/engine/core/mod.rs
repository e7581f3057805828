//! What stands behind the pool's one lock, lowest first: the data, then the state, then what is done with it.

pub(crate) mod ledger;
pub(crate) mod level;
pub(crate) mod observers;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod seat;
pub(crate) mod stamp;
pub(crate) mod task_limit;
pub(crate) mod worker_slot;
pub(crate) mod workforce;

pub(crate) mod state;

pub(crate) mod driver;
pub(crate) mod here;
pub(crate) mod repeat;
pub(crate) mod scaling;
pub(crate) mod schedule;
pub(crate) mod settle;
pub(crate) mod submissions;
pub(crate) mod supervisor;

pub(crate) mod drive;
pub(crate) mod each_worker;
pub(crate) mod serve;
pub(crate) mod shutdown;
pub(crate) mod stats;

pub(crate) mod prometheus;
pub(crate) mod report;
pub(crate) mod view;

#[cfg(test)]
mod testing;
