//! How a process ended.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exit {
    /// It returned from `main` or called `exit` with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// Something else in this program has reaped it (`SIGCHLD` ignored, or a foreign `wait`).
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal(signal) => {
                write!(f, "was killed by signal {signal}")?;
                match signal_name(signal) {
                    Some(name) => write!(f, " ({name})"),
                    None => Ok(()),
                }
            }
            Exit::Unknown => f.write_str("ended; how is unknown, since something else in this program reaped it"),
        }
    }
}

impl Exit {
    /// What is probably behind it, to be appended to a message.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Exit::Signal(9) => "; if nobody sent it, the system was probably out of memory",
            Exit::Signal(7 | 11) => "; a stack overflow or a bad memory access",
            _ => "",
        }
    }
}

/// The names of the signals that end processes. `signal(7)`.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}
