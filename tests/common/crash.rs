//! Crashes, as broken code has them, below functions whose names an error must tell.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

/// What a pointer to a structure reads that is null.
const FIELD: u64 = 16;

/// Dereferences null, three calls deep.
#[inline(never)]
pub(crate) fn outer(x: u64) -> u64 {
    middle(x) + 1
}

#[inline(never)]
fn middle(x: u64) -> u64 {
    inner(x) + 1
}

#[allow(unsafe_code)]
#[inline(never)]
fn inner(x: u64) -> u64 {
    let pointer: *const u64 = std::ptr::without_provenance(FIELD as usize);
    // SAFETY: none: this is what broken code does, in a process of its own.
    x + unsafe { std::ptr::read_volatile(pointer) }
}

/// Calls abort, two calls deep.
#[inline(never)]
pub(crate) fn gives_up(x: u64) -> u64 {
    aborts(x) + 1
}

#[inline(never)]
fn aborts(x: u64) -> u64 {
    if x < 1000 { std::process::abort() } else { x }
}

/// Recurses without end.
#[inline(never)]
#[expect(unconditional_recursion, reason = "it is what this does")]
pub(crate) fn recurses(x: u64) -> u64 {
    let large = std::hint::black_box([x; 64]);
    recurses(x + 1) + large[7]
}

/// Jumps to an address where there is no function.
#[allow(unsafe_code)]
#[inline(never)]
pub(crate) fn calls_nothing(x: u64) -> u64 {
    // SAFETY: none: this is what broken code does, in a process of its own.
    let function = unsafe { std::mem::transmute::<u64, extern "C" fn(u64) -> u64>(FIELD) };
    std::hint::black_box(function)(x) + 1
}

/// Divides by zero, as C code does.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline(never)]
pub(crate) fn divides(x: u64) -> u64 {
    let quotient: u64;
    // SAFETY: none: the processor refuses it, which is what this is for.
    unsafe { std::arch::asm!("div {0}", in(reg) 0_u64, inout("rax") x => quotient, inout("rdx") 0_u64 => _) };
    quotient
}

/// Executes what is no instruction.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline(never)]
pub(crate) fn executes_nonsense(x: u64) -> u64 {
    // SAFETY: none: the processor refuses it, which is what this is for.
    unsafe { std::arch::asm!("ud2") };
    x
}

/// Has `handler` called for SIGSEGV.
#[allow(unsafe_code)]
pub(crate) fn on_sigsegv(handler: extern "C" fn(i32)) {
    // SAFETY: The handlers of the tests call only what is async-signal-safe.
    unsafe { libc::signal(libc::SIGSEGV, handler as *const () as libc::sighandler_t) };
}

/// What a handler of the program says.
#[allow(unsafe_code)]
fn say() {
    let text = b"the handler of the program\n";
    // SAFETY: write(2) is async-signal-safe, and the text is valid for its length.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

/// Says something on stderr, and lets the next SIGSEGV end the process, as handlers of programs do.
#[allow(unsafe_code)]
pub(crate) extern "C" fn says_so(signal: i32) {
    say();
    // SAFETY: SIG_DFL involves no handler code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// A page that cannot be read before [`mends`] was called.
pub(crate) fn forbidden_page() -> *mut libc::c_void {
    let page = forbidden();
    PAGE.store(page, Relaxed);
    page
}

static PAGE: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Makes the page readable, as runtimes do that use faults on purpose.
#[allow(unsafe_code)]
pub(crate) extern "C" fn mends(_signal: i32) {
    let page = PAGE.load(Relaxed);
    // SAFETY: mprotect(2) is a system call; the page is the one that `forbidden_page` made.
    unsafe { libc::mprotect(page, 4096, libc::PROT_READ) };
}

/// Reads the page from [`forbidden_page`].
#[allow(unsafe_code)]
pub(crate) fn read_page(page: *mut libc::c_void) -> u8 {
    // SAFETY: it is mapped, and becomes readable on the first fault.
    unsafe { std::ptr::read_volatile(page.cast::<u8>()) }
}

/// A page of its own that cannot be read.
#[allow(unsafe_code)]
fn forbidden() -> *mut libc::c_void {
    // SAFETY: makes a mapping of its own, wherever there is room.
    let page = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(page, libc::MAP_FAILED);
    page
}

/// What a handler with `SA_SIGINFO` is.
pub(crate) type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// Has `handler` called for SIGSEGV, with more flags than `SA_SIGINFO`.
#[allow(unsafe_code)]
pub(crate) fn on_sigsegv_with(flags: i32, handler: Handler) {
    // SAFETY: all zeros is a valid `sigaction`: no flags, an empty mask, the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags | libc::SA_SIGINFO;
    // SAFETY: all zeros is a valid `sigaction` here, too.
    let mut found: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the handlers of the tests call only what is async-signal-safe.
    assert_eq!(unsafe { libc::sigaction(libc::SIGSEGV, &action, &mut found) }, 0);
    _ = FOUND.set(found);
}

/// What was arranged for SIGSEGV before [`on_sigsegv_with`].
static FOUND: OnceLock<libc::sigaction> = OnceLock::new();

/// Says something on stderr, and calls the handler that it has found, as handlers do that stand in a chain.
#[allow(unsafe_code)]
pub(crate) extern "C" fn goes_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    says_so_once(signal, info, context);
    let found = FOUND.get().unwrap();
    assert!(found.sa_flags & libc::SA_SIGINFO != 0);
    // SAFETY: a handler with `SA_SIGINFO` takes three arguments.
    let handler = unsafe { std::mem::transmute::<usize, Handler>(found.sa_sigaction) };
    handler(signal, info, context);
}

/// Says something on stderr, puts back what it has found, and sends the signal again, as `faulthandler` does.
#[allow(unsafe_code)]
pub(crate) extern "C" fn puts_back(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    says_so_once(signal, info, context);
    // SAFETY: what was arranged may be arranged again.
    unsafe { libc::sigaction(signal, FOUND.get().unwrap(), std::ptr::null_mut()) };
    // SAFETY: raise(3) is async-signal-safe.
    unsafe { libc::raise(signal) };
}

/// Says something on stderr, and leaves the rest to `SA_RESETHAND`.
pub(crate) extern "C" fn says_so_once(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    say();
}

/// Makes readable what could not be read.
#[allow(unsafe_code)]
pub(crate) extern "C" fn mends_any(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to a handler with `SA_SIGINFO`.
    let info = unsafe { &*info };
    // SAFETY: SIGSEGV carries an address.
    let address = unsafe { info.si_addr() };
    // SAFETY: mprotect(2) is a system call; the page is one that `forbidden` made.
    unsafe { libc::mprotect(address.map_addr(|address| address & !4095), 4096, libc::PROT_READ) };
}

/// Reads a forbidden page itself before it mends the one at fault, once.
#[allow(unsafe_code)]
pub(crate) extern "C" fn faults_and_mends(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let page = PAGE.swap(std::ptr::null_mut(), Relaxed);
    if !page.is_null() {
        read_page(page);
    }
    mends_any(signal, info, context);
}

/// Reads a page that [`faults_and_mends`] mends, which has a fault meanwhile.
pub(crate) fn reads_with_two_faults() -> u8 {
    forbidden_page();
    read_page(forbidden())
}

/// Makes readable what could not be read; the first thread waits here until another one has come by and has gone on.
pub(crate) extern "C" fn mends_last(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !FIRST_IS_IN.swap(true, Relaxed) {
        while !SECOND_IS_OUT.load(Relaxed) {
            std::hint::spin_loop();
        }
    }
    mends_any(signal, info, context);
}

static FIRST_IS_IN: AtomicBool = AtomicBool::new(false);
static SECOND_IS_OUT: AtomicBool = AtomicBool::new(false);

/// Reads pages on two threads, of which the second has its fault, and is mended by [`mends_last`], while the first is in the
/// handler.
pub(crate) fn reads_on_two_threads() -> u8 {
    let first = std::thread::spawn(|| read_page(forbidden()));
    while !FIRST_IS_IN.load(Relaxed) {
        std::thread::yield_now();
    }
    let second = read_page(forbidden());
    SECOND_IS_OUT.store(true, Relaxed);
    second + first.join().unwrap()
}

/// Reads `count` forbidden pages on each of some threads.
pub(crate) fn reads_on_threads(threads: usize, count: usize) -> u64 {
    let read = move || (0..count).map(|_| u64::from(read_page(forbidden()))).sum::<u64>();
    let threads: Vec<_> = (0..threads).map(|_| std::thread::spawn(read)).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}

/// Leaves faults by jumps, as coroutines and interpreters do; the next one after those ends the process.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(crate) extern "C" fn jumps(signal: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let back = BACK.swap(std::ptr::null_mut(), Relaxed);
    if back.is_null() {
        // SAFETY: SIG_DFL involves no handler code.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    } else {
        // SAFETY: `faults_and_is_left` waits there, on its own stack.
        unsafe { libc::setcontext(back) };
    }
}

#[cfg(target_env = "gnu")]
static BACK: AtomicPtr<libc::ucontext_t> = AtomicPtr::new(std::ptr::null_mut());

/// Has a fault on a stack of its own, which [`jumps`] leaves.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(crate) fn faults_and_is_left() {
    extern "C" fn fault() {
        inner(0);
    }
    let mut stack = vec![0u8; 64 << 10];
    // SAFETY: all zeros are valid for the fields of the structure, which is filled in next.
    let (mut back, mut there): (libc::ucontext_t, libc::ucontext_t) = unsafe { std::mem::zeroed() };
    // SAFETY: fills in the structure.
    assert_eq!(unsafe { libc::getcontext(&mut there) }, 0);
    (there.uc_stack.ss_sp, there.uc_stack.ss_size) = (stack.as_mut_ptr().cast(), stack.len());
    // SAFETY: `getcontext` has filled it in, it has a stack, and the function takes no arguments.
    unsafe { libc::makecontext(&mut there, fault, 0) };
    BACK.store(&mut back, Relaxed);
    // SAFETY: the other stack and both structures live until the handler has come back here, which is the only way on.
    assert_eq!(unsafe { libc::swapcontext(&mut back, &there) }, 0);
}

/// The `errno` of code that has set it to 7 before it read a page that a handler mends.
#[allow(unsafe_code)]
pub(crate) fn errno_around_a_fault() -> i32 {
    let page = forbidden();
    // SAFETY: it takes nothing, and returns a place of this thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the place is valid for as long as the thread lives.
    unsafe { errno.write(7) };
    read_page(page);
    // SAFETY: the same.
    unsafe { errno.read() }
}

/// Whether the functions of this file stand in the text one behind the other.
pub(crate) fn names_in_order(text: &str, names: &[&str]) -> bool {
    let pass =
        |rest: Option<&str>, name: &&str| rest?.split_once(&format!("crash::{name}")).map(|(_, rest)| rest.len());
    let mut left = Some(text.len());
    for name in names {
        left = pass(left.map(|left| &text[text.len() - left..]), name);
    }
    left.is_some()
}
