//! The child's side of a [`Process`](crate::Process): reads the arguments, calls the function, reports, and exits.

use crate::attached_fds::AttachedFds;
use crate::codec::{self, Packed, Payload, Reader};
use crate::error::{Failure, TaskError};
use crate::heap::scope::{self, Pins, attached_in};
use crate::identity::{Callable, Entry, FnRef};
use crate::ipc::control::{Control, Reply};
use crate::ipc::handles;
use crate::ipc::parcel::{Contents, Parcel};
use crate::process::args::{Args, Task};
use crate::process::current;
use crate::process::panic::{self, guarded};
use crate::process::returns::{Completion, Returns};
use crate::process::role::{ChildContext, Role};
use crate::process::surroundings::Limits;
use crate::sys::any::conjure;
use crate::sys::child::own_pid;
use crate::sys::fault;
use crate::sys::fork::Original;
use crate::sys::signal;
use serde::{Deserialize, Serialize};
use std::any::type_name;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a process is told before it begins.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) function: FnRef,
    pub(crate) args: Parcel,
    pub(super) initializer: Option<First>,
    pub(super) limits: Limits,
    /// Whether the last descriptor is its standard input.
    pub(super) stdin: bool,
    pub(crate) daemon: bool,
    /// Whether SIGINT ends it.
    pub(crate) interruptible: bool,
    /// See [`current::path`].
    pub(crate) path: String,
}

/// What a process calls before its function.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct First {
    pub(super) function: FnRef,
    #[serde(with = "crate::codec::bytes")]
    pub(super) args: Vec<u8>,
    /// The sets of attached descriptors of its arguments: the last ones.
    pub(super) sets: usize,
}

/// What a process says before it ends, once. A file may travel with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Value(Parcel),
    /// A value, and behind it the handles in it, see [`handles`]; so many messages with its attached descriptors follow.
    Handles(Parcel, usize),
    /// A [`Failure`].
    Failure(Parcel),
}

/// The descriptor by which a child finds [`live`].
pub(crate) fn entry() -> &'static Entry<Role> {
    static ENTRY: Entry<Role> = Entry::new(|| "multiproc process", live);
    &ENTRY
}

/// Reads arguments, calls a function with them, and serialises what it returned.
pub(crate) type Run = fn(&mut Reader<'_>) -> Result<Packed, Failure>;

impl Callable for Run {
    const TAG: u64 = 4;
}

/// The descriptor of a function that is called with the arguments `A`; `J` says what its return value means.
pub(crate) fn function_entry<F: Task<A>, A: Args, J: Returns<F::Output>>() -> &'static Entry<Run> {
    const { &Entry::new(type_name::<F>, run::<F, A, J>) }
}

fn run<F: Task<A>, A: Args, J: Returns<F::Output>>(reader: &mut Reader<'_>) -> Result<Packed, Failure> {
    call::<F, A>(reader, |returned| {
        let value = J::into_outcome(returned).map_err(|source| Failure::Failed { source })?;
        encode(&value)
    })
}

/// The descriptor of a function that a process calls before its own, with the arguments `A`.
pub(super) fn initializer_entry<F: Task<A, Output: Completion>, A: Args>() -> &'static Entry<Run> {
    const { &Entry::new(type_name::<F>, initialize::<F, A>) }
}

fn initialize<F: Task<A, Output: Completion>, A: Args>(reader: &mut Reader<'_>) -> Result<Packed, Failure> {
    call::<F, A>(reader, |returned| {
        returned.complete().map(|()| Packed::default()).map_err(|source| Failure::Failed { source })
    })
}

/// Calls a function with the arguments that are read, and takes what it has returned.
fn call<F: Task<A>, A: Args>(
    reader: &mut Reader<'_>,
    take: impl FnOnce(F::Output) -> Result<Packed, Failure>,
) -> Result<Packed, Failure> {
    // The user's code in here: `Deserialize`, the function, `Serialize`, destructors.
    let called = catch_unwind(AssertUnwindSafe(|| {
        let args = A::decode(reader).map_err(|error| Failure::Decode { text: error.0 })?;
        take(conjure::<F>().call(&(), &mut (), args))
    }));
    called.unwrap_or_else(|payload| Err(Failure::Panicked(panic::describe(payload))))
}

fn encode<R: Payload>(value: &R) -> Result<Packed, Failure> {
    codec::pack(|out| codec::encode(value, out)).map_err(|error| Failure::Encode { text: error.0 })
}

/// The life of a process. It ends by `exit`, so that exit handlers run: the function may have registered some, and
/// [`children::settle`](crate::process::children::settle) is one.
fn live(context: ChildContext) -> i32 {
    let (control, mut attached) = (context.control.clone(), context.attached.clone());
    match prepare(context) {
        Ok((function, args, initializer)) => {
            panic::note();
            if let Some(first) = initializer {
                let sets = attached.split_off(attached.len().saturating_sub(first.sets));
                if let Err(error) = first.run(sets) {
                    let _ = control.send(&Reply::Initializer(error), &[]);
                    return 1;
                }
            }
            fault::watch_before_others();
            if control.send(&Reply::Ready, &[]).is_err() {
                return 1;
            }
            let original = Original::here();
            let outcome = guarded(|| scope::with_attached(attached, || function.call()(&mut args.reader())));
            drop(args);
            // The function may have forked, and have returned in both processes: the fork has no report of its own.
            original.end_forks();
            std::process::exit(report(&control, outcome))
        }
        Err(text) => {
            let _ = control.send(&Reply::Refused(text), &[]);
            1
        }
    }
}

impl First {
    /// Calls it; `attached` is what its arguments refer to.
    fn run(&self, attached: Vec<Arc<AttachedFds>>) -> Result<(), TaskError> {
        let error = |failure: Failure, name| TaskError::new(failure.into(), name, 0, Some(own_pid()));
        let function = self.function.resolve::<Run>();
        let function = function.map_err(|text| error(Failure::Decode { text }, "an initializer"))?;
        let mut reader = Reader::new(&self.args);
        let called = guarded(|| scope::with_attached(attached, || function.call()(&mut reader)));
        called.map(drop).map_err(|failure| error(failure, function.name()))
    }
}

fn prepare(mut context: ChildContext) -> Result<(&'static Entry<Run>, Contents, Option<First>), String> {
    let setup: Setup = codec::from_bytes(&context.setup).map_err(|error| error.0)?;
    if setup.stdin {
        let stdin = context.fds.pop().ok_or("its standard input did not come")?;
        signal::set_standard_input(stdin.as_fd()).map_err(|error| format!("its standard input: {error}"))?;
    }
    let function = setup.function.resolve()?;
    let args = setup.args.open(context.fds.first()).map_err(|error| format!("its arguments: {error}"))?;
    current::be_process(setup.daemon, setup.path);
    if setup.interruptible {
        signal::heed_interrupts();
    }
    setup.limits.apply()?;
    Ok((function, args, setup.initializer))
}

/// Tells the parent, and in case of a failure the user, what has come of it; the exit code.
fn report(control: &Control, outcome: Result<Packed, Failure>) -> i32 {
    let mut held = Pins::new();
    let packed = outcome.and_then(|Packed { mut bytes, pins }| {
        held = pins;
        if !held.is_empty() {
            handles::append(&mut bytes, &held);
        }
        Parcel::pack(bytes).map_err(|error| Failure::Encode { text: format!("it could not be sent: {error}") })
    });
    match packed {
        Ok((parcel, file)) => {
            let attached = attached_in(&held);
            let report = if held.is_empty() { Report::Value(parcel) } else { Report::Handles(parcel, attached.len()) };
            let sent = send(control, &report, file).and_then(|()| control.send_attached(0, &attached));
            // Its parent takes hold of it when this process has ended.
            std::mem::forget(held);
            match sent {
                Ok(()) => 0,
                Err(error) => {
                    panic::say(format_args!("the result of process {} could not be sent: {error}", current::name()));
                    1
                }
            }
        }
        Err(failure) => {
            // One write: lines of several processes do not mix.
            let _ = io::stderr().write_all(describe(&failure).as_bytes());
            if let Ok((parcel, file)) = Parcel::pack(codec::to_bytes(&failure)) {
                // If the parent does not hear it, the user has read it.
                let _ = send(control, &Report::Failure(parcel), file);
            }
            1
        }
    }
}

fn send(control: &Control, report: &Report, file: Option<OwnedFd>) -> io::Result<()> {
    let files: Vec<&OwnedFd> = file.iter().collect();
    control.send(report, &files)
}

/// A failure, for people: which process, and what happened.
fn describe(failure: &Failure) -> String {
    let mut text = format!("Process {}:\n", current::name());
    match failure {
        Failure::Panicked(panic) => {
            let location = panic.location.as_deref().map(|it| format!(" at {it}")).unwrap_or_default();
            let _ = writeln!(text, "panicked{location}:\n{}", panic.message);
            if let Some(backtrace) = &panic.backtrace {
                let _ = writeln!(text, "{backtrace}");
            }
        }
        Failure::Failed { source } => {
            let _ = writeln!(text, "error: {source}");
            let mut cause = std::error::Error::source(source);
            while let Some(error) = cause {
                let _ = writeln!(text, "caused by: {error}");
                cause = error.source();
            }
        }
        Failure::Decode { text: why } => {
            let _ = writeln!(text, "error: the arguments could not be deserialised: {why}");
        }
        Failure::Encode { text: why } => {
            let _ = writeln!(text, "error: the result could not be serialised: {why}");
        }
    }
    text
}
