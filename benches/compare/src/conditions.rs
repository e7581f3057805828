//! What the figures were taken on, and how quiet it was there.

use crate::measures::Measure;
use crate::work::WORKERS;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// CPU time so far, in ticks: of the whole machine, and of this process and its children.
pub(crate) struct Load {
    total: f64,
    idle: f64,
    own: f64,
}

impl Load {
    pub(crate) fn now() -> Load {
        let numbers = |text: &str| text.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<f64>>();
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let machine = numbers(machine.lines().next().unwrap_or_default());
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // Behind the name of the program: its state, ten numbers, and the four times.
        let own = numbers(own.rsplit(')').next().unwrap_or_default());
        let sum = |values: &[f64], from: usize, count: usize| values.iter().skip(from).take(count).sum::<f64>();
        Load { total: sum(&machine, 0, 8), idle: sum(&machine, 3, 2), own: sum(&own, 10, 4) }
    }

    /// The share of the machine that others have used since.
    fn of_others(&self) -> f64 {
        let now = Load::now();
        let total = now.total - self.total;
        (total - (now.idle - self.idle) - (now.own - self.own)).max(0.0) / total.max(1.0)
    }
}

/// One paragraph on the machine, the versions and the disturbance.
pub(crate) fn describe(python: Option<&BTreeMap<String, String>>, load: &Load, took: Duration) -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = Command::new("rustc").arg("--version").output().map(|it| it.stdout).unwrap_or_default();
    let rustc = String::from_utf8_lossy(&rustc).split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let mut versions: Vec<String> = crates();
    versions.extend(python.into_iter().flatten().map(|(name, version)| format!("{name} {version}")));
    format!(
        "{WORKERS} workers each; {cpus} CPUs ({}), Linux {}; {rustc}; {}. The run took {} s; other programs used {:.0} % \
         of the machine meanwhile.",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        versions.join(", "),
        took.as_secs(),
        load.of_others() * 100.0,
    )
}

/// The crates beside which this one runs, with the versions that were built.
fn crates() -> Vec<String> {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap_or_default();
    let version = |name: &&str| {
        let block = lock.split("[[package]]").filter(|it| it.contains(&format!("name = \"{name}\"\n"))).last()?;
        let version = block.lines().find_map(|line| line.strip_prefix("version = \""))?;
        Some(format!("{name} {}", version.trim_end_matches('"')))
    };
    ["procspawn", "ipc-channel", "rayon", "tokio", "crossbeam", "parking_lot"].iter().filter_map(version).collect()
}

/// Why a measure cannot run here: its values exist several times at once, on both sides and on the way.
pub(crate) fn too_little_memory(measure: &Measure) -> Option<String> {
    const TIMES: usize = 10;
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().trim_end_matches(" kB").parse::<usize>().ok()? << 10;
    let needs = measure.bytes * TIMES;
    (needs > available).then(|| format!("it needs {} MiB, {} are free", needs >> 20, available >> 20))
}
