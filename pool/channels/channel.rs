//! [`channel`]: a queue whose ends know whether a process is left at the other one.

use super::core::{Core, Patience, endlessly};
use super::readiness::Readiness;
use super::watcher::Inlet;
use crate::codec::Payload;
use crate::error::{Error, GetError, PutError};
use crate::heap::block::Block;
use crate::heap::held;
use crate::heap::kind::Kind;
use crate::sync::handle::expect;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
#[cfg(feature = "stream")]
use std::pin::Pin;
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::Duration;

/// Makes a channel with room for `values` values; `None` means as many as there is memory for.
///
/// A channel is a [`Queue`](crate::Queue) with two kinds of handles, whose ends notice each other: when the last
/// [`Sender`] of all processes is gone, a [`Receiver`] gets what was sent and then [`GetError::is_disconnected`], and
/// the other way round. So a consumer ends when its producers do, also if these were killed, and no producer has to
/// send a last value that says so.
///
/// ```
/// use multiproc::{Process, Sender, channel};
///
/// fn count(sender: Sender<u32>, from: u32) {
///     (from..from + 3).for_each(|number| sender.send(number).unwrap());
/// }
///
/// let (sender, receiver) = channel(100);
/// Process::spawn(count, (sender.clone(), 0))?;
/// Process::spawn(count, (sender, 10))?; // moved: this process keeps none
/// let mut all = receiver.into_iter().collect::<Result<Vec<u32>, _>>()?;
/// all.sort();
/// assert_eq!(all, [0, 1, 2, 10, 11, 12]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Panics
///
/// Panics when [`try_channel`] fails.
pub fn channel<T: Payload>(values: impl Into<Option<usize>>) -> (Sender<T>, Receiver<T>) {
    expect(try_channel(values), "channel")
}

/// Makes a channel, as [`channel`].
///
/// # Errors
///
/// [`Error::is_invalid_argument`]: room for 0 values. [`Error::is_shared_memory`]: it is exhausted, or this process has none.
pub fn try_channel<T: Payload>(values: impl Into<Option<usize>>) -> Result<(Sender<T>, Receiver<T>), Error> {
    let core = Core::new(values.into())?;
    let (senders, receivers) = (Block::new(Kind::End, 8)?, Block::new(Kind::End, 8)?);
    core.name_ends([held::word_of(&senders), held::word_of(&receivers)]);
    Ok((Sender::new(End::new(core.clone(), senders, SENDER)), Receiver::new(End::new(core, receivers, RECEIVER))))
}

const SENDER: usize = 0;
const RECEIVER: usize = 1;

/// One end of a channel. It holds the block that stands for all handles of its kind: as long as any process holds that, or
/// a message that is under way does, the end is there.
pub(super) struct End<T> {
    pub(super) core: Core<T>,
    /// Only taken when this is dropped.
    stands_for: Option<Block>,
    /// What a place would say that held the block of this end, and of the other.
    own: u64,
    other: u64,
}

impl<T> End<T> {
    pub(super) fn new(core: Core<T>, stands_for: Block, side: usize) -> End<T> {
        let ends = core.ends();
        End { core, stands_for: Some(stands_for), own: ends[side], other: ends[1 - side] }
    }

    /// Whether nobody is left at the other end.
    pub(super) fn is_over(&self) -> bool {
        !held::is_held(self.other)
    }

    /// What is told of it to who waits for several things.
    pub(super) fn inlet(&self) -> Inlet {
        Inlet::new(self.core.place(), Some(self.other))
    }

    pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D, side: usize) -> Result<End<T>, D::Error>
    where
        T: Payload,
    {
        let (core, stands_for) = <(Core<T>, Block)>::deserialize(deserializer)?;
        if stands_for.kind() != Kind::End as u8 || core.ends()[side] != held::word_of(&stands_for) {
            return Err(D::Error::custom("the handle refers to something that is no such end of a channel"));
        }
        Ok(End::new(core, stands_for, side))
    }
}

impl<T> Serialize for End<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.stands_for {
            Some(stands_for) => (&self.core, stands_for).serialize(serializer),
            None => Err(S::Error::custom("the end of the channel is gone")),
        }
    }
}

impl<T> Clone for End<T> {
    fn clone(&self) -> Self {
        End { core: self.core.clone(), stands_for: self.stands_for.clone(), own: self.own, other: self.other }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        drop(self.stands_for.take());
        if !held::is_held(self.own) {
            // It was the last: whoever waits for it looks now, and not only when its slice is over.
            self.core.wake_all();
        }
    }
}

/// The end of a channel at which values are sent, see [`channel`]. A handle: clones, and what arrives in another process, are
/// the same end.
///
/// ```
/// let (sender, receiver) = multiproc::channel::<u32>(2);
/// sender.send_many([1, 2])?;
/// assert_eq!(sender.try_send(3).unwrap_err().into_inner(), 3); // It is full, and nothing is lost.
/// drop(receiver);
/// assert!(sender.send(3).unwrap_err().is_disconnected());
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct Sender<T> {
    pub(super) end: End<T>,
}

impl<T: Payload> Sender<T> {
    /// Sends a value, as soon as there is room.
    ///
    /// ```
    /// let (sender, receiver) = multiproc::channel(10);
    /// sender.send(7)?;
    /// drop(receiver); // The last one.
    /// let error = sender.send(8).unwrap_err();
    /// assert!(error.is_disconnected() && error.into_inner() == 8);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PutError`] gives the value back. [`PutError::is_disconnected`]: no process has a [`Receiver`] any more, and none is
    /// under way to one. [`PutError::is_encode`] and [`PutError::is_shared_memory`]: see [`Queue::put`](crate::Queue::put).
    ///
    /// # If a process dies
    ///
    /// If the process had the last receiver, senders that wait get [`PutError::is_disconnected`] within 100 ms.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the channel is full; see [`Sender::send_timeout`].
    pub fn send(&self, value: T) -> Result<(), PutError<T>> {
        self.end.core.put(value, Patience::Endless, &|| self.end.is_over())
    }

    /// Sends a value if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`]; and as [`Sender::send`].
    pub fn try_send(&self, value: T) -> Result<(), PutError<T>> {
        self.end.core.put(value, Patience::None, &|| self.end.is_over())
    }

    /// Sends a value, and waits for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`]; and as [`Sender::send`].
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.end.core.put(value, Patience::For(timeout), &|| self.end.is_over())
    }

    /// Sends many values in one pass, see [`Queue::put_many`](crate::Queue::put_many).
    ///
    /// # Errors
    ///
    /// See [`Sender::send`]: gives those values back that were not sent. If one cannot be serialised none is sent.
    ///
    /// # Timeouts
    ///
    /// Waits as long as the channel is full; see [`Sender::send_many_timeout`].
    pub fn send_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.end.core.put_many(values.into_iter().collect(), Patience::Endless, &|| self.end.is_over())
    }

    /// Sends as many of the values as there is room for.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`], with those for which there was none; and as [`Sender::send_many`].
    pub fn try_send_many(&self, values: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.end.core.put_many(values.into_iter().collect(), Patience::None, &|| self.end.is_over())
    }

    /// Sends many values, and waits for room for at most `timeout` in all.
    ///
    /// # Errors
    ///
    /// [`PutError::is_full`], with those for which there was none; and as [`Sender::send_many`].
    pub fn send_many_timeout(
        &self,
        values: impl IntoIterator<Item = T>,
        timeout: Duration,
    ) -> Result<(), PutError<Vec<T>>> {
        self.end.core.put_many(values.into_iter().collect(), Patience::For(timeout), &|| self.end.is_over())
    }
}

/// The end of a channel at which values are received, see [`channel`]. A handle: clones, and what arrives in another process,
/// are the same end, and each value goes to one of them.
pub struct Receiver<T> {
    pub(super) end: End<T>,
    #[cfg(feature = "stream")]
    pub(super) streaming: super::stream::Streaming,
}

impl<T> Receiver<T> {
    fn new(end: End<T>) -> Receiver<T> {
        Receiver {
            end,
            #[cfg(feature = "stream")]
            streaming: Default::default(),
        }
    }
}

impl<T> Sender<T> {
    fn new(end: End<T>) -> Sender<T> {
        Sender { end }
    }
}

impl<T: Payload> Receiver<T> {
    /// Receives the next value, as soon as there is one.
    ///
    /// ```
    /// let (sender, receiver) = multiproc::channel(10);
    /// sender.send(7)?;
    /// drop(sender); // The last one: what it has sent is still there.
    /// assert_eq!(receiver.recv()?, 7);
    /// assert!(receiver.recv().unwrap_err().is_disconnected());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`GetError::is_disconnected`]: no process has a [`Sender`] any more, and all that was sent was received.
    /// [`GetError::is_decode`] and [`GetError::is_shared_memory`]: see [`Queue::get`](crate::Queue::get).
    ///
    /// # If a process dies
    ///
    /// If the process had the last sender, receivers get all that it had sent, and then [`GetError::is_disconnected`]
    /// within 100 ms.
    ///
    /// # Timeouts
    ///
    /// Waits as long as nothing is sent; see [`Receiver::recv_timeout`].
    pub fn recv(&self) -> Result<T, GetError> {
        endlessly(|patience| self.end.core.get(patience, &|| self.end.is_over(), |_| ()))
    }

    /// Receives the next value; `None` if there is none at the moment.
    ///
    /// # Errors
    ///
    /// See [`Receiver::recv`].
    pub fn try_recv(&self) -> Result<Option<T>, GetError> {
        self.end.core.get(Patience::None, &|| self.end.is_over(), |_| ())
    }

    /// Receives the next value, and waits for one for at most `timeout`; `None` if none came.
    ///
    /// # Errors
    ///
    /// See [`Receiver::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<T>, GetError> {
        self.end.core.get(Patience::For(timeout), &|| self.end.is_over(), |_| ())
    }

    /// Waits for a value, and receives up to `most` of those that are there then, see
    /// [`Queue::get_many`](crate::Queue::get_many).
    ///
    /// # Errors
    ///
    /// See [`Receiver::recv`].
    ///
    /// # Timeouts
    ///
    /// Waits as long as nothing is sent; see [`Receiver::recv_many_timeout`].
    pub fn recv_many(&self, most: usize) -> Result<Vec<Result<T, GetError>>, GetError> {
        self.end.core.get_many(most, Patience::Endless, &|| self.end.is_over())
    }

    /// Receives up to `most` of the values that are there; none if the channel is empty.
    ///
    /// # Errors
    ///
    /// See [`Receiver::recv`].
    pub fn try_recv_many(&self, most: usize) -> Result<Vec<Result<T, GetError>>, GetError> {
        self.end.core.get_many(most, Patience::None, &|| self.end.is_over())
    }

    /// Like [`Receiver::recv_many`], and waits for the first value for at most `timeout`; none if it did not come.
    ///
    /// # Errors
    ///
    /// See [`Receiver::recv`].
    pub fn recv_many_timeout(&self, most: usize, timeout: Duration) -> Result<Vec<Result<T, GetError>>, GetError> {
        self.end.core.get_many(most, Patience::For(timeout), &|| self.end.is_over())
    }

    /// Returns all values, until the last sender is gone.
    ///
    /// ```
    /// let (sender, receiver) = multiproc::channel(10);
    /// sender.send_many([1, 2, 3])?;
    /// drop(sender);
    /// assert_eq!(receiver.iter().sum::<Result<i32, _>>()?, 6);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn iter(&self) -> ReceiverIter<T> {
        ReceiverIter { receiver: Some(self.clone()) }
    }
}

impl<T> Receiver<T> {
    /// Returns a descriptor that becomes readable when there is something to receive, or nothing ever will be: see
    /// [`Readiness`].
    ///
    /// # Errors
    ///
    /// There is no descriptor left, or the thread that tells cannot be started. [`Error::is_shared_memory`] in a process that
    /// was forked from one that uses the shared memory.
    pub fn readiness(&self) -> Result<Readiness, Error> {
        Readiness::new(self.inlet())
    }

    pub(super) fn inlet(&self) -> Inlet {
        self.end.inlet()
    }
}

macro_rules! both_ends {
    ($end:ident, $name:literal, $side:ident) => {
        impl<T> $end<T> {
            /// Returns how many values are under way: the exact number, at one moment.
            pub fn len(&self) -> usize {
                self.end.core.len()
            }

            /// Returns whether no value is under way.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Returns whether there is no room for another value.
            pub fn is_full(&self) -> bool {
                self.len() >= self.capacity()
            }

            /// Returns how many values the channel has room for.
            pub fn capacity(&self) -> usize {
                self.end.core.capacity()
            }

            /// Returns whether no handle is left to the other end.
            pub fn is_disconnected(&self) -> bool {
                self.end.is_over()
            }
        }

        impl<T> Clone for $end<T> {
            fn clone(&self) -> Self {
                $end::new(self.end.clone())
            }
        }

        /// Shows how many values are under way.
        impl<T> fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($name, "(len={}, disconnected={})"), self.len(), self.is_disconnected())
            }
        }

        impl<T> Serialize for $end<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.end.serialize(serializer)
            }
        }

        impl<'de, T: Payload> Deserialize<'de> for $end<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$end<T>, D::Error> {
                Ok($end::new(End::read(deserializer, $side)?))
            }
        }
    };
}

both_ends!(Sender, "Sender", SENDER);
both_ends!(Receiver, "Receiver", RECEIVER);

/// The values that a [`Receiver`] receives, one by one, until the last sender is gone.
///
/// A value that cannot be read is an `Err`, and the next one follows; so is an end of another kind, behind which nothing
/// follows.
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for values"]
pub struct ReceiverIter<T> {
    receiver: Option<Receiver<T>>,
}

impl<T: Payload> Iterator for ReceiverIter<T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Result<T, GetError>> {
        let value = self.receiver.as_ref()?.recv();
        if value.as_ref().is_err_and(|error| !error.is_decode()) {
            self.receiver = None;
        }
        value.map(Some).or_else(|error| if error.is_disconnected() { Ok(None) } else { Err(error) }).transpose()
    }
}

impl<T: Payload> IntoIterator for Receiver<T> {
    type Item = Result<T, GetError>;
    type IntoIter = ReceiverIter<T>;

    fn into_iter(self) -> ReceiverIter<T> {
        ReceiverIter { receiver: Some(self) }
    }
}

impl<T: Payload> IntoIterator for &Receiver<T> {
    type Item = Result<T, GetError>;
    type IntoIter = ReceiverIter<T>;

    fn into_iter(self) -> ReceiverIter<T> {
        self.iter()
    }
}

/// The values that are received, until the last sender is gone: as [`Receiver::iter`], for asynchronous code, under any
/// runtime.
///
/// A value that cannot be read is an `Err`, and the next one follows; so is an end of another kind, behind which nothing
/// follows. Each handle is a stream of its own, and each value goes to one of them. The first task that has to wait starts
/// the thread that wakes them, see [`Readiness`](crate::Readiness).
///
/// ```
/// use futures_core::Stream;
/// use multiproc::{Process, Sender, channel};
/// use std::future::poll_fn;
/// use std::pin::Pin;
///
/// let (sender, mut receiver) = channel(100);
/// Process::spawn(|sender: Sender<u64>| (1..=10).for_each(|it| sender.send(it).unwrap()), (sender,))?;
/// let sum = async {
///     let mut sum = 0;
///     // The same as `receiver.next().await` with `StreamExt` of the crate futures.
///     while let Some(number) = poll_fn(|context| Pin::new(&mut receiver).poll_next(context)).await {
///         sum += number?;
///     }
///     Ok::<u64, multiproc::GetError>(sum)
/// };
/// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// assert_eq!(runtime.block_on(sum)?, 55);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T: Payload> futures_core::Stream for Receiver<T> {
    type Item = Result<T, GetError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Receiver { end, streaming } = self.get_mut();
        let receive = || end.core.get(Patience::None, &|| end.is_over(), |_| ());
        streaming.poll(context.waker(), || end.inlet(), receive)
    }
}
