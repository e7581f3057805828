//! The heap of this process's tree: made by its first process, handed to every descendant, opened when first used.

use crate::error::Error;
use crate::heap::block::Memory;
use crate::heap::file::HeapFile;
use crate::heap::geometry::Geometry;
use crate::heap::held;
use crate::heap::kind::Kind;
use crate::heap::name;
use crate::heap::parties::{self, PartyId};
use crate::heap::table::{Damaged, Refusal, Site};
use crate::sys::atomic::Ordering;
use crate::sys::fence;
use crate::sys::fork::fork_generation;
use crate::sys::memory::{self, Mapping};
use crate::sys::reactor::reactor;
use crate::sys::time::Deadline;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A heap that this process knows of.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) fd: Arc<OwnedFd>,
    /// A random number: a handle of another tree is recognised by it.
    pub(crate) id: u64,
    /// The row that the parent has set aside for this process, and the parent; none in the first process.
    pub(crate) own: Option<PartyId>,
    pub(crate) parent: Option<PartyId>,
}

/// The heap, opened: this process has a row in its process table.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(super) file: HeapFile,
    pub(super) id: u64,
    pub(super) own: PartyId,
    generation: u32,
    registry: Mapping,
    pub(super) places: Mutex<Places>,
}

/// The blocks that this process holds.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Free places of the registry below `high`.
    vacant: Vec<u32>,
    high: u32,
    /// By entry: what is shared by all handles to it.
    pub(super) blocks: HashMap<u32, std::sync::Weak<crate::heap::block::Inner>>,
}

static ORIGIN: Mutex<Option<Result<Origin, String>>> = Mutex::new(None);
static HEAP: OnceLock<Heap> = OnceLock::new();

/// What must be told of a process that has died, before others move into its row: called with the kind and the memory
/// of each block that it held, its row, and a deadline; `false` = it could not be done until then.
pub(crate) type Mourn = fn(u8, &Memory, u32, Deadline) -> bool;

static MOURN: OnceLock<Mourn> = OnceLock::new();

/// Says who hears of deaths.
pub(crate) fn on_death(mourn: Mourn) {
    let _ = MOURN.set(mourn);
}

/// In a child: the heap that its parent has handed it, or why there is none.
pub(crate) fn adopt(origin: Result<Origin, String>) {
    *ORIGIN.lock() = Some(origin);
}

fn origin() -> Result<Origin, Error> {
    let mut origin = ORIGIN.lock();
    let origin = origin.get_or_insert_with(|| create().map_err(|error| error.to_string()));
    origin.clone().map_err(|cause| Error::shared_memory(format!("this process has no shared memory: {cause}")))
}

fn create() -> io::Result<Origin> {
    let limit = memory::size_limit();
    let len = Geometry::fit(limit)
        .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the file size limit (ulimit -f) is too small"))?;
    let fd = memory::create("multiproc-heap", usize::try_from(len).unwrap_or(usize::MAX))?;
    let id = RandomState::new().build_hasher().finish().max(1);
    Ok(Origin { fd: Arc::new(fd), id, own: None, parent: None })
}

/// What a child is handed: the heap's file, its id, and a row of the process table, which is the child's until [`bury`] is
/// called.
///
/// # Errors
///
/// As text, which the child is told: there is no heap, or as many processes use it as can.
pub(crate) fn for_child() -> Result<Origin, String> {
    let heap = heap().map_err(|error| error.to_string())?;
    let parties = heap.file.parties();
    let own = parties.reserve(heap.own).or_else(|| {
        release_dead(&heap.file, heap.own, None);
        parties.reserve(heap.own)
    });
    let own = own.ok_or(FULL)?;
    Ok(Origin { fd: Arc::clone(heap.file.fd()), id: heap.id, own: Some(own), parent: Some(heap.own) })
}

const FULL: &str = "too many processes share the memory of this program";

/// The heap.
///
/// # Errors
///
/// There can be none here: memory files are forbidden or limited, the process table is full, or this process is a fork.
#[inline]
pub(crate) fn heap() -> Result<&'static Heap, Error> {
    match HEAP.get() {
        Some(heap) if heap.generation == fork_generation() => Ok(heap),
        Some(_) => Err(Error::shared_memory(
            "this process was forked from one that uses shared memory of multiproc, and has no part in it: start it \
             with `multiproc::Process` instead",
        )),
        None => open(),
    }
}

#[cold]
fn open() -> Result<&'static Heap, Error> {
    static OPENING: Mutex<()> = Mutex::new(());
    let origin = origin()?;
    let reactor = reactor()?;
    let _one_at_a_time = OPENING.lock();
    if let Some(heap) = HEAP.get() {
        return Ok(heap);
    }
    let file = HeapFile::open(Arc::clone(&origin.fd))?;
    fence::take_part();
    let parties = file.parties();
    let own = reactor.call(move || parties.move_in(origin.own, origin.parent))?;
    let own = own.ok_or_else(|| Error::shared_memory(FULL))?;
    let registry = file.registry(own.row)?;
    let heap = Heap { file, id: origin.id, own, generation: fork_generation(), registry, places: Mutex::default() };
    Ok(HEAP.get_or_init(|| heap))
}

/// The child that was handed this row was never started, or has ended and all that it has said was read: releases what it
/// held, and the row.
pub(crate) fn bury(child: PartyId) {
    // A fork has a copy of what its original will do.
    if let Some(heap) = HEAP.get().filter(|heap| heap.generation == fork_generation()) {
        release_dead(&heap.file, heap.own, Some(child));
    }
}

/// How long the heap's file is, of which only what is used takes memory.
///
/// # Errors
///
/// As [`heap`].
pub(crate) fn size() -> Result<u64, Error> {
    heap().map(|heap| heap.file.geometry.len)
}

/// Whether the process in a row of the process table has ended, with all its threads.
#[inline]
/// With a generation, modulo 256: whether that very process has.
pub(crate) fn is_dead(row: u32, generation: Option<u8>) -> bool {
    HEAP.get().is_none_or(|heap| heap.file.parties().is_dead(row, generation))
}

/// Who this process is.
///
/// # Errors
///
/// As [`heap`].
pub(crate) fn own() -> Result<PartyId, Error> {
    heap().map(|heap| heap.own)
}

/// The process id of whoever has a row, for people.
pub(crate) fn pid_of(row: u32) -> u64 {
    let party = HEAP.get().and_then(|heap| heap.file.parties().rows.get(row as usize));
    party.map_or(0, |party| party.pid.load(Ordering::Relaxed))
}

/// How long a dead process's things may keep who releases them from going on: it may have locks of others locked. What takes
/// longer is done by a thread of its own.
const AT_ONCE: Duration = Duration::from_millis(1);

/// After this time a block is written off that somebody has open and does not close: it was stopped in the middle of a change, or
/// a process has written over the block.
const WRITE_OFF: Duration = Duration::from_secs(1);

/// Releases what a child held that has ended, and what processes held that are dead and so are their parents.
fn release_dead(file: &'static HeapFile, own: PartyId, child: Option<PartyId>) {
    let Some(mourn) = MOURN.get() else { return };
    let deadline = Deadline::after(AT_ONCE);
    for id in file.parties().take_dead(own, child) {
        if release_row(file, mourn, id, || deadline, false) {
            continue;
        }
        let finish = move || _ = release_row(file, mourn, id, || Deadline::after(WRITE_OFF), true);
        let thread = std::thread::Builder::new().name("multiproc-burial".to_owned()).stack_size(256 * 1024);
        // If there is no thread, the row stays until this process has ended, and another one releases it.
        let _ = thread.spawn(finish);
    }
}

/// Releases what the dead holder of a row held, and the row; `false` = some of it could not be released until the deadline,
/// unless such blocks are to be written off.
fn release_row(file: &HeapFile, mourn: &Mourn, id: PartyId, deadline: impl Fn() -> Deadline, write_off: bool) -> bool {
    let parties = file.parties();
    // SYNC: registry
    let high = parties.rows[id.row as usize].high.load(Ordering::Acquire).min(file.geometry.row) as usize;
    if high > 0 {
        let Ok(registry) = file.registry(id.row) else { return false };
        let mut done = true;
        for place in registry.views::<crate::sys::atomic::AtomicU64>(0, high) {
            let word = place.load(Ordering::Acquire);
            if let Some((index, generation)) = parties::held(word) {
                let leaving = || {
                    place.store(parties::word(index, generation, parties::LEAVING), Ordering::Release);
                };
                if !release_one(file, mourn, id.row, index, generation, deadline(), leaving) {
                    if !write_off {
                        done = false;
                        continue;
                    }
                    // Memory that somebody has scribbled over: then there is nothing to note it in.
                    let _ = file.table().write_off(index);
                }
            }
            place.store(0, Ordering::Relaxed);
        }
        drop(registry);
        if !done {
            return false;
        }
        file.punch_registry(id.row);
    }
    parties.give_back(id);
    true
}

/// Releases one block that a dead process held; `false` = it could not be opened.
fn release_one(
    file: &HeapFile,
    mourn: &Mourn,
    row: u32,
    index: u32,
    generation: u32,
    deadline: Deadline,
    leaving: impl FnOnce(),
) -> bool {
    let table = file.table();
    let Ok(site) = table.site(index) else { return true };
    if site.generation != generation {
        return true;
    }
    if let Ok((mapping, at)) = file.memory(&site) {
        if !mourn(site.kind, &Memory::new(mapping, at, site.len as usize), row, deadline) {
            return false;
        }
    }
    leaving();
    // Memory that somebody has scribbled over: the block is lost, nothing else.
    let _ = release(file, &site);
    true
}

/// One process or place less holds a block; the last one frees it, and releases what it held.
pub(super) fn release(file: &HeapFile, site: &Site) -> Result<(), Damaged> {
    // SYNC: block released
    if !file.table().release(site.index, site.generation)? {
        return Ok(());
    }
    if !Kind::holds(site.kind) {
        return free(file, site);
    }
    // What it held may be gone with it, and what that held. A list, since there is no end to how deep that may go.
    let mut gone = vec![*site];
    while let Some(site) = gone.pop() {
        if Kind::holds(site.kind) {
            held::release_held(file, &site, &mut gone);
        }
        free(file, &site)?;
    }
    Ok(())
}

/// Frees a block that nobody holds any more.
fn free(file: &HeapFile, site: &Site) -> Result<(), Damaged> {
    if site.kind == Kind::Name as u8 {
        if let Ok((mapping, at)) = file.memory(site) {
            name::remove(&Memory::new(mapping, at, site.len as usize));
        }
    }
    if site.is_large() && file.punch(site).is_err() {
        // It would come back with its old contents: rather never again.
        return Ok(());
    }
    file.table().free(site.index)
}

impl Heap {
    /// Writes down that this process is about to hold a block; the place where it says so.
    pub(super) fn announce(&self, places: &mut Places, index: u32, generation: u32) -> Result<u32, Error> {
        let place = match places.vacant.pop() {
            Some(place) => place,
            None if u64::from(places.high) < self.file.geometry.row => {
                places.high += 1;
                let party = &self.file.parties().rows[self.own.row as usize];
                // SYNC: registry
                party.high.store(u64::from(places.high), Ordering::Release);
                places.high - 1
            }
            None => return Err(exhausted()),
        };
        self.say(place, parties::word(index, generation, parties::INTENT));
        Ok(place)
    }

    /// Writes down that it holds it now.
    pub(super) fn hold(&self, place: u32, index: u32, generation: u32) {
        self.say(place, parties::word(index, generation, parties::HELD));
    }

    /// It will not hold it after all.
    pub(super) fn withdraw(&self, places: &mut Places, place: u32) {
        self.say(place, 0);
        places.vacant.push(place);
    }

    /// Gives back a block that was not written down.
    pub(super) fn give_back(&self, site: &Site) {
        // Memory that somebody has scribbled over: the block is lost, nothing else.
        let _ = release(&self.file, site);
    }

    /// Lets go of a block.
    pub(super) fn leave(&self, places: &mut Places, place: u32, site: &Site) {
        self.say(place, parties::word(site.index, site.generation, parties::LEAVING));
        self.give_back(site);
        self.withdraw(places, place);
    }

    fn say(&self, place: u32, word: u64) {
        let places = self.registry.views::<crate::sys::atomic::AtomicU64>(0, self.file.geometry.row as usize);
        // SYNC: registry
        places[place as usize].store(word, Ordering::Release);
    }

    /// The fork generation of the process that opened it.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Takes a block that nobody holds.
    pub(super) fn allocate(&self, len: usize, kind: u8) -> Result<Site, Error> {
        self.file.table().allocate(len as u64, kind).map_err(|refusal| match refusal {
            Refusal::Exhausted => exhausted(),
            Refusal::Damaged => Error::shared_memory("the tables of the shared memory are damaged"),
        })
    }

    /// The registries of all living processes, for the checker.
    pub(super) fn registry_words(&self, row: u32) -> io::Result<Vec<u64>> {
        // SYNC: registry
        let high = self.file.parties().rows[row as usize].high.load(Ordering::Acquire).min(self.file.geometry.row);
        let registry = self.file.registry(row)?;
        let words = registry.views::<crate::sys::atomic::AtomicU64>(0, high as usize);
        Ok(words.iter().map(|word| word.load(Ordering::Acquire)).collect())
    }
}

fn exhausted() -> Error {
    Error::shared_memory("shared memory is exhausted")
}

/// Whether a descriptor is a heap's file, for the handshake.
pub(crate) fn is_heap(fd: &OwnedFd) -> bool {
    memory::sealed_len(fd.as_fd()).is_ok_and(|len| Geometry::of(len).is_some())
}
