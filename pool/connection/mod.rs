//! Connections to other programs, in this language or in Python: [`Listener`](listener::Listener),
//! [`Client`](client::Client), and CPython's framing and authentication beneath them. What a message says as a value is
//! `crate::pickle`'s business.

pub(crate) mod address;
pub(crate) mod auth;
pub(crate) mod client;
mod frame;
#[cfg(all(test, not(loom)))]
mod fuzz;
mod handshake;
pub(crate) mod listener;
pub(crate) mod remote;
