//! The calling thread among all threads of the process tree, as the lock words name it.

use crate::error::Error;
use crate::heap::tree;
#[cfg(not(loom))]
use crate::sync::algorithm::word::MAX_SLOTS;
use crate::sync::algorithm::word::{Caller, MAX_THREAD, Owner};
use crate::sys::fork::{set_thread_tag, thread_stamp, thread_tag};
use crate::sys::thread_end::at_thread_end;
use parking_lot::Mutex;
use std::collections::VecDeque;

#[cfg(not(loom))]
const _: () = assert!(crate::heap::geometry::MOST_PROCESSES as usize == MAX_SLOTS);

/// Takes part in the synchronisation of the tree: the calling thread, and the process table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThisThread {
    me: Owner,
}

impl ThisThread {
    /// The calling thread.
    ///
    /// # Errors
    ///
    /// This process has no shared memory, or was forked from one that has.
    #[inline]
    pub(crate) fn new() -> Result<ThisThread, Error> {
        ThisThread::known().map_or_else(ThisThread::first, Ok)
    }

    /// The calling thread, if it has taken part before in this very process.
    #[inline]
    pub(crate) fn known() -> Option<ThisThread> {
        Owner::from_bits(thread_tag()).map(|me| ThisThread { me })
    }

    #[cold]
    fn first() -> Result<ThisThread, Error> {
        // Refuses in a fork, whose threads must not pass for those of the process that it was forked from.
        let own = tree::own()?;
        let slot = u16::try_from(own.index + 1).unwrap_or(u16::MAX);
        let (number, stamp) = Numbers::take();
        at_thread_end(Numbers::give_back, number.into());
        let me = Owner::new(slot, own.generation as u8, number);
        set_thread_tag(me.bits(), stamp);
        Ok(ThisThread { me })
    }

    /// Whether the number of the thread is surely its alone, see [`LAST`].
    pub(crate) fn is_unique(self) -> bool {
        self.me.thread() < LAST
    }
}

impl Caller for ThisThread {
    #[inline]
    fn me(&self) -> Owner {
        self.me
    }

    #[inline]
    fn stamp(&self) -> u32 {
        thread_stamp()
    }

    #[inline]
    fn is_dead(&self, slot: u16) -> bool {
        tree::is_dead(u32::from(slot).wrapping_sub(1), None)
    }

    fn has_died(&self, owner: Owner) -> bool {
        tree::is_dead(u32::from(owner.slot()).wrapping_sub(1), Some(owner.generation()))
    }
}

/// The process id of an owner, for people.
pub(crate) fn pid_of(owner: Owner) -> u64 {
    tree::pid_of(u32::from(owner.slot()).wrapping_sub(1))
}

/// The numbers of threads in this process, from 1. One is free for another thread when its own has ended, after the last code
/// of the user's that runs in it.
///
/// Who has the number of a thread that ended while it held a lock is taken for the holder by the lock word. So it is told that
/// it would deadlock, instead of waiting for ever; but it can do nothing with the lock, since a guard stays on its thread, and a
/// recursive lock looks at the stamp as well.
struct Numbers {
    /// Those that came back, to be given away again in that order: so each rests as long as possible.
    free: VecDeque<u16>,
    /// How many were ever given away.
    used: u16,
    /// The stamp that was given to a thread last; it begins anew after 2^32 threads.
    stamp: u32,
}

/// The last number. Beyond that many threads at a time all others share it: they lock each other out all the same, but one
/// that waits for a lock that another of them holds is told that it would deadlock. None of them can take a recursive lock
/// twice.
const LAST: u16 = MAX_THREAD;

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { free: VecDeque::new(), used: 0, stamp: 0 });

impl Numbers {
    /// A number and a stamp for the calling thread.
    fn take() -> (u16, u32) {
        let mut numbers = NUMBERS.lock();
        numbers.stamp = numbers.stamp.wrapping_add(1);
        let number = numbers.free.pop_front().unwrap_or_else(|| {
            numbers.used = (numbers.used + 1).min(LAST);
            numbers.used
        });
        (number, numbers.stamp)
    }

    /// The calling thread has ended.
    fn give_back(number: u32) {
        // Should anything of it run after this, it is another thread for the locks.
        set_thread_tag(0, 0);
        let number = number as u16;
        // In a fork another thread of the original may have had the list locked, for ever.
        if number != LAST && tree::own().is_ok() {
            NUMBERS.lock().free.push_back(number);
        }
    }
}
