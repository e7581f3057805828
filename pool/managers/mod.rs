//! Managers: a server process that holds objects, and proxies by which other processes call functions on them.

pub(crate) mod client;
pub(crate) mod create;
pub(crate) mod dict;
pub(crate) mod handle;
mod handles;
pub(crate) mod list;
pub(crate) mod manager;
pub(crate) mod namespace;
pub(crate) mod objects;
pub(crate) mod proxy;
#[cfg(feature = "remote")]
pub(crate) mod remote;
pub(crate) mod request;
pub(crate) mod server;
pub(crate) mod value;
