//! [`Event`]: a flag that many wait for.

use crate::error::Error;
use crate::heap::block::Shared;
use crate::heap::kind::Kind;
use crate::sync::algorithm::event;
use crate::sync::handle::{expect, make, read};
use crate::sys::time::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A flag that processes wait for: Python's `multiprocessing.Event`.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same event.
///
/// ```
/// use multiproc::{Event, Process};
///
/// let (ready, go) = (Event::new(), Event::new());
/// let process = Process::spawn(
///     |ready: Event, go: Event| {
///         ready.set();
///         go.wait();
///     },
///     (ready.clone(), go.clone()),
/// )?;
/// ready.wait();
/// go.set();
/// process.join()?;
/// assert!(go.is_set());
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Who waits when the flag goes up sees it, even if it is taken down again before that one has woken up. What was written
/// before [`Event::set`] is seen after [`Event::wait`].
///
/// # If a process dies
///
/// Nothing is left behind, since no process holds an event. If the process was killed in the middle of
/// [`Event::set`], the flag is up and all waiters wake up within about 50 ms, or it is not up yet.
#[derive(Clone)]
pub struct Event {
    event: Shared<event::Event>,
}

impl Event {
    /// Creates an event whose flag is down.
    ///
    /// # Panics
    ///
    /// Panics when there is no shared memory for it, see [`Event::try_new`].
    #[expect(clippy::new_without_default, reason = "Default must not panic")]
    pub fn new() -> Event {
        expect(Event::try_new(), "event")
    }

    /// Creates an event whose flag is down.
    ///
    /// # Errors
    ///
    /// [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn try_new() -> Result<Event, Error> {
        Ok(Event { event: make(Kind::Event)? })
    }

    /// Raises the flag, and wakes all waiters.
    pub fn set(&self) {
        self.event.set();
    }

    /// Takes the flag down.
    pub fn clear(&self) {
        self.event.clear();
    }

    /// Returns whether the flag is up.
    pub fn is_set(&self) -> bool {
        self.event.is_set()
    }

    /// Waits until the flag is up.
    ///
    /// ```
    /// use multiproc::{Event, Process};
    ///
    /// let event = Event::new();
    /// let process = Process::spawn(|event: Event| event.wait(), (event.clone(),))?;
    /// event.set();
    /// process.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Timeouts
    ///
    /// Waits until the flag is raised, even if no process is left that could raise it; see [`Event::wait_timeout`].
    pub fn wait(&self) {
        self.event.wait_until(Deadline::NEVER);
    }

    /// Waits until the flag is up, for at most `timeout`. Returns whether it is up: Python's `wait(timeout)`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let event = multiproc::Event::new();
    /// assert!(!event.wait_timeout(Duration::from_millis(5)));
    /// event.set();
    /// assert!(event.wait_timeout(Duration::ZERO));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.event.wait_until(Deadline::after(timeout))
    }
}

/// Shows the flag, as Python does.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Event(set)" } else { "Event(unset)" })
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.event.block().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
        Ok(Event { event: read(deserializer, Kind::Event, "event")? })
    }
}
