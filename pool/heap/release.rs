//! Releasing a block: what becomes of it, and of what it holds, when nobody holds it any more.

use crate::heap::file::HeapFile;
use crate::heap::kind::Kind;
use crate::heap::memory::Memory;
use crate::heap::process_table;
use crate::heap::record;
use crate::heap::table::{Damaged, Site};
use std::sync::OnceLock;

/// Calls its last argument with the places, as they stand, of a block of this kind and memory. Bytes that another process
/// has written over may make it say anything: see [`release_held`].
pub(crate) type Holdings = fn(u8, &Memory, &mut dyn FnMut(u64));

static HOLDINGS: OnceLock<Holdings> = OnceLock::new();

/// Says who knows what blocks hold; before there is a block that holds any.
pub(crate) fn on_release(holdings: Holdings) {
    let _ = HOLDINGS.set(holdings);
}

/// One process or place less holds a block; the last one frees it, and releases what it held.
pub(super) fn release(file: &HeapFile, site: &Site) -> Result<(), Damaged> {
    // SYNC: block released
    if !file.table().release(site.index, site.generation)? {
        return Ok(());
    }
    if !Kind::holds(site.kind) {
        return free(file, site);
    }
    // What it held may be gone with it, and what that held. A list, since there is no end to how deep that may go.
    let mut gone = vec![*site];
    let mut had_queue = false;
    while let Some(site) = gone.pop() {
        if Kind::holds(site.kind) {
            release_held(file, &site, &mut gone);
        }
        free(file, &site)?;
        had_queue |= site.kind == Kind::Queue as u8;
    }
    if had_queue { give_pages_back(file) } else { Ok(()) }
}

/// Frees the blocks as all others are that have kept their pages for the next items: there may be no more of these.
fn give_pages_back(file: &HeapFile) -> Result<(), Damaged> {
    while let Some(site) = file.table().take_kept()? {
        free_without_pages(file, &site)?;
    }
    Ok(())
}

/// Frees a block that nobody holds any more.
fn free(file: &HeapFile, site: &Site) -> Result<(), Damaged> {
    if site.kind == Kind::Name as u8 {
        if let Ok((mapping, at)) = file.memory(site) {
            record::remove(&Memory::new(mapping, at, site.len as usize));
        }
    }
    if site.is_large() && site.kind == Kind::Item as u8 && file.table().keep(site)? {
        return Ok(());
    }
    free_without_pages(file, site)
}

fn free_without_pages(file: &HeapFile, site: &Site) -> Result<(), Damaged> {
    if site.is_large() && file.punch(site).is_err() {
        // It would come back with its old contents: rather never again.
        return Ok(());
    }
    file.table().free(site.index)
}

/// The blocks that a block holds.
pub(super) fn held_by(file: &HeapFile, site: &Site, mut each: impl FnMut(u32, u32)) {
    let Some(holdings) = HOLDINGS.get() else { return };
    let Ok((mapping, at)) = file.memory(site) else { return };
    holdings(site.kind, &Memory::new(mapping, at, site.len as usize), &mut |word| {
        if let Some((index, generation)) = process_table::held(word) {
            each(index, generation);
        }
    });
}

/// Releases what a block holds that nobody holds any more; those of which that was the last reference are added to
/// `gone`.
fn release_held(file: &HeapFile, site: &Site, gone: &mut Vec<Site>) {
    let table = file.table();
    held_by(file, site, |index, generation| {
        // A place that somebody has scribbled over names no block, or one of another generation; or its count is wrong.
        if table.release(index, generation) == Ok(true) {
            gone.extend(table.site(index).ok().map(|site| Site { generation, ..site }));
        }
    });
}
