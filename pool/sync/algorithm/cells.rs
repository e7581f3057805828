//! A few numbers in shared memory that change together or not at all, whoever is killed, and wherever.
//!
//! The primitives whose state does not fit into one word keep it in [`Cells`]: numbers behind a lock word. Who wants to
//! look or change opens them, collects its changes in a log beside the numbers, and commits. A commit of several changes
//! says how many there are in the log, applies them, and takes the log away. Whoever takes the lock from a killed holder
//! applies what the log says: either it is complete, and all changes are made, or nothing has changed. No user code ever
//! runs while cells are open, so they are open for some tens of nanoseconds.
//!
//! To wait for a change, a thread notes in a [`Line`] that somebody waits, closes the cells, and sleeps on a number that
//! moves with each wake-up. The mark in a line works as the one in the lock word does: who wakes others takes it away,
//! and who has slept sets it again, since others may sleep on. All sleeps are in slices, so a wake-up that went to
//! somebody just killed costs the others a slice.
//!
//! ## Memory ordering
//!
//! All is read and written under the lock word, whose Acquire and Release order it. Every store to the log, to its length
//! and to the numbers is Release, so that none is made before the ones in front of it (`// SYNC: cells log`): a process that
//! is killed has made some first part of them. Who takes over sees that part, since its look at the death was Acquire
//! (`// SYNC: death`).

use crate::sync::algorithm::word::{Caller, NotReleased, Outcome, Owner, Word, kill};
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::futex;
use crate::sys::time::Deadline;
use Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

/// The most changes of one commit.
const LOG: usize = 8;

/// How long cells may stay open before their holder is taken for stopped. They are open for some tens of nanoseconds, and
/// a holder that has lost its CPU meanwhile gets it back within milliseconds.
const GRACE: Duration = Duration::from_millis(20);

/// Until when somebody waits for open cells who waits for something until a deadline, or does not want to wait. One that has
/// passed is no reason to give up as long as nobody was stopped, so it is kept to within [`GRACE`].
pub(crate) fn with_grace(deadline: Option<Deadline>) -> Deadline {
    // In models nobody is stopped, and no time passes.
    if cfg!(loom) {
        return Deadline::NEVER;
    }
    let grace = Deadline::after(GRACE);
    deadline.map_or(grace, |deadline| deadline.later(grace))
}

/// Rounds up to an even number, as [`Cells`] must have.
pub(crate) const fn even(count: usize) -> usize {
    count + count % 2
}

/// `N` numbers and what keeps them together. All zero is valid.
#[repr(C)]
pub(crate) struct Cells<const N: usize> {
    word: Word,
    /// How many entries of the log are to be applied, whoever opens the cells next; 0 = the log says nothing.
    pending: AtomicU32,
    _room: AtomicU32,
    /// Which number (above) becomes what (below). The holder alone reads and writes it, and believes none of it that
    /// another process could have written over: an entry for a number that does not exist is passed over.
    log: [AtomicU64; LOG],
    numbers: [AtomicU32; N],
}

/// Where a line is kept: the mark that somebody may sleep, and the number that moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) mark: usize,
    pub(crate) turn: usize,
}

impl<const N: usize> Cells<N> {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> Cells<N> {
        Cells {
            word: Word::new(),
            pending: AtomicU32::new(0),
            _room: AtomicU32::new(0),
            log: std::array::from_fn(|_| AtomicU64::new(0)),
            numbers: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// Sets a number before the cells are shared.
    pub(crate) fn init(&self, at: usize, value: u32) {
        self.numbers[at].store(value, Relaxed);
    }

    /// A number as it is at the moment, without opening the cells.
    #[inline]
    pub(crate) fn peek(&self, at: usize) -> u32 {
        // SYNC: cells number
        self.numbers[at].load(Acquire)
    }

    /// A number as a word to sleep on, or to change alone.
    pub(crate) fn number(&self, at: usize) -> &AtomicU32 {
        &self.numbers[at]
    }

    /// Wakes up to `count` of those who sleep in a line.
    pub(crate) fn wake(&self, line: Line, count: u32) {
        kill::point();
        futex::wake(&self.numbers[line.turn], count);
    }

    /// Opens the cells for the calling thread alone, which does not have them open.
    #[inline]
    pub(crate) fn open(&self, caller: &impl Caller) -> Open<'_, N> {
        loop {
            if let Some(open) = self.open_until(caller, || Deadline::NEVER) {
                return open;
            }
        }
    }

    /// Opens the cells for the calling thread alone, which does not have them open; `None` = somebody else had them open until
    /// the deadline, see [`with_grace`]. The deadline is only asked for if somebody else has them open.
    #[inline]
    pub(crate) fn open_until(&self, caller: &impl Caller, deadline: impl FnOnce() -> Deadline) -> Option<Open<'_, N>> {
        const { assert!(N % 2 == 0, "an odd number of cells would need padding") }
        let me = caller.me();
        match self.word.open_until(caller, deadline) {
            Outcome::Acquired => {}
            Outcome::AcquiredPoisoned => self.recover(me),
            // There is nothing else that it says.
            Outcome::TimedOut | Outcome::WouldDeadlock | Outcome::Busy => return None,
        }
        kill::point();
        Some(Open { cells: self, me, count: 0 })
    }

    /// Completes what a dead holder has begun.
    #[cold]
    fn recover(&self, me: Owner) {
        // SYNC: cells log
        let count = self.pending.load(Acquire) as usize;
        for (number, value) in self.logged(count) {
            number.store(value, Release);
            kill::point();
        }
        self.pending.store(0, Release);
        self.word.clear_poison(me).expect("the cells are open");
    }

    /// The first entries of the log: which number becomes what.
    #[inline]
    fn logged(&self, count: usize) -> impl Iterator<Item = (&AtomicU32, u32)> {
        self.log.iter().take(count).filter_map(|entry| {
            let entry = entry.load(Relaxed);
            Some((self.numbers.get((entry >> 32) as usize)?, entry as u32))
        })
    }

    #[inline]
    fn apply(&self, count: usize) {
        self.apply_while(count, || {
            kill::point();
            true
        });
    }

    /// Makes the first changes of the log, as long as `goes_on` says so, which is asked between all steps. Only in models it
    /// ever does not.
    #[inline]
    fn apply_while(&self, count: usize, mut goes_on: impl FnMut() -> bool) {
        if count == 1 {
            // One store needs no log.
            // SYNC: cells number
            return self.logged(1).for_each(|(number, value)| number.store(value, Release));
        }
        if !goes_on() {
            return;
        }
        // SYNC: cells log
        self.pending.store(count as u32, Release);
        for (number, value) in self.logged(count) {
            if !goes_on() {
                return;
            }
            number.store(value, Release);
        }
        if goes_on() {
            // SYNC: cells log
            self.pending.store(0, Release);
        }
    }

    /// For models, which cannot kill: a holder that stops for ever after so many steps of its commit.
    #[cfg(all(test, loom))]
    pub(crate) fn die_in_commit(open: Open<'_, N>, steps: u32) {
        let (cells, count) = (open.cells, open.count);
        std::mem::forget(open);
        let mut done = 0;
        cells.apply_while(count, || {
            done += 1;
            done <= steps
        });
    }
}

/// Open cells: what the calling thread sees and wants to change.
#[must_use = "if unused the cells are closed at once"]
pub(crate) struct Open<'a, const N: usize> {
    cells: &'a Cells<N>,
    me: Owner,
    /// How many changes stand in the log.
    count: usize,
}

impl<const N: usize> Open<'_, N> {
    /// The entry of the log that changes a number, and what it becomes.
    #[inline]
    fn change(&self, at: usize) -> Option<(&AtomicU64, u32)> {
        self.cells.log.iter().take(self.count).find_map(|entry| {
            let word = entry.load(Relaxed);
            (word >> 32 == at as u64).then_some((entry, word as u32))
        })
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> u32 {
        self.change(at).map_or_else(|| self.cells.numbers[at].load(Relaxed), |(_, value)| value)
    }

    /// Changes a number with the next commit.
    ///
    /// # Panics
    ///
    /// Panics when that are too many changes.
    #[inline]
    pub(crate) fn set(&mut self, at: usize, value: u32) {
        let entry = (at as u64) << 32 | u64::from(value);
        if let Some((logged, _)) = self.change(at) {
            // SYNC: cells log
            logged.store(entry, Release);
        } else if self.cells.numbers[at].load(Relaxed) != value {
            // Release, as the log may have been applied and taken away just before. SYNC: cells log
            self.cells.log[self.count].store(entry, Release);
            self.count += 1;
        }
    }

    /// Changes a number by a difference.
    #[inline]
    pub(crate) fn add(&mut self, at: usize, difference: i32) {
        self.set(at, self.get(at).wrapping_add_signed(difference));
    }

    /// Changes a number at once, by itself.
    pub(crate) fn put(&mut self, at: usize, value: u32) {
        debug_assert!(self.count == 0, "the changes collected so far come first");
        // SYNC: cells number
        self.cells.numbers[at].store(value, Release);
        kill::point();
    }

    /// Changes a number at once, by itself, if it is what it was seen to be; whether it was.
    pub(crate) fn exchange(&mut self, at: usize, seen: u32, value: u32) -> bool {
        debug_assert!(self.count == 0, "the changes collected so far come first");
        // SYNC: cells number
        let changed = self.cells.numbers[at].compare_exchange(seen, value, Release, Relaxed).is_ok();
        kill::point();
        changed
    }

    /// Makes the changes, all or none, and keeps the cells open.
    #[inline]
    pub(crate) fn flush(&mut self) {
        if self.count > 0 {
            self.cells.apply(self.count);
            self.count = 0;
            kill::point();
        }
    }

    /// Makes the changes, all or none, and closes the cells.
    #[inline]
    pub(crate) fn commit(mut self) {
        self.flush();
    }

    /// Notes that the calling thread is about to sleep in this line, as long as the number has the value returned.
    pub(crate) fn line_up(&mut self, line: Line) -> u32 {
        self.set(line.mark, 1);
        self.get(line.turn)
    }

    /// Notes that the calling thread has slept in this line: others may sleep on.
    pub(crate) fn woken(&mut self, line: Line) {
        self.set(line.mark, 1);
    }

    /// Calls those who sleep in this line, if there are any: then [`Cells::wake`] is due after the commit.
    #[must_use = "whoever sleeps must be woken"]
    #[inline]
    pub(crate) fn call(&mut self, line: Line) -> bool {
        let somebody = self.get(line.mark) != 0;
        if somebody {
            self.set(line.mark, 0);
            self.add(line.turn, 1);
        }
        somebody
    }
}

impl<const N: usize> Drop for Open<'_, N> {
    #[inline]
    fn drop(&mut self) {
        let closed: Result<(), NotReleased> = self.cells.word.unlock(self.me);
        debug_assert_eq!(closed, Ok(()));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::algorithm::testing::{Crowd, kill};
    use std::time::{Duration, Instant};

    #[test]
    fn changes_are_seen_at_once_by_their_author_and_by_others_after_the_commit() {
        let crowd = Crowd::new();
        let cells: Cells<4> = Cells::new();
        let party = crowd.party(1, 1);
        let mut open = cells.open(&party);
        open.set(0, 7);
        open.add(0, -2);
        open.set(3, 9);
        assert_eq!((open.get(0), open.get(3), cells.peek(0)), (5, 9, 0));
        open.commit();
        assert_eq!((cells.peek(0), cells.peek(3)), (5, 9));
        let mut open = cells.open(&party);
        open.set(0, 1);
        drop(open);
        assert_eq!(cells.peek(0), 5);
    }

    #[test]
    fn killed_at_every_step_all_changes_are_made_or_none() {
        let steps = kill::at_every_step(Cells::<4>::new, |crowd, cells, victim| {
            let killed = victim
                .run(|party| {
                    let mut open = cells.open(party);
                    (0..4).for_each(|at| open.set(at, 5));
                    open.commit();
                })
                .wait();
            let start = Instant::now();
            let open = cells.open(&crowd.party(2, 1));
            let seen: Vec<u32> = (0..4).map(|at| open.get(at)).collect();
            assert!(seen == [0; 4] || seen == [5; 4], "{seen:?}");
            drop(open);
            assert!(start.elapsed() < Duration::from_secs(9));
            killed
        });
        assert!(steps >= 8, "{steps}");
    }

    /// Also those that share a number, since there are more threads than numbers.
    #[test]
    fn many_threads_move_numbers_and_lose_none() {
        for slots in [[1, 2, 3, 4], [1, 1, 1, 1]] {
            let crowd = Crowd::new();
            let cells: Cells<4> = Cells::new();
            cells.init(0, 1000);
            std::thread::scope(|scope| {
                for (index, slot) in slots.into_iter().enumerate() {
                    let (party, cells) = (crowd.party(slot, 1), &cells);
                    scope.spawn(move || {
                        for round in 0..5000 {
                            let mut open = cells.open(&party);
                            let (from, to) = (round % 4, (round + index + 1) % 4);
                            if open.get(from) > 0 {
                                open.add(from, -1);
                                open.add(to, 1);
                            }
                            open.commit();
                        }
                    });
                }
            });
            assert_eq!((0..4).map(|at| cells.peek(at)).sum::<u32>(), 1000);
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sync::algorithm::testing::{Crowd, check};
    use crate::sys::futex::end_slices;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn who_sees_a_number_sees_what_came_before_it() {
        check(2, || {
            let shared = Arc::new((Crowd::new(), Cells::<2>::new(), AtomicU32::new(0)));
            let author = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.2.store(1, Relaxed);
                    shared.1.open(&shared.0.party(1, 1)).put(0, 1);
                })
            };
            if shared.1.peek(0) == 1 {
                assert_eq!(shared.2.load(Relaxed), 1);
            }
            author.join().unwrap();
        });
    }

    /// The victim dies at each step of its commit in turn; two others come along.
    #[test]
    fn all_changes_of_a_victim_are_made_or_none() {
        for steps in 0..=4 {
            check(2, move || {
                let shared = Arc::new((Crowd::new(), Cells::<2>::new()));
                let looks = [2, 3].map(|slot| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        let mut open = shared.1.open(&shared.0.party(slot, 1));
                        let seen = [open.get(0), open.get(1)];
                        open.add(0, 10);
                        open.add(1, 10);
                        open.commit();
                        seen
                    })
                });
                let mut open = shared.1.open(&shared.0.party(1, 1));
                open.add(0, 1);
                open.add(1, 1);
                Cells::die_in_commit(open, steps);
                shared.0.kill(1);
                end_slices();
                for look in looks {
                    let seen = look.join().unwrap();
                    assert_eq!(seen[0], seen[1]);
                }
                let open = shared.1.open(&shared.0.party(2, 1));
                assert_eq!([open.get(0), open.get(1)], [if steps > 0 { 21 } else { 20 }; 2]);
            });
        }
    }
}
