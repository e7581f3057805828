//! What a pool may be told, and how it is started with that.

use crate::api::affinity::CpuAffinity;
#[cfg(feature = "cluster")]
use crate::api::elsewhere::{Cluster, Elsewhere};
use crate::engine::call::gate::Gate;
use crate::engine::call::traceparent::TraceSource;
use crate::engine::callbacks;
use crate::engine::core::observers::{Observers, Watchers};
use crate::engine::core::scaling::check_count;
use crate::engine::core::state::{Core, Engine};
use crate::engine::core::workforce::RecyclePolicy;
use crate::engine::launch::inline::Inline;
use crate::engine::launch::launcher::Launcher;
use crate::engine::launch::spawn::{EnvEach, Environment, Spawn, Variables, no_ring};
use crate::engine::launch::template::Templated;
use crate::engine::launch::threads::Threads;
use crate::engine::watch::output::{Capture, Handler};
use crate::engine::watch::report::Report;
use crate::engine::watch::trace::Trace;
use crate::engine::watch::view::View;
use crate::engine::watch::worker_event::WorkerHook;
use crate::engine::worker::main_loop::Limits;
use crate::engine::worker::routines::{Routine, Routines};
#[cfg(feature = "sandbox")]
use crate::engine::worker::sandbox::Sandbox;
use crate::error::{Error, Result};
use crate::heap::scope::{Pins, Reach};
use crate::ipc::bell::Bell;
use crate::ipc::link::LinkKind;
use crate::process::role::Host;
use crate::process::template::StartMethod;
use crate::sys::cpu::cpu_count;
use crate::sys::fork::{fork_generation, watch_for_forks};
use crate::sys::memory;
use crate::sys::signal_watch::{self, SignalWatch};
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The variable that sets how many workers a pool has that was not told.
const WORKERS: &str = "MULTIPROC_WORKERS";

/// The variable that makes all pools run their tasks on the thread that waits for them.
const INLINE: &str = "MULTIPROC_INLINE";

/// The variable that lets others look at all pools.
const VIEW: &str = "MULTIPROC_VIEW";

/// Whether a variable has a value other than 0.
fn is_switched_on(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0")
}

/// The number in a variable, if that is set.
fn number(name: &str) -> Result<Option<usize>> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| Error::invalid_argument(format!("{name} must be a number, not {value:?}")))
}

/// What a pool may be told.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) processes: Option<usize>,
    pub(super) name: String,
    pub(super) link: LinkKind,
    pub(super) start_method: StartMethod,
    pub(super) grace: Duration,
    pub(super) routines: Routines,
    /// What the arguments of the routines refer to.
    pins: Pins,
    /// The first option that makes no sense, or routine that cannot be had.
    pub(super) refused: Option<Error>,
    pub(super) recycle: RecyclePolicy,
    pub(super) limits: Limits,
    pub(super) env: WorkerEnv,
    pub(super) trace: Option<PathBuf>,
    pub(super) report: Option<PathBuf>,
    pub(super) view: bool,
    pub(super) on_worker: Option<WorkerHook>,
    pub(super) max_pending: Option<usize>,
    pub(super) traceparent: Option<TraceSource>,
    /// The signals by which the pool is drained.
    pub(super) drain_on: Vec<i32>,
    pub(super) on_threads: bool,
    #[cfg(feature = "sandbox")]
    pub(super) sandbox: Option<Sandbox>,
    /// Tasks run on the thread that waits for them.
    pub(super) inline: bool,
    #[cfg(feature = "cluster")]
    pub(super) cluster: Cluster,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            processes: None,
            name: "worker".to_owned(),
            link: LinkKind::default(),
            start_method: StartMethod::default(),
            grace: Duration::from_secs(1),
            routines: Routines::default(),
            pins: Pins::new(),
            refused: None,
            recycle: RecyclePolicy::default(),
            limits: Limits::default(),
            env: WorkerEnv::default(),
            trace: None,
            report: None,
            view: false,
            on_worker: None,
            max_pending: None,
            traceparent: None,
            drain_on: Vec::new(),
            on_threads: false,
            #[cfg(feature = "sandbox")]
            sandbox: None,
            inline: false,
            #[cfg(feature = "cluster")]
            cluster: Cluster::default(),
        }
    }
}

/// What the workers of a pool are given.
#[derive(Debug, Default)]
pub(super) struct WorkerEnv {
    pub(super) affinity: CpuAffinity,
    pub(super) variables: Variables,
    pub(super) each: Option<EnvEach>,
    pub(super) output: Option<Handler>,
}

/// The CPUs, the environment, and what reads the output.
type Unpacked = (Vec<usize>, Environment, Option<Arc<Capture>>);

impl WorkerEnv {
    /// Makes of the options what a launcher needs.
    ///
    /// # Errors
    ///
    /// There is no such CPU, a variable that no environment can have, or no descriptor left.
    fn unpack(self) -> Result<Unpacked> {
        let environment = Environment::new(self.variables, self.each)?;
        let capture = self.output.map(Capture::start).transpose()?.map(Arc::new);
        Ok((self.affinity.cpus()?, environment, capture))
    }
}

impl Options {
    /// Takes a routine, or notes why it cannot be had.
    pub(super) fn routine(&mut self, made: Result<(Routine, Pins)>) -> Option<Routine> {
        match made {
            Ok((routine, pins)) => {
                self.pins.extend(pins);
                Some(routine)
            }
            Err(error) => {
                self.refused.get_or_insert(error);
                None
            }
        }
    }

    /// Refuses what only processes can have.
    fn check_threads(&self) -> Result<()> {
        let WorkerEnv { affinity, variables, each, output } = &self.env;
        let given = [
            ("link", self.link != LinkKind::default()),
            ("start_method", self.start_method != StartMethod::default()),
            ("env", !variables.is_empty()),
            ("env_each", each.is_some()),
            ("cpu_affinity", *affinity != CpuAffinity::default()),
            ("capture_output", output.is_some()),
            ("max_memory_per_child", self.recycle.memory.is_some()),
            ("memory_limit", self.limits.memory.is_some()),
            ("end_descendants", !self.limits.descendants),
            #[cfg(feature = "sandbox")]
            ("sandbox", self.sandbox.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(Error::invalid_argument(format!("`{option}` needs workers that are processes"))),
            None => Ok(()),
        }
    }

    /// Starts the workers and waits until each is ready.
    pub(super) fn start(mut self) -> Result<(Arc<Engine>, Attached)> {
        let host = Host::check()?;
        let inline = self.inline || is_switched_on(INLINE);
        let processes = match self.processes {
            _ if inline => 1,
            Some(processes) => processes,
            None => number(WORKERS)?.unwrap_or_else(cpu_count),
        };
        check_count(processes)?;
        if self.name.contains('\0') {
            return Err(Error::invalid_argument("the name of a pool's workers cannot contain a NUL"));
        }
        if let Some(error) = self.refused {
            // An option was refused when it was set; the builder could not say so.
            return Err(error);
        }
        let (on_worker, drain_on) = (self.on_worker.take(), std::mem::take(&mut self.drain_on));
        let traceparent = self.traceparent.take();
        let (trace, recycle, grace, max_pending) = (self.trace.take(), self.recycle, self.grace, self.max_pending);
        let (report, name) = (self.report.take(), self.name.clone());
        let (view, is_asked) = (self.view, is_switched_on(VIEW));
        let Ground { launcher, bell, capture, processes, reach } = self.ground(host, processes, inline)?;
        launcher.prepare(processes)?;
        if on_worker.is_some() {
            callbacks::start()?;
        }
        let trace = trace.map(|path| Trace::create(&path)).transpose()?;
        let report = report.map(|path| Report::create(&path, &name)).transpose()?;
        let watchers = Watchers { trace, report, hook: on_worker, waits: view || is_asked };
        let core = Core::new(processes, recycle, Observers::new(watchers));
        // A pool on nodes may be the first to need it.
        watch_for_forks();
        let engine = Arc::new(Engine {
            core: Mutex::new(core),
            bell,
            runs_here: launcher.runs_here(),
            launcher,
            background: Condvar::new(),
            workforce: Condvar::new(),
            grace,
            gate: max_pending.map(|most| Arc::new(Gate::new(most))),
            traceparent,
            capture,
            reach,
            generation: fork_generation(),
        });
        let opened = (view || is_asked).then(|| engine.open_view(&name)).transpose();
        let view = match opened {
            Ok(opened) => opened,
            Err(error) if view => return Err(error.into()),
            // A program runs as it is, whether somebody can look at it or not.
            Err(error) => {
                eprintln!("multiproc: {VIEW} is set, and nobody can look at this pool: {error}");
                None
            }
        };
        engine.build()?;
        match drain_when(&engine, &drain_on) {
            Ok(signals) => Ok((engine, Attached { _signals: signals, _view: view })),
            Err(error) => {
                engine.terminate();
                engine.join(Deadline::NEVER)?;
                Err(error)
            }
        }
    }

    /// What the workers are started by, and where.
    fn ground(self, host: Host, processes: usize, inline: bool) -> Result<Ground> {
        #[cfg(feature = "cluster")]
        if self.cluster.starter.is_some() && !inline {
            return self.ground_elsewhere();
        }
        self.ground_here(host, processes, inline)
    }

    /// What workers on other machines are started by.
    #[cfg(feature = "cluster")]
    fn ground_elsewhere(self) -> Result<Ground> {
        #[cfg(feature = "sandbox")]
        if self.sandbox.is_some() {
            return Err(Error::invalid_argument("workers on other nodes cannot be in a sandbox"));
        }
        let WorkerEnv { affinity, variables, each, output } = self.env;
        let env = Environment::new(variables, each)?;
        let elsewhere = Elsewhere {
            cluster: self.cluster,
            processes: self.processes,
            name: self.name,
            link: self.link,
            routines: self.routines,
            pins: self.pins,
            recycle: self.recycle,
            limits: self.limits,
            grace: self.grace,
            affinity,
            env,
            output,
            start_method: self.start_method,
            on_threads: self.on_threads,
        };
        let (fleet, bell, processes) = elsewhere.muster()?;
        check_count(processes)?;
        Ok(Ground { launcher: Box::new(fleet), bell, capture: None, processes, reach: Reach::Elsewhere })
    }

    /// What workers on this machine are started by.
    fn ground_here(self, host: Host, processes: usize, inline: bool) -> Result<Ground> {
        if self.on_threads && !inline {
            self.check_threads()?;
        }
        // Not even if the environment asks for it: code that nobody trusts would run here.
        #[cfg(feature = "sandbox")]
        if inline && self.sandbox.is_some() {
            return Err(Error::invalid_argument("tasks on the thread of their caller cannot be in a sandbox"));
        }
        let (cpus, env, capture) = self.env.unpack()?;
        let (file, memory) = match self.link {
            LinkKind::Ring => {
                let (file, memory) =
                    memory::create_mapped("multiproc-bell", Bell::LEN).map_err(|error| no_ring(&error))?;
                (Some(Arc::new(file)), memory)
            }
            LinkKind::Channel => (None, memory::private(Bell::LEN)?),
        };
        let bell = Bell::new(Arc::new(memory), 0);
        let (name, routines, pins) = (self.name, self.routines, self.pins);
        let launcher: Box<dyn Launcher> = if inline {
            Box::new(Inline::new(bell.clone(), routines, self.limits.result, pins))
        } else if self.on_threads {
            Box::new(Threads { bell: bell.clone(), name, routines, limit: self.limits.result, pins })
        } else {
            let spawn = Spawn {
                host,
                link: self.link,
                bell: bell.clone(),
                bell_file: file,
                name,
                routines,
                pins,
                limits: self.limits,
                cpus,
                env,
                capture: capture.clone(),
                #[cfg(feature = "sandbox")]
                sandbox: self.sandbox,
            };
            match self.start_method {
                StartMethod::Spawn => Box::new(spawn),
                StartMethod::Template => Box::new(Templated::new(spawn, self.grace)),
            }
        };
        Ok(Ground { launcher, bell, capture, processes, reach: Reach::Here })
    }
}

/// What is there for as long as a pool is.
#[derive(Debug)]
pub(super) struct Attached {
    /// Drains it by a signal.
    _signals: Option<SignalWatch>,
    /// Lets others look at it.
    _view: Option<View>,
}

/// What workers are started by, and where.
struct Ground {
    launcher: Box<dyn Launcher>,
    bell: Bell,
    capture: Option<Arc<Capture>>,
    processes: usize,
    reach: Reach,
}

/// Has a pool drained when one of the signals comes, and terminated when another one does.
///
/// # Errors
///
/// A program cannot take such a signal, or there is no thread or no descriptor left.
fn drain_when(engine: &Arc<Engine>, signals: &[i32]) -> Result<Option<SignalWatch>> {
    if signals.is_empty() {
        return Ok(None);
    }
    let (engine, is_first) = (Arc::downgrade(engine), AtomicBool::new(true));
    let hear = move || {
        let Some(engine) = engine.upgrade() else { return };
        if is_first.swap(false, Relaxed) {
            engine.begin_to_drain();
        } else {
            engine.terminate();
        }
    };
    signal_watch::watch(signals, hear).map(Some).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => Error::invalid_argument(error.to_string()),
        _ => error.into(),
    })
}
