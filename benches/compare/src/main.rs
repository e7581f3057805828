//! This library beside Python's process pools, other crates and threads: on the same work, interleaved in one run.
//!
//!     cargo run --release --manifest-path benches/compare/Cargo.toml
//!     ... -- --quick            # an eighth of everything: does it run?
//!     ... -- --only map         # one measure, or several
//!     ... -- --json FILE        # one object per measure and line
//!     ... -- --python PROGRAM   # another Python than python3
//!
//! A whole run rewrites the table of `docs/performance.md` and the picture beside it. README.md says what each measure
//! is, and what is fair.

#[path = "../../common/mod.rs"]
mod common;
mod conditions;
mod contest;
mod driver;
mod measures;
mod peers;
mod picture;
mod plan;
mod python;
mod report;
mod work;

use conditions::Load;
use driver::Driver;
use measures::{MEASURES, Measure};
use peers::{PEERS, Peer};
use plan::Plan;
use python::Python;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The argument that makes this program a driver.
const DRIVER: &str = "--driver";

/// The argument with which it does nothing.
const NOTHING: &str = "--nothing";

/// After so long, each of the measures that are left gets along with one round.
const ENOUGH: Duration = Duration::from_secs(8 * 60);

/// Who starts the drivers and compares what they measure.
struct Coordinator {
    quick: bool,
    /// A copy of this program, for the drivers: what shares its memory with them is then only their own workers.
    program: PathBuf,
    logs: PathBuf,
    python: Option<Python>,
    /// Of work of the CPU, in Rust and in Python.
    steps_per_second: (f64, f64),
    start: Instant,
}

impl Coordinator {
    fn new(options: &Options) -> Result<Coordinator, Box<dyn Error>> {
        let program = std::env::current_exe()?;
        let target = program.ancestors().nth(2).ok_or("no folder to build in")?;
        let (copy, logs) = (target.join("compare-driver"), target.join("compare-logs"));
        fs::create_dir_all(&logs)?;
        // A driver of another run may still be using the one of that.
        _ = fs::remove_file(&copy);
        fs::copy(&program, &copy)?;
        let python = Python::prepare(&options.python, target);
        let quick = options.quick;
        let mut coordinator =
            Coordinator { quick, program: copy, logs, python, steps_per_second: (0.0, 0.0), start: Instant::now() };
        coordinator.steps_per_second = (work::steps_per_second(), coordinator.python_steps_per_second());
        Ok(coordinator)
    }

    /// Asked of Python itself, once for all its peers.
    fn python_steps_per_second(&self) -> f64 {
        let Some(python) = &self.python else { return 0.0 };
        let plan = Plan { measure: "calibrate".to_owned(), ..MEASURES[0].plan(0.0, false) };
        let driver = Driver::start(python.driver("multiprocessing"), &plan, &self.logs.join("calibrate"));
        driver.ok().flatten().and_then(|mut driver| driver.sample().ok()?.value).unwrap_or_default()
    }

    fn steps_per_second(&self, peer: &Peer) -> f64 {
        if peer.sampler.is_some() { self.steps_per_second.0 } else { self.steps_per_second.1 }
    }

    /// Whether one round has to do.
    fn in_a_hurry(&self) -> bool {
        self.quick || self.start.elapsed() > ENOUGH
    }

    /// Has a driver of the peer set the measure up; `None` = the peer has nothing to do it with.
    fn start(&self, peer: &Peer, plan: &Plan) -> Result<Option<Driver>, String> {
        let command = match (peer.sampler, &self.python) {
            (Some(_), _) => {
                let mut command = Command::new(&self.program);
                command.args([DRIVER, peer.name]);
                command
            }
            (None, Some(python)) => python.driver(peer.name),
            (None, None) => return Ok(None),
        };
        Driver::start(command, plan, &self.logs.join(peer.name.replace(' ', "-")))
    }
}

/// What the command line asks for.
struct Options {
    quick: bool,
    only: Vec<String>,
    json: Option<PathBuf>,
    python: PathBuf,
}

impl Options {
    fn read() -> Result<Options, String> {
        let mut options = Options { quick: false, only: Vec::new(), json: None, python: "python3".into() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match &*argument {
                "--quick" => options.quick = true,
                "--only" => options.only.push(value()?),
                "--json" => options.json = Some(value()?.into()),
                "--python" => options.python = value()?.into(),
                _ => return Err(format!("{argument}: there are --quick, --only NAME, --json FILE, --python PROGRAM")),
            }
        }
        if let Some(unknown) = options.only.iter().find(|name| MEASURES.iter().all(|it| it.name != **name)) {
            let names: Vec<&str> = MEASURES.iter().map(|it| it.name).collect();
            return Err(format!("there is no {unknown}, but {}", names.join(", ")));
        }
        Ok(options)
    }

    fn wants(&self, measure: &Measure) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == measure.name)
    }
}

fn drive(peer: &str) -> Result<(), Box<dyn Error>> {
    let peer = PEERS.iter().find(|it| it.name == peer).ok_or("no such peer")?;
    Ok(plan::drive(peer.sampler.ok_or("a peer in Python")?)?)
}

fn compare() -> Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let coordinator = Coordinator::new(&options)?;
    let load = Load::now();
    let mut outcomes = Vec::new();
    for measure in MEASURES.iter().filter(|it| options.wants(it)) {
        if let Some(why) = conditions::too_little_memory(measure) {
            println!("\n{}: skipped, {why}", measure.name);
            continue;
        }
        let outcome = contest::run(&coordinator, measure);
        print!("\n{}", report::text(&outcome));
        outcomes.push(outcome);
    }
    let versions = coordinator.python.as_ref().map(|python| &python.versions);
    let conditions = conditions::describe(versions, &load, coordinator.start.elapsed());
    println!("\n{conditions}");
    if let Some(path) = &options.json {
        fs::write(path, report::json(&outcomes))?;
    }
    if options.quick || !options.only.is_empty() {
        return Ok(());
    }
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = documents.join("performance.md");
    fs::write(&page, report::put(&fs::read_to_string(&page)?, &report::markdown(&outcomes, &conditions))?)?;
    fs::write(documents.join(report::PICTURE), picture::svg(&outcomes))?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    // Workers of the peers are this program as well.
    procspawn::init();
    peers::ipc_channel::enter();
    let arguments: Vec<String> = std::env::args().skip(1).take(2).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [DRIVER, peer] => drive(peer),
        [NOTHING] => Ok(()),
        _ => compare(),
    }
}
