//! The process table: who uses the heap, who of them is alive, and what each holds.
//!
//! A process takes a row when it first uses the heap, and its supervising thread takes the row's [`Mark`], which the
//! kernel sets when the process ends. A row is given to another process only after everything that the dead one held
//! was released, which is its parent's work: the parent first reads what the child has left behind in its messages.
//! Without a parent it is anybody's.

use crate::heap::geometry::Geometry;
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::memory::Atomics;
use crate::sys::robust::Mark;
use Ordering::{Acquire, Relaxed, Release};

/// A row of the process table.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Party {
    /// Whose it is: see [`Standing`], in the low byte; the row of who releases it, in bits 8 to 31; generation above.
    state: AtomicU64,
    /// What its parent calls it.
    pub(super) token: AtomicU64,
    /// The row and generation of its parent, as [`PartyId`].
    pub(super) parent: AtomicU64,
    /// Registry places at and above this one were never used.
    pub(super) high: AtomicU64,
    /// Its process id, for people.
    pub(super) pid: AtomicU64,
    _pad: [AtomicU64; 3],
    pub(super) mark: Mark,
}

// SAFETY: repr(C), atomics and a `Mark` only; 128 bytes, so no padding.
unsafe impl Atomics for Party {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Free,
    /// Being taken.
    Taken,
    Living,
    /// Its holder is dead, and somebody releases what it held.
    Released,
}

/// Names one process among all that ever use a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartyId {
    pub(crate) row: u32,
    pub(crate) generation: u32,
}

impl PartyId {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | (u64::from(self.row) + 1)
    }

    pub(super) fn from_bits(bits: u64) -> Option<PartyId> {
        Some(PartyId { row: (bits as u32).checked_sub(1)?, generation: (bits >> 32) as u32 })
    }
}

/// The process table as this process sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parties {
    pub(super) rows: &'static [Party],
    pub(super) head: &'static crate::heap::table::Head,
}

impl Party {
    fn standing(&self) -> (Standing, u32, u32) {
        let state = self.state.load(Acquire);
        let standing = match state as u8 {
            0 => Standing::Free,
            1 => Standing::Taken,
            2 => Standing::Living,
            _ => Standing::Released,
        };
        (standing, (state >> 8) as u32 & 0xff_ffff, (state >> 32) as u32)
    }

    fn change(&self, from: (Standing, u32, u32), to: (Standing, u32, u32)) -> bool {
        let bits = |(standing, by, generation): (Standing, u32, u32)| {
            u64::from(generation) << 32 | u64::from(by) << 8 | standing as u64
        };
        self.state.compare_exchange(bits(from), bits(to), Ordering::AcqRel, Relaxed).is_ok()
    }
}

impl Parties {
    /// Takes a free row.
    pub(super) fn reserve(&self) -> Option<PartyId> {
        let count = self.rows.len() as u64;
        // Round and round, so that a row rests as long as possible.
        let start = self.head.next_party.fetch_add(1, Relaxed);
        (0..count).find_map(|step| {
            let row = (start.wrapping_add(step) % count) as u32;
            let party = &self.rows[row as usize];
            let (standing, by, generation) = party.standing();
            let id = PartyId { row, generation };
            (standing == Standing::Free && party.change((standing, by, generation), (Standing::Taken, 0, generation)))
                .then(|| {
                    self.head.parties.fetch_max(u64::from(row) + 1, Relaxed);
                    id
                })
        })
    }

    /// Moves into a reserved row; on the thread whose life stands for the process's.
    pub(super) fn move_in(&self, id: PartyId, token: u64, parent: u64) -> std::io::Result<()> {
        let party: &'static Party = &self.rows[id.row as usize];
        party.token.store(token, Relaxed);
        party.parent.store(parent, Relaxed);
        party.high.store(0, Relaxed);
        party.pid.store(u64::from(std::process::id()), Relaxed);
        party.mark.take()?;
        // SYNC: party lives
        party.state.store(u64::from(id.generation) << 32 | Standing::Living as u64, Release);
        Ok(())
    }

    /// Whether the process in a row has ended. One load.
    #[inline]
    pub(super) fn is_dead(&self, row: u32) -> bool {
        self.rows.get(row as usize).is_none_or(|party| party.mark.is_orphaned())
    }

    /// Whether that very process has ended.
    pub(super) fn has_ended(&self, id: PartyId) -> bool {
        let Some(party) = self.rows.get(id.row as usize) else { return true };
        let (standing, _, generation) = party.standing();
        generation != id.generation || standing == Standing::Free || party.mark.is_orphaned()
    }

    fn used(&self) -> impl Iterator<Item = (u32, &'static Party)> {
        let used = self.head.parties.load(Relaxed).min(self.rows.len() as u64) as usize;
        (0..).zip(&self.rows[..used])
    }

    /// The rows of living processes, for the checker.
    pub(super) fn living(&self) -> Vec<u32> {
        let living = self.used().filter(|(_, party)| party.standing().0 == Standing::Living);
        living.filter(|(_, party)| !party.mark.is_orphaned()).map(|(row, _)| row).collect()
    }

    /// Takes over, for releasing what they hold, the rows of dead processes of which `which` says so, as far as `can`
    /// says that it is possible here.
    pub(super) fn take_dead(
        &self,
        own: PartyId,
        which: impl Fn(&Party) -> bool,
        can: impl Fn(u32) -> bool,
    ) -> Vec<PartyId> {
        let dead = self.used().filter_map(|(row, party)| {
            let state @ (standing, by, generation) = party.standing();
            let abandoned = match standing {
                Standing::Free | Standing::Taken => false,
                Standing::Living => which(party),
                // Who was at it has died over it.
                Standing::Released => self.is_dead(by),
            };
            let to = (Standing::Released, own.row, generation);
            let is_it = abandoned && party.mark.is_orphaned() && can(row);
            (is_it && party.change(state, to)).then_some(PartyId { row, generation })
        });
        dead.collect()
    }

    /// Gives a row back whose holder's things were all released.
    pub(super) fn give_back(&self, id: PartyId) {
        let party = &self.rows[id.row as usize];
        party.token.store(0, Relaxed);
        party.mark.clear();
        // SYNC: party lives
        party.state.store(u64::from(id.generation.wrapping_add(1)) << 32, Release);
    }
}

/// What a place in a registry says: the state in the low two bits, then 30 bits of generation and 32 of the block.
pub(super) const INTENT: u64 = 1;
pub(super) const HELD: u64 = 2;
pub(super) const LEAVING: u64 = 3;

pub(super) fn word(index: u32, generation: u32, state: u64) -> u64 {
    u64::from(index) << 32 | u64::from(generation) << 2 | state
}

/// The block and generation that a place says is held.
pub(super) fn held(word: u64) -> Option<(u32, u32)> {
    (word & 3 == HELD).then_some(((word >> 32) as u32, (word as u32) >> 2))
}

impl Geometry {
    /// The bytes of a process's registry.
    pub(super) fn row_len(&self) -> usize {
        (self.row * 8) as usize
    }
}
