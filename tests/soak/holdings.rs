//! What this process holds.

use std::fs;

/// What this process holds: children, descriptors, threads.
pub(crate) fn holdings() -> [usize; 3] {
    let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
    let own = std::process::id();
    let is_child = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        (parent == own).then_some(())
    };
    let children = fs::read_dir("/proc").map_or(0, |all| all.flatten().filter_map(is_child).count());
    [children, entries("/proc/self/fd"), entries("/proc/self/task")]
}

/// The children and descriptors of this process, for people.
pub(crate) fn list_holdings() {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)).unwrap_or_default();
        if parent == std::process::id().to_string() {
            eprintln!("soak: a child: {}", stat.chars().take(80).collect::<String>());
        }
    }
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        eprintln!("soak: a descriptor: {:?}", fs::read_link(entry.path()).unwrap_or_default());
    }
}

/// Resident memory of this process in MiB.
pub(crate) fn memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}
