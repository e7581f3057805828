//! What becomes of a lock whose holder has died before anybody waited for it: freed, before others get the dead one's
//! slot and it would look as if they held it.

use crate::heap::block::Memory;
use crate::heap::kind::Kind;
use crate::sync::word::Word;

/// A process has died that had a handle to this block, and its row in the process table.
pub(crate) fn mourn(kind: u8, memory: &Memory, row: u32) {
    let slot = u16::try_from(row + 1).unwrap_or(u16::MAX);
    let has_word = [Kind::Lock, Kind::Value, Kind::Array].iter().any(|it| *it as u8 == kind);
    if let Some(word) = memory.view::<Word>(0).filter(|_| has_word) {
        word.bury(slot);
    }
}
