//! Rights that a process gives up for good: files and other processes by Landlock, system calls by a filter.

use crate::sys::child::own_pid;
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, RestrictSelfAttr,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What Landlock is asked for: all rights of files, and no signals and abstract sockets of processes outside (Linux 6.12).
const WANTED: ABI = ABI::V6;

/// How much of what was asked for is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Full,
    Partial,
    None,
}

/// The paths below which a process may read, and those below which it may do anything.
pub(crate) type Paths<'a> = (&'a [PathBuf], &'a [PathBuf]);

/// Rules of Landlock, to be laid upon one thread after the other.
#[derive(Debug)]
pub(crate) struct FileRules(RulesetCreated);

fn refused(error: RulesetError) -> String {
    format!("Landlock: {error}")
}

impl FileRules {
    /// Rules that allow what is below the paths alone, if there are any.
    ///
    /// # Errors
    ///
    /// A path cannot be opened, or the system refuses.
    pub(crate) fn new(paths: Option<Paths<'_>>) -> Result<FileRules, String> {
        let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let rules = rules.scope(Scope::from_all(WANTED)).map_err(refused)?;
        let Some((read_only, read_write)) = paths else {
            return Ok(FileRules(rules.create().map_err(refused)?));
        };
        let rules = rules.handle_access(AccessFs::from_all(WANTED)).map_err(refused)?;
        let mut rules = rules.create().map_err(refused)?;
        for (paths, rights) in [(read_only, AccessFs::from_read(WANTED)), (read_write, AccessFs::from_all(WANTED))] {
            for path in paths {
                rules = rules.add_rule(beneath(path, rights)?).map_err(refused)?;
            }
        }
        Ok(FileRules(rules))
    }

    /// Lays them upon all threads of this process if the kernel can do that (Linux 7.0), else upon this one; how much is in
    /// force, and whether it is on all threads.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(crate) fn restrict(&self) -> Result<(Extent, bool), String> {
        let rules = self.0.try_clone().map_err(|error| format!("Landlock: {error}"))?;
        let status = rules.all_threads(true).map_err(refused)?.restrict_self().map_err(refused)?;
        let extent = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } if effective_abi >= WANTED => Extent::Full,
            LandlockStatus::Available { .. } => Extent::Partial,
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => Extent::None,
        };
        Ok((extent, status.all_threads))
    }
}

/// These rights below a path: of a file, those that a file can have.
fn beneath(path: &Path, rights: BitFlags<AccessFs>) -> Result<PathBeneath<PathFd>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the path {} of the sandbox: {error}", path.display());
    let is_folder = std::fs::metadata(path).map_err(|error| failed(&error))?.is_dir();
    let rights = if is_folder { rights } else { rights & AccessFs::from_file(WANTED) };
    Ok(PathBeneath::new(PathFd::new(path).map_err(|error| failed(&error))?, rights))
}

/// What a filter of system calls refuses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusals {
    /// Sockets of the network.
    pub(crate) network: bool,
    /// Other programs and forks. Threads may be started.
    pub(crate) processes: bool,
}

/// System calls by which a process could reach into others, or around a filter or rules.
const AROUND: [libc::c_long; 17] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // It opens sockets and files in other threads, past the filter.
    libc::SYS_io_uring_setup,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
];

impl Refusals {
    /// Installs the filter on all threads of this process. What it refuses fails with EPERM.
    ///
    /// # Errors
    ///
    /// The system has no such filters, or a thread has another one already.
    pub(crate) fn install(self) -> Result<(), String> {
        if self.processes {
            // Its flags lie in memory, where a filter cannot look. Whoever starts a thread tries `clone` when there is none.
            install(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?;
        }
        install(self.rules()?, libc::EPERM)
    }

    fn rules(self) -> Result<BTreeMap<libc::c_long, Vec<SeccompRule>>, String> {
        let own = u64::try_from(own_pid()).unwrap_or(0);
        let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> = AROUND.map(|call| (call, Vec::new())).into();
        // A process may look at itself, as the handler of faults does, and limit itself.
        rules.insert(libc::SYS_process_vm_readv, vec![rule(&[(0, SeccompCmpOp::Ne, own)])?]);
        let other = [(0, SeccompCmpOp::Ne, own), (0, SeccompCmpOp::Ne, 0)];
        rules.insert(libc::SYS_prlimit64, vec![rule(&other)?]);
        if self.network {
            let local = libc::AF_UNIX as u64;
            rules.insert(libc::SYS_socket, vec![rule(&[(0, SeccompCmpOp::Ne, local)])?]);
        }
        if self.processes {
            let thread = libc::CLONE_THREAD as u64;
            rules.insert(libc::SYS_clone, vec![rule(&[(0, SeccompCmpOp::MaskedEq(thread), 0)])?]);
            rules.extend([libc::SYS_execve, libc::SYS_execveat].map(|call| (call, Vec::new())));
            #[cfg(target_arch = "x86_64")]
            rules.extend([libc::SYS_fork, libc::SYS_vfork].map(|call| (call, Vec::new())));
        }
        Ok(rules)
    }
}

/// A rule for calls whose arguments meet all conditions: the number of the argument, how it is compared, and with what.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, String> {
    let conditions = conditions
        .iter()
        .map(|(argument, how, with)| SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, how.clone(), *with));
    let conditions: Result<Vec<_>, _> = conditions.collect();
    conditions.and_then(SeccompRule::new).map_err(|error| format!("seccomp: {error}"))
}

fn install(rules: BTreeMap<libc::c_long, Vec<SeccompRule>>, errno: i32) -> Result<(), String> {
    /// The same system calls once more, under the numbers that x86-64 has for programs with short pointers.
    const X32: libc::c_long = 0x4000_0000;
    let failed = |error: &dyn std::fmt::Display| format!("seccomp: {error}");
    let mut rules = rules;
    if cfg!(target_arch = "x86_64") {
        let again: Vec<_> = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
        rules.extend(again);
    }
    let arch = std::env::consts::ARCH.try_into().map_err(|error: seccompiler::BackendError| failed(&error))?;
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).map_err(|error| failed(&error))?;
    let program = BpfProgram::try_from(filter).map_err(|error| failed(&error))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| failed(&error))
}

/// Has this process leave no dump of its memory behind.
pub(crate) fn leave_no_dump() {
    // Without it there is one, where the system is told to write any.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
