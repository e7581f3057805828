//! What one worker has done: its account, kept by whoever drives.

use crate::sys::time::nanos;
use std::time::{Duration, Instant};

/// What a worker has done so far. Times are nanoseconds since its place was taken: each frame changes them, and sums of integers
/// cost next to nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerRecord {
    started: Instant,
    ready: Option<Instant>,
    tasks: u64,
    /// The time of all frames that have ended, by the worker's clock.
    busy: u64,
    /// When the worker began its current frame, if it has one. An estimate: never later than the true start, and at most
    /// [`LAG`] before it.
    since: Option<u64>,
    /// The end of the last frame, as far as it is known.
    until: u64,
    /// The first task of the frame whose answers are coming in.
    from: Option<u32>,
}

/// When the tasks of a frame were run, as far as a worker ran them: by the clock of its [`WorkerRecord`], in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// The place of the first task in the frame.
    pub(crate) from: u32,
    pub(crate) count: u32,
    pub(crate) start: u64,
    pub(crate) lasted: u64,
}

/// Workers tell how long a frame has lasted, and not when it began: its begin is put directly after the frame before. If the
/// worker has paused in between, that is too early, by so many nanoseconds at most.
const LAG: u64 = 10_000_000;

/// A worker that has been ready for so long is a start that has succeeded, even if it was given nothing to do.
const PROVED: Duration = Duration::from_secs(1);

impl WorkerRecord {
    pub(crate) fn new() -> WorkerRecord {
        WorkerRecord { started: Instant::now(), ready: None, tasks: 0, busy: 0, since: None, until: 0, from: None }
    }

    /// The worker can take tasks from now on.
    pub(crate) fn ready(&mut self) {
        self.ready = Some(Instant::now());
    }

    /// The worker was sent a frame, and has `frames` now.
    #[inline]
    pub(crate) fn sent(&mut self, frames: usize) {
        if frames == 1 {
            self.since = Some(self.at(Instant::now()));
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
        let lasted = if nanos > 0 { nanos } else { self.at(Instant::now()).saturating_sub(start) };
        self.busy = self.busy.saturating_add(lasted);
        self.until = start.saturating_add(lasted);
        self.since = Some(self.until);
        Stretch { from, count: end - from, start, lasted }
    }

    /// All answers that were there were taken; the worker has `frames` now.
    #[inline]
    pub(crate) fn seen(&mut self, frames: usize) {
        match &mut self.since {
            // In the middle of a frame nothing is known of its begin.
            Some(_) if frames > 0 && self.from.is_some() => {}
            Some(since) if frames > 0 => *since = nanos(self.started.elapsed()).saturating_sub(LAG).max(*since),
            since => *since = None,
        }
    }

    fn start(&self) -> u64 {
        self.since.map_or_else(|| self.at(Instant::now()), |since| since.max(self.until))
    }

    /// What the worker ran when it died, after the place `at` of a frame.
    pub(crate) fn lost(&self, at: u32) -> Stretch {
        let start = self.start();
        Stretch { from: at, count: 1, start, lasted: self.at(Instant::now()).saturating_sub(start) }
    }

    /// A point in time by the clock of this record.
    fn at(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.started))
    }

    /// When a stretch began.
    pub(crate) fn begin(&self, stretch: &Stretch) -> Instant {
        self.started + Duration::from_nanos(stretch.start)
    }

    /// How many tasks the worker has run to their end.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks
    }

    /// How long the worker has run tasks: a frame that has not ended counts as well.
    pub(crate) fn busy(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.busy) + self.running_for(now).unwrap_or_default()
    }

    /// How long the worker has run the frame that it has, if it has one.
    pub(crate) fn running_for(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| Duration::from_nanos(self.at(now).saturating_sub(since)))
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
