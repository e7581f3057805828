//! Runs a command to its end, or to the end of its time.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a command may take, a build from nothing included.
const AT_MOST: Duration = Duration::from_secs(300);

/// How long the pipes of a command that has ended may stay open: what still holds them was left behind by it.
const PIPES_CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// What a command did.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
    command: String,
}

impl Ran {
    /// It must have ended well; its output.
    pub(crate) fn good(self) -> String {
        assert!(self.status.success(), "{self}");
        self.out
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}\n--- stdout\n{}\n--- stderr\n{}", self.command, self.status, self.out, self.err)
    }
}

/// A command that runs, in a process group of its own.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    command: String,
    since: Instant,
}

/// Starts a command; what it is given as standard input is the caller's choice.
pub(crate) fn start(command: &mut Command) -> Running {
    let text = format!("{command:?}");
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn();
    let mut child = started.unwrap_or_else(|error| panic!("{text}: {error}"));
    let out = read(child.stdout.take().unwrap());
    let err = read(child.stderr.take().unwrap());
    Running { child, out, err, command: text, since: Instant::now() }
}

/// Runs a command without input.
pub(crate) fn run(command: &mut Command) -> Ran {
    start(command.stdin(Stdio::null())).end()
}

/// Collects what comes out of a pipe, piece by piece, so that there is something to show of a command that hangs.
fn read(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut piece) {
            if sender.send(String::from_utf8_lossy(&piece[..len]).into_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// All that comes until the pipe is closed; whether it was closed in time.
fn drain(pipe: &Receiver<String>, within: Duration) -> (String, bool) {
    let start = Instant::now();
    let mut text = String::new();
    loop {
        match pipe.recv_timeout(within.saturating_sub(start.elapsed())) {
            Ok(piece) => text += &piece,
            Err(error) => return (text, error == std::sync::mpsc::RecvTimeoutError::Disconnected),
        }
    }
}

impl Running {
    /// Waits until it has printed this, and takes it away.
    pub(crate) fn await_output(&mut self, expected: &str) {
        let mut text = String::new();
        while !text.contains(expected) {
            match self.out.recv_timeout(AT_MOST) {
                Ok(piece) => text += &piece,
                Err(error) => {
                    self.kill();
                    panic!("{} has printed only {text:?} ({error})", self.command);
                }
            }
        }
        assert_eq!(text, expected);
    }

    /// Waits for its end. A command that does not end in time, or leaves processes behind that hold its output, fails.
    pub(crate) fn end(mut self) -> Ran {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status);
            }
            if self.since.elapsed() > AT_MOST {
                self.kill();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let (out, closed) = drain(&self.out, PIPES_CLOSE_WITHIN);
        let (err, _) = drain(&self.err, if closed { PIPES_CLOSE_WITHIN } else { Duration::ZERO });
        let Some(status) = status else {
            panic!("{} has not ended within {AT_MOST:?}\n--- stdout\n{out}\n--- stderr\n{err}", self.command);
        };
        let ran = Ran { status, out, err, command: self.command.clone() };
        if !closed {
            self.kill();
            panic!("something holds the output of a command that has ended\n{ran}");
        }
        ran
    }

    /// Kills it and what it has started.
    fn kill(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}
