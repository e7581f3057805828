//! Whether an end of a channel is there although its count says so.
//!
//! A process says in its registry, or in a place of a block, that it is about to count that into a block, or out of it. Killed
//! there, nobody knows whether it had, so the count is left as it is: too high by one, perhaps. The block is lost then, and
//! those that it holds. For memory that is all. But others wait until nobody counts for an end of a channel any more.
//!
//! So whoever clears up after a dead process marks the ends that it may have left behind as *doubtful*, and whoever asks
//! for such an end looks whether anything leads to it: from the registries of all processes, through the queues and items that
//! are named there. Handles move meanwhile, from a queue to a process; so nothing must lead there several times, some time
//! apart, and the count must not change in between. Then the end is noted as *gone*.
//!
//! Nothing of this costs anything before a process was killed at that very instruction.

use crate::heap::file::HeapFile;
use crate::heap::holdings::held_by;
use crate::heap::kind::Kind;
use crate::heap::process_table;
use crate::heap::table::Site;
use crate::sys::atomic::{AtomicU64, Ordering};
use std::collections::HashSet;
use std::time::Duration;

/// How often nothing must lead to an end, and how long to wait in between.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(5);

/// A dead process has left this word, in its registry or in a place of a block.
pub(super) fn note(file: &HeapFile, word: u64) {
    let Some((index, _)) = process_table::unsettled(word) else { return };
    // What it was about to leave may be half released, with its content still there.
    let _ = walk(file, vec![index], |site| {
        if site.kind == Kind::End as u8 {
            // Memory that somebody has scribbled over: then there is nothing to note it in.
            let _ = file.table().doubt(site.index);
        }
        false
    });
}

/// Whether nobody has a doubtful end any more.
pub(super) fn is_gone(file: &HeapFile, index: u32, generation: u32) -> bool {
    let table = file.table();
    let before = table.holders(index);
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(PAUSE);
        }
        if leads_to(file, index, generation) || table.holders(index) != before {
            return false;
        }
    }
    table.give_up(index).unwrap_or(true)
}

/// Whether a registry names the block, or something does that a registry leads to.
fn leads_to(file: &HeapFile, index: u32, generation: u32) -> bool {
    let mut roots = Vec::new();
    for (slot, high) in file.processes().occupied() {
        let high = high.min(file.geometry.registry) as usize;
        // A registry that cannot be read may name anything.
        // SYNC: registry
        let Ok(registry) = file.registry(slot) else { return true };
        let words = registry.views::<AtomicU64>(0, high).iter().map(|word| word.load(Ordering::Acquire));
        roots.extend(words.filter_map(process_table::named).map(|(index, _)| index));
    }
    walk(file, roots, |site| site.index == index && site.generation == generation)
}

/// Goes from block to block until `is_it` says so; whether it did.
fn walk(file: &HeapFile, mut open: Vec<u32>, mut is_it: impl FnMut(&Site) -> bool) -> bool {
    let (table, mut seen) = (file.table(), HashSet::new());
    while let Some(index) = open.pop() {
        let Ok(site) = table.site(index) else { continue };
        if !seen.insert(index) {
            continue;
        }
        if is_it(&site) {
            return true;
        }
        if Kind::holds(site.kind) {
            held_by(file, &site, |index, _| open.push(index));
        }
    }
    false
}
