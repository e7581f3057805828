//! The lock word: one `u32` in shared memory that says who holds the lock, so that a holder that was killed is noticed;
//! and beside it another one on which waiters sleep.
//!
//! | bits of the first | meaning |
//! |---|---|
//! | 31 | poison: a holder died, and nobody has declared the data sound since |
//! | 23 to 30 | how many processes had the slot before, modulo 256 |
//! | 13 to 22 | the holder's process: its slot in the process table, from 1 |
//! | 0 to 12 | the holder's thread, from 1; 0 = acquired raw, anybody may release it |
//!
//! The second is 1 if somebody may sleep on it, and 0 otherwise.
//!
//! Taking it costs one compare-exchange. Nobody but a living holder changes the first word, so what is held through a
//! guard is given back by a plain store: that is half of the price. A waiter spins for a while, then sleeps in slices of 25
//! to 50 ms; after every wake-up and every slice it runs the whole loop again:
//!
//! - free: it takes the word, and sets the mark again if it slept, since others may sleep on;
//! - held by a process that has died: it takes over, by one compare-exchange of exactly the dead holder's word;
//! - held: it sets the mark, looks whether the word has changed meanwhile, and sleeps as long as the mark stands.
//!
//! Whoever gives the word back and then sees the mark takes it away, and wakes one.
//!
//! So whatever dies, and wherever: a wake-up that went to a waiter just killed costs the next one a slice, and a holder
//! that was killed does as well. New arrivals may overtake those who sleep; that is what makes the lock fast.
//!
//! ## Memory ordering
//!
//! All is published by the first word: taking it is Acquire, giving it back Release, so the next holder sees what the
//! last one wrote (`// SYNC: lock word`). Setting poison and mark orders nothing. Taking over from a dead holder reads a
//! word that the dead one did *not* release; what orders its writes is the look at its death (`// SYNC: death`): the kernel
//! says that a process has ended after the last instruction of its last thread.
//!
//! Who gives the word back stores the first word and then looks at the second; who is about to sleep sets the second and
//! then looks at the first. One of them must see the other (`// SYNC: lock asleep`). The fence between the two steps is
//! asymmetric: light for the holder, and heavy for the waiter (`sys/fence.rs`). Where the kernel refuses it to a waiter
//! alone, it may be missed, very rarely, and therefore sleeps in slices of 1 to 2 ms.

use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::cpu::spinning_can_pay;
use crate::sys::fence;
use crate::sys::futex::{self, Slices};
use crate::sys::time::Deadline;
use Ordering::{Acquire, Relaxed, Release};
use std::fmt;

/// The most processes of a tree that take part at the same time: slots are 1 to `MAX_SLOTS`.
///
/// A table of one `u32` for each, with a head of 256 bytes, fills a page.
pub(crate) const MAX_SLOTS: usize = if cfg!(loom) { 3 } else { 960 };

const POISON: u32 = 1 << 31;
const OWNER: u32 = POISON - 1;
const SLOT_SHIFT: u32 = 13;
const GENERATION_SHIFT: u32 = 23;

/// The highest number of a thread.
pub(crate) const MAX_THREAD: u16 = (1 << SLOT_SHIFT) - 1;

const SLOT: u32 = (1 << (GENERATION_SHIFT - SLOT_SHIFT)) - 1;
const _: () = assert!(MAX_SLOTS <= SLOT as usize);

/// In the second word: somebody may sleep.
const ASLEEP: u32 = 1;

/// Looks at the word before a waiter sleeps. With the pauses between them that is 20 to 50 us, about what a sleep and a
/// wake-up cost.
const SPINS: u32 = if cfg!(loom) { 0 } else { 40 };

/// The longest pause between two looks, in spin-loop hints.
const LONGEST_PAUSE: u32 = 32;

/// A thread of a process of the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u32);

/// No thread at all.
const NOBODY: Owner = Owner(0);

impl Owner {
    /// # Panics
    ///
    /// Panics when there is no such slot or thread.
    pub(crate) fn new(slot: u16, generation: u8, thread: u16) -> Owner {
        assert!((1..=MAX_SLOTS).contains(&slot.into()), "no such process slot");
        assert!(thread <= MAX_THREAD, "no such thread");
        Owner(u32::from(generation) << GENERATION_SHIFT | u32::from(slot) << SLOT_SHIFT | u32::from(thread))
    }

    /// The slot of its process.
    #[inline]
    pub(crate) fn slot(self) -> u16 {
        (self.0 >> SLOT_SHIFT & SLOT) as u16
    }

    /// How many processes had the slot before, modulo 256.
    pub(crate) fn generation(self) -> u8 {
        (self.0 >> GENERATION_SHIFT) as u8
    }

    /// Its number in its process; 0 = some thread.
    #[inline]
    pub(crate) fn thread(self) -> u16 {
        self.0 as u16 & MAX_THREAD
    }

    /// Some thread of the same process.
    #[inline]
    fn raw(self) -> Owner {
        Owner(self.0 & !u32::from(MAX_THREAD))
    }

    /// Whether it is some thread of the same process.
    pub(crate) fn is_raw_of(self, other: Owner) -> bool {
        self == other.raw()
    }

    /// As a word that is never 0; for other tables of this folder.
    #[inline]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// From [`Owner::bits`]; `None` = nobody.
    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Option<Owner> {
        Some(Owner(bits & OWNER)).filter(|owner| owner.slot() != 0)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({}.{}/{})", self.slot(), self.generation(), self.thread())
    }
}

/// The calling thread, and whom it knows to be dead: in production by the process table.
///
/// Before the slot of a dead process is given to another, everything that it can have held must be reclaimed (the methods of
/// that name). A thread that has just found the holder of a lock dead may be about to take over from it; the generation in
/// the word keeps it from taking the lock of who has the slot next.
pub(crate) trait Caller: Copy {
    /// The calling thread; its number is not 0.
    fn me(&self) -> Owner;

    /// Tells the calling thread from all others of its process, also from those that had its number before.
    fn stamp(&self) -> u32;

    /// Whether the process that has this slot is dead, with all its threads: whoever is told so sees all that they have done.
    /// The number was read from shared memory, so it may be any; a slot that does not exist counts as dead.
    fn is_dead(&self, slot: u16) -> bool;

    /// Whether that very process is dead: it is, too, if the slot is another one's by now.
    fn has_died(&self, owner: Owner) -> bool;
}

/// How an attempt to take something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is the caller's.
    Acquired,
    /// It is the caller's; but a holder died, now or earlier, and nobody has cleared the poison since.
    AcquiredPoisoned,
    /// The calling thread holds it itself and would wait for ever.
    WouldDeadlock,
    /// The deadline has passed.
    TimedOut,
    /// Somebody holds it, and the caller did not want to wait.
    Busy,
}

impl Outcome {
    /// Whether the caller has it now.
    pub(crate) fn is_acquired(self) -> bool {
        matches!(self, Outcome::Acquired | Outcome::AcquiredPoisoned)
    }
}

/// Why something could not be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotReleased {
    /// Nobody holds it.
    Free,
    /// It is held, but not by the caller, or it is held through a guard and was to be released raw.
    NotYours,
}

/// The lock word. All zero is a free lock.
#[repr(C)]
pub(crate) struct Word {
    holder: AtomicU32,
    asleep: AtomicU32,
}

impl Word {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> Word {
        fence::take_part();
        Word { holder: AtomicU32::new(0), asleep: AtomicU32::new(0) }
    }

    /// Takes the lock for the calling thread, which alone can give it back.
    #[inline]
    pub(crate) fn lock(&self, caller: &impl Caller) -> Outcome {
        self.lock_until(caller, Deadline::NEVER)
    }

    /// Like [`Word::lock`], with a deadline. The holder itself gets [`Outcome::WouldDeadlock`] at once.
    #[inline]
    pub(crate) fn lock_until(&self, caller: &impl Caller, deadline: Deadline) -> Outcome {
        let me = caller.me();
        if self.enter(0, me) {
            return Outcome::Acquired;
        }
        self.take(me, me, caller, deadline)
    }

    /// Like [`Word::lock_until`], for a thread that never asks for what it holds: if the word seems to be its own, it is that
    /// of another thread of its process that has the same number, and it waits.
    /// The deadline is only asked for if it has to wait.
    #[inline]
    pub(crate) fn open_until(&self, caller: &impl Caller, deadline: impl FnOnce() -> Deadline) -> Outcome {
        let me = caller.me();
        if self.enter(0, me) {
            return Outcome::Acquired;
        }
        self.take(NOBODY, me, caller, deadline())
    }

    /// Like [`Word::lock`], without waiting.
    #[inline]
    pub(crate) fn try_lock(&self, caller: &impl Caller) -> Outcome {
        let me = caller.me();
        if self.enter(0, me) {
            return Outcome::Acquired;
        }
        self.try_take(me, caller)
    }

    /// Takes the lock for everybody: any thread of any process may release it. It is held until somebody does, or until
    /// the process that acquired it dies.
    #[inline]
    pub(crate) fn acquire_until(&self, caller: &impl Caller, deadline: Deadline) -> Outcome {
        let me = caller.me();
        if self.enter(0, me.raw()) {
            return Outcome::Acquired;
        }
        self.take(me, me.raw(), caller, deadline)
    }

    /// Like [`Word::acquire_until`], without waiting.
    pub(crate) fn try_acquire(&self, caller: &impl Caller) -> Outcome {
        self.try_take(caller.me().raw(), caller)
    }

    /// Takes the word for `owner` if it still is what it was when it was seen `free`; poison stays.
    #[inline]
    fn enter(&self, free: u32, owner: Owner) -> bool {
        // SYNC: lock word
        let entered = self.holder.compare_exchange(free, free | owner.0, Acquire, Relaxed).is_ok();
        if entered {
            kill::point();
        }
        entered
    }

    /// The whole acquire loop, for a thread `me` that enters itself as `owner`.
    #[cold]
    fn take(&self, me: Owner, owner: Owner, caller: &impl Caller, deadline: Deadline) -> Outcome {
        let mut slices = Slices::new(deadline);
        let mut spin = Spin::new();
        // Its last wake-up may have been meant for one of several.
        let mut slept = false;
        loop {
            let word = self.holder.load(Relaxed);
            if word & OWNER == 0 {
                // Before it takes the word: what is held raw may be given back by others at once.
                if std::mem::take(&mut slept) {
                    self.mark();
                    kill::point();
                }
                if self.enter(word, owner) {
                    return acquired(word);
                }
                continue;
            }
            if word & OWNER == me.0 {
                // The caller holds it itself, and would wait for ever.
                return Outcome::WouldDeadlock;
            }
            if self.asleep.load(Relaxed) == 0 && spin.once() {
                continue;
            }
            if dead_holder(word, caller) {
                if self.take_over(word, owner) {
                    return Outcome::AcquiredPoisoned;
                }
                continue;
            }
            // SYNC: lock asleep
            self.mark();
            kill::point();
            if !fence::heavy() {
                slices.shorten();
            }
            if self.holder.load(Relaxed) != word {
                continue;
            }
            if !slices.sleep(&self.asleep, ASLEEP) {
                return Outcome::TimedOut;
            }
            slept = true;
        }
    }

    #[cold]
    fn try_take(&self, owner: Owner, caller: &impl Caller) -> Outcome {
        loop {
            let word = self.holder.load(Relaxed);
            if word & OWNER == 0 {
                if self.enter(word, owner) {
                    return acquired(word);
                }
            } else if !dead_holder(word, caller) {
                return Outcome::Busy;
            } else if self.take_over(word, owner) {
                return Outcome::AcquiredPoisoned;
            }
        }
    }

    /// From a dead holder, whose exact word is `dead`; whether this caller is the one who did.
    fn take_over(&self, dead: u32, owner: Owner) -> bool {
        // Who was woken last, and was to wake the next, may have been the one that died.
        self.mark();
        // SYNC: lock word
        let taken = self.holder.compare_exchange(dead, owner.0 | POISON, Acquire, Relaxed).is_ok();
        kill::point();
        taken
    }

    /// Gives the lock back that the thread `me` holds through a guard.
    #[inline]
    pub(crate) fn unlock(&self, me: Owner) -> Result<(), NotReleased> {
        let word = self.holder.load(Relaxed);
        if word & OWNER != me.0 {
            return Err(if word & OWNER == 0 { NotReleased::Free } else { NotReleased::NotYours });
        }
        // SYNC: lock word
        self.holder.store(word & POISON, Release);
        kill::point();
        self.call();
        Ok(())
    }

    /// Gives the lock back that somebody has acquired raw.
    pub(crate) fn release(&self) -> Result<(), NotReleased> {
        loop {
            let word = self.holder.load(Relaxed);
            let Some(owner) = Owner::from_bits(word) else { return Err(NotReleased::Free) };
            if owner.thread() != 0 {
                return Err(NotReleased::NotYours);
            }
            // Several may try at the same time. SYNC: lock word
            if self.holder.compare_exchange(word, word & POISON, Release, Relaxed).is_ok() {
                kill::point();
                self.call();
                return Ok(());
            }
        }
    }

    /// Wakes one of those who sleep, if somebody does. The word was given back just before.
    #[inline]
    fn call(&self) {
        // SYNC: lock asleep
        fence::light();
        if self.asleep.load(Relaxed) != 0 {
            self.wake_one();
        }
    }

    /// Notes that somebody may sleep. An exchange, so that all changes of the mark are in one order: with a store, models of
    /// what is built on this word find sleepers whom nobody wakes.
    fn mark(&self) {
        self.asleep.swap(ASLEEP, Relaxed);
    }

    #[cold]
    fn wake_one(&self) {
        // Otherwise somebody else has woken one meanwhile, who wakes the next.
        if self.asleep.swap(0, Relaxed) != 0 {
            kill::point();
            futex::wake(&self.asleep, 1);
        }
    }

    /// Frees the lock from a process that has died; for whoever clears up after it, before its slot has a new owner.
    pub(crate) fn reclaim(&self, slot: u16) {
        loop {
            // SYNC: lock word
            let word = self.holder.load(Acquire);
            if Owner::from_bits(word).is_none_or(|owner| owner.slot() != slot) {
                return;
            }
            // What the dead one has written, as the process that reclaims its slot sees it since the look at its death.
            // SYNC: lock word
            if self.holder.compare_exchange(word, POISON, Release, Relaxed).is_ok() {
                return self.call();
            }
        }
    }

    /// Declares the data sound again; only the thread `me` that holds the lock through a guard can.
    pub(crate) fn clear_poison(&self, me: Owner) -> Result<(), NotReleased> {
        match self.owner() {
            Some(owner) if owner == me => {
                self.holder.fetch_and(!POISON, Relaxed);
                Ok(())
            }
            Some(_) => Err(NotReleased::NotYours),
            None => Err(NotReleased::Free),
        }
    }

    /// Whether a holder died and nobody has cleared the poison since.
    pub(crate) fn poisoned(&self) -> bool {
        self.holder.load(Relaxed) & POISON != 0
    }

    /// Whether somebody holds it.
    pub(crate) fn locked(&self) -> bool {
        self.owner().is_some()
    }

    /// Who holds it.
    pub(crate) fn owner(&self) -> Option<Owner> {
        Owner::from_bits(self.holder.load(Relaxed))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word").field("owner", &self.owner()).field("poisoned", &self.poisoned()).finish()
    }
}

fn acquired(before: u32) -> Outcome {
    if before & POISON == 0 { Outcome::Acquired } else { Outcome::AcquiredPoisoned }
}

fn dead_holder(word: u32, caller: &impl Caller) -> bool {
    // SYNC: death
    Owner::from_bits(word).is_some_and(|owner| caller.has_died(owner))
}

/// Looking again and again for a short time, with growing pauses.
pub(crate) struct Spin {
    left: u32,
    pause: u32,
}

impl Spin {
    pub(crate) fn new() -> Spin {
        Spin { left: if spinning_can_pay() { SPINS } else { 0 }, pause: 1 }
    }

    /// Whether it is time to sleep.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// A short pause; false = enough, sleep now.
    #[inline]
    pub(crate) fn once(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        for _ in 0..self.pause {
            std::hint::spin_loop();
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Points at which tests kill the calling thread, so to say; nothing at all in a real build.
#[cfg(not(all(test, not(loom))))]
pub(crate) mod kill {
    #[inline(always)]
    pub(crate) fn point() {}
}
#[cfg(all(test, not(loom)))]
pub(crate) use crate::sync::algorithm::testing::kill;

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
