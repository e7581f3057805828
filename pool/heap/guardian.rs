//! The process that outlives the first one of the tree, to remove the names that are left then.
//!
//! There is none until the first name is made: then some process of the tree starts it, by what it was told with
//! [`on_first_name`].

use crate::error::Error;
use crate::heap::books::Heap;
use crate::heap::kind::Kind;
use crate::heap::memory::Memory;
use crate::heap::process_table::SlotId;
use crate::heap::record;
use crate::heap::tree::heap;
use crate::sys::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::OnceLock;

static START: OnceLock<fn()> = OnceLock::new();

/// Says how a guardian is started.
pub(crate) fn on_first_name(start: fn()) {
    let _ = START.set(start);
}

/// Makes sure that there is a guardian, as far as there can be one.
pub(super) fn call() {
    if let (false, Some(start)) = (exists(), START.get()) {
        start();
    }
}

/// Whether there is a guardian.
pub(crate) fn exists() -> bool {
    heap().is_ok_and(|heap| {
        // SYNC: guardian
        let bits = heap.file.processes().head.guardian.load(Acquire);
        SlotId::from_bits(bits).is_some_and(|id| !heap.file.processes().has_ended(id))
    })
}

/// What the guardian knows of its tree.
#[derive(Debug)]
pub(crate) struct Tree {
    heap: &'static Heap,
    /// The process id of the first process.
    pub(crate) first: i32,
}

impl Tree {
    /// The tree of this process, which becomes its guardian.
    ///
    /// # Errors
    ///
    /// There is no shared memory, the first process is not in it, or there is another guardian.
    pub(crate) fn guard() -> Result<Tree, Error> {
        let heap = heap()?;
        let processes = heap.file.processes();
        let first = processes
            .first()
            .ok_or_else(|| Error::shared_memory("the first process has no part in the shared memory"))?;
        let place =
            |bits| SlotId::from_bits(bits).is_none_or(|id| processes.has_ended(id)).then(|| heap.own().to_bits());
        // SYNC: guardian
        match processes.head.guardian.fetch_update(AcqRel, Acquire, place) {
            Ok(_) => Ok(Tree { heap, first }),
            // Two have started one at the same time.
            Err(_) => Err(Error::shared_memory("there is a guardian already")),
        }
    }

    /// Whether the first process lives.
    pub(crate) fn is_first_alive(&self) -> bool {
        self.others().contains(&self.first)
    }

    /// The process ids of all others that live.
    pub(crate) fn others(&self) -> Vec<i32> {
        let processes = self.heap.file.processes();
        let others = processes.living().into_iter().filter(|slot| *slot != self.heap.own().index);
        others.filter_map(|slot| i32::try_from(processes.slots[slot as usize].pid.load(Relaxed)).ok()).collect()
    }

    /// Removes all names that are still in the books.
    pub(crate) fn remove_names(&self) {
        let (file, table) = (&self.heap.file, self.heap.file.table());
        for index in 0..table.used() {
            // Also of blocks that are free or lost: what was removed or let go says so.
            let Ok(site) = table.site(index) else { continue };
            if site.kind != Kind::Name as u8 {
                continue;
            }
            if let Ok((mapping, at)) = file.memory(&site) {
                record::remove(&Memory::new(mapping, at, site.len as usize));
            }
        }
    }
}
