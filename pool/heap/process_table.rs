//! The process table: who uses the heap, who of them is alive, and what each holds.
//!
//! A process reserves a slot for each child before it starts it, and names the slot to the child. The child moves in when
//! it first uses the heap: its supervising thread takes the slot's [`Mark`](crate::sys::robust::Mark), which the kernel
//! sets when that thread ends, and the process a record lock on the slot, which the kernel takes away when the last of
//! its threads has left the memory. Looking at the mark costs a load. Once it is set, other threads may still be in the
//! middle of a system call that writes into shared memory; so only a slot whose record lock is gone, too, is that of a
//! dead process.
//!
//! When the child has ended, its parent releases whatever it held and frees the slot, in whatever state the slot is: so no kill,
//! wherever it hits, costs a slot. The parent does that after it has read what the child has left behind in its messages.
//! If the parent is dead, too, anybody does it.

use crate::heap::geometry::Geometry;
use crate::heap::layout::{Head, ProcessSlot};
use crate::sys::atomic::Ordering;
use crate::sys::life::{self, Lives};
use crate::sys::time::millis;
use Ordering::{Acquire, Relaxed, Release};

/// How long a slot rests before it is given away again, if there are others; in milliseconds.
const REST: u32 = 1000;

/// Names one process among all that ever use a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId {
    pub(crate) index: u32,
    /// How many processes had the slot before, modulo 2^[`GENERATION_BITS`].
    pub(crate) generation: u32,
}

const GENERATION_BITS: u32 = 25;
const GENERATION: u32 = (1 << GENERATION_BITS) - 1;
const SLOT_BITS: u32 = 10;
const _: () = assert!(crate::heap::geometry::MOST_PROCESSES < 1 << SLOT_BITS);

impl SlotId {
    /// In the low 35 bits, and never 0.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation & GENERATION) << SLOT_BITS | (u64::from(self.index) + 1)
    }

    pub(crate) fn from_bits(bits: u64) -> Option<SlotId> {
        let index = (bits as u32 & ((1 << SLOT_BITS) - 1)).checked_sub(1)?;
        Some(SlotId { index, generation: (bits >> SLOT_BITS) as u32 & GENERATION })
    }
}

/// Who has a slot. In the state word: what it is in the low 3 bits, the slot's generation in the next 25, and in the
/// upper 36 who is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Free,
    /// Set aside by this process, for a child.
    Reserved(SlotId),
    /// The process with this id is moving in.
    Moving(u32),
    /// Somebody lives in it, whose parent is this process; the first process of the tree has none.
    Living(Option<SlotId>),
    /// Its holder is dead, and this process releases what it held.
    Released(SlotId),
}

impl Standing {
    fn to_bits(self, generation: u32) -> u64 {
        let (kind, who) = match self {
            Standing::Free => (0, 0),
            Standing::Reserved(parent) => (1, parent.to_bits()),
            Standing::Moving(pid) => (2, u64::from(pid)),
            Standing::Living(parent) => (3, parent.map_or(0, SlotId::to_bits)),
            Standing::Released(by) => (4, by.to_bits()),
        };
        kind | u64::from(generation & GENERATION) << 3 | who << (3 + GENERATION_BITS)
    }

    /// The standing and the generation; `None` for a word that nobody of us writes.
    fn from_bits(bits: u64) -> Option<(Standing, u32)> {
        let who = bits >> (3 + GENERATION_BITS);
        let standing = match bits & 7 {
            0 => Standing::Free,
            1 => Standing::Reserved(SlotId::from_bits(who)?),
            2 => Standing::Moving(who as u32),
            3 => Standing::Living(SlotId::from_bits(who)),
            4 => Standing::Released(SlotId::from_bits(who)?),
            _ => return None,
        };
        Some((standing, (bits >> 3) as u32 & GENERATION))
    }
}

/// The process table as this process sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessTable {
    pub(super) slots: &'static [ProcessSlot],
    pub(super) head: &'static Head,
    /// The file, and where in it the slots begin.
    pub(super) lives: Lives,
    pub(super) at: u64,
}

impl ProcessSlot {
    fn standing(&self) -> Option<(Standing, u32)> {
        // SYNC: process lives
        Standing::from_bits(self.state.load(Acquire))
    }

    fn is_free(&self) -> bool {
        matches!(self.standing(), Some((Standing::Free, _)))
    }

    fn change(&self, generation: u32, from: Standing, to: Standing) -> bool {
        let (from, to) = (from.to_bits(generation), to.to_bits(generation));
        // SYNC: process lives
        self.state.compare_exchange(from, to, Ordering::AcqRel, Relaxed).is_ok()
    }
}

impl ProcessTable {
    /// Sets a free slot aside for a child of `parent`.
    pub(super) fn reserve(&self, parent: SlotId) -> Option<SlotId> {
        self.take_free(Standing::Reserved(parent))
    }

    fn take_free(&self, to: Standing) -> Option<SlotId> {
        let count = self.slots.len() as u64;
        // Round and round, so that a slot rests as long as possible; and those that have not rested at all come last, since
        // some thread may have seen their last holder dead and not have drawn its conclusions yet.
        let start = self.head.next_slot.fetch_add(1, Relaxed);
        let now = millis();
        let rests = |slot: &ProcessSlot| {
            let freed = slot.freed.load(Relaxed) as u32;
            freed != 0 && now.wrapping_sub(freed) < REST
        };
        [false, true].into_iter().find_map(|also_rests| {
            (0..count).find_map(|step| {
                let index = (start.wrapping_add(step) % count) as u32;
                let slot = &self.slots[index as usize];
                let (standing, generation) = slot.standing()?;
                let is_for_us = standing == Standing::Free && (also_rests || !rests(slot));
                if !is_for_us || !slot.change(generation, Standing::Free, to) {
                    return None;
                }
                self.head.used_slots.fetch_max(u64::from(index) + 1, Relaxed);
                Some(SlotId { index, generation })
            })
        })
    }

    /// Moves in, on the thread whose life stands for the process's: into the slot that `parent` has `reserved`; or, if this
    /// is the first process, or the parent has died and somebody has cleared up after it, into a free one. `None` = there is
    /// none.
    ///
    /// # Errors
    ///
    /// The system knows no robust mutexes.
    pub(super) fn move_in(&self, reserved: Option<SlotId>, parent: Option<SlotId>) -> std::io::Result<Option<SlotId>> {
        self.move_in_while(reserved, parent, std::process::id(), || true)
    }

    /// Moves in, as long as `goes_on` says so, which is asked between all steps. Only in models it ever does not.
    fn move_in_while(
        &self,
        reserved: Option<SlotId>,
        parent: Option<SlotId>,
        pid: u32,
        mut goes_on: impl FnMut() -> bool,
    ) -> std::io::Result<Option<SlotId>> {
        // From here on the slot is this process's alone until it has ended: only then its mark may be touched.
        let own = reserved.zip(parent).filter(|(own, parent)| {
            let slot = self.slots.get(own.index as usize);
            slot.is_some_and(|it| it.change(own.generation, Standing::Reserved(*parent), Standing::Moving(pid)))
        });
        let Some(own) = own.map(|(own, _)| own).or_else(|| self.take_free(Standing::Moving(pid))) else {
            return Ok(None);
        };
        let slot: &'static ProcessSlot = &self.slots[own.index as usize];
        slot.high.store(0, Relaxed);
        slot.pid.store(u64::from(pid), Relaxed);
        // Without it (the system has no record locks) the mark alone counts.
        let _ = self.lives.hold(self.byte_of(own.index));
        if !goes_on() {
            return Ok(None);
        }
        slot.mark.take().inspect_err(|_| self.give_back(own))?;
        if !goes_on() {
            return Ok(None);
        }
        // SYNC: process lives
        slot.state.store(Standing::Living(parent).to_bits(own.generation), Release);
        Ok(Some(own))
    }

    /// The byte of the file that stands for the process in a slot.
    fn byte_of(&self, index: u32) -> u64 {
        self.at + u64::from(index) * size_of::<ProcessSlot>() as u64
    }

    /// Whether the process in a slot has ended, with all its threads. One load as long as it lives, and then a system call.
    /// With a `generation`, modulo 256: whether that very process has.
    #[inline]
    pub(super) fn is_dead(&self, index: u32, generation: Option<u8>) -> bool {
        let Some(slot) = self.slots.get(index as usize) else { return true };
        // A slot is another one's only when everything that this one held was released.
        let is_other = |expected| slot.standing().is_none_or(|(_, generation)| generation as u8 != expected);
        // SYNC: death
        generation.is_some_and(is_other) || slot.mark.is_orphaned() && !self.lives.is_held(self.byte_of(index))
    }

    /// Whether that very process has ended.
    pub(super) fn has_ended(&self, id: SlotId) -> bool {
        let Some(slot) = self.slots.get(id.index as usize) else { return true };
        let Some((standing, generation)) = slot.standing() else { return true };
        generation != id.generation || standing == Standing::Free || self.is_dead(id.index, None)
    }

    fn used(&self) -> impl Iterator<Item = (u32, &'static ProcessSlot)> {
        let used = self.head.used_slots.load(Relaxed).min(self.slots.len() as u64) as usize;
        (0..).zip(&self.slots[..used])
    }

    /// The slots of living processes.
    pub(super) fn living(&self) -> Vec<u32> {
        let lives = |slot: &ProcessSlot| matches!(slot.standing(), Some((Standing::Living(_), _)));
        self.used().filter(|(index, slot)| lives(slot) && !self.is_dead(*index, None)).map(|(index, _)| index).collect()
    }

    /// The slots whose registries say something, with how many places of each were used.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (u32, u64)> {
        // SYNC: registry
        self.used().filter(|(_, slot)| !slot.is_free()).map(|(index, slot)| (index, slot.high.load(Acquire)))
    }

    /// Whether there is a process that lives although its parent has ended, and that is about to end with it: all do but the
    /// guardian.
    pub(super) fn has_orphans(&self) -> bool {
        // SYNC: guardian
        let guardian = SlotId::from_bits(self.head.guardian.load(Acquire));
        let is_orphan = |index, slot: &ProcessSlot| match slot.standing() {
            Some((Standing::Reserved(parent) | Standing::Living(Some(parent)), generation)) => {
                guardian != Some(SlotId { index, generation }) && self.has_ended(parent)
            }
            _ => false,
        };
        self.used().any(|(index, slot)| is_orphan(index, slot))
    }

    /// How many slots are free.
    pub(super) fn free(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_free()).count()
    }

    /// The process id of the first process of the tree, as long as it lives.
    pub(super) fn first(&self) -> Option<i32> {
        let is_first = |slot: &ProcessSlot| matches!(slot.standing(), Some((Standing::Living(None), _)));
        let first = self.used().find(|(index, slot)| is_first(slot) && !self.is_dead(*index, None));
        i32::try_from(first?.1.pid.load(Relaxed)).ok()
    }

    /// Takes over, for releasing what they held, the slots of dead processes: that of `child`, which this process knows to
    /// have ended, and those without a living parent.
    pub(super) fn take_dead(&self, own: SlotId, child: Option<SlotId>) -> Vec<SlotId> {
        let dead = self.used().filter_map(|(index, slot)| {
            let (standing, generation) = slot.standing()?;
            let id = SlotId { index, generation };
            let is_abandoned = match standing {
                Standing::Free => false,
                // Who was at it has died over it.
                Standing::Released(by) => self.has_ended(by),
                _ if child == Some(id) => true,
                // If its child lives and has not moved in yet, it will find another slot.
                Standing::Reserved(parent) => self.has_ended(parent),
                // It holds nothing yet, so it does not matter who notices.
                Standing::Moving(pid) => life::has_ended(pid.into()),
                Standing::Living(parent) => {
                    parent.is_some_and(|parent| self.has_ended(parent)) && self.is_dead(index, None)
                }
            };
            (is_abandoned && slot.change(generation, standing, Standing::Released(own))).then_some(id)
        });
        dead.collect()
    }

    /// Gives a slot back whose holder's things were all released.
    pub(super) fn give_back(&self, id: SlotId) {
        let slot = &self.slots[id.index as usize];
        slot.high.store(0, Relaxed);
        slot.freed.store(millis().max(1).into(), Relaxed);
        slot.mark.clear();
        // SYNC: process lives
        slot.state.store(Standing::Free.to_bits(id.generation.wrapping_add(1)), Release);
    }
}

/// What a place in a registry says: the state in the low two bits, then 30 bits of generation and 32 of the block.
pub(super) const INTENT: u64 = 1;
pub(super) const HELD: u64 = 2;
pub(super) const LEAVING: u64 = 3;

pub(super) fn word(index: u32, generation: u32, state: u64) -> u64 {
    u64::from(index) << 32 | u64::from(generation << 2) | state
}

/// The block and generation that a place says is held.
pub(super) fn held(word: u64) -> Option<(u32, u32)> {
    named(word).filter(|_| word & 3 == HELD)
}

/// The block and generation that a place says is about to be held, or left: it may count as held.
pub(super) fn unsettled(word: u64) -> Option<(u32, u32)> {
    named(word).filter(|_| word & 3 != HELD)
}

/// The block and generation of which a place says anything.
pub(super) fn named(word: u64) -> Option<(u32, u32)> {
    (word & 3 != 0).then_some(((word >> 32) as u32, (word as u32) >> 2))
}

impl Geometry {
    /// The bytes of a process's registry.
    pub(super) fn registry_len(&self) -> usize {
        (self.registry * 8) as usize
    }
}

#[cfg(all(test, loom))]
mod model;
