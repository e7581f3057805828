//! The tasks and the payloads, the same for every peer that is written in Rust. `driver.py` has their like.

use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Every peer has so many workers.
pub(crate) const WORKERS: usize = 2;

/// How many tasks `worker_killed` has, and which of them kills its worker.
pub(crate) const KILLED_AMONG: u64 = 100;
const VICTIM: u64 = 37;

pub(crate) fn increment(x: u64) -> u64 {
    x + 1
}

pub(crate) fn increment_or_die(x: u64) -> u64 {
    if x == VICTIM {
        kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    }
    x + 1
}

/// Work of the CPU alone: so many steps, each of which needs the one before.
pub(crate) fn burn(steps: u64) -> u64 {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..steps {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    std::hint::black_box(x)
}

/// How many steps of [`burn`] this machine does in a second of CPU time, at its best of several tries.
pub(crate) fn steps_per_second() -> f64 {
    const STEPS: u64 = 2_000_000;
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time").as_secs_f64();
    let once = |_| {
        let start = now();
        burn(STEPS);
        STEPS as f64 / (now() - start)
    };
    (0..9).map(once).fold(0.0, f64::max)
}

pub(crate) fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Reads all values, with eight sums beside each other: the bound is the memory, not the latency of an addition.
pub(crate) fn sum(values: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for eight in values.chunks_exact(8) {
        for (sum, value) in sums.iter_mut().zip(eight) {
            *sum += value;
        }
    }
    sums.iter().sum()
}

pub(crate) fn sum_of(values: Vec<f64>) -> f64 {
    sum(&values)
}

/// Bytes that are not all the same: the kernel has one page for all that is zero, and gives it out for nothing.
pub(crate) fn bytes(seed: u64, count: usize) -> Vec<u8> {
    words(seed).flat_map(u64::to_le_bytes).take(count).collect()
}

/// Numbers between 0 and 1, of which `bytes` bytes.
pub(crate) fn floats(seed: u64, bytes: usize) -> Vec<f64> {
    words(seed).map(|word| word as f64 / u64::MAX as f64).take(bytes / 8).collect()
}

fn words(seed: u64) -> impl Iterator<Item = u64> {
    let step = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(seed), step).skip(1)
}

/// Seconds that `code` takes.
pub(crate) fn seconds(code: impl FnOnce()) -> f64 {
    let start = Instant::now();
    code();
    start.elapsed().as_secs_f64()
}
