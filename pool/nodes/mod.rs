//! Workers on other machines: an agent on each node, one stream to it, and what makes agents exist.

pub(crate) mod event;
pub(crate) mod fleet;
pub(crate) mod messages;
pub(crate) mod starters;

mod address;
mod agent;
mod agent_state;
mod agent_worker;
mod door;
mod greeting;
mod handshake;
mod lines;
mod node;
mod node_link;
mod post;
mod secret;
mod stream;
mod tended;
mod tls;
mod wire;

#[cfg(all(test, not(loom)))]
mod fuzz;
