//! What a task is, seen from both sides: how its input is read, what is called, what comes back.

use crate::codec::{self, CodecError, Packed, Payload, Reader};
use crate::engine::worker::kept_state::Keeper;
use crate::error::{RemoteError, TaskKind};
use crate::heap::scope;
use crate::identity::{Callable, Entry};
use crate::ipc::link::{Frame, WorkerLink};
use crate::ipc::worker_end::WorkerEnd;
use crate::luggage::Luggage;
use crate::process::args::{Args, Task, TaskOn, TaskWith};
use crate::process::panic;
use crate::process::returns::Returns;
use crate::sys::copy::conjure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{Any, type_name};
use std::borrow::Borrow;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// One kind of call of one function. A type without values: all it says, it says by its type.
pub(crate) trait Work: 'static {
    type Input;
    type Output: Payload;
    type Context: 'static;
    /// What of the worker it may change; `()` = nothing.
    type State: 'static;

    fn name() -> &'static str;
    fn context(reader: &mut Reader<'_>) -> Result<Self::Context, CodecError>;
    fn decode(reader: &mut Reader<'_>) -> Result<Self::Input, CodecError>;
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError>;
    fn call(context: &Self::Context, state: &mut Self::State, input: Self::Input) -> Result<Self::Output, RemoteError>;
}

/// `f(item)`.
#[derive(Debug)]
pub(crate) struct Each<F, T, R, J>(PhantomData<fn(F, T, R, J)>);

impl<F, T, R, J> Work for Each<F, T, R, J>
where
    F: Fn(T) -> R + Copy + 'static,
    T: Payload,
    R: 'static,
    J: Returns<R>,
{
    type Input = T;
    type Output = J::Value;
    type Context = ();
    type State = ();

    fn name() -> &'static str {
        type_name::<F>()
    }
    fn context(_: &mut Reader<'_>) -> Result<(), CodecError> {
        Ok(())
    }
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<T, CodecError> {
        codec::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        codec::skip::<T>(reader)
    }
    #[inline]
    fn call((): &(), (): &mut (), item: T) -> Result<J::Value, RemoteError> {
        J::judge(conjure::<F>()(item))
    }
}

/// `f(&item)`, where the item may have been borrowed.
#[derive(Debug)]
pub(crate) struct EachRef<F, T: ?Sized, R>(PhantomData<fn(F, &T, R)>);

impl<F, T, R> Work for EachRef<F, T, R>
where
    F: Fn(&T) -> R + Copy + 'static,
    T: ToOwned<Owned: DeserializeOwned> + ?Sized + 'static,
    R: Payload,
{
    type Input = T::Owned;
    type Output = R;
    type Context = ();
    type State = ();

    fn name() -> &'static str {
        type_name::<F>()
    }
    fn context(_: &mut Reader<'_>) -> Result<(), CodecError> {
        Ok(())
    }
    fn decode(reader: &mut Reader<'_>) -> Result<T::Owned, CodecError> {
        codec::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        codec::skip::<T>(reader)
    }
    fn call((): &(), (): &mut (), item: T::Owned) -> Result<R, RemoteError> {
        Ok(conjure::<F>()(item.borrow()))
    }
}

/// `f(a, b, ..)`.
#[derive(Debug)]
pub(crate) struct Star<F, A, J>(PhantomData<fn(F, A, J)>);

impl<F, A, J> Work for Star<F, A, J>
where
    F: Task<A>,
    A: Args,
    J: Returns<F::Output>,
{
    type Input = A;
    type Output = J::Value;
    type Context = ();
    type State = ();

    fn name() -> &'static str {
        type_name::<F>()
    }
    fn context(_: &mut Reader<'_>) -> Result<(), CodecError> {
        Ok(())
    }
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<A, CodecError> {
        A::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        A::skip(reader)
    }
    #[inline]
    fn call((): &(), (): &mut (), args: A) -> Result<J::Value, RemoteError> {
        J::judge(conjure::<F>().call(args))
    }
}

/// `f(&context, item)`.
#[derive(Debug)]
#[allow(clippy::type_complexity, reason = "a list of type parameters, not a type that anybody reads")]
pub(crate) struct EachWith<F, C: ?Sized, T, R, J>(PhantomData<fn(F, &C, T, R, J)>);

impl<F, C, T, R, J> Work for EachWith<F, C, T, R, J>
where
    F: Fn(&C, T) -> R + Copy + 'static,
    C: ToOwned<Owned: DeserializeOwned> + ?Sized + 'static,
    T: Payload,
    R: 'static,
    J: Returns<R>,
{
    type Input = T;
    type Output = J::Value;
    type Context = C::Owned;
    type State = ();

    fn name() -> &'static str {
        type_name::<F>()
    }
    fn context(reader: &mut Reader<'_>) -> Result<C::Owned, CodecError> {
        codec::decode(reader)
    }
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<T, CodecError> {
        codec::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        codec::skip::<T>(reader)
    }
    #[inline]
    fn call(context: &C::Owned, (): &mut (), item: T) -> Result<J::Value, RemoteError> {
        J::judge(conjure::<F>()(context.borrow(), item))
    }
}

/// `f(&context, a, b, ..)`.
#[derive(Debug)]
pub(crate) struct StarWith<F, C: ?Sized, A, J>(PhantomData<fn(F, &C, A, J)>);

impl<F, C, A, J> Work for StarWith<F, C, A, J>
where
    F: TaskWith<C, A>,
    C: ToOwned<Owned: DeserializeOwned> + ?Sized + 'static,
    A: Args,
    J: Returns<F::Output>,
{
    type Input = A;
    type Output = J::Value;
    type Context = C::Owned;
    type State = ();

    fn name() -> &'static str {
        type_name::<F>()
    }
    fn context(reader: &mut Reader<'_>) -> Result<C::Owned, CodecError> {
        codec::decode(reader)
    }
    fn decode(reader: &mut Reader<'_>) -> Result<A, CodecError> {
        A::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        A::skip(reader)
    }
    fn call(context: &C::Owned, (): &mut (), args: A) -> Result<J::Value, RemoteError> {
        J::judge(conjure::<F>().call(context.borrow(), args))
    }
}

/// `f(&mut state, item)`.
#[derive(Debug)]
#[allow(clippy::type_complexity, reason = "a list of type parameters, not a type that anybody reads")]
pub(crate) struct EachOn<F, S, T, R, J>(PhantomData<fn(F, S, T, R, J)>);

impl<F, S, T, R, J> Work for EachOn<F, S, T, R, J>
where
    F: Fn(&mut S, T) -> R + Copy + 'static,
    S: 'static,
    T: Payload,
    R: 'static,
    J: Returns<R>,
{
    type Input = T;
    type Output = J::Value;
    type Context = ();
    type State = S;

    fn name() -> &'static str {
        type_name::<F>()
    }
    fn context(_: &mut Reader<'_>) -> Result<(), CodecError> {
        Ok(())
    }
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<T, CodecError> {
        codec::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        codec::skip::<T>(reader)
    }
    #[inline]
    fn call((): &(), state: &mut S, item: T) -> Result<J::Value, RemoteError> {
        J::judge(conjure::<F>()(state, item))
    }
}

/// `f(&mut state, a, b, ..)`.
#[derive(Debug)]
pub(crate) struct StarOn<F, S, A, J>(PhantomData<fn(F, S, A, J)>);

impl<F, S, A, J> Work for StarOn<F, S, A, J>
where
    F: TaskOn<S, A>,
    S: 'static,
    A: Args,
    J: Returns<F::Output>,
{
    type Input = A;
    type Output = J::Value;
    type Context = ();
    type State = S;

    fn name() -> &'static str {
        type_name::<F>()
    }
    fn context(_: &mut Reader<'_>) -> Result<(), CodecError> {
        Ok(())
    }
    fn decode(reader: &mut Reader<'_>) -> Result<A, CodecError> {
        A::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
        A::skip(reader)
    }
    fn call((): &(), state: &mut S, args: A) -> Result<J::Value, RemoteError> {
        J::judge(conjure::<F>().call(state, args))
    }
}

/// Encodes a context for [`EachWith`] and [`StarWith`].
pub(crate) fn encode_context<C: Serialize + ?Sized + 'static>(context: &C) -> Result<Packed, CodecError> {
    codec::pack(|out| codec::encode(context, out))
}

/// The descriptor by which a worker finds [`run`] for a kind of work.
pub(crate) fn entry<W: Work>() -> &'static Entry<Run> {
    struct Holder<W>(PhantomData<W>);
    impl<W: Work> Holder<W> {
        const ENTRY: &'static Entry<Run> = &Entry::new(W::name, run::<W>);
    }
    Holder::<W>::ENTRY
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
    Bytes(Vec<u8>, Vec<Arc<Luggage>>),
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

fn run<W: Work>(call: &mut Invocation<'_, '_>) -> io::Result<()> {
    let Invocation { frame, input, link, context, keeper, scratch } = call;
    if frame.skip > 0 || matches!(**context, Context::Bytes(..)) {
        // What is read before the first task is read for it: if that ends this process, it is this task that is lost,
        // and not its turn at the next worker.
        link.start(frame.skip);
    }
    if let Context::Bytes(bytes, luggage) = &mut **context {
        let read = || W::context(&mut Reader::new(bytes));
        let outcome = panic::contain(|| scope::with_luggage(std::mem::take(luggage), read));
        **context = match panic::decoded(outcome) {
            Ok(value) => Context::Value(Box::new(value)),
            Err(error) => Context::Bad(format!("the context of `with`: {}", error.0)),
        };
    }
    let context = match &**context {
        Context::Value(value) => value.downcast_ref::<W::Context>().ok_or("the context of `with` has another type"),
        Context::Bad(text) => Err(text.as_str()),
        Context::Bytes(..) => Err("the context of `with` was not read"),
    };
    let skipped = (0..frame.skip).try_for_each(|_| W::skip(input));
    let mut at = frame.skip;
    // Then the last task has it.
    let mut is_laden = scope::luggage_left() > 0;
    let state = keeper.lend::<W::State>(&mut ()).is_some();
    let ready = match (context, skipped) {
        (Ok(_), Ok(())) if !state => Err("the state of the worker has another type".to_owned()),
        (Ok(context), Ok(())) => Ok(context),
        (Err(text), _) => Err(text.to_owned()),
        (_, Err(error)) => Err(error.0),
    };
    let context = match ready {
        Ok(context) => context,
        Err(text) => {
            let failure = codec::to_bytes(&TaskKind::Decode { text });
            for at in at..frame.count {
                link.start(at);
                link.failure(at, &failure)?;
            }
            return Ok(());
        }
    };
    let mut none = ();
    while at < frame.count {
        let Some(state) = keeper.lend::<W::State>(&mut none) else {
            return Err(io::Error::other("the state of the worker is gone"));
        };
        // One guard for as many tasks as go well, so that a task that does not panic pays nothing for it.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while at < frame.count {
                link.start(at);
                let decoded = W::decode(input);
                if is_laden && scope::luggage_left() == 0 {
                    is_laden = false;
                    link.taken(at)?;
                }
                match decoded.map(|item| W::call(context, state, item)) {
                    Ok(Ok(value)) => answer(link, at, value, scratch)?,
                    Ok(Err(source)) => link.failure(at, &codec::to_bytes(&TaskKind::Failed { source }))?,
                    Err(error) => link.failure(at, &codec::to_bytes(&TaskKind::Decode { text: error.0 }))?,
                }
                at += 1;
            }
            Ok(())
        }));
        match outcome {
            Ok(done) => return done,
            Err(payload) => {
                link.failure(at, &codec::to_bytes(&TaskKind::from(panic::describe(payload))))?;
                at += 1;
                if let Err(error) = keeper.renew::<W::State>() {
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
        return link.value(at, &codec::prefix(bytes.len()), bytes);
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
        Err(error) => link.failure(at, &codec::to_bytes(&TaskKind::Encode { text: error.0 })),
    }
}
