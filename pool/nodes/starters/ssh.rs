//! Agents on machines that are reached by `ssh`.

use crate::error::Error;
use crate::nodes::starters::agent_command::{AgentCommand, quoted};
use crate::nodes::starters::ship::Ship;
use crate::nodes::starters::starter::{Nodes, Started, Starter};
use crate::sys::stream;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process;

/// Options of every call of `ssh`, behind the program's own, which count first.
const OPTIONS: [&str; 4] =
    // No question is asked that nobody would answer. What the user's configuration forwards or runs is for people who log in.
    ["BatchMode=yes", "ConnectTimeout=10", "ClearAllForwardings=yes", "RemoteCommand=none"];

/// Agents on machines that the program `ssh` reaches, one on each.
///
/// The user's configuration of ssh counts: names, keys, and jump hosts. `ssh` asks no questions here, so a key must be accepted
/// without a password, and the host must be known. The stream to an agent is ssh's own: no port is opened, and there is no
/// other secret. This program is copied to the host if it is not there yet, see [`Ship::Copy`].
///
/// ```no_run
/// use multiproc::{Pool, cluster::Ssh};
///
/// let pool = Pool::builder().on(Ssh::hosts(["node1", "me@node2:2222"])).build()?;
/// assert_eq!(pool.map(|x: u64| x * x, 0..5)?, [0, 1, 4, 9, 16]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is given to `PoolBuilder::on`"]
pub struct Ssh {
    hosts: Vec<String>,
    agent: AgentCommand,
    program: Ship,
    command: OsString,
    options: Vec<String>,
}

impl Ssh {
    /// Returns the hosts with these names: `host`, `user@host` or `user@host:port`, where `host` is what `ssh` takes.
    ///
    /// An address of IPv6 that has a port stands in brackets: `[fe80::1]:2222`. A host that is named twice has two agents.
    pub fn hosts<T: Into<String>>(hosts: impl IntoIterator<Item = T>) -> Ssh {
        let hosts = hosts.into_iter().map(Into::into).collect();
        let (agent, command) = (AgentCommand::default(), "ssh".into());
        Ssh { hosts, agent, program: Ship::Copy, command, options: Vec::new() }
    }

    /// Sets how many workers a host takes. Default: as many as it has CPUs.
    pub fn workers(mut self, workers: usize) -> Ssh {
        self.agent.workers = Some(workers);
        self
    }

    /// Sets how this program gets to the hosts. Default: [`Ship::Copy`].
    pub fn program(mut self, ship: Ship) -> Ssh {
        self.program = ship;
        self
    }

    /// Sets an environment variable of the agents, which their workers have as well.
    pub fn agent_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Ssh {
        self.agent.env.push((key.into(), value.into()));
        self
    }

    /// Adds an option of `ssh`, as in `ssh -o`: `IdentityFile=cluster_key`, `ProxyJump=gate`. Of options with the same name the
    /// first counts; they count before what this library and the user's configuration say.
    pub fn ssh_option(mut self, option: impl Into<String>) -> Ssh {
        self.options.push(option.into());
        self
    }

    /// Sets the program that is run instead of `ssh`. It must take the arguments of OpenSSH's.
    pub fn command(mut self, program: impl Into<OsString>) -> Ssh {
        self.command = program.into();
        self
    }
}

/// What `ssh` is told of a host: its destination, and the port if one was given.
///
/// # Errors
///
/// The text names no host.
fn destination(host: &str) -> Result<(String, Option<u16>), Error> {
    let wrong = |why: &str| Error::invalid_argument(format!("`{host}` names no host for ssh: {why}"));
    let (user, address) = host.rsplit_once('@').map_or((None, host), |(user, address)| (Some(user), address));
    let (name, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
            (name, (!port.is_empty()).then_some(port))
        }
        // More than one colon is an address of IPv6 without a port.
        None if address.matches(':').count() == 1 => {
            let at = address.len() - address.split(':').next_back().unwrap_or_default().len() - 1;
            (&address[..at], Some(&address[at..]))
        }
        None => (address, None),
    };
    let port = match port.map(|port| port.strip_prefix(':').unwrap_or(port).parse::<u16>()) {
        None => None,
        Some(Ok(port @ 1..)) => Some(port),
        Some(_) => return Err(wrong("the port is no number from 1 to 65535")),
    };
    if name.is_empty() || user == Some("") {
        return Err(wrong("a part of it is empty"));
    }
    // `ssh` would take it for an option, in spite of what stands before it in some versions.
    if name.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return Err(wrong("it begins with `-`"));
    }
    if host.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err(wrong("there is a space in it"));
    }
    Ok((user.map_or_else(|| name.to_owned(), |user| format!("{user}@{name}")), port))
}

impl Starter for Ssh {
    fn nodes(&self) -> usize {
        self.hosts.len()
    }

    fn workers(&self) -> Option<usize> {
        self.agent.workers
    }

    fn host(&self, at: usize) -> Option<&str> {
        self.hosts.get(at).map(String::as_str)
    }

    fn check(&self) -> Result<(), Error> {
        self.hosts.iter().try_for_each(|host| destination(host).map(drop))?;
        if let Some(option) = self.options.iter().find(|it| it.is_empty() || it.contains(['\0', '\n'])) {
            return Err(Error::invalid_argument(format!("{option:?} is no option for ssh")));
        }
        // The program is read and hashed here, on the thread of `build`.
        self.program.line("", &self.agent).map(drop)
    }

    fn start(&self, at: usize, call: &str) -> Result<(Started, OwnedFd), Error> {
        let host = self.hosts.get(at).ok_or_else(|| Error::start("there is no such host"))?;
        let (destination, port) = destination(host)?;
        let mut command = process::Command::new(&self.command);
        command.args(["-T", "-x"]);
        for option in self.options.iter().map(String::as_str).chain(OPTIONS) {
            command.args(["-o", option]);
        }
        if let Some(port) = port {
            command.arg("-p").arg(port.to_string());
        }
        // A shell of the user's choice reads the line, which every shell takes for three words.
        let line = self.program.line(call, &self.agent)?;
        command.arg("--").arg(destination).arg(format!("exec sh -c {}", quoted(&line)));
        let (ours, theirs) = stream::pair()?;
        let started = Started::run(host.clone(), command, theirs)?;
        Ok((started.with_cargo(self.program.cargo()?), ours))
    }
}

/// The nodes that ssh makes.
impl From<Ssh> for Nodes {
    fn from(ssh: Ssh) -> Nodes {
        Nodes(Some(Box::new(ssh)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_what_people_write() {
        let is = |text: &str, destined: &str, port: Option<u16>| {
            assert_eq!(destination(text).unwrap(), (destined.to_owned(), port), "{text}");
        };
        is("node1", "node1", None);
        is("me@node2:2222", "me@node2", Some(2222));
        is("me@corp.example@gate", "me@corp.example@gate", None);
        is("10.0.0.1:22", "10.0.0.1", Some(22));
        is("fe80::1", "fe80::1", None);
        is("me@[fe80::1]:2222", "me@fe80::1", Some(2222));
        is("[fe80::1]", "fe80::1", None);
    }

    #[test]
    fn what_names_no_host_is_refused() {
        let wrong =
            ["", "@node", "me@", "node:", "node:0", "node:65536", "node:x", "-oProxyCommand=x", "a b", "a\nb", "[::1"];
        for text in wrong.into_iter().chain(["me@-x", "-x@node", "[::1]x"]) {
            let error = destination(text).unwrap_err();
            assert!(error.is_invalid_argument() && error.to_string().contains("names no host"), "{text}: {error}");
        }
    }
}
