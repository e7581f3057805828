//! Releasing what dead processes held, and their slots of the process table.

use crate::heap::doubt;
use crate::heap::file::HeapFile;
use crate::heap::memory::Memory;
use crate::heap::process_table::{self, SlotId};
use crate::heap::release::release;
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::thread;
use crate::sys::time::Deadline;
use std::sync::OnceLock;
use std::time::Duration;

/// What must be told of a process that has died, before others move into its slot: called with the kind and the memory
/// of each block that it held, its slot, and a deadline; `false` = it could not be done until then.
pub(crate) type Reclaim = fn(u8, &Memory, u32, Deadline) -> bool;

static RECLAIM: OnceLock<Reclaim> = OnceLock::new();

/// Says who hears of deaths.
pub(crate) fn on_death(reclaim: Reclaim) {
    let _ = RECLAIM.set(reclaim);
}

/// How long a dead process's things may keep who releases them from going on: it may have locks of others locked. What takes
/// longer is done by a thread of its own.
const AT_ONCE: Duration = Duration::from_millis(1);

/// After this time a block is written off that somebody has open and does not close: it was stopped in the middle of a change, or
/// a process has written over the block.
const WRITE_OFF: Duration = Duration::from_secs(1);

/// How long the children of a process that has died are waited for, and how often somebody looks.
const ORPHANS: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(2);

/// A child has ended, and perhaps children of its own that it had are about to: releases what all of them held.
pub(super) fn release_family(file: &'static HeapFile, own: SlotId, child: SlotId) {
    release_dead(file, own, Some(child));
    if !file.processes().has_orphans() {
        return;
    }
    // They end with their parent, but a moment later, and nobody else is told of it.
    let deadline = Deadline::after(ORPHANS);
    let follow = move || {
        while file.processes().has_orphans() && !deadline.passed() {
            std::thread::sleep(LOOK);
            release_dead(file, own, None);
        }
    };
    // If there is no thread, whoever next looks for a slot does it.
    in_background(follow);
}

/// Releases what a child held that has ended, and what processes held that are dead and so are their parents.
pub(super) fn release_dead(file: &'static HeapFile, own: SlotId, child: Option<SlotId>) {
    let Some(reclaim) = RECLAIM.get() else { return };
    let deadline = Deadline::after(AT_ONCE);
    for id in file.processes().take_dead(own, child) {
        if release_slot(file, reclaim, id, || deadline, false) {
            continue;
        }
        let finish = move || _ = release_slot(file, reclaim, id, || Deadline::after(WRITE_OFF), true);
        // If there is no thread, the slot stays until this process has ended, and another one releases it.
        in_background(finish);
    }
}

/// Does this on a thread of its own, if there can be one.
fn in_background(work: impl FnOnce() + Send + 'static) {
    let builder = std::thread::Builder::new().name("multiproc-reclaim".to_owned()).stack_size(256 * 1024);
    let _ = thread::spawn(builder, work);
}

/// Releases what the dead holder of a slot held, and the slot; `false` = some of it could not be released until the deadline,
/// unless such blocks are to be written off.
fn release_slot(
    file: &HeapFile,
    reclaim: &Reclaim,
    id: SlotId,
    deadline: impl Fn() -> Deadline,
    write_off: bool,
) -> bool {
    let processes = file.processes();
    // SYNC: registry
    let high = processes.slots[id.index as usize].high.load(Ordering::Acquire).min(file.geometry.registry) as usize;
    if high > 0 {
        let Ok(registry) = file.registry(id.index) else { return false };
        let mut done = true;
        for place in registry.views::<AtomicU64>(0, high) {
            let word = place.load(Ordering::Acquire);
            if let Some((index, generation)) = process_table::held(word) {
                let leaving = || {
                    // SYNC: registry
                    place.store(process_table::word(index, generation, process_table::LEAVING), Ordering::Release);
                };
                if !release_one(file, reclaim, id.index, index, generation, deadline(), leaving) {
                    if !write_off {
                        done = false;
                        continue;
                    }
                    // Memory that somebody has scribbled over: then there is nothing to note it in.
                    let _ = file.table().write_off(index);
                }
            }
            doubt::note(file, word);
            place.store(0, Ordering::Relaxed);
        }
        drop(registry);
        if !done {
            // A block is open elsewhere: the slot stays, and this is tried again.
            return false;
        }
        file.punch_registry(id.index);
    }
    processes.give_back(id);
    true
}

/// Releases one block that a dead process held; `false` = it could not be opened.
fn release_one(
    file: &HeapFile,
    reclaim: &Reclaim,
    slot: u32,
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
        if !reclaim(site.kind, &Memory::new(mapping, at, site.len as usize), slot, deadline) {
            return false;
        }
    }
    leaving();
    // Memory that somebody has scribbled over: the block is lost, nothing else.
    let _ = release(file, &site);
    true
}
