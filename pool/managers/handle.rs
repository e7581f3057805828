//! [`ManagerHandle`]: a manager as its clients know it: where its server is, and the door of that.

use crate::channels::line::Invitation;
use crate::channels::queue::Queue;
use crate::error::{Error, ManagerKind, QueueKind};
use crate::heap::block::{Block, Shared};
use crate::heap::held;
use crate::heap::kind::Kind;
use crate::heap::process_table::SlotId;
use crate::heap::tree;
use crate::sync::handle::{make, read_block};
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::time::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// What is said to a server at its door.
#[derive(Serialize, Deserialize)]
pub(crate) enum Knock {
    /// A thread of a client wants to ask.
    Enter(Invitation),
    /// A proxy was dropped, which was probably the last of this object.
    Gone(u64),
    /// It is to end.
    Stop,
}

/// How many knocks wait at a server's door.
const ROOM: usize = 256;

/// How often a client that waits at the door looks whether the server is still there.
const LOOK_EACH: Duration = Duration::from_millis(25);

/// Where the server of a manager is.
type Place = AtomicU64;

/// A manager, to make objects in it: what a [`Manager`](crate::Manager) dereferences to, and what travels to other processes.
///
/// A handle, as [`Lock`](crate::Lock): clones, and what arrives in another process, are the same manager. It does not keep the
/// server alive; that does the [`Manager`](crate::Manager) alone.
///
/// ```
/// use multiproc::{DictProxy, Manager, ManagerHandle, Process};
///
/// fn make(manager: ManagerHandle) -> DictProxy<String, u32> {
///     let dict = manager.dict([("made in".to_owned(), std::process::id())]).unwrap();
///     dict
/// }
///
/// let manager = Manager::new()?;
/// let process = Process::spawn(make, (manager.handle(),))?;
/// let pid = process.pid() as u32;
/// assert_eq!(process.join()?.get("made in")?, Some(pid));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone)]
pub struct ManagerHandle {
    place: Shared<Place>,
    door: Queue<Knock>,
    timeout: Option<Duration>,
}

impl ManagerHandle {
    /// A manager without a server.
    pub(super) fn without_server() -> Result<ManagerHandle, Error> {
        Ok(ManagerHandle { place: make(Kind::Manager)?, door: Queue::try_bounded(ROOM)?, timeout: None })
    }

    /// Returns a handle to the same manager by which objects are made within `timeout`, or not at all: see
    /// [`ManagerError::is_timed_out`](crate::ManagerError::is_timed_out). Their proxies have the same time limit, see
    /// [`Proxy::with_timeout`](crate::Proxy::with_timeout).
    ///
    /// ```
    /// use multiproc::Manager;
    /// use std::time::Duration;
    ///
    /// let manager = Manager::new()?;
    /// let hasty = manager.with_timeout(Duration::from_millis(20));
    /// let slow = || std::thread::sleep(Duration::from_millis(300));
    /// assert!(hasty.create(slow, ()).unwrap_err().is_timed_out());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn with_timeout(&self, timeout: Duration) -> ManagerHandle {
        ManagerHandle { timeout: Some(timeout), ..self.clone() }
    }

    /// The time limit of what is asked through it.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Until when what begins now may take.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::within(self.timeout)
    }

    /// Tells it from all others of the tree.
    #[inline]
    pub(super) fn id(&self) -> u64 {
        held::word_of(self.place.block())
    }

    pub(super) fn door(&self) -> &Queue<Knock> {
        &self.door
    }

    /// Notes which process serves it.
    pub(super) fn is_served_by(&self, server: SlotId) {
        // SYNC: manager served
        self.place.store(server.to_bits(), Ordering::Release);
    }

    /// Whether its server has ended.
    pub(super) fn is_gone(&self) -> bool {
        // SYNC: manager served
        SlotId::from_bits(self.place.load(Ordering::Acquire)).is_none_or(tree::has_ended)
    }

    /// What a call ends with whose server has ended.
    pub(super) fn gone(&self) -> ManagerKind {
        // SYNC: manager served
        let server = SlotId::from_bits(self.place.load(Ordering::Acquire));
        ManagerKind::Gone { pid: server.map_or(0, |server| tree::pid_of(server.index)) }
    }

    /// Says something at the door of the server, as soon as there is room.
    pub(super) fn knock(&self, mut knock: Knock, deadline: Deadline) -> Result<(), ManagerKind> {
        loop {
            if self.is_gone() {
                return Err(self.gone());
            }
            let wait = deadline.remaining().map_or(LOOK_EACH, |left| left.min(LOOK_EACH));
            match self.door.put_timeout(knock, wait) {
                Ok(()) => return Ok(()),
                Err(error) if !error.is_full() => return Err(error.into_kind().into()),
                Err(_) if deadline.passed() => return Err(ManagerKind::TimedOut),
                Err(error) => knock = error.into_inner(),
            }
        }
    }

    /// Tells the server that this was probably the last proxy of an object. If there is no room it will find out itself.
    pub(super) fn tell_gone(&self, object: u64) {
        if !self.is_gone() {
            let _ = self.door.try_put(Knock::Gone(object));
        }
    }
}

impl From<Error> for ManagerKind {
    #[cold]
    fn from(error: Error) -> ManagerKind {
        ManagerKind::SharedMemory { text: error.to_string() }
    }
}

impl From<QueueKind> for ManagerKind {
    #[cold]
    fn from(kind: QueueKind) -> ManagerKind {
        match kind {
            QueueKind::Encode { text } => ManagerKind::Encode { text },
            QueueKind::SharedMemory { text } => ManagerKind::SharedMemory { text },
            kind => ManagerKind::Decode { text: kind.to_string() },
        }
    }
}

impl fmt::Debug for ManagerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManagerHandle(gone={})", self.is_gone())
    }
}

impl Serialize for ManagerHandle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.place.block(), &self.door, self.timeout).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ManagerHandle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ManagerHandle, D::Error> {
        let (block, door, timeout) = <(Block, Queue<Knock>, Option<Duration>)>::deserialize(deserializer)?;
        Ok(ManagerHandle { place: read_block(block, Kind::Manager, "manager")?, door, timeout })
    }
}
