//! Faults in a child process: what a signal handler notes for the parent before the process dies.
//!
//! Only what is async-signal-safe happens in the handler (`signal-safety(7)`): atomics, and system calls on memory that was
//! made before. The stack is copied and not walked: walking needs tables that a lock of the C library protects, and whoever
//! has crashed may hold it. The parent walks the copy.
//!
//! The handlers do not change what a fault does. What the program had arranged for the signal before happens after them.

use crate::sys::child::own_pid;
use crate::sys::crash::{self, COMPLETE, Head, MAPS, MAPS_AT, STACK, STACK_AT, STATM, number};
use crate::sys::memory::Mapping;
use crate::sys::signal::FAULTS;
use crate::sys::stack;
use crate::sys::thread::own_number;
use std::ffi::CStr;
use std::mem::offset_of;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};

/// How far below the stack of a thread a fault still means that it has overflowed.
const GUARD: usize = 64 << 10;

/// What handlers need beside what the kernel itself puts on their stack: ours little, those of the program after it perhaps a
/// backtrace.
const HANDLER: usize = 64 << 10;

const PAGE: usize = 4096;

/// What the handler knows.
#[derive(Debug)]
struct Watch {
    /// A fork has another one, and is not the parent's child.
    pid: i32,
    /// The lowest address of the stack of the thread that runs user code; 0 if that is unknown.
    lowest: usize,
    /// The stack that handlers run on, on that thread.
    alternate: Range<usize>,
    file: Option<Mapping>,
}

/// A copy of a process that had one gets one of its own. None is ever freed: a handler may use it.
static WATCH: AtomicPtr<Watch> = AtomicPtr::new(std::ptr::null_mut());

fn watching() -> Option<&'static Watch> {
    // SYNC: fault watch
    let watch = WATCH.load(Ordering::Acquire);
    // SAFETY: it is null, or comes from a box that was leaked in `watch`, and was complete before that stored it.
    unsafe { watch.as_ref() }
}

/// What was arranged for each signal before this library came, and what the program has arranged since.
static EARLIER: [OnceLock<libc::sigaction>; FAULTS.len()] = [const { OnceLock::new() }; FAULTS.len()];
static LATER: [OnceLock<libc::sigaction>; FAULTS.len()] = [const { OnceLock::new() }; FAULTS.len()];

/// The thread whose fault is being handled, and the context that its handler was called with.
static OWNER: AtomicI32 = AtomicI32::new(0);
static CONTEXT: AtomicUsize = AtomicUsize::new(0);

/// From now on notes the faults of this process in the file from [`crash::create`], if there is one; on the thread that runs
/// user code, whose stack may overflow.
///
/// An overflow is told on stderr as well, as std does in code that runs before `main`, which a worker never reaches.
pub(crate) fn watch(file: Option<OwnedFd>) {
    // The kernel puts all registers there, of which some processors have more than 10 KiB.
    let registers = rustix::param::linux_minsigstksz().max(libc::MINSIGSTKSZ);
    let memory = Box::leak(vec![0u8; HANDLER + registers].into_boxed_slice());
    let alternate = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    // SAFETY: the memory was leaked just now: it is valid, exclusive and lives for ever.
    unsafe { libc::sigaltstack(&alternate, std::ptr::null_mut()) };
    let start = alternate.ss_sp.addr();
    let watch = Watch {
        pid: own_pid(),
        lowest: stack::lowest().unwrap_or(0),
        alternate: start..start + alternate.ss_size,
        file: file.and_then(|file| crash::open(file.as_fd()).ok()),
    };
    // SYNC: fault watch
    WATCH.store(Box::into_raw(Box::new(watch)), Ordering::Release);
    install(&EARLIER);
}

/// Puts the handlers before those that the program has installed since [`watch`], in its initializer say.
pub(crate) fn watch_before_others() {
    if watching().is_some() {
        install(&LATER);
    }
}

/// Installs the handler for all faults, and keeps what there was in its place.
fn install(before: &[OnceLock<libc::sigaction>; FAULTS.len()]) {
    for (signal, before) in FAULTS.into_iter().zip(before) {
        // SAFETY: all-zero bytes are a valid sigaction (no flags, empty mask, default handler).
        let mut found: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks; the target is a sigaction of ours.
        let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut found) };
        if asked != 0 || found.sa_sigaction == on_fault as *const () as usize || before.set(found).is_err() {
            continue;
        }
        // The mask of the other handler, which is called by ours.
        let mut action = found;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = on_fault as *const () as usize;
        // SAFETY: the handler has the signature that SA_SIGINFO asks for and calls only async-signal-safe functions.
        unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    }
}

/// Notes the mappings of this process now, since later it will not be allowed to read them.
#[cfg(feature = "sandbox")]
pub(crate) fn note_mappings() {
    let Some(file) = watching().and_then(|watch| watch.file.as_ref()) else { return };
    let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
    let maps = &maps[..maps.len().min(MAPS)];
    if file.bytes().write(MAPS_AT, maps) {
        file.view::<Head>(0).maps_len.store(maps.len() as u64, Relaxed);
    }
}

/// What a call of the handler is.
#[derive(PartialEq, Eq)]
enum Entry {
    /// The fault itself.
    First,
    /// A second one while the first is handled, or a handler of the program that calls the one it found: this one.
    Again,
    /// Another thread has a fault at the same time, and was first.
    Elsewhere,
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(watch) = watching() else { return };
    let [pc, sp, fp, lr] = registers(context);
    let entry = enter(watch, sp as usize, context.addr());
    if let (Some(file), true) = (&watch.file, own_pid() == watch.pid) {
        let head: &Head = file.view(0);
        match entry {
            Entry::First => {
                let saved = [&head.registers.pc, &head.registers.sp, &head.registers.fp, &head.registers.lr];
                saved.into_iter().zip([pc, sp, fp, lr]).for_each(|(word, value)| word.store(value, Relaxed));
                note(watch, file, head, signal, info);
            }
            Entry::Again => head.last.store(number(signal), Relaxed),
            Entry::Elsewhere => {}
        }
    }
    if entry == Entry::First && is_overflow(watch, signal, info) {
        let text = b"\nmultiproc: a task has overflowed its stack\n";
        // SAFETY: write(2) is async-signal-safe, and the text is valid for its length.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
    pass_on(signal, info, context, entry == Entry::First);
    if entry == Entry::First {
        // A handler of the program has returned: it may have mended what was wrong, and the next fault is another one.
        OWNER.store(0, Relaxed);
    }
}

fn enter(watch: &Watch, sp: usize, context: usize) -> Entry {
    let own = own_number();
    match OWNER.compare_exchange(0, own, Relaxed, Relaxed) {
        Err(owner) if owner != own => return Entry::Elsewhere,
        Err(_) if CONTEXT.load(Relaxed) == context || watch.alternate.contains(&sp) => return Entry::Again,
        // If it has the mark already, the program has left its handler by a jump.
        Ok(_) | Err(_) => {}
    }
    CONTEXT.store(context, Relaxed);
    Entry::First
}

/// Writes down what the parent shall know.
fn note(watch: &Watch, file: &Mapping, head: &Head, signal: i32, info: *mut libc::siginfo_t) {
    let word = |word: &AtomicU64, value: u64| word.store(value, Relaxed);
    head.state.store(0, Relaxed);
    let overflow = is_overflow(watch, signal, info);
    // SAFETY: the kernel passes a valid siginfo to a handler installed with SA_SIGINFO.
    let info_ref = unsafe { &*info };
    // SAFETY: any siginfo has these bytes; what they mean depends on the signal, and the reader sees to that.
    let address = unsafe { info_ref.si_addr() } as u64;
    // SAFETY: the same.
    let sender = unsafe { info_ref.si_pid() };
    // On 64-bit systems the union in a siginfo begins at byte 16, and the number of a system call that a filter has refused
    // stands eight bytes behind its start.
    // SAFETY: a siginfo has 128 bytes.
    let system_call = unsafe { info.cast::<i32>().add(6) };
    // SAFETY: a siginfo is aligned to eight bytes, and all of its bytes were written by the kernel.
    let system_call = unsafe { system_call.read() };
    word(&head.signal, number(signal));
    word(&head.last, number(signal));
    word(&head.code, number(info_ref.si_code));
    word(&head.address, address);
    word(&head.sender, number(sender));
    word(&head.system_call, number(system_call));
    word(&head.is_overflow, u64::from(overflow));
    word(&head.pid, number(watch.pid));
    let start = file.bytes().start();
    // SAFETY: the file has a place for `MAPS` bytes there, of which nobody has a reference (`crash::open` has seen its length).
    let maps = unsafe { start.add(MAPS_AT) };
    // SAFETY: all-zero bytes are a valid rlimit.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: getrlimit(2) is a system call, and writes into a variable of ours.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_DATA, &mut limit) };
    word(&head.data_limit, if asked == 0 { limit.rlim_cur } else { u64::MAX });
    // SAFETY: the file has a place for `STATM` bytes there.
    let statm = unsafe { start.add(offset_of!(Head, statm)) };
    copy_file(c"/proc/self/statm", statm, STATM);
    let len = copy_file(c"/proc/self/maps", maps, MAPS);
    if len > 0 {
        // Otherwise those from `note_mappings` hold.
        word(&head.maps_len, len as u64);
    }
    // SAFETY: the same, for `STACK` bytes.
    let stack = unsafe { start.add(STACK_AT) };
    let (from, len) = copy_stack(watch.pid, head.registers.sp.load(Relaxed) as usize, stack);
    word(&head.stack_start, from as u64);
    word(&head.stack_len, len as u64);
    // SYNC: crash
    head.state.store(COMPLETE, Ordering::Release);
}

fn is_overflow(watch: &Watch, signal: i32, info: *mut libc::siginfo_t) -> bool {
    if ![libc::SIGSEGV, libc::SIGBUS].contains(&signal) || watch.lowest == 0 {
        return false;
    }
    // SAFETY: the kernel passes a valid siginfo to a handler installed with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: SIGSEGV and SIGBUS carry an address.
    let address = unsafe { info.si_addr() } as usize;
    info.si_code > 0 && (watch.lowest.saturating_sub(GUARD)..watch.lowest + PAGE).contains(&address)
}

/// The program counter, the stack pointer, the frame pointer and the link register at the fault.
fn registers(context: *mut libc::c_void) -> [u64; 4] {
    // SAFETY: the third argument of a handler installed with SA_SIGINFO is a `ucontext_t` (`sigaction(2)`).
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    #[cfg(target_arch = "x86_64")]
    {
        let register = |number: i32| context.uc_mcontext.gregs[number as usize] as u64;
        [register(libc::REG_RIP), register(libc::REG_RSP), register(libc::REG_RBP), 0]
    }
    #[cfg(target_arch = "aarch64")]
    {
        let machine = &context.uc_mcontext;
        [machine.pc, machine.sp, machine.regs[29], machine.regs[30]]
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        [0; 4]
    }
}

/// Copies the beginning of a file; the number of bytes.
fn copy_file(path: &CStr, to: *mut u8, most: usize) -> usize {
    // SAFETY: open(2) is async-signal-safe, and the path ends with a zero.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let mut len = 0;
    while fd >= 0 && len < most {
        // SAFETY: `len < most`, so that the pointer stays within the piece.
        let end = unsafe { to.add(len) };
        // SAFETY: read(2) is async-signal-safe, and the caller promises that `most` bytes may be written from `to` on.
        match usize::try_from(unsafe { libc::read(fd, end.cast(), most - len) }) {
            Ok(0) | Err(_) => break,
            Ok(count) => len += count,
        }
    }
    // SAFETY: close(2) is async-signal-safe; of -1 it says that this is no descriptor.
    unsafe { libc::close(fd) };
    len
}

/// Copies the stack from `sp` on, page by page, as far as there are pages: where it began, and the number of bytes. If it has
/// overflowed there are none at its top.
fn copy_stack(pid: i32, sp: usize, to: *mut u8) -> (usize, usize) {
    let (mut start, mut len) = (sp, 0);
    while len < STACK {
        let from = start.wrapping_add(len);
        let count = (PAGE - from % PAGE).min(STACK - len);
        // SAFETY: `len < STACK`, so that the pointer stays within the piece.
        let end = unsafe { to.add(len) };
        let local = libc::iovec { iov_base: end.cast(), iov_len: count };
        let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(from), iov_len: count };
        // By the kernel, since the pointer may lead anywhere: what cannot be read is an error then, and no second fault.
        // SAFETY: the local piece has room for `count` bytes, and the remote one may be any (`process_vm_readv(2)`).
        let read =
            unsafe { libc::syscall(libc::SYS_process_vm_readv, pid, &local, 1_usize, &remote, 1_usize, 0_usize) };
        if usize::try_from(read) == Ok(count) {
            len += count;
        } else if len == 0 && start < sp.saturating_add(GUARD) {
            start = from.saturating_add(count);
        } else {
            break;
        }
    }
    (start, len)
}

/// Does what would have been done without this library.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void, first: bool) {
    let Some(at) = FAULTS.iter().position(|fault| *fault == signal) else { return };
    let action = LATER[at].get().filter(|_| first).or_else(|| EARLIER[at].get());
    let handler = action.map_or(libc::SIG_DFL, |action| action.sa_sigaction);
    if [libc::SIG_DFL, libc::SIG_IGN].contains(&handler) {
        return die(signal, info);
    }
    if action.is_some_and(|action| action.sa_flags & libc::SA_SIGINFO != 0) {
        type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
        // SAFETY: the program has installed this address as a handler that takes three arguments.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: the program has installed this address as a handler that takes the number alone.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(i32)>(handler) };
        handler(signal);
    }
}

/// Has this thread die of the signal as soon as the handler has returned, so that the parent sees the true cause, and a dump
/// the place of the fault.
fn die(signal: i32, info: *mut libc::siginfo_t) {
    // SAFETY: signal(2) is async-signal-safe; SIG_DFL involves no handler code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // It waits until the handler has returned, since the signal is blocked meanwhile. Where a filter of system calls refuses
    // it, the same instruction faults again.
    // SAFETY: rt_tgsigqueueinfo(2) reads a siginfo, and this is the one that the kernel has made.
    unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, own_pid(), own_number(), signal, info) };
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_copied_as_far_as_there_is_one() {
        let mut room = vec![0u8; STACK];
        let here = 0x5eed_5eed_5eed_5eed_u64;
        let sp = std::ptr::from_ref(&here).addr();
        let (start, len) = copy_stack(own_pid(), sp, room.as_mut_ptr());
        assert!(start == sp && len >= 8 && room[..8] == here.to_ne_bytes(), "{len}");
        // A stack that has overflowed: its top lies on a page that is none.
        let pages = memmap2::MmapMut::map_anon(3 * PAGE).unwrap();
        let bottom = pages.as_ptr().addr();
        // SAFETY: it takes a page of this test's own away, which nobody reads.
        unsafe { libc::mprotect(std::ptr::without_provenance_mut(bottom), PAGE, libc::PROT_NONE) };
        let (start, len) = copy_stack(own_pid(), bottom + 40, room.as_mut_ptr());
        assert!(start == bottom + PAGE && len >= 2 * PAGE, "{len}");
        assert_eq!(copy_stack(own_pid(), 8, room.as_mut_ptr()).1, 0);
        assert_eq!(copy_stack(own_pid(), usize::MAX - 8, room.as_mut_ptr()).1, 0);
    }

    #[test]
    fn a_file_is_copied_up_to_a_limit() {
        let mut room = vec![0u8; MAPS];
        let len = copy_file(c"/proc/self/maps", room.as_mut_ptr(), MAPS);
        assert!(String::from_utf8_lossy(&room[..len]).contains("[stack]"));
        assert_eq!(copy_file(c"/proc/self/maps", room.as_mut_ptr(), 10), 10);
        assert_eq!(copy_file(c"/nowhere", room.as_mut_ptr(), 10), 0);
    }
}
