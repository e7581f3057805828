//! Python's side: an environment of its own below `target/`, and what is installed there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What pip is asked for; `multiprocessing` comes with Python itself.
const PACKAGES: &[&str] = &["joblib", "loky", "mpire", "pebble", "numpy"];

pub(crate) struct Python {
    program: PathBuf,
    cache: PathBuf,
    /// Of Python, and of the packages that are there.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Python {
    /// Prepares the peers that run by `program`; says on stderr what cannot be had.
    pub(crate) fn prepare(program: &Path, target: &Path) -> Option<Python> {
        let mut python =
            Python { program: program.to_owned(), cache: target.join("pycache"), versions: BTreeMap::new() };
        python.look().inspect_err(|why| eprintln!("note: no peers in Python: {why}")).ok()?;
        let home = target.join(format!("venv-{}", python.versions["python"]));
        if !home.join("bin/python").exists() {
            eprintln!("making {} ...", home.display());
            if let Err(why) = output(Command::new(program).args(["-m", "venv"]).arg(&home)) {
                eprintln!("note: without an environment for packages: {why}");
                return Some(python);
            }
        }
        python.program = home.join("bin/python");
        _ = python.look();
        let missing: Vec<&str> = PACKAGES.iter().copied().filter(|it| !python.versions.contains_key(*it)).collect();
        for package in missing {
            eprintln!("installing {package} ...");
            let mut pip = Command::new(&python.program);
            // Nothing is to be compiled, and a registry that does not answer is not waited for.
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--only-binary=:all:",
                "--timeout=15",
                "--retries=1",
                package,
            ]);
            if let Err(why) = output(&mut pip) {
                eprintln!("note: without {package}: {why}");
            }
        }
        _ = python.look();
        Some(python)
    }

    /// The command that is the driver of a peer.
    pub(crate) fn driver(&self, peer: &str) -> Command {
        // Imported, not run: so its functions are found by their module in every kind of worker.
        let mut command = Command::new(&self.program);
        command.args(["-c", "import driver; driver.main()", peer]);
        command.env("PYTHONPATH", env!("CARGO_MANIFEST_DIR")).env("PYTHONPYCACHEPREFIX", &self.cache);
        command
    }

    fn look(&mut self) -> Result<(), String> {
        let text = output(&mut self.driver("versions"))?;
        self.versions = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// What a command prints; if it fails, the last line of what it complains about.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed").to_owned())
}
