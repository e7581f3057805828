//! Processes that are stopped, or have written over what they share, and then die: nobody waits for them without limit.

use super::common::alone::alone;
use super::common::proc::{eventually, kill, stop};
use super::common::watchdog::watchdog;
use multiproc::{Barrier, Pool, Process, RwLock, Semaphore, shared_memory_report};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(10);

/// What a process uses that is stopped at some moment; there is enough for all.
type Used = (Semaphore, RwLock, Barrier);

fn use_them((semaphore, lock, barrier): Used) {
    while semaphore.get_value() < 100_000 {
        drop(semaphore.permit());
        drop(lock.read());
        let _ = barrier.wait();
    }
}

/// Stops a process that uses them, and checks that `wait` comes back all the same.
fn while_stopped(rounds: usize, wait: fn(&Used)) {
    let _watchdog = watchdog(300);
    for _ in 0..rounds {
        let used = (Semaphore::new(1000), RwLock::new(), Barrier::new(1));
        let user = Process::spawn(use_them, (used.clone(),)).unwrap();
        while used.0.get_value() == 1000 {
            std::thread::yield_now();
        }
        stop(user.pid());
        let (tell, told) = channel();
        let waits = std::thread::spawn(move || {
            wait(&used);
            tell.send(()).unwrap();
        });
        let in_time = told.recv_timeout(SOON);
        user.kill();
        user.wait();
        waits.join().unwrap();
        assert!(in_time.is_ok(), "it has waited for the one that was stopped");
    }
}

#[test]
fn a_wait_for_a_permit_has_a_limit() {
    while_stopped(20, |(semaphore, ..)| {
        assert!(semaphore.acquire_timeout(LIMIT).is_ok() && semaphore.permit_timeout(LIMIT).is_ok());
        assert!(semaphore.try_acquire().is_ok());
    });
}

#[test]
fn a_wait_to_read_or_write_has_a_limit() {
    while_stopped(20, |(_, lock, _)| {
        assert!(lock.write_timeout(LIMIT).is_ok() && lock.try_read().is_ok());
        // It is held until then: giving it back has no limit.
        std::mem::forget(lock.read_timeout(LIMIT).unwrap());
    });
}

#[test]
fn a_wait_at_a_barrier_has_a_limit() {
    while_stopped(20, |(.., barrier)| {
        let _ = barrier.wait_timeout(LIMIT);
        barrier.abort().unwrap();
        assert!(barrier.broken());
    });
}

/// Takes a permit, writes into the words of the semaphore that a thread which does not exist has it open, and dies.
fn write_over(semaphore: Semaphore) {
    let _permit = semaphore.acquire();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = std::fs::OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
    use std::os::unix::fs::FileExt as _;
    for line in maps.lines().filter(|line| line.contains("memfd:multiproc-heap")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|it| u64::from_str_radix(it, 16).unwrap());
        if end - start != 64 << 20 {
            continue;
        }
        for at in (start..start + (1 << 20)).step_by(64) {
            let mut numbers = [0; 8];
            memory.read_exact_at(&mut numbers, at + 80).unwrap();
            // Its count, one less than was asked for, and its bound.
            if numbers[..4] == 12_344_u32.to_ne_bytes() && numbers[4..] == (i32::MAX as u32).to_ne_bytes() {
                // Thread 77 of the first process, in whose slot nobody was before.
                memory.write_all_at(&(1_u32 << 13 | 77).to_ne_bytes(), at).unwrap();
            }
        }
    }
    std::process::abort();
}

#[test]
fn a_pool_goes_on_when_a_worker_has_written_over_the_shared_memory_and_dies() {
    if !alone("stopped::a_pool_goes_on_when_a_worker_has_written_over_the_shared_memory_and_dies") {
        return;
    }
    let _watchdog = watchdog(60);
    let semaphore = Semaphore::new(12_345);
    let pool = Pool::new(2).unwrap();
    assert!(pool.map_each(write_over, [semaphore.clone()]).iter().all(Result::is_err));
    assert_eq!(pool.apply(|x: u64| x + 1, (1,)).unwrap(), 2);
    let is_told = || shared_memory_report().unwrap().damage.iter().any(|text| text.contains("written off"));
    assert!(eventually(SOON, is_told), "{:?}", shared_memory_report());
    assert!(!semaphore.acquire_timeout(LIMIT).unwrap());
}

/// Asks again and again until it is so.
fn soon(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON);
        std::thread::yield_now();
    }
}

#[test]
fn a_lock_is_free_to_who_does_not_wait_when_those_who_waited_were_killed() {
    let _watchdog = watchdog(60);
    let lock = RwLock::new();
    let writing = lock.write().unwrap();
    let reader = Process::spawn(|lock: RwLock| drop(lock.read()), (lock.clone(),)).unwrap();
    // Until it sleeps, most likely; if it does not yet, the test holds as well.
    std::thread::sleep(Duration::from_millis(50));
    assert!(kill(reader.pid()));
    reader.wait();
    drop(writing);
    soon(|| lock.try_write().unwrap().is_some());

    let reading = lock.read().unwrap();
    let writer = Process::spawn(|lock: RwLock| drop(lock.write()), (lock.clone(),)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(kill(writer.pid()));
    writer.wait();
    let other = lock.clone();
    std::thread::spawn(move || soon(|| other.try_read().unwrap().is_some())).join().unwrap();
    drop(reading);
}
