//! How many CPUs this process may use, and which.

use rustix::thread::CpuSet;
use std::io;
use std::sync::OnceLock;

/// Returns the number of CPUs that this process may use at the same time: the smallest of its affinity mask, its
/// cgroup quota (v1 or v2) and the CPUs that are online; at least 1.
///
/// Python's `cpu_count()` counts the machine's CPUs instead, which starts 64 workers in a container of two.
///
/// ```
/// assert!(multiproc::cpu_count() >= 1);
/// ```
pub fn cpu_count() -> usize {
    // std reads the affinity mask and the cgroup quota, see the docs of `available_parallelism`.
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

/// The numbers of the CPUs that this process may run on. `sched_getaffinity(2)`.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Lets this process, at its start, run on these CPUs only: the calling thread and the main one, and threads that these start.
/// `sched_setaffinity(2)`.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(*cpu);
    }
    rustix::thread::sched_setaffinity(None, &set)?;
    Ok(rustix::thread::sched_setaffinity(Some(rustix::process::getpid()), &set)?)
}

/// Adds to the niceness of this process, at its start: of the calling thread and the main one, and threads that these start.
/// `setpriority(2)`.
pub(crate) fn add_nice(more: i32) -> io::Result<()> {
    use rustix::process::{getpid, getpriority_process, setpriority_process};
    // The kernel takes what is beyond its range for the end of it.
    let nice = getpriority_process(None)?.saturating_add(more);
    setpriority_process(None, nice)?;
    Ok(setpriority_process(Some(getpid()), nice)?)
}

static KNOWN: OnceLock<usize> = OnceLock::new();

/// [`cpu_count`] as it was at the first call: it takes some twenty system calls, too many for each wait, and for each pool and
/// worker that is made.
pub(crate) fn known_count() -> usize {
    *KNOWN.get_or_init(cpu_count)
}

/// In a child, at its start: its parent knows this count, so nobody need ask the system.
pub(crate) fn note_count(count: usize) {
    // Whoever has asked before knows as well.
    let _ = KNOWN.set(count);
}

/// Whether another process can run while this one spins.
pub(crate) fn spinning_can_pay() -> bool {
    known_count() > 1
}
