//! Ends of ipc-channel in the values of a message: how they get out of ipc-channel on one side and into it on the other.
//!
//! When an end is serialised, ipc-channel keeps its descriptor in a list of the thread and writes its place in that list;
//! the next `send` of the thread takes the list along. When a message is deserialised, the descriptors that came with it
//! are in another list of the thread. So to get at the descriptors of a value of ours, an empty message is sent behind it
//! through a [`Packer`], whose other end is a socket of ours; and to give them back, they are sent the same way into an
//! [`Unpacker`], whose `recv` runs the code that reads the value. What is in an empty message is not looked at: it is the
//! same for all, so the one that has come out is what goes in.

use crate::sys::fork::fork_generation;
use crate::sys::memory;
use crate::sys::socket;
use crate::sys::time::Deadline;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender, OpaqueIpcReceiver};
use parking_lot::Mutex;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// The descriptors of the ends in one value, in the order in which ipc-channel has them.
#[derive(Debug, Default)]
pub(crate) struct AttachedFds(Mutex<Vec<OwnedFd>>);

impl AttachedFds {
    pub(crate) fn new(fds: Vec<OwnedFd>) -> AttachedFds {
        AttachedFds(Mutex::new(fds))
    }

    /// Calls `code` with the descriptors.
    pub(crate) fn with_fds<R>(&self, code: impl FnOnce(&[BorrowedFd<'_>]) -> R) -> R {
        let fds = self.0.lock();
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        code(&fds)
    }

    /// Closes the descriptors: somebody else has them now.
    pub(crate) fn close(&self) {
        self.0.lock().clear();
    }

    /// Runs `read`, in which the ends are deserialised.
    ///
    /// # Errors
    ///
    /// There are no descriptors left for it, or these are not what ipc-channel has sent.
    pub(crate) fn unpack<R: 'static>(&self, read: impl FnOnce() -> R + 'static) -> Result<R, String> {
        let unpacker = match take_unpacker() {
            Some(unpacker) => unpacker,
            None => Unpacker::new().map_err(|error| format!("its ends of ipc-channel: {error}"))?,
        };
        let sent = self.with_fds(|fds| {
            let (sockets, others): (Vec<&BorrowedFd<'_>>, Vec<&BorrowedFd<'_>>) =
                fds.iter().partition(|fd| socket::is_socket(**fd));
            // Else ipc-channel would panic in the middle of them, and leave the rest open.
            others.iter().try_for_each(|fd| memory::map_shrinkable(**fd).map(drop))?;
            socket::send(unpacker.way_in.as_fd(), &unpacker.empty, fds, Deadline::NEVER)?;
            Ok(sockets.len())
        });
        let sockets = sent.map_err(|error: io::Error| format!("its ends of ipc-channel: {error}"))?;
        let outcome = Rc::new(Cell::new(None));
        let told = Rc::clone(&outcome);
        let read = move || told.set(Some(catch_unwind(AssertUnwindSafe(read))));
        let outer = READ.replace(Some((Box::new(read), sockets)));
        // It panics when a descriptor is not what it should be.
        let received = catch_unwind(AssertUnwindSafe(|| unpacker.receiver.recv()));
        READ.set(outer);
        if matches!(received, Ok(Ok(Inside))) {
            UNPACKERS.lock().push(unpacker);
        }
        match outcome.take() {
            Some(Ok(value)) => Ok(value),
            Some(Err(payload)) => resume_unwind(payload),
            None => Err("its ends of ipc-channel did not come in order".to_owned()),
        }
    }
}

/// Takes the ends that this thread has serialised; `None` if there are none.
///
/// # Errors
///
/// They are more than ipc-channel can send at once, or there are no descriptors left.
pub(crate) fn pack() -> Result<Option<AttachedFds>, String> {
    let failed = |error: io::Error| format!("its ends of ipc-channel: {error}");
    let fds = Packer::pack(&mut PACKER.lock()).map_err(failed)?.1;
    Ok((!fds.is_empty()).then(|| AttachedFds::new(fds)))
}

/// A way out of ipc-channel.
struct Packer {
    sender: IpcSender<()>,
    way_out: OwnedFd,
    generation: u32,
}

static PACKER: Mutex<Option<Packer>> = Mutex::new(None);

impl Packer {
    /// An empty message, and the descriptors that it takes along.
    fn pack(place: &mut Option<Packer>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        if place.as_ref().is_none_or(|it| it.generation != fork_generation()) {
            let (sender, way_out) = socket::connected(IpcSender::<()>::connect)?;
            *place = Some(Packer { sender, way_out, generation: fork_generation() });
        }
        let Some(packer) = place else { return Err(io::ErrorKind::NotFound.into()) };
        match catch_unwind(AssertUnwindSafe(|| packer.sender.send(()))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(io::Error::other(error.to_string())),
            // It takes them from its list before it counts them.
            Err(_) => return Err(io::Error::other(format!("there are more than {}", socket::MAX_FDS))),
        }
        // It is there already: both ends are in this process.
        socket::receive(packer.way_out.as_fd(), false)?.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

/// A way into ipc-channel.
struct Unpacker {
    receiver: IpcReceiver<Inside>,
    way_in: OwnedFd,
    empty: Vec<u8>,
    generation: u32,
}

/// Those that are not in use; more than one only when values inside of values are read, or on several threads at once.
static UNPACKERS: Mutex<Vec<Unpacker>> = Mutex::new(Vec::new());

/// In a copy of a process: forgets its ways into and out of ipc-channel, which are those of the original as well.
pub(crate) fn forget_ways() {
    PACKER.lock().take();
    UNPACKERS.lock().clear();
}

fn take_unpacker() -> Option<Unpacker> {
    let mut unpackers = UNPACKERS.lock();
    unpackers.retain(|it| it.generation == fork_generation());
    unpackers.pop()
}

impl Unpacker {
    fn new() -> io::Result<Unpacker> {
        // This takes from the thread's list what others have left there, so that what is sent next stands alone.
        let (empty, _) = Packer::pack(&mut PACKER.lock())?;
        let (sender, way_in) = socket::connected(IpcSender::<()>::connect)?;
        let (turn, turned) = ipc::channel::<Turned>()?;
        let failed = |error: ipc_channel::IpcError| io::Error::other(error.to_string());
        turn.send(Turned::Sender(sender)).map_err(failed)?;
        match turned.recv().map_err(failed)? {
            Turned::Receiver(receiver) => Ok(Unpacker { receiver, way_in, empty, generation: fork_generation() }),
            Turned::Sender(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// A connection that goes into a message as its sender and comes out as its receiver: it works in both directions, and
/// only a sender can connect to a socket by name.
enum Turned {
    Sender(IpcSender<()>),
    Receiver(IpcReceiver<Inside>),
}

impl Serialize for Turned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Turned::Sender(sender) => sender.serialize(serializer),
            Turned::Receiver(_) => Err(S::Error::custom("it was turned already")),
        }
    }
}

impl<'de> Deserialize<'de> for Turned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Turned, D::Error> {
        IpcReceiver::deserialize(deserializer).map(Turned::Receiver)
    }
}

type Read = Box<dyn FnOnce()>;

const RECENT_TYPES: usize = 16;

thread_local! {
    /// What is to be run while ipc-channel deserialises, and how many sockets are among the descriptors.
    static READ: Cell<Option<(Read, usize)>> = const { Cell::new(None) };
    /// Whether that is running.
    static READING: Cell<bool> = const { Cell::new(false) };
    /// Where the names of types lie of which values were written lately, and how many more values need no look.
    static RECENT: [Cell<(usize, u32)>; RECENT_TYPES] = const { [const { Cell::new((0, 0)) }; RECENT_TYPES] };
    /// The types of which values were written; the one that was looked up last comes first.
    static TYPES: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// Whether ends can be deserialised now.
pub(crate) fn is_unpacking() -> bool {
    READING.get()
}

/// A message that is read by [`READ`].
struct Inside;

impl Serialize for Inside {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("it is received only"))
    }
}

impl<'de> Deserialize<'de> for Inside {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Inside, D::Error> {
        let Some((read, sockets)) = READ.take() else {
            return Err(serde::de::Error::custom("nothing is to be read"));
        };
        let outer = READING.replace(true);
        read();
        READING.set(outer);
        // What was not asked for would stay open.
        let close = || (0..sockets).for_each(|at| drop(OpaqueIpcReceiver::deserialize(place(at))));
        let _ = catch_unwind(close);
        Ok(Inside)
    }
}

fn place(at: usize) -> serde::de::value::UsizeDeserializer<ValueError> {
    at.into_deserializer()
}

/// A type of which values were written on this thread.
struct Known {
    name: &'static str,
    carries: bool,
    /// Ends that nobody had told of were in one.
    suspect: bool,
    /// So many values more need no look, and how many it were after the last one.
    left: u32,
    gap: u32,
}

/// How the ends of ipc-channel in a value are packed when the value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Nothing,
    /// There are ends in it.
    Pack,
    /// See whether there are.
    Look,
}

/// Returns how the ends in the next value of the type with this name are packed.
///
/// The name of a type tells of the ends in tuples, vectors and options. What is in a struct it does not tell: such ends
/// have to be in an `Ipc`, and values are looked at for those that are not, the 1st of the type, the 2nd, the 4th and so on,
/// since a look costs some microseconds. What is overlooked does not deserialise on the other side.
#[inline]
pub(crate) fn packing(name: &'static str) -> Packing {
    let address = name.as_ptr() as usize;
    let needs_no_look = RECENT.with(|recent| {
        let slot = &recent[address / 16 % RECENT_TYPES];
        let (of, left) = slot.get();
        let needs_no_look = of == address && left > 0;
        if needs_no_look {
            slot.set((of, left - 1));
        }
        needs_no_look
    });
    if needs_no_look { Packing::Nothing } else { look_up(name) }
}

#[cold]
fn look_up(name: &'static str) -> Packing {
    let address = name.as_ptr() as usize;
    TYPES.with_borrow_mut(|types| {
        // Whoever has the slot of this type now takes its count along.
        let slot = |recent: &[Cell<(usize, u32)>; RECENT_TYPES], new| recent[address / 16 % RECENT_TYPES].replace(new);
        let (of, left) = RECENT.with(|recent| slot(recent, (0, 0)));
        types.iter_mut().filter(|it| it.name.as_ptr() as usize == of).for_each(|it| it.left = left);
        let at = types.iter().position(|it| std::ptr::eq(it.name, name)).unwrap_or_else(|| {
            let carries = name.contains("ipc_channel::ipc::");
            types.push(Known { name, carries, suspect: false, left: 0, gap: 0 });
            types.len() - 1
        });
        types.swap(0, at);
        let known = &mut types[0];
        if known.carries {
            // Its type tells that there are ends in it.
            return Packing::Pack;
        }
        if known.suspect {
            // A value of this type had ends in it before, so each is looked at.
            return Packing::Look;
        }
        let packing = match known.left.checked_sub(1) {
            Some(left) => {
                known.left = left;
                Packing::Nothing
            }
            None => {
                known.left = known.gap;
                known.gap = known.gap.saturating_mul(2).saturating_add(1);
                Packing::Look
            }
        };
        RECENT.with(|recent| slot(recent, (address, known.left)));
        packing
    })
}

/// A value of the type that was looked up last has had ends in it that nobody had told of.
pub(crate) fn suspect() {
    TYPES.with_borrow_mut(|types| {
        let Some(known) = types.first_mut() else { return };
        known.suspect = true;
        RECENT.with(|recent| recent[known.name.as_ptr() as usize / 16 % RECENT_TYPES].set((0, 0)));
    });
}

/// Shows the place of an end in ipc-channel's list, in which it is put by that.
struct Place<'a, T>(&'a T);

impl<T: Serialize> fmt::Display for Place<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}

/// Whether this thread has serialised senders or receivers and not sent them; all that it has serialised is closed.
pub(crate) fn strays() -> bool {
    // Miri knows no sockets of this kind, and runs no code that has ends.
    if cfg!(miri) {
        return false;
    }
    // Without descriptors for it nobody knows.
    let Ok((sender, receiver)) = ipc::channel::<()>() else { return false };
    let found = Place(&sender).to_string() != "0";
    // All of them go with this message, and are gone with it.
    let _ = catch_unwind(AssertUnwindSafe(|| sender.send(())));
    drop(receiver);
    found
}

#[cfg(all(test, not(loom)))]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;
    use ipc_channel::ipc::IpcSharedMemory;

    fn index<T: Serialize>(end: &T) -> String {
        Place(end).to_string()
    }

    #[test]
    fn ends_come_out_as_they_went_in() {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let memory = IpcSharedMemory::from_bytes(b"memory");
        for round in 0..3 {
            assert_eq!((index(&sender), index(&memory)), ("0".to_owned(), "0".to_owned()));
            let attached = pack().unwrap().unwrap();
            assert!(pack().unwrap().is_none());
            let (sender, memory) = attached
                .unpack(|| {
                    assert!(is_unpacking());
                    let sender = IpcSender::<u32>::deserialize(place(0)).unwrap();
                    (sender, IpcSharedMemory::deserialize(place(0)).unwrap())
                })
                .unwrap();
            sender.send(round).unwrap();
            assert_eq!((receiver.recv().unwrap(), &*memory), (round, &b"memory"[..]));
        }
    }

    #[test]
    fn what_is_not_asked_for_is_closed() {
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        index(&sender);
        let attached = pack().unwrap().unwrap();
        drop(sender);
        assert_eq!(attached.unpack(|| 7).unwrap(), 7);
        let panicked = catch_unwind(AssertUnwindSafe(|| attached.unpack(|| panic!("as a test"))));
        assert!(panicked.is_err() && !is_unpacking());
        attached.close();
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn what_is_no_end_leaves_nothing_open() {
        let (end, other) = socket::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let attached = AttachedFds::new(vec![null.into(), other]);
        assert!(attached.unpack(|| ()).is_err());
        drop(attached);
        assert!(socket::receive(end.as_fd(), false).unwrap().is_none());
    }

    #[test]
    fn too_many_and_strays_are_noticed() {
        let (sender, _receiver) = ipc::channel::<u32>().unwrap();
        (0..65).for_each(|_| drop(index(&sender)));
        assert!(pack().unwrap_err().contains("more than 64"));
        assert!(!strays());
        index(&sender);
        assert!(strays() && !strays());
    }

    #[test]
    fn only_names_of_ends_are_known_to_carry() {
        let ends = std::any::type_name::<Option<Vec<(u8, IpcSender<u32>)>>>();
        assert_eq!([packing(ends), packing(ends)], [Packing::Pack; 2]);
        let other = std::any::type_name::<String>();
        let looks = |count: usize| (0..count).filter(|_| packing(other) == Packing::Look).count();
        // The 1st, 2nd, 4th … 1024th.
        assert_eq!([looks(1), looks(1), looks(1), looks(1), looks(1020)], [1, 1, 0, 1, 8]);
        assert_eq!(look_up(other), Packing::Nothing);
        assert_eq!((looks(1022), looks(1), looks(2048)), (0, 1, 1));
        suspect();
        assert_eq!(looks(10), 10);
    }
}
