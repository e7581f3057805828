//! The functions that a worker runs apart from its tasks: initializer, maker of the state, finalizer.

use crate::attached_fds::AttachedFds;
use crate::codec::{self, Reader};
use crate::error::{Error, Failure, RemoteError, TaskError};
use crate::heap::scope::{self, Pins, attached_in};
use crate::identity::{Callable, Entry, FnRef};
use crate::process::args::{Args, Task};
use crate::process::panic::{self, guarded};
use crate::process::returns::{Completion, Fallible, Plain};
use crate::sys::any::conjure;
use crate::sys::child::own_pid;
use serde::{Deserialize, Serialize};
use std::any::{Any, type_name};
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A function and its serialised arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Routine {
    function: FnRef,
    #[serde(with = "crate::codec::bytes")]
    args: Vec<u8>,
    /// The sets of attached descriptors of the arguments. They travel beside the routine; every process that may run it
    /// keeps them.
    sets: usize,
    #[serde(skip)]
    attached: Vec<Arc<AttachedFds>>,
}

/// What the builder of a pool has set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Routines {
    pub(crate) initializer: Option<Routine>,
    /// Makes the state that tasks may change.
    pub(crate) state: Option<Routine>,
    pub(crate) finalizer: Option<Routine>,
}

/// Calls the function of a routine with its serialised arguments; returns what the function returned.
pub(crate) type Call = fn(&mut Reader<'_>) -> Result<Box<dyn Any>, Failure>;

impl Callable for Call {
    const TAG: u64 = 3;
}

impl Routines {
    /// All attached descriptors, in the order in which [`Routines::load`] takes them.
    pub(crate) fn attached(&self) -> Vec<Arc<AttachedFds>> {
        let all = [&self.initializer, &self.state, &self.finalizer];
        all.into_iter().flatten().flat_map(|routine| routine.attached.iter().cloned()).collect()
    }

    /// In a worker: gives the routines their attached descriptors.
    pub(crate) fn load(&mut self, attached: Vec<Arc<AttachedFds>>) {
        let mut attached = attached.into_iter();
        for routine in [&mut self.initializer, &mut self.state, &mut self.finalizer].into_iter().flatten() {
            routine.attached = attached.by_ref().take(routine.sets).collect();
        }
    }
}

impl Routine {
    /// A routine for workers, and what its arguments refer to; `role` says what it is for.
    ///
    /// # Errors
    ///
    /// The arguments cannot be serialised, or the function is not part of this executable.
    pub(crate) fn new<C: Callable, A: Args>(
        role: &str,
        entry: &'static Entry<C>,
        args: &A,
    ) -> Result<(Routine, Pins), Error> {
        let encoded = codec::pack(|out| args.encode(out)).map_err(|error| {
            Error::invalid_argument(format!("the arguments of the {role} could not be serialised: {}", error.0))
        })?;
        let attached = attached_in(&encoded.pins);
        let function = FnRef::of(entry)?;
        Ok((Routine { function, args: encoded.bytes, sets: attached.len(), attached }, encoded.pins))
    }

    /// Runs it, in a worker.
    ///
    /// # Errors
    ///
    /// It has panicked or failed, or cannot be called.
    pub(crate) fn run<R>(&self, call: impl FnOnce(&Routine) -> Result<R, Failure>) -> Result<R, TaskError> {
        guarded(|| call(self)).map_err(|failure| self.error(failure))
    }

    /// Calls an initializer or a finalizer.
    pub(crate) fn proceed(&self) -> Result<(), Failure> {
        self.make().map(drop)
    }

    /// Calls the function, and returns what it returned: the state of a worker.
    pub(crate) fn make(&self) -> Result<Box<dyn Any>, Failure> {
        let call = self.function.resolve::<Call>().map_err(|text| Failure::Decode { text })?.call();
        scope::with_attached(self.attached.clone(), || call(&mut Reader::new(&self.args)))
    }

    /// The error of this routine.
    pub(crate) fn error(&self, failure: Failure) -> TaskError {
        let name = self.function.resolve::<Call>().map_or("a function that it does not have", Entry::name);
        TaskError::new(failure.into(), name, 0, Some(own_pid()))
    }
}

/// What is kept of what the function of a routine returns: all ([`Plain`]), the value of a `Result` ([`Fallible`]), or
/// [`Nothing`].
///
/// Like [`Returns`](crate::process::returns::Returns), for values that need not travel.
pub(crate) trait Keeps<R>: 'static {
    type Value: 'static;

    fn into_outcome(returned: R) -> Result<Self::Value, RemoteError>;
}

impl<R: 'static> Keeps<R> for Plain {
    type Value = R;

    fn into_outcome(returned: R) -> Result<R, RemoteError> {
        Ok(returned)
    }
}

impl<R: 'static, E: Into<Box<dyn StdError + Send + Sync>>> Keeps<Result<R, E>> for Fallible {
    type Value = R;

    fn into_outcome(returned: Result<R, E>) -> Result<R, RemoteError> {
        returned.map_err(|error| RemoteError::new(&*error.into()))
    }
}

/// The function returns `()` or a `Result`, and only whether it has failed counts.
#[derive(Debug)]
pub(crate) enum Nothing {}

impl<R: Completion> Keeps<R> for Nothing {
    type Value = ();

    fn into_outcome(returned: R) -> Result<(), RemoteError> {
        returned.complete()
    }
}

/// The descriptor of a function for a routine; `J` says what its return value means.
pub(crate) fn entry<F: Task<A>, A: Args, J: Keeps<F::Output>>() -> &'static Entry<Call> {
    const { &Entry::new(type_name::<F>, call::<F, A, J>) }
}

fn call<F: Task<A>, A: Args, J: Keeps<F::Output>>(reader: &mut Reader<'_>) -> Result<Box<dyn Any>, Failure> {
    // The user's code in here: `Deserialize`, the function, destructors.
    let called = catch_unwind(AssertUnwindSafe(|| {
        let args = A::decode(reader).map_err(|error| Failure::Decode { text: error.0 })?;
        let returned = conjure::<F>().call(&(), &mut (), args);
        let kept = J::into_outcome(returned).map_err(|source| Failure::Failed { source })?;
        Ok(Box::new(kept) as Box<dyn Any>)
    }));
    called.unwrap_or_else(|payload| Err(panic::describe(payload).into()))
}
