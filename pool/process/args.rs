//! Functions of several arguments, and the tuples that hold these.

use crate::codec::{self, CodecError, Payload, Reader};
use crate::portable::Portable;
use crate::process::context::{Bare, Context, Kept};
use crate::sys::large_vec::Used;

mod sealed {
    use super::{CodecError, Reader, Used};
    #[cfg(doc)]
    use crate::codec;

    /// How a tuple of arguments travels: argument by argument, so that each takes the fastest form of its type.
    pub trait Travels: Sized + 'static {
        #[doc(hidden)]
        fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;
        /// Returns the bytes of the last argument if that is a vector of plain numbers.
        #[doc(hidden)]
        fn tail(&self) -> Option<&[u8]>;
        /// Appends all arguments but the last one.
        #[doc(hidden)]
        fn encode_head(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;
        /// Returns the memory of the last argument if it may be used for a result of type `R`; see [`codec::used`].
        #[doc(hidden)]
        fn into_used<R: 'static>(self) -> Option<Used>;
        #[doc(hidden)]
        fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError>;
        #[doc(hidden)]
        fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError>;
    }

    pub trait Callable<Args, X> {}
}

/// The arguments of a task: a tuple of 0 to 12 values that can travel.
///
/// ```
/// fn arguments<A: multiproc::Args>(_: A) {}
/// arguments(());
/// arguments((1, "two".to_owned(), vec![3.0]));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of arguments",
    note = "write the arguments as a tuple, also a single one: `(x,)`; each must be `Serialize + DeserializeOwned`"
)]
pub trait Args: sealed::Travels {}

/// A function that a task can run, called with the arguments `A`: a `fn` or a closure that captures nothing.
///
/// Implemented for every [`Portable`] function of up to 12 arguments. In a context `X` (see [`Pool::with`] and
/// [`Pool::on_state`]) the function has one more parameter, in front of those.
///
/// [`Pool::with`]: crate::Pool::with
/// [`Pool::on_state`]: crate::Pool::on_state
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with the arguments `{A}`",
    note = "the arguments are a tuple, also a single one: `apply(f, (x,))`; behind `with` or `on_state` the context is one \
            more parameter in front of them; a closure that calls methods on its arguments needs their types written: \
            `|s: String| s.len()`"
)]
pub trait Task<A, X: Kept = Bare>: sealed::Callable<A, X> + Portable {
    /// What it returns.
    type Output: 'static;

    #[doc(hidden)]
    fn call(self, held: &X::Held, state: &mut X::State, args: A) -> Self::Output;
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: Payload),*> sealed::Travels for ($($name,)*) {
            #[inline]
            #[allow(non_snake_case, unused_variables, clippy::unused_unit)]
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
                let ($($name,)*) = self;
                $(codec::encode($name, out)?;)*
                Ok(())
            }
            #[inline]
            #[allow(non_snake_case, unused_variables)]
            fn tail(&self) -> Option<&[u8]> {
                let ($($name,)*) = self;
                let tail: Option<&[u8]> = None;
                // The last one counts.
                $(let tail = codec::bulk($name);)*
                tail
            }
            #[allow(non_snake_case, unused_variables, unused_assignments, unused_mut)]
            fn encode_head(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
                let ($($name,)*) = self;
                let names: &[&str] = &[$(stringify!($name)),*];
                let mut left = names.len();
                $(
                    left -= 1;
                    if left > 0 {
                        codec::encode($name, out)?;
                    }
                )*
                Ok(())
            }
            #[allow(non_snake_case, unused_variables)]
            fn into_used<Out: 'static>(self) -> Option<Used> {
                let ($($name,)*) = self;
                let used: Option<Used> = None;
                $(let used = codec::used::<$name, Out>($name);)*
                used
            }
            #[inline]
            #[allow(unused_variables)]
            fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
                // A bad argument must not leave the reader in the middle of the tuple.
                $(#[allow(non_snake_case)] let $name = codec::decode::<$name>(reader);)*
                Ok(($($name?,)*))
            }
            #[inline]
            #[allow(unused_variables)]
            fn skip(reader: &mut Reader<'_>) -> Result<(), CodecError> {
                $(codec::skip::<$name>(reader)?;)*
                Ok(())
            }
        }
        impl<$($name: Payload),*> Args for ($($name,)*) {}
        impl<Func, Out, $($name),*> sealed::Callable<($($name,)*), Bare> for Func where Func: Fn($($name),*) -> Out {}
        impl<Func, Out, $($name),*> Task<($($name,)*)> for Func
        where
            Func: Fn($($name),*) -> Out + Portable,
            Out: 'static,
        {
            type Output = Out;
            #[inline]
            #[allow(non_snake_case)]
            fn call(self, (): &(), (): &mut (), ($($name,)*): ($($name,)*)) -> Out {
                self($($name),*)
            }
        }
        impl<Func, X: Context, Out, $($name),*> sealed::Callable<($($name,)*), X> for Func
        where Func: for<'x> Fn(X::Param<'x>, $($name),*) -> Out {}
        impl<Func, X: Context, Out, $($name),*> Task<($($name,)*), X> for Func
        where
            Func: for<'x> Fn(X::Param<'x>, $($name),*) -> Out + Portable,
            Out: 'static,
        {
            type Output = Out;
            #[inline]
            #[allow(non_snake_case)]
            fn call(self, held: &X::Held, state: &mut X::State, ($($name,)*): ($($name,)*)) -> Out {
                self(X::param(held, state), $($name),*)
            }
        }
    };
}

tuples!();
tuples!(A1);
tuples!(A1 A2);
tuples!(A1 A2 A3);
tuples!(A1 A2 A3 A4);
tuples!(A1 A2 A3 A4 A5);
tuples!(A1 A2 A3 A4 A5 A6);
tuples!(A1 A2 A3 A4 A5 A6 A7);
tuples!(A1 A2 A3 A4 A5 A6 A7 A8);
tuples!(A1 A2 A3 A4 A5 A6 A7 A8 A9);
tuples!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
tuples!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);
tuples!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12);

#[cfg(test)]
mod tests {
    use super::sealed::Travels;
    use super::*;

    #[test]
    fn a_tuple_travels_argument_by_argument() {
        let args = (1u64, vec![1.5f64, 2.5], "three".to_owned());
        let mut bytes = Vec::new();
        args.encode(&mut bytes).unwrap();
        // A number, a prefixed run of plain bytes, a prefixed string.
        assert_eq!(bytes.len(), 8 + (8 + 16) + (8 + 6));
        let mut reader = Reader::new(&bytes);
        assert_eq!(<(u64, Vec<f64>, String)>::decode(&mut reader).unwrap(), args);
        let mut reader = Reader::new(&bytes);
        <(u64, Vec<f64>, String)>::skip(&mut reader).unwrap();
        assert_eq!(reader.position(), bytes.len());
    }

    #[test]
    fn a_bad_argument_leaves_the_next_tuple_in_place() {
        let mut bytes = Vec::new();
        (vec![0xffu8], 1u8).encode(&mut bytes).unwrap();
        (vec![b'a'], 2u8).encode(&mut bytes).unwrap();
        let mut reader = Reader::new(&bytes);
        assert!(<(String, u8)>::decode(&mut reader).is_err());
        assert_eq!(<(Vec<u8>, u8)>::decode(&mut reader).unwrap(), (vec![b'a'], 2));
    }
}
