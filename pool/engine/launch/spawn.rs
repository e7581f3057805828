//! Workers on this machine: this executable, started afresh.

use crate::codec;
use crate::engine::launch::launcher::{Launched, Launcher, Tell};
use crate::engine::watch::output::Capture;
use crate::engine::watch::records;
use crate::engine::worker::main_loop::{self, Limits, Setup};
use crate::engine::worker::routines::Routines;
#[cfg(feature = "sandbox")]
use crate::engine::worker::sandbox::Sandbox;
use crate::error::Error;
use crate::heap::scope::Pins;
use crate::ipc::bell::Bell;
use crate::ipc::control::{ChildKind, Control};
use crate::ipc::link::{Link, LinkKind};
use crate::ipc::{channel, ring};
use crate::process::descendants::{DescendantControl, Descendants};
use crate::process::role::Host;
use crate::process::start::{Start, control_pair};
use crate::process::surroundings::check_variable;
use crate::sys::child::{Output, SpawnOptions};
use crate::sys::cpu;
use parking_lot::Mutex;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// So many workers are asked for ahead. The links of all others would have their descriptors already, and each descriptor of this
/// process costs every start some 100 ns.
const MOST_AT_ONCE: usize = 128;

/// Starts workers by executing this program again.
#[derive(Debug)]
pub(crate) struct Spawn {
    /// This process can have children.
    pub(crate) host: Host,
    pub(crate) link: LinkKind,
    pub(crate) bell: Bell,
    /// The memory of the bell, if workers ring it themselves.
    pub(crate) bell_file: Option<Arc<OwnedFd>>,
    pub(crate) name: String,
    pub(crate) routines: Routines,
    /// What the arguments of the routines refer to: every worker that is ever started reads them.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) pins: Pins,
    pub(crate) limits: Limits,
    /// Workers are pinned to these CPUs, in turn.
    pub(crate) cpus: Vec<usize>,
    pub(crate) env: Environment,
    #[cfg(feature = "sandbox")]
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) capture: Option<Arc<Capture>>,
}

/// The environment variables of workers.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    common: Variables,
    each: Option<EnvEach>,
    /// What `each` has told of the places, from the first on.
    told: Mutex<Vec<Variables>>,
}

/// Variables with their values; later ones count before earlier ones of the same name.
pub(crate) type Variables = Vec<(OsString, OsString)>;

/// Tells the variables of the worker with a number.
pub(crate) struct EnvEach(pub(crate) Box<dyn Fn(usize) -> Variables + Send + Sync>);

impl fmt::Debug for EnvEach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvEach(..)")
    }
}

impl Environment {
    /// # Errors
    ///
    /// No environment can have one of the `common` variables.
    pub(crate) fn new(common: Variables, each: Option<EnvEach>) -> Result<Environment, Error> {
        check(&common)?;
        Ok(Environment { common, each, told: Mutex::default() })
    }

    /// Asks the user's function for the variables of the places below `workers`, as far as it was not asked before.
    pub(crate) fn prepare(&self, workers: usize) -> Result<(), Error> {
        let Some(EnvEach(each)) = &self.each else { return Ok(()) };
        loop {
            let place = self.told.lock().len();
            if place >= workers {
                return Ok(());
            }
            // Without the lock, since it is code of the program's.
            let variables = each(place);
            check(&variables)?;
            let mut told = self.told.lock();
            if told.len() == place {
                told.push(variables);
            }
        }
    }

    /// The variables of all workers.
    pub(super) fn common(&self) -> &Variables {
        &self.common
    }

    /// The variables that the worker at a place has beside those.
    pub(super) fn own_of(&self, place: usize) -> Variables {
        self.told.lock().get(place).cloned().unwrap_or_default()
    }

    /// The variables of the worker at a place.
    pub(crate) fn of(&self, place: usize) -> Variables {
        [&*self.common, &self.own_of(place)].concat()
    }
}

/// Refuses variables that no environment can have.
fn check(variables: &Variables) -> Result<(), Error> {
    variables.iter().try_for_each(|(key, value)| check_variable(key, value))
}

/// A worker of which all is known but how its process is made.
pub(crate) struct Worker {
    name: String,
    pub(super) setup: Setup,
    fds: Vec<Arc<OwnedFd>>,
    socket: OwnedFd,
    control: Control,
    output: Option<Output>,
}

impl Spawn {
    /// A worker for a place, and the pool's ends of it.
    ///
    /// # Errors
    ///
    /// There is no memory, or no descriptor, for its link.
    pub(super) fn worker(&self, place: usize) -> Result<(Worker, Launched), Error> {
        let (control, socket) = control_pair()?;
        let party = u32::try_from(place + 1).unwrap_or(u32::MAX);
        let (link, mut fds): (Box<dyn Link>, _) = match &self.bell_file {
            Some(bell) => {
                let made = ring::create(control.clone(), self.limits.result);
                let (link, files) = made.map_err(|error| no_ring(&error))?;
                let fds = [Arc::clone(bell)].into_iter().chain(files).collect();
                (Box::new(link), fds)
            }
            None => {
                let (link, fds) = channel::create(self.bell.clone(), control.clone(), self.limits.result)?;
                (Box::new(link), fds.into_iter().map(Arc::new).collect())
            }
        };
        let name = format!("{}-{}", self.name, place + 1);
        let (captured, output) = self.capture.as_ref().map(|it| it.open(&name)).transpose()?.unzip();
        let records = records::open(&name, &mut fds)?;
        let cpu = place.checked_rem(self.cpus.len()).map(|at| self.cpus[at]);
        let limits = Limits { cpu, ..self.limits };
        let setup = Setup {
            link: self.link,
            party,
            cpus: cpu::known_count(),
            routines: self.routines.clone(),
            limits,
            records,
            #[cfg(feature = "sandbox")]
            sandbox: self.sandbox.clone(),
        };
        Ok((Worker { name, setup, fds, socket, control, output }, Launched { link, output: captured }))
    }

    /// The start of a worker's process, with these environment variables beside those that it inherits.
    pub(super) fn start_of(&self, worker: Worker, variables: Variables) -> Start {
        let Worker { name, setup, fds, socket, control, output } = worker;
        Start {
            host: self.host,
            kind: ChildKind::Ordinary,
            name,
            role: main_loop::entry(),
            attached: setup.routines.attached(),
            setup: codec::to_bytes(&setup),
            fds,
            socket,
            control,
            options: SpawnOptions { variables, output, ..SpawnOptions::default() },
            descendants: self.limits.descendants.then(Descendants::new),
        }
    }
}

impl Launcher for Spawn {
    fn prepare(&self, workers: usize) -> Result<(), Error> {
        self.env.prepare(workers)
    }

    fn launch(&self, place: usize, tell: Tell) -> Result<Option<Launched>, Error> {
        let (worker, launched) = self.worker(place)?;
        self.start_of(worker, self.env.of(place)).start(move |news| tell(news.into()))?;
        Ok(Some(launched))
    }

    fn most_at_once(&self) -> usize {
        MOST_AT_ONCE
    }

    fn descendants(&self) -> DescendantControl {
        if self.limits.descendants { DescendantControl::Walk } else { DescendantControl::Off }
    }
}

/// The error of a worker for which no ring can be made.
pub(crate) fn no_ring(error: &io::Error) -> Error {
    let cure = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => "; `LinkKind::Channel` needs no memory files",
        io::ErrorKind::OutOfMemory => "; the limit on address space may be too low (`ulimit -v`)",
        _ => "",
    };
    Error::start(format!("the memory of a link to a worker could not be made: {error}{cure}"))
}
