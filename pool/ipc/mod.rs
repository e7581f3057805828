//! How bytes travel between a parent and its workers.

pub(crate) mod arena;
pub(crate) mod arriving;
pub(crate) mod bell;
pub(crate) mod channel;
pub(crate) mod channel_worker;
pub(crate) mod control;
#[allow(unsafe_code)]
pub(crate) mod desk;
pub(crate) mod ends;
pub(crate) mod file_bytes;
#[cfg(all(test, not(loom)))]
mod fuzz;
pub(crate) mod handles;
#[allow(unsafe_code)]
mod head;
#[allow(unsafe_code)]
pub(crate) mod lane;
pub(crate) mod link;
mod message;
pub(crate) mod parcel;
mod passing;
pub(crate) mod rest;
pub(crate) mod result_limit;
pub(crate) mod ring;
mod ring_memory;
pub(crate) mod ring_worker;
mod sleeper;
pub(crate) mod spin;
pub(crate) mod worker_end;
