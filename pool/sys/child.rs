//! Start a child process, watch it, signal it, reap it.

use crate::error::{Death, Exit, Kill};
use crate::sys::crash;
use crate::sys::descriptor::beyond_standard;
use crate::sys::out_of_memory::{self, Before};
use crate::sys::poll::{self, Interest};
use crate::sys::refusal::{named, refused};
use crate::sys::time::Deadline;
use crate::sys::usage;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// What a child gets that its parent has otherwise.
#[derive(Debug, Default)]
pub(crate) struct SpawnOptions {
    /// Environment variables, later ones before earlier ones of the same name.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// Variables of its parent that it has not.
    pub(crate) removed: Vec<OsString>,
    /// Whether it has none of its parent's variables.
    pub(crate) clear: bool,
    /// The folder that it runs in, if not its parent's.
    pub(crate) folder: Option<PathBuf>,
    /// Its process group, if not its parent's; 0 is a new one.
    pub(crate) group: Option<i32>,
    /// Where it writes; if not given, where its parent does.
    pub(crate) output: Option<Output>,
    /// Where it notes its faults, see [`crash`]; it must be handed that, too.
    pub(crate) crash: Option<Arc<OwnedFd>>,
}

/// Descriptors to write to.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// A child process of this process, known by a descriptor, so that no signal can ever hit a stranger with a reused pid.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    pidfd: Arc<OwnedFd>,
    /// How it ended, once somebody has reaped it. (std's mutex: exit handlers come here, where thread-locals are gone.)
    exit: Mutex<Option<Exit>>,
    crash: Option<Arc<OwnedFd>>,
    /// The kernel's kills for want of memory before it was started.
    kills: Before,
    /// The most memory that it had at once, in bytes; 0 if that is unknown.
    peak: AtomicU64,
    /// What it has left behind, once somebody has looked.
    death: OnceLock<Death>,
    /// It was told that it may leave, so that there is nothing left for it to do.
    dismissed: AtomicBool,
}

impl Child {
    fn new(pid: i32, pidfd: OwnedFd, crash: Option<Arc<OwnedFd>>, kills: Before) -> Child {
        let (exit, death) = (Mutex::new(None), OnceLock::new());
        let (dismissed, peak) = (AtomicBool::new(false), AtomicU64::new(0));
        Child { pid, pidfd: Arc::new(pidfd), exit, crash, kills, peak, death, dismissed }
    }
    /// Starts `program` with this process's arguments, `stdin` as its standard input and some more environment variables.
    ///
    /// Nothing runs between fork and exec (no `pre_exec`), so that std takes `posix_spawn(3)`: its cost does not grow
    /// with the memory of this process.
    pub(crate) fn start(program: &OsStr, stdin: OwnedFd, options: SpawnOptions) -> io::Result<Child> {
        let kills = out_of_memory::before();
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments).stdin(Stdio::from(stdin));
        if options.clear {
            command.env_clear();
        }
        options.removed.iter().for_each(|key| _ = command.env_remove(key));
        command.envs(options.variables);
        if let Some(folder) = options.folder {
            command.current_dir(folder);
        }
        if let Some(group) = options.group {
            command.process_group(group);
        }
        if let Some(Output { stdout, stderr }) = options.output {
            command.stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
        }
        let child = command.spawn().map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => refused(&format!("posix_spawn({})", program.to_string_lossy()), errno),
            None => error,
        })?;
        let pid = i32::try_from(child.id()).unwrap_or(-1);
        known().insert(pid);
        // Foreign code that waits for all children could have reaped it by now (docs/reliability.md, "What is not covered").
        match open_pidfd(pid) {
            Ok(pidfd) => Ok(Child::new(pid, pidfd, options.crash, kills)),
            Err(error) => {
                // Without a pidfd it could not be watched: take it back.
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                known().remove(&pid);
                Err(error)
            }
        }
    }

    /// The child that another process has made for this one (`CLONE_PARENT`), by the pidfd that it has sent; with the kernel's
    /// kills from before it can have had any memory.
    ///
    /// # Errors
    ///
    /// The descriptor is no pidfd, or not one of a child of this process that nobody has waited for.
    pub(crate) fn adopt(pidfd: OwnedFd, crash: Option<Arc<OwnedFd>>, kills: Before) -> io::Result<Child> {
        named("waitid", rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), ENDED | WaitIdOptions::NOWAIT))?;
        // The number is the kernel's word, and not the sender's.
        let mut info = [0; 512];
        let len = File::open(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?.read(&mut info)?;
        let mut lines = info[..len].split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let pid = lines.find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
        let pid = pid.filter(|pid| *pid > 0).ok_or(io::ErrorKind::InvalidData)?;
        known().insert(pid);
        Ok(Child::new(pid, pidfd, crash, kills))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The pidfd: readable once the process has ended.
    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Notes that it was told to leave.
    pub(crate) fn dismiss(&self) {
        self.dismissed.store(true, Relaxed);
    }

    /// Whether it was told to leave, and has: with this exit.
    pub(crate) fn has_left(&self, exit: Exit) -> bool {
        self.dismissed.load(Relaxed) && exit == Exit::Code(0)
    }

    /// Sends a signal; a process that has ended already is no error.
    pub(crate) fn signal(&self, signal: ChildSignal) {
        let signal = match signal {
            ChildSignal::Terminate => Signal::TERM,
            ChildSignal::Kill => Signal::KILL,
            ChildSignal::Interrupt => Signal::INT,
            ChildSignal::Stop => Signal::STOP,
            ChildSignal::Continue => Signal::CONT,
        };
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            // It has ended.
            Ok(()) | Err(Errno::SRCH) => {}
            // A filter of system calls refuses it.
            Err(_) => self.signal_by_pid(signal),
        }
    }

    /// Tells it to end: by SIGTERM, or by SIGKILL if it is stopped, since it would take SIGTERM only when it goes on. Returns
    /// whether that was SIGKILL.
    pub(crate) fn tell_to_end(&self) -> bool {
        let is_stopped = self.is_stopped();
        self.signal(if is_stopped { ChildSignal::Kill } else { ChildSignal::Terminate });
        is_stopped
    }

    /// Sends a signal to the process id, which no other process can have as long as nobody has waited for this one.
    #[cold]
    fn signal_by_pid(&self, signal: Signal) {
        // Whoever wants to wait for it comes through this lock.
        let ending = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        // An error: foreign code has waited for it.
        let is_ours = is_of_child(self.pidfd.as_fd());
        if let (None, true, Some(pid)) = (*ending, is_ours, Pid::from_raw(self.pid)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits until SIGSTOP has stopped it, which takes a moment, or it has ended.
    pub(crate) fn wait_for_stop(&self) {
        let until = Deadline::after(Duration::from_millis(100));
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while matches!(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(None)) {
            if until.passed() {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Whether it is stopped, by SIGSTOP or the like: no signal but SIGKILL ends it then.
    pub(crate) fn is_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(Some(_)))
    }

    /// How it ended, if it has; then it is reaped, too.
    pub(crate) fn try_reap(&self) -> Option<Exit> {
        let mut ending = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        if ending.is_none() {
            // Locked until it is forgotten: from now on another child may get its number.
            let mut known = known();
            *ending = self.reap();
            if ending.is_some() {
                known.remove(&self.pid);
            }
        }
        *ending
    }

    /// Waits until it has ended; `None` when the deadline came first.
    ///
    /// Nothing else of this process takes part, so that an exit handler can wait as well.
    pub(crate) fn wait(&self, deadline: Deadline) -> Option<Exit> {
        loop {
            if let Some(ending) = self.try_reap() {
                return Some(ending);
            }
            if deadline.passed() {
                return None;
            }
            // If the system refuses to wait, a moment has passed, and the next look is due.
            let _ = poll::wait(&[(self.pidfd.as_fd(), Interest::Readable)], deadline);
        }
    }

    /// How it ended, and what it has left behind about that; it has ended.
    pub(crate) fn death(&self) -> &Death {
        self.death.get_or_init(|| {
            let exit = self.try_reap().unwrap_or(Exit::Unknown);
            let crash = match (exit, &self.crash) {
                (Exit::Signal(signal), Some(file)) => crash::read(file.as_fd(), signal),
                _ => None,
            };
            let kill = if exit == Exit::Signal(libc::SIGKILL) { self.kills.kill_since() } else { Kill::Unknown };
            // At the moment of its start it had the memory of this process, which counts.
            let own = usage::own_peak();
            Death { exit, crash, kill, peak: Some(self.peak.load(Relaxed)).filter(|peak| *peak > own) }
        })
    }

    fn reap(&self) -> Option<Exit> {
        let mut lost = None;
        loop {
            let which = if lost.is_some() { (libc::P_PID, self.pid) } else { (libc::P_PIDFD, self.pidfd.as_raw_fd()) };
            match wait_with_usage(which) {
                Ok(None) if lost.is_some_and(|until: Deadline| !until.passed()) => poll::pause(Deadline::NEVER),
                // Not even SIGKILL ends it: that is not known of it any more.
                Ok(None) if lost.is_some() => return Some(Exit::Unknown),
                Ok(None) => return None,
                Ok(Some((exit, peak))) => {
                    self.peak.store(peak, Relaxed);
                    return Some(exit);
                }
                Err(Errno::INTR) => {}
                Err(Errno::BADF | Errno::INVAL) if lost.is_none() => {
                    // The program has closed the descriptor, or has opened something else there. A child that cannot be watched
                    // ends; as long as nobody has waited for it, no other process has its number.
                    let pid = Pid::from_raw(self.pid)?;
                    if rustix::process::waitid(WaitId::Pid(pid), ENDED | WaitIdOptions::NOWAIT).is_ok() {
                        let _ = rustix::process::kill_process(pid, Signal::KILL);
                    }
                    lost = Some(Deadline::after(LOST));
                }
                Err(_) => return Some(Exit::Unknown),
            }
        }
    }
}

/// How long a child is waited for that is killed since its descriptor is gone.
const LOST: Duration = Duration::from_secs(1);

/// Only a look, at children that have ended.
const ENDED: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);

/// Whether a descriptor is a pidfd of a child of this process, for which nobody has waited.
pub(crate) fn is_of_child(fd: BorrowedFd<'_>) -> bool {
    rustix::process::waitid(WaitId::PidFd(fd), ENDED | WaitIdOptions::NOWAIT).is_ok()
}

/// How the child has ended, if it has, and the most memory that it had at once, in bytes. Then it is reaped. `waitid(2)`, with
/// its first two arguments.
fn wait_with_usage((kind, id): (libc::idtype_t, i32)) -> Result<Option<(Exit, u64)>, Errno> {
    // SAFETY: all-zero bytes are a valid siginfo.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: all-zero bytes are a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    let (kind, id, options) = (i64::from(kind), i64::from(id), i64::from(libc::WEXITED | libc::WNOHANG));
    // The function of the C library has no place for the usage.
    // SAFETY: the system call takes these five arguments, and writes into the two variables.
    let code = unsafe { libc::syscall(libc::SYS_waitid, kind, id, &mut info, options, &mut used) };
    if code != 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    // SAFETY: the system call has filled it in, or left the zeros, which mean that there is nothing to tell.
    if unsafe { info.si_pid() } == 0 {
        return Ok(None);
    }
    // SAFETY: what the system call has filled in tells of a child.
    let status = unsafe { info.si_status() };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        libc::CLD_KILLED | libc::CLD_DUMPED => Exit::Signal(status),
        _ => Exit::Unknown,
    };
    Ok(Some((exit, usage::max_resident(&used))))
}

/// The children that this library knows of, and that nobody has waited for. (std's mutex: exit handlers come here.)
static KNOWN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn known() -> MutexGuard<'static, BTreeSet<i32>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for children of the calling thread that have ended and that nobody knows of. To be called on the thread that starts all
/// children of this library, and none but them: no other code's child is among those. `waitid(2)`, `__WNOTHREAD`.
pub(crate) fn reap_unknown() {
    const OPTIONS: i32 = libc::WEXITED | libc::WNOHANG | libc::__WNOTHREAD;
    loop {
        // SAFETY: all-zero bytes are a valid siginfo.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes into a variable of ours. `WNOWAIT`: it only looks.
        let looked = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, OPTIONS | libc::WNOWAIT) };
        // SAFETY: the kernel has filled it in for a child that has ended; or it is still zero, and then so is the number.
        let pid = unsafe { info.si_pid() };
        // The first one. If that is known, somebody is about to wait for it, and the others can be seen later.
        let known = known();
        if looked != 0 || pid == 0 || known.contains(&pid) {
            return;
        }
        // SAFETY: as above. It has ended and nobody else waits for it, so that the number is still its own.
        if unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, OPTIONS) } != 0 {
            return;
        }
    }
}

/// What a parent sends to its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildSignal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
    /// SIGINT.
    Interrupt,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// A descriptor for a process: readable once it has ended. `pidfd_open(2)`.
pub(crate) fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    beyond_standard(named("pidfd_open", rustix::process::pidfd_open(pid, PidfdFlags::empty()))?)
}

/// This process's id.
pub(crate) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The id of the process that started this one; 0 when that lives in another pid namespace.
pub(crate) fn parent_pid() -> i32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get())
}
