//! A real Python beside us.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

/// The interpreters of this machine by the second number of their version: one of each from Python 3.9 on that is found under
/// its name or with pyenv.
pub(crate) static INTERPRETERS: LazyLock<BTreeMap<u32, PathBuf>> = LazyLock::new(|| {
    let mut candidates: Vec<PathBuf> = (9..20).map(|minor| format!("python3.{minor}").into()).collect();
    candidates.insert(0, "python3".into());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or(home);
    let versions = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    candidates.extend(versions.into_iter().flatten().flatten().map(|version| version.path().join("bin/python3")));
    let mut found = BTreeMap::new();
    for candidate in candidates {
        let asked = Command::new(&candidate).args(["-c", "import sys; print(sys.version_info[1])"]).output();
        let minor = asked.ok().and_then(|it| String::from_utf8(it.stdout).ok()?.trim().parse().ok());
        if let Some(minor) = minor.filter(|minor| *minor >= 9) {
            found.entry(minor).or_insert(candidate);
        }
    }
    println!("Python of this machine: {found:?}");
    found
});

/// A Python program that is running.
pub(crate) struct Python {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// Starts a program; `None`, and a note, on a machine without Python.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Option<Python> {
        Python::start_with(Path::new("python3"), program, arguments)
    }

    /// Starts a program with that interpreter.
    pub(crate) fn start_with(interpreter: &Path, program: &str, arguments: &[&str]) -> Option<Python> {
        let mut command = Command::new(interpreter);
        command.args(["-u", "-c", program]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        match command.spawn() {
            Ok(mut child) => {
                let output = BufReader::new(child.stdout.take().unwrap());
                Some(Python { child, output })
            }
            Err(error) => {
                println!("skipped: there is no python3 here ({error})");
                None
            }
        }
    }

    /// Runs a program to its end; what it prints.
    pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<String> {
        Python::start(program, arguments).map(Python::end)
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// A line for its `input()`.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for its end, which must be a good one; the rest of what it prints.
    pub(crate) fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the Python program ended with {status}: {rest}");
        rest.trim_end().to_owned()
    }

    /// Waits for its end by a signal.
    pub(crate) fn killed(mut self) {
        assert_eq!(self.child.wait().unwrap().code(), None);
    }
}
