//! How a process finds out that it is a child of this library, and what it does then, before `main`.

use crate::attached_fds::{self, AttachedFds};
use crate::codec;
use crate::heap::guardian::on_first_name;
use crate::heap::tree as heap;
use crate::identity::FnRef;
use crate::ipc::control::{ChildKind, Control, Hello, Instructions, Reply, VERSION};
#[cfg(feature = "cluster")]
use crate::process::enlist;
#[cfg(all(feature = "auto", target_env = "gnu"))]
use crate::process::role::IN_CONSTRUCTORS;
use crate::process::role::{BOOT_READY, ChildContext, Mark, Role, VARIABLE};
use crate::process::{children, current, descendants, first_thread, guardian, panic};
use crate::sync::reclaim;
use crate::sys::descriptor::move_up;
use crate::sys::executable::{self, StartArguments};
use crate::sys::{child, clone, coverage, environment, fault, fence, fork, signal, socket, stack, thread};
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::Duration;

/// How long a child whose parent has died may live at most before the kernel ends it, as a rule.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// So many bytes of stack the first message may take to be read.
const FIRST_STACK: usize = 128 * 1024;

/// The exit code of a program that has panicked, as the standard library has it.
const PANICKED: i32 = 101;

/// Recognises child processes of this library; to be called first in `main` when the feature `auto` is off.
///
/// In a child it runs what the child is for and never returns; in every other process it returns at once. With the
/// feature `auto` (the default, on glibc) it has no work left to do.
///
/// ```
/// multiproc::init();
/// let pool = multiproc::Pool::new(1)?;
/// assert_eq!(pool.apply(|x: i32| x + 1, (1,))?, 2);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn init() {
    if !BOOT_READY.swap(true, Relaxed) {
        on_first_name(guardian::start);
        fence::take_part();
        #[cfg(feature = "cluster")]
        enlist::enlist(|| run_later_constructors(None));
        boot(None);
    }
}

#[cfg(all(feature = "auto", target_env = "gnu"))]
mod auto {
    use super::{BOOT_READY, Relaxed, StartArguments, boot, fence, guardian, on_first_name};
    use crate::sys::executable::Constructor;
    use std::ffi::c_char;

    /// The loader calls this before `main`; it stands in the object file of `BOOT_READY`, so that a program that uses
    /// the one has the other.
    #[used]
    #[unsafe(link_section = ".init_array")]
    pub(super) static CONSTRUCTOR: Constructor = on_load;

    extern "C" fn on_load(argc: i32, argv: *const *const c_char, envp: *const *const c_char) {
        BOOT_READY.store(true, Relaxed);
        on_first_name(guardian::start);
        // While there is one thread this is a short system call, and later a long one.
        fence::take_part();
        let start = StartArguments { argc, argv, envp };
        #[cfg(feature = "cluster")]
        super::enlist::enlist(|| super::run_later_constructors(Some(start)));
        boot(Some(start));
    }
}

/// Becomes a child if this process was started as one; otherwise returns.
fn boot(start: Option<StartArguments>) {
    // In every ordinary process this is one look into the environment and nothing else.
    let Some(value) = std::env::var_os(VARIABLE) else { return };
    // A library in another program, which was not started by this copy of it.
    if !executable::is_main() {
        return;
    }
    let Some(mark) = value.to_str().and_then(Mark::parse) else { return };
    let stdin = std::io::stdin();
    let (parent, is_socket) = (child::parent_pid(), socket::is_socket(stdin.as_fd()));
    if parent != mark.parent && !is_socket {
        // The variable has leaked: somebody has passed it on by hand.
        return mark.note_stray();
    }
    // From here on this is a child. It never goes on into `main`, which would start children again: one that cannot live says
    // why, and ends.
    if !is_socket {
        refuse(None, "its standard input is not the socket of its parent");
    }
    // Before this process trusts anything that it was given.
    if executable::is_secure() {
        refuse(
            Some(stdin.as_fd()),
            "the program has got more rights than its parent (a set-user-id or set-group-id bit, or file capabilities), so \
             that it cannot trust its environment",
        );
    }
    if parent == 0 {
        refuse(Some(stdin.as_fd()), "its parent has moved into another PID namespace");
    }
    if let Err(error) = signal::die_with_parent() {
        refuse(Some(stdin.as_fd()), &format!("prctl(PR_SET_PDEATHSIG): {error}"));
    }
    if child::parent_pid() != mark.parent {
        // Nobody is left to be told.
        signal::exit_now(1);
    }
    signal::start_afresh();
    environment::hide(VARIABLE);
    mark.note_child();
    let control = match take_control_socket() {
        Ok(control) => control,
        Err(error) => refuse(Some(stdin.as_fd()), &format!("its standard input: {error}")),
    };
    // At the start of the program nearly all of its stack is left, and the first message is no deep one.
    match stack::assuming(FIRST_STACK, || receive_hello(&control, mark.nonce)) {
        Ok(told) => live(control, told, start),
        Err(cause) => give_up(&control, cause),
    }
}

/// Ends a child that cannot live: says why to its parent.
fn give_up(control: &Control, cause: impl Display) -> ! {
    // If the parent does not hear it, it is gone.
    let _ = control.send(&Reply::Refused(cause.to_string()), &[]);
    signal::exit_now(1)
}

/// Ends a child that cannot live before it has a control socket: says why on stderr, and to its parent.
fn refuse(socket: Option<BorrowedFd<'_>>, cause: &str) -> ! {
    panic::say(format_args!(
        "process {} cannot be a child of process {}: {cause}",
        child::own_pid(),
        child::parent_pid()
    ));
    if let Some(Ok(socket)) = socket.map(move_up) {
        // If the parent does not hear it, it is gone, or notices that this process ends.
        let _ = Control::new(Arc::new(socket)).send(&Reply::Refused(cause.to_owned()), &[]);
    }
    signal::exit_now(1)
}

fn take_control_socket() -> io::Result<Control> {
    let socket = move_up(std::io::stdin().as_fd())?;
    signal::close_standard_input()?;
    Ok(Control::new(Arc::new(socket)))
}

/// What a child is told.
struct Told {
    instructions: Instructions,
    /// The descriptors for that.
    fds: Vec<OwnedFd>,
    /// Where its faults are noted.
    crash: Option<OwnedFd>,
}

/// Receives the first message, and takes the shared memory of the tree.
fn receive_hello(control: &Control, nonce: u64) -> Result<Told, String> {
    let damaged = |error: &dyn Display| format!("the first message is damaged: {error}");
    let (hello, fds) = match control.receive::<Hello>(true) {
        Ok(Some(received)) => received,
        Ok(None) => signal::exit_now(1),
        Err(error) => return Err(damaged(&error)),
    };
    if hello.version != VERSION || hello.nonce != nonce {
        return Err("the first message is meant for another process".to_owned());
    }
    if hello.build != executable::build() {
        return Err("parent and child run different builds of the program".to_owned());
    }
    let mut fds = fds.into_iter();
    reclaim::take_part();
    let heap = hello.heap.and_then(|grant| {
        let fd = fds.next().filter(heap::is_heap);
        Ok(grant.with(fd.ok_or_else(|| "its parent has handed it something else".to_owned())?))
    });
    let crash = hello.crash.then(|| fds.next()).flatten();
    let file = hello.instructions.is_file().then(|| fds.next()).flatten();
    let contents = hello.instructions.open(file.as_ref()).map_err(|error| damaged(&error))?;
    let bytes = contents.to_vec(usize::MAX).map_err(|error| damaged(&error))?;
    let instructions: Instructions = codec::from_bytes(&bytes).map_err(|error| damaged(&error.0))?;
    // While there is one thread.
    environment::set(&instructions.variables);
    heap::adopt(heap).map_err(|cause| format!("the shared memory: {cause}"))?;
    Ok(Told { instructions, fds: fds.collect(), crash })
}

/// What a copy of a template is made with.
pub(super) struct Copied {
    /// Its end of the control socket.
    pub(super) socket: OwnedFd,
    /// Where it writes, if not where the template does.
    pub(super) output: Option<child::Output>,
    /// The number that the first message repeats.
    pub(super) nonce: u64,
    /// The process id of the parent.
    pub(super) parent: i32,
}

/// Lives the life of a child that is a copy of a template, and ends: called in the copy, by its one thread.
///
/// What the template had for itself becomes the copy's own here. Other things are right as they are: process ids are asked for
/// and not kept, all that belongs to a thread is made by the thread that runs user code, which begins now, and the template
/// has no thread of the library's.
pub(super) fn live_as_copy(copied: Copied) -> ! {
    let Copied { socket, output, nonce, parent } = copied;
    let control = Control::new(Arc::new(socket));
    if let Err(error) = signal::die_with_parent() {
        give_up(&control, format_args!("prctl(PR_SET_PDEATHSIG): {error}"));
    }
    if child::parent_pid() != parent {
        // Nobody is left to be told.
        signal::exit_now(1);
    }
    fork::set_thread_tag(0, 0);
    attached_fds::forget_ways();
    fence::take_part();
    if let Some(Err(error)) = output.map(|output| clone::redirect(&output.stdout, &output.stderr)) {
        give_up(&control, format_args!("its output: {error}"));
    }
    match receive_hello(&control, nonce) {
        Ok(told) => live(control, told, None),
        Err(cause) => give_up(&control, cause),
    }
}

/// Runs the constructors of the program that come after the one of this library, if that has brought us here.
fn run_later_constructors(start: Option<StartArguments>) {
    #[cfg(all(feature = "auto", target_env = "gnu"))]
    if let Some(start) = start {
        // Registries that other crates fill before `main` would be incomplete otherwise.
        IN_CONSTRUCTORS.store(true, Relaxed);
        executable::run_constructors_after(auto::CONSTRUCTOR, start);
        IN_CONSTRUCTORS.store(false, Relaxed);
    }
    #[cfg(not(all(feature = "auto", target_env = "gnu")))]
    let _ = start;
}

/// Lives a child's life, and ends.
fn live(control: Control, told: Told, start: Option<StartArguments>) -> ! {
    let Told { instructions: told, fds, crash } = told;
    signal::open_standard_descriptors();
    let parent = child::parent_pid();
    signal::set_thread_name(&told.name);
    current::be_child(&told.name, parent, told.parent);
    // On this thread, which has asked to die with the parent.
    let is_guardian = told.kind == ChildKind::Guardian;
    if is_guardian && signal::stay_behind().is_err() {
        signal::exit_now(1);
    }
    run_later_constructors(start.filter(|_| !is_guardian));
    let (delta, signature) = told.role;
    let role = match (FnRef::Offset { delta, signature }).resolve::<Role>() {
        Ok(entry) => entry.call(),
        Err(cause) => give_up(&control, cause),
    };
    if told.kind == ChildKind::Template {
        // Its copies have the threads that it must not have.
        heap::open_without_threads();
        fault::watch(crash);
        let attached = receive_attached(&control, told.attached);
        end(panic::contain(|| role(ChildContext { control, setup: told.setup, fds, attached })))
    }
    coverage::write_on_termination();
    let lifeline = Arc::clone(control.socket());
    let attached = receive_attached(&control, told.attached);
    let context = ChildContext { control: control.clone(), setup: told.setup, fds, attached };
    if !is_guardian {
        first_thread::open();
    }
    let number = Arc::new(AtomicI32::new(0));
    let own_number = Arc::clone(&number);
    let started = std::thread::Builder::new().name(told.name).stack_size(signal::stack_limit()).spawn(move || {
        own_number.store(thread::own_number(), Relaxed);
        fault::watch(crash);
        // A panic of user code that nobody has foreseen must not leave a process without its thread.
        end(panic::contain(|| role(context)))
    });
    if let Err(error) = started {
        give_up(&control, format_args!("no thread could be started for user code: {error}"));
    }
    // The signals are for user code.
    signal::block_all();
    // This thread stays to the end: it notices when the parent is gone without having been killed (its socket closes
    // then), and it is the thread whose life stands for the life of the process.
    let mut has_looked = false;
    loop {
        if is_guardian {
            std::thread::park();
            continue;
        }
        let looked = first_thread::wait(lifeline.as_fd(), &mut has_looked);
        // A thread that ends in order takes the process along. It does not with `SYS_exit`, or if a filter of system calls
        // kills it; then nobody would ever hear of this process again.
        if number.load(Relaxed) != 0 && !thread::is_alive(number.load(Relaxed)) {
            panic::say(format_args!(
                "the thread of process {} that runs user code has ended alone: it called exit(2) itself, or a filter of system \
                 calls (seccomp) has killed it",
                child::own_pid()
            ));
            signal::exit_now(1);
        }
        match looked {
            Ok(true) => {
                // If the parent has died, so does this process now.
                std::thread::sleep(LAST_MOMENT);
                if child::parent_pid() == parent {
                    panic::say(format_args!(
                        "process {} ends, since its control socket was closed, although its parent lives: code in it, or \
                         somebody else, has closed a descriptor that is not its own",
                        child::own_pid()
                    ));
                }
                signal::exit_now(1)
            }
            Ok(false) => {}
            // The system refuses to wait.
            Err(_) if child::parent_pid() != parent => signal::exit_now(1),
            Err(_) => {}
        }
    }
}

/// Receives the attached descriptors of the setup.
fn receive_attached(control: &Control, count: usize) -> Vec<Arc<AttachedFds>> {
    let attached = control.receive_attached(0, count, true);
    attached.unwrap_or_else(|error| give_up(control, format_args!("its attached descriptors: {error}")))
}

/// Ends a child that has done what it is for: with this code, or without one since it has panicked.
fn end(code: Option<i32>) -> ! {
    children::settle();
    signal::flush_standard_streams();
    coverage::write();
    descendants::end_own();
    signal::exit_now(code.unwrap_or(PANICKED))
}
