//! The operating system: the only layer that names libc or rustix, and the home of most `unsafe` code.

#[cfg(all(test, not(loom)))]
mod allocations;
pub(crate) mod any;
pub(crate) mod atomic;
pub(crate) mod child;
pub(crate) mod clone;
pub(crate) mod copy;
pub(crate) mod coverage;
pub(crate) mod cpu;
pub(crate) mod crash;
pub(crate) mod descriptor;
pub(crate) mod environment;
pub(crate) mod epoll;
#[cfg_attr(
    not(all(feature = "auto", target_env = "gnu")),
    allow(dead_code, reason = "only a program that recognises its workers before `main` runs constructors itself")
)]
pub(crate) mod executable;
pub(crate) mod fault;
pub(crate) mod fence;
pub(crate) mod file_lock;
pub(crate) mod file_part;
pub(crate) mod fork;
pub(crate) mod futex;
#[cfg(all(test, not(loom)))]
pub(crate) mod fuzz;
pub(crate) mod large_vec;
pub(crate) mod life;
pub(crate) mod look;
pub(crate) mod memory;
pub(crate) mod out_of_memory;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod procfs;
pub(crate) mod random;
pub(crate) mod reactor;
pub(crate) mod refusal;
pub(crate) mod robust;
pub(crate) mod runtime_folder;
#[cfg(feature = "sandbox")]
pub(crate) mod sandbox;
pub(crate) mod shm;
pub(crate) mod signal;
pub(crate) mod signal_watch;
pub(crate) mod socket;
pub(crate) mod stack;
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "without other programs nobody listens and nobody connects")
)]
pub(crate) mod stream;
pub(crate) mod thread;
pub(crate) mod thread_end;
pub(crate) mod time;
#[cfg(feature = "backtrace")]
mod unwind;
pub(crate) mod usage;
