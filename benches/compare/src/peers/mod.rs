//! The peers: who they are, and one module for each that is written in Rust.

mod bounds;
mod crossbeam;
pub(crate) mod ipc_channel;
mod locks;
mod ours;
mod procspawn;
mod rayon;
mod tokio;

use crate::plan::{Plan, Sampler};

/// One competitor.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Sets up a measure in a driver; `None` = the driver is `driver.py`.
    pub(crate) sampler: Option<fn(&Plan) -> Option<Sampler>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    /// Works in other processes.
    Processes,
    /// Works in one process, or is what the machine gives at best.
    Bound,
}

const fn python(name: &'static str) -> Peer {
    Peer { name, kind: Kind::Processes, sampler: None }
}

const fn rust(name: &'static str, kind: Kind, sampler: fn(&Plan) -> Option<Sampler>) -> Peer {
    Peer { name, kind, sampler: Some(sampler) }
}

pub(crate) const PEERS: &[Peer] = &[
    rust("multiproc", Kind::Ours, ours::sampler),
    python("multiprocessing"),
    python("multiprocessing spawn"),
    python("joblib"),
    python("loky"),
    python("mpire"),
    python("pebble"),
    rust("procspawn", Kind::Processes, procspawn::sampler),
    rust("ipc-channel", Kind::Processes, ipc_channel::sampler),
    rust("rayon", Kind::Bound, rayon::sampler),
    rust("tokio", Kind::Bound, tokio::sampler),
    rust("crossbeam", Kind::Bound, crossbeam::sampler),
    rust("std", Kind::Bound, locks::std),
    rust("parking_lot", Kind::Bound, locks::parking_lot),
    rust("pthread robust", Kind::Bound, locks::robust),
    rust("memcpy", Kind::Bound, bounds::memcpy),
    rust("exec and wait", Kind::Bound, bounds::exec_and_wait),
];

/// The mean PSS of processes, in bytes: their own pages, and of those that several processes have their share.
fn pss(pids: &[i32]) -> f64 {
    let one = |pid: &i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a living worker");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a line on PSS");
        let kib = line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number");
        kib * 1024.0
    };
    pids.iter().map(one).sum::<f64>() / pids.len() as f64
}
