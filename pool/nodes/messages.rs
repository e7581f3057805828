//! What is in those messages that are no hot path: plain data, in the codec of the library.

use crate::codec;
use crate::engine::watch::records::Wanted;
use crate::engine::worker::main_loop::Limits;
use crate::engine::worker::routines::Routines;
use crate::error::Death;
use crate::ipc::link::LinkKind;
use crate::process::enlist::Hex;
use crate::sys::child::own_pid;
use crate::sys::cpu::cpu_count;
use crate::sys::executable;
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

impl Greeting {
    /// What this agent says.
    pub(super) fn own() -> Greeting {
        Greeting {
            version: VERSION,
            build: executable::build_anywhere().to_vec(),
            host: executable::host_name(),
            pid: own_pid(),
            cpus: cpu_count(),
        }
    }

    /// As it travels behind chatter.
    pub(super) fn written(&self) -> Vec<u8> {
        let bytes = codec::to_bytes(self);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        [&MARK[..], &len, &bytes].concat()
    }

    /// Refuses an agent of another build.
    ///
    /// # Errors
    ///
    /// It is one; the text has both builds.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.version == VERSION && self.build == executable::build_anywhere() {
            return Ok(());
        }
        Err(format!(
            "it is another build of the program than the pool's, which has the build id {}, and the agent's is {}: copy the \
             pool's executable there, or have `Ssh` do it (`Ship::Copy`)",
            Hex(executable::build_anywhere()),
            Hex(&self.build)
        ))
    }
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
    /// What the pool's process wants to hear of what the code of workers says, if anything.
    pub(crate) records: Option<Wanted>,
    /// The memory of a worker is looked at after each frame, and not only now and then.
    pub(crate) weighed: bool,
    /// How long its workers have to end when the agent is told to end by SIGTERM.
    pub(crate) grace: Duration,
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
