//! Which system call was refused.

use rustix::io::Errno;
use std::fmt;
use std::io;

/// The result of a system call; an error names the call, and what may be done if a rule forbids it.
pub(crate) fn named<T>(call: &str, result: rustix::io::Result<T>) -> io::Result<T> {
    result.map_err(|errno| refused(call, errno))
}

/// The error of a system call.
#[cold]
pub(crate) fn refused(call: &str, errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    let cure = match errno {
        Errno::PERM | Errno::ACCESS => {
            "; a rule forbids it: a filter of system calls (seccomp), as containers have one, or a sandbox"
        }
        Errno::NOSYS => "; this kernel is too old for it, or a filter of system calls (seccomp) hides it",
        Errno::MFILE => "; the limit on open files is too low (`ulimit -n`)",
        _ => "",
    };
    io::Error::new(error.kind(), Refusal { errno, text: format!("{call}: {error}{cure}") })
}

/// Which error of the system this is, if it is one.
pub(crate) fn errno(error: &io::Error) -> Option<Errno> {
    let refusal = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
    refusal.map(|it| it.errno).or_else(|| Errno::from_io_error(error))
}

/// Keeps the number of the error beside the text.
#[derive(Debug)]
struct Refusal {
    errno: Errno,
    text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_call_and_the_cure() {
        let error = named::<()>("memfd_create", Err(Errno::NOSYS)).unwrap_err();
        let text = "memfd_create: Function not implemented (os error 38); this kernel is too old for it, or a filter of \
                    system calls (seccomp) hides it";
        assert_eq!((error.kind(), &*error.to_string()), (io::ErrorKind::Unsupported, text));
        assert_eq!(errno(&error), Some(Errno::NOSYS));
        assert_eq!(errno(&Errno::MFILE.into()), Some(Errno::MFILE));
        assert_eq!(named("close", Ok(7)).unwrap(), 7);
    }
}
