//! What a task is, seen from both sides: how its input is read, what is called, what comes back.

use crate::attached_fds::AttachedFds;
use crate::codec::{self, CodecError, Payload, Reader};
use crate::engine::worker::kept_state::Keeper;
use crate::error::Failure;
use crate::heap::scope;
use crate::identity::{Callable, Entry};
use crate::ipc::link::{self, Frame, WorkerLink};
use crate::ipc::worker_end::WorkerEnd;
use crate::process::args::{Args, Task};
use crate::process::context::{Bare, ByRef, Kept};
use crate::process::panic;
use crate::process::returns::Returns;
use crate::sys::any::conjure;
use crate::sys::large_vec::Used;
use std::any::{Any, type_name};
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What the tasks of a call run, and with what. A type without values: all it says, it says by its type. Sealed: [`Owned`]
/// and [`Borrowed`].
pub trait Shape: sealed::Sealed {
    /// What a worker keeps for these tasks.
    #[doc(hidden)]
    type Kept: Kept;
    /// What one task is given.
    type Input: 'static;
    /// What the function returns.
    type Output: 'static;

    #[doc(hidden)]
    fn name() -> &'static str;
    #[doc(hidden)]
    fn decode(reader: &mut Reader<'_>) -> Result<Self::Input, CodecError>;
    #[doc(hidden)]
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError>;
    #[doc(hidden)]
    fn call(held: &Held<Self>, state: &mut State<Self>, input: Self::Input) -> Self::Output;
}

/// What a worker has read once for all tasks of a call.
type Held<K> = <<K as Shape>::Kept as Kept>::Held;

/// What the tasks of a call may change in their worker.
type State<K> = <<K as Shape>::Kept as Kept>::State;

/// An item out of which a call makes a task. Sealed.
pub trait Accepts<T>: Shape {
    #[doc(hidden)]
    fn encode(item: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;
    /// Returns the bytes of the last argument if that is a vector of plain numbers.
    #[doc(hidden)]
    fn tail(_item: &T) -> Option<&[u8]> {
        None
    }
    /// Appends all arguments but the last one, of an item with a [`Accepts::tail`].
    #[doc(hidden)]
    fn encode_head(_item: &T, _out: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(())
    }
    /// Returns the memory of the last argument if it may be used for a result.
    #[doc(hidden)]
    fn into_used(_item: T) -> Option<Used> {
        None
    }
    /// Returns the hash of the key, for items that have one.
    #[doc(hidden)]
    const KEY: Option<fn(&T) -> u64> = None;
}

pub(super) mod sealed {
    pub trait Sealed: 'static {}
    impl<F: 'static, A: 'static, X: 'static> Sealed for super::Owned<F, A, X> {}
    impl<F: 'static, T: ?Sized + 'static, R: 'static, X: 'static> Sealed for super::Borrowed<F, T, R, X> {}
}

/// `F` is called with the arguments `A`, a tuple that the task owns, in the context `X`.
#[derive(Debug)]
pub struct Owned<F, A, X = Bare>(PhantomData<fn(F, A, X)>);

impl<F: Task<A, X>, A: Args, X: Kept> Shape for Owned<F, A, X> {
    type Kept = X;
    type Input = A;
    type Output = F::Output;

    fn name() -> &'static str {
        type_name::<F>()
    }
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<A, CodecError> {
        A::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        A::skip(reader)
    }
    #[inline]
    fn call(held: &X::Held, state: &mut X::State, args: A) -> F::Output {
        conjure::<F>().call(held, state, args)
    }
}

/// A tuple of arguments.
impl<F: Task<A, X>, A: Args, X: Kept> Accepts<A> for Owned<F, A, X> {
    #[inline]
    fn encode(args: &A, out: &mut Vec<u8>) -> Result<(), CodecError> {
        args.encode(out)
    }
    #[inline]
    fn tail(args: &A) -> Option<&[u8]> {
        args.tail()
    }
    fn encode_head(args: &A, out: &mut Vec<u8>) -> Result<(), CodecError> {
        args.encode_head(out)
    }
    fn into_used(args: A) -> Option<Used> {
        args.into_used::<F::Output>()
    }
}

/// The only argument.
impl<F: Task<(T,), X>, T: Payload, X: Kept> Accepts<T> for Owned<F, (T,), X> {
    #[inline]
    fn encode(item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        codec::encode(item, out)
    }
    #[inline]
    fn tail(item: &T) -> Option<&[u8]> {
        codec::bulk(item)
    }
    fn into_used(item: T) -> Option<Used> {
        codec::used::<T, F::Output>(item)
    }
}

/// `F` is called with a `&T` that was borrowed where the call was made, in the context `X`, and returns an `R`.
#[derive(Debug)]
pub struct Borrowed<F, T: ?Sized, R, X = Bare>(PhantomData<fn(F, &T, R, X)>);

impl<F, T, R, X> Shape for Borrowed<F, T, R, X>
where
    F: for<'t> Task<(&'t T,), X, Output = R>,
    T: ByRef + ?Sized,
    R: 'static,
    X: Kept,
{
    type Kept = X;
    type Input = T::Owned;
    type Output = R;

    fn name() -> &'static str {
        type_name::<F>()
    }
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<T::Owned, CodecError> {
        codec::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        codec::skip::<T>(reader)
    }
    #[inline]
    fn call(held: &X::Held, state: &mut X::State, item: T::Owned) -> R {
        conjure::<F>().call(held, state, (T::lend(&item),))
    }
}

impl<F, T, R, X, D> Accepts<D> for Borrowed<F, T, R, X>
where
    F: for<'t> Task<(&'t T,), X, Output = R>,
    T: ByRef + ?Sized,
    R: 'static,
    X: Kept,
    D: Deref<Target = T>,
{
    #[inline]
    fn encode(item: &D, out: &mut Vec<u8>) -> Result<(), CodecError> {
        codec::encode::<T>(item, out)
    }
    #[inline]
    fn tail(item: &D) -> Option<&[u8]> {
        codec::bulk::<T>(item)
    }
}

/// The descriptor by which a worker finds [`run`] for a shape, and for what its function's return value means.
pub(crate) fn entry<K: Shape, J: Returns<K::Output>>() -> &'static Entry<Run> {
    const { &Entry::new(K::name, run::<K, J>) }
}

/// Runs the tasks of one frame in a worker.
pub(crate) type Run = for<'a, 'b, 'c> fn(&'a mut Invocation<'b, 'c>) -> io::Result<()>;

impl Callable for Run {
    const TAG: u64 = 2;
}

/// One frame of tasks, to be run.
pub(crate) struct Invocation<'b, 'c> {
    pub(crate) frame: Frame,
    pub(crate) input: &'b mut Reader<'c>,
    pub(crate) link: &'b mut WorkerEnd,
    pub(crate) context: &'b mut Context,
    pub(crate) keeper: &'b mut Keeper,
    pub(crate) scratch: &'b mut Vec<u8>,
}

/// The context of a job in a worker: bytes at first, a value from the first task on.
#[derive(Debug)]
pub(crate) enum Context {
    /// In the header of the job, from `start` on.
    Bytes {
        header: link::Payload,
        start: usize,
        attached: Vec<Arc<AttachedFds>>,
    },
    Value(Box<dyn Any>),
    Bad(String),
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Context::Value(value) = self {
            panic::discard("the context of `with`", std::mem::replace(value, Box::new(())));
        }
    }
}

/// Reads the context of a call, whatever its type.
type ReadContext = fn(&mut Reader<'_>) -> Result<Box<dyn Any>, CodecError>;

fn read_context<X: Kept>(reader: &mut Reader<'_>) -> Result<Box<dyn Any>, CodecError> {
    X::read(reader).map(|value| Box::new(value) as Box<dyn Any>)
}

impl Context {
    /// The value, which is read when it is needed for the first time; or why there is none.
    fn value(&mut self, read: ReadContext) -> Result<&dyn Any, &str> {
        if let Context::Bytes { header, start, attached } = self {
            let read = || {
                header.read(&mut Vec::new(), |reader| {
                    reader.pass(*start)?;
                    read(reader)
                })
            };
            let outcome = panic::contain(|| scope::with_attached(std::mem::take(attached), read));
            *self = match panic::decoded(outcome) {
                Ok(value) => Context::Value(value),
                Err(error) => Context::Bad(format!("the context of `with`: {}", error.0)),
            };
        }
        match self {
            Context::Value(value) => Ok(&**value),
            Context::Bad(text) => Err(text),
            Context::Bytes { .. } => Err("the context of `with` was not read"),
        }
    }
}

/// Without context or state no task of a frame can run: each has failed.
#[cold]
fn refuse_all(link: &mut WorkerEnd, frame: &Frame, text: String) -> io::Result<()> {
    let failure = codec::to_bytes(&Failure::Decode { text });
    for at in frame.skip..frame.count {
        link.start(at);
        link.failure(at, &failure)?;
    }
    Ok(())
}

fn run<K: Shape, J: Returns<K::Output>>(call: &mut Invocation<'_, '_>) -> io::Result<()> {
    let Invocation { frame, input, link, context, keeper, scratch } = call;
    if frame.skip > 0 || matches!(**context, Context::Bytes { .. }) {
        // What is read before the first task is read for it: if that ends this process, it is this task that is lost,
        // and not its turn at the next worker.
        link.start(frame.skip);
    }
    let context = match context.value(read_context::<K::Kept>) {
        Ok(value) => value.downcast_ref::<Held<K>>().ok_or("the context of `with` has another type"),
        Err(text) => Err(text),
    };
    let skipped = (0..frame.skip).try_for_each(|_| K::skip(input));
    let mut at = frame.skip;
    // Then the last task has it.
    let mut has_fds = scope::attached_left() > 0;
    let state = keeper.lend::<State<K>>(&mut ()).is_some();
    let context = match (context, skipped) {
        (Err(text), _) => return refuse_all(link, frame, text.to_owned()),
        (_, Err(error)) => return refuse_all(link, frame, error.0),
        _ if !state => return refuse_all(link, frame, "the state of the worker has another type".to_owned()),
        (Ok(context), Ok(())) => context,
    };
    let mut none = ();
    while at < frame.count {
        let Some(state) = keeper.lend::<State<K>>(&mut none) else {
            return Err(io::Error::other("the state of the worker is gone"));
        };
        // One guard for as many tasks as go well, so that a task that does not panic pays nothing for it.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while at < frame.count {
                link.start(at);
                let decoded = K::decode(input);
                if has_fds && scope::attached_left() == 0 {
                    has_fds = false;
                    link.taken(at)?;
                }
                match decoded.map(|item| J::into_outcome(K::call(context, state, item))) {
                    Ok(Ok(value)) => answer(link, at, value, scratch)?,
                    Ok(Err(source)) => link.failure(at, &codec::to_bytes(&Failure::Failed { source }))?,
                    Err(error) => link.failure(at, &codec::to_bytes(&Failure::Decode { text: error.0 }))?,
                }
                at += 1;
            }
            Ok(())
        }));
        match outcome {
            // All tasks of the frame have their answers, or the link has failed.
            Ok(done) => return done,
            Err(payload) => {
                link.failure(at, &codec::to_bytes(&Failure::from(panic::describe(payload))))?;
                at += 1;
                if let Err(error) = keeper.renew::<State<K>>() {
                    // What was answered is to be heard before this worker ends.
                    link.flush();
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

#[inline]
fn answer<T: Payload>(link: &mut WorkerEnd, at: u32, value: T, scratch: &mut Vec<u8>) -> io::Result<()> {
    if let Some(bytes) = codec::bulk(&value) {
        link.value(at, &codec::prefix(bytes.len()), bytes)?;
        // Whoever gets a large vector of numbers often returns one.
        link.let_go(value);
        return Ok(());
    }
    if let Some((bytes, len)) = codec::fixed(&value) {
        return link.value(at, &bytes[..len], &[]);
    }
    scratch.clear();
    let (encoded, pins) = scope::collect(|| codec::encode(&value, scratch));
    // Its destructor is the user's code: if that panics, the task has panicked, and must not have its value published.
    drop(value);
    match encoded {
        Ok(()) if !pins.is_empty() => link.value_with_handles(at, scratch, pins),
        Ok(()) => link.value(at, scratch, &[]),
        Err(error) => link.failure(at, &codec::to_bytes(&Failure::Encode { text: error.0 })),
    }
}
