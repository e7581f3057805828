//! Workers on this machine: this executable, started afresh.

use crate::codec;
use crate::engine::launch::launcher::Launcher;
use crate::engine::worker::{self, Setup, Startup};
use crate::error::Error;
use crate::ipc::link::{Link, LinkKind};
use crate::ipc::ring;
use crate::process::start::{News, Start, control_pair};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Starts workers by executing this program again.
#[derive(Debug)]
pub(crate) struct Spawn {
    pub(crate) link: LinkKind,
    /// The memory of the pool's bell.
    pub(crate) bell: Arc<OwnedFd>,
    pub(crate) name: String,
    pub(crate) startup: Option<Startup>,
}

impl Launcher for Spawn {
    fn launch(&self, place: usize, tell: Box<dyn Fn(News) + Send + Sync>) -> Result<Box<dyn Link>, Error> {
        let (control, socket) = control_pair()?;
        let party = u32::try_from(place + 1).unwrap_or(u32::MAX);
        let setup = Setup { link: self.link, server: None, party, startup: self.startup.clone() };
        let link = ring::create(control.clone())?;
        let start = Start {
            name: format!("{}-{}", self.name, place + 1),
            role: worker::entry(),
            setup: codec::to_bytes(&setup),
            fds: vec![Arc::clone(&self.bell), Arc::clone(link.file())],
            socket,
            control,
        };
        start.start(tell)?;
        Ok(Box::new(link))
    }
}
