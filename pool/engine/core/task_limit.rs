//! The time limits of the task that a worker has.

use crate::engine::call::job::Options;
use crate::ipc::link::Link;
use crate::sys::time::Deadline;
use std::time::Duration;

/// The time limits of the only task that a worker has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskLimit {
    /// How long it may run.
    pub(crate) hard: Option<Duration>,
    /// When it is to be told to end; `None` as well once it was.
    tell_at: Option<Deadline>,
    /// When its worker is to be told to end.
    stop_at: Deadline,
    /// Its frame, and its place in that.
    seq: u64,
    at: u32,
}

impl TaskLimit {
    /// Of a task that begins now, if it has any.
    #[inline]
    pub(super) fn of(options: &Options, seq: u64, at: u32) -> Option<TaskLimit> {
        options.is_limited().then(|| TaskLimit::from_now(options, seq, at))
    }

    #[cold]
    fn from_now(options: &Options, seq: u64, at: u32) -> TaskLimit {
        let Options { timeout: hard, soft_timeout: soft, .. } = *options;
        TaskLimit { hard, tell_at: soft.map(Deadline::after), stop_at: Deadline::within(hard), seq, at }
    }

    /// Tells the task to end if it is time for that. Returns when to look again; `None` if its worker is to be told now.
    pub(super) fn enforce(&mut self, link: Option<&dyn Link>) -> Option<Deadline> {
        if self.next().passed() {
            let longer = link.and_then(|link| link.desk()?.longer(self.seq, self.at));
            longer.into_iter().for_each(|more| self.extend(more));
        }
        if self.tell_at.is_some_and(Deadline::passed) || self.stop_at.passed() {
            self.tell_at = None;
            link.into_iter().for_each(|link| link.cancel(&[self.seq]));
        }
        if self.stop_at.passed() { None } else { Some(self.next()) }
    }

    fn next(&self) -> Deadline {
        self.tell_at.unwrap_or(Deadline::NEVER).earlier(self.stop_at)
    }

    /// The task needs so much longer.
    fn extend(&mut self, more: Duration) {
        let until = Deadline::after(more);
        let last = if self.hard.is_some() { self.stop_at } else { self.next() };
        let (Some(last), Some(until)) = (last.instant(), until.instant()) else { return };
        let later =
            |deadline: Deadline| deadline.instant().map_or(Deadline::NEVER, |at| Deadline::since(at, until - last));
        if until > last {
            self.tell_at = self.tell_at.map(later);
            self.stop_at = later(self.stop_at);
        }
    }
}
