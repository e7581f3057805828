//! How a process finds out that it is a child of this library, and what it does then, before `main`.

use crate::error::Error;
use crate::heap::guardian::on_first_name;
use crate::heap::tree::{self as heap, Origin};
use crate::ipc::control::{Control, Hello, Reply, VERSION};
use crate::luggage::Luggage;
use crate::process::guardian;
use crate::process::identity::{Callable, FnRef};
use crate::process::{children, current, panic};
use crate::sync::mourn;
use crate::sys::executable::{self, StartArguments};
use crate::sys::poll::{self, Interest};
use crate::sys::time::Deadline;
use crate::sys::{child, fence, signal, socket};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The variable that makes a process a child: `version:parent pid:nonce:where its control socket is`.
pub(crate) const VARIABLE: &str = "MULTIPROC_CHILD";

/// Where the control socket of a local child is.
pub(crate) const STDIN_URL: &str = "fd:0";

/// Set once this program is known to recognise its own children.
static BOOT_READY: AtomicBool = AtomicBool::new(false);

/// Set while a child runs the constructors that come after ours.
static IN_CONSTRUCTORS: AtomicBool = AtomicBool::new(false);

/// The exit code of a program that has panicked, as the standard library has it.
const PANICKED: i32 = 101;

/// What a child is to be: told what it needs, it returns the exit code.
pub(crate) type Role = fn(Childhood) -> i32;

impl Callable for Role {
    const TAG: u64 = 1;
}

/// What a child gets from its parent.
#[derive(Debug)]
pub(crate) struct Childhood {
    pub(crate) control: Control,
    pub(crate) setup: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
    /// Of the values in the setup.
    pub(crate) luggage: Vec<Arc<Luggage>>,
}

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
        boot(Some(StartArguments { argc, argv, envp }));
    }
}

/// Whether this process can start children that will recognise themselves.
///
/// # Errors
///
/// See [`Error::is_foreign_host`], [`Error::is_not_initialized`] and [`Error::is_daemonic`].
pub(crate) fn check_host() -> Result<(), Error> {
    check_program()?;
    if current::is_daemon() {
        return Err(Error::daemonic());
    }
    Ok(())
}

/// Whether this program can recognise its children: [`check_host`] without the rules for users.
///
/// # Errors
///
/// See [`Error::is_foreign_host`] and [`Error::is_not_initialized`].
pub(crate) fn check_program() -> Result<(), Error> {
    if !executable::is_main() {
        return Err(Error::foreign_host());
    }
    if !BOOT_READY.load(Relaxed) || IN_CONSTRUCTORS.load(Relaxed) {
        return Err(Error::not_initialized());
    }
    Ok(())
}

/// Becomes a child if this process was started as one; otherwise returns.
fn boot(start: Option<StartArguments>) {
    // In every ordinary process this is one look into the environment and nothing else.
    let Some(variable) = std::env::var_os(VARIABLE) else { return };
    if !executable::is_main() || executable::is_secure() {
        return;
    }
    let Some((parent, nonce)) = variable.to_str().and_then(parse) else { return };
    if !socket::is_control_socket(std::io::stdin().as_fd()) {
        // A leaked variable, not a child.
        return;
    }
    // From here on this is a child, and a child that fails says so and ends; it never goes on into `main`.
    if child::parent_pid() != parent || signal::die_with_parent().is_err() || child::parent_pid() != parent {
        signal::exit_now(1);
    }
    // SAFETY: the loader calls constructors before any thread exists, and `init` is called first in `main`.
    unsafe { std::env::remove_var(VARIABLE) };
    let Ok(control) = take_control_socket() else { signal::exit_now(1) };
    match receive_hello(&control, nonce) {
        Ok((hello, mut fds)) => {
            adopt_heap(&hello, &mut fds);
            live(control, hello, fds, start)
        }
        Err(cause) => {
            // If the parent does not hear it, it is gone.
            let _ = control.send(&Reply::Refused(cause), &[]);
            signal::exit_now(1)
        }
    }
}

fn parse(variable: &str) -> Option<(i32, u64)> {
    let mut parts = variable.splitn(4, ':');
    let version: u32 = parts.next()?.parse().ok()?;
    let parent = parts.next()?.parse().ok()?;
    let nonce = u64::from_str_radix(parts.next()?, 16).ok()?;
    (version == VERSION && parts.next()? == STDIN_URL).then_some((parent, nonce))
}

fn take_control_socket() -> io::Result<Control> {
    let socket = socket::move_up(std::io::stdin().as_fd())?;
    signal::close_standard_input()?;
    Ok(Control::new(Arc::new(socket)))
}

fn receive_hello(control: &Control, nonce: u64) -> Result<(Hello, Vec<OwnedFd>), String> {
    let (hello, fds) = match control.receive::<Hello>(true) {
        Ok(Some(received)) => received,
        Ok(None) => signal::exit_now(1),
        Err(error) => return Err(format!("the first message is damaged: {error}")),
    };
    if hello.version != VERSION || hello.nonce != nonce {
        return Err("the first message is meant for another process".to_owned());
    }
    if hello.build != executable::build() {
        return Err("parent and child run different builds of the program".to_owned());
    }
    Ok((hello, fds))
}

/// Takes the shared memory of the tree, whose file comes first.
fn adopt_heap(hello: &Hello, fds: &mut Vec<OwnedFd>) {
    heap::on_death(mourn::mourn);
    heap::adopt(hello.heap.clone().and_then(|grant| {
        let fd = (!fds.is_empty()).then(|| fds.remove(0)).filter(heap::is_heap);
        let fd = fd.ok_or_else(|| "its parent has handed it something else".to_owned())?;
        Ok(Origin { fd: Arc::new(fd), id: grant.id, token: hello.nonce, parent: grant.parent })
    }));
}

/// Lives a child's life, and ends.
fn live(control: Control, hello: Hello, fds: Vec<OwnedFd>, start: Option<StartArguments>) -> ! {
    signal::open_standard_descriptors();
    signal::set_worker_dispositions();
    signal::set_thread_name(&hello.name);
    current::be_child(&hello.name, child::parent_pid(), hello.parent);
    // On this thread, which has asked to die with the parent.
    if hello.outlives && signal::stay_behind().is_err() {
        signal::exit_now(1);
    }
    #[cfg(all(feature = "auto", target_env = "gnu"))]
    if let Some(start) = start.filter(|_| !hello.outlives) {
        // Registries that other crates fill before `main` would be incomplete otherwise.
        IN_CONSTRUCTORS.store(true, Relaxed);
        executable::run_constructors_after(auto::CONSTRUCTOR, start);
        IN_CONSTRUCTORS.store(false, Relaxed);
    }
    #[cfg(not(all(feature = "auto", target_env = "gnu")))]
    let _ = start;
    let (delta, signature) = hello.role;
    let role = match (FnRef::Offset { delta, signature }).resolve::<Role>() {
        Ok(entry) => entry.call(),
        Err(cause) => {
            let _ = control.send(&Reply::Refused(cause), &[]);
            signal::exit_now(1)
        }
    };
    let lifeline = Arc::clone(control.socket());
    let luggage = match control.receive_luggage(0, hello.luggage, true) {
        Ok(luggage) => luggage,
        Err(error) => {
            let _ = control.send(&Reply::Refused(format!("its luggage: {error}")), &[]);
            signal::exit_now(1)
        }
    };
    let childhood = Childhood { control: control.clone(), setup: hello.setup, fds, luggage };
    let thread = std::thread::Builder::new().name(hello.name).stack_size(signal::stack_limit()).spawn(move || {
        signal::report_stack_overflow();
        // A panic of user code that nobody has foreseen must not leave a process without its thread.
        let code = panic::contain(|| role(childhood)).unwrap_or(PANICKED);
        children::settle();
        signal::flush_standard_streams();
        signal::exit_now(code)
    });
    if let Err(error) = thread {
        let _ = control.send(&Reply::Refused(format!("no thread for user code: {error}")), &[]);
        signal::exit_now(1);
    }
    // This thread stays to the end: it notices when the parent is gone without having been killed (its socket closes
    // then), and it is the thread whose life stands for the life of the process.
    loop {
        if hello.outlives {
            std::thread::park();
            continue;
        }
        match poll::wait(&[(lifeline.as_fd(), Interest::HangUp)], Deadline::NEVER) {
            Ok(ready) if ready.first() == Some(&true) => signal::exit_now(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_variable_is_understood() {
        assert_eq!(parse("1:42:ff:fd:0"), Some((42, 255)));
        for wrong in ["", "1", "1:42", "1:42:ff", "1:42:ff:", "2:42:ff:fd:0", "1:x:ff:fd:0", "1:42:ff:tcp:host"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_test_can_start_children() {
        check_host().unwrap();
    }
}
