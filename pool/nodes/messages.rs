//! What is in those messages that are no hot path: plain data, in the codec of the library.

use crate::engine::worker::main_loop::Limits;
use crate::engine::worker::routines::Routines;
use crate::error::Death;
use crate::ipc::link::LinkKind;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an agent says first, behind [`MARK`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) version: u32,
    pub(super) build: Vec<u8>,
    pub(super) host: String,
    pub(super) pid: i32,
    /// How many workers it takes as a rule: its CPUs.
    pub(super) cpus: usize,
}

/// What stands before a greeting. What comes before it is chatter: banners, and what profiles of shells print.
pub(super) const MARK: [u8; 12] = *b"\x93mproc-node\x1a";

/// The version of everything here and in `wire.rs`.
pub(super) const VERSION: u32 = 1;

/// So many bytes of chatter are skipped.
pub(super) const MOST_CHATTER: usize = 64 * 1024;

/// The longest greeting.
pub(super) const MOST_GREETING: usize = 4096;

/// What all workers of an agent are given.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// How they are linked to their agent.
    pub(crate) link: LinkKind,
    pub(crate) name: String,
    pub(crate) routines: Routines,
    pub(crate) limits: Limits,
    /// They are pinned to the agent's CPUs, in turn.
    pub(crate) pinned: bool,
    /// What they write is read.
    pub(crate) captured: bool,
    /// The memory of a worker is looked at after each frame, and not only now and then.
    pub(crate) weighed: bool,
    /// The agent ends when it has heard nothing for so long.
    pub(crate) silence: Duration,
}

/// A worker to be started.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// Its place in the pool.
    pub(super) place: usize,
    /// Its environment variables, beside those of the agent.
    pub(super) variables: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How a worker has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) death: Death,
    /// How far it has come: the frame, and how many of its tasks were started and done.
    pub(super) progress: (u64, u32, u32),
    /// What it wrote that our own code never writes.
    pub(super) condemned: Option<String>,
    /// Its last lines on stderr.
    pub(super) output: Option<String>,
}

/// The signals that a pool sends.
pub(super) const SIGNALS: [crate::sys::child::ChildSignal; 5] = {
    use crate::sys::child::ChildSignal::{Continue, Interrupt, Kill, Stop, Terminate};
    [Terminate, Kill, Interrupt, Stop, Continue]
};
