//! What the threads of a child are at, without its help: they are stopped one after the other for as long as it takes to copy
//! the top of the stack. `ptrace(2)`.
//!
//! No right beyond that of a parent is needed. The calling process may have other threads that wait for its children: none of
//! them sees anything, since the first thread of a child, whose stops and end are the child's, is left alone.

#[cfg(feature = "backtrace")]
use crate::error::Stack;
#[cfg(feature = "backtrace")]
use crate::sys::{refusal::refused, thread, time::Deadline, unwind};
use std::{fmt, io};
#[cfg(feature = "backtrace")]
use std::{fs::File, os::unix::fs::FileExt, path::PathBuf, time::Duration};

/// So many threads are looked at.
#[cfg(feature = "backtrace")]
const MOST_THREADS: usize = 16;

/// So much of a stack is copied.
#[cfg(feature = "backtrace")]
const MOST_OF_A_STACK: usize = 128 << 10;

/// How long a thread may take to stop: one in the kernel may take its time.
#[cfg(feature = "backtrace")]
const PATIENCE: Duration = Duration::from_millis(500);

/// A thread, and the calls that it is in, the last one first; or why nobody knows.
#[derive(Debug)]
#[cfg_attr(not(feature = "backtrace"), allow(dead_code, reason = "nobody walks a stack then"))]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) calls: Result<String, String>,
}

/// What the threads of a child but its first are at.
///
/// # Errors
///
/// There is no such child, or the system does not allow to look at it.
#[cfg(feature = "backtrace")]
pub(crate) fn at(pid: i32) -> io::Result<Vec<Seen>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        numbers.extend(number.filter(|number| *number != pid));
    }
    numbers.sort_unstable();
    numbers.truncate(MOST_THREADS);
    // The kernel lets go of what a thread has stopped when that thread ends, whatever has happened to either: so this one is
    // there for this look alone.
    let builder = std::thread::Builder::new().name("multiproc-look".to_owned()).stack_size(512 * 1024);
    let looked = thread::spawn(builder, move || {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        Ok(numbers.into_iter().map(|number| see(pid, number, &maps)).collect())
    })?;
    looked.join().unwrap_or_else(|_| Err(io::Error::other("looking at the process has panicked")))
}

/// Without the feature nobody can walk a stack.
#[cfg(not(feature = "backtrace"))]
pub(crate) fn at(_pid: i32) -> io::Result<Vec<Seen>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "stacks need the feature `backtrace`"))
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.calls {
            Ok(calls) => write!(f, "thread {}\n{calls}", self.name),
            Err(error) => write!(f, "thread {}\n   {error}\n", self.name),
        }
    }
}

#[cfg(feature = "backtrace")]
fn see(pid: i32, number: i32, maps: &str) -> Seen {
    let folder = PathBuf::from(format!("/proc/{pid}/task/{number}"));
    let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default().trim_end().to_owned();
    let calls = copy(pid, number, maps).map(|top| Stack::new(move || unwind::frames(&top)).text().to_owned());
    let calls = calls.map_err(|error| error.to_string());
    Seen { name, calls }
}

/// Stops a thread, copies its registers and the top of its stack, and lets it go on.
#[cfg(feature = "backtrace")]
fn copy(pid: i32, number: i32, maps: &str) -> io::Result<unwind::Top> {
    request(libc::PTRACE_SEIZE, number, "ptrace(PTRACE_SEIZE)")?;
    request(libc::PTRACE_INTERRUPT, number, "ptrace(PTRACE_INTERRUPT)")?;
    wait_for_stop(number)?;
    let top = registers(number).and_then(|[pc, sp, fp, lr]| {
        let mut stack = vec![0; MOST_OF_A_STACK];
        let read = File::open(format!("/proc/{pid}/mem"))?.read_at(&mut stack, sp)?;
        stack.truncate(read);
        Ok(unwind::Top { pc, sp, fp, lr, stack_start: sp, stack, maps: maps.to_owned() })
    });
    // The only possible error is that it has ended meanwhile.
    let _ = request(libc::PTRACE_DETACH, number, "ptrace(PTRACE_DETACH)");
    top
}

/// Makes a request that has neither an address nor data.
#[cfg(feature = "backtrace")]
fn request(what: RequestKind, number: i32, name: &str) -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests read and write no memory of this process.
    match unsafe { libc::ptrace(what, number, nothing, nothing) } {
        -1 => Err(refused(name, last_error())),
        _ => Ok(()),
    }
}

/// What the C library takes for a request.
#[cfg(all(feature = "backtrace", target_env = "musl"))]
type RequestKind = libc::c_int;
#[cfg(all(feature = "backtrace", not(target_env = "musl")))]
type RequestKind = libc::c_uint;

#[cfg(feature = "backtrace")]
fn last_error() -> rustix::io::Errno {
    io::Error::last_os_error().raw_os_error().map_or(rustix::io::Errno::IO, rustix::io::Errno::from_raw_os_error)
}

/// Waits until a thread that was told to stop has. Its end is not asked for, so nothing is reaped here.
#[cfg(feature = "backtrace")]
fn wait_for_stop(number: i32) -> io::Result<()> {
    let deadline = Deadline::after(PATIENCE);
    let options = libc::WSTOPPED | libc::WNOHANG | libc::__WALL;
    loop {
        // SAFETY: all-zero bytes are a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the target is a variable of ours.
        let waited = unsafe { libc::waitid(libc::P_PID, number as libc::id_t, &raw mut info, options) };
        // SAFETY: waitid has filled it in, or it is all zeros.
        let who = unsafe { info.si_pid() };
        match waited {
            0 if who == number => return Ok(()),
            0 if deadline.passed() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not stop: it is in the kernel"));
            }
            0 => std::thread::sleep(Duration::from_micros(200)),
            _ if last_error() == rustix::io::Errno::INTR => {}
            _ => return Err(refused("waitid", last_error())),
        }
    }
}

/// The program counter, the stack pointer, the frame pointer, and the link register of processors that have one.
#[cfg(feature = "backtrace")]
fn registers(number: i32) -> io::Result<[u64; 4]> {
    /// `elf(5)`, the general registers.
    const NT_PRSTATUS: usize = 1;
    // SAFETY: all-zero bytes are valid registers.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let mut part = libc::iovec { iov_base: (&raw mut registers).cast(), iov_len: size_of_val(&registers) };
    let kind = std::ptr::without_provenance_mut::<libc::c_void>(NT_PRSTATUS);
    // SAFETY: the kernel writes as many bytes as the iovec says, into a variable of ours.
    if unsafe { libc::ptrace(libc::PTRACE_GETREGSET, number, kind, &raw mut part) } == -1 {
        return Err(refused("ptrace(PTRACE_GETREGSET)", last_error()));
    }
    #[cfg(target_arch = "x86_64")]
    return Ok([registers.rip, registers.rsp, registers.rbp, 0]);
    #[cfg(target_arch = "aarch64")]
    return Ok([registers.pc, registers.sp, registers.regs[29], registers.regs[30]]);
}
