//! Workers on other machines: an agent on each node, one stream to it, and what makes agents exist.

pub(crate) mod event;
pub(crate) mod fleet;
pub(crate) mod messages;
pub(crate) mod starters;

mod agent;
mod agent_worker;
mod greeting;
mod node;
mod node_link;
mod stream;
mod tended;
mod wire;
