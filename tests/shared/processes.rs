//! Handles between processes that are started one by one.

use super::common::alone::alone;
use super::common::proc::{books_are_in_order, eventually};
use super::common::watchdog::watchdog;
use multiproc::{Array, Lock, Pool, Process, RawValue, Value, join_all, shared_memory_report};
use std::time::{Duration, Instant};

#[test]
fn a_crew_shares_a_value() {
    let _watchdog = watchdog(60);
    let (lock, total) = (Lock::new(), Value::new(0u64));
    let work = |lock: Lock, total: Value<u64>, rounds: u64| {
        for _ in 0..rounds {
            let _held = lock.lock().unwrap();
            total.update(|it| *it += 1).unwrap();
        }
    };
    let crew: Vec<_> = (0..4).map(|_| Process::spawn(work, (lock.clone(), total.clone(), 2000)).unwrap()).collect();
    join_all(crew).unwrap();
    assert_eq!(total.get().unwrap(), 8000);
}

#[test]
fn a_result_refers_to_what_the_process_has_made() {
    let _watchdog = watchdog(60);
    for _ in 0..20 {
        let make = |len: usize| (Array::from(&vec![7u32; len]), Value::new(len));
        let (small, large) = (Process::spawn(make, (10,)).unwrap(), Process::spawn(make, (100_000,)).unwrap());
        large.wait();
        let ((array, len), (large, _)) = (small.join().unwrap(), large.join().unwrap());
        assert_eq!((array.read(..).unwrap(), len.get().unwrap()), (vec![7; 10], 10));
        assert_eq!(large.read(99_998..).unwrap(), [7, 7]);
    }
}

#[test]
fn a_grandchild_has_part_too() {
    let _watchdog = watchdog(60);
    let total = RawValue::new(0u32);
    let outer = |total: RawValue<u32>| {
        let inner = |total: RawValue<u32>| total.fetch_add(1);
        Process::spawn(inner, (total.clone(),)).unwrap().join().unwrap();
        let pool = multiproc::Pool::new(2).unwrap();
        pool.with(&total).tasks(|total: &RawValue<u32>, x: u32| total.fetch_add(x), 0..10).run().unwrap();
        total.fetch_add(100);
    };
    Process::spawn(outer, (total.clone(),)).unwrap().join().unwrap();
    assert_eq!(total.get(), 146);
}

#[test]
fn a_killed_process_frees_its_lock_within_100_ms() {
    let _watchdog = watchdog(60);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let (lock, at_it) = (Lock::new(), RawValue::new(0u32));
        let hold = |lock: Lock, at_it: RawValue<u32>| {
            lock.acquire().unwrap();
            at_it.set(1);
            std::thread::sleep(Duration::from_secs(1000));
        };
        let holder = Process::spawn(hold, (lock.clone(), at_it.clone())).unwrap();
        while at_it.get() == 0 {
            std::thread::yield_now();
        }
        assert!(!lock.try_acquire().unwrap());
        holder.kill();
        let killed = Instant::now();
        assert!(lock.lock().unwrap_err().is_owner_died());
        waits.push(killed.elapsed());
        assert_eq!(holder.join().unwrap_err().signal(), Some(9));
    }
    waits.sort();
    // The median, since a machine under load may stop anything for a while.
    assert!(waits[2] < Duration::from_millis(100), "{waits:?}");
}

#[test]
fn more_processes_than_the_table_has_places_one_after_the_other() {
    let _watchdog = watchdog(120);
    let total = RawValue::new(0u32);
    for _ in 0..1100 {
        Process::spawn(|total: RawValue<u32>| total.fetch_add(1), (total.clone(),)).unwrap().join().unwrap();
    }
    assert_eq!(total.get(), 1100);
    assert!(books_are_in_order());
}

/// A child moves into the process table when it reads its first handle, some 100 us after it is ready. `MULTIPROC_LONG=1`
/// kills 10,000.
#[test]
fn children_killed_while_they_move_in_leave_no_place_taken() {
    if !alone("processes::children_killed_while_they_move_in_leave_no_place_taken") {
        return;
    }
    let rounds = if std::env::var_os("MULTIPROC_LONG").is_some() { 10_000 } else { 400 };
    let _watchdog = watchdog(60 + rounds / 20);
    let lock = Lock::new();
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let child = Process::spawn(|lock: Lock| drop(lock), (lock.clone(),)).unwrap();
        let until = Instant::now() + Duration::from_nanos(random % 200_000);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill();
        child.wait();
    }
    let are_all_free = || {
        let report = shared_memory_report().unwrap();
        report.processes == 1 && report.free_slots == report.slots - 1
    };
    assert!(eventually(Duration::from_secs(10), are_all_free), "{:?}", shared_memory_report());
    let pool = Pool::new(1).unwrap();
    assert!(!pool.apply(|lock: Lock| lock.locked(), (lock.clone(),)).unwrap());
}

/// A thread of a killed process goes on until it leaves the system call that it is in; this one writes all the time.
#[test]
fn who_takes_over_from_a_killed_process_finds_it_gone() {
    if !alone("processes::who_takes_over_from_a_killed_process_finds_it_gone") {
        return;
    }
    const LEN: usize = 256 << 20;
    let _watchdog = watchdog(120);
    let path = format!("/dev/shm/multiproc-test-{}", std::process::id());
    struct Removed(String);
    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
    let source = Removed(path.clone());
    std::fs::write(&path, vec![7; LEN]).unwrap();
    let fill = |array: Array<u8>, path: String| {
        let mut file = std::fs::File::open(path).unwrap();
        let mut all = array.lock().unwrap();
        // The system does not look at signals while it copies from a file in memory.
        while std::io::Read::read(&mut file, &mut all).unwrap() > 0 {}
    };
    // How many pages were filled: one after the other.
    let filled = |elements: &[u8]| {
        let pages: Vec<&[u8]> = std::hint::black_box(elements).chunks(4096).collect();
        pages.partition_point(|page| page[0] == 7)
    };
    for _ in 0..2 {
        let array = Array::<u8>::new(LEN);
        let process = Process::spawn(fill, (array.clone(), path.clone())).unwrap();
        while !array.get_lock().locked() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20));
        process.kill();
        assert!(array.lock().err().is_none_or(|error| error.is_owner_died()));
        let held = array.lock_poisoned().unwrap();
        let pages = filled(&held);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(filled(&held), pages, "the dead process has written on");
        drop(held);
        process.wait();
    }
    drop(source);
}
