//! Workers on this machine that are copies of a template, which has run the initializer for them.

use crate::codec;
use crate::engine::launch::launcher::{Launched, Launcher, Tell};
use crate::engine::launch::spawn::{Spawn, Worker};
use crate::engine::worker::routines::Routines;
use crate::engine::worker::template::{self, Setup};
use crate::error::Error;
use crate::ipc::control::ChildKind;
use crate::process::descendants::DescendantControl;
use crate::process::start::{Start, Way, control_pair};
use crate::process::template::{Recipe, Template};
use crate::sys::child::SpawnOptions;
use crate::sys::time::Deadline;
use std::sync::Arc;
use std::time::Duration;

/// Starts workers as copies of a template.
#[derive(Debug)]
pub(crate) struct Templated {
    /// What the workers are, and how those come to be that cannot be copies.
    spawn: Arc<Spawn>,
    template: Template,
}

impl Templated {
    /// A launcher of such workers as `spawn` makes; the template has `grace` to end.
    pub(crate) fn new(spawn: Spawn, grace: Duration) -> Templated {
        let spawn = Arc::new(spawn);
        let of_template = Arc::clone(&spawn);
        Templated { spawn, template: Template::new(grace, move || recipe(&of_template)) }
    }
}

/// The start of the template itself.
fn recipe(spawn: &Spawn) -> Result<Recipe, Error> {
    let (control, socket) = control_pair()?;
    let name = format!("{}-template", spawn.name);
    let (captured, output) = spawn.capture.as_ref().map(|it| it.open(&name)).transpose()?.unzip();
    let routines = Routines { initializer: spawn.routines.initializer.clone(), ..Routines::default() };
    let start = Start {
        host: spawn.host,
        kind: ChildKind::Template,
        name,
        role: template::entry(),
        attached: routines.attached(),
        setup: codec::to_bytes(&Setup { routines, memory: spawn.limits.memory }),
        fds: Vec::new(),
        socket,
        control,
        options: SpawnOptions { variables: spawn.env.common().clone(), output, ..SpawnOptions::default() },
        descendants: None,
    };
    Ok(Recipe { start, last_words: Box::new(move || captured.as_ref()?.last_lines()) })
}

/// The start of a worker.
fn start_of(spawn: &Spawn, place: usize, mut worker: Worker, way: Way) -> Start {
    match way {
        Way::Executed => spawn.start_of(worker, spawn.env.of(place)),
        Way::Copied => {
            // What the template has done, and what it has.
            worker.setup.routines.initializer = None;
            spawn.start_of(worker, spawn.env.own_of(place))
        }
    }
}

impl Launcher for Templated {
    fn prepare(&self, workers: usize) -> Result<(), Error> {
        self.spawn.prepare(workers)
    }

    fn launch(&self, place: usize, tell: Tell) -> Result<Option<Launched>, Error> {
        let (worker, launched) = self.spawn.worker(place)?;
        let spawn = Arc::clone(&self.spawn);
        self.template.start(move |way| start_of(&spawn, place, worker, way), move |news| tell(news.into()))?;
        Ok(Some(launched))
    }

    fn descendants(&self) -> DescendantControl {
        self.spawn.descendants()
    }

    fn end(&self) {
        self.template.end();
    }

    fn wait(&self, deadline: Deadline) -> bool {
        self.template.wait(deadline)
    }

    fn warning(&self) -> Option<String> {
        self.template.warning()
    }
}
