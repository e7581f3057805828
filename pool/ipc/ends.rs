//! `Ipc`: ends of ipc-channel inside of values that travel.

use crate::attached_fds;
use crate::heap::scope;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::{Deref, DerefMut};

/// Ends of ipc-channel (`IpcSender`, `IpcReceiver`, `IpcSharedMemory` …) inside of a value that travels to a worker or a
/// process.
///
/// Ends may be arguments, items, contexts and results, as they are or in tuples, vectors, options and the like: the type
/// tells that they are there. What is inside of a struct of your own no type tells, so they are put into an `Ipc` there:
///
/// ```
/// use multiproc::ipc_channel::ipc::{self, IpcSender};
/// use multiproc::{Ipc, Pool};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     number: u32,
///     answers: Ipc<IpcSender<String>>,
/// }
///
/// let pool = Pool::new(1)?;
/// let (sender, receiver) = ipc::channel()?;
/// // As it is:
/// pool.apply(|answers: IpcSender<String>| answers.send("hello".to_owned()).unwrap(), (sender.clone(),))?;
/// assert_eq!(receiver.recv().unwrap(), "hello");
/// // In a struct:
/// let order = Order { number: 7, answers: Ipc(sender) };
/// pool.apply(|order: Order| order.answers.send(format!("done: {}", order.number)).unwrap(), (order,))?;
/// assert_eq!(receiver.recv().unwrap(), "done: 7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// An `IpcReceiver` moves: what is left of it here is empty. Senders and shared memory are there on both sides. The ends
/// have to be those of [`multiproc::ipc_channel`](crate::ipc_channel), which is ipc-channel in the version that this library
/// uses. The first end that travels puts a socket into the temporary folder for a moment.
///
/// # Errors
///
/// A value (an argument, an item, a result) with more than 64 ends cannot travel: ipc-channel sends no more at once. Neither
/// can one with ends that its type does not tell of and that are in no `Ipc`; values are looked at for these now and then,
/// and where one is overlooked the other side cannot deserialise it. All that is a [`TaskError`](crate::TaskError) of the one
/// task. An `Ipc` that is serialised anywhere else, into JSON say, refuses.
///
/// # If a worker dies
///
/// Ends go to a worker when it begins the task, and are its own from then on: so whoever waits at the other end notices that
/// the task has dropped them, or that the worker has died. Tasks that it had not begun go to others with their ends. With
/// [`retry`](crate::Call::retry) the pool keeps them until the task has its outcome, so that it can be run again; it keeps
/// those of a context ([`Pool::with`](crate::Pool::with)) until the end of the call, and those of an initializer
/// and the like as long as it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipc<T>(pub T);

impl<T> Ipc<T> {
    /// Returns what is inside.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Ipc<T> {
    fn from(inner: T) -> Ipc<T> {
        Ipc(inner)
    }
}

impl<T> Deref for Ipc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Ipc<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Serialize> Serialize for Ipc<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        scope::carry().map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ipc<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ipc<T>, D::Error> {
        // Without ends, as with `None`, there is nothing to unpack.
        if !attached_fds::is_unpacking() {
            scope::check_reading().map_err(D::Error::custom)?;
        }
        T::deserialize(deserializer).map(Ipc)
    }
}
