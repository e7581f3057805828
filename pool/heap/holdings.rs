//! What a block holds of other blocks: where its places are is known to the layer above.

use crate::heap::file::HeapFile;
use crate::heap::memory::Memory;
use crate::heap::process_table;
use crate::heap::table::Site;
use std::sync::OnceLock;

/// Calls its last argument with the places, as they stand, of a block of this kind and memory. Bytes that another process
/// has written over may make it say anything.
pub(crate) type Holdings = fn(u8, &Memory, &mut dyn FnMut(u64));

static HOLDINGS: OnceLock<Holdings> = OnceLock::new();

/// Says who knows what blocks hold; before there is a block that holds any.
pub(crate) fn on_release(holdings: Holdings) {
    let _ = HOLDINGS.set(holdings);
}

/// What the places of a block say.
pub(super) fn places_of(file: &HeapFile, site: &Site, each: &mut dyn FnMut(u64)) {
    let Some(holdings) = HOLDINGS.get() else { return };
    let Ok((mapping, at)) = file.memory(site) else { return };
    holdings(site.kind, &Memory::new(mapping, at, site.len as usize), each);
}

/// The blocks that a block holds.
pub(super) fn held_by(file: &HeapFile, site: &Site, mut each: impl FnMut(u32, u32)) {
    places_of(file, site, &mut |word| {
        if let Some((index, generation)) = process_table::held(word) {
            each(index, generation);
        }
    });
}
