//! Many processes at work on one primitive while one after the other is killed, wherever it happens to be: the others go
//! on, and in the end everything is as if nobody had ever held anything.

use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{
    Barrier, Condition, Event, Lock, LockError, Payload, Process, RLock, RawArray, RawValue, RwLock, Semaphore,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const CREW: usize = 3;
const ROUNDS: usize = 300;

/// How long the rounds of one primitive may take; all 300 in the long form: MULTIPROC_LONG=1.
fn limit() -> Duration {
    Duration::from_secs(if std::env::var_os("MULTIPROC_LONG").is_some() { 1000 } else { 4 })
}

/// What the members of a crew share.
#[derive(Clone, Serialize, Deserialize)]
struct Course {
    stop: RawValue<u32>,
    /// How often each of them has done its work.
    done: RawArray<u64>,
    /// Two numbers that are the same as long as nobody dies in between.
    data: RawArray<u64>,
}

impl Course {
    /// Changes what a lock protects; `repair` = a holder has died.
    fn change(&self, repair: bool) {
        let (a, b) = (self.data.get(0), self.data.get(1));
        assert!(repair || a == b, "{a} and {b} although nobody has died");
        self.data.set(0, a + 1);
        std::hint::black_box(self);
        self.data.set(1, a + 1);
    }
}

/// Works until told to stop.
fn member<T: Payload>(course: &Course, at: usize, shared: &T, work: fn(&T, &Course)) {
    while course.stop.get() == 0 {
        work(shared, course);
        course.done.fetch_add(at, 1);
    }
}

/// Has a crew work, and kills one member after the other; `spawn` starts the member of this number.
fn storm(spawn: &dyn Fn(&Course, usize) -> Process<()>) {
    let course = Course { stop: RawValue::new(0), done: RawArray::new(CREW), data: RawArray::new(2) };
    let mut crew: Vec<Process<()>> = (0..CREW).map(|at| spawn(&course, at)).collect();
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS && start.elapsed() < limit() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = (random >> 33) as usize % CREW;
        // All are at work, and then some.
        let before = course.done.read(..);
        let all_go_on = || (0..CREW).all(|at| course.done.get(at) > before[at]);
        assert!(
            eventually(Duration::from_secs(20), all_go_on),
            "round {rounds}: {before:?} {:?}",
            course.done.read(..)
        );
        std::thread::sleep(Duration::from_micros((random >> 40) % 500));
        kill(crew[victim].pid());
        crew[victim].wait();
        assert_eq!(crew[victim].exitcode(), Some(-9), "it has ended before it was killed");
        crew[victim] = spawn(&course, victim);
        rounds += 1;
    }
    println!("{rounds} rounds in {:?}, {:?} turns", start.elapsed(), course.done.read(..));
    assert!(rounds >= 20, "{rounds} rounds");
    course.stop.set(1);
    multiproc::join_all(crew).unwrap();
}

/// [`storm`] for one primitive, which is cloned into each member.
macro_rules! storm {
    ($shared:expr, $type:ty, $work:expr) => {{
        let _watchdog = watchdog(120);
        let shared: &$type = $shared;
        storm(&|course, at| {
            let role = |course: Course, at: usize, shared: $type| member(&course, at, &shared, $work);
            Process::spawn(role, (course.clone(), at, shared.clone())).unwrap()
        });
    }};
}

fn soon(is_so: impl FnMut() -> bool) -> bool {
    eventually(Duration::from_secs(10), is_so)
}

#[test]
fn lock() {
    let lock = Lock::new();
    storm!(&lock, Lock, |lock, course| {
        let held = lock.lock_poisoned().unwrap();
        course.change(held.is_poisoned());
        held.clear_poison();
    });
    assert!(soon(|| !lock.locked()), "{lock:?}");
}

#[test]
fn recursive_lock() {
    let lock = RLock::new();
    storm!(&lock, RLock, |lock, course| {
        let held = lock.lock_poisoned().unwrap();
        lock.with(|| course.change(held.is_poisoned())).unwrap();
        held.clear_poison();
    });
    assert!(soon(|| format!("{lock:?}").starts_with("RLock(owner=None, depth=0")), "{lock:?}");
}

#[test]
fn semaphore() {
    let semaphore = Semaphore::new(2);
    storm!(&semaphore, Semaphore, |semaphore, _| {
        let _permit = semaphore.permit().unwrap();
        assert!(semaphore.get_value() <= 1);
    });
    assert!(soon(|| semaphore.get_value() == 2), "{semaphore:?}");
}

#[test]
fn readers_writer_lock() {
    let lock = RwLock::new();
    storm!(&lock, RwLock, |lock, course| {
        if let Ok(_held) = lock.read() {
            assert_eq!(course.data.get(0), course.data.get(1));
        }
        let held = lock.write_poisoned().unwrap();
        course.change(held.is_poisoned());
        held.clear_poison();
    });
    assert!(soon(|| format!("{lock:?}").starts_with("RwLock(writer=None, readers=0")), "{lock:?}");
}

#[test]
fn event() {
    let event = Event::new();
    storm!(&event, Event, |event, _| {
        event.wait_timeout(Duration::from_micros(200));
        event.set();
        event.clear();
    });
    assert!(!event.wait_timeout(Duration::ZERO));
}

#[test]
fn condition() {
    let condition = Condition::new();
    storm!(&condition, Condition, |condition, course| {
        let held = condition.lock_poisoned().unwrap();
        course.change(held.is_poisoned());
        held.clear_poison();
        condition.notify(1).unwrap();
        let waited: Result<bool, LockError> = condition.wait_timeout(Duration::from_millis(1));
        course.change(waited.is_err_and(|error| error.is_owner_died()));
        held.clear_poison();
    });
    let is_free = || format!("{condition:?}").starts_with("Condition(RLock(owner=None, depth=0");
    assert!(soon(|| is_free() && format!("{condition:?}").ends_with("waiting=0)")), "{condition:?}");
}

#[test]
fn barrier() {
    let barrier = Barrier::with_action(CREW, || ());
    storm!(&barrier, Barrier, |barrier, _| {
        if barrier.wait_timeout(Duration::from_millis(200)).is_err() {
            barrier.reset().unwrap();
        }
    });
    barrier.reset().unwrap();
    assert!(soon(|| barrier.n_waiting() == 0 && !barrier.broken()), "{barrier:?}");
}
