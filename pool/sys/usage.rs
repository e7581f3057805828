//! How much memory a process uses, and how much it may use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

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
    let pages = pages("/proc/self/statm").ok_or(io::ErrorKind::Unsupported)?;
    let now = pages.get(5).ok_or(io::ErrorKind::Unsupported)? * rustix::param::page_size() as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Data);
    let most = now.saturating_add(bytes).min(current.unwrap_or(u64::MAX)).min(maximum.unwrap_or(u64::MAX));
    Ok(setrlimit(Resource::Data, Rlimit { current: Some(most), maximum })?)
}

/// The numbers of `/proc/PID/statm`, in pages. `proc(5)`: size, resident, shared, text, 0, data and stack.
fn pages(path: &str) -> Option<Vec<u64>> {
    std::fs::read_to_string(path).ok()?.split_whitespace().map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
