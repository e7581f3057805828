//! One measure, by all who can: a sample of each in every round, so that a disturbance strikes all of them.

use crate::Coordinator;
use crate::driver::Driver;
use crate::measures::Measure;
use crate::peers::{Kind, PEERS, Peer};
use crate::plan::{Plan, median};

/// What came out for one measure.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) measure: &'static Measure,
    /// All that take part, in the order of the table of peers.
    pub(crate) entries: Vec<Entry>,
}

/// What came out for one peer, in the unit of the measure.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) peer: &'static Peer,
    pub(crate) samples: Vec<f64>,
    /// What happened, where a figure does not say it all.
    pub(crate) note: String,
}

impl Entry {
    pub(crate) fn median(&self) -> Option<f64> {
        (!self.samples.is_empty()).then(|| median(self.samples.clone()))
    }

    pub(crate) fn least(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn most(&self) -> f64 {
        self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

impl Outcome {
    pub(crate) fn median_of(&self, peer: &str) -> Option<f64> {
        self.entries.iter().find(|entry| entry.peer.name == peer)?.median()
    }

    pub(crate) fn ours(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.peer.kind == Kind::Ours)
    }

    /// The best of those for which `choose` holds.
    pub(crate) fn best(&self, choose: impl Fn(&Peer) -> bool) -> Option<(&Entry, f64)> {
        let figures = self.entries.iter().filter(|it| choose(it.peer)).filter_map(|it| Some((it, it.median()?)));
        let better = |(_, a): &(&Entry, f64), (_, b): &(&Entry, f64)| self.measure.ratio(*a, *b).total_cmp(&1.0);
        figures.max_by(better)
    }
}

/// Who takes part, with its driver.
struct Racer {
    entry: Entry,
    plan: Plan,
    driver: Option<Driver>,
    out: bool,
}

impl Racer {
    /// Sets the driver up if there is none. A peer that cannot do the measure is out without a note.
    fn prepare(&mut self, coordinator: &Coordinator) {
        if self.out || self.driver.is_some() {
            return;
        }
        match coordinator.start(self.entry.peer, &self.plan) {
            Ok(driver) => self.driver = driver,
            Err(note) => self.entry.note = note,
        }
        self.out = self.driver.is_none();
    }

    /// Takes a sample. A peer that has failed, or has no figure, is not asked again.
    fn sample(&mut self, measure: &Measure, counts: bool) {
        let Some(driver) = &mut self.driver else { return };
        match driver.sample() {
            Ok(sample) => {
                self.entry.note = sample.note;
                match sample.value {
                    Some(value) if counts => self.entry.samples.push(value * measure.scale),
                    Some(_) => {}
                    None => self.out = true,
                }
            }
            Err(note) => (self.entry.note, self.out) = (note, true),
        }
        if self.out || measure.alone {
            self.driver = None;
        }
    }
}

/// Runs `measure` with all its peers.
pub(crate) fn run(coordinator: &Coordinator, measure: &'static Measure) -> Outcome {
    let racer = |peer: &'static Peer| Racer {
        entry: Entry { peer, samples: Vec::new(), note: String::new() },
        plan: measure.plan(coordinator.steps_per_second(peer), coordinator.quick),
        driver: None,
        out: false,
    };
    let mut racers: Vec<Racer> = PEERS.iter().map(racer).collect();
    // The first round does not count, unless nothing is kept warm anyway.
    let warm_up = usize::from(!measure.alone);
    for round in 0..warm_up + measure.rounds {
        if round > warm_up && coordinator.in_a_hurry() {
            break;
        }
        // All are ready before the first is asked, unless each wants to be alone.
        if !measure.alone {
            racers.iter_mut().for_each(|racer| racer.prepare(coordinator));
        }
        for racer in &mut racers {
            racer.prepare(coordinator);
            racer.sample(measure, round >= warm_up);
        }
    }
    // Those that have nothing to do with this measure are not worth a word.
    let took_part = |entry: &Entry| !entry.samples.is_empty() || !entry.note.is_empty();
    let entries = racers.into_iter().map(|racer| racer.entry).filter(took_part).collect();
    Outcome { measure, entries }
}

/// An outcome that was not measured, for tests.
#[cfg(test)]
pub(crate) fn outcome(measure: &str, figures: &[(&str, &[f64])]) -> Outcome {
    let measure = crate::measures::MEASURES.iter().find(|it| it.name == measure).unwrap();
    let entry = |(name, samples): &(&str, &[f64])| Entry {
        peer: PEERS.iter().find(|it| it.name == *name).unwrap(),
        samples: samples.to_vec(),
        note: String::new(),
    };
    Outcome { measure, entries: figures.iter().map(entry).collect() }
}
