//! [`ProcessError`]: why a process has no result.

use super::{Exit, Panic, RemoteError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a [`Process`](crate::Process) has no result.
///
/// ```
/// use multiproc::Process;
///
/// let process = Process::spawn(|x: i32| { assert!(x > 0, "too small"); x }, (-1,))?;
/// let error = process.join().unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.message(), Some("too small"));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct ProcessError {
    inner: Box<Inner>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    kind: ProcessKind,
    name: String,
    function: String,
    pid: i32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ProcessKind {
    Panicked(Panic),
    Failed { source: RemoteError },
    Ended { exit: Exit },
    Decode { text: String },
    Encode { text: String },
}

impl ProcessError {
    #[cold]
    pub(crate) fn new(kind: ProcessKind, name: &str, function: &str, pid: i32) -> ProcessError {
        let (name, function) = (name.to_owned(), function.to_owned());
        ProcessError { inner: Box::new(Inner { kind, name, function, pid }) }
    }

    /// The name of the process.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The name of the function that it ran, as `std::any::type_name` gives it.
    pub fn function(&self) -> &str {
        &self.inner.function
    }

    /// The process id that it had.
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    /// Whether the function panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Panicked(_))
    }

    /// Whether the function of [`Process::try_spawn`](crate::Process::try_spawn) returned an `Err`;
    /// [`source`](std::error::Error::source) is then a [`RemoteError`].
    pub fn is_error(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Failed { .. })
    }

    /// Whether the process ended before the function returned: it was killed, ran out of memory, or called `exit`.
    pub fn is_lost(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Ended { .. })
    }

    /// Whether the result could not be serialised.
    pub fn is_encode(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Encode { .. })
    }

    /// Whether the arguments or the result could not be deserialised.
    pub fn is_decode(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Decode { .. })
    }

    /// The signal that killed it before the function returned.
    pub fn signal(&self) -> Option<i32> {
        match self.inner.kind {
            ProcessKind::Ended { exit: Exit::Signal(signal) } => Some(signal),
            _ => None,
        }
    }

    /// The code with which it exited before the function returned.
    pub fn exit_code(&self) -> Option<i32> {
        match self.inner.kind {
            ProcessKind::Ended { exit: Exit::Code(code) } => Some(code),
            _ => None,
        }
    }

    fn panic(&self) -> Option<&Panic> {
        match &self.inner.kind {
            ProcessKind::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// The message of the panic.
    pub fn message(&self) -> Option<&str> {
        self.panic().map(|panic| &*panic.message)
    }

    /// Where the function panicked: `file:line:column`.
    pub fn location(&self) -> Option<&str> {
        self.panic()?.location.as_deref()
    }

    /// The backtrace of the panic, if `RUST_BACKTRACE` is set.
    pub fn backtrace(&self) -> Option<&str> {
        self.panic()?.backtrace.as_deref()
    }
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, name, pid, .. } = &*self.inner;
        write!(f, "process {name} ({pid}) ")?;
        match kind {
            ProcessKind::Panicked(Panic { message, location, .. }) => {
                f.write_str("panicked")?;
                if let Some(location) = location {
                    write!(f, " at {location}")?;
                }
                write!(f, ": {message}")
            }
            ProcessKind::Failed { source } => write!(f, "failed: {source}"),
            ProcessKind::Ended { exit } => {
                write!(f, "{exit}, before it had a result")?;
                f.write_str(exit.hint())
            }
            ProcessKind::Decode { text } => write!(f, "sent or got a value that could not be deserialised: {text}"),
            ProcessKind::Encode { text } => write!(f, "has a result that could not be serialised: {text}"),
        }
    }
}

impl fmt::Debug for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessError({self})")
    }
}

impl std::error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.inner.kind {
            ProcessKind::Failed { source } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn error(kind: ProcessKind) -> ProcessError {
        ProcessError::new(kind, "Process-1", "f", 42)
    }

    #[test]
    fn the_text_says_what_happened() {
        let panic = Panic { message: "boom".to_owned(), location: Some("a.rs:1:2".to_owned()), backtrace: None };
        let text = error(ProcessKind::Panicked(panic)).to_string();
        assert_eq!(text, "process Process-1 (42) panicked at a.rs:1:2: boom");
        let text = error(ProcessKind::Ended { exit: Exit::Code(3) }).to_string();
        assert_eq!(text, "process Process-1 (42) exited with code 3, before it had a result");
        let killed = error(ProcessKind::Ended { exit: Exit::Signal(15) });
        assert_eq!(
            killed.to_string(),
            "process Process-1 (42) was killed by signal 15 (SIGTERM), before it had a result"
        );
        assert!(killed.is_lost() && killed.signal() == Some(15) && killed.exit_code().is_none());
    }

    #[test]
    fn the_causes_go_on_below_the_common_error() {
        let inner = std::io::Error::new(std::io::ErrorKind::InvalidData, "x".parse::<i32>().unwrap_err());
        let source = RemoteError::new(&inner);
        let wrapped = Error::from(error(ProcessKind::Failed { source }));
        assert!(wrapped.process().unwrap().is_error());
        let source = std::error::Error::source(&wrapped).unwrap();
        assert!(source.downcast_ref::<RemoteError>().is_some());
    }
}
