//! Managers of other programs, in this language or in Python, by Python's protocol:
//! [`RemoteManager`](manager::RemoteManager) calls objects there, [`ManagerServer`](server::ManagerServer) has others call
//! objects here. Values alone travel, no code.

mod create;
pub(crate) mod dict;
pub(crate) mod exception;
pub(crate) mod exposed;
#[cfg(all(test, not(loom)))]
mod fuzz;
pub(crate) mod list;
pub(crate) mod locks;
pub(crate) mod manager;
pub(crate) mod objects;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod server;
pub(crate) mod values;
mod wire;
