//! What makes agents exist.

pub(crate) mod starter;

pub(crate) mod command;
pub(crate) mod ssh;

pub(crate) mod from_env;
pub(crate) mod ship;

pub(crate) mod listen;

mod agent_command;
mod diagnosis;
