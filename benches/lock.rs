//! `Lock` beside the locks of one process and the C library's robust mutex, taken in the same run.
//!
//!     cargo bench --bench lock                # all rows
//!     cargo bench --bench lock -- contended   # the rows whose name contains "contended"
//!
//! Uncontended: nanoseconds for one pair of lock and unlock. Contended: pairs per second of two parties together, each in
//! a process of its own where the lock can do that, and the share of the slower one. Medians of 5 runs; compare ratios
//! within a run, not absolute numbers: machines differ, and drift.

#![allow(unsafe_code)]

mod common;

use common::race::{Course, processes, race, start};
use common::{Arguments, RUNS, median};
use multiproc::{Lock, RawValue, Value};
use std::hint::black_box;
use std::mem::MaybeUninit;

/// Nanoseconds for one call.
fn nanos(once: impl FnMut()) -> f64 {
    common::nanos(2_000_000, once)
}

/// The C library's robust, process-shared mutex.
struct Robust(Box<MaybeUninit<libc::pthread_mutex_t>>);

impl Robust {
    fn new() -> Robust {
        let mut mutex = Box::new(MaybeUninit::<libc::pthread_mutex_t>::uninit());
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        // SAFETY: the target has room for the attributes.
        unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
        // SAFETY: initialised just above.
        unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: initialised just above.
        unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: the target has room for the mutex, and does not move: it is in a box.
        unsafe { libc::pthread_mutex_init(mutex.as_mut_ptr(), attributes.as_ptr()) };
        Robust(mutex)
    }

    fn with(&self, code: impl FnOnce()) {
        let mutex = self.0.as_ptr().cast_mut();
        // SAFETY: initialised in `new`, and alive.
        unsafe { libc::pthread_mutex_lock(mutex) };
        code();
        // SAFETY: locked just above by this thread.
        unsafe { libc::pthread_mutex_unlock(mutex) };
    }
}

// SAFETY: a mutex is made for this.
unsafe impl Send for Robust {}
// SAFETY: as for `Send`.
unsafe impl Sync for Robust {}

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

fn threads(count: u32, once: impl Fn() + Send + Sync + Clone + 'static) -> (f64, f64) {
    let spawn = |course: Course| {
        let one = |_| {
            let (course, once) = (course.clone(), once.clone());
            std::thread::spawn(move || race(&course, once))
        };
        (0..count).map(one).collect::<Vec<_>>()
    };
    start(spawn, |crew| crew.into_iter().map(|it| it.join().expect("a thread")).collect(), count)
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
