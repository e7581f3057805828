//! What a pool is told whose workers are not on this machine.

use crate::api::affinity::CpuAffinity;
use crate::codec;
use crate::engine::core::workforce::RecyclePolicy;
use crate::engine::launch::spawn::Environment;
use crate::engine::watch::output::Handler;
use crate::engine::watch::records;
use crate::engine::worker::main_loop::Limits;
use crate::engine::worker::routines::Routines;
use crate::error::{Error, Result};
use crate::heap::scope::Pins;
use crate::ipc::bell::Bell;
use crate::ipc::link::LinkKind;
use crate::nodes::event::OnNode;
use crate::nodes::fleet::{Fleet, Orders};
use crate::nodes::messages::Setup;
use crate::nodes::starters::starter::Starter;
use crate::process::template::StartMethod;
use crate::sys::memory;
use std::sync::Arc;
use std::time::Duration;

/// More nodes are a slip of the pen.
const MOST_NODES: usize = 4096;

/// Where the workers are.
#[derive(Debug)]
pub(super) struct Cluster {
    /// `None` = on this machine.
    pub(super) starter: Option<Box<dyn Starter>>,
    pub(super) at_least: usize,
    pub(super) within: Duration,
    pub(super) lost_after: Duration,
    pub(super) on_node: Option<OnNode>,
}

impl Default for Cluster {
    fn default() -> Cluster {
        let (within, lost_after) = (Duration::from_secs(60), Duration::from_secs(10));
        Cluster { starter: None, at_least: 1, within, lost_after, on_node: None }
    }
}

/// What such a pool is told.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) cluster: Cluster,
    pub(super) processes: Option<usize>,
    pub(super) name: String,
    pub(super) link: LinkKind,
    pub(super) routines: Routines,
    pub(super) pins: Pins,
    pub(super) recycle: RecyclePolicy,
    pub(super) limits: Limits,
    pub(super) grace: Duration,
    pub(super) affinity: CpuAffinity,
    pub(super) env: Environment,
    pub(super) output: Option<Handler>,
    pub(super) start_method: StartMethod,
    pub(super) on_threads: bool,
}

impl Elsewhere {
    /// Asks for the agents; what starts workers with them, the bell of such a pool, and how many workers it is to have.
    pub(super) fn muster(self) -> Result<(Fleet, Bell, usize)> {
        let refuse = |text: &str| Err(Error::invalid_argument(text));
        let Cluster { starter, at_least, within, lost_after, on_node } = self.cluster;
        let Some(starter) = starter else { return refuse("no nodes were given") };
        if self.on_threads {
            return refuse("`on` needs workers that are processes");
        }
        if self.start_method != StartMethod::default() {
            return refuse("`start_method` is for workers on this machine: on nodes each worker is started afresh");
        }
        if self.affinity.is_list() {
            return refuse(
                "a list of CPUs means something on one machine alone: `cpu_affinity(true)` takes those of each node",
            );
        }
        if !self.pins.is_empty() {
            return refuse(
                "shared memory in the arguments of an initializer, a finalizer or a state means nothing on other nodes",
            );
        }
        if starter.nodes() == 0 || starter.workers() == Some(0) {
            return refuse("there must be at least 1 node with at least 1 worker");
        }
        if starter.nodes() > MOST_NODES {
            return refuse("there may be 4096 nodes at most");
        }
        starter.check()?;
        let setup = Setup {
            link: self.link,
            name: self.name.clone(),
            routines: self.routines,
            limits: self.limits,
            pinned: self.affinity.is_on(),
            captured: self.output.is_some(),
            records: records::wanted(),
            weighed: self.recycle.memory.is_some(),
            grace: self.grace,
            silence: lost_after * 6 / 10,
        };
        let fleet = Fleet::start(Orders {
            starter,
            setup: codec::to_bytes(&setup),
            link: self.link,
            name: self.name,
            env: self.env,
            at_least: at_least.min(self.processes.unwrap_or(usize::MAX)).max(1),
            within,
            lost_after,
            on_node,
            output: self.output,
        })?;
        let processes = self.processes.map_or_else(|| fleet.muster(), Ok)?;
        let bell = Bell::new(Arc::new(memory::private(Bell::LEN)?), 0).with_doze(fleet.doze());
        Ok((fleet, bell, processes))
    }
}
