//! The heap under load and under fire: nothing is lost but what a kill may cost.

use super::common::alone::{alone, alone_by};
use super::common::proc::kill;
use super::common::watchdog::watchdog;
use multiproc::{Array, Lock, Pool, Value, shared_memory_report};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[test]
fn a_hundred_thousand_handles_leave_nothing_behind() {
    if !alone("faults::a_hundred_thousand_handles_leave_nothing_behind") {
        return;
    }
    let _watchdog = watchdog(120);
    drop(Lock::new());
    let before = shared_memory_report().unwrap();
    for round in 0..10 {
        let locks: Vec<Lock> = (0..10_000).map(|_| Lock::new()).collect();
        let report = shared_memory_report().unwrap();
        assert_eq!(report.blocks, before.blocks + 10_000, "{round}");
        assert!(report.damage.is_empty() && report.lost == 0, "{report:?}");
        drop(locks);
    }
    for round in 0..200 {
        let large = Array::<u64>::new(1 << 18);
        large.set(1 << 17, round).unwrap();
    }
    assert_eq!(shared_memory_report().unwrap(), before);
    // What was freed was given back to the system, or used again.
    let shared = |key: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB")).unwrap().to_owned();
        line.trim().parse::<u64>().unwrap()
    };
    assert!(shared("RssShmem:") < 20 * 1024, "{} KiB", shared("RssShmem:"));
}

#[test]
fn exhausted_memory_is_an_error_and_passes() {
    // 4096 blocks of 512 bytes or 1 KiB, as the shell has it.
    let starter = ["sh", "-c", "ulimit -f 4096; exec \"$0\" \"$@\""];
    if !alone_by(&starter, "faults::exhausted_memory_is_an_error_and_passes") {
        return;
    }
    let _watchdog = watchdog(60);
    let error = Array::<u8>::try_new(1 << 30).unwrap_err();
    assert!(error.is_shared_memory(), "{error}");
    assert_eq!(error.to_string(), "shared memory is exhausted");
    for _ in 0..3 {
        let mut locks = Vec::new();
        let error = loop {
            match Lock::try_new() {
                Ok(lock) => locks.push(lock),
                Err(error) => break error,
            }
        };
        assert!(error.is_shared_memory(), "{error}");
        assert!(locks.len() > 1000, "{}", locks.len());
        assert!(std::panic::catch_unwind(Lock::new).is_err());
        // What there is still works.
        assert_eq!(locks.iter().map(|lock| lock.with(|| 1).unwrap()).sum::<usize>(), locks.len());
    }
    drop(Lock::new());
}

#[test]
fn a_killed_worker_holds_nothing_any_more() {
    if !alone("faults::a_killed_worker_holds_nothing_any_more") {
        return;
    }
    let _watchdog = watchdog(120);
    let pool = Pool::new(2).unwrap();
    let before = shared_memory_report().unwrap();
    for _ in 0..10 {
        let lost = pool.map_each(
            |x: u32| {
                let many: Vec<Value<u32>> = (0..1000).map(Value::new).collect();
                if x % 2 == 1 {
                    std::process::abort();
                }
                many.len()
            },
            0..4,
        );
        assert_eq!(lost.iter().filter(|it| it.is_err()).count(), 2);
    }
    drop(pool);
    let after = shared_memory_report().unwrap();
    assert_eq!((after.blocks, after.damage), (before.blocks, vec![]));
    assert!(after.lost <= 20, "{}", after.lost);
}

/// Allocates, passes on and drops handles at random for a while.
fn churn((end, seed): (u64, u64)) -> Vec<(Lock, Value<u64>)> {
    let mut random = seed;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut held: Vec<(Lock, Value<u64>)> = Vec::new();
    for _ in 0..end {
        match next(4) {
            0 if !held.is_empty() => drop(held.swap_remove(next(held.len() as u64) as usize)),
            1 => held.push((Lock::new(), Value::new(next(100)))),
            2 => drop(Array::<u8>::new(next(100_000) as usize + 1)),
            _ => {
                if let Some((lock, value)) = held.last() {
                    lock.with(|| value.update(|it| *it += 1).unwrap()).unwrap();
                }
            }
        }
    }
    held.truncate(20);
    held
}

#[test]
fn kills_cost_one_block_each_at_most() {
    if !alone("faults::kills_cost_one_block_each_at_most") {
        return;
    }
    // 10 s in the long form: MULTIPROC_LONG=1.
    let long = std::env::var_os("MULTIPROC_LONG").is_some();
    let lasts = Duration::from_secs(if long { 10 } else { 3 });
    let _watchdog = watchdog(120);
    let pool = Pool::new(4).unwrap();
    drop(Lock::new());
    let stop = AtomicBool::new(false);
    let before = shared_memory_report().unwrap();
    let (mut kills, mut tasks, mut lost) = (0, 0, 0);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let (mut kills, mut at) = (0, 0);
            while !stop.load(Relaxed) {
                let pids = pool.worker_pids();
                if let Some(pid) = pids.get(at % pids.len().max(1)) {
                    kills += u32::from(kill(*pid));
                }
                at += 1;
                std::thread::sleep(Duration::from_millis(15));
            }
            kills
        });
        let start = Instant::now();
        let mut kept: Vec<(Lock, Value<u64>)> = Vec::new();
        while start.elapsed() < lasts {
            let results = pool.map_each(churn, (0..16).map(|seed| (300, seed * 7919 + tasks)));
            for result in results {
                tasks += 1;
                match result {
                    Ok(held) => kept.extend(held),
                    Err(error) => {
                        assert!(error.is_worker_lost(), "{error}");
                        lost += 1;
                    }
                }
            }
            // Pass them on to other workers, and see that they are what they were.
            let passed =
                pool.map_each(|(lock, value): (Lock, Value<u64>)| (lock.locked(), value.get().is_ok()), kept.drain(..));
            assert!(passed.iter().flatten().all(|it| *it == (false, true)));
        }
        stop.store(true, Relaxed);
        kills = killer.join().unwrap();
    });
    drop(pool);
    let after = shared_memory_report().unwrap();
    println!("{tasks} tasks, {kills} kills, {lost} tasks lost, {} blocks lost", after.lost);
    assert!(kills > 10 && tasks > 100);
    assert!(after.damage.is_empty(), "{after:?}");
    assert_eq!(after.blocks, before.blocks, "{after:?}");
    assert!(after.lost <= kills as usize, "{} blocks lost by {kills} kills", after.lost);
}
