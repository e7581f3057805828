//! What is measured: one table. README.md says what each row means, and what is fair.

use crate::plan::Plan;
use std::fmt;

/// One row.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// What the base unit (seconds, bytes, items per second) is multiplied with.
    pub(crate) scale: f64,
    /// Whether more is better.
    pub(crate) more: bool,
    /// The peer that the figure is held against first.
    pub(crate) yardstick: &'static str,
    pub(crate) targets: &'static [Target],
    pub(crate) items: u64,
    pub(crate) seconds: f64,
    pub(crate) bytes: usize,
    /// The seconds that a task works.
    pub(crate) task: f64,
    /// The rounds that count.
    pub(crate) rounds: usize,
    /// Whether each sample wants a fresh driver that has the machine for itself.
    pub(crate) alone: bool,
}

/// What the figure is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// So many times as good as this peer.
    Times(f64, &'static str),
}

use Target::{AtLeast, AtMost, Times};

const ROUNDS: usize = 5;
const MIB: usize = 1 << 20;
const PYTHON: &str = "multiprocessing";

const RATE: Measure = Measure {
    name: "",
    title: "",
    unit: "M tasks/s",
    scale: 1e-6,
    more: true,
    yardstick: PYTHON,
    targets: &[],
    items: 1_000_000,
    seconds: 0.2,
    bytes: 0,
    task: 0.0,
    rounds: ROUNDS,
    alone: false,
};
const TIME: Measure = Measure { unit: "us", scale: 1e6, more: false, ..RATE };
const MILLIS: Measure = Measure { unit: "ms", scale: 1e3, ..TIME };
const BYTES: Measure = Measure { unit: "GiB/s", scale: 1.0 / (1 << 30) as f64, items: 16, bytes: 8 * MIB, ..RATE };
const SHARE: Measure = Measure { unit: "share", scale: 1.0, ..RATE };

pub(crate) const MEASURES: &[Measure] = &[
    Measure {
        name: "map",
        title: "`map`, trivial task, default chunks",
        unit: "M items/s",
        targets: &[AtLeast(70.0), Times(10.0, PYTHON)],
        items: 10_000_000,
        ..RATE
    },
    Measure {
        name: "map_chunksize_1",
        title: "`map`, trivial task, one task per chunk",
        yardstick: "rayon",
        targets: &[AtLeast(8.0), Times(1.0, "rayon"), Times(200.0, PYTHON)],
        ..RATE
    },
    Measure { name: "apply", title: "`apply`, call after call", targets: &[AtMost(3.0)], items: 50_000, ..TIME },
    Measure {
        name: "apply_from_sleep",
        title: "`apply`, after 2 ms of rest",
        targets: &[AtMost(30.0)],
        items: 1_000,
        ..TIME
    },
    Measure { name: "echo_8mib", title: "8 MiB of bytes there and back", targets: &[AtLeast(3.5)], ..BYTES },
    Measure { name: "sum_8mib", title: "8 MiB of `f64` read, by value", targets: &[AtLeast(4.0)], ..BYTES },
    Measure {
        name: "sum_8mib_by_handle",
        title: "8 MiB of `f64` read, by a handle of shared memory",
        targets: &[AtLeast(15.0)],
        items: 1_000,
        ..BYTES
    },
    Measure {
        name: "echo_64mib",
        title: "64 MiB there and back, of the rate of 8 MiB",
        targets: &[AtLeast(0.8)],
        bytes: 64 * MIB,
        ..SHARE
    },
    Measure {
        name: "echo_1gib",
        title: "1 GiB there and back, of the rate of 8 MiB",
        targets: &[AtLeast(0.8)],
        bytes: 1024 * MIB,
        rounds: 2,
        ..SHARE
    },
    Measure {
        name: "tasks_5ms",
        title: "400 tasks of 5 ms, useful share of the workers",
        yardstick: "rayon",
        targets: &[Times(0.98, "rayon")],
        items: 400,
        seconds: 1.2,
        task: 5e-3,
        rounds: 4,
        ..SHARE
    },
    Measure {
        name: "tasks_20us",
        title: "tasks of 20 us, useful share of the workers",
        yardstick: "rayon",
        targets: &[Times(0.98, "rayon")],
        items: 50_000,
        task: 20e-6,
        ..SHARE
    },
    Measure {
        name: "first_result",
        title: "first result of a new pool",
        targets: &[AtMost(1.5)],
        items: 100,
        ..MILLIS
    },
    Measure {
        name: "start_and_join",
        title: "start and join one process",
        targets: &[AtMost(0.9)],
        items: 200,
        ..MILLIS
    },
    Measure {
        name: "idle_worker_pss",
        title: "memory of an idle worker (PSS)",
        unit: "MiB",
        scale: 1.0 / MIB as f64,
        targets: &[AtMost(0.5)],
        rounds: 3,
        alone: true,
        ..TIME
    },
    Measure {
        name: "lock_pair",
        title: "`Lock`, one pair, uncontended",
        unit: "ns",
        scale: 1e9,
        yardstick: "parking_lot",
        targets: &[AtMost(5.2)],
        items: 10_000_000,
        ..TIME
    },
    Measure {
        name: "lock_contended",
        title: "`Lock`, contended by two",
        unit: "M pairs/s",
        yardstick: "pthread robust",
        targets: &[AtLeast(33.0)],
        ..RATE
    },
    Measure {
        name: "lock_fairness",
        title: "`Lock`, contended by two, share of the slower one",
        yardstick: "pthread robust",
        targets: &[AtLeast(0.4)],
        ..SHARE
    },
    Measure {
        name: "worker_killed",
        title: "a worker killed among 100 tasks: 99 results, 1 error",
        yardstick: "pebble",
        targets: &[AtMost(50.0)],
        alone: true,
        ..MILLIS
    },
];

impl Measure {
    /// What the drivers are asked for. A `quick` run is an eighth of everything.
    pub(crate) fn plan(&self, steps_per_second: f64, quick: bool) -> Plan {
        let part = if quick { 8 } else { 1 };
        Plan {
            measure: self.name.to_owned(),
            items: (self.items / part).max(1),
            seconds: self.seconds / part as f64,
            bytes: if quick { self.bytes.min(64 * MIB) } else { self.bytes },
            task: self.task,
            steps: (self.task * steps_per_second) as u64,
        }
    }

    /// How many times as good `ours` is as `theirs`.
    pub(crate) fn ratio(&self, ours: f64, theirs: f64) -> f64 {
        if self.more { ours / theirs } else { theirs / ours }
    }

    /// Whether all targets are met; `None` if that cannot be told, since a peer is missing.
    pub(crate) fn met(&self, ours: f64, theirs: impl Fn(&str) -> Option<f64>) -> Option<bool> {
        let met = |target: &Target| match *target {
            AtLeast(bound) => Some(ours >= bound),
            AtMost(bound) => Some(ours <= bound),
            Times(factor, peer) => theirs(peer).map(|theirs| self.ratio(ours, theirs) >= factor),
        };
        let all: Vec<Option<bool>> = self.targets.iter().map(met).collect();
        if all.contains(&Some(false)) { Some(false) } else { all.into_iter().collect::<Option<Vec<_>>>().map(|_| true) }
    }

    /// The targets in words.
    pub(crate) fn target(&self) -> String {
        self.targets.iter().map(Target::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtLeast(bound) => write!(f, ">= {bound}"),
            AtMost(bound) => write!(f, "<= {bound}"),
            Times(factor, peer) => write!(f, "{factor}x {peer}"),
        }
    }
}
