//! How much memory a process uses, and how much it may use.

use crate::sys::refusal::errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The memory of its own that a process has in use, in bytes: what is resident and belongs to no file and no shared
/// mapping. `None` when the process is gone.
pub(crate) fn anonymous_memory(pid: i32) -> Option<u64> {
    let pages = pages(&format!("/proc/{pid}/statm"))?;
    let (resident, shared) = (pages.get(1)?, pages.get(2)?);
    Some(resident.saturating_sub(*shared) * rustix::param::page_size() as u64)
}

/// Lets this process have `bytes` more of private writable memory than it has now, and no more: an allocation beyond
/// that fails.
///
/// `setrlimit(2)`, `RLIMIT_DATA`. It counts what can be written, used or not, so also stacks of threads; memory that is
/// shared, and address space that is only reserved, do not count.
pub(crate) fn limit_memory(bytes: u64) -> io::Result<()> {
    let now = data_memory(&std::fs::read_to_string("/proc/self/statm")?).ok_or(io::ErrorKind::Unsupported)?;
    let Rlimit { current, maximum } = getrlimit(Resource::Data);
    let most = now.saturating_add(bytes).min(current.unwrap_or(u64::MAX)).min(maximum.unwrap_or(u64::MAX));
    Ok(setrlimit(Resource::Data, Rlimit { current: Some(most), maximum })?)
}

/// The most memory that this process has had at once, in bytes.
pub(super) fn own_peak() -> u64 {
    // SAFETY: all-zero bytes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: getrusage(2) writes into a variable of ours.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    max_resident(&usage)
}

/// The most memory that a process has had at once, in bytes, from its account.
pub(super) fn max_resident(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024)
}

/// Half of the memory that this process may use, in bytes: of the machine's, or of the least that one of its control groups
/// has. Looked up at the first call.
pub(crate) fn half_of_memory() -> u64 {
    static HALF: OnceLock<u64> = OnceLock::new();
    *HALF.get_or_init(|| machine_memory().unwrap_or(u64::MAX).min(group_memory()) / 2)
}

/// Whether something failed since this process, or the system, has no descriptor or no memory left.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::NOSPC, Errno::TOOMANYREFS];
    let found = errno(error);
    // A file that would be larger than the process may make is never begun.
    error.kind() == io::ErrorKind::FileTooLarge || found.is_some_and(|found| shortages.contains(&found))
}

/// `MemTotal` in `/proc/meminfo`, which is in KiB.
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit among the control groups of this process and those above them, of either version. `cgroups(7)`.
fn group_memory() -> u64 {
    memory_of_groups(&std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
}

/// The same for the groups of a process whose `/proc/PID/cgroup` is given.
pub(super) fn memory_of_groups(groups: &str) -> u64 {
    let limits = group_files(groups, "memory.max", "memory.limit_in_bytes")
        .filter_map(|path| std::fs::read_to_string(path).ok());
    // `max` is no number.
    limits.filter_map(|text| text.trim().parse().ok()).min().unwrap_or(u64::MAX)
}

/// Where a file of the controller of memory may be, of version 2 or 1, in the control groups of a process whose
/// `/proc/PID/cgroup` is given: the innermost first. `cgroups(7)`.
pub(super) fn group_files(
    groups: &str,
    second: &'static str,
    first: &'static str,
) -> impl Iterator<Item = PathBuf> + use<> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", second),
            _ if controllers.split(',').any(|it| it == "memory") => ("/sys/fs/cgroup/memory", first),
            _ => continue,
        };
        // In a container the path may be that of the host, and only its root is there.
        let groups = Path::new(path.trim_start_matches('/')).ancestors().map(|group| Path::new(root).join(group));
        files.extend(groups.map(|group| group.join(file)));
    }
    files.into_iter()
}

fn pages(path: &str) -> Option<Vec<u64>> {
    numbers(&std::fs::read_to_string(path).ok()?)
}

/// The numbers of `/proc/PID/statm`, in pages. `proc(5)`: size, resident, shared, text, 0, data and stack.
fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace().map(|number| number.parse().ok()).collect()
}

/// The private writable memory that a process has, in bytes, from the text of its `/proc/PID/statm`: what [`limit_memory`]
/// limits.
pub(super) fn data_memory(text: &str) -> Option<u64> {
    numbers(text)?.get(5)?.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_memory_and_not_without_end() {
        assert!((1 << 20..1 << 50).contains(&half_of_memory()), "{}", half_of_memory());
    }

    #[test]
    fn a_shortage_is_seen_through_the_name_of_its_call() {
        use crate::sys::refusal::refused;
        use rustix::io::Errno;
        assert!(is_shortage(&Errno::MFILE.into()) && is_shortage(&refused("memfd_create", Errno::MFILE)));
        assert!(!is_shortage(&Errno::NOSYS.into()) && !is_shortage(&refused("memfd_create", Errno::NOSYS)));
    }

    #[test]
    fn memory_that_is_used_is_seen() {
        let own = crate::sys::child::own_pid();
        let before = anonymous_memory(own).unwrap();
        let large = vec![1u8; 32 << 20];
        let after = anonymous_memory(own).unwrap();
        assert!(std::hint::black_box(large).len() == 32 << 20 && after > before + (24 << 20), "{before} {after}");
        assert_eq!(anonymous_memory(i32::MAX), None);
    }
}
