//! What one worker has done: its account, kept by whoever drives.

use std::time::{Duration, Instant};

/// What a worker has done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerRecord {
    started: Instant,
    ready: Option<Instant>,
    tasks: u64,
    /// The time of all frames that have ended, by the worker's clock.
    busy: Duration,
    /// When the worker began its current frame, if it has one. An estimate: never later than the true start, and at most
    /// [`LAG`] before it.
    since: Option<Instant>,
    /// The end of the last frame, as far as it is known.
    until: Instant,
    /// The first task of the frame whose answers are coming in.
    from: Option<u32>,
}

/// When the tasks of a frame were run, as far as a worker ran them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// The place of the first task in the frame.
    pub(crate) from: u32,
    pub(crate) count: u32,
    pub(crate) start: Instant,
    pub(crate) lasted: Duration,
}

/// Workers tell how long a frame has lasted, and not when it began: its begin is put directly after the frame before. If the
/// worker has paused in between, that is too early, by this much at most.
const LAG: Duration = Duration::from_millis(10);

/// A worker that has been ready for so long is a start that has succeeded, even if it was given nothing to do.
const PROVED: Duration = Duration::from_secs(1);

impl WorkerRecord {
    pub(crate) fn new() -> WorkerRecord {
        let now = Instant::now();
        WorkerRecord { started: now, ready: None, tasks: 0, busy: Duration::ZERO, since: None, until: now, from: None }
    }

    /// The worker can take tasks from now on.
    pub(crate) fn ready(&mut self) {
        self.ready = Some(Instant::now());
    }

    /// The worker was sent a frame, and has `frames` now.
    #[inline]
    pub(crate) fn sent(&mut self, frames: usize) {
        if frames == 1 {
            self.since = Some(Instant::now());
        }
    }

    /// The worker has answered `count` tasks from the place `at` of a frame.
    #[inline]
    pub(crate) fn answered(&mut self, at: u32, count: u32) {
        self.tasks += u64::from(count);
        self.from.get_or_insert(at);
    }

    /// The worker has ended a frame, before the place `end`; `nanos` is the time that the frame took, 0 if unknown.
    #[inline]
    pub(crate) fn ended(&mut self, end: u32, nanos: u64) -> Stretch {
        let from = self.from.take().unwrap_or(end);
        let start = self.start();
        let lasted = if nanos > 0 { Duration::from_nanos(nanos) } else { start.elapsed() };
        self.busy += lasted;
        self.until = start + lasted;
        self.since = Some(self.until);
        Stretch { from, count: end - from, start, lasted }
    }

    /// All answers that were there were taken; the worker has `frames` now.
    #[inline]
    pub(crate) fn seen(&mut self, frames: usize) {
        match &mut self.since {
            // In the middle of a frame nothing is known of its begin.
            Some(since) if frames > 0 => {
                if self.from.is_some() {
                    return;
                }
                if let Some(late) = Instant::now().checked_sub(LAG) {
                    *since = late.max(*since);
                }
            }
            since => *since = None,
        }
    }

    fn start(&self) -> Instant {
        self.since.map_or_else(Instant::now, |since| since.max(self.until))
    }

    /// What the worker ran when it died, after the place `at` of a frame.
    pub(crate) fn lost(&self, at: u32) -> Stretch {
        let start = self.start();
        Stretch { from: at, count: 1, start, lasted: start.elapsed() }
    }

    /// How many tasks the worker has run to their end.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks
    }

    /// How long the worker has run tasks: a frame that has not ended counts as well.
    pub(crate) fn busy(&self, now: Instant) -> Duration {
        self.busy + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// How long the worker has run the frame that it has, if it has one.
    pub(crate) fn running_for(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.saturating_duration_since(since))
    }

    /// How long the worker took to become ready.
    pub(crate) fn startup(&self) -> Option<Duration> {
        self.ready.map(|ready| ready - self.started)
    }

    /// Whether the worker has become ready since then, and has either run a task or been ready for a while: a worker that
    /// writes nonsense into its link may become ready before anybody reads it.
    pub(crate) fn has_proved_itself(&self, since: Option<Instant>, now: Instant) -> bool {
        let is_later = self.ready.is_some_and(|ready| since.is_none_or(|since| ready > since));
        is_later && (self.tasks > 0 || self.since_ready(now) >= Some(PROVED))
    }

    /// How long the worker has been ready.
    pub(crate) fn since_ready(&self, now: Instant) -> Option<Duration> {
        self.ready.map(|ready| now.saturating_duration_since(ready))
    }
}
