//! The heap's file, mapped as far as this process needs it.

use crate::heap::geometry::{Geometry, PAGE};
use crate::heap::parties::Parties;
use crate::heap::table::{Head, Site, Table};
use crate::sys::memory::{self, Mapping};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

#[derive(Debug)]
pub(super) struct HeapFile {
    fd: Arc<OwnedFd>,
    pub(super) geometry: Geometry,
    /// Head, process table and block table; never unmapped.
    tables: &'static Mapping,
    /// Segments of small blocks, by their number; unmapped with the last block that this process holds there.
    segments: Mutex<HashMap<u64, Weak<Mapping>>>,
}

impl HeapFile {
    /// Opens a heap's file after checking that it is one.
    pub(super) fn open(fd: Arc<OwnedFd>) -> io::Result<HeapFile> {
        let len = memory::sealed_len(fd.as_fd())?;
        let geometry = Geometry::of(len)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no heap has a file of this length"))?;
        let tables = memory::map_part(fd.as_fd(), 0, geometry.rows_at as usize)?;
        // A process has one heap, for life.
        Ok(HeapFile { fd, geometry, tables: Box::leak(Box::new(tables)), segments: Mutex::default() })
    }

    pub(super) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    pub(super) fn table(&self) -> Table<'static> {
        let entries = self.tables.views(self.geometry.entries_at as usize, self.geometry.entries as usize);
        Table { geometry: self.geometry, head: self.tables.view::<Head>(0), entries }
    }

    pub(super) fn parties(&self) -> Parties {
        let rows = self.tables.views(self.geometry.parties_at as usize, self.geometry.parties as usize);
        Parties { rows, head: self.tables.view::<Head>(0) }
    }

    /// The registry of the process in a row.
    pub(super) fn registry(&self, row: u32) -> io::Result<Mapping> {
        memory::map_part(self.fd.as_fd(), self.geometry.row_at(u64::from(row)), self.geometry.row_len())
    }

    /// The memory of a block, and where it begins in the mapping.
    pub(super) fn memory(&self, site: &Site) -> io::Result<(Arc<Mapping>, usize)> {
        if site.is_large() {
            let len = site.len.next_multiple_of(PAGE) as usize;
            return Ok((Arc::new(memory::map_part(self.fd.as_fd(), site.at, len)?), 0));
        }
        let number = site.at / self.geometry.segment;
        let start = number * self.geometry.segment;
        let mut segments = self.segments.lock();
        let mapping = match segments.get(&number).and_then(Weak::upgrade) {
            Some(mapping) => mapping,
            None => {
                let fresh = Arc::new(memory::map_part(self.fd.as_fd(), start, self.geometry.segment as usize)?);
                segments.insert(number, Arc::downgrade(&fresh));
                fresh
            }
        };
        Ok((mapping, (site.at - start) as usize))
    }

    /// Gives the pages of a large block back to the system; it then reads as zero.
    pub(super) fn punch(&self, site: &Site) -> io::Result<()> {
        memory::punch(self.fd.as_fd(), site.at, site.room)
    }

    /// Gives the pages of a registry back.
    pub(super) fn punch_registry(&self, row: u32) {
        // Without it the pages stay until another process moves in: no harm.
        let _ = memory::punch(self.fd.as_fd(), self.geometry.row_at(u64::from(row)), self.geometry.row_len() as u64);
    }
}
