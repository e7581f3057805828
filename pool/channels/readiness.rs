//! [`Readiness`]: a descriptor for something that has none.

use super::watcher::{Bell, Inlet, Watch};
use crate::error::Error;
use crate::sys::poll::Waker;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

/// A descriptor that becomes readable when something can be taken from a queue, a channel or a connection, or nothing ever
/// will be: for `poll(2)`, `epoll(7)`, and the runtimes that are built on them.
///
/// [`Queue::readiness`](crate::Queue::readiness), [`Receiver::readiness`](crate::Receiver::readiness) and
/// [`Connection::readiness`](crate::Connection::readiness) make one. A queue itself is memory, and takes no
/// descriptor; a `Readiness` takes one, and the first one in a process starts a thread that sleeps at all queues with
/// a `Readiness`. [`wait`](crate::wait) needs no `Readiness`.
///
/// The descriptor stays readable until [`Readiness::is_ready`] says that nothing is there. It does not keep its end of the
/// channel: when the last [`Receiver`](crate::Receiver) is dropped the senders are told.
///
/// ```
/// use multiproc::{Process, Receiver, Sender, channel};
/// use std::time::Duration;
/// use tokio::io::unix::AsyncFd;
///
/// async fn sum(receiver: Receiver<u64>) -> Result<u64, Box<dyn std::error::Error>> {
///     #[allow(deprecated)] // `AsyncFd::register` in tokio 1.54, which is `unsafe`
///     let readiness = AsyncFd::new(receiver.readiness()?)?;
///     let mut sum = 0;
///     loop {
///         let mut ready = readiness.readable().await?;
///         if !readiness.get_ref().is_ready()? {
///             ready.clear_ready(); // somebody else has taken it
///             continue;
///         }
///         match receiver.try_recv() {
///             Ok(number) => sum += number.unwrap_or(0),
///             Err(error) if error.is_disconnected() => return Ok(sum),
///             Err(error) => return Err(error.into()),
///         }
///     }
/// }
///
/// let (sender, receiver) = channel(100);
/// Process::spawn(|sender: Sender<u64>| (1..=10).for_each(|it| sender.send(it).unwrap()), (sender,))?;
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
/// assert_eq!(runtime.block_on(sum(receiver)).unwrap(), 55);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # If a process dies
///
/// If the process had the last sender, the descriptor becomes readable within 100 ms.
pub struct Readiness {
    watch: Watch,
    waker: Arc<Waker>,
}

impl Readiness {
    pub(super) fn new(inlet: Inlet) -> Result<Readiness, Error> {
        let waker = Arc::new(Waker::new()?);
        let readiness = Readiness { watch: Watch::new(inlet, Bell::Descriptor(Arc::clone(&waker)))?, waker };
        if readiness.is_ready()? {
            readiness.waker.wake();
        }
        Ok(readiness)
    }

    /// Returns whether something can be taken, or will never be. If not, the descriptor is not readable any more,
    /// until that changes.
    ///
    /// # Errors
    ///
    /// The thread that tells cannot be started. [`Error::is_shared_memory`] in a process that was forked from the one that
    /// has made this.
    pub fn is_ready(&self) -> Result<bool, Error> {
        if self.watch.inlet().is_ready() {
            // The descriptor is readable already, or the thread that tells is about to make it so.
            return Ok(true);
        }
        // In this order: what has come since the look makes it readable again.
        self.waker.clear();
        self.watch.arm()?;
        Ok(false)
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Shows its descriptor.
impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readiness(fd={})", self.as_raw_fd())
    }
}
