//! The heap's file, mapped as far as this process needs it.

use crate::heap::geometry::{Geometry, PAGE};
use crate::heap::layout::Head;
use crate::heap::process_table::ProcessTable;
use crate::heap::table::{Site, Table};
use crate::sys::file_part::FilePart;
use crate::sys::life::Lives;
use crate::sys::memory::{self, Mapping};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

/// How many mappings are kept although this process holds no block there any more. Who is given the same array with each of
/// its tasks, and lets go of it in between, would otherwise pay for each of its pages again: ten times what it costs to
/// read them. A kept mapping keeps no memory, since a block that nobody holds has lost its pages.
const KEPT: usize = 4;

/// What of the file is mapped for blocks.
#[derive(Debug, Default)]
struct Parts {
    /// Segments of small blocks, by where they begin.
    segments: HashMap<u64, Weak<Mapping>>,
    /// What was asked for last, and where it begins; the latest first.
    kept: VecDeque<(u64, Arc<Mapping>)>,
}

#[derive(Debug)]
pub(super) struct HeapFile {
    /// Never closed.
    fd: &'static Arc<OwnedFd>,
    pub(super) geometry: Geometry,
    /// Head, process table and block table; never unmapped.
    tables: &'static Mapping,
    parts: Mutex<Parts>,
}

impl HeapFile {
    /// Opens a heap's file after checking that it is one.
    pub(super) fn open(fd: Arc<OwnedFd>) -> io::Result<HeapFile> {
        let len = memory::sealed_len(fd.as_fd())?;
        let geometry = Geometry::of(len)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no heap has a file of this length"))?;
        let tables = memory::map_part(fd.as_fd(), 0, geometry.registries_at as usize)?;
        // A process has one heap, for life.
        let fd = Box::leak(Box::new(fd));
        Ok(HeapFile { fd, geometry, tables: Box::leak(Box::new(tables)), parts: Mutex::default() })
    }

    pub(super) fn fd(&self) -> &Arc<OwnedFd> {
        self.fd
    }

    pub(super) fn table(&self) -> Table<'static> {
        let entries = self.tables.views(self.geometry.entries_at as usize, self.geometry.entries as usize);
        Table { geometry: self.geometry, head: self.tables.view::<Head>(0), entries }
    }

    pub(super) fn processes(&self) -> ProcessTable {
        let slots = self.tables.views(self.geometry.slots_at as usize, self.geometry.processes as usize);
        let (head, lives) = (self.tables.view::<Head>(0), Lives::of(self.fd.as_fd()));
        ProcessTable { slots, head, lives, at: self.geometry.slots_at }
    }

    /// The registry of the process in a slot.
    pub(super) fn registry(&self, slot: u32) -> io::Result<Mapping> {
        memory::map_part(self.fd.as_fd(), self.geometry.registry_at(u64::from(slot)), self.geometry.registry_len())
    }

    /// The memory of a block, and where it begins in the mapping.
    pub(super) fn memory(&self, site: &Site) -> io::Result<(Arc<Mapping>, usize)> {
        let (at, len) = if site.is_large() {
            (site.at, site.len.next_multiple_of(PAGE))
        } else {
            (site.at - site.at % self.geometry.segment, self.geometry.segment)
        };
        let mut parts = self.parts.lock();
        let kept = parts.kept.iter().position(|(start, mapping)| *start == at && mapping.bytes().len() as u64 == len);
        let mapping = match kept.and_then(|place| parts.kept.remove(place)) {
            Some((_, mapping)) => mapping,
            None => match parts.segments.get(&at).and_then(Weak::upgrade) {
                Some(mapping) => mapping,
                None => Arc::new(memory::map_part(self.fd.as_fd(), at, len as usize)?),
            },
        };
        if !site.is_large() {
            parts.segments.insert(at, Arc::downgrade(&mapping));
        }
        parts.kept.truncate(KEPT - 1);
        parts.kept.push_front((at, Arc::clone(&mapping)));
        Ok((mapping, (site.at - at) as usize))
    }

    /// The part of the file that a block takes.
    pub(super) fn part(&self, site: &Site) -> FilePart<'static> {
        FilePart::new(self.fd.as_fd(), site.at, site.len)
    }

    /// Gives the pages of a large block back to the system; it then reads as zero.
    pub(super) fn punch(&self, site: &Site) -> io::Result<()> {
        memory::punch(self.fd.as_fd(), site.at, site.room)
    }

    /// The same for a part of it, which consists of whole pages.
    pub(super) fn punch_part(&self, site: &Site, at: u64, len: u64) -> io::Result<()> {
        memory::punch(self.fd.as_fd(), site.at + at, len)
    }

    /// Gives the pages of a registry back.
    pub(super) fn punch_registry(&self, slot: u32) {
        // Without it the pages stay until another process moves in: no harm.
        let _ = memory::punch(
            self.fd.as_fd(),
            self.geometry.registry_at(u64::from(slot)),
            self.geometry.registry_len() as u64,
        );
    }
}
