//! [`ProcessError`]: why a process has no result.

#[cfg(doc)]
use super::RemoteError;
use super::{Death, Exit, Failure};
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
    Failure(Failure),
    Ended { death: Death },
}

impl From<Failure> for ProcessKind {
    fn from(failure: Failure) -> ProcessKind {
        ProcessKind::Failure(failure)
    }
}

impl ProcessError {
    #[cold]
    pub(crate) fn new(kind: ProcessKind, name: &str, function: &str, pid: i32) -> ProcessError {
        let (name, function) = (name.to_owned(), function.to_owned());
        ProcessError { inner: Box::new(Inner { kind, name, function, pid }) }
    }

    /// Returns the name of the process.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the name of the function that the process ran, as `std::any::type_name` gives it.
    pub fn function(&self) -> &str {
        &self.inner.function
    }

    /// Returns the process id that the process had.
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    /// Returns whether the function panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Failure(Failure::Panicked(_)))
    }

    /// Returns whether the function of [`Process::try_spawn`](crate::Process::try_spawn) returned an `Err`;
    /// [`source`](std::error::Error::source) is then a [`RemoteError`].
    pub fn is_error(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Failure(Failure::Failed { .. }))
    }

    /// Returns whether the process ended before the function returned: it was killed, ran out of memory, or called
    /// `exit`.
    pub fn is_lost(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Ended { .. })
    }

    /// Returns whether the result could not be serialised.
    pub fn is_encode(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Failure(Failure::Encode { .. }))
    }

    /// Returns whether the arguments or the result could not be deserialised.
    pub fn is_decode(&self) -> bool {
        matches!(self.inner.kind, ProcessKind::Failure(Failure::Decode { .. }))
    }

    /// Returns the signal that killed the process before the function returned.
    pub fn signal(&self) -> Option<i32> {
        match self.death()?.exit {
            Exit::Signal(signal) => Some(signal),
            _ => None,
        }
    }

    /// Returns the code with which the process exited before the function returned.
    pub fn exit_code(&self) -> Option<i32> {
        match self.death()?.exit {
            Exit::Code(code) => Some(code),
            _ => None,
        }
    }

    /// How the process ended, if that was before the function returned.
    fn death(&self) -> Option<&Death> {
        match &self.inner.kind {
            ProcessKind::Failure(_) => None,
            ProcessKind::Ended { death } => Some(death),
        }
    }

    /// Returns whether the process died since there was no memory: an allocation failed, or the kernel has counted that it
    /// killed a process of this control group for that reason. See
    /// [`TaskError::is_out_of_memory`](crate::TaskError::is_out_of_memory).
    pub fn is_out_of_memory(&self) -> bool {
        self.death().is_some_and(Death::is_out_of_memory)
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.inner.kind {
            ProcessKind::Failure(failure) => Some(failure),
            ProcessKind::Ended { .. } => None,
        }
    }

    /// Returns what the function has said: the message of its panic, or the text of the `Err` that it returned.
    ///
    /// ```
    /// let process = multiproc::Process::try_spawn(|| "x".parse::<u8>(), ())?;
    /// assert_eq!(process.join().unwrap_err().message(), Some("invalid digit found in string"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn message(&self) -> Option<&str> {
        self.failure()?.message()
    }

    /// Returns where the function panicked: `file:line:column`.
    pub fn location(&self) -> Option<&str> {
        self.failure()?.panic()?.location.as_deref()
    }

    /// Returns the calls that led to the end of the process, the last one first: of a panic, if `RUST_BACKTRACE` is set; of
    /// a crash (a bad memory access, a stack overflow, `abort` ..), with the feature `backtrace`.
    ///
    /// The names of the functions of a crash are looked up at the first call, which reads the debug information of this
    /// program.
    pub fn backtrace(&self) -> Option<&str> {
        match self.death() {
            Some(death) => death.backtrace(),
            None => self.failure()?.panic()?.backtrace.as_deref(),
        }
    }
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, name, pid, .. } = &*self.inner;
        write!(f, "process {name} ({pid}) ")?;
        match kind {
            ProcessKind::Failure(failure) => failure.fmt(f),
            ProcessKind::Ended { death } => write!(f, "{}, before it had a result{}", death.exit, death.why()),
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
        self.failure()?.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Panic, RemoteError};

    fn error(kind: ProcessKind) -> ProcessError {
        ProcessError::new(kind, "Process-1", "f", 42)
    }

    #[test]
    fn the_text_says_what_happened() {
        let panic = Panic { message: "boom".to_owned(), location: Some("a.rs:1:2".to_owned()), backtrace: None };
        let text = error(Failure::Panicked(panic).into()).to_string();
        assert_eq!(text, "process Process-1 (42) panicked at a.rs:1:2: boom");
        let text = error(ProcessKind::Ended { death: Exit::Code(3).into() }).to_string();
        assert_eq!(text, "process Process-1 (42) exited with code 3, before it had a result");
        let killed = error(ProcessKind::Ended { death: Exit::Signal(15).into() });
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
        let wrapped = Error::from(error(Failure::Failed { source }.into()));
        assert!(wrapped.process().unwrap().is_error());
        let source = std::error::Error::source(&wrapped).unwrap();
        assert!(source.downcast_ref::<RemoteError>().is_some());
    }
}
