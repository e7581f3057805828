//! How many CPUs this process may use.

/// The number of CPUs that this process may use at the same time: the smallest of its affinity mask, its cgroup quota
/// (v1 or v2) and the CPUs that are online; at least 1.
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

/// Whether another process can run while this one spins, as far as known at the first call: [`cpu_count`] takes some
/// system calls, too many for each wait.
pub(crate) fn spinning_can_pay() -> bool {
    static SEVERAL: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SEVERAL.get_or_init(|| cpu_count() > 1)
}
