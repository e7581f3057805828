//! What this process holds, and what other processes are doing, by /proc. `proc(5)`.

use std::fs;
use std::time::{Duration, Instant};

/// What a process may leave behind: compared before and after.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// What each descriptor refers to, sorted; numbers that differ from object to object are left out.
    descriptors: Vec<String>,
    children: Vec<i32>,
    /// Mapped memory files of the library, apart from the shared heap, which a process keeps.
    memory_files: usize,
}

impl Holdings {
    /// Whether nothing of a pool or process is left that was not there in `before`; the shared heap is nobody's.
    pub(crate) fn has_no_children_since(&self, before: &Holdings) -> bool {
        let is_of_a_child = |it: &&String| {
            matches!(it.as_str(), "socket" | "pidfd") || it.starts_with("/memfd:") && !it.contains("multiproc-heap")
        };
        self.children == before.children
            && self.memory_files == before.memory_files
            && self.descriptors.iter().filter(is_of_a_child).eq(before.descriptors.iter().filter(is_of_a_child))
    }
}

/// What this process holds now.
pub(crate) fn holdings() -> Holdings {
    let mut descriptors: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| kind(&target.to_string_lossy()).to_owned())
        // The folder that is being read.
        .filter(|target| !target.ends_with("/fd"))
        .collect();
    descriptors.sort();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let is_of_a_pool = |line: &&str| line.contains("/memfd:multiproc") && !line.contains("/memfd:multiproc-heap");
    let memory_files = maps.lines().filter(is_of_a_pool).count();
    Holdings { descriptors, children: children_of(own_pid()), memory_files }
}

/// What a descriptor refers to, by the target of its link in `/proc/self/fd`.
fn kind(target: &str) -> &str {
    match target {
        // `anon_inode:[pidfd]`, or `pidfd:[1234]` from Linux 6.9 on.
        pidfd if pidfd.contains("pidfd") => "pidfd",
        memory if memory.starts_with("/memfd:") => memory,
        target => target.split(['[', ':']).next().unwrap_or_default(),
    }
}

pub(crate) fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

/// One process, as `/proc/PID/stat` describes it.
struct Stat {
    pid: i32,
    name: String,
    state: char,
    parent: i32,
}

fn stat(pid: i32) -> Option<Stat> {
    stat_of(&pid.to_string())
}

/// The same of a thread, by its path below /proc.
fn stat_of(path: &str) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{path}/stat")).ok()?;
    // The name stands in parentheses and may itself contain some.
    let (head, tail) = text.rsplit_once(')')?;
    let mut tail = tail.split_whitespace();
    let (pid, name) = head.split_once(" (")?;
    Some(Stat {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        state: tail.next()?.chars().next()?,
        parent: tail.next()?.parse().ok()?,
    })
}

fn processes() -> Vec<Stat> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// The children of a process, zombies included, sorted.
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    let mut pids: Vec<i32> = processes().iter().filter(|it| it.parent == parent).map(|it| it.pid).collect();
    pids.sort();
    pids
}

/// All living descendants of a process.
pub(crate) fn descendants_of(ancestor: i32) -> Vec<i32> {
    let all = processes();
    let mut found = vec![ancestor];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(all.iter().filter(|it| it.parent == parent && it.state != 'Z').map(|it| it.pid));
        at += 1;
    }
    found.split_off(1)
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|it| !matches!(it.state, 'Z' | 'X'))
}

/// What ps shows as its name.
pub(crate) fn name_of(pid: i32) -> Option<String> {
    stat(pid).map(|it| it.name)
}

/// Whether this process ignores a signal.
pub(crate) fn ignores(signal: rustix::process::Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

/// Sends a signal to a process; whether it existed.
pub(crate) fn send_signal(pid: i32, signal: rustix::process::Signal) -> bool {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, signal).is_ok()
}

pub(crate) fn kill(pid: i32) -> bool {
    send_signal(pid, rustix::process::Signal::KILL)
}

/// Stops a process, and waits until all its threads have stopped: the signal goes to any of them, and takes a while.
pub(crate) fn stop(pid: i32) {
    assert!(send_signal(pid, rustix::process::Signal::STOP));
    let has_stopped = |thread: &str| stat_of(&format!("{pid}/task/{thread}")).is_some_and(|it| it.state == 'T');
    assert!(eventually(Duration::from_secs(20), || {
        let mut threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        threads.all(|thread| has_stopped(thread.unwrap().file_name().to_str().unwrap()))
    }));
}

/// Looks again and again until `is_so`; whether that came true in time.
pub(crate) fn eventually(within: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if start.elapsed() > within {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the books of the shared memory are in order, which they are only said to be while nobody changes them: other tests
/// of this process may, and workers that let go of what they have been given.
pub(crate) fn books_are_in_order() -> bool {
    eventually(Duration::from_secs(20), || multiproc::shared_memory_report().unwrap().damage.is_empty())
}

/// What a process or a thread does with signals: of those that have names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signals {
    pub(crate) blocked: Vec<rustix::process::Signal>,
    pub(crate) ignored: Vec<rustix::process::Signal>,
    /// Sent to the process, and not taken yet.
    pub(crate) pending: Vec<rustix::process::Signal>,
}

/// The signals of the first thread of a process.
pub(crate) fn signals_of(pid: i32) -> Signals {
    signals_of_thread(&pid.to_string())
}

/// The signals of a thread, by its path below /proc.
pub(crate) fn signals_of_thread(path: &str) -> Signals {
    let status = fs::read_to_string(format!("/proc/{path}/status")).unwrap();
    let read = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        (1..32).filter(|it| mask >> (it - 1) & 1 == 1).filter_map(rustix::process::Signal::from_named_raw).collect()
    };
    Signals { blocked: read("SigBlk"), ignored: read("SigIgn"), pending: read("ShdPnd") }
}
