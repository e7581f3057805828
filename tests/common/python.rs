//! A real Python beside us.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A Python program that is running.
pub(crate) struct Python {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// Starts a program; `None`, and a note, on a machine without Python.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Option<Python> {
        let mut command = Command::new("python3");
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
}
