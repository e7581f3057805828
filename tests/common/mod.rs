//! What the test binaries share.

#![allow(dead_code, unused_imports, unused_macros, reason = "not every test binary uses all of it")]

pub(crate) mod alone;
pub(crate) mod crash;
pub(crate) mod descriptors;
pub(crate) mod evil;
pub(crate) mod fork;
pub(crate) mod journal;
pub(crate) mod links;
pub(crate) mod proc;
pub(crate) mod python;
pub(crate) mod scratch;
pub(crate) mod seccomp;
pub(crate) mod signals;
#[cfg(feature = "cluster")]
pub(crate) mod sshd;
pub(crate) mod starts;
#[cfg(target_arch = "x86_64")]
pub(crate) mod stepper;
#[cfg(target_arch = "x86_64")]
pub(crate) mod victim;
pub(crate) mod watchdog;
