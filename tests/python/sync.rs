//! Python's own test cases of locks, semaphores, conditions, events and shared values, under their names.

use super::common::proc::eventually;
use super::common::watchdog::watchdog;
use multiproc::{
    Array, BoundedSemaphore, Condition, Event, Lock, Process, RLock, RawArray, RawValue, Semaphore, Value, join_all,
};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Checks that `code` takes at least `least`, and far less than a minute.
pub(super) fn takes<R>(least: Duration, code: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = code();
    let taken = start.elapsed();
    assert!(taken >= least && taken < least + Duration::from_secs(10), "{taken:?} instead of {least:?}");
    result
}

#[test]
fn test_lock() {
    let lock = Lock::new();
    lock.acquire().unwrap();
    assert!(!lock.try_acquire().unwrap());
    lock.release().unwrap();
    assert!(lock.release().unwrap_err().is_not_held());
}

#[test]
fn test_rlock() {
    let lock = RLock::new();
    for _ in 0..3 {
        assert!(lock.try_acquire().unwrap());
    }
    for _ in 0..3 {
        lock.release().unwrap();
    }
    assert!(lock.release().unwrap_err().is_not_held());
}

#[test]
fn test_semaphore() {
    let semaphore = Semaphore::new(2);
    assert_eq!(semaphore.get_value(), 2);
    semaphore.acquire().unwrap();
    assert_eq!(semaphore.get_value(), 1);
    semaphore.acquire().unwrap();
    assert_eq!(semaphore.get_value(), 0);
    assert!(!semaphore.try_acquire().unwrap());
    for value in 1..=4 {
        semaphore.release(1).unwrap();
        assert_eq!(semaphore.get_value(), value);
    }
}

#[test]
fn test_bounded_semaphore() {
    let semaphore = BoundedSemaphore::new(2);
    for value in [1, 0] {
        semaphore.acquire().unwrap();
        assert_eq!(semaphore.get_value(), value);
    }
    assert!(!semaphore.try_acquire().unwrap());
    for value in [1, 2] {
        semaphore.release(1).unwrap();
        assert_eq!(semaphore.get_value(), value);
    }
    assert!(semaphore.release(1).unwrap_err().is_not_held());
    assert_eq!(semaphore.get_value(), 2);
}

#[test]
fn test_timeout() {
    let semaphore = Semaphore::new(0);
    assert!(!takes(Duration::ZERO, || semaphore.try_acquire()).unwrap());
    assert!(!takes(Duration::ZERO, || semaphore.acquire_timeout(Duration::ZERO)).unwrap());
    assert!(!takes(millis(120), || semaphore.acquire_timeout(millis(120))).unwrap());
    assert!(!takes(millis(70), || semaphore.acquire_timeout(millis(70))).unwrap());
}

/// Says that it is there, waits for a notification, and says that it woke up; whether it was notified.
fn sleeper(condition: Condition, sleeping: Semaphore, woken: Semaphore, limit: Option<u64>) -> bool {
    let _held = condition.lock().unwrap();
    sleeping.release(1).unwrap();
    let notified = match limit {
        Some(limit) => condition.wait_timeout(millis(limit)).unwrap(),
        None => condition.wait().map(|()| true).unwrap(),
    };
    woken.release(1).unwrap();
    notified
}

/// Sleepers, half of them processes and half threads.
struct Sleepers {
    condition: Condition,
    sleeping: Semaphore,
    woken: Semaphore,
    processes: Vec<Process<bool>>,
    threads: Vec<std::thread::JoinHandle<bool>>,
}

impl Sleepers {
    fn new(pairs: usize, limit: Option<u64>) -> Sleepers {
        let (condition, sleeping, woken) = (Condition::new(), Semaphore::new(0), Semaphore::new(0));
        let mut sleepers = Sleepers { condition, sleeping, woken, processes: Vec::new(), threads: Vec::new() };
        sleepers.more(pairs, limit);
        sleepers
    }

    fn more(&mut self, pairs: usize, limit: Option<u64>) {
        for _ in 0..pairs {
            let args = (self.condition.clone(), self.sleeping.clone(), self.woken.clone(), limit);
            self.processes.push(Process::spawn(sleeper, args.clone()).unwrap());
            self.threads.push(std::thread::spawn(move || sleeper(args.0, args.1, args.2, args.3)));
        }
        // All have begun; and who has the lock behind them knows that they wait.
        for _ in 0..2 * pairs {
            assert!(self.sleeping.acquire_timeout(SOON).unwrap());
        }
        drop(self.condition.lock().unwrap());
    }

    fn notify(&self, count: usize) -> usize {
        let _held = self.condition.lock().unwrap();
        self.condition.notify(count).unwrap()
    }

    /// Waits until exactly so many have woken up.
    fn woken(&self, count: u32) {
        let woken = eventually(SOON, || self.woken.get_value() >= count);
        std::thread::sleep(millis(20));
        assert!(woken && self.woken.get_value() == count, "{} woken, not {count}", self.woken.get_value());
    }

    /// The answers of all.
    fn join(self) -> Vec<bool> {
        assert!(format!("{:?}", self.condition).ends_with("waiting=0)"), "{:?}", self.condition);
        let mut all = join_all(self.processes).unwrap();
        all.extend(self.threads.into_iter().map(|thread| thread.join().unwrap()));
        all
    }
}

#[test]
fn test_notify() {
    let _watchdog = watchdog(60);
    let sleepers = Sleepers::new(1, None);
    sleepers.woken(0);
    assert_eq!(sleepers.notify(1), 1);
    sleepers.woken(1);
    assert_eq!(sleepers.notify(1), 1);
    sleepers.woken(2);
    assert_eq!(sleepers.join(), [true, true]);
}

#[test]
fn test_notify_all() {
    let _watchdog = watchdog(60);
    let mut sleepers = Sleepers::new(3, Some(300));
    sleepers.woken(6);
    sleepers.more(3, None);
    sleepers.woken(6);
    {
        let _held = sleepers.condition.lock().unwrap();
        assert_eq!(sleepers.condition.notify_all().unwrap(), 6);
    }
    sleepers.woken(12);
    let answers = sleepers.join();
    assert_eq!(answers.iter().filter(|it| **it).count(), 6);
}

#[test]
fn test_notify_n() {
    let _watchdog = watchdog(60);
    let sleepers = Sleepers::new(3, None);
    sleepers.woken(0);
    assert_eq!(sleepers.notify(2), 2);
    sleepers.woken(2);
    assert_eq!(sleepers.notify(4), 4);
    sleepers.woken(6);
    assert_eq!(sleepers.notify(3), 0);
    // It was not kept for those who come now.
    let _held = sleepers.condition.lock().unwrap();
    assert!(!sleepers.condition.wait_timeout(millis(20)).unwrap());
    drop(_held);
    assert_eq!(sleepers.join(), [true; 6]);
}

#[test]
fn test_waitfor() {
    let _watchdog = watchdog(60);
    let (condition, state) = (Condition::new(), RawValue::new(-1));
    let child = |condition: Condition, state: RawValue<i32>| {
        let _held = condition.lock().unwrap();
        state.set(0);
        condition.notify(1).unwrap();
        condition.wait_for(|| state.get() == 4).unwrap();
        state.get()
    };
    let process = Process::spawn(child, (condition.clone(), state.clone())).unwrap();
    {
        let _held = condition.lock().unwrap();
        assert!(condition.wait_for_timeout(|| state.get() == 0, SOON).unwrap());
    }
    for _ in 0..4 {
        std::thread::sleep(millis(10));
        let _held = condition.lock().unwrap();
        state.fetch_add(1);
        condition.notify(1).unwrap();
    }
    assert_eq!(process.join().unwrap(), 4);
}

#[test]
fn test_waitfor_timeout() {
    let _watchdog = watchdog(60);
    let (condition, state, ready) = (Condition::new(), RawValue::new(0), Semaphore::new(0));
    let child = |condition: Condition, state: RawValue<i32>, ready: Semaphore| {
        let _held = condition.lock().unwrap();
        ready.release(1).unwrap();
        let start = Instant::now();
        let came = condition.wait_for_timeout(|| state.get() == 4, millis(100)).unwrap();
        !came && start.elapsed() >= millis(100)
    };
    let process = Process::spawn(child, (condition.clone(), state.clone(), ready.clone())).unwrap();
    assert!(ready.acquire_timeout(SOON).unwrap());
    for _ in 0..3 {
        std::thread::sleep(millis(10));
        let _held = condition.lock().unwrap();
        state.fetch_add(1);
        condition.notify(1).unwrap();
    }
    assert!(process.join().unwrap());
}

#[test]
fn test_wait_result() {
    let _watchdog = watchdog(100);
    let condition = Condition::new();
    let _held = condition.lock().unwrap();
    assert!(!condition.wait_timeout(Duration::ZERO).unwrap());
    assert!(!takes(millis(100), || condition.wait_timeout(millis(100))).unwrap());
    let child = |condition: Condition| {
        let _held = condition.lock().unwrap();
        condition.notify(1).unwrap()
    };
    let process = Process::spawn(child, (condition.clone(),)).unwrap();
    assert!(condition.wait_timeout(Duration::from_secs(60)).unwrap());
    assert_eq!(process.join().unwrap(), 1);
}

#[test]
fn test_event() {
    let _watchdog = watchdog(60);
    let event = Event::new();
    assert!(!event.is_set());
    assert!(!takes(Duration::ZERO, || event.wait_timeout(Duration::ZERO)));
    assert!(!takes(millis(100), || event.wait_timeout(millis(100))));
    event.set();
    assert!(event.is_set());
    takes(Duration::ZERO, || event.wait());
    assert!(event.wait_timeout(Duration::ZERO));
    assert!(takes(Duration::ZERO, || event.wait_timeout(SOON)));
    event.clear();
    assert!(!event.is_set());
    let child = |event: Event| {
        std::thread::sleep(millis(20));
        event.set();
    };
    let process = Process::spawn(child, (event.clone(),)).unwrap();
    event.wait();
    assert!(event.is_set());
    process.join().unwrap();
}

#[test]
fn test_value() {
    let _watchdog = watchdog(60);
    let values =
        (Value::new(4343i32), Value::new(3.625f64), Value::new(-232i16), Value::new(1i64 << 33), Value::new(b'x'));
    let child = |i: Value<i32>, d: Value<f64>, h: Value<i16>, q: Value<i64>, c: Value<u8>| {
        let before = (i.get().unwrap(), d.get().unwrap(), h.get().unwrap(), q.get().unwrap(), c.get().unwrap());
        assert_eq!(before, (4343, 3.625, -232, 1 << 33, b'x'));
        i.set(24234).unwrap();
        d.set(-4.25).unwrap();
        h.set(234).unwrap();
        q.set(1 << 34).unwrap();
        c.set(b'y').unwrap();
    };
    Process::spawn(child, values.clone()).unwrap().join().unwrap();
    let (i, d, h, q, c) = &values;
    let after = (i.get().unwrap(), d.get().unwrap(), h.get().unwrap(), q.get().unwrap(), c.get().unwrap());
    assert_eq!(after, (24234, -4.25, 234, 1 << 34, b'y'));
}

#[test]
fn test_rawvalue() {
    let _watchdog = watchdog(60);
    let values = (RawValue::new(4343i32), RawValue::new(3.625f64), RawValue::new(1i64 << 33));
    let child = |i: RawValue<i32>, d: RawValue<f64>, q: RawValue<i64>| {
        assert_eq!((i.get(), d.get(), q.get()), (4343, 3.625, 1 << 33));
        i.set(24234);
        d.set(-4.25);
        q.set(1 << 34);
    };
    Process::spawn(child, values.clone()).unwrap().join().unwrap();
    assert_eq!((values.0.get(), values.1.get(), values.2.get()), (24234, -4.25, 1 << 34));
}

/// What has no lock in Python is another type here, so most of the original cannot be written down.
#[test]
fn test_getobj_getlock() {
    let own = Value::new(5i32);
    drop(own.get_lock().lock().unwrap());
    let lock = Lock::new();
    let given = Value::with_lock(5i32, &lock).unwrap();
    let held = given.get_lock().lock().unwrap();
    assert!(lock.locked() && given.get().unwrap_err().is_would_deadlock());
    drop(held);
    assert_eq!(given.get().unwrap(), 5);
}

const SEQUENCE: [i32; 10] = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];

fn sums(elements: &mut [i32]) {
    for at in 1..elements.len() {
        elements[at] += elements[at - 1];
    }
}

#[test]
fn test_array() {
    let _watchdog = watchdog(60);
    let array = Array::from(&SEQUENCE);
    assert_eq!((array.len(), array.get(3).unwrap()), (10, SEQUENCE[3]));
    assert_eq!(array.read(2..7).unwrap(), SEQUENCE[2..7]);
    let mut expected = SEQUENCE;
    expected[4..8].copy_from_slice(&[1, 2, 3, 4]);
    array.write(4, &[1, 2, 3, 4]).unwrap();
    assert_eq!(array.read(..).unwrap(), expected);
    let child = |array: Array<i32>| sums(&mut array.lock().unwrap());
    Process::spawn(child, (array.clone(),)).unwrap().join().unwrap();
    sums(&mut expected);
    assert_eq!(array.read(..).unwrap(), expected);
}

#[test]
fn test_rawarray() {
    let _watchdog = watchdog(60);
    let array = RawArray::from(&SEQUENCE);
    let mut expected = SEQUENCE;
    assert_eq!((array.len(), array.get(3)), (10, SEQUENCE[3]));
    let child = |array: RawArray<i32>| {
        let mut all = array.read(..);
        sums(&mut all);
        array.write(0, &all);
    };
    Process::spawn(child, (array.clone(),)).unwrap().join().unwrap();
    sums(&mut expected);
    assert_eq!(array.read(..), expected);
}

#[test]
fn test_array_from_size() {
    for _ in 0..3 {
        let array: Array<i32> = Array::new(10);
        assert_eq!(array.read(..).unwrap(), [0; 10]);
        let range: Vec<i32> = (0..10).collect();
        array.write(0, &range).unwrap();
        assert_eq!(array.read(..).unwrap(), range);
    }
}
