//! The operating system: the only layer that names libc or rustix, and the home of most `unsafe` code.

pub(crate) mod atomic;
pub(crate) mod child;
pub(crate) mod copy;
pub(crate) mod cpu;
pub(crate) mod executable;
pub(crate) mod futex;
pub(crate) mod memory;
pub(crate) mod poll;
pub(crate) mod reactor;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod time;
