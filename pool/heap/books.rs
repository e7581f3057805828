//! The books of this process: which blocks it holds, and where its registry says so.

use crate::error::Error;
use crate::heap::file::HeapFile;
use crate::heap::layout::ProcessSlot;
use crate::heap::memory::Memory;
use crate::heap::process_table::{self, SlotId};
use crate::heap::release::release;
use crate::heap::table::{Refusal, Site};
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::fork::fork_generation;
use crate::sys::memory::Mapping;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

/// The heap, opened: this process has a slot in its process table.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(super) file: HeapFile,
    pub(super) id: u64,
    /// The slot of this process: index and generation.
    own: AtomicU64,
    /// The fork generation of the process that opened it.
    pub(super) generation: u32,
    pub(super) places: Mutex<Places>,
}

/// The blocks that this process holds.
#[derive(Debug)]
pub(super) struct Places {
    registry: Mapping,
    /// Free places of the registry below `high`.
    vacant: Vec<u32>,
    high: u32,
    /// By entry: what is shared by all handles to it.
    pub(super) blocks: HashMap<u32, Weak<Inner>>,
}

/// What all handles of this process to one block share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) heap: &'static Heap,
    pub(super) site: Site,
    pub(super) place: u32,
    pub(super) memory: Memory,
    /// Whether what the lock in the block protects is lent, see `pool/heap/block.rs`.
    pub(super) lent: AtomicBool,
}

// A panic in between leaves the books of the heap as they were: nothing of the user's runs while they are changed.
impl std::panic::RefUnwindSafe for Inner {}
impl std::panic::UnwindSafe for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // In a fork it is the original's to let go of; and another thread of that may have had the books locked at the
        // fork, which nobody will ever unlock here.
        if fork_generation() != self.heap.generation {
            return;
        }
        let mut places = self.heap.places.lock();
        // Another handle may have arrived after the last one of this process was dropped, and before this.
        if places.blocks.get(&self.site.index).is_some_and(|it| it.strong_count() == 0) {
            places.blocks.remove(&self.site.index);
        }
        self.heap.leave(&mut places, self.place, &self.site);
    }
}

fn slot_bits(id: SlotId) -> u64 {
    u64::from(id.index) << 32 | u64::from(id.generation)
}

impl Heap {
    pub(super) fn new(file: HeapFile, id: u64, own: SlotId, registry: Mapping) -> Heap {
        let places = Places { registry, vacant: Vec::new(), high: 0, blocks: HashMap::new() };
        let own = AtomicU64::new(slot_bits(own));
        Heap { file, id, own, generation: fork_generation(), places: Mutex::new(places) }
    }

    /// The slot of this process.
    pub(super) fn own(&self) -> SlotId {
        let bits = self.own.load(Ordering::Relaxed);
        SlotId { index: (bits >> 32) as u32, generation: bits as u32 }
    }

    /// In a copy of a process that has opened it, which holds the copied handles as well, but by nobody's book yet: writes down
    /// in this process's own registry that it holds them. The original keeps what they refer to meanwhile.
    ///
    /// # Errors
    ///
    /// The original has died, and what it held was released.
    pub(super) fn settle_in(&self, own: SlotId, registry: Mapping) -> Result<(), String> {
        let mut places = self.places.lock();
        places.registry = registry;
        self.own.store(slot_bits(own), Ordering::Relaxed);
        // SYNC: registry
        self.slot_of(own).high.store(u64::from(places.high), Ordering::Release);
        // Declared after the lock: none of them is the last handle, since the copy has those that the original has.
        let held: Vec<Arc<Inner>> = places.blocks.values().filter_map(Weak::upgrade).collect();
        for Inner { place, site, .. } in held.iter().map(|inner| &**inner) {
            self.say(&places, *place, process_table::word(site.index, site.generation, process_table::INTENT));
            match self.file.table().upgrade(site.index, site.generation) {
                Ok(Some(_)) => self.hold(&places, *place, site.index, site.generation),
                Ok(None) => return Err("the process that it is a copy of has died".to_owned()),
                Err(_) => return Err("the tables of the shared memory are damaged".to_owned()),
            }
        }
        Ok(())
    }

    fn slot_of(&self, id: SlotId) -> &'static ProcessSlot {
        &self.file.processes().slots[id.index as usize]
    }

    /// Writes down that this process is about to hold a block; the place where it says so.
    pub(super) fn announce(&self, places: &mut Places, index: u32, generation: u32) -> Result<u32, Error> {
        let place = match places.vacant.pop() {
            Some(place) => place,
            None if u64::from(places.high) < self.file.geometry.registry => {
                places.high += 1;
                // SYNC: registry
                self.slot_of(self.own()).high.store(u64::from(places.high), Ordering::Release);
                places.high - 1
            }
            None => return Err(exhausted()),
        };
        self.say(places, place, process_table::word(index, generation, process_table::INTENT));
        Ok(place)
    }

    /// Writes down that it holds it now.
    pub(super) fn hold(&self, places: &Places, place: u32, index: u32, generation: u32) {
        self.say(places, place, process_table::word(index, generation, process_table::HELD));
    }

    /// It will not hold it after all.
    pub(super) fn withdraw(&self, places: &mut Places, place: u32) {
        self.say(places, place, 0);
        places.vacant.push(place);
    }

    /// Gives back a block that was not written down.
    pub(super) fn give_back(&self, site: &Site) {
        // Memory that somebody has scribbled over: the block is lost, nothing else.
        let _ = release(&self.file, site);
    }

    /// Lets go of a block.
    pub(super) fn leave(&self, places: &mut Places, place: u32, site: &Site) {
        self.say(places, place, process_table::word(site.index, site.generation, process_table::LEAVING));
        self.give_back(site);
        self.withdraw(places, place);
    }

    fn say(&self, places: &Places, place: u32, word: u64) {
        let words = places.registry.views::<AtomicU64>(0, self.file.geometry.registry as usize);
        // SYNC: registry
        words[place as usize].store(word, Ordering::Release);
    }

    /// Takes a block that nobody holds.
    pub(super) fn allocate(&self, len: usize, kind: u8, need_not_be_zero: bool) -> Result<Site, Error> {
        self.file.table().allocate(len as u64, kind, need_not_be_zero).map_err(|refusal| match refusal {
            Refusal::Exhausted => exhausted(),
            Refusal::Damaged => Error::shared_memory("the tables of the shared memory are damaged"),
        })
    }

    /// The registries of all living processes, for the checker.
    pub(super) fn registry_words(&self, slot: u32) -> io::Result<Vec<u64>> {
        // SYNC: registry
        let high =
            self.file.processes().slots[slot as usize].high.load(Ordering::Acquire).min(self.file.geometry.registry);
        let registry = self.file.registry(slot)?;
        let words = registry.views::<AtomicU64>(0, high as usize);
        Ok(words.iter().map(|word| word.load(Ordering::Acquire)).collect())
    }
}

fn exhausted() -> Error {
    Error::shared_memory("shared memory is exhausted")
}
