//! One algorithm of synchronisation per file, on plain structs of atomics that live in shared memory.

pub(crate) mod barrier;
pub(crate) mod cells;
pub(crate) mod condition;
pub(crate) mod event;
#[cfg(all(test, not(loom)))]
mod fuzz;
#[allow(unsafe_code)]
pub(crate) mod layout;
pub(crate) mod queue;
#[cfg(all(test, not(loom)))]
mod reclaim_tests;
pub(crate) mod rlock;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
pub(crate) mod sleepers;
pub(crate) mod store;
#[cfg(all(test, not(loom)))]
mod stress;
pub(crate) mod tally;
#[cfg(test)]
mod testing;
pub(crate) mod waiters;
pub(crate) mod word;
