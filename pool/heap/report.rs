//! What the heap holds, and whether its books are in order.

use crate::error::Error;
use crate::heap::holdings::held_by;
use crate::heap::kind::Kind;
use crate::heap::process_table::held;
use crate::heap::tree::heap;
use std::collections::{HashMap, HashSet};

/// The state of the shared memory of a tree of processes, from [`shared_memory_report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedMemoryReport {
    /// Living processes that use it.
    pub processes: usize,
    /// How many processes can use it at a time, children included that were started and have not used it yet.
    pub slots: usize,
    /// How many more there can be at the moment.
    pub free_slots: usize,
    /// Blocks (locks, values, arrays ..) that some process holds.
    pub blocks: usize,
    /// Bytes that were asked for in them.
    pub bytes: u64,
    /// Blocks that will never be free again, since a dead process still counts as a holder or has left them aside: a
    /// process that is killed in the middle of taking or leaving a block loses it, one at most.
    pub lost: usize,
    /// What is not as it must be; empty unless a process has written over the tables or a block, or was stopped for a
    /// second in the middle of changing one.
    pub damage: Vec<String>,
}

/// Looks through the books of the shared memory. The report is exact while no process takes or drops handles.
///
/// ```
/// let lock = multiproc::Lock::new();
/// let report = multiproc::shared_memory_report()?;
/// assert!(report.blocks >= 1 && report.damage.is_empty());
/// # drop(lock);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Errors
///
/// This process has no shared memory.
pub fn shared_memory_report() -> Result<SharedMemoryReport, Error> {
    let heap = heap()?;
    let (table, processes) = (heap.file.table(), heap.file.processes());
    let living = processes.living();
    let mut report = SharedMemoryReport {
        processes: living.len(),
        slots: processes.slots.len(),
        free_slots: processes.free(),
        ..SharedMemoryReport::default()
    };
    let mut holders: HashMap<(u32, u32), u32> = HashMap::new();
    for slot in living {
        for block in heap.registry_words(slot)?.into_iter().filter_map(held) {
            *holders.entry(block).or_default() += 1;
        }
    }
    // What blocks hold counts as what processes hold.
    for index in 0..table.used() {
        let Ok(site) = table.site(index) else { continue };
        if Kind::holds(site.kind) && table.holders(index) > 0 {
            held_by(&heap.file, &site, |index, generation| *holders.entry((index, generation)).or_default() += 1);
        }
    }
    let Some(free) = table.free_entries() else {
        report.damage.push("a list of free blocks is broken".to_owned());
        // Which entries are free is not known, so the rest of the books cannot be compared.
        return Ok(report);
    };
    let mut unused = HashSet::new();
    for index in free {
        if !unused.insert(index) {
            report.damage.push(format!("block {index} is free twice"));
        }
    }
    let mut taken: Vec<(u64, u64, u32)> = Vec::new();
    for index in 0..table.used() {
        let Ok(site) = table.site(index) else {
            // Cut by a process that died before it had filled it in.
            report.lost += 1;
            continue;
        };
        taken.push((site.at, site.room, index));
        if table.is_written_off(index) {
            report.damage.push(format!(
                "block {index} was written off: a process has died that held it, and somebody has it open and never closes it"
            ));
        }
        let (count, known) = (table.holders(index), holders.get(&(index, site.generation)).copied().unwrap_or(0));
        match (count, unused.contains(&index)) {
            (0, true) => {}
            (0, false) => report.lost += 1,
            (_, true) => report.damage.push(format!("block {index} is free and held")),
            (count, false) => {
                if known > 0 {
                    report.blocks += 1;
                    report.bytes += site.len;
                }
                report.lost += usize::from(count > known);
                if known > count {
                    report.damage.push(format!("block {index} is held {known} times and counts {count}"));
                }
            }
        }
    }
    taken.sort_unstable();
    for pair in taken.windows(2) {
        if pair[0].0 + pair[0].1 > pair[1].0 {
            report.damage.push(format!("blocks {} and {} overlap", pair[0].2, pair[1].2));
        }
    }
    Ok(report)
}
