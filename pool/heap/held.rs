//! Blocks that a block holds: items that lie in a queue, handles that lie in an item.
//!
//! Such a block has *places*, words that say what a place in a registry says: about to hold a block, holding it, about to
//! leave it. So a block that lies in a queue is counted as one that a process holds is, and what its writer does, or
//! whether the writer lives, matters no longer. When the last process lets go of the holding block, what its places say
//! is released with it. Where the places are is known to the layer above, which says so by
//! [`Holdings`](crate::heap::holdings::Holdings).
//!
//! A block that holds itself, or one that holds it, is never released, as with any counted reference.

use crate::error::Error;
use crate::heap::block::Block;
use crate::heap::doubt;
use crate::heap::process_table::{self, HELD, INTENT, LEAVING};
use crate::heap::release::release;
use crate::heap::table::Site;
use crate::heap::tree::heap;
use crate::sys::atomic::{AtomicU64, Ordering};
use Ordering::{Relaxed, Release};

/// Counts the block as held by the place.
///
/// # Errors
///
/// The tables are damaged.
pub(crate) fn hold(place: &AtomicU64, block: &Block) -> Result<(), Error> {
    let (heap, (index, generation)) = (heap()?, block.key());
    // SYNC: registry
    place.store(process_table::word(index, generation, INTENT), Release);
    match heap.file.table().upgrade(index, generation) {
        Ok(Some(_)) => {
            place.store(process_table::word(index, generation, HELD), Release);
            Ok(())
        }
        _ => {
            place.store(0, Release);
            Err(Error::shared_memory("the tables of the shared memory are damaged"))
        }
    }
}

/// The block that a place says it holds.
///
/// # Errors
///
/// It says no such thing, the block is gone, or this process cannot hold it.
pub(crate) fn open(word: u64) -> Result<Block, String> {
    let (index, generation) = process_table::held(word).ok_or("no block is held there")?;
    let heap = heap().map_err(|error| error.to_string())?;
    Block::open(heap.id, index, generation)
}

/// Releases what the place holds, if anything.
pub(crate) fn leave(place: &AtomicU64) {
    let Ok(heap) = heap() else { return };
    let word = place.load(Relaxed);
    if let Some((index, generation)) = process_table::held(word) {
        // SYNC: registry
        place.store(process_table::word(index, generation, LEAVING), Release);
        if let Ok(site) = heap.file.table().site(index) {
            // Memory that somebody has scribbled over: the block is lost, nothing else.
            let _ = release(&heap.file, &Site { generation, ..site });
        }
    } else {
        // Somebody was killed who was about to hold it, or to leave it.
        doubt::note(&heap.file, word);
    }
    // SYNC: registry
    place.store(0, Release);
}

/// Whether a block, of which all that is known is what a place once said, still exists.
pub(crate) fn is_held(word: u64) -> bool {
    let Some((index, generation)) = process_table::held(word) else { return false };
    heap().is_ok_and(|heap| {
        let table = heap.file.table();
        let is_there = || match table.doubts(index) {
            (_, true) => false,
            (true, false) => !doubt::is_gone(&heap.file, index, generation),
            (false, false) => true,
        };
        table.is_held(index, generation) && is_there()
    })
}

/// What a place would say that holds the block.
pub(crate) fn word_of(block: &Block) -> u64 {
    let (index, generation) = block.key();
    process_table::word(index, generation, HELD)
}
