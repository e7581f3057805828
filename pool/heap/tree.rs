//! The heap of this process's tree: made by its first process, handed to every descendant, opened when first used.

use crate::error::Error;
use crate::heap::books::Heap;
use crate::heap::file::HeapFile;
use crate::heap::geometry::Geometry;
use crate::heap::process_table::SlotId;
use crate::heap::reclaim::{release_dead, release_family};
use crate::sys::atomic::Ordering;
use crate::sys::fence;
use crate::sys::fork::fork_generation;
use crate::sys::memory;
use crate::sys::random::random;
use crate::sys::reactor::reactor;
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A heap that this process knows of.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) fd: Arc<OwnedFd>,
    /// A random number: a handle of another tree is recognised by it.
    pub(crate) id: u64,
    /// The slot that the parent has set aside for this process, and the parent; none in the first process.
    pub(crate) own: Option<SlotId>,
    pub(crate) parent: Option<SlotId>,
}

static ORIGIN: Mutex<Option<Result<Origin, String>>> = Mutex::new(None);
static HEAP: OnceLock<Heap> = OnceLock::new();

/// Set in a process that must not have a second thread. Its first one, which stays to the end, opens the heap then.
static ALONE: AtomicBool = AtomicBool::new(false);

/// From now on the calling thread opens the heap, which it must do at the end of this process's life only.
pub(crate) fn open_without_threads() {
    ALONE.store(true, Relaxed);
}

/// In a child: the heap that its parent has handed it, or why there is none.
///
/// # Errors
///
/// This process is a copy of one that has opened the heap, and cannot hold what that holds.
pub(crate) fn adopt(origin: Result<Origin, String>) -> Result<(), String> {
    ALONE.store(false, Relaxed);
    let Some(heap) = HEAP.get() else {
        *ORIGIN.lock() = Some(origin);
        return Ok(());
    };
    let Origin { fd, id, own, parent } = origin?;
    if id != heap.id {
        return Err("it belongs to the shared memory of another program".to_owned());
    }
    // It has a descriptor of the file already. To close this one later would take its record lock away.
    drop(fd);
    let text = |error: io::Error| error.to_string();
    reactor().map_err(text)?.call(move || {
        let own = heap.file.processes().move_in(own, parent).map_err(text)?.ok_or(FULL)?;
        heap.settle_in(own, heap.file.registry(own.index).map_err(text)?)
    })
}

fn origin() -> Result<Origin, Error> {
    let mut known = ORIGIN.lock();
    let origin = match &*known {
        Some(origin) => origin.clone(),
        // If there is none now, that may change: a process is short of descriptors for a moment only.
        None => create().map(|origin| known.insert(Ok(origin)).clone()).unwrap_or_else(|error| Err(error.to_string())),
    };
    origin.map_err(|cause| Error::shared_memory(format!("this process has no shared memory: {cause}")))
}

fn create() -> io::Result<Origin> {
    let limit = memory::size_limit();
    let len = Geometry::fit(limit)
        .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the file size limit (ulimit -f) is too small"))?;
    let fd = memory::create("multiproc-heap", usize::try_from(len).unwrap_or(usize::MAX))?;
    let id = random().max(1);
    Ok(Origin { fd: Arc::new(fd), id, own: None, parent: None })
}

/// What a child is handed: the heap's file, its id, and a slot of the process table, which is the child's until [`reclaim`] is
/// called.
///
/// # Errors
///
/// As text, which the child is told: there is no heap, or as many processes use it as can.
pub(crate) fn for_child() -> Result<Origin, String> {
    let heap = heap().map_err(|error| error.to_string())?;
    let processes = heap.file.processes();
    let own = processes.reserve(heap.own()).or_else(|| {
        release_dead(&heap.file, heap.own(), None);
        processes.reserve(heap.own())
    });
    let own = own.ok_or(FULL)?;
    Ok(Origin { fd: Arc::clone(heap.file.fd()), id: heap.id, own: Some(own), parent: Some(heap.own()) })
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
    let origin = origin()?;
    // One at a time, and on the thread whose life stands for the process's.
    if ALONE.load(Relaxed) {
        return open_here(origin);
    }
    reactor()?.call(move || open_here(origin))
}

fn open_here(origin: Origin) -> Result<&'static Heap, Error> {
    if let Some(heap) = HEAP.get() {
        return Ok(heap);
    }
    let file = HeapFile::open(Arc::clone(&origin.fd))?;
    fence::take_part();
    let processes = file.processes();
    let own = processes.move_in(origin.own, origin.parent)?;
    let own = own.ok_or_else(|| Error::shared_memory(FULL))?;
    let registry = file.registry(own.index)?;
    Ok(HEAP.get_or_init(|| Heap::new(file, origin.id, own, registry)))
}

/// The child that was handed this slot was never started, or has ended and all that it has said was read: releases what it
/// held, and the slot.
pub(crate) fn reclaim(child: SlotId) {
    // A fork has a copy of what its original will do.
    if let Some(heap) = HEAP.get().filter(|heap| heap.generation == fork_generation()) {
        release_family(&heap.file, heap.own(), child);
    }
}

/// Releases what processes held that are dead, and so are their parents, who would do it otherwise.
pub(crate) fn reclaim_orphans() {
    if let Ok(heap) = heap() {
        release_dead(&heap.file, heap.own(), None);
    }
}

/// How long the heap's file is, of which only what is used takes memory.
///
/// # Errors
///
/// See [`heap`].
pub(crate) fn size() -> Result<u64, Error> {
    heap().map(|heap| heap.file.geometry.len)
}

/// Whether the process in a slot of the process table has ended, with all its threads.
#[inline]
/// With a generation, modulo 256: whether that very process has.
pub(crate) fn is_dead(slot: u32, generation: Option<u8>) -> bool {
    HEAP.get().is_none_or(|heap| heap.file.processes().is_dead(slot, generation))
}

/// Whether that very process has ended, with all its threads.
pub(crate) fn has_ended(id: SlotId) -> bool {
    HEAP.get().is_none_or(|heap| heap.file.processes().has_ended(id))
}

/// Who this process is.
///
/// # Errors
///
/// See [`heap`].
pub(crate) fn own() -> Result<SlotId, Error> {
    heap().map(|heap| heap.own())
}

/// The process id of whoever has a slot, for people.
pub(crate) fn pid_of(slot: u32) -> u64 {
    let slot = HEAP.get().and_then(|heap| heap.file.processes().slots.get(slot as usize));
    slot.map_or(0, |slot| slot.pid.load(Ordering::Relaxed))
}

/// Whether a descriptor is a heap's file, for the handshake.
pub(crate) fn is_heap(fd: &OwnedFd) -> bool {
    memory::sealed_len(fd.as_fd()).is_ok_and(|len| Geometry::of(len).is_some())
}
