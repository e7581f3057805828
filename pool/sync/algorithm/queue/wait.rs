//! Waiting for an item, or for room.

use crate::sync::algorithm::cells::with_grace;
use crate::sync::algorithm::sleepers::Sleepers;
use crate::sync::algorithm::word::Spin;
use crate::sys::futex::Slices;
use crate::sys::time::Deadline;

/// How long somebody is willing to wait, and whether the other end still has anybody.
pub(crate) struct Wait<'a> {
    /// `None` = not at all.
    deadline: Option<Deadline>,
    begun: Option<(Spin, Slices)>,
    /// It has set the mark that somebody sleeps: if it leaves something over, it wakes the next.
    pub(super) answers: bool,
    pub(super) is_over: &'a dyn Fn() -> bool,
}

impl<'a> Wait<'a> {
    /// Until the deadline.
    #[inline]
    pub(crate) fn until(deadline: Deadline, is_over: &'a dyn Fn() -> bool) -> Wait<'a> {
        Wait { deadline: Some(deadline), begun: None, answers: false, is_over }
    }

    /// Not at all.
    #[inline]
    pub(crate) fn not(is_over: &'a dyn Fn() -> bool) -> Wait<'a> {
        Wait { deadline: None, begun: None, answers: false, is_over }
    }

    /// Until when it waits for the lock of an end, which a process that was stopped may hold.
    #[cold]
    pub(super) fn for_the_lock(&self) -> Deadline {
        with_grace(self.deadline)
    }

    /// Waits until `has_come`, for which `sleepers` are called, or for one slice; false = the deadline has passed.
    #[cold]
    pub(super) fn wait(&mut self, sleepers: &Sleepers, has_come: impl Fn() -> bool) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let (spin, slices) = self.begun.get_or_insert_with(|| (Spin::new(), Slices::new(deadline)));
        let mut looks = 0_u32;
        while spin.once() {
            if has_come() {
                return true;
            }
            looks += 1;
            if looks % 8 == 0 {
                // Who will bring the change may wait for this very CPU.
                std::thread::yield_now();
            }
        }
        sleepers.announce(slices);
        // From here on others may sleep on this thread's mark, although they were to be woken: whoever called them has
        // taken their own mark away before they slept. So this thread answers for them, whether or not it sleeps itself.
        self.answers = true;
        if has_come() || (self.is_over)() {
            return true;
        }
        sleepers.sleep(slices)
    }
}
