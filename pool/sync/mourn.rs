//! What becomes of what a dead process held before anybody waited for it: freed, before others get the dead one's slot
//! and it would look as if they held it.

use crate::heap::block::Memory;
use crate::heap::kind::Kind;
use crate::sync::barrier::Barrier;
use crate::sync::condition::Condition;
use crate::sync::party::Here;
use crate::sync::rlock::RLock;
use crate::sync::rwlock::RwLock;
use crate::sync::semaphore::Semaphore;
use crate::sync::word::Word;

/// A process has died that had a handle to this block, and its row in the process table.
pub(crate) fn mourn(kind: u8, memory: &Memory, row: u32) {
    let slot = u16::try_from(row + 1).unwrap_or(u16::MAX);
    let is_one_of = |kinds: &[Kind]| kinds.iter().any(|it| *it as u8 == kind);
    if is_one_of(Kind::LOCKS) {
        memory.view::<Word>(0).inspect(|word| word.bury(slot));
    } else if is_one_of(&[Kind::RLock]) {
        memory.view::<RLock>(0).inspect(|lock| lock.bury(slot));
    } else if Kind::is_opened(kind) {
        // This process has a row, see there.
        let Ok(here) = Here::new() else { return };
        if is_one_of(&[Kind::Semaphore, Kind::BoundedSemaphore]) {
            memory.view::<Semaphore>(0).map(|semaphore| semaphore.bury(&here, slot));
        } else if is_one_of(&[Kind::RwLock]) {
            memory.view::<RwLock>(0).map(|lock| lock.bury(&here, slot));
        } else if is_one_of(&[Kind::Condition]) {
            memory.view::<Condition>(0).inspect(|condition| condition.bury(&here));
        } else if is_one_of(&[Kind::Barrier]) {
            memory.view::<Barrier>(0).inspect(|barrier| barrier.bury(&here));
        }
    }
}
