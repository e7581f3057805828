//! The functions that a worker runs apart from its tasks: initializer, maker of the state, finalizer.

use crate::attached_fds::AttachedFds;
use crate::codec::{self, Reader};
use crate::error::{Error, RemoteError, TaskError, TaskKind};
use crate::heap::scope::{self, Pins, attached_in};
use crate::identity::{Callable, Entry, FnRef};
use crate::process::args::{Args, Task};
use crate::process::panic::{self, guarded};
use crate::process::returns::Completion;
use crate::sys::any::conjure;
use serde::{Deserialize, Serialize};
use std::any::{Any, type_name};
use std::error::Error as StdError;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A function and its serialised arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Routine {
    function: FnRef,
    #[serde(with = "crate::codec::bytes")]
    args: Vec<u8>,
    /// The sets of attached descriptors of the arguments. They travel beside the routine; every process that may run it keeps them.
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

/// Runs an initializer or a finalizer.
pub(crate) type Procedure = fn(&mut Reader<'_>) -> Result<(), TaskKind>;

impl Callable for Procedure {
    const TAG: u64 = 3;
}

/// Makes a state.
pub(crate) type Maker = fn(&mut Reader<'_>) -> Result<Box<dyn Any>, TaskKind>;

impl Callable for Maker {
    const TAG: u64 = 5;
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
    pub(crate) fn run<R>(&self, call: impl FnOnce(&Routine) -> Result<R, TaskKind>) -> Result<R, TaskError> {
        guarded(|| call(self)).map_err(|kind| self.error(kind))
    }

    /// Calls an initializer or a finalizer.
    pub(crate) fn proceed(&self) -> Result<(), TaskKind> {
        let call = self.call::<Procedure>()?;
        scope::with_attached(self.attached.clone(), || call(&mut Reader::new(&self.args)))
    }

    /// Calls the maker of a state.
    pub(crate) fn make(&self) -> Result<Box<dyn Any>, TaskKind> {
        let call = self.call::<Maker>()?;
        scope::with_attached(self.attached.clone(), || call(&mut Reader::new(&self.args)))
    }

    fn call<C: Callable>(&self) -> Result<C, TaskKind> {
        self.function.resolve::<C>().map(Entry::call).map_err(|text| TaskKind::Decode { text })
    }

    /// The error of this routine.
    pub(crate) fn error(&self, kind: TaskKind) -> TaskError {
        let name = match (self.function.resolve::<Procedure>(), self.function.resolve::<Maker>()) {
            (Ok(entry), _) => entry.name(),
            (_, Ok(entry)) => entry.name(),
            _ => "a function that it does not have",
        };
        TaskError::new(kind, name, 0, Some(crate::sys::child::own_pid()))
    }
}

/// The descriptor of an initializer or a finalizer.
pub(crate) fn procedure<F: Task<A, Output: Completion>, A: Args>() -> &'static Entry<Procedure> {
    struct Holder<F, A>(PhantomData<(F, A)>);
    impl<F: Task<A, Output: Completion>, A: Args> Holder<F, A> {
        const ENTRY: &'static Entry<Procedure> = &Entry::new(type_name::<F>, proceed::<F, A>);
    }
    Holder::<F, A>::ENTRY
}

/// The descriptor of a function that makes a state.
pub(crate) fn maker<F: Task<A>, A: Args>() -> &'static Entry<Maker> {
    struct Holder<F, A>(PhantomData<(F, A)>);
    impl<F: Task<A>, A: Args> Holder<F, A> {
        const ENTRY: &'static Entry<Maker> = &Entry::new(type_name::<F>, make::<F, A>);
    }
    Holder::<F, A>::ENTRY
}

/// The descriptor of a function that makes a state or fails.
pub(crate) fn fallible_maker<F, A, S, E>() -> &'static Entry<Maker>
where
    F: Task<A, Output = Result<S, E>>,
    A: Args,
    S: 'static,
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    struct Holder<F, A, S, E>(PhantomData<(F, A, S, E)>);
    impl<F, A, S, E> Holder<F, A, S, E>
    where
        F: Task<A, Output = Result<S, E>>,
        A: Args,
        S: 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        const ENTRY: &'static Entry<Maker> = &Entry::new(type_name::<F>, try_make::<F, A, S, E>);
    }
    Holder::<F, A, S, E>::ENTRY
}

fn proceed<F: Task<A, Output: Completion>, A: Args>(reader: &mut Reader<'_>) -> Result<(), TaskKind> {
    caught::<F, A, _>(reader, Completion::complete)?.map_err(|source| TaskKind::Failed { source })
}

fn make<F: Task<A>, A: Args>(reader: &mut Reader<'_>) -> Result<Box<dyn Any>, TaskKind> {
    caught::<F, A, _>(reader, |state| Box::new(state) as Box<dyn Any>)
}

fn try_make<F, A, S, E>(reader: &mut Reader<'_>) -> Result<Box<dyn Any>, TaskKind>
where
    F: Task<A, Output = Result<S, E>>,
    A: Args,
    S: 'static,
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    let made = caught::<F, A, _>(reader, |made| made.map_err(|error| RemoteError::new(&*error.into())))?;
    made.map(|state| Box::new(state) as Box<dyn Any>).map_err(|source| TaskKind::Failed { source })
}

/// Reads the arguments, calls the function, and turns a panic into plain data.
fn caught<F: Task<A>, A: Args, R>(reader: &mut Reader<'_>, then: impl FnOnce(F::Output) -> R) -> Result<R, TaskKind> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let args = A::decode(reader).map_err(|error| TaskKind::Decode { text: error.0 })?;
        Ok(then(conjure::<F>().call(&(), &mut (), args)))
    }));
    outcome.unwrap_or_else(|payload| Err(panic::describe(payload).into()))
}
