//! What a child is told, and the one environment variable that makes a process a child.

use crate::attached_fds::AttachedFds;
use crate::error::Error;
use crate::identity::Callable;
use crate::ipc::control::Control;
use crate::process::current;
use crate::sys::child::own_pid;
use crate::sys::executable;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// What a child is to be: called with what its parent has sent, it returns the exit code.
pub(crate) type Role = fn(ChildContext) -> i32;

impl Callable for Role {
    const TAG: u64 = 1;
}

/// What a child gets from its parent.
#[derive(Debug)]
pub(crate) struct ChildContext {
    pub(crate) control: Control,
    pub(crate) setup: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
    /// Of the values in the setup.
    pub(crate) attached: Vec<Arc<AttachedFds>>,
}

/// The name of the variable that makes a process a child; [`Mark`] is its value.
pub(crate) const VARIABLE: &str = "MULTIPROC_CHILD";

/// The version of the variable's format.
const FORMAT: &str = "2";

/// Where the control socket of a local child is: its standard input.
const SOCKET: &str = "fd:0";

/// So many ancestors may have reached `main` although they carried the variable; a process with more starts nothing.
const MOST_STRAYS: u32 = 2;

/// Set once this copy of the library is known to recognise its own children.
pub(super) static BOOT_READY: AtomicBool = AtomicBool::new(false);

/// Set while a child runs the constructors that come after the one of this library.
pub(super) static IN_CONSTRUCTORS: AtomicBool = AtomicBool::new(false);

/// How often this process and its ancestors have reached `main` although they carried the variable.
static STRAYS: AtomicU32 = AtomicU32::new(0);

/// The value of the variable: `format:copy:parent:nonce:strays:socket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which copy of the library has started the child: a program may contain several versions of it.
    copy: u64,
    /// The process id of the parent.
    pub(crate) parent: i32,
    /// A random number. The first message repeats it.
    pub(crate) nonce: u64,
    /// The value of [`STRAYS`] in the parent.
    strays: u32,
}

impl Mark {
    /// The mark of a new child of this process.
    pub(crate) fn new(nonce: u64) -> Mark {
        Mark { copy: this_copy(), parent: own_pid(), nonce, strays: STRAYS.load(Relaxed) }
    }

    /// Reads the value of the variable; `None` if this is no mark, or not one of this copy of the library.
    pub(crate) fn parse(value: &str) -> Option<Mark> {
        let (FORMAT, rest) = value.split_once(':')? else { return None };
        let mut parts = rest.splitn(5, ':');
        let copy = u64::from_str_radix(parts.next()?, 16).ok()?;
        let parent = parts.next()?.parse().ok()?;
        let nonce = u64::from_str_radix(parts.next()?, 16).ok()?;
        let strays = parts.next()?.parse().ok()?;
        (parts.next()? == SOCKET && copy == this_copy()).then_some(Mark { copy, parent, nonce, strays })
    }

    /// Notes that this process is a child with this mark.
    pub(super) fn note_child(&self) {
        STRAYS.store(self.strays, Relaxed);
    }

    /// Notes that this process carries the mark and goes on into `main`.
    pub(super) fn note_stray(&self) {
        STRAYS.store(self.strays.saturating_add(1), Relaxed);
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mark { copy, parent, nonce, strays } = self;
        write!(f, "{FORMAT}:{copy:x}:{parent}:{nonce:x}:{strays}:{SOCKET}")
    }
}

/// A number that tells this copy of the library from others in the same program, the same in all processes of it: where
/// the linker has put one of its variables.
fn this_copy() -> u64 {
    executable::offset_of(&raw const BOOT_READY as usize)
}

/// The proof that this process can start children: a [`Start`](crate::process::start::Start) cannot be made without it, and
/// only the checks here make one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host(());

impl Host {
    /// Checks that this process may have children, and that they will recognise themselves.
    ///
    /// # Errors
    ///
    /// See [`Error::is_start`], [`Error::is_foreign_host`], [`Error::is_not_initialized`] and [`Error::is_daemonic`].
    pub(crate) fn check() -> Result<Host, Error> {
        let host = Host::check_program()?;
        if current::is_daemon() { Err(Error::daemonic()) } else { Ok(host) }
    }

    /// Checks that children of this program will recognise themselves. Daemonic processes pass, too: this is for the
    /// library's own children, which users do not see.
    ///
    /// # Errors
    ///
    /// See [`Error::is_start`], [`Error::is_foreign_host`] and [`Error::is_not_initialized`].
    pub(crate) fn check_program() -> Result<Host, Error> {
        refusal().map_or(Ok(Host(())), Err)
    }
}

/// Returns why children of this program would not recognise themselves, if so.
fn refusal() -> Option<Error> {
    if !executable::is_main() {
        return Some(Error::foreign_host());
    }
    // The child would be as privileged, and would not believe its environment.
    if executable::is_secure() {
        return Some(Error::start(
            "this program runs with more rights than its caller (a set-user-id or set-group-id bit, or file capabilities), so \
             that its children could not trust what their environment says: start it with the rights that it needs instead",
        ));
    }
    if executable::is_loaded_by_hand() {
        return Some(Error::start(
            "this program was started as an argument of the dynamic loader, which is therefore what would be started again for \
             a child: execute the program itself",
        ));
    }
    if !BOOT_READY.load(Relaxed) || IN_CONSTRUCTORS.load(Relaxed) {
        return Some(Error::not_initialized());
    }
    if STRAYS.load(Relaxed) >= MOST_STRAYS {
        return Some(Error::start(format!(
            "this process was itself started as a child of this library, and did not recognise that (the variable {VARIABLE} is \
             in its environment): children of its own could go on like this without end"
        )));
    }
    None
}

#[cfg(all(test, not(loom)))]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Mark { strays: 1, ..Mark::new(255) };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
    }

    #[test]
    fn only_a_whole_mark_of_this_copy_is_understood() {
        let whole = Mark::new(255).to_string();
        for cut in 0..whole.len() {
            assert_eq!(Mark::parse(&whole[..cut]), None, "{cut}");
        }
        let other = Mark { copy: this_copy() + 1, ..Mark::new(255) };
        let wrong = [
            other.to_string(),
            whole.replacen('2', "1", 1),
            whole.replace(SOCKET, "tcp:host"),
            whole.replace(":ff:", ":x:"),
            "1:42:ff:fd:0".to_owned(),
        ];
        for wrong in wrong {
            assert_eq!(Mark::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_test_can_start_children() {
        Host::check().unwrap();
    }
}
