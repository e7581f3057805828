//! Crashes, as broken code has them, below functions whose names an error must tell.

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

/// Says something on stderr, and lets the next SIGSEGV end the process, as handlers of programs do.
#[allow(unsafe_code)]
pub(crate) extern "C" fn says_so(signal: i32) {
    let text = b"the handler of the program\n";
    // SAFETY: write(2) is async-signal-safe, and the text is valid for its length.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    // SAFETY: SIG_DFL involves no handler code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// A page that cannot be read before [`mends`] was called.
#[allow(unsafe_code)]
pub(crate) fn forbidden_page() -> *mut libc::c_void {
    // SAFETY: makes a mapping of its own, wherever there is room.
    let page = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(page, libc::MAP_FAILED);
    PAGE.store(page, std::sync::atomic::Ordering::Relaxed);
    page
}

static PAGE: std::sync::atomic::AtomicPtr<libc::c_void> = std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());

/// Makes the page readable, as runtimes do that use faults on purpose.
#[allow(unsafe_code)]
pub(crate) extern "C" fn mends(_signal: i32) {
    let page = PAGE.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: mprotect(2) is a system call; the page is the one that `forbidden_page` made.
    unsafe { libc::mprotect(page, 4096, libc::PROT_READ) };
}

/// Reads the page from [`forbidden_page`].
#[allow(unsafe_code)]
pub(crate) fn read_page(page: *mut libc::c_void) -> u8 {
    // SAFETY: it is mapped, and becomes readable on the first fault.
    unsafe { std::ptr::read_volatile(page.cast::<u8>()) }
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
