//! [`wait`]: until one of several things is ready.

use super::channel::Receiver;
use super::joinable::JoinableQueue;
use super::pipe::Connection;
use super::queue::Queue;
use super::simple::SimpleQueue;
use super::watcher::{Bell, Inlet, Watch};
use crate::error::Error;
use crate::sync::algorithm::sleepers::Sleepers;
use crate::sync::algorithm::word::Spin;
use crate::sync::this_thread::ThisThread;
use crate::sys::futex::Slices;
use crate::sys::poll::{self, Interest, Waker};
use crate::sys::time::Deadline;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

mod sealed {
    use super::Inlet;
    use std::os::fd::{AsFd, BorrowedFd};

    pub trait Source {
        fn source(&self) -> Kind<'_>;
    }

    #[expect(missing_debug_implementations, reason = "nobody ever has one")]
    #[expect(private_interfaces, reason = "nobody outside can name the trait that gives it")]
    pub enum Kind<'a> {
        Descriptor(BorrowedFd<'a>),
        Queue(Inlet),
    }

    impl<F: AsFd> Source for F {
        fn source(&self) -> Kind<'_> {
            Kind::Descriptor(self.as_fd())
        }
    }
}

/// What [`wait`] waits for.
///
/// - [`Queue`], [`JoinableQueue`], [`SimpleQueue`], [`Receiver`] and [`Connection`] are ready when something can be taken,
///   and when nothing ever will be: they were closed, or no process is left at the other end.
/// - A [`Process`](crate::Process) or [`ProcessHandle`](crate::ProcessHandle) is ready when it has ended.
/// - Whatever else has a descriptor ([`AsFd`]) is ready when that is readable: a socket, a listener, a pipe, a timer.
///
/// Nothing else can implement it.
pub trait Waitable: sealed::Source {}

impl<F: AsFd> Waitable for F {}

macro_rules! queues {
    ($($queue:ident)*) => { $(
        impl<T> sealed::Source for $queue<T> {
            fn source(&self) -> sealed::Kind<'_> {
                sealed::Kind::Queue(self.inlet())
            }
        }

        impl<T> Waitable for $queue<T> {}
    )* };
}

queues!(Queue JoinableQueue SimpleQueue Receiver Connection);

/// Waits until at least one of `sources` is ready, or the timeout is over, and returns the places of those that are, in
/// their order: Python's `multiprocessing.connection.wait`.
///
/// `None` waits without limit, [`Duration::ZERO`] only looks. Nothing is taken, so another thread or process may take
/// it first: if a source is shared, go on with the form that does not wait, such as [`Queue::try_get`].
///
/// ```
/// use multiproc::{Connection, Process, pipe, wait};
/// use std::time::Duration;
///
/// fn work(connection: Connection<String>, name: String) {
///     connection.send(name).unwrap();
/// }
///
/// let (ours, theirs) = pipe();
/// let process = Process::spawn(work, (theirs, "done".to_owned()))?;
/// let mut open = true;
/// while open {
///     for place in wait(&[&ours, &process], None)? {
///         match place {
///             0 => open = ours.recv().is_ok(), // the message, and then the end
///             _ => assert!(!process.is_alive()),
///         }
///     }
/// }
/// assert_eq!(wait(&[&process], Duration::ZERO)?, [0]); // whatever is ready stays ready
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Without `sources` there is nothing to wait for, and it returns at once.
///
/// Up to 127 queues cost nothing while nothing happens; with more of them the thread looks around every 1 to 2 ms. Queues
/// together with descriptors need a helper thread, which the first such call starts, and a descriptor during the call.
///
/// # Errors
///
/// [`Error::is_shared_memory`] in a process that was forked from one that uses the queues. The system refuses to wait for so
/// many descriptors, or to give one more; the helper thread cannot be started.
///
/// # If a process dies
///
/// If the process was the last one at the other end of a source, the source becomes ready within 100 ms.
pub fn wait(sources: &[&dyn Waitable], timeout: impl Into<Option<Duration>>) -> Result<Vec<usize>, Error> {
    let deadline = Deadline::within(timeout.into());
    let (mut inlets, mut descriptors) = (Vec::new(), Vec::new());
    for (place, source) in sources.iter().enumerate() {
        match source.source() {
            sealed::Kind::Descriptor(fd) => descriptors.push((place, fd)),
            sealed::Kind::Queue(inlet) => inlets.push((place, inlet)),
        }
    }
    if !inlets.is_empty() {
        ThisThread::new()?;
    }
    let mut bells = None;
    loop {
        let mut ready = ready_queues(&inlets);
        let no_queue_waits = inlets.is_empty();
        // Descriptors are asked without waiting if there is something to tell already, or queues to wait for.
        let until = if no_queue_waits { deadline } else { Deadline::after(Duration::ZERO) };
        ready.extend(ready_descriptors(&descriptors, until)?);
        if !ready.is_empty() || sources.is_empty() || deadline.passed() {
            ready.sort_unstable();
            // Something is ready, or the time is over.
            return Ok(ready);
        }
        if descriptors.is_empty() {
            sleep(&inlets, deadline);
        } else if !no_queue_waits {
            let bells = match &mut bells {
                Some(bells) => bells,
                none => none.insert(Bells::new(&inlets)?),
            };
            bells.sleep(&descriptors, deadline)?;
        }
    }
}

fn ready_queues(inlets: &[(usize, Inlet)]) -> Vec<usize> {
    inlets.iter().filter(|(_, inlet)| inlet.is_ready()).map(|(place, _)| *place).collect()
}

fn ready_descriptors(descriptors: &[(usize, BorrowedFd<'_>)], deadline: Deadline) -> Result<Vec<usize>, Error> {
    if descriptors.is_empty() {
        return Ok(Vec::new());
    }
    let fds: Vec<_> = descriptors.iter().map(|(_, fd)| (*fd, Interest::Readable)).collect();
    let ready = poll::wait(&fds, deadline)?;
    Ok(descriptors.iter().zip(ready).filter(|(_, is_ready)| *is_ready).map(|((place, _), _)| *place).collect())
}

/// Sleeps until one of the queues may be ready, or the deadline.
fn sleep(inlets: &[(usize, Inlet)], deadline: Deadline) {
    let mut spin = Spin::new();
    while spin.once() {
        if inlets.iter().any(|(_, inlet)| inlet.is_ready()) {
            return;
        }
    }
    let takers = || inlets.iter().map(|(_, inlet)| inlet.takers());
    let mut slices = Slices::new(deadline);
    loop {
        Sleepers::announce_at(takers(), &mut slices);
        if inlets.iter().any(|(_, inlet)| inlet.is_ready()) || !Sleepers::sleep_at(takers(), None, &mut slices) {
            break;
        }
    }
    // Others may sleep on this thread's marks although they were to be woken.
    inlets.iter().for_each(|(_, inlet)| inlet.pass_on());
}

/// A descriptor that stands for queues.
struct Bells {
    waker: Arc<Waker>,
    watches: Vec<Watch>,
}

impl Bells {
    fn new(inlets: &[(usize, Inlet)]) -> Result<Bells, Error> {
        let waker = Arc::new(Waker::new()?);
        let watch = |(_, inlet): &(usize, Inlet)| Watch::new(inlet.clone(), Bell::Descriptor(Arc::clone(&waker)));
        let watches = inlets.iter().map(watch).collect::<Result<_, _>>()?;
        Ok(Bells { waker, watches })
    }

    /// Sleeps until one of the queues may be ready, or one of the descriptors, or the deadline.
    fn sleep(&self, descriptors: &[(usize, BorrowedFd<'_>)], deadline: Deadline) -> Result<(), Error> {
        self.waker.clear();
        self.watches.iter().try_for_each(Watch::arm)?;
        let mut fds: Vec<_> = descriptors.iter().map(|(_, fd)| (*fd, Interest::Readable)).collect();
        fds.push((self.waker.as_fd(), Interest::Readable));
        poll::wait(&fds, deadline)?;
        Ok(())
    }
}
