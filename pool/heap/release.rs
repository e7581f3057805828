//! Releasing a block: what becomes of it, and of what it holds, when nobody holds it any more.

use crate::heap::doubt;
use crate::heap::file::HeapFile;
use crate::heap::holdings::places_of;
use crate::heap::kind::Kind;
use crate::heap::memory::Memory;
use crate::heap::process_table;
use crate::heap::record;
use crate::heap::table::{Damaged, Site};

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
    let mut held_items = false;
    while let Some(site) = gone.pop() {
        if Kind::holds(site.kind) {
            release_held(file, &site, &mut gone);
        }
        free(file, &site)?;
        held_items |= Kind::holds(site.kind) && site.kind != Kind::Item as u8;
    }
    if held_items { give_pages_back(file) } else { Ok(()) }
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

/// Releases what a block holds that nobody holds any more; those of which that was the last reference are added to
/// `gone`.
fn release_held(file: &HeapFile, site: &Site, gone: &mut Vec<Site>) {
    let table = file.table();
    places_of(file, site, &mut |word| {
        let Some((index, generation)) = process_table::held(word) else {
            // Whoever has made the block was killed over it.
            return doubt::note(file, word);
        };
        // A place that somebody has scribbled over names no block, or one of another generation; or its count is wrong.
        if table.release(index, generation) == Ok(true) {
            gone.extend(table.site(index).ok().map(|site| Site { generation, ..site }));
        }
    });
}
