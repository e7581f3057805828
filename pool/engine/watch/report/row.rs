//! One row of the timeline: what the workers at one place of the pool have run when, in bounds.

use std::time::Duration;

/// A row has at most so many pieces.
const PIECES: usize = 256;

/// Tasks that were run one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The place of their function; `None` for several functions.
    pub(super) function: Option<usize>,
    /// The number of the first task.
    pub(super) first: u64,
    pub(super) tasks: u64,
    /// How many of the tasks have lost their worker.
    pub(super) lost: u64,
    /// From the begin of the first to the end of the last, and how much of that tasks were run.
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) busy: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Row {
    /// In the order of their begin.
    spans: Vec<Span>,
    /// Pieces that begin in the same step of this length are one.
    step: Duration,
    pub(super) tasks: u64,
    pub(super) busy: Duration,
    /// When workers became ready: the last [`PIECES`] at most.
    pub(super) ready: Vec<Duration>,
    /// How many have.
    pub(super) workers: u64,
}

impl Row {
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn ready(&mut self, at: Duration) {
        self.workers += 1;
        if self.ready.len() == PIECES {
            self.ready.remove(0);
        }
        self.ready.push(at);
    }

    /// Adds what was run behind all that is there.
    pub(super) fn push(&mut self, span: Span) {
        self.tasks += span.tasks;
        self.busy += span.busy;
        self.append(span);
        while self.spans.len() > PIECES {
            // At most as many steps as half of the pieces: so the next time is far away.
            let end = self.spans.iter().map(|span| span.end).max().unwrap_or_default();
            self.step = (self.step * 2).max(2 * end / PIECES as u32).max(Duration::from_nanos(1));
            for span in std::mem::take(&mut self.spans) {
                self.append(span);
            }
        }
    }

    fn append(&mut self, span: Span) {
        let step = self.step.as_nanos();
        let same_step = |last: &&mut Span| step > 0 && last.start.as_nanos() / step == span.start.as_nanos() / step;
        match self.spans.last_mut().filter(same_step) {
            Some(last) => {
                last.function = last.function.filter(|function| span.function == Some(*function));
                last.tasks += span.tasks;
                last.lost += span.lost;
                last.end = last.end.max(span.end);
                last.busy += span.busy;
            }
            None => self.spans.push(span),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, micros: u64, function: usize) -> Span {
        let (start, busy) = (Duration::from_micros(start), Duration::from_micros(micros));
        Span { function: Some(function), first: 0, tasks: 1, lost: 0, start, end: start + busy, busy }
    }

    #[test]
    fn however_much_is_run_a_row_is_bounded_and_loses_nothing() {
        let mut row = Row::default();
        for at in 0..100_000 {
            row.push(span(10 * at, 7, usize::from(at >= 50_000)));
            assert!(row.spans.len() <= PIECES);
        }
        assert!(row.spans.len() > PIECES / 4, "{} pieces", row.spans.len());
        assert_eq!(row.spans.iter().map(|it| it.tasks).sum::<u64>(), 100_000);
        assert_eq!(row.spans.iter().map(|it| it.busy).sum::<Duration>(), Duration::from_micros(700_000));
        assert!(row.spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
        assert_eq!((row.spans[0].function, row.spans.last().unwrap().function), (Some(0), Some(1)));
        assert!(row.spans.iter().filter(|it| it.function.is_none()).count() <= 1);
    }

    #[test]
    fn a_long_task_among_short_ones_stays_what_it_is() {
        let mut row = Row::default();
        (0..1000).for_each(|at| row.push(span(10 * at, 7, 0)));
        row.push(span(10_000, 1_000_000, 1));
        (0..1000).for_each(|at| row.push(span(1_010_000 + 10 * at, 7, 0)));
        let long = row.spans.iter().max_by_key(|span| span.busy).unwrap();
        assert!(long.end - long.start >= Duration::from_secs(1) && long.busy < Duration::from_millis(1010));
    }

    #[test]
    fn tasks_at_one_instant_are_one_piece() {
        let mut row = Row::default();
        (0..1000).for_each(|_| row.push(span(0, 0, 0)));
        assert_eq!(row.spans.iter().map(|it| it.tasks).sum::<u64>(), 1000);
        assert!(row.spans.len() <= PIECES);
    }

    #[test]
    fn a_place_that_gets_many_workers_keeps_the_last_of_them() {
        let mut row = Row::default();
        (0..1000).for_each(|at| row.ready(Duration::from_secs(at)));
        assert_eq!((row.workers, row.ready.len(), row.ready[PIECES - 1]), (1000, PIECES, Duration::from_secs(999)));
    }
}
