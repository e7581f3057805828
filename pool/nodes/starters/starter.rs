//! What a starter is, and the process that runs an agent.

use crate::error::Error;
use crate::nodes::door::Doorway;
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// So many lines of what has started an agent are kept for errors.
const TAIL: usize = 20;

/// How long the end of a process is waited for whose stream has ended.
const ENDING: Duration = Duration::from_millis(300);

/// Makes agents exist.
pub(crate) trait Starter: Send + Sync + fmt::Debug {
    /// How many there are to be.
    fn nodes(&self) -> usize;

    /// How many workers each takes, if not as many as it has CPUs.
    fn workers(&self) -> Option<usize>;

    /// Refuses what makes no sense.
    ///
    /// # Errors
    ///
    /// It makes none.
    fn check(&self) -> Result<(), Error>;

    /// Where they come in, if not by the standard streams of what starts them.
    ///
    /// # Errors
    ///
    /// The pool cannot listen there.
    fn doorway(&self) -> Result<Option<Arc<Doorway>>, Error> {
        Ok(None)
    }

    /// Whether it starts any. Otherwise they come of themselves.
    fn starts(&self) -> bool {
        true
    }

    /// Starts one, which is called with `call`; what runs it, and the stream to it.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    fn start(&self, at: usize, call: &str) -> Result<(Started, OwnedFd), Error>;
}

/// What runs an agent.
#[derive(Debug)]
pub(crate) struct Started {
    /// What it is called as long as its host is not known.
    pub(in crate::nodes) name: String,
    child: Child,
    /// Its last lines on stderr.
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Started {
    /// Runs a command whose standard input and output are the stream.
    ///
    /// # Errors
    ///
    /// It cannot be executed.
    pub(super) fn run(name: String, mut command: Command, stream: OwnedFd) -> Result<Started, Error> {
        let output = stream.try_clone()?;
        command.stdin(Stdio::from(stream)).stdout(Stdio::from(output)).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Error::start(format!("`{name}` could not be executed: {error}")))?;
        let lines = Arc::<Mutex<VecDeque<String>>>::default();
        if let Some(stderr) = child.stderr.take() {
            let tail = Arc::clone(&lines);
            let builder = std::thread::Builder::new().name("multiproc-starter".to_owned()).stack_size(256 * 1024);
            thread::spawn(builder, move || pass_on(stderr, &tail))?;
        }
        Ok(Started { name, child, lines })
    }

    /// It is over: makes sure that it is, and returns what there is to say of its end.
    pub(in crate::nodes) fn end(&mut self) -> String {
        let status = match self.wait(Deadline::after(ENDING)) {
            Some(status) => format!(" (`{}`: {status})", self.name),
            None => String::new(),
        };
        // The thread that reads may be a moment behind.
        std::thread::sleep(Duration::from_millis(5));
        let lines = self.lines.lock().make_contiguous().join("\n");
        if lines.is_empty() { status } else { format!("{status}: {lines}") }
    }

    /// Waits for its end, which is returned, and brings it about at the deadline.
    pub(in crate::nodes) fn wait(&mut self, until: Deadline) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(None) if !until.passed() => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => {
                    // The only possible error is that it has ended meanwhile.
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return None;
                }
                Ok(status) => return status,
                // Something else in this program has waited for it.
                Err(_) => return None,
            }
        }
    }
}

/// Writes what a process writes to where this process does, and keeps the end of it.
fn pass_on(from: ChildStderr, tail: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(from).split(b'\n') {
        let Ok(line) = line else { return };
        let text = String::from_utf8_lossy(&line).into_owned();
        // A closed stderr is the program's own affair.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
        let mut tail = tail.lock();
        tail.push_back(text);
        if tail.len() > TAIL {
            tail.pop_front();
        }
    }
}

/// The text as one word of a command of `sh`.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The nodes on which a pool is to run, see [`PoolBuilder::on`](crate::PoolBuilder::on).
#[derive(Debug)]
pub struct Nodes(pub(crate) Option<Box<dyn Starter>>);
