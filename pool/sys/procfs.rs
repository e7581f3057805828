//! The other processes that can be seen here, and the children of this one. `proc(5)`.

use crate::sys::child::own_pid;
use crate::sys::time::Deadline;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// The ids of all processes.
pub(crate) fn processes() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Reads a file that the kernel makes as it is read, behind what is in `buffer`.
///
/// As a `Take`, since a `File` asks how long it is, which is two system calls for the answer that it is empty.
fn read_behind(path: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.reserve(AT_ONCE);
    File::open(path)?.take(u64::MAX).read_to_end(buffer).map(drop)
}

/// As a rule one look has all of such a file.
const AT_ONCE: usize = 4096;

/// The fields of `/proc/PID/stat` behind the name, of which the state is the third of all.
fn with_stat<R>(pid: i32, read: impl FnOnce(&mut dyn Iterator<Item = &str>) -> Option<R>) -> Option<R> {
    let mut text = Vec::new();
    read_behind(&format!("/proc/{pid}/stat"), &mut text).ok()?;
    // The name stands in parentheses, and may itself contain some, and bytes that are no text.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    read(&mut std::str::from_utf8(text.get(end + 1..)?).ok()?.split_whitespace())
}

/// The parent of a process; `None` of one that has ended.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    with_stat(pid, |fields| {
        let state = fields.next()?;
        if matches!(state, "Z" | "X") { None } else { fields.next()?.parse().ok() }
    })
}

/// The value of a variable in the environment with which a process was started; `None` as well of a process that has ended,
/// or whose environment this one may not read. `buffer` is for what is read.
///
/// A process that is about to execute a program has no environment for a moment; that is waited for until `patience`.
pub(crate) fn variable_of<'a>(pid: i32, name: &str, patience: Deadline, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let mut place_before = Place::Unset;
    loop {
        buffer.clear();
        read_behind(&format!("/proc/{pid}/environ"), buffer).ok()?;
        if !buffer.is_empty() || patience.passed() {
            break;
        }
        // The program may have been executed since that was read: only an environment whose place stays is empty for good.
        let place = place_of_environment(pid)?;
        if place != Place::Unset && place == place_before {
            break;
        }
        place_before = place;
        std::thread::yield_now();
    }
    let entries = buffer.split(|byte| *byte == 0);
    entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()
}

/// Where the environment of a process lies in its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Nowhere yet: the process is about to execute a program.
    Unset,
    At(u64),
}

/// `None` of a process that has ended, and of a thread of the kernel, which never has an environment.
fn place_of_environment(pid: i32) -> Option<Place> {
    const KERNEL_THREAD: u32 = 0x0020_0000;
    with_stat(pid, |fields| {
        let state = fields.next()?;
        let (flags, start) = (fields.nth(5)?.parse::<u32>().ok()?, fields.nth(40)?.parse().ok()?);
        if matches!(state, "Z" | "X") || flags & KERNEL_THREAD != 0 {
            return None;
        }
        Some(if start == 0 { Place::Unset } else { Place::At(start) })
    })
}

/// Kills the process behind a pidfd. Returns whether it ends, or has ended; false if this process may not kill it.
pub(crate) fn kill(pidfd: &OwnedFd) -> bool {
    !matches!(rustix::process::pidfd_send_signal(pidfd, Signal::KILL), Err(Errno::PERM))
}

/// Makes this process the parent of those of its descendants whose own parents end, as long as it lives.
///
/// `prctl(2)`, `PR_SET_CHILD_SUBREAPER`. The kernel makes the first thread of the process their parent.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // Any process id switches it on.
    Ok(rustix::process::set_child_subreaper(Pid::from_raw(own_pid()))?)
}

/// Reaps the children of the calling thread that have ended; those of other threads of this process are theirs.
pub(crate) fn reap_own() {
    let of_this_thread = WaitIdOptions::from_bits_retain(libc::__WNOTHREAD as u32);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | of_this_thread;
    while let Ok(Some(_)) | Err(Errno::INTR) = rustix::process::waitid(WaitId::All, options) {}
}

/// Whether this process has any children, those included that have ended and were not waited for.
pub(crate) fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(rustix::process::waitid(WaitId::All, options), Err(Errno::CHILD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_and_its_environment_are_seen_until_it_ends() {
        let mut child = Command::new("sleep").arg("1000").env("MULTIPROC_TEST_SEEN", "a=b").spawn().unwrap();
        let (pid, mut buffer) = (i32::try_from(child.id()).unwrap(), Vec::new());
        // It was started, but the kernel may not have got to its environment yet.
        let mut value_of = |name| variable_of(pid, name, Deadline::NEVER, &mut buffer).map(<[u8]>::to_vec);
        assert_eq!(value_of("MULTIPROC_TEST_SEEN"), Some(b"a=b".to_vec()));
        assert_eq!(value_of("MULTIPROC_TEST_SEE"), None);
        assert!(processes().contains(&pid) && processes().contains(&own_pid()) && has_children());
        assert_eq!(parent_of(pid), Some(own_pid()));
        assert!(matches!(place_of_environment(own_pid()), Some(Place::At(_))));
        assert_eq!(place_of_environment(-1), None);
        child.kill().unwrap();
        // Another thread's child is not reaped, and one that has ended has no parent and no environment.
        std::thread::spawn(reap_own).join().unwrap();
        while parent_of(pid).is_some() {
            std::thread::yield_now();
        }
        assert_eq!(value_of("MULTIPROC_TEST_SEEN"), None);
        child.wait().unwrap();
        assert!(!processes().contains(&pid));
    }

    #[test]
    fn an_environment_is_seen_although_a_program_is_executed_just_then() {
        for _ in 0..500 {
            let mut child = Command::new("sleep").arg("1000").env("MULTIPROC_TEST_SEEN", "a=b").spawn().unwrap();
            let (pid, mut buffer) = (i32::try_from(child.id()).unwrap(), Vec::new());
            assert_eq!(variable_of(pid, "MULTIPROC_TEST_SEEN", Deadline::NEVER, &mut buffer), Some(&b"a=b"[..]));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
