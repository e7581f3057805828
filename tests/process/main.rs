//! Processes, through the public interface.

#[path = "../common/mod.rs"]
mod common;

mod boot;
mod crew;
mod endings;
mod leaks;
mod names;
mod sandbox;
mod settings;
mod signals;
mod starts;
mod template;
mod values;
