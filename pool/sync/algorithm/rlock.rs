//! A recursive lock: the thread that holds it may take it again, and gives it back as often as it took it.
//!
//! A lock word, and how deep its holder is in: how often through guards, and how often raw, so that a raw release never
//! takes away what a guard stands for. Only the holder touches the depth. Who takes the word anew, be it from a dead
//! holder, begins with a depth of 1, so what a dead one has left there does not matter.
//!
//! ## Memory ordering
//!
//! That of the lock word; the depth is only touched under it.

use crate::sync::algorithm::word::{MAX_THREAD, NotReleased, Outcome, Owner, Parties, Word, kill};
use crate::sys::atomic::{AtomicU32, Ordering::Relaxed};
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
    depth: AtomicU32,
}

impl RLock {
    /// In real life it is memory that was zero.
    #[cfg(test)]
    pub(crate) fn new() -> RLock {
        RLock { word: Word::new(), depth: AtomicU32::new(0) }
    }

    /// Takes the lock for a guard, or takes it once more.
    ///
    /// Who takes it once more is not told of poison again. More than 65535 times in a row are refused as
    /// [`Outcome::Busy`].
    pub(crate) fn lock_until(&self, parties: &impl Parties, deadline: Deadline) -> Outcome {
        self.enter(self.word.lock_until(parties, deadline), parties.me(), GUARD)
    }

    /// Like [`RLock::lock_until`], without waiting.
    pub(crate) fn try_lock(&self, parties: &impl Parties) -> Outcome {
        self.enter(self.word.try_lock(parties), parties.me(), GUARD)
    }

    /// Like [`RLock::lock_until`], but raw.
    pub(crate) fn acquire_until(&self, parties: &impl Parties, deadline: Deadline) -> Outcome {
        self.enter(self.word.lock_until(parties, deadline), parties.me(), RAW)
    }

    /// Like [`RLock::acquire_until`], without waiting.
    pub(crate) fn try_acquire(&self, parties: &impl Parties) -> Outcome {
        self.enter(self.word.try_lock(parties), parties.me(), RAW)
    }

    fn enter(&self, outcome: Outcome, me: Owner, how: Field) -> Outcome {
        match outcome {
            Outcome::Acquired | Outcome::AcquiredPoisoned => {
                self.depth.store(how.one(), Relaxed);
                kill::point();
                outcome
            }
            // The last number may be that of several threads, of which one must not pass for another.
            Outcome::WouldDeadlock | Outcome::Busy if self.word.owner() == Some(me) && me.thread() < MAX_THREAD => {
                let depth = self.depth.load(Relaxed);
                if how.of(depth) == MOST {
                    return Outcome::Busy;
                }
                self.depth.store(depth + how.one(), Relaxed);
                kill::point();
                Outcome::Acquired
            }
            _ => outcome,
        }
    }

    /// Gives it back once, for a guard.
    ///
    /// # Errors
    ///
    /// The thread `me` does not hold it through a guard.
    pub(crate) fn unlock(&self, me: Owner) -> Result<(), NotReleased> {
        self.give_back(me, GUARD)
    }

    /// Gives it back once, raw.
    ///
    /// # Errors
    ///
    /// The thread `me` does not hold it raw.
    pub(crate) fn release(&self, me: Owner) -> Result<(), NotReleased> {
        self.give_back(me, RAW)
    }

    fn give_back(&self, me: Owner, how: Field) -> Result<(), NotReleased> {
        match self.word.owner() {
            Some(owner) if owner == me => {}
            Some(_) => return Err(NotReleased::NotYours),
            None => return Err(NotReleased::Free),
        }
        let depth = self.depth.load(Relaxed);
        if how.of(depth) == 0 {
            return Err(NotReleased::NotYours);
        }
        if depth == how.one() {
            return self.word.unlock(me);
        }
        self.depth.store(depth - how.one(), Relaxed);
        kill::point();
        Ok(())
    }

    /// Gives it back as often as it was taken; how often that was.
    pub(crate) fn unlock_all(&self, me: Owner) -> Result<u32, NotReleased> {
        let depth = self.depth.load(Relaxed);
        self.word.unlock(me).map(|()| depth)
    }

    /// Takes it as often as it was taken before [`RLock::unlock_all`].
    pub(crate) fn lock_again(&self, parties: &impl Parties, depth: u32) -> Outcome {
        let outcome = self.word.lock(parties);
        if outcome.is_acquired() {
            self.depth.store(depth, Relaxed);
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
        let depth = self.depth.load(Relaxed);
        self.word.owner().map(|owner| (owner, GUARD.of(depth) + RAW.of(depth)))
    }

    /// See [`Word::poisoned`].
    pub(crate) fn poisoned(&self) -> bool {
        self.word.poisoned()
    }
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
        assert_eq!(lock.unlock(a.me()), Err(NotReleased::Free));
        for depth in 1..=3 {
            let taken = if depth == 2 { lock.try_lock(&a) } else { lock.lock_until(&a, Deadline::NEVER) };
            assert_eq!((taken, lock.owner()), (Acquired, Some((a.me(), depth))));
        }
        for other in [same_process, b] {
            assert_eq!(lock.try_lock(&other), Busy);
            assert_eq!(lock.lock_until(&other, Deadline::after(Duration::from_millis(5))), TimedOut);
            assert_eq!(lock.unlock(other.me()), Err(NotReleased::NotYours));
        }
        for _ in 0..3 {
            assert_eq!(lock.try_lock(&b), Busy);
            assert_eq!(lock.unlock(a.me()), Ok(()));
        }
        assert_eq!(lock.unlock(a.me()), Err(NotReleased::Free));
        assert_eq!(lock.try_lock(&b), Acquired);
    }

    #[test]
    fn guards_and_raw_acquisitions_are_counted_apart() {
        let crowd = Crowd::new();
        let lock = RLock::new();
        let a = crowd.party(1, 1);
        assert_eq!((lock.lock_until(&a, Deadline::NEVER), lock.try_acquire(&a)), (Acquired, Acquired));
        assert_eq!(lock.owner(), Some((a.me(), 2)));
        assert_eq!((lock.release(a.me()), lock.release(a.me())), (Ok(()), Err(NotReleased::NotYours)));
        assert_eq!((lock.acquire_until(&a, Deadline::NEVER), lock.unlock(a.me())), (Acquired, Ok(())));
        assert_eq!((lock.unlock(a.me()), lock.release(a.me())), (Err(NotReleased::NotYours), Ok(())));
        assert_eq!(lock.release(a.me()), Err(NotReleased::Free));
        for _ in 0..MOST {
            assert_eq!(lock.try_lock(&a), Acquired);
        }
        assert_eq!((lock.try_lock(&a), lock.try_acquire(&a)), (Busy, Acquired));
    }

    #[test]
    fn threads_that_share_the_last_number_lock_each_other_out() {
        let crowd = Crowd::new();
        let lock = RLock::new();
        let (one, another) = (crowd.party(1, MAX_THREAD), crowd.party(1, MAX_THREAD));
        assert_eq!(lock.lock_until(&one, Deadline::NEVER), Acquired);
        assert_eq!((lock.try_lock(&another), lock.try_acquire(&another)), (Busy, Busy));
        assert_eq!(lock.lock_until(&another, Deadline::NEVER), Outcome::WouldDeadlock);
        assert_eq!((lock.unlock(one.me()), lock.try_lock(&another)), (Ok(()), Acquired));
    }

    #[test]
    fn killed_at_every_step_the_next_holder_begins_anew() {
        let steps = kill::at_every_step(RLock::new, |crowd, lock, victim| {
            let victim = victim.run(|party| {
                for _ in 0..3 {
                    assert_eq!(lock.lock_until(party, Deadline::NEVER), Acquired);
                }
                for _ in 0..3 {
                    assert_eq!(lock.unlock(party.me()), Ok(()));
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
                assert_eq!((lock.unlock(other.me()), lock.unlock(other.me())), (Ok(()), Ok(())));
                assert_eq!(lock.try_lock(&other), AcquiredPoisoned);
                assert_eq!(lock.clear_poison(other.me()), Ok(()));
            }
            assert_eq!((lock.unlock(other.me()), lock.try_lock(&other)), (Ok(()), Acquired));
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
                shared.1.unlock(party.me()).unwrap();
                shared.2.with_mut(|_| ());
                shared.1.unlock(party.me()).unwrap();
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
                    shared.1.unlock(party.me()).unwrap();
                    assert!(shared.1.unlock(party.me()).is_err());
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
