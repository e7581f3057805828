//! What a process leaves behind when a fault ends it: [`fault`](crate::sys::fault) writes it into a memory file in the process
//! itself, and the parent reads it there when the process is gone.
//!
//! The parent believes nothing of it: a task may have written into that memory. Lengths are bounded, numbers are only shown,
//! and no file is opened by a name that stands there.

use crate::error::{Cause, Crash, Stack, Use};
use crate::sys::memory::{self, Atomics, Mapping};
#[cfg(feature = "backtrace")]
use crate::sys::unwind;
use crate::sys::usage;
use std::io;
use std::mem::offset_of;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of the stack is kept, from its top on.
pub(super) const STACK: usize = 128 << 10;

/// How much of the list of mappings is kept, which begins with the executable.
pub(super) const MAPS: usize = 192 << 10;

/// How much of `/proc/self/statm` is kept, which is some numbers.
pub(super) const STATM: usize = 128;

pub(super) const MAPS_AT: usize = 4096;
pub(super) const STACK_AT: usize = MAPS_AT + MAPS;

/// The length of the file. Sparse: it takes no memory before there is a fault.
const LEN: usize = STACK_AT + STACK;

/// The values of [`Head::state`].
pub(super) const COMPLETE: u64 = 1;

/// The beginning of the file.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Head {
    pub(super) state: AtomicU64,
    /// The signal of the fault, and the last one that the same thread has had while it was handled.
    pub(super) signal: AtomicU64,
    pub(super) last: AtomicU64,
    /// `si_code`, `si_addr`, `si_pid` and `si_syscall` of `sigaction(2)`, as far as the signal has them.
    pub(super) code: AtomicU64,
    pub(super) address: AtomicU64,
    pub(super) sender: AtomicU64,
    pub(super) system_call: AtomicU64,
    pub(super) is_overflow: AtomicU64,
    /// The process.
    pub(super) pid: AtomicU64,
    pub(super) registers: Registers,
    /// Where the stack that was kept began, and how much there is of it and of the mappings.
    pub(super) stack_start: AtomicU64,
    pub(super) stack_len: AtomicU64,
    pub(super) maps_len: AtomicU64,
    /// `RLIMIT_DATA`, and the text of `/proc/self/statm`.
    pub(super) data_limit: AtomicU64,
    pub(super) statm: [AtomicU64; STATM / 8],
}

// SAFETY: `repr(C)`, and all fields are atomics of eight bytes or consist of such.
unsafe impl Atomics for Head {}

/// What an unwinder begins with: the program counter, the stack pointer, the frame pointer, and the link register of
/// processors that have one.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) pc: AtomicU64,
    pub(super) sp: AtomicU64,
    pub(super) fp: AtomicU64,
    pub(super) lr: AtomicU64,
}

/// A new file for one process to come.
///
/// # Errors
///
/// There are no memory files, or no descriptors.
pub(crate) fn create() -> io::Result<OwnedFd> {
    memory::create("multiproc-crash", LEN)
}

/// The file that a process was given, mapped.
///
/// # Errors
///
/// It is another file, or cannot be mapped.
pub(super) fn open(file: BorrowedFd<'_>) -> io::Result<Mapping> {
    let mapping = memory::map(file)?;
    if mapping.bytes().len() == LEN { Ok(mapping) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// What the process that was given the file has left there, if `signal` is what has ended it.
pub(crate) fn read(file: BorrowedFd<'_>, signal: i32) -> Option<Crash> {
    let mapping = open(file).ok()?;
    let head: &Head = mapping.view(0);
    // SYNC: crash
    if head.state.load(Ordering::Acquire) != COMPLETE || load(&head.last) != number(signal) {
        return None;
    }
    Some(Crash { cause: cause(head), stack: stack(&mapping, head), data: data(&mapping, head) })
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// A number of the system as it stands in the file.
pub(super) fn number(of: i32) -> u64 {
    u64::from(of as u32)
}

fn cause(head: &Head) -> Cause {
    let as_i32 = |word: &AtomicU64| load(word) as i32;
    let (signal, code) = (as_i32(&head.signal), as_i32(&head.code));
    // What a process has sent, and not the kernel. `sigaction(2)`.
    if code <= 0 {
        let sender = as_i32(&head.sender);
        return match signal {
            libc::SIGABRT if sender == as_i32(&head.pid) => Cause::Abort,
            _ if sender == as_i32(&head.pid) => Cause::Own,
            _ => Cause::Sent { by: sender },
        };
    }
    match signal {
        _ if load(&head.is_overflow) != 0 => Cause::StackOverflow,
        // An address that no program can have is not told.
        libc::SIGSEGV | libc::SIGBUS if code == SI_KERNEL => Cause::Memory { address: None },
        libc::SIGSEGV | libc::SIGBUS => Cause::Memory { address: Some(load(&head.address)) },
        libc::SIGILL => Cause::Instruction,
        libc::SIGFPE => Cause::Arithmetic,
        libc::SIGSYS => Cause::SystemCall { number: as_i32(&head.system_call) },
        _ => Cause::Trap,
    }
}

/// How much private memory it had, and was allowed to have, if that was limited.
fn data(mapping: &Mapping, head: &Head) -> Option<Use> {
    let limit = Some(load(&head.data_limit)).filter(|limit| *limit != u64::MAX)?;
    let text = mapping.bytes().slice(offset_of!(Head, statm), STATM)?.to_vec::<u8>().ok()?;
    let text = text.split(|byte| *byte == 0).next().and_then(|text| std::str::from_utf8(text).ok())?;
    Some(Use { used: usage::data_memory(text)?, limit })
}

/// `si_code` of what comes from the kernel and has no better one. `sigaction(2)`.
const SI_KERNEL: i32 = 0x80;

#[cfg(feature = "backtrace")]
fn stack(mapping: &Mapping, head: &Head) -> Stack {
    let piece = |at: usize, len: &AtomicU64, most: usize| {
        let len = usize::try_from(load(len)).unwrap_or(usize::MAX).min(most);
        mapping.bytes().slice(at, len).and_then(|piece| piece.to_vec::<u8>().ok()).unwrap_or_default()
    };
    let Registers { pc, sp, fp, lr } = &head.registers;
    let top = unwind::Top {
        pc: load(pc),
        sp: load(sp),
        fp: load(fp),
        lr: load(lr),
        stack_start: load(&head.stack_start),
        stack: piece(STACK_AT, &head.stack_len, STACK),
        maps: String::from_utf8_lossy(&piece(MAPS_AT, &head.maps_len, MAPS)).into_owned(),
    };
    // Not here: the calling thread reaps all children, and the tables of a large program take it a while.
    Stack::new(move || unwind::frames(&top))
}

#[cfg(not(feature = "backtrace"))]
fn stack(_mapping: &Mapping, _head: &Head) -> Stack {
    Stack::default()
}
