//! What makes agents exist.

pub(crate) mod starter;

pub(crate) mod command;

pub(crate) mod from_env;

pub(crate) mod listen;
