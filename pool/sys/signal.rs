//! What std's start-up would have done for a process that never reaches `main`, and how such a process ends.

#[cfg(feature = "cluster")]
use crate::sys::descriptor::move_up;
use crate::sys::refusal::named;
use crate::sys::{descriptor, pipe};
use rustix::process::Signal;
use std::io::{self, Write};
#[cfg(feature = "cluster")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};

/// Asks the kernel to kill this process when the thread that started it ends.
///
/// `prctl(2)`, `PR_SET_PDEATHSIG`. It is the *thread* that counts, which is why one thread that never ends starts every
/// child. If the parent died before this call nothing happens, so look at the parent's pid again afterwards.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Lets this process outlive its parent and what ends the parent's group and terminal, and gives back what it has got from
/// it: the opposite of [`die_with_parent`], on the same thread, for a process that tidies up.
pub(crate) fn stay_behind() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(None)?;
    // Not possible for the leader of a group, which has a group of its own already.
    let _ = rustix::process::setsid();
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: sets a standard disposition; no handler code is involved.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Whoever reads what the program writes must see its end.
    let null = descriptor::null()?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let open = std::fs::read_dir("/proc/self/fd")?;
    let open: Vec<i32> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // What has come through exec lacks the flag; all that this process has opened itself has it.
        // SAFETY: F_GETFD only asks; a closed descriptor is the error EBADF.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == 0 {
            // SAFETY: nothing in this process knows a descriptor that the program before it has left open.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// The signals that a thread causes itself: blocked, they would end the process without a word.
pub(super) const FAULTS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT];

/// Signals of the terminal. Who starts a program with one of them ignored (`nohup`, a shell in the background) means all
/// processes of it.
const OF_THE_TERMINAL: [i32; 5] = [libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// The signals that a thread blocks. `pthread_sigmask(3)`.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

/// Blocks all signals on this thread but those of its own faults; the mask that it had before.
pub(crate) fn block_all() -> Mask {
    let mut mask = std::mem::MaybeUninit::uninit();
    // SAFETY: fills in the set.
    unsafe { libc::sigfillset(mask.as_mut_ptr()) };
    // SAFETY: it was filled in by the call above.
    let mut mask = unsafe { mask.assume_init() };
    for signal in FAULTS {
        // SAFETY: the set is whole, and these are numbers of signals.
        unsafe { libc::sigdelset(&mut mask, signal) };
    }
    set_mask(&Mask(mask))
}

/// Sets the signals that this thread blocks; those that it has blocked before.
pub(crate) fn set_mask(mask: &Mask) -> Mask {
    let mut before = std::mem::MaybeUninit::zeroed();
    // SAFETY: both sets are valid for the call. It cannot fail: SIG_SETMASK exists.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &mask.0, before.as_mut_ptr()) };
    // SAFETY: it was filled in; and all zeros, as before, are a set as well.
    Mask(unsafe { before.assume_init() })
}

/// Makes a new child independent of what its parent does with signals: it blocks none, and those that its parent ignores
/// have their usual effect, but for those of the terminal. Handlers do not pass through `exec`.
///
/// SIGINT has none (the parent decides what Ctrl-C means), and is not ignored either, since programs that a task starts would
/// inherit that. SIGPIPE is ignored: a broken pipe is an error value, as in every Rust program.
pub(crate) fn start_afresh() {
    extern "C" fn nothing(_signal: i32) {}
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !OF_THE_TERMINAL.contains(signal)) {
        // Those that cannot be changed are no concern.
        if is_ignored(signal) {
            default(signal);
        }
    }
    // SAFETY: all-zero bytes are a valid sigaction (no flags, empty mask, default handler).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_flags = libc::SA_RESTART;
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the handler does nothing.
    unsafe { libc::sigaction(libc::SIGINT, &action, std::ptr::null_mut()) };
    // SAFETY: sets a standard disposition; no handler code is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: fills in the set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: it was filled in by the call above.
    set_mask(&Mask(unsafe { none.assume_init() }));
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: all-zero bytes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; a number that is no signal is an error, and leaves the default.
    unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
    action.sa_sigaction == libc::SIG_IGN
}

fn default(signal: i32) {
    // SAFETY: sets a standard disposition; no handler code is involved.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Runs a part of a handler, and leaves the interrupted code its `errno`.
pub(super) fn keeping_errno<R>(part: impl FnOnce() -> R) -> R {
    // SAFETY: it takes nothing, and returns the place of the error number of this thread, which is valid as long as that lives.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: nobody but this thread writes there.
    let before = unsafe { place.read() };
    let result = part();
    // SAFETY: the same.
    unsafe { place.write(before) };
    result
}

/// What this process does with a signal. `sigaction(2)`.
pub(super) fn arranged(signal: i32) -> io::Result<libc::sigaction> {
    // SAFETY: all-zero bytes are a valid sigaction (no flags, empty mask, default handler).
    let mut found: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks; the target is a sigaction of ours.
    match unsafe { libc::sigaction(signal, std::ptr::null(), &mut found) } {
        0 => Ok(found),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A handler with `SA_SIGINFO`.
pub(super) type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// Calls a handler that the program has installed at this address with these flags.
pub(super) fn call_handler(
    address: usize,
    flags: i32,
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the program has installed this address as a handler that takes three arguments.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(address) };
        handler(signal, info, context);
    } else {
        // SAFETY: the program has installed this address as a handler that takes the number alone.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(i32)>(address) };
        handler(signal);
    }
}

/// Lets SIGINT end this process again, after [`start_afresh`].
pub(crate) fn heed_interrupts() {
    default(libc::SIGINT);
}

/// Has `handler` called when this process exits: after `main`, in `exit`, and after a panic that has unwound `main`.
///
/// `atexit(3)`. Thread-locals with destructors are gone by then, on the thread that it runs on.
pub(crate) fn at_exit(handler: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the handler is a function of this executable, which stays loaded to the end.
    match unsafe { libc::atexit(handler) } {
        0 => Ok(()),
        _ => Err(io::ErrorKind::OutOfMemory.into()),
    }
}

/// Makes sure that descriptors 0, 1 and 2 are open, so that no file or socket can ever land there.
pub(crate) fn open_standard_descriptors() {
    for fd in 0..3 {
        // SAFETY: F_GETFD only asks; a closed descriptor is the error EBADF.
        let closed = unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1;
        if closed {
            // SAFETY: a constant path; open(2) takes the lowest free number, which is `fd`.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Puts /dev/null in the place of standard input; or, where there is none, a pipe that nobody writes to.
pub(crate) fn close_standard_input() -> io::Result<()> {
    let nothing = descriptor::null().or_else(|_| pipe::plain().map(|(reader, _)| reader))?;
    set_standard_input(nothing.as_fd())
}

/// Makes a copy of a descriptor the standard input of this process.
pub(crate) fn set_standard_input(fd: BorrowedFd<'_>) -> io::Result<()> {
    named("dup2", rustix::stdio::dup2_stdin(fd))
}

/// Takes standard input and output away from everything else in this process: returns them, puts nothing in the place of the
/// one, and standard error in the place of the other.
#[cfg(feature = "cluster")]
pub(crate) fn take_standard_streams() -> io::Result<(OwnedFd, OwnedFd)> {
    let (input, output) = (move_up(io::stdin().as_fd())?, move_up(io::stdout().as_fd())?);
    close_standard_input()?;
    named("dup2", rustix::stdio::dup2_stdout(io::stderr()))?;
    Ok((input, output))
}

/// The name that ps and top show for the calling thread, and for the process if it is the main thread (15 bytes).
pub(crate) fn set_thread_name(name: &str) {
    let mut bytes: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(15).collect();
    bytes.push(0);
    if let Ok(name) = std::ffi::CStr::from_bytes_with_nul(&bytes) {
        // Only a label: without it everything works just the same.
        let _ = rustix::thread::set_name(name);
    }
}

/// Ends the process at once: no destructors, no exit handlers. `_exit(2)`.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches nothing of ours.
    unsafe { libc::_exit(code) }
}

/// Writes out what Rust's and C's standard streams still hold.
pub(crate) fn flush_standard_streams() {
    // A closed stdout or stderr is not our task's fault, and there is nobody left to tell.
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    // SAFETY: a null stream means all of C's output streams (fflush(3)).
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// The size of a normal stack: what the main thread of a program would get (`ulimit -s`), at most 64 MiB, in bytes.
pub(crate) fn stack_limit() -> usize {
    const DEFAULT: u64 = 8 << 20;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current.unwrap_or(DEFAULT);
    usize::try_from(limit.clamp(1 << 20, 64 << 20)).unwrap_or(DEFAULT as usize)
}
