//! `Lock` beside the locks of one process and the C library's robust mutex, taken in the same run.
//!
//!     cargo bench --bench lock                # all rows
//!     cargo bench --bench lock -- contended   # the rows whose name contains "contended"
//!
//! Uncontended: nanoseconds for one pair of lock and unlock. Contended: pairs per second of two parties together, each in
//! a process of its own where the lock can do that, and the share of the slower one. Medians of 5 runs; compare ratios
//! within a run, not absolute numbers: machines differ, and drift.

mod common;

use common::race::{processes, threads};
use common::robust::Robust;
use common::{Arguments, RUNS, median};
use multiproc::{Lock, RawValue, Value};
use std::hint::black_box;

/// Nanoseconds for one call.
fn nanos(once: impl FnMut()) -> f64 {
    common::nanos(2_000_000, once)
}

fn uncontended() {
    println!("\n{:24} {:>10}", "uncontended", "ns/pair");
    let row = |name: &str, nanos: f64| println!("{name:24} {nanos:10.1}");
    let lock = Lock::new();
    row("multiproc::Lock", nanos(|| drop(black_box(lock.lock().expect("lock")))));
    let raw = Lock::new();
    row("  raw", nanos(|| raw.acquire().and_then(|()| raw.release()).expect("acquire and release")));
    let mutex = parking_lot::Mutex::new(());
    row("parking_lot::Mutex", nanos(|| drop(black_box(mutex.lock()))));
    let mutex = std::sync::Mutex::new(());
    row("std::sync::Mutex", nanos(|| drop(black_box(mutex.lock()))));
    let robust = Robust::new();
    row("pthread robust", nanos(|| robust.with(|| ())));
    let value = Value::new(0u64);
    row("multiproc::Value +=", nanos(|| *value.lock().expect("lock") += 1));
    let raw = RawValue::new(0u64);
    row("multiproc::RawValue +=", nanos(|| assert!(black_box(raw.fetch_add(1)) < u64::MAX)));
}

fn contended(count: u32) {
    println!("\n{:24} {:>10} {:>16}", format!("contended by {count}"), "M pairs/s", "slowest / even");
    let row = |name: &str, one: &dyn Fn() -> (f64, f64)| {
        let runs: Vec<(f64, f64)> = (0..RUNS).map(|_| one()).collect();
        let (rate, share) = (runs.iter().map(|it| it.0).collect(), runs.iter().map(|it| it.1).collect());
        println!("{name:24} {:10.1} {:16.2}", median(rate), median(share));
    };
    row("multiproc::Lock", &|| processes(count));
    let mutex: std::sync::Arc<parking_lot::Mutex<()>> = std::sync::Arc::default();
    row("parking_lot::Mutex", &|| {
        let mutex = std::sync::Arc::clone(&mutex);
        threads(count, move || drop(black_box(mutex.lock())))
    });
    let mutex: std::sync::Arc<std::sync::Mutex<()>> = std::sync::Arc::default();
    row("std::sync::Mutex", &|| {
        let mutex = std::sync::Arc::clone(&mutex);
        threads(count, move || drop(black_box(mutex.lock())))
    });
    let robust = std::sync::Arc::new(Robust::new());
    row("pthread robust", &|| {
        let robust = std::sync::Arc::clone(&robust);
        threads(count, move || robust.with(|| ()))
    });
}

fn main() {
    let arguments = Arguments::read();
    if arguments.wants("uncontended") {
        uncontended();
    }
    for count in [2, 8] {
        if arguments.wants(&format!("contended_{count}")) {
            contended(count);
        }
    }
}
