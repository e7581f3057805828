//! Agents that any command starts.

use crate::engine::launch::spawn::Variables;
use crate::error::Error;
use crate::nodes::address::is_place;
use crate::nodes::door::Doorway;
use crate::nodes::secret::Secret;
use crate::nodes::starters::agent_command::{AgentCommand, word};
use crate::nodes::starters::starter::{Nodes, Started, Starter};
use crate::sys::stream;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;

/// Agents that a command starts: `{agent}` in it stands for this program with what makes it an agent.
///
/// The command is run by `sh` once for each node, and its standard input and output are the stream to the agent: so it may be
/// `ssh host {agent}`, `srun -N1 {agent}`, `kubectl exec -i pod -- {agent}`, or `{agent}` itself, which is an agent on this
/// machine. What the command prints before the agent comes to life is skipped; what it writes to stderr goes to this program's.
///
/// ```
/// use multiproc::{Pool, cluster::Command};
///
/// let pool = Pool::builder().on(Command::new("{agent}").nodes(2).workers(1)).build()?;
/// assert_eq!(pool.map(|x: u64| x * x, 0..5)?, [0, 1, 4, 9, 16]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is given to `PoolBuilder::on`"]
pub struct Command {
    text: String,
    nodes: usize,
    agent: AgentCommand,
    program: Option<PathBuf>,
    /// Where agents connect to, if not by their standard streams.
    listen: Option<String>,
    encrypt: bool,
}

impl Command {
    /// Returns the command for one node.
    pub fn new(command: impl Into<String>) -> Command {
        let (text, agent) = (command.into(), AgentCommand::default());
        Command { text, nodes: 1, agent, program: None, listen: None, encrypt: true }
    }

    /// Sets the number of nodes: the command is run for each. Default: 1.
    pub fn nodes(mut self, nodes: usize) -> Command {
        self.nodes = nodes;
        self
    }

    /// Sets how many workers a node takes. Default: as many as it has CPUs.
    pub fn workers(mut self, workers: usize) -> Command {
        self.agent.workers = Some(workers);
        self
    }

    /// Sets where this program is on the nodes. Default: where it is here.
    ///
    /// It must be the same build; an agent of another one refuses, and says why.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Command {
        self.program = Some(path.into());
        self
    }

    /// Sets an environment variable of the agents, which their workers have as well.
    pub fn agent_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Command {
        self.agent.env.push((key.into(), value.into()));
        self
    }

    /// Has the agents connect to this address of this machine, `host:port`, instead of speaking over standard input and output.
    /// Port 0 takes any that is free.
    ///
    /// That is faster than what forwards these streams, and needed where they are not forwarded as they are. Standard input
    /// must reach the agent all the same: the secret by which it shows that it was asked for comes that way, as one line.
    ///
    /// ```
    /// use multiproc::{Pool, cluster::Command};
    ///
    /// let agents = Command::new("{agent}").nodes(2).workers(1).listen("127.0.0.1:0");
    /// let pool = Pool::builder().on(agents).build()?;
    /// assert_eq!(pool.map(|x: u64| x * x, 0..5)?, [0, 1, 4, 9, 16]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn listen(mut self, address: impl Into<String>) -> Command {
        self.listen = Some(address.into());
        self
    }

    /// Sets whether what goes over the address of [`Command::listen`] is encrypted. Default: yes, by TLS 1.3.
    ///
    /// Without it agents still have to show that they were asked for, but who can change what goes over the network can take
    /// their place: only for a network of which each machine is trusted.
    pub fn encrypt(mut self, encrypt: bool) -> Command {
        self.encrypt = encrypt;
        self
    }

    /// What `{agent}` stands for.
    ///
    /// # Errors
    ///
    /// It cannot be written as a command.
    fn line(&self, call: &str) -> Result<String, Error> {
        self.line_with(call, Vec::new())
    }

    /// The same with more environment variables, which count less than those that were given.
    pub(super) fn line_with(&self, call: &str, variables: Variables) -> Result<String, Error> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let env = [variables, self.agent.env.clone()].concat();
        AgentCommand { env, workers: None }.line(call, &word(program.as_os_str())?)
    }
}

impl Starter for Command {
    fn nodes(&self) -> usize {
        self.nodes
    }

    fn workers(&self) -> Option<usize> {
        self.agent.workers
    }

    fn check(&self) -> Result<(), Error> {
        if !self.text.contains("{agent}") {
            let text =
                format!("the command `{}` has no `{{agent}}` in it, which stands for what starts an agent", self.text);
            return Err(Error::invalid_argument(text));
        }
        if let Some(at) = self.listen.as_deref().filter(|at| !is_place(at)) {
            return Err(Error::invalid_argument(format!("`{at}` is no address to listen at: `host:port`")));
        }
        self.line("").map(drop)
    }

    fn doorway(&self) -> Result<Option<Arc<Doorway>>, Error> {
        let open = |at| Doorway::open(at, &[], Secret::random()?, self.encrypt).map(Arc::new);
        self.listen.as_deref().map(open).transpose()
    }

    fn start(&self, _at: usize, call: &str) -> Result<(Started, OwnedFd), Error> {
        let text = self.text.replace("{agent}", &self.line(call)?);
        let (ours, theirs) = stream::pair()?;
        let mut command = process::Command::new("sh");
        // The shell is in nobody's way then.
        let exec = if self.text.starts_with("{agent}") { "exec " } else { "" };
        command.arg("-c").arg(format!("{exec}{text}"));
        Ok((Started::run(self.text.clone(), command, theirs)?, ours))
    }
}

/// The nodes that a command makes.
impl From<Command> for Nodes {
    fn from(command: Command) -> Nodes {
        Nodes(Some(Box::new(command)))
    }
}
