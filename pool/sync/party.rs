//! The calling thread among all threads of the process tree, as the lock words name it.

use crate::error::Error;
use crate::heap::tree;
#[cfg(not(loom))]
use crate::sync::word::MAX_SLOTS;
use crate::sync::word::{Owner, Parties};
use crate::sys::fork::{fork_generation, set_thread_tag, thread_tag};
use parking_lot::Mutex;

#[cfg(not(loom))]
const _: () = assert!(crate::heap::geometry::MOST_PARTIES as usize == MAX_SLOTS);

/// Takes part in the synchronisation of the tree: the calling thread, and the process table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    me: Owner,
}

impl Here {
    /// The calling thread.
    ///
    /// # Errors
    ///
    /// This process has no shared memory, or was forked from one that has.
    #[inline]
    pub(crate) fn new() -> Result<Here, Error> {
        Here::known().map_or_else(Here::first, Ok)
    }

    /// The calling thread, if it has taken part before in this very process.
    #[inline]
    pub(crate) fn known() -> Option<Here> {
        Owner::from_bits(thread_tag()).map(|me| Here { me })
    }

    #[cold]
    fn first() -> Result<Here, Error> {
        // Refuses in a fork, whose threads must not pass for those of the process that it was forked from.
        let slot = u16::try_from(tree::own_row()? + 1).unwrap_or(u16::MAX);
        let thread = NUMBER.try_with(|it| it.number).unwrap_or(u16::MAX);
        let me = Owner::new(slot, thread);
        set_thread_tag(me.bits());
        Ok(Here { me })
    }

    /// Whether the number of the thread is surely its alone, see [`Number`].
    pub(crate) fn is_unique(self) -> bool {
        self.me.thread() < LAST
    }
}

impl Parties for Here {
    #[inline]
    fn me(&self) -> Owner {
        self.me
    }

    #[inline]
    fn is_dead(&self, slot: u16) -> bool {
        tree::is_dead(u32::from(slot).wrapping_sub(1))
    }
}

/// The process id of an owner, for people.
pub(crate) fn pid_of(owner: Owner) -> u64 {
    tree::pid_of(u32::from(owner.slot()).wrapping_sub(1))
}

/// The number of a thread in its process, from 1; free for another when the thread ends.
struct Number {
    number: u16,
    /// The process that it is a number in, as [`fork_generation`].
    generation: u32,
}

/// The last number that is given to a thread; that behind it is for threads that are ending.
const LAST: u16 = u16::MAX - 1;

static FREE: Mutex<(Vec<u16>, u16)> = Mutex::new((Vec::new(), 0));

impl Number {
    fn new() -> Number {
        let mut free = FREE.lock();
        let number = free.0.pop().unwrap_or_else(|| {
            // Beyond that many threads at a time some share the last number: they lock each other out correctly, but
            // one that waits for another of them is told that it would deadlock.
            free.1 = free.1.saturating_add(1).min(LAST);
            free.1
        });
        Number { number, generation: fork_generation() }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // In a fork another thread of the original may have had the list locked, for ever.
        if self.generation == fork_generation() {
            FREE.lock().0.push(self.number);
        }
    }
}

thread_local! {
    static NUMBER: Number = Number::new();
}
