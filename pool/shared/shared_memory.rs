//! [`SharedMemory`]: bytes that processes share, also with programs that are not ours.

use crate::error::Error;
use crate::heap::block::Block;
use crate::heap::kind::Kind;
use crate::heap::name::Name;
use crate::heap::record::is_valid;
use crate::heap::scope::{check_reach, is_writing};
use crate::shared::element::range_of;
use crate::sys::copy::SharedBytes;
use crate::sys::memory::{self, Mapping};
use crate::sys::random::random;
use crate::sys::shm::{self, ShmId};
use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io;
use std::ops::{Range, RangeBounds};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Bytes in shared memory: Python's `multiprocessing.shared_memory.SharedMemory`.
///
/// With a name ([`create`](SharedMemory::create), [`open`](SharedMemory::open)) any program of this user can open it: a
/// Python program by `SharedMemory(name=..)`, a C program by `shm_open`; and what these have made can be opened here.
/// Without one ([`anonymous`](SharedMemory::anonymous)) it is for the processes of this program alone. Either way it is a
/// handle: clones, and what arrives in a task, are the same memory.
///
/// ```
/// use multiproc::{Pool, SharedMemory};
///
/// let memory = SharedMemory::create(None, 100)?;
/// memory.write(0, b"hello");
/// // Python: SharedMemory(name).buf[:5]
/// let same = SharedMemory::open(memory.name().unwrap())?;
/// assert_eq!(same.read(..5), b"hello");
///
/// let pool = Pool::new(2)?;
/// pool.with(&memory).tasks(|memory: &SharedMemory, i: usize| memory.set(8 + 8 * i, i as u64), 0..10).run()?;
/// assert_eq!(memory.get::<u64>(8 + 8 * 7), 7);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// All access copies, at the speed of memory; there is no lock, so a reader can see a mixture of old and new. Eight bytes
/// that lie on a multiple of 8 are written as a whole. Put a [`Lock`](crate::Lock) beside it where that is not enough.
///
/// # The life of a name
///
/// The name belongs to the program that has *created* it: the memory is there as long as any process of that program
/// has a handle that comes from `create`, and the last of these handles removes the name. A handle that comes from
/// `open` never removes it. (In Python a process that has merely opened the memory removes the name at its end,
/// although others still use it.) After [`keep`](SharedMemory::keep) the name stays until a program calls
/// [`unlink`](SharedMemory::unlink). Processes that have the memory open go on using it after its name is gone, and
/// the memory goes with the last of them.
///
/// # If a process dies
///
/// If a process that has created the memory dies, be it by SIGKILL, its parent removes the name, unless another
/// process of this program has a handle. If the first process of the program is killed, or leaves by
/// [`std::process::exit`] with handles that were not dropped, a guardian removes it: a small process that `create`
/// starts when the first name is made, and that ends with the program. Programs that cannot start themselves again (a
/// Python extension, a plugin) have no guardian, and it is lost if somebody kills it together with the program; then
/// the name stays in `/dev/shm`.
///
/// # Panics
///
/// Access outside of the memory panics, as with a slice.
///
/// # Other programs
///
/// Another program can make the memory shorter (`ftruncate`) while it is in use here. An access to what is gone then
/// ends this process by SIGBUS, as in every other language; nothing worse can happen. Do not share names with
/// programs that do so. Within this program, and without a name, it cannot happen.
#[derive(Clone)]
pub struct SharedMemory {
    place: Arc<Place>,
}

/// Where it is.
enum Place {
    Named {
        name: String,
        id: ShmId,
        mapping: Mapping,
        /// The share in the name, if it was created by this program.
        owner: Option<Name>,
    },
    Anonymous(Block),
}

impl SharedMemory {
    /// Creates memory of `size` zero bytes, for all programs of this user; with a fresh name like `psm_0a1b2c3d` if
    /// none is given.
    ///
    /// All of it is reserved at once, so that it cannot run out later.
    ///
    /// ```
    /// use multiproc::SharedMemory;
    ///
    /// let name = format!("sensor-{}", std::process::id());
    /// let memory = SharedMemory::create(&*name, 3)?;
    /// assert_eq!((memory.name(), memory.size()), (Some(&*name), 3));
    /// let error = SharedMemory::create(&*name, 3).unwrap_err();
    /// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::AlreadyExists));
    /// assert!(SharedMemory::create(None, 0).unwrap_err().is_invalid_argument());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_argument`]: a size of 0, or a name that is empty, is longer than 255 bytes, or contains `/` or
    /// NUL (one `/` in front is passed over, as in C). [`Error::io_kind`]: `AlreadyExists`; `StorageFull` and others when
    /// there is not that much memory. [`Error::is_shared_memory`]: this process has none.
    pub fn create<'a>(name: impl Into<Option<&'a str>>, size: usize) -> Result<SharedMemory, Error> {
        let name = name.into().map(checked).transpose()?;
        if size == 0 {
            return Err(Error::invalid_argument("the size of shared memory must be at least 1 byte, not 0"));
        }
        let owner = Name::new()?;
        let make = |name: &str| shm::create(name, size as u64, |id| owner.record(name, id));
        let (name, made) = match name {
            Some(name) => (name.to_owned(), make(name)),
            None => loop {
                let name = format!("psm_{:08x}", random() as u32);
                let made = make(&name);
                if !matches!(&made, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
                    break (name, made);
                }
            },
        };
        match made.and_then(|file| SharedMemory::map(&file, &name, Some(owner.clone()))) {
            Ok(memory) => Ok(memory),
            Err(error) => Err(explain(error, &name)),
        }
    }

    /// Opens the memory that has this name at the moment.
    ///
    /// ```
    /// use multiproc::SharedMemory;
    ///
    /// let memory = SharedMemory::create(None, 8)?;
    /// memory.write(0, b"hello");
    /// let same = SharedMemory::open(memory.name().unwrap())?;
    /// assert_eq!(same.read(..5), b"hello");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::io_kind`]: `NotFound`; `PermissionDenied` if it is another user's; `InvalidData` if it is empty or no
    /// memory. [`Error::is_invalid_argument`]: as in [`SharedMemory::create`].
    pub fn open(name: &str) -> Result<SharedMemory, Error> {
        let name = checked(name)?;
        let memory = shm::open(name).and_then(|file| SharedMemory::map(&file, name, None));
        memory.map_err(|error| explain(error, name))
    }

    /// What another process of this program has created.
    fn open_created(name: &str, (device, inode): (u64, u64), owner: Name) -> Result<SharedMemory, Error> {
        let (name, id) = (checked(name)?, ShmId { device, inode });
        let open = || {
            let file = shm::open(name)?;
            // Another one may have got its name.
            let is_it = shm::look(file.as_fd())?.0 == id;
            if is_it { SharedMemory::map(&file, name, Some(owner)) } else { Err(io::ErrorKind::NotFound.into()) }
        };
        open().map_err(|error| explain(error, name))
    }

    /// Creates memory of `size` zero bytes without a name: for the processes of this program, which get it in
    /// arguments.
    ///
    /// ```
    /// use multiproc::{Pool, SharedMemory};
    ///
    /// let memory = SharedMemory::anonymous(1 << 20)?;
    /// let pool = Pool::new(1)?;
    /// pool.apply(|memory: SharedMemory| memory.write(1000, b"from a worker"), (memory.clone(),))?;
    /// assert_eq!(memory.read(1000..1013), b"from a worker");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_argument`]: a size of 0. [`Error::is_shared_memory`]: it is exhausted, or this process has none.
    pub fn anonymous(size: usize) -> Result<SharedMemory, Error> {
        if size == 0 {
            return Err(Error::invalid_argument("the size of shared memory must be at least 1 byte, not 0"));
        }
        Ok(SharedMemory { place: Arc::new(Place::Anonymous(Block::new(Kind::SharedMemory, size)?)) })
    }

    fn map(file: &OwnedFd, name: &str, owner: Option<Name>) -> io::Result<SharedMemory> {
        let (id, _) = shm::look(file.as_fd())?;
        let mapping = memory::map_shrinkable(file.as_fd())?;
        Ok(SharedMemory { place: Arc::new(Place::Named { name: name.to_owned(), id, mapping, owner }) })
    }

    /// Returns the name, without a slash; `None` if the memory has none.
    pub fn name(&self) -> Option<&str> {
        match &*self.place {
            Place::Named { name, .. } => Some(name),
            Place::Anonymous(_) => None,
        }
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> usize {
        self.bytes().len()
    }

    /// Removes the name now. Processes that have the memory open go on using it.
    ///
    /// # Errors
    ///
    /// [`Error::io_kind`] `NotFound`: it has no name, or no longer, or other memory has this name by now.
    pub fn unlink(&self) -> Result<(), Error> {
        let Place::Named { name, id, owner, .. } = &*self.place else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "anonymous shared memory has no name").into());
        };
        shm::unlink(name, *id).map_err(|error| explain(error, name))?;
        if let Some(owner) = owner {
            owner.forget();
        }
        Ok(())
    }

    /// Lets the name outlive this program, until somebody removes it by [`unlink`](SharedMemory::unlink). This goes
    /// for all handles of this program; memory that was opened by name, or has none, is not affected.
    ///
    /// ```
    /// use multiproc::SharedMemory;
    ///
    /// let name = format!("kept-{}", std::process::id());
    /// SharedMemory::create(&*name, 3)?.keep();
    /// let memory = SharedMemory::open(&name)?;
    /// memory.unlink()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn keep(&self) {
        if let Place::Named { owner: Some(owner), .. } = &*self.place {
            owner.forget();
        }
    }

    pub(super) fn bytes(&self) -> SharedBytes<'_> {
        match &*self.place {
            Place::Named { mapping, .. } => mapping.bytes(),
            Place::Anonymous(block) => block.memory().bytes(),
        }
    }

    fn piece(&self, at: usize, len: usize) -> SharedBytes<'_> {
        match self.bytes().slice(at, len) {
            Some(piece) => piece,
            None => outside(at, len, self.size()),
        }
    }

    /// Returns a copy of a range of bytes: Python's `bytes(memory.buf[a:b])`.
    ///
    /// # Panics
    ///
    /// Panics when the range does not lie inside.
    pub fn read(&self, range: impl RangeBounds<usize>) -> Vec<u8> {
        let Range { start, end } = range_of(range, self.size());
        self.piece(start, end - start).to_vec().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Replaces the bytes from `at` on: Python's `memory.buf[at:at + len(bytes)] = bytes`.
    ///
    /// ```
    /// let memory = multiproc::SharedMemory::anonymous(8)?;
    /// memory.write(2, b"abc");
    /// assert_eq!(memory.read(..6), b"\0\0abc\0");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when they do not fit.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        if !self.bytes().write(at, bytes) {
            outside(at, bytes.len(), self.size());
        }
    }

    /// Returns a copy of the value that begins `at` bytes into the memory, anywhere.
    ///
    /// # Panics
    ///
    /// Panics when it does not lie inside.
    pub fn get<T: Pod>(&self, at: usize) -> T {
        let mut value = T::zeroed();
        self.piece(at, size_of::<T>()).read_into(bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Replaces the value that begins `at` bytes into the memory.
    ///
    /// # Panics
    ///
    /// Panics when it does not lie inside.
    pub fn set<T: Pod>(&self, at: usize, value: T) {
        self.write(at, bytemuck::bytes_of(&value));
    }

    /// Returns copies of the `count` values that begin `at` bytes into the memory.
    ///
    /// ```
    /// let memory = multiproc::SharedMemory::anonymous(100)?;
    /// memory.set_many(4, &[1.5f64, 2.5]);
    /// assert_eq!(memory.get_many::<f64>(4, 2), [1.5, 2.5]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when they do not lie inside.
    pub fn get_many<T: Pod>(&self, at: usize, count: usize) -> Vec<T> {
        const { assert!(size_of::<T>() > 0, "values without size") };
        let piece = self.piece(at, count.saturating_mul(size_of::<T>()));
        // A whole number of them, as asked for.
        piece.to_vec().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Replaces the values that begin `at` bytes into the memory.
    ///
    /// # Panics
    ///
    /// Panics when they do not fit.
    pub fn set_many<T: Pod>(&self, at: usize, values: &[T]) {
        self.write(at, bytemuck::cast_slice(values));
    }
}

#[cold]
fn outside(at: usize, len: usize, size: usize) -> ! {
    panic!("{len} bytes at {at} do not lie inside of shared memory of {size} bytes");
}

/// The name without a slash in front.
fn checked(name: &str) -> Result<&str, Error> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    if !is_valid(bare) {
        return Err(Error::invalid_argument(format!(
            "{name:?} cannot be the name of shared memory: it must have 1 to 255 bytes without `/` and NUL"
        )));
    }
    Ok(bare)
}

/// Says which memory it was that the system had something against.
fn explain(error: io::Error, name: &str) -> Error {
    let text = match error.kind() {
        io::ErrorKind::AlreadyExists => format!("there is shared memory called {name:?} already"),
        io::ErrorKind::NotFound => format!("there is no shared memory called {name:?}"),
        _ => format!("the shared memory {name:?} is not to be had: {error}"),
    };
    io::Error::new(error.kind(), text).into()
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "SharedMemory({name:?}, size={})", self.size()),
            None => write!(f, "SharedMemory(anonymous, size={})", self.size()),
        }
    }
}

/// What travels.
#[derive(Serialize, Deserialize)]
enum Form<T, N, B> {
    Opened(T),
    Created(T, (u64, u64), N),
    Anonymous(B),
}

/// Memory with a name can be written anywhere, and is then opened by name; inside of a message of this library the share
/// in the name goes with it. Anonymous memory travels in such messages only, as all handles.
impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(name) = self.name().filter(|_| is_writing()) {
            // It would open whatever has this name there.
            check_reach(&format!("the shared memory {name:?}")).map_err(serde::ser::Error::custom)?;
        }
        let form = match &*self.place {
            Place::Named { name, id, owner: Some(owner), .. } if is_writing() => {
                Form::Created(name, (id.device, id.inode), owner)
            }
            Place::Named { name, .. } => Form::Opened(name),
            Place::Anonymous(block) => Form::Anonymous(block),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedMemory, D::Error> {
        let memory = match Form::<String, Name, Block>::deserialize(deserializer)? {
            Form::Opened(name) => SharedMemory::open(&name),
            Form::Created(name, id, owner) => SharedMemory::open_created(&name, id, owner),
            Form::Anonymous(block) if block.kind() == Kind::SharedMemory as u8 => {
                Ok(SharedMemory { place: Arc::new(Place::Anonymous(block)) })
            }
            Form::Anonymous(_) => Err(Error::shared_memory("the handle refers to something that is no shared memory")),
        };
        memory.map_err(D::Error::custom)
    }
}
