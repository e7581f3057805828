//! How a process finds out that it is an agent of a pool on another machine, and what it does then, before `main`.
//!
//! An agent is this program, started again by whatever starts programs there. Nobody hands it a socket or descriptors: it has
//! one environment variable, and its standard input and output.

use crate::identity::{self, Callable, Entry, FnRef};
use crate::process::panic;
use crate::sys::{environment, executable, signal};
use std::fmt;
use std::os::fd::OwnedFd;

/// What an agent is to be: called with what it was told, it returns the exit code.
pub(crate) type AgentRole = fn(Enlisted) -> i32;

impl Callable for AgentRole {
    const TAG: u64 = 12;
}

/// What an agent gets.
#[derive(Debug)]
pub(crate) struct Enlisted {
    /// What was its standard input and its standard output.
    pub(crate) input: OwnedFd,
    pub(crate) output: OwnedFd,
    /// Where the pool is.
    pub(crate) url: String,
    /// What is wrong with this executable, if it is another build than the pool's. The pool is to hear of it.
    pub(crate) other_build: Option<String>,
}

/// The name of the variable that makes a process an agent; [`Call`] is its value.
pub(crate) const VARIABLE: &str = "MULTIPROC_NODE";

/// The version of the variable's format.
const FORMAT: &str = "1";

/// The value of the variable: `format:build:role:url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The build of the pool's program.
    pub(crate) build: Vec<u8>,
    /// The offset and the signature of what the agent is to be.
    role: (u64, u64),
    pub(crate) url: String,
}

impl Call {
    /// The call for agents of this program.
    ///
    /// # Errors
    ///
    /// The library is not part of the executable.
    pub(crate) fn new(role: &'static Entry<AgentRole>, url: &str) -> Result<Call, crate::error::Error> {
        let role = FnRef::place_of(role)?;
        Ok(Call { build: executable::build_anywhere().to_vec(), role, url: url.to_owned() })
    }

    /// Reads the value of the variable; `None` if this is none.
    pub(crate) fn parse(value: &str) -> Option<Call> {
        let mut parts = value.splitn(5, ':');
        if parts.next()? != FORMAT {
            return None;
        }
        let build = from_hex(parts.next()?)?;
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let role = (number()?, number()?);
        Some(Call { build, role, url: parts.next()?.to_owned() })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { build, role: (delta, signature), url } = self;
        write!(f, "{FORMAT}:{}:{delta:x}:{signature:x}:{url}", Hex(build))
    }
}

/// Bytes as people see them.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes of such a text.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() % 2 != 0 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// Becomes an agent if this process was started as one, after `prepare`; otherwise returns.
pub(super) fn enlist(prepare: impl FnOnce()) {
    let Some(value) = std::env::var_os(VARIABLE) else { return };
    // A library in another program, which was not called.
    if !executable::is_main() {
        return;
    }
    let Some(call) = value.to_str().and_then(Call::parse) else { return };
    if executable::is_secure() {
        refuse("it runs with more rights than its caller, so that it cannot trust its environment");
    }
    // Whatever this process starts is no agent.
    environment::hide(VARIABLE);
    signal::start_afresh();
    // Before anything can be written to what is the stream now.
    let (input, output) = match signal::take_standard_streams() {
        Ok(taken) => taken,
        Err(error) => refuse(&format!("its standard input and output: {error}")),
    };
    signal::open_standard_descriptors();
    let other_build = other_build(&call.build);
    let entry = match &other_build {
        None => {
            let (delta, signature) = call.role;
            FnRef::Offset { delta, signature }.resolve::<AgentRole>().unwrap_or_else(|cause| refuse(&cause))
        }
        // Whoever has started it hears why it ends, but who waits at a port does not: it goes there to say so.
        Some(cause) => match identity::first::<AgentRole>().filter(|_| call.url.starts_with("tcp:")) {
            Some(entry) => entry,
            None => refuse(cause),
        },
    };
    signal::set_thread_name("multiproc-agent");
    prepare();
    signal::exit_now(entry.call()(Enlisted { input, output, url: call.url, other_build }))
}

/// What is wrong with this executable, if the other one is another build.
fn other_build(theirs: &[u8]) -> Option<String> {
    let ours = executable::build_anywhere();
    (theirs != ours).then(|| {
        format!(
            "it is another build of the program than the pool's, which has the build id {}, and this one {}: copy the pool's \
             executable to this machine",
            Hex(theirs),
            Hex(ours)
        )
    })
}

/// Ends an agent that cannot work: says why on stderr, which whoever has started it shows.
pub(crate) fn refuse(cause: &str) -> ! {
    panic::say(format_args!("this process cannot be an agent: {cause}"));
    signal::exit_now(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_as_it_was_written_and_nothing_else_is() {
        let call = Call { build: vec![1, 0xab], role: (0xff, 7), url: "tcp:host:1,other:2/pin=00".to_owned() };
        let text = call.to_string();
        assert_eq!(Call::parse(&text), Some(call));
        for cut in 0..text.len() - "tcp:host:1,other:2/pin=00".len() {
            assert_eq!(Call::parse(&text[..cut]), None, "{cut}");
        }
        for wrong in [text.replacen('1', "2", 1), text.replace("01ab", "1ab"), text.replace("01ab", "é1ab")] {
            assert_eq!(Call::parse(&wrong), None, "{wrong}");
        }
    }
}
