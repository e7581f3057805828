//! The control socket between a process and its child: the handshake, and what does not fit a link.

use crate::attached_fds::AttachedFds;
use crate::codec;
use crate::heap::process_table::SlotId;
use crate::heap::tree::Origin;
use crate::ipc::link::Payload;
use crate::ipc::parcel::Parcel;
use crate::ipc::result_limit::ResultLimit;
use crate::sys::socket;
use crate::sys::time::Deadline;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The layout of everything that two processes share; both come from one build, so this is a seat belt only.
pub(crate) const VERSION: u32 = 1;

/// What a parent says to its new child, once. The descriptors travel beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u32,
    pub(crate) build: Vec<u8>,
    pub(crate) nonce: u64,
    /// The shared memory of the tree, whose file is the first descriptor; or why there is none.
    pub(crate) heap: Result<HeapGrant, String>,
    /// Whether the next descriptor is a file for its faults.
    pub(crate) crash: bool,
    /// [`Instructions`], which may be long: if in a file, that is the next descriptor.
    pub(crate) instructions: Parcel,
}

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Instructions {
    /// What ps and top show.
    pub(crate) name: String,
    /// The name of the process that says it.
    pub(crate) parent: String,
    /// What the child is to be: the offset and signature of a function of this executable.
    pub(crate) role: (u64, u64),
    pub(crate) kind: ChildKind,
    /// What that function is told.
    #[serde(with = "crate::codec::bytes")]
    pub(crate) setup: Vec<u8>,
    /// So many messages with attached descriptors follow.
    pub(crate) attached: usize,
    /// Environment variables that it sets itself, since it was not given them at its start.
    pub(crate) variables: Vec<(OsString, OsString)>,
}

/// What kind of child it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChildKind {
    /// It runs user code on a thread of its own, and ends with its parent.
    Ordinary,
    /// It runs no user code, and stays when its parent is gone.
    Guardian,
    /// It has one thread, on which it runs user code and makes copies of itself.
    Template,
}

/// What a child is told of the shared memory of its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeapGrant {
    pub(super) id: u64,
    /// The slot of the process table that was set aside for it, and its parent's.
    pub(super) own: u64,
    pub(super) parent: u64,
}

impl HeapGrant {
    /// What a child is told of the heap that it is handed.
    pub(crate) fn of(origin: &Origin) -> HeapGrant {
        let bits = |id: Option<SlotId>| id.map_or(0, SlotId::to_bits);
        HeapGrant { id: origin.id, own: bits(origin.own), parent: bits(origin.parent) }
    }

    /// The heap whose file came beside it.
    pub(crate) fn with(self, fd: OwnedFd) -> Origin {
        let [own, parent] = [self.own, self.parent].map(SlotId::from_bits);
        Origin { fd: Arc::new(fd), id: self.id, own, parent }
    }
}

/// What a child answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It waits for tasks.
    Ready,
    /// The handshake failed, as text.
    Refused(String),
    /// The initializer failed.
    Initializer(crate::error::TaskError),
    /// It was to be a template, and its initializer has left threads of these names behind.
    Threads(Vec<String>),
}

/// What travels beside the frame or answer of this number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beside {
    pub(super) number: u64,
    pub(super) what: Thing,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Thing {
    /// So many bytes, in a memory file.
    Bytes(u64),
    /// The descriptors of one [`AttachedFds`].
    AttachedFds,
}

/// What every message begins with. Other code of a process may write to a descriptor that it takes for its own; so whatever
/// does not begin like this is no message, and is skipped.
pub(super) const MARK: [u8; 8] = *b"\x93mproc\x1a\x02";

/// So much else is skipped before a message. A process that writes more has nothing else to say.
const MOST_SKIPPED: usize = 4096;

/// How long a message may wait for room. The other end reads what it is sent, unless it is stopped; then the buffer, some 200
/// messages, must be full as well.
const ROOM_WITHIN: Duration = Duration::from_secs(5);

/// One end of a control socket.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    socket: Arc<OwnedFd>,
}

fn marked<T: Serialize>(message: &T) -> Vec<u8> {
    [&MARK[..], &codec::to_bytes(message)].concat()
}

impl Control {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Control {
        Control { socket }
    }

    /// The socket itself, to wait for it.
    pub(crate) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// Sends a message of the library's own with descriptors.
    ///
    /// # Errors
    ///
    /// The other end is gone, or its buffer has been full for long.
    pub(crate) fn send<T: Serialize>(&self, message: &T, fds: &[&OwnedFd]) -> io::Result<()> {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        self.send_marked(&marked(message), &fds)
    }

    /// Sends a message that the other end can do without.
    ///
    /// # Errors
    ///
    /// The other end is gone, or has not made room in time.
    #[cfg(any(feature = "log", feature = "tracing"))]
    pub(crate) fn send_within<T: Serialize>(&self, message: &T, deadline: Deadline) -> io::Result<()> {
        socket::send(self.socket.as_fd(), &marked(message), &[], deadline)
    }

    fn send_marked(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        socket::send(self.socket.as_fd(), message, fds, Deadline::after(ROOM_WITHIN))
    }

    /// Both ends of a control socket.
    #[cfg(test)]
    pub(crate) fn pair() -> (Control, Control) {
        let (ours, theirs) = socket::pair().unwrap();
        (Control::new(Arc::new(ours)), Control::new(Arc::new(theirs)))
    }

    /// Sends any bytes as a message.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn send_as_message(&self, bytes: &[u8], fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        self.send_marked(&[&MARK[..], bytes].concat(), &fds).unwrap();
    }

    /// Receives a message; `Ok(None)` when the other end is gone.
    ///
    /// # Errors
    ///
    /// It was cut short or does not decode; `WouldBlock` when there is none and `wait` is false.
    pub(crate) fn receive<T: serde::de::DeserializeOwned>(&self, wait: bool) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        for _ in 0..MOST_SKIPPED {
            let Some((bytes, fds)) = socket::receive(self.socket.as_fd(), wait)? else { return Ok(None) };
            let Some(bytes) = bytes.strip_prefix(&MARK) else { continue };
            return match codec::from_bytes(bytes) {
                Ok(message) => Ok(Some((message, fds))),
                Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.0)),
            };
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "something else is written to its control socket, without end"))
    }

    /// Sends the `len` bytes of a file beside the frame or answer `number`.
    pub(crate) fn send_bytes(&self, number: u64, len: usize, file: &OwnedFd) -> io::Result<()> {
        self.send(&Beside { number, what: Thing::Bytes(len as u64) }, &[file])
    }

    /// Sends attached descriptors beside the frame or answer `number`, one message each.
    ///
    /// # Errors
    ///
    /// It cannot. If that is a shortage, nothing was sent.
    pub(crate) fn send_attached(&self, number: u64, attached: &[Arc<AttachedFds>]) -> io::Result<()> {
        let message = marked(&Beside { number, what: Thing::AttachedFds });
        attached.iter().enumerate().try_for_each(|(at, it)| {
            it.with_fds(|fds| self.send_marked(&message, fds)).map_err(|error| behind_others(at, error))
        })
    }

    /// Receives the next thing that was sent beside `number`.
    fn receive_beside(&self, number: u64, wait: bool) -> io::Result<(Thing, Vec<OwnedFd>)> {
        let (beside, fds) = self.receive::<Beside>(wait)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if beside.number == number { Ok((beside.what, fds)) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Receives what [`Control::send_attached`] sent: `count` sets of them.
    ///
    /// # Errors
    ///
    /// The other end is gone, or sent something else; or has not sent it yet and `wait` is false.
    pub(crate) fn receive_attached(&self, number: u64, count: usize, wait: bool) -> io::Result<Vec<Arc<AttachedFds>>> {
        let piece = |_| match self.receive_beside(number, wait)? {
            (Thing::AttachedFds, fds) => Ok(Arc::new(AttachedFds::new(fds))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        };
        (0..count).map(piece).collect()
    }

    /// Receives what [`Control::send_bytes`] sent: how many bytes there are said to be, and their file. Never waits, as
    /// [`Control::receive_bytes`].
    ///
    /// # Errors
    ///
    /// The other end is gone, or sent something else or nothing.
    pub(crate) fn receive_file(&self, number: u64) -> io::Result<(u64, OwnedFd)> {
        match self.receive_beside(number, false)? {
            (Thing::Bytes(len), fds) => Ok((len, fds.into_iter().next().ok_or(io::ErrorKind::InvalidData)?)),
            (Thing::AttachedFds, _) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Receives what [`Control::send_bytes`] sent, in the file that it was sent in. Never waits: what is beside a frame or an
    /// answer was sent before it.
    ///
    /// # Errors
    ///
    /// The other end is gone, or sent something else or nothing; or less than it says, or more than `limit` allows.
    pub(crate) fn receive_bytes(&self, number: u64, limit: ResultLimit) -> io::Result<Payload> {
        let (len, file) = self.receive_file(number)?;
        if let Err(text) = limit.check(usize::try_from(len).unwrap_or(usize::MAX)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer that is too large: {text}")));
        }
        Payload::in_file(len, file)
    }
}

/// Why a message was not sent that goes with others, of which `sent` are on their way: then it cannot be tried again.
fn behind_others(sent: usize, error: io::Error) -> io::Error {
    if sent == 0 {
        error
    } else {
        io::Error::new(io::ErrorKind::BrokenPipe, format!("in the middle of others: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::file_bytes::FileBytes;
    use crate::sys::usage;

    #[test]
    fn large_bytes_arrive_whole() {
        let (a, b) = Control::pair();
        let bytes: Vec<u8> = (0..1_000_000u32).map(|it| it as u8).collect();
        for (number, bytes) in [(1, &bytes[..]), (2, &[])] {
            let file = FileBytes::new(&[bytes]).unwrap();
            a.send_bytes(number, file.len(), file.file()).unwrap();
        }
        assert_eq!(b.receive_bytes(1, ResultLimit(None)).unwrap().to_vec().unwrap(), bytes);
        assert_eq!(b.receive_bytes(2, ResultLimit(None)).unwrap().len(), 0);
    }

    #[test]
    fn a_shortage_in_the_middle_is_no_shortage() {
        let shortage = || io::Error::from(io::ErrorKind::FileTooLarge);
        assert_eq!([0, 1].map(|sent| usage::is_shortage(&behind_others(sent, shortage()))), [true, false]);
    }

    #[test]
    fn nonsense_is_an_error() {
        let (a, b) = Control::pair();
        a.send(&5u64, &[]).unwrap();
        assert!(b.receive_bytes(0, ResultLimit(None)).is_err());
        a.send_marked(&[&MARK[..], &[0xff; 3]].concat(), &[]).unwrap();
        assert!(b.receive::<Hello>(true).is_err());
        a.send_marked(b"status: ok\n", &[]).unwrap();
        a.send(&7u64, &[]).unwrap();
        assert_eq!(b.receive::<u64>(true).unwrap().unwrap().0, 7);
        drop(a);
        assert!(b.receive::<Hello>(true).unwrap().is_none());
    }
}
