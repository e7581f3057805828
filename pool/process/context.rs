//! What a function gets in front of its own arguments.

use crate::codec::{self, CodecError, Payload, Reader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

mod sealed {
    use super::{CodecError, Reader};

    /// What a worker keeps for the tasks of a call.
    pub trait Kept: 'static {
        /// Read once in each worker.
        type Held: 'static;
        /// What tasks may change; `()` is nothing.
        type State: 'static;

        #[doc(hidden)]
        fn read(reader: &mut Reader<'_>) -> Result<Self::Held, CodecError>;
    }

    /// The owned form of something that was lent.
    pub trait Owns: 'static {
        type Owned: serde::de::DeserializeOwned + 'static;

        #[doc(hidden)]
        fn lend(owned: &Self::Owned) -> &Self;
    }
}

pub(crate) use sealed::{Kept, Owns};

/// A value that a task can get by reference: every [`Payload`], and `str`, `[T]`, [`Path`] and [`CStr`].
///
/// ```
/// fn lends<T: multiproc::ByRef + ?Sized>() {}
/// lends::<Vec<u64>>();
/// lends::<[u64]>();
/// lends::<str>();
/// ```
///
/// What [`Pool::with`](crate::Pool::with) lends to all tasks of a call, and [`Pool::ref_tasks`](crate::Pool::ref_tasks) to each.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process, not even by reference",
    label = "not `Serialize + DeserializeOwned + 'static`, nor `str`, `[T]`, `Path` or `CStr`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and let it own its data: `String` instead of `&str`"
)]
pub trait ByRef: Owns + Serialize {}

impl<T: ?Sized + Owns + Serialize> ByRef for T {}

impl<T: Payload> Owns for T {
    type Owned = T;
    fn lend(owned: &T) -> &T {
        owned
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Owns for [T] {
    type Owned = Vec<T>;
    fn lend(owned: &Vec<T>) -> &[T] {
        owned
    }
}

macro_rules! owned {
    ($($lent:ty: $owned:ty),*) => { $(
        impl Owns for $lent {
            type Owned = $owned;
            fn lend(owned: &$owned) -> &$lent {
                owned
            }
        }
    )* };
}

owned!(str: String, Path: PathBuf, CStr: CString);

/// What a function gets in front of its own arguments. Sealed: [`Shared`], [`OnState`] and [`Both`].
pub trait Context: Kept {
    /// The first parameter of the function.
    type Param<'x>;

    #[doc(hidden)]
    fn param<'x>(held: &'x Self::Held, state: &'x mut Self::State) -> Self::Param<'x>;
}

/// Nothing: the function gets its own arguments alone.
#[derive(Clone, Copy, Debug)]
pub enum Bare {}

/// `&C`: what was passed to [`Pool::with`](crate::Pool::with).
#[derive(Debug)]
pub struct Shared<C: ?Sized>(PhantomData<fn(&C)>);

/// `&mut S`: what each worker keeps, see [`Pool::on_state`](crate::Pool::on_state).
#[derive(Debug)]
pub struct OnState<S>(PhantomData<fn(S)>);

/// `(&C, &mut S)`: what was passed to [`Pool::with`](crate::Pool::with), and what each worker keeps.
#[derive(Debug)]
pub struct Both<C: ?Sized, S>(PhantomData<fn(&C, S)>);

impl Kept for Bare {
    type Held = ();
    type State = ();
    fn read(_: &mut Reader<'_>) -> Result<(), CodecError> {
        Ok(())
    }
}

impl<C: ByRef + ?Sized> Kept for Shared<C> {
    type Held = C::Owned;
    type State = ();
    fn read(reader: &mut Reader<'_>) -> Result<C::Owned, CodecError> {
        codec::decode(reader)
    }
}

impl<C: ByRef + ?Sized> Context for Shared<C> {
    type Param<'x> = &'x C;
    #[inline]
    fn param<'x>(held: &'x C::Owned, (): &'x mut ()) -> &'x C {
        C::lend(held)
    }
}

impl<S: 'static> Kept for OnState<S> {
    type Held = ();
    type State = S;
    fn read(_: &mut Reader<'_>) -> Result<(), CodecError> {
        Ok(())
    }
}

impl<S: 'static> Context for OnState<S> {
    type Param<'x> = &'x mut S;
    #[inline]
    fn param<'x>((): &'x (), state: &'x mut S) -> &'x mut S {
        state
    }
}

impl<C: ByRef + ?Sized, S: 'static> Kept for Both<C, S> {
    type Held = C::Owned;
    type State = S;
    fn read(reader: &mut Reader<'_>) -> Result<C::Owned, CodecError> {
        codec::decode(reader)
    }
}

impl<C: ByRef + ?Sized, S: 'static> Context for Both<C, S> {
    type Param<'x> = (&'x C, &'x mut S);
    #[inline]
    fn param<'x>(held: &'x C::Owned, state: &'x mut S) -> (&'x C, &'x mut S) {
        (C::lend(held), state)
    }
}
