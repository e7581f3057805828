//! Signals that this program is sent, told to functions on a thread of their own, for as long as anybody listens.
//!
//! A handler may do next to nothing, so it writes the number of the signal into a pipe, and a thread reads that. What the
//! program did with the signal before is kept: its own handler is called as well, and when nobody listens any more the signal
//! has its former effect again. (That is why no crate stands here: signal-hook never gives a signal back.)

use crate::sys::fork::{fork_generation, watch_for_forks};
use crate::sys::pipe;
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{arranged, call_handler, keeping_errno};
use crate::sys::thread;
use crate::sys::time::Deadline;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// One more than the largest number of a signal.
const SIGNALS: usize = 65;

/// What the handler needs, which may take no lock: where it writes to, and the process for which that was made.
static WRITER: AtomicI32 = AtomicI32::new(-1);
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The handler that each signal had before, and whether it takes three parameters. 0 and 1 are no handlers.
static BEFORE: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(libc::SIG_DFL) }; SIGNALS];
static BEFORE_FLAGS: [AtomicI32; SIGNALS] = [const { AtomicI32::new(0) }; SIGNALS];

/// Who listens. Taken by no handler.
static LISTENERS: Mutex<Listeners> =
    Mutex::new(Listeners { next: 0, all: Vec::new(), writer: None, replaced: Vec::new() });

struct Listeners {
    next: u64,
    all: Vec<Listener>,
    /// Keeps `WRITER` open, and says for which process the thread was started.
    writer: Option<(OwnedFd, u32)>,
    /// What our handler has replaced, by signal.
    replaced: Vec<(i32, libc::sigaction)>,
}

/// What asks a process to end.
#[cfg(feature = "cluster")]
pub(crate) const SIGTERM: i32 = libc::SIGTERM;

type Hear = Arc<dyn Fn() + Send + Sync>;

struct Listener {
    number: u64,
    signals: Vec<i32>,
    hear: Hear,
}

/// Listens until it is dropped.
#[must_use = "it listens until it is dropped"]
pub(crate) struct SignalWatch {
    number: u64,
}

impl fmt::Debug for SignalWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalWatch").finish_non_exhaustive()
    }
}

/// Calls `hear` whenever one of the signals comes, on a thread of its own.
///
/// # Errors
///
/// `InvalidInput`: what is no signal, or one that no program can take or that means a fault of its own code. Otherwise there is
/// no thread or no descriptor left.
pub(crate) fn watch(signals: &[i32], hear: impl Fn() + Send + Sync + 'static) -> io::Result<SignalWatch> {
    for &signal in signals {
        let is_fault = crate::sys::signal::FAULTS.contains(&signal);
        if !(1..SIGNALS as i32).contains(&signal) || is_fault || signal == libc::SIGKILL || signal == libc::SIGSTOP {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {signal} cannot be waited for")));
        }
    }
    watch_for_forks();
    let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.start()?;
    let number = listeners.next;
    listeners.next += 1;
    listeners.all.push(Listener { number, signals: signals.to_vec(), hear: Arc::new(hear) });
    let watch = SignalWatch { number };
    for &signal in signals {
        if let Err(error) = listeners.take(signal) {
            drop(listeners);
            drop(watch);
            return Err(error);
        }
    }
    Ok(watch)
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.all.retain(|it| it.number != self.number);
        listeners.give_back();
    }
}

impl Listeners {
    /// Makes sure that this process has the thread and its pipe.
    fn start(&mut self) -> io::Result<()> {
        let generation = fork_generation();
        if self.writer.as_ref().is_some_and(|(_, of)| *of == generation) {
            return Ok(());
        }
        let (reader, writer) = pipe::pipe()?;
        // A handler must not wait. What finds the pipe full is one of thousands of signals.
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK)?;
        let builder = std::thread::Builder::new().name("multiproc-signals".to_owned()).stack_size(256 * 1024);
        thread::spawn(builder, move || read(&reader))?;
        WRITER.store(writer.as_raw_fd(), Relaxed);
        GENERATION.store(generation, Relaxed);
        self.writer = Some((writer, generation));
        Ok(())
    }

    /// Puts our handler in the place of what the program does with a signal, unless it is there.
    fn take(&mut self, signal: i32) -> io::Result<()> {
        if self.replaced.iter().any(|(it, _)| *it == signal) {
            return Ok(());
        }
        let before = arranged(signal)?;
        // First what the handler looks up, then the handler.
        BEFORE_FLAGS[signal as usize].store(before.sa_flags, Relaxed);
        BEFORE[signal as usize].store(before.sa_sigaction, Relaxed);
        // SAFETY: all-zero bytes are a valid sigaction (no flags, empty mask, default handler).
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
        action.sa_sigaction = on_signal as *const () as usize;
        set(signal, &action)?;
        self.replaced.push((signal, before));
        Ok(())
    }

    /// Gives the signals back that nobody listens to, unless the program has taken them itself meanwhile.
    fn give_back(&mut self) {
        let is_wanted = |signal: &i32| self.all.iter().any(|it| it.signals.contains(signal));
        self.replaced.retain(|(signal, before)| {
            if is_wanted(signal) {
                return true;
            }
            let is_ours = arranged(*signal).is_ok_and(|it| it.sa_sigaction == on_signal as *const () as usize);
            if is_ours {
                // It was valid before, so it is now.
                let _ = set(*signal, before);
            }
            false
        });
    }
}

/// Sets what this process does with a signal: by our handler, or as it was before.
fn set(signal: i32, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the handler is ours, which calls only async-signal-safe functions, or the one that the program has had.
    match unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    keeping_errno(|| take(signal, info, context));
}

/// Passes a signal on to the reader, and to the handler that the program had for it.
fn take(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE[signal as usize].load(Relaxed);
    if fork_generation() == GENERATION.load(Relaxed) {
        let byte = [signal as u8];
        // SAFETY: write(2) is async-signal-safe, the byte is valid, and the pipe is never closed in this process.
        unsafe { libc::write(WRITER.load(Relaxed), byte.as_ptr().cast(), 1) };
    } else if before == libc::SIG_DFL {
        // A fork of the process that listens: nobody does here, so the signal has its usual effect as soon as it is unblocked,
        // behind this handler.
        // SAFETY: signal(2) is async-signal-safe; SIG_DFL involves no handler code.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: raise(3) is async-signal-safe.
        unsafe { libc::raise(signal) };
    }
    if before != libc::SIG_DFL && before != libc::SIG_IGN {
        call_handler(before, BEFORE_FLAGS[signal as usize].load(Relaxed), signal, info, context);
    }
}

/// Reads signals from the pipe and tells whoever listens to them. Never ends.
fn read(reader: &OwnedFd) {
    let mut signals = [0; 64];
    loop {
        match pipe::read(reader.as_fd(), &mut signals) {
            Ok(count) => {
                for signal in &signals[..count] {
                    let listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
                    let hears = |it: &&Listener| it.signals.contains(&i32::from(*signal));
                    let hear: Vec<Hear> = listeners.all.iter().filter(hears).map(|it| Arc::clone(&it.hear)).collect();
                    drop(listeners);
                    hear.iter().for_each(|hear| hear());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // An error would be one of our own; it is looked again.
                let _ = poll::wait(&[(reader.as_fd(), Interest::Readable)], Deadline::NEVER);
            }
            // The pipe is ours.
            Err(_) => return,
        }
    }
}
