//! Tasks that give values while they run: what such a task is, seen from both sides.

use crate::channels::channel::Sender;
use crate::codec::{self, CodecError, Payload, Reader};
use crate::engine::worker::work::{Accepts, Shape, sealed::Sealed};
use crate::error::{RemoteError, Result};
use crate::process::args::Task;
use crate::process::context::Kept;
use crate::process::returns::Completion;
use crate::sys::any::conjure;
use serde::{Deserialize, Serialize};
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

/// What a task says to whoever iterates over its values.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said<T> {
    /// It runs.
    Begun,
    Value(T),
    /// There are no more values.
    Ended,
}

/// Where a task of [`Pool::generate`](crate::Pool::generate) gives its values.
pub struct Emit<T: Payload> {
    sender: Sender<Said<T>>,
}

impl<T: Payload> Emit<T> {
    fn begin(sender: Sender<Said<T>>) -> Emit<T> {
        // If nobody is left to hear it, the first value finds out.
        let _ = sender.send(Said::Begun);
        Emit { sender }
    }

    /// Gives a value, as soon as there is room for it: a consumer that is slower than the task holds the task up.
    ///
    /// ```
    /// use multiproc::{Emit, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let count = |to: u32, emit: &Emit<u32>| (0..to).try_for_each(|x| emit.send(x));
    /// assert_eq!(pool.generate(count, [3]).iter().collect::<Result<Vec<_>, _>>()?, [0, 1, 2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The iterator was dropped, so that nobody will ever ask for values: a task had better end then. Or the value cannot be
    /// serialised, or there is no shared memory for it.
    pub fn send(&self, value: T) -> Result<()> {
        Ok(self.sender.send(Said::Value(value))?)
    }

    /// Returns whether nobody will ask for values any more. [`CurrentTask::is_cancelled`](crate::CurrentTask::is_cancelled)
    /// is true then as well.
    pub fn is_disconnected(&self) -> bool {
        self.sender.is_disconnected()
    }
}

impl<T: Payload> Drop for Emit<T> {
    fn drop(&mut self) {
        // The pool keeps a handle as well until it has heard of the end of the task: without this word the end of the values
        // would be noticed only after that, and a moment later.
        let _ = self.sender.send(Said::Ended);
    }
}

impl<T: Payload> fmt::Debug for Emit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emit").field("is_disconnected", &self.is_disconnected()).finish_non_exhaustive()
    }
}

/// `F` is called with an item and an [`Emit`], in the context `X`, and gives any number of values. What comes back at the end
/// is the number of the task.
#[derive(Debug)]
pub(crate) struct Emits<F, I, T, R, X>(PhantomData<(F, I, T, R, X)>);

impl<F: 'static, I: 'static, T: 'static, R: 'static, X: 'static> Sealed for Emits<F, I, T, R, X> {}

impl<F, I, T, R, X> Shape for Emits<F, I, T, R, X>
where
    F: for<'e> Task<(I, &'e Emit<T>), X, Output = R>,
    I: Payload,
    T: Payload,
    R: Completion + 'static,
    X: Kept,
{
    type Kept = X;
    type Input = (u64, I, Sender<Said<T>>);
    type Output = std::result::Result<u64, RemoteError>;

    fn name() -> &'static str {
        type_name::<F>()
    }
    fn decode(reader: &mut Reader<'_>) -> std::result::Result<Self::Input, CodecError> {
        codec::decode(reader)
    }
    fn skip(reader: &mut Reader<'_>) -> std::result::Result<(), CodecError> {
        codec::skip::<Self::Input>(reader)
    }
    fn call(held: &X::Held, state: &mut X::State, (number, item, sender): Self::Input) -> Self::Output {
        conjure::<F>().call(held, state, (item, &Emit::begin(sender))).complete().map(|()| number)
    }
}

impl<F, I, T, R, X> Accepts<(u64, I, Sender<Said<T>>)> for Emits<F, I, T, R, X>
where
    F: for<'e> Task<(I, &'e Emit<T>), X, Output = R>,
    I: Payload,
    T: Payload,
    R: Completion + 'static,
    X: Kept,
{
    fn encode(item: &Self::Input, out: &mut Vec<u8>) -> std::result::Result<(), CodecError> {
        codec::encode(item, out)
    }
}
