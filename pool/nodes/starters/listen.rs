//! Agents that somebody else starts, and that come to the pool.

use crate::error::Error;
use crate::nodes::address::is_place;
use crate::nodes::agent;
use crate::nodes::door::Doorway;
use crate::nodes::secret::{FILE_VARIABLE, Secret};
use crate::nodes::starters::command::Command;
use crate::nodes::starters::starter::{Nodes, Started, Starter};
use crate::process::enlist::Call;
use parking_lot::Mutex;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Agents that somebody else starts: an array of jobs, pods of Kubernetes, a person. They connect to the pool.
///
/// What is to be started on each node says [`Listen::command`]. An agent shows that it has a secret, which both sides read from
/// a file that nobody else may read, and the pool shows that it is the one that the command came from; what goes over the
/// network is encrypted. Who does not have the secret cannot get in, and disturbs nobody.
///
/// ```
/// use multiproc::{Pool, cluster::Listen};
/// # use std::os::unix::fs::OpenOptionsExt;
/// # let path = std::env::temp_dir().join(format!("multiproc-listen-{}", std::process::id()));
/// # let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
/// # std::io::Write::write_all(&mut &file, &[b'x'; 64])?;
///
/// // openssl rand -hex 32 > cluster.key; chmod 600 cluster.key
/// # let cluster_key = path.clone();
/// let on = Listen::at("127.0.0.1:0").secret_file(cluster_key).nodes(2).workers(1);
/// let command = on.command()?;
/// println!("start on each node: {command}");
/// # let start = || std::process::Command::new("sh").arg("-c").arg(&command).spawn().unwrap();
/// # let nodes = [start(), start()];
/// let pool = Pool::builder().on(on).build()?;
/// assert_eq!(pool.map(|x: u64| x * x, 0..5)?, [0, 1, 4, 9, 16]);
/// # drop(pool);
/// # nodes.into_iter().for_each(|mut node| _ = node.wait());
/// # std::fs::remove_file(path)?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Agents may come at any time, and a node that was lost may be replaced by another one. If all were lost, and no other has come
/// for as long as [`PoolBuilder::within`](crate::PoolBuilder::within), the pool breaks.
#[derive(Debug)]
#[must_use = "it is given to `PoolBuilder::on`"]
pub struct Listen {
    at: String,
    known_as: Vec<String>,
    nodes: usize,
    agent: Command,
    secret_file: Option<PathBuf>,
    encrypt: bool,
    /// Open as soon as somebody was told of it.
    doorway: Mutex<Option<Arc<Doorway>>>,
}

impl Listen {
    /// Returns the nodes that connect to this address of this machine, `host:port`. Port 0 takes any that is free.
    pub fn at(address: impl Into<String>) -> Listen {
        let (at, agent) = (address.into(), Command::new("{agent}"));
        Listen {
            at,
            known_as: Vec::new(),
            nodes: 1,
            agent,
            secret_file: None,
            encrypt: true,
            doorway: Mutex::default(),
        }
    }

    /// Sets the most nodes that there are at a time. Default: 1.
    pub fn nodes(mut self, nodes: usize) -> Listen {
        self.nodes = nodes;
        self
    }

    /// Sets how many workers a node takes. Default: as many as it has CPUs.
    ///
    /// Without [`PoolBuilder::processes`](crate::PoolBuilder::processes) a pool has as many as all nodes take. If this is not
    /// said either, [`PoolBuilder::build`](crate::PoolBuilder::build) waits for all nodes to know that number.
    pub fn workers(mut self, workers: usize) -> Listen {
        self.agent = self.agent.workers(workers);
        self
    }

    /// Sets the file that the secret is in: 32 bytes or more, which nobody but its owner may read (mode 600 or 400).
    ///
    /// The agents look for it at the same place; `agent_env("MULTIPROC_SECRET_FILE", path)` names another one. Without a file
    /// the variables `MULTIPROC_SECRET_FILE` and `MULTIPROC_SECRET` count, on both sides. A secret is never an argument.
    pub fn secret_file(mut self, path: impl Into<PathBuf>) -> Listen {
        self.secret_file = Some(path.into());
        self.doorway = Mutex::default();
        self
    }

    /// Adds a name under which the nodes find this machine, `host:port`, if that is not the address at which it listens.
    pub fn known_as(mut self, place: impl Into<String>) -> Listen {
        self.known_as.push(place.into());
        self.doorway = Mutex::default();
        self
    }

    /// Sets whether what goes over the network is encrypted. Default: yes, by TLS 1.3.
    ///
    /// Without it both sides still show that they have the secret, but who can change what goes over the network can take the
    /// place of either after that: only for a network of which each machine is trusted.
    pub fn encrypt(mut self, encrypt: bool) -> Listen {
        self.encrypt = encrypt;
        self.doorway = Mutex::default();
        self
    }

    /// Sets where this program is on the nodes. Default: where it is here. It must be the same build.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Listen {
        self.agent = self.agent.program(path);
        self
    }

    /// Sets an environment variable of the agents, which their workers have as well.
    pub fn agent_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Listen {
        self.agent = self.agent.agent_env(key, value);
        self
    }

    /// Returns the command that is to be started on each node: one line for `sh`. From then on the address is taken.
    ///
    /// There is no secret in it. An agent that is started before [`PoolBuilder::build`](crate::PoolBuilder::build) waits.
    ///
    /// # Errors
    ///
    /// [`Error::is_start`]: somebody else listens at the address, or it is none of this machine.
    /// [`Error::is_invalid_argument`]: the secret cannot be read, or others can read it.
    pub fn command(&self) -> Result<String, Error> {
        let call = Call::new(agent::entry(), &self.open()?.address(None).to_string())?.to_string();
        let mut variables = Vec::new();
        if let Some(path) = &self.secret_file {
            variables.push((FILE_VARIABLE.into(), std::path::absolute(path)?.into_os_string()));
        }
        self.agent.line_with(&call, variables)
    }

    /// Listens, if it does not yet.
    fn open(&self) -> Result<Arc<Doorway>, Error> {
        self.check()?;
        let mut doorway = self.doorway.lock();
        if let Some(doorway) = &*doorway {
            return Ok(Arc::clone(doorway));
        }
        let opened = Arc::new(Doorway::open(&self.at, &self.known_as, self.secret()?, self.encrypt)?);
        Ok(Arc::clone(doorway.insert(opened)))
    }

    fn secret(&self) -> Result<Secret, Error> {
        self.secret_file.as_deref().map_or_else(Secret::from_env, Secret::read)
    }
}

impl Starter for Listen {
    fn nodes(&self) -> usize {
        self.nodes
    }

    fn workers(&self) -> Option<usize> {
        Starter::workers(&self.agent)
    }

    fn check(&self) -> Result<(), Error> {
        match std::iter::once(&self.at).chain(&self.known_as).find(|place| !is_place(place)) {
            Some(place) => Err(Error::invalid_argument(format!("`{place}` is no address: `host:port`"))),
            None => self.secret().map(drop),
        }
    }

    fn doorway(&self) -> Result<Option<Arc<Doorway>>, Error> {
        self.open().map(Some)
    }

    fn starts(&self) -> bool {
        false
    }

    fn command(&self) -> Result<Option<String>, Error> {
        Listen::command(self).map(Some)
    }

    fn start(&self, _at: usize, _call: &str) -> Result<(Started, OwnedFd), Error> {
        Err(Error::start("somebody else starts these agents"))
    }
}

/// The nodes that come of themselves.
impl From<Listen> for Nodes {
    fn from(listen: Listen) -> Nodes {
        Nodes(Some(Box::new(listen)))
    }
}
