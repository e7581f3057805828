//! The synchronisation types and shared data beside Python's own, taken in the same run.
//!
//!     cargo bench --bench sync                 # all rows
//!     cargo bench --bench sync -- barrier      # the rows whose name contains "barrier"
//!     cargo bench --bench sync -- --no-python  # without the peer
//!
//! Nanoseconds for one pair of operations of one process, microseconds for one round trip of two, millions of pairs per
//! second of several processes together, GiB/s for 8 MiB of numbers. Medians of 5 runs; compare ratios, not absolute
//! numbers: machines differ, and drift. `benches/lock.rs` has the locks of other libraries beside [`multiproc::Lock`].

mod common;

use common::{Row, race, runs};
use multiproc::{Array, Barrier, Condition, Event, Lock, Pool, Process, RLock, RawValue, RwLock, Semaphore, Value};
use std::hint::black_box;
use std::time::Instant;

/// Nanoseconds for one call.
fn nanos(once: impl FnMut()) -> f64 {
    common::nanos(500_000, once)
}

/// How many round trips make one run.
const TRIPS: u32 = 5000;

/// Microseconds for one call of `once`, which answers to what a process does over and over until it has done it as often.
fn micros(process: impl Fn(u32) -> Process<()>, mut once: impl FnMut()) -> f64 {
    runs(|| {
        let other = process(TRIPS + 1);
        // The first waits until the process is there.
        once();
        let start = Instant::now();
        for _ in 0..TRIPS {
            once();
        }
        let taken = start.elapsed().as_secs_f64() * 1e6 / f64::from(TRIPS);
        other.join().expect("the other side");
        taken
    })
}

fn lock_pair() -> f64 {
    let lock = Lock::new();
    nanos(|| drop(black_box(lock.lock().expect("lock"))))
}

fn contended_2() -> f64 {
    runs(|| race::processes(2).0)
}

fn contended_8() -> f64 {
    runs(|| race::processes(8).0)
}

fn value_update() -> f64 {
    let value = Value::new(0_i64);
    nanos(|| *value.lock().expect("lock") += 1)
}

/// 8 MiB.
const NUMBERS: usize = 1 << 20;

/// GiB/s if one call of `once` passes over all numbers.
fn bandwidth(mut once: impl FnMut()) -> f64 {
    let calls = 50;
    runs(|| {
        let start = Instant::now();
        (0..calls).for_each(|_| once());
        f64::from(calls) * (NUMBERS * 8) as f64 / start.elapsed().as_secs_f64() / f64::from(1 << 30)
    })
}

fn array_read() -> f64 {
    let array = Array::<f64>::new(NUMBERS);
    bandwidth(|| drop(black_box(array.read(..).expect("read"))))
}

fn array_write() -> f64 {
    let (array, numbers) = (Array::<f64>::new(NUMBERS), vec![1.0; NUMBERS]);
    bandwidth(|| array.write(0, black_box(&numbers)).expect("write"))
}

/// Looked at where it lies.
fn array_slice() -> f64 {
    let array = Array::<i64>::new(NUMBERS);
    bandwidth(|| assert_eq!(black_box(array.lock().expect("lock").iter().sum::<i64>()), 0))
}

/// By a task of a pool, which is given the handle.
fn array_in_a_task() -> f64 {
    let (pool, array) = (Pool::new(1).expect("a pool"), Array::<i64>::new(NUMBERS));
    let sum = |array: Array<i64>| array.lock().expect("lock").iter().sum::<i64>();
    bandwidth(|| assert_eq!(pool.apply(sum, (array.clone(),)).expect("a sum"), 0))
}

fn rlock_pair() -> f64 {
    let lock = RLock::new();
    nanos(|| drop(black_box(lock.lock().expect("lock"))))
}

fn semaphore_pair() -> f64 {
    let semaphore = Semaphore::new(1);
    nanos(|| semaphore.acquire().and_then(|()| semaphore.release(1)).expect("acquire and release"))
}

fn permit_pair() -> f64 {
    let semaphore = Semaphore::new(1);
    nanos(|| drop(black_box(semaphore.permit().expect("permit"))))
}

fn read_pair() -> f64 {
    let lock = RwLock::new();
    nanos(|| drop(black_box(lock.read().expect("read"))))
}

fn write_pair() -> f64 {
    let lock = RwLock::new();
    nanos(|| drop(black_box(lock.write().expect("write"))))
}

fn event_pair() -> f64 {
    let event = Event::new();
    nanos(|| {
        event.set();
        event.clear();
    })
}

fn semaphore_trip() -> f64 {
    fn answer(there: Semaphore, back: Semaphore, count: u32) {
        for _ in 0..count {
            there.acquire().expect("acquire");
            back.release(1).expect("release");
        }
    }
    let (there, back) = (Semaphore::new(0), Semaphore::new(0));
    let spawn = |count| Process::spawn(answer, (there.clone(), back.clone(), count)).expect("a process");
    micros(spawn, || {
        there.release(1).expect("release");
        back.acquire().expect("acquire");
    })
}

fn event_trip() -> f64 {
    fn answer(there: Event, back: Event, count: u32) {
        for _ in 0..count {
            there.wait();
            there.clear();
            back.set();
        }
    }
    let (there, back) = (Event::new(), Event::new());
    let spawn = |count| Process::spawn(answer, (there.clone(), back.clone(), count)).expect("a process");
    micros(spawn, || {
        there.set();
        back.wait();
        back.clear();
    })
}

fn condition_trip() -> f64 {
    /// Waits for its turn, and gives it to the other.
    fn turn(condition: &Condition, whose: &RawValue<u32>, mine: u32) {
        let _held = condition.lock().expect("lock");
        condition.wait_for(|| whose.get() == mine).expect("wait");
        whose.set(1 - mine);
        condition.notify(1).expect("notify");
    }
    fn answer(condition: Condition, whose: RawValue<u32>, count: u32) {
        (0..count).for_each(|_| turn(&condition, &whose, 1));
    }
    let (condition, whose) = (Condition::new(), RawValue::new(0));
    let spawn = |count| Process::spawn(answer, (condition.clone(), whose.clone(), count)).expect("a process");
    micros(spawn, || turn(&condition, &whose, 0))
}

fn barrier_round() -> f64 {
    fn answer(barrier: Barrier, count: u32) {
        (0..count).for_each(|_| _ = barrier.wait().expect("wait"));
    }
    let barrier = Barrier::new(2);
    let spawn = |count| Process::spawn(answer, (barrier.clone(), count)).expect("a process");
    micros(spawn, || _ = barrier.wait().expect("wait"))
}

const ROWS: &[Row] = &[
    ("lock_pair", "ns", lock_pair),
    ("lock_contended_2", "M/s", contended_2),
    ("lock_contended_8", "M/s", contended_8),
    ("value_update", "ns", value_update),
    ("array_read", "GiB/s", array_read),
    ("array_write", "GiB/s", array_write),
    ("array_slice", "GiB/s", array_slice),
    ("array_in_a_task", "GiB/s", array_in_a_task),
    ("rlock_pair", "ns", rlock_pair),
    ("semaphore_pair", "ns", semaphore_pair),
    ("permit_pair", "ns", permit_pair),
    ("rwlock_read_pair", "ns", read_pair),
    ("rwlock_write_pair", "ns", write_pair),
    ("event_set_clear", "ns", event_pair),
    ("semaphore_round_trip", "us", semaphore_trip),
    ("event_round_trip", "us", event_trip),
    ("condition_round_trip", "us", condition_trip),
    ("barrier_round", "us", barrier_round),
];

const PYTHON: &str = r#"
import sys, time, statistics, multiprocessing as mp
TRIPS = 5000
def nanos(once, calls=50000):
    def run():
        t = time.perf_counter()
        for _ in range(calls): once()
        return (time.perf_counter() - t) * 1e9 / calls
    run(); return statistics.median(run() for _ in range(5))
def micros(answer, args, once):
    def run():
        other = mp.Process(target=answer, args=(*args, TRIPS + 1)); other.start()
        once()
        t = time.perf_counter()
        for _ in range(TRIPS): once()
        t = (time.perf_counter() - t) * 1e6 / TRIPS
        other.join(); return t
    run(); return statistics.median(run() for _ in range(5))
def pair(lock):
    def once(): lock.acquire(); lock.release()
    return nanos(once)
def party(lock, go, stop, out):
    go.wait(); pairs = 0
    while not stop.value:
        for _ in range(100): lock.acquire(); lock.release()
        pairs += 100
    out.put(pairs)
def contended(n):
    def run():
        lock, go, stop, out = mp.Lock(), mp.Event(), mp.RawValue("i", 0), mp.Queue()
        crew = [mp.Process(target=party, args=(lock, go, stop, out)) for _ in range(n)]
        for p in crew: p.start()
        t = time.perf_counter(); go.set(); time.sleep(0.3); stop.value = 1
        t = time.perf_counter() - t
        pairs = sum(out.get() for _ in crew)
        for p in crew: p.join()
        return pairs / t / 1e6
    run(); return statistics.median(run() for _ in range(5))
def value_update():
    v = mp.Value("q", 0)
    def once():
        with v.get_lock(): v.value += 1
    return nanos(once)
NUMBERS = 1 << 20
def bandwidth(once):
    return NUMBERS * 8 / (nanos(once, 20) / 1e9) / (1 << 30)
def array_read():
    a = mp.Array("d", NUMBERS)
    def once():
        with a.get_lock(): bytes(memoryview(a.get_obj()))
    return bandwidth(once)
def array_write():
    a, data = mp.Array("d", NUMBERS), bytes(NUMBERS * 8)
    def once():
        with a.get_lock(): memoryview(a.get_obj()).cast("B")[:] = data
    return bandwidth(once)
def event_pair():
    e = mp.Event()
    def once(): e.set(); e.clear()
    return nanos(once, 5000)
def semaphore_answer(there, back, n):
    for _ in range(n): there.acquire(); back.release()
def semaphore_trip():
    a, b = mp.Semaphore(0), mp.Semaphore(0)
    def once(): a.release(); b.acquire()
    return micros(semaphore_answer, (a, b), once)
def event_answer(there, back, n):
    for _ in range(n): there.wait(); there.clear(); back.set()
def event_trip():
    a, b = mp.Event(), mp.Event()
    def once(): a.set(); b.wait(); b.clear()
    return micros(event_answer, (a, b), once)
def turn(c, whose, mine):
    with c:
        c.wait_for(lambda: whose.value == mine)
        whose.value = 1 - mine
        c.notify()
def condition_answer(c, whose, n):
    for _ in range(n): turn(c, whose, 1)
def condition_trip():
    c, whose = mp.Condition(), mp.RawValue("i", 0)
    return micros(condition_answer, (c, whose), lambda: turn(c, whose, 0))
def barrier_answer(b, n):
    for _ in range(n): b.wait()
def barrier_round():
    b = mp.Barrier(2)
    return micros(barrier_answer, (b,), lambda: b.wait())
rows = {
    "lock_pair": lambda: pair(mp.Lock()),
    "lock_contended_2": lambda: contended(2),
    "lock_contended_8": lambda: contended(8),
    "value_update": value_update,
    "array_read": array_read,
    "array_write": array_write,
    "rlock_pair": lambda: pair(mp.RLock()),
    "semaphore_pair": lambda: pair(mp.Semaphore(1)),
    "permit_pair": lambda: pair(mp.Semaphore(1)),
    "event_set_clear": event_pair,
    "semaphore_round_trip": semaphore_trip,
    "event_round_trip": event_trip,
    "condition_round_trip": condition_trip,
    "barrier_round": barrier_round,
}
if __name__ == "__main__":
    mp.set_start_method("fork")
    name = sys.argv[1]
    if name in rows: print(rows[name]())
"#;

fn main() {
    common::table(ROWS, PYTHON);
}
