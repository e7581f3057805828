//! What hostile or broken code does to its own process: a task of a C library gone wild, or one that means it.

use super::descriptors::close_from;
use rustix::fs::{FallocateFlags, SealFlags};
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, Resource, Rlimit};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// A deed, and its name.
pub(crate) type Deed = (&'static str, fn());

/// What is done to memory that is shared with the pool.
pub(crate) const TO_MEMORY: &[Deed] = &[
    ("unmap the link", || unmap("memfd:multiproc-link")),
    ("unmap the tasks", || unmap("memfd:multiproc-tasks")),
    ("unmap the bell", || unmap("memfd:multiproc-bell")),
    ("unmap the heap", || unmap("memfd:multiproc-heap")),
    ("protect the link", protect_link),
    ("overwrite the bell", overwrite_bell),
    ("truncate, grow and seal all files", maim_files),
    ("punch holes in all files", punch_holes),
];

/// What is done to descriptors.
pub(crate) const TO_DESCRIPTORS: &[Deed] = &[
    ("close all but the standard ones", || close_from(3)),
    ("close all", || close_from(0)),
    ("put a file in the place of the standard ones", || replace_below(3)),
    ("put a file in the place of all", || replace_below(64)),
    ("shut all sockets down", || sockets().iter().for_each(|it| _ = rustix::net::shutdown(it, Shutdown::Both))),
    ("read from all sockets", || sockets().iter().for_each(read_from)),
    ("leave the table of descriptors", leave_table),
];

/// What is done to all sockets.
pub(crate) const TO_SOCKETS: &[Deed] = &[("write garbage into all sockets", write_garbage)];

/// What is done to the process.
pub(crate) const TO_PROCESS: &[Deed] = &[
    ("end the thread", end_thread),
    ("allow four system calls only", allow_nothing),
    ("exit again in a handler of its exit", exit_again),
    ("exit in several threads at once", exit_at_once),
    ("execute another program", || _ = Command::new("/bin/true").exec()),
    ("execute itself", || _ = Command::new("/proc/self/exe").arg("--list").exec()),
    ("leave threads behind", leave_threads),
    ("panic in another thread", || drop(std::thread::spawn(|| panic!("on purpose, in a thread that nobody joins")))),
    ("panic through C", panic_through_c),
    ("lower all limits", lower_limits),
    ("change the root", || _ = rustix::process::chroot("/sys")),
    ("drop all rights", drop_rights),
    ("ignore all signals", ignore_all),
    ("block all signals", block_all),
    ("be killed by an alarm", wait_for_alarm),
    ("be interrupted all the time", interrupt),
    ("clear the environment", clear_environment),
    ("hide the processes of the system", hide_proc),
];

/// What is left running by a task.
pub(crate) const TO_POSTERITY: &[Deed] = &[
    ("leave a fork behind that exits", || fork(|| std::process::exit(0))),
    ("leave a fork behind that stays a while", || fork(stay_a_while)),
    ("leave a daemon behind that stays a while", || fork(|| fork(stay_a_while))),
];

/// Where memory files of this name are mapped: start and length.
fn mappings(name: &str) -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range = |line: &str| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).unwrap());
        (start, end - start)
    };
    maps.lines().filter(|line| line.contains(name)).map(range).collect()
}

#[allow(unsafe_code)]
fn unmap(name: &str) {
    for (start, len) in mappings(name) {
        // SAFETY: none: this is what may not happen, in a process of its own that is expected to crash.
        unsafe { libc::munmap(start as *mut libc::c_void, len) };
    }
}

#[allow(unsafe_code)]
fn protect_link() {
    for (start, len) in mappings("memfd:multiproc-link") {
        // SAFETY: as in `unmap`.
        unsafe { libc::mprotect(start as *mut libc::c_void, len, libc::PROT_READ) };
    }
}

fn overwrite_bell() {
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem").unwrap();
    for (start, _) in mappings("memfd:multiproc-bell") {
        std::os::unix::fs::FileExt::write_all_at(&memory, &[0xa5; 128], start as u64).unwrap();
    }
}

/// Copies of the descriptors of this process: what is done to their files and sockets is done to the originals.
fn copies() -> Vec<OwnedFd> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    (3..64).filter_map(|fd| rustix::process::pidfd_getfd(&own, fd, PidfdGetfdFlags::empty()).ok()).collect()
}

fn sockets() -> Vec<OwnedFd> {
    copies().into_iter().filter(|fd| rustix::net::sockopt::socket_type(fd).is_ok()).collect()
}

/// The memory files of this process. (What else it has open are files of others, too.)
fn files() -> Vec<OwnedFd> {
    copies().into_iter().filter(|fd| rustix::fs::fcntl_get_seals(fd).is_ok()).collect()
}

fn maim_files() {
    for file in files() {
        let _ = rustix::fs::ftruncate(&file, 0);
        let _ = rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW);
        let _ = rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE);
        let len = rustix::fs::fstat(&file).unwrap().st_size as u64;
        let _ = rustix::fs::ftruncate(&file, len + 65536);
    }
}

fn punch_holes() {
    for file in files() {
        let len = rustix::fs::fstat(&file).unwrap().st_size as u64;
        // The heap is that of the whole tree of processes, and much larger than anything else: its damage is another test.
        if (1..1 << 30).contains(&len) {
            let _ = rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, len);
        }
    }
}

#[allow(unsafe_code)]
fn replace_below(end: i32) {
    let file = std::fs::File::open("/dev/zero").unwrap();
    for fd in (0..end).filter(|fd| *fd != std::os::fd::AsRawFd::as_raw_fd(&file)) {
        // SAFETY: as in `unmap`.
        unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), fd) };
    }
}

fn read_from(socket: &OwnedFd) {
    let _ = rustix::net::recv(socket, &mut [0u8; 4096], RecvFlags::DONTWAIT);
}

fn write_garbage() {
    for socket in sockets() {
        for len in [1, 8, 9, 16, 64, 1000] {
            let _ = rustix::net::send(&socket, &vec![0xa5; len], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }
}

#[allow(unsafe_code)]
fn leave_table() {
    // SAFETY: as in `unmap`.
    unsafe { libc::unshare(libc::CLONE_FILES) };
    close_from(3);
}

#[allow(unsafe_code)]
fn end_thread() {
    // SAFETY: as in `unmap`.
    unsafe { libc::pthread_exit(std::ptr::null_mut()) };
}

/// Ends this thread alone, without a word to anybody.
#[allow(unsafe_code)]
pub(crate) fn exit_thread() {
    // SAFETY: as in `unmap`.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

#[allow(unsafe_code)]
fn allow_nothing() {
    // SAFETY: sets a mode of this thread, in which most system calls end it.
    unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
    let _ = std::fs::read("/etc/hostname");
}

fn leave_threads() {
    for _ in 0..8 {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_micros(100));
            }
        });
    }
}

fn exit_again() {
    extern "C" fn again() {
        std::process::exit(4);
    }
    super::signals::at_exit(again);
    std::process::exit(3);
}

fn exit_at_once() {
    for code in 0..4 {
        std::thread::spawn(move || std::process::exit(code));
    }
    std::process::exit(4);
}

fn panic_through_c() {
    extern "C" fn foreign() {
        panic!("on purpose, through C");
    }
    foreign();
}

fn lower_limits() {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    for resource in [Resource::Nofile, Resource::Fsize, Resource::Nproc, Resource::Stack] {
        let _ = rustix::process::setrlimit(resource, nothing);
    }
}

#[allow(unsafe_code)]
fn drop_rights() {
    // SAFETY: changes the rights of this process.
    unsafe { libc::setgid(65534) };
    // SAFETY: as above.
    unsafe { libc::setuid(65534) };
}

#[allow(unsafe_code)]
fn ignore_all() {
    for signal in 1..65 {
        // SAFETY: SIG_IGN involves no handler code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

#[allow(unsafe_code)]
fn block_all() {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: fills in the set.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: the set was filled in.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
}

#[allow(unsafe_code)]
fn wait_for_alarm() {
    // SAFETY: without a handler SIGALRM ends the process.
    unsafe { libc::alarm(1) };
    std::thread::sleep(Duration::from_secs(1000));
}

/// A signal whose handler does nothing, and interrupts system calls, all the time.
#[allow(unsafe_code)]
fn interrupt() {
    extern "C" fn nothing(_: i32) {}
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a structure of numbers, in which zeros say: no flags, no signals blocked.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the handler does nothing.
    unsafe { libc::sigaction(libc::SIGALRM, action, std::ptr::null_mut()) };
    let every = libc::timeval { tv_sec: 0, tv_usec: 200 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the timer is read, and nothing is written.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

#[allow(unsafe_code)]
fn clear_environment() {
    for (key, _) in std::env::vars_os() {
        // SAFETY: this process has no other thread that reads the environment.
        unsafe { std::env::remove_var(key) };
    }
    assert!(Command::new("/bin/true").status().unwrap().success());
}

#[allow(unsafe_code)]
pub(crate) fn hide_proc() {
    // SAFETY: gives this process mounts of its own.
    unsafe { libc::unshare(libc::CLONE_NEWNS) };
    let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
    // SAFETY: the names are C strings, and the file system has no options.
    unsafe { libc::mount(none, root, std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()) };
    // SAFETY: the name is a C string.
    unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) };
}

/// Forks, and has the fork do this and end.
#[allow(unsafe_code)]
fn fork(code: impl FnOnce()) {
    // SAFETY: as in `unmap`.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: a group of processes of its own.
        unsafe { libc::setsid() };
        code();
        // SAFETY: it ends the process.
        unsafe { libc::_exit(0) };
    }
}

fn stay_a_while() {
    std::thread::sleep(Duration::from_secs(4));
}
