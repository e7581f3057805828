//! Faults in a child process: what a signal handler notes for the parent before the process dies.
//!
//! Only what is async-signal-safe happens in the handler (`signal-safety(7)`): atomics, and system calls on memory that was
//! made before. The stack is copied and not walked: walking needs tables that a lock of the C library protects, and whoever
//! has crashed may hold it. The parent walks the copy.
//!
//! What the program has arranged for a signal goes on: its handler is called after the note, with its own mask and flags and
//! the `errno` of the interrupted code, on as many threads as have faults; one with `SA_RESETHAND` is called once. A signal
//! that the program ignores has no handler of this library. Three things differ: `sigaction(2)` tells of the handler here, that
//! of the program runs on the stack for handlers if there is one, and each fault that it mends costs a note, which is a copy
//! of the top of the stack and of the list of mappings. A note is taken back when the fault was mended; one whose handler
//! was left by a jump stays until the next fault.
//!
//! There are two handlers, one before what was arranged when the library came, and one before what the initializer has
//! arranged, so that a handler of the program that calls the one it has found goes on with what was there before it.

use crate::sys::child::own_pid;
use crate::sys::crash::{self, COMPLETE, Head, MAPS, MAPS_AT, STACK, STACK_AT, STATM, number};
use crate::sys::memory::Mapping;
use crate::sys::signal::{FAULTS, Handler, arranged, call_handler, keeping_errno};
use crate::sys::stack;
use crate::sys::thread::own_number;
use std::ffi::CStr;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering, Ordering::Relaxed};

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

/// What somebody had arranged for a signal before a handler of this library took its place.
#[derive(Debug)]
struct Arranged {
    action: OnceLock<libc::sigaction>,
    /// It was for one signal (`SA_RESETHAND`), which has come.
    is_spent: AtomicBool,
}

impl Arranged {
    const fn nothing() -> Arranged {
        Arranged { action: OnceLock::new(), is_spent: AtomicBool::new(false) }
    }

    /// The handler to call for a signal that has come; without one the process dies.
    fn take(&self) -> Option<&libc::sigaction> {
        let action = self.action.get().filter(|action| action.sa_sigaction != libc::SIG_DFL)?;
        let is_for_one = action.sa_flags & libc::SA_RESETHAND != 0;
        (!is_for_one || !self.is_spent.swap(true, Relaxed)).then_some(action)
    }
}

/// What was arranged for each signal before this library came, and what the program has arranged since.
static EARLIER: [Arranged; FAULTS.len()] = [const { Arranged::nothing() }; FAULTS.len()];
static LATER: [Arranged; FAULTS.len()] = [const { Arranged::nothing() }; FAULTS.len()];

/// The thread that writes the note; 0 if none does. A thread that is about to die keeps it.
static WRITER: AtomicI32 = AtomicI32::new(0);

/// The thread whose fault the note tells of; 0 if there is none. Changed by the writer alone.
static NOTED: AtomicI32 = AtomicI32::new(0);

/// How often a thread that is about to die looks whether another one has finished its note.
const PATIENCE: usize = 1000;

/// From now on notes the faults of this process in the file from [`crash::create`], if there is one; on the thread that runs
/// user code, whose stack may overflow.
///
/// An overflow that nobody mends is told on stderr as well, as std does in programs that reach `main`, which no worker does.
pub(crate) fn watch(file: Option<OwnedFd>) {
    // The kernel puts all registers there, of which some processors have more than 10 KiB.
    let registers = rustix::param::linux_minsigstksz().max(libc::MINSIGSTKSZ);
    let memory = Box::leak(Box::<[u8]>::new_uninit_slice(HANDLER + registers));
    let alternate = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    // SAFETY: the memory was leaked just now: it is valid, exclusive and lives for ever.
    unsafe { libc::sigaltstack(&alternate, std::ptr::null_mut()) };
    let watch = Watch {
        pid: own_pid(),
        lowest: stack::lowest().unwrap_or(0),
        file: file.and_then(|file| crash::open(file.as_fd()).ok()),
    };
    // SYNC: fault watch
    WATCH.store(Box::into_raw(Box::new(watch)), Ordering::Release);
    install(on_fault, &EARLIER);
}

/// Puts the handlers before those that the program has installed since [`watch`], in its initializer say.
pub(crate) fn watch_before_others() {
    if watching().is_some() {
        install(on_fault_before_others, &LATER);
    }
}

/// Installs a handler for all faults, and keeps what there was in its place.
fn install(handler: Handler, before: &[Arranged; FAULTS.len()]) {
    let own = [on_fault as *const () as usize, on_fault_before_others as *const () as usize];
    for (signal, before) in FAULTS.into_iter().zip(before) {
        // In a copy of a process that has installed it.
        if before.action.get().is_some() {
            continue;
        }
        let Ok(found) = arranged(signal) else { continue };
        // What is ignored stays so, also in programs that this one executes. A true fault is fatal even then.
        if found.sa_sigaction == libc::SIG_IGN || own.contains(&found.sa_sigaction) || before.action.set(found).is_err()
        {
            continue;
        }
        // With the mask and the flags of the other handler, which is called by ours. That it is for one signal alone is seen
        // to when it is called, so that what kills the process afterwards is noted.
        let mut action = found;
        action.sa_flags = found.sa_flags & !libc::SA_RESETHAND | libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = handler as *const () as usize;
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

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    handle(&EARLIER, signal, info, context);
}

extern "C" fn on_fault_before_others(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    handle(&LATER, signal, info, context);
}

/// Notes a fault, and does what would have been done without this library.
fn handle(before: &[Arranged; FAULTS.len()], signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(watch) = watching() else { return };
    let Some(before) = FAULTS.iter().position(|fault| *fault == signal).and_then(|at| before.get(at)) else { return };
    let next = before.take();
    let told = keeping_errno(|| tell(watch, signal, info, context, next.is_none()));
    let Some(action) = next else { return die(signal, info) };
    call_handler(action.sa_sigaction, action.sa_flags, signal, info, context);
    keeping_errno(|| take_back(watch, signal, told));
}

/// What a call of a handler has added to the note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing: there is no file, or another thread was writing.
    Nothing,
    /// All of it: the note tells of this fault.
    All,
    /// That one more signal came while a handler of the program had the fault that the note tells of.
    OneMore,
}

/// Notes a fault. If it is the last one no handler of the program takes it, and the process dies of it.
fn tell(watch: &Watch, signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void, is_last: bool) -> Told {
    let [pc, sp, fp, lr] = registers(context);
    let own = own_number();
    let is_one_more = NOTED.load(Relaxed) == own && is_in_handler(context, sp);
    let overflow = is_overflow(watch, signal, info);
    if is_last && !is_one_more && overflow {
        let text = b"\nmultiproc: a task has overflowed its stack\n";
        // SAFETY: write(2) is async-signal-safe, and the text is valid for its length.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
    // A fork has the file, too, and is not what its reader waits for.
    let Some(file) = watch.file.as_ref().filter(|_| own_pid() == watch.pid) else { return Told::Nothing };
    let head: &Head = file.view(0);
    if is_one_more {
        head.last.store(number(signal), Relaxed);
        return Told::OneMore;
    }
    if !claim(own, if is_last { PATIENCE } else { 1 }) {
        return Told::Nothing;
    }
    NOTED.store(own, Relaxed);
    let saved = [&head.registers.pc, &head.registers.sp, &head.registers.fp, &head.registers.lr];
    saved.into_iter().zip([pc, sp, fp, lr]).for_each(|(word, value)| word.store(value, Relaxed));
    note(watch, file, head, signal, info, overflow);
    if !is_last {
        release();
    }
    Told::All
}

/// After a handler of the program has returned: unless the process dies of the signal now, it has mended what was wrong, and
/// that is not what the process dies of one day.
fn take_back(watch: &Watch, signal: i32, told: Told) {
    let Some(file) = watch.file.as_ref().filter(|_| own_pid() == watch.pid) else { return };
    let dies = arranged(signal).is_ok_and(|action| action.sa_sigaction == libc::SIG_DFL);
    let (head, own): (&Head, i32) = (file.view(0), own_number());
    // If another thread is writing, it writes over this note.
    if told == Told::Nothing || dies || !claim(own, 1) {
        return;
    }
    if NOTED.load(Relaxed) == own {
        match told {
            Told::OneMore => head.last.store(head.signal.load(Relaxed), Relaxed),
            Told::Nothing | Told::All => {
                head.state.store(0, Relaxed);
                NOTED.store(0, Relaxed);
            }
        }
    }
    release();
}

/// Makes this thread the one that writes the note, if no other one is, after so many looks.
fn claim(own: i32, looks: usize) -> bool {
    for look in 0..looks {
        if look > 0 {
            // SAFETY: it takes nothing, and is a system call.
            unsafe { libc::sched_yield() };
        }
        // SYNC: fault note
        match WRITER.compare_exchange(0, own, Ordering::Acquire, Relaxed) {
            Err(writer) if writer != own => {}
            // If it is the writer already, a handler for another signal has left its note by a jump.
            Ok(_) | Err(_) => return true,
        }
    }
    false
}

/// Lets other threads write.
fn release() {
    // SYNC: fault note
    WRITER.store(0, Ordering::Release);
}

/// Whether the code that was interrupted runs on the stack for handlers of its thread.
fn is_in_handler(context: *mut libc::c_void, sp: u64) -> bool {
    // SAFETY: the third argument of a handler installed with SA_SIGINFO is a `ucontext_t` (`sigaction(2)`).
    let stack = unsafe { &*context.cast::<libc::ucontext_t>() }.uc_stack;
    let distance = (sp as usize).checked_sub(stack.ss_sp.addr());
    distance.is_some_and(|distance| distance < stack.ss_size)
}

/// Writes down what the parent shall know.
fn note(watch: &Watch, file: &Mapping, head: &Head, signal: i32, info: *mut libc::siginfo_t, overflow: bool) {
    let word = |word: &AtomicU64, value: u64| word.store(value, Relaxed);
    head.state.store(0, Relaxed);
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
        let whole = std::fs::read("/proc/self/cmdline").unwrap();
        let len = copy_file(c"/proc/self/cmdline", room.as_mut_ptr(), MAPS);
        assert_eq!(room[..len], whole);
        assert_eq!(copy_file(c"/proc/self/maps", room.as_mut_ptr(), 10), 10);
        assert_eq!(copy_file(c"/nowhere", room.as_mut_ptr(), 10), 0);
    }
}
