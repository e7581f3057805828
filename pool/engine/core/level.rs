//! The calls of one priority: their tasks that no worker has, in turn.

use crate::engine::call::job::{Job, NOWHERE};
use crate::engine::core::ledger::QueuedFrame;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long room is kept for a thread that has found none.
const KEPT_FOR: Duration = Duration::from_micros(200);

/// How long it is kept from calls of a lower priority.
const KEPT_FROM_LOWER: Duration = Duration::from_millis(10);

/// So many retired calls may stand in line before they are taken out of it, and half of it.
const RETIRED_IN_LINE: usize = 64;

/// Tasks that have waited for so long count as one priority higher; so nothing waits for ever.
const AGES_IN: Duration = Duration::from_millis(20);

/// The calls of one priority.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) priority: i8,
    /// How many calls of this priority are under way.
    pub(super) jobs: usize,
    /// Frames that belong to no worker, oldest first. While there are any, nothing else of this level is handed out.
    pub(super) backlog: VecDeque<QueuedFrame>,
    /// Submitted calls with tasks that were not handed in yet, in turn; and some that were retired meanwhile.
    pub(super) submitted: VecDeque<Arc<Job>>,
    /// How many of `submitted` were retired. Each call that is retired is looked for nowhere, so that the price of a call does
    /// not grow with the number of calls.
    retired_in_line: usize,
    /// How many calls have the flag `hungry`: their thread has found no room for its next tasks.
    pub(super) hungry: usize,
    /// Since when room is kept for one of those, while others have tasks as well. `None` if `hungry` is 0.
    kept_since: Option<Instant>,
    /// Since when tasks of this level wait and none was handed out.
    since: Instant,
}

impl Level {
    pub(super) fn new(priority: i8) -> Level {
        Level {
            priority,
            jobs: 0,
            backlog: VecDeque::new(),
            submitted: VecDeque::new(),
            retired_in_line: 0,
            hungry: 0,
            kept_since: None,
            since: Instant::now(),
        }
    }

    /// Whether tasks wait here: frames, or submitted calls.
    #[inline]
    pub(super) fn has_tasks(&self) -> bool {
        !self.backlog.is_empty() || !self.submitted.is_empty()
    }

    /// Whether tasks wait here, or threads that have more.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.has_tasks() || self.hungry > 0
    }

    /// The priority with what waiting has added.
    pub(super) fn urgency(&mut self, now: Instant) -> u128 {
        if !self.is_waiting() {
            self.since = now;
        }
        let base = u128::from(self.priority.abs_diff(i8::MIN));
        base * AGES_IN.as_nanos() + now.saturating_duration_since(self.since).as_nanos()
    }

    /// A frame of this level was handed out.
    pub(super) fn served(&mut self) {
        self.since = Instant::now();
    }

    /// Lines up a submitted call, after the others.
    pub(super) fn line_up(&mut self, job: Arc<Job>) {
        job.in_line.store(true, Relaxed);
        self.submitted.push_back(job);
    }

    /// The submitted call with `before` others in line before it.
    #[inline]
    pub(super) fn in_line(&mut self, before: usize) -> Option<Arc<Job>> {
        while let Some(job) = self.submitted.get(before) {
            if job.place.load(Relaxed) != NOWHERE {
                return Some(Arc::clone(job));
            }
            self.submitted.remove(before);
            self.retired_in_line -= 1;
        }
        None
    }

    /// Takes the call with `before` others before it out of the line.
    #[inline]
    pub(super) fn leave_line(&mut self, before: usize) {
        if let Some(job) = self.submitted.remove(before) {
            job.in_line.store(false, Relaxed);
        }
    }

    /// A call in line was retired.
    pub(super) fn retired_in_line(&mut self) {
        self.retired_in_line += 1;
        if self.retired_in_line > RETIRED_IN_LINE.max(self.submitted.len() / 2) {
            self.submitted.retain(|it| it.place.load(Relaxed) != NOWHERE);
            self.retired_in_line = 0;
        }
    }

    /// Notes whether the thread of a call has found no room.
    #[inline]
    pub(super) fn note_hunger(&mut self, job: &Job, hungry: bool) {
        let before = job.hungry.swap(hungry, Relaxed);
        match (before, hungry) {
            (false, true) => self.hungry += 1,
            (true, false) => {
                self.hungry -= 1;
                // It has got some: now the others again.
                self.kept_since = None;
            }
            _ => {}
        }
    }

    /// Returns whether others may use free room now, as far as threads of this level are concerned. While one waits for room
    /// they get one frame in [`KEPT_FOR`]: the thread goes first, unless it is busy with its input.
    pub(super) fn leaves_room(&mut self) -> bool {
        if self.hungry == 0 {
            self.kept_since = None;
            return true;
        }
        match self.kept_since {
            Some(since) if since.elapsed() < KEPT_FOR => false,
            _ => {
                self.kept_since = Some(Instant::now());
                true
            }
        }
    }

    /// As [`Level::leaves_room`], for calls of a lower priority: the first look only begins to keep the room.
    fn leaves_room_to_lower(&mut self, is_idle: bool) -> bool {
        match self.kept_since {
            _ if self.hungry == 0 => true,
            // Nobody could have it, so it is kept for nobody.
            _ if !is_idle => false,
            Some(since) => since.elapsed() >= KEPT_FROM_LOWER,
            None => {
                self.kept_since = Some(Instant::now());
                false
            }
        }
    }

    /// Whether calls of a lower priority have to wait for this level.
    pub(super) fn goes_before(&mut self, is_idle: bool) -> bool {
        self.has_tasks() || !self.leaves_room_to_lower(is_idle)
    }

    /// Until when room is kept for a thread, if it still is; or was a moment ago, so that who has looked just before the end
    /// looks again.
    pub(super) fn kept_until(&self, is_ranked: bool) -> Option<Instant> {
        let since = self.kept_since.filter(|_| self.hungry > 0)?;
        let kept = since.elapsed();
        let ends = [(true, KEPT_FOR), (is_ranked, KEPT_FROM_LOWER)];
        ends.into_iter().find(|(applies, end)| *applies && kept < *end + KEPT_FOR).map(|(_, end)| since + end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_from_lower_calls_for_a_thread_for_a_while() {
        let mut level = Level::new(1);
        assert!(!level.goes_before(true), "nobody waits");
        level.hungry = 1;
        assert!(
            level.goes_before(false) && level.kept_since.is_none(),
            "nobody could have the room, so it is kept for nobody"
        );
        assert!(level.goes_before(true));
        let kept_since = level.kept_since.unwrap();
        assert!(level.kept_until(true) >= Some(kept_since));
        level.kept_since = kept_since.checked_sub(KEPT_FROM_LOWER);
        assert!(!level.goes_before(true), "the thread is busy with its input");
        level.hungry = 0;
        assert!(!level.goes_before(true));
    }

    #[test]
    fn who_waits_becomes_more_urgent() {
        let now = Instant::now();
        let [mut low, mut high] = [Level::new(0), Level::new(5)];
        [&mut low, &mut high].into_iter().for_each(|level| (level.hungry, level.since) = (1, now));
        assert!(low.urgency(now) < high.urgency(now));
        high.since = now + 6 * AGES_IN;
        assert!(low.urgency(high.since) > high.urgency(high.since));
        low.hungry = 0;
        assert!(low.urgency(high.since) < high.urgency(high.since), "who does not wait does not age");
    }
}
