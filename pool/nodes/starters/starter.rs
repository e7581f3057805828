//! What a starter is, and the process that runs an agent.

use crate::error::Error;
use crate::nodes::door::Doorway;
use crate::nodes::starters::diagnosis::explain;
use crate::nodes::starters::ship::Cargo;
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// So many lines of what has started an agent are kept for errors.
const TAIL: usize = 20;

/// How often the end of a process is looked for.
pub(in crate::nodes) const LOOK_EACH: Duration = Duration::from_millis(2);

/// Makes agents exist.
pub(crate) trait Starter: Send + Sync + fmt::Debug {
    /// How many there are to be.
    fn nodes(&self) -> usize;

    /// How many workers each takes, if not as many as it has CPUs.
    fn workers(&self) -> Option<usize>;

    /// What the program calls the machine of the one with this number, if it does; otherwise the agent tells its name.
    fn host(&self, at: usize) -> Option<&str> {
        let _ = at;
        None
    }

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

    /// What somebody else is to start on each node; `None` if it starts them itself.
    ///
    /// # Errors
    ///
    /// Nobody can be told.
    fn command(&self) -> Result<Option<String>, Error> {
        Ok(None)
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
    /// The program, for a machine that asks for it.
    pub(in crate::nodes) cargo: Option<Arc<Cargo>>,
    child: Child,
    said: Arc<Mutex<Said>>,
}

/// What a starter has written to stderr.
#[derive(Debug, Default)]
struct Said {
    /// Its last lines.
    lines: VecDeque<String>,
    /// There will be no more.
    is_all: bool,
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
        // What Ctrl-C means is for this program to say.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            Error::start(format!("`{program}` could not be executed: {error}"))
        })?;
        let said = Arc::<Mutex<Said>>::default();
        if let Some(stderr) = child.stderr.take() {
            let tail = Arc::clone(&said);
            let builder = std::thread::Builder::new().name("multiproc-starter".to_owned()).stack_size(256 * 1024);
            thread::spawn(builder, move || pass_on(stderr, &tail))?;
        }
        Ok(Started { name, cargo: None, child, said })
    }

    /// The same, with what the machine may ask for.
    pub(super) fn with_cargo(self, cargo: Option<Arc<Cargo>>) -> Started {
        Started { cargo, ..self }
    }

    /// Whether it has ended, and all that it wrote was read. Then, or at the deadline, which brings its end about, what there is
    /// to say of that: what it means, as far as that is known, and its last words.
    pub(in crate::nodes) fn look_for_end(&mut self, until: Deadline) -> Option<(Option<&'static str>, String)> {
        let is_over = until.passed();
        let status = match self.child.try_wait() {
            Ok(None) if !is_over => return None,
            Ok(None) => {
                self.kill();
                None
            }
            Ok(status) => status,
            // Something else in this program has waited for it.
            Err(_) => None,
        };
        let mut said = self.said.lock();
        // What it has started may keep its stderr open.
        if !said.is_all && !is_over {
            return None;
        }
        let lines = said.lines.make_contiguous().join("\n");
        let mut text = match status {
            Some(status) => format!(" (`{}`: {status})", self.name),
            None => String::new(),
        };
        if !lines.is_empty() {
            text += &format!(": {lines}");
        }
        Some((explain(status.and_then(|status| status.code()), &lines), text))
    }

    /// Waits for its end, and brings it about at the deadline.
    pub(in crate::nodes) fn wait(&mut self, until: Deadline) {
        // If something else in this program has waited for it, it is over as well.
        while let Ok(None) = self.child.try_wait() {
            if until.passed() {
                return self.kill();
            }
            std::thread::sleep(LOOK_EACH);
        }
    }

    fn kill(&mut self) {
        // The only possible error is that it has ended meanwhile.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes what a process writes to where this process does, and keeps the end of it.
fn pass_on(from: ChildStderr, said: &Mutex<Said>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        // `ssh` ends its lines as terminals want it.
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line));
        // What is no program may be taken for one, and its bytes then be said.
        let text = text.replace(|letter: char| letter.is_control() && letter != '\t', "\u{fffd}");
        // A closed stderr is the program's own affair.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
        let lines = &mut said.lock().lines;
        lines.push_back(text);
        if lines.len() > TAIL {
            lines.pop_front();
        }
    }
    said.lock().is_all = true;
}

/// The nodes on which a pool is to run, see [`PoolBuilder::on`](crate::PoolBuilder::on).
#[derive(Debug)]
pub struct Nodes(pub(crate) Option<Box<dyn Starter>>);

impl Nodes {
    /// Returns what somebody else is to start on each node, one line for `sh`, as
    /// [`Listen::command`](crate::cluster::Listen::command) does; `None` if the pool starts its agents itself.
    ///
    /// # Errors
    ///
    /// See [`Listen::command`](crate::cluster::Listen::command).
    pub fn command(&self) -> Result<Option<String>, Error> {
        self.0.as_ref().map_or(Ok(None), |starter| starter.command())
    }
}
