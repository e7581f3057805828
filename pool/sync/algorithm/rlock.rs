//! A recursive lock: the thread that holds it may take it again, and gives it back as often as it took it.
//!
//! A lock word, and which thread its holder is and how deep it is in: how often through guards, and how often raw, so that a
//! raw release never takes away what a guard stands for. Only the holder changes that. Who takes the word anew, be it from a
//! dead holder, begins with a depth of 1, so what a dead one has left there does not matter.
//!
//! The word knows threads by a number, which another thread may have when its own has ended. The stamp beside the depth is that
//! of one thread alone, so nobody takes a lock once more, or gives it back, that an ended thread has left held.
//!
//! ## Memory ordering
//!
//! That of the lock word; depth and stamp are only changed under it, and believed by nobody but their author.

use crate::sync::algorithm::word::{Caller, MAX_THREAD, NotReleased, Outcome, Owner, Word, kill};
use crate::sys::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sys::time::Deadline;
use std::fmt;

/// The part of the depth that counts guards, or raw acquisitions.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Field(u32);

const GUARD: Field = Field(0);
const RAW: Field = Field(16);

/// The most of each.
const MOST: u32 = 0xffff;

impl Field {
    fn one(self) -> u32 {
        1 << self.0
    }

    fn of(self, depth: u32) -> u32 {
        depth >> self.0 & MOST
    }
}

/// The shared part. All zero is a free lock.
#[repr(C)]
pub(crate) struct RLock {
    word: Word,
    /// The depth, and above it the stamp of the holder: in one, since each store is a noticeable part of the price.
    depth: AtomicU64,
}

impl RLock {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> RLock {
        RLock { word: Word::new(), depth: AtomicU64::new(0) }
    }

    /// Takes the lock for a guard, or takes it once more.
    ///
    /// Who takes it once more is not told of poison again. More than 65535 times in a row are refused as
    /// [`Outcome::Busy`].
    #[inline]
    pub(crate) fn lock_until(&self, caller: &impl Caller, deadline: Deadline) -> Outcome {
        self.enter(self.word.lock_until(caller, deadline), caller, GUARD, deadline)
    }

    /// Like [`RLock::lock_until`], without waiting.
    pub(crate) fn try_lock(&self, caller: &impl Caller) -> Outcome {
        self.enter(self.word.try_lock(caller), caller, GUARD, Deadline::NEVER)
    }

    /// Like [`RLock::lock_until`], but raw.
    #[inline]
    pub(crate) fn acquire_until(&self, caller: &impl Caller, deadline: Deadline) -> Outcome {
        self.enter(self.word.lock_until(caller, deadline), caller, RAW, deadline)
    }

    /// Like [`RLock::acquire_until`], without waiting.
    pub(crate) fn try_acquire(&self, caller: &impl Caller) -> Outcome {
        self.enter(self.word.try_lock(caller), caller, RAW, Deadline::NEVER)
    }

    /// The calling thread has tried to take the word, or waited for it until the deadline, with this outcome.
    #[inline]
    fn enter(&self, outcome: Outcome, caller: &impl Caller, how: Field, deadline: Deadline) -> Outcome {
        if outcome == Outcome::Acquired {
            self.set_depth(caller, how.one());
            return Outcome::Acquired;
        }
        self.enter_otherwise(outcome, *caller, how, deadline)
    }

    #[inline(never)]
    fn enter_otherwise(&self, outcome: Outcome, caller: impl Caller, how: Field, deadline: Deadline) -> Outcome {
        if outcome.is_acquired() {
            self.set_depth(&caller, how.one());
            return outcome;
        }
        // The last number may be that of several threads. One that has just taken the word, and did not write its stamp yet,
        // may find that of another there.
        let shares_number = caller.me().thread() == MAX_THREAD;
        match self.depth_of(&caller) {
            Some(depth) if !shares_number => {
                if how.of(depth) == MOST {
                    return Outcome::Busy;
                }
                self.set_depth(&caller, depth + how.one());
                Outcome::Acquired
            }
            // It is held by a thread that had the number before, and has ended.
            None if outcome == Outcome::WouldDeadlock && !shares_number => {
                let outcome = self.word.open_until(&caller, || deadline);
                if outcome.is_acquired() {
                    self.set_depth(&caller, how.one());
                }
                outcome
            }
            _ => outcome,
        }
    }

    #[inline]
    fn set_depth(&self, caller: &impl Caller, depth: u32) {
        self.depth.store(stamped(caller, depth), Relaxed);
        kill::point();
    }

    /// How deep the calling thread is in, if it holds the lock.
    fn depth_of(&self, caller: &impl Caller) -> Option<u32> {
        let depth = self.depth.load(Relaxed);
        let is_held = self.word.owner() == Some(caller.me()) && depth >> 32 == u64::from(caller.stamp());
        is_held.then_some(depth as u32)
    }

    /// Whether the calling thread holds it.
    pub(crate) fn is_held_by(&self, caller: &impl Caller) -> bool {
        self.depth_of(caller).is_some()
    }

    /// Gives it back once, for a guard.
    ///
    /// # Errors
    ///
    /// The calling thread does not hold it through a guard.
    #[inline]
    pub(crate) fn unlock(&self, caller: &impl Caller) -> Result<(), NotReleased> {
        self.give_back(caller, GUARD)
    }

    /// Gives it back once, raw.
    ///
    /// # Errors
    ///
    /// The calling thread does not hold it raw.
    #[inline]
    pub(crate) fn release(&self, caller: &impl Caller) -> Result<(), NotReleased> {
        self.give_back(caller, RAW)
    }

    #[inline]
    fn give_back(&self, caller: &impl Caller, how: Field) -> Result<(), NotReleased> {
        if self.depth.load(Relaxed) == stamped(caller, how.one()) {
            // Unless it has given the lock back already, which the word knows.
            return self.word.unlock(caller.me());
        }
        self.leave(*caller, how)
    }

    #[inline(never)]
    fn leave(&self, caller: impl Caller, how: Field) -> Result<(), NotReleased> {
        let depth = self.depth_of(&caller).ok_or_else(|| self.not_released())?;
        if how.of(depth) == 0 {
            return Err(NotReleased::NotYours);
        }
        self.set_depth(&caller, depth - how.one());
        Ok(())
    }

    #[cold]
    fn not_released(&self) -> NotReleased {
        if self.word.locked() { NotReleased::NotYours } else { NotReleased::Free }
    }

    /// Gives it back as often as it was taken; how often that was.
    pub(crate) fn unlock_all(&self, caller: &impl Caller) -> Result<u32, NotReleased> {
        let depth = self.depth_of(caller).ok_or_else(|| self.not_released())?;
        self.word.unlock(caller.me()).map(|()| depth)
    }

    /// Takes it as often as it was taken before [`RLock::unlock_all`]; the calling thread does not hold it.
    pub(crate) fn lock_again(&self, caller: &impl Caller, depth: u32) -> Outcome {
        let outcome = self.word.open_until(caller, || Deadline::NEVER);
        if outcome.is_acquired() {
            self.set_depth(caller, depth);
        }
        outcome
    }

    /// See [`Word::reclaim`].
    pub(crate) fn reclaim(&self, slot: u16) {
        self.word.reclaim(slot);
    }

    /// See [`Word::clear_poison`].
    pub(crate) fn clear_poison(&self, me: Owner) -> Result<(), NotReleased> {
        self.word.clear_poison(me)
    }

    /// Who holds it, and how deep.
    pub(crate) fn owner(&self) -> Option<(Owner, u32)> {
        let depth = self.depth.load(Relaxed) as u32;
        self.word.owner().map(|owner| (owner, GUARD.of(depth) + RAW.of(depth)))
    }

    /// See [`Word::poisoned`].
    pub(crate) fn poisoned(&self) -> bool {
        self.word.poisoned()
    }
}

/// A depth with the stamp of the calling thread.
#[inline]
fn stamped(caller: &impl Caller, depth: u32) -> u64 {
    u64::from(caller.stamp()) << 32 | u64::from(depth)
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock").field("owner", &self.owner()).field("poisoned", &self.word.poisoned()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::algorithm::testing::{Crowd, kill};
    use Outcome::{Acquired, AcquiredPoisoned, Busy, TimedOut};
    use std::time::{Duration, Instant};

    #[test]
    fn as_many_releases_as_acquisitions() {
        let crowd = Crowd::new();
        let lock = RLock::new();
        let (a, same_process, b) = (crowd.party(1, 1), crowd.party(1, 2), crowd.party(2, 1));
        assert_eq!(lock.unlock(&a), Err(NotReleased::Free));
        for depth in 1..=3 {
            let taken = if depth == 2 { lock.try_lock(&a) } else { lock.lock_until(&a, Deadline::NEVER) };
            assert_eq!((taken, lock.owner()), (Acquired, Some((a.me(), depth))));
        }
        for other in [same_process, b] {
            assert_eq!(lock.try_lock(&other), Busy);
            assert_eq!(lock.lock_until(&other, Deadline::after(Duration::from_millis(5))), TimedOut);
            assert_eq!(lock.unlock(&other), Err(NotReleased::NotYours));
        }
        for _ in 0..3 {
            assert_eq!(lock.try_lock(&b), Busy);
            assert_eq!(lock.unlock(&a), Ok(()));
        }
        assert_eq!(lock.unlock(&a), Err(NotReleased::Free));
        assert_eq!(lock.try_lock(&b), Acquired);
    }

    #[test]
    fn guards_and_raw_acquisitions_are_counted_apart() {
        let crowd = Crowd::new();
        let lock = RLock::new();
        let a = crowd.party(1, 1);
        assert_eq!((lock.lock_until(&a, Deadline::NEVER), lock.try_acquire(&a)), (Acquired, Acquired));
        assert_eq!(lock.owner(), Some((a.me(), 2)));
        assert_eq!((lock.release(&a), lock.release(&a)), (Ok(()), Err(NotReleased::NotYours)));
        assert_eq!((lock.acquire_until(&a, Deadline::NEVER), lock.unlock(&a)), (Acquired, Ok(())));
        assert_eq!((lock.unlock(&a), lock.release(&a)), (Err(NotReleased::NotYours), Ok(())));
        assert_eq!(lock.release(&a), Err(NotReleased::Free));
        for _ in 0..MOST {
            assert_eq!(lock.try_lock(&a), Acquired);
        }
        assert_eq!((lock.try_lock(&a), lock.try_acquire(&a)), (Busy, Acquired));
    }

    #[test]
    fn threads_that_share_the_last_number_lock_each_other_out() {
        let crowd = Crowd::new();
        let lock = RLock::new();
        let one = crowd.party(1, MAX_THREAD);
        let another = one.namesake();
        assert_eq!(lock.lock_until(&one, Deadline::NEVER), Acquired);
        assert_eq!((lock.try_lock(&another), lock.try_acquire(&another)), (Busy, Busy));
        assert_eq!(lock.lock_until(&another, Deadline::NEVER), Outcome::WouldDeadlock);
        assert_eq!((lock.unlock(&one), lock.try_lock(&another)), (Ok(()), Acquired));
    }

    /// They are threads of one process: the first has ended, and the other has its number.
    #[test]
    fn what_an_ended_thread_has_left_held_is_not_that_of_its_namesake() {
        let crowd = Crowd::new();
        let lock = RLock::new();
        let ended = crowd.party(1, 1);
        let namesake = ended.namesake();
        let soon = || Deadline::after(Duration::from_millis(5));
        for raw in [false, true] {
            let taken = if raw { lock.try_acquire(&ended) } else { lock.try_lock(&ended) };
            assert_eq!(taken, Acquired);
            assert_eq!((lock.try_lock(&namesake), lock.try_acquire(&namesake)), (Busy, Busy));
            let waited = (lock.lock_until(&namesake, soon()), lock.acquire_until(&namesake, soon()));
            assert_eq!(waited, (TimedOut, TimedOut));
            let released = (lock.release(&namesake), lock.unlock_all(&namesake));
            assert_eq!(released, (Err(NotReleased::NotYours), Err(NotReleased::NotYours)));
            assert!(lock.is_held_by(&ended) && !lock.is_held_by(&namesake));
            assert_eq!(if raw { lock.release(&ended) } else { lock.unlock(&ended) }, Ok(()));
        }
        assert_eq!((lock.lock_again(&namesake, 1), lock.unlock(&namesake)), (Acquired, Ok(())));
    }

    #[test]
    fn killed_at_every_step_the_next_holder_begins_anew() {
        let steps = kill::at_every_step(RLock::new, |crowd, lock, victim| {
            let victim = victim.run(|party| {
                for _ in 0..3 {
                    assert_eq!(lock.lock_until(party, Deadline::NEVER), Acquired);
                }
                for _ in 0..3 {
                    assert_eq!(lock.unlock(party), Ok(()));
                }
            });
            let other = crowd.party(2, 1);
            let start = Instant::now();
            let killed = victim.wait();
            let outcome = lock.lock_until(&other, Deadline::NEVER);
            assert!([Acquired, AcquiredPoisoned].contains(&outcome));
            assert!(start.elapsed() < Duration::from_secs(9));
            assert_eq!(lock.owner(), Some((other.me(), 1)));
            if outcome == AcquiredPoisoned {
                // Not told again, until somebody takes it anew.
                assert_eq!(lock.lock_until(&other, Deadline::NEVER), Acquired);
                assert_eq!((lock.unlock(&other), lock.unlock(&other)), (Ok(()), Ok(())));
                assert_eq!(lock.try_lock(&other), AcquiredPoisoned);
                assert_eq!(lock.clear_poison(other.me()), Ok(()));
            }
            assert_eq!((lock.unlock(&other), lock.try_lock(&other)), (Ok(()), Acquired));
            killed
        });
        assert!(steps >= 4, "{steps}");
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::sync::algorithm::testing::{Crowd, check};
    use crate::sys::futex::end_slices;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn nested_holders_are_alone() {
        check(3, || {
            let shared = Arc::new((Crowd::new(), RLock::new(), UnsafeCell::new(())));
            let work = |shared: &(Crowd, RLock, UnsafeCell<()>), slot| {
                let party = shared.0.party(slot, 1);
                assert_eq!(shared.1.lock_until(&party, Deadline::NEVER), Outcome::Acquired);
                assert_eq!(shared.1.lock_until(&party, Deadline::NEVER), Outcome::Acquired);
                shared.1.unlock(&party).unwrap();
                shared.2.with_mut(|_| ());
                shared.1.unlock(&party).unwrap();
            };
            let other = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || work(&shared, 2))
            };
            work(&shared, 1);
            other.join().unwrap();
        });
    }

    #[test]
    fn the_depth_of_a_dead_holder_does_not_matter() {
        check(3, || {
            let shared = Arc::new((Crowd::new(), RLock::new()));
            let victim = shared.0.party(1, 1);
            let other = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let party = shared.0.party(2, 1);
                    assert!(shared.1.lock_until(&party, Deadline::NEVER).is_acquired());
                    assert_eq!(shared.1.owner(), Some((party.me(), 1)));
                    shared.1.unlock(&party).unwrap();
                    assert!(shared.1.unlock(&party).is_err());
                })
            };
            if shared.1.try_lock(&victim).is_acquired() {
                assert!(shared.1.try_lock(&victim).is_acquired());
            }
            shared.0.kill(1);
            end_slices();
            other.join().unwrap();
        });
    }
}
