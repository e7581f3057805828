//! Several parties that do the same at the same time, as often as they can.

use multiproc::{Lock, Process, RawValue};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::{Duration, Instant};

const LASTS: Duration = Duration::from_millis(300);

/// What the parties share.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Course {
    /// 0 = wait, 1 = go, 2 = stop.
    flag: RawValue<u32>,
    ready: RawValue<u32>,
}

/// Calls `once` as long as the flag says so; how often it did.
pub(crate) fn race(course: &Course, mut once: impl FnMut()) -> u64 {
    course.ready.fetch_add(1);
    while course.flag.get() == 0 {
        std::hint::spin_loop();
    }
    let mut pairs = 0;
    while course.flag.get() == 1 {
        for _ in 0..100 {
            once();
        }
        pairs += 100;
    }
    pairs
}

/// Runs a race of `parties`: millions of pairs per second of all together, and the share of the slowest one, 1 = even.
pub(crate) fn start<T>(
    parties: impl FnOnce(Course) -> T,
    finish: impl FnOnce(T) -> Vec<u64>,
    count: u32,
) -> (f64, f64) {
    let course = Course { flag: RawValue::new(0), ready: RawValue::new(0) };
    let running = parties(course.clone());
    while course.ready.get() < count {
        std::thread::yield_now();
    }
    course.flag.set(1);
    let start = Instant::now();
    std::thread::sleep(LASTS);
    course.flag.set(2);
    let elapsed = start.elapsed().as_secs_f64();
    let pairs = finish(running);
    let slower = pairs.iter().min().copied().unwrap_or(0) as f64;
    (pairs.iter().sum::<u64>() as f64 / elapsed / 1e6, slower * pairs.len() as f64 / pairs.iter().sum::<u64>() as f64)
}

/// So many processes that take one lock over and over.
pub(crate) fn processes(count: u32) -> (f64, f64) {
    fn party(course: Course, lock: Lock) -> u64 {
        race(&course, || drop(black_box(lock.lock().expect("lock"))))
    }
    let lock = Lock::new();
    let spawn = |course: Course| {
        let one = |_| Process::spawn(party, (course.clone(), lock.clone())).expect("a process");
        (0..count).map(one).collect::<Vec<_>>()
    };
    start(spawn, |crew| multiproc::join_all(crew).expect("the crew"), count)
}

/// So many threads that call `once` over and over.
pub(crate) fn threads(count: u32, once: impl Fn() + Send + Sync + Clone + 'static) -> (f64, f64) {
    let spawn = |course: Course| {
        let one = |_| {
            let (course, once) = (course.clone(), once.clone());
            std::thread::spawn(move || race(&course, once))
        };
        (0..count).map(one).collect::<Vec<_>>()
    };
    start(spawn, |crew| crew.into_iter().map(|it| it.join().expect("a thread")).collect(), count)
}
