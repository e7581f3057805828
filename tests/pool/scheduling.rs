//! Who runs what, and who waits for whom.

use super::common::journal::Journal;
use super::common::links::{HANDLES, on_each_pool, on_nodes, on_ring_pool};
use super::common::proc::{eventually, send_signal, stop};
use multiproc::Event;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Waits until the other task of the round has opened the other end of a pipe, and speaks with it. `fifo(7)`.
fn meet(path: String, write: bool) -> u8 {
    // Who comes first makes it.
    let made = mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    assert!(matches!(made, Ok(()) | Err(rustix::io::Errno::EXIST)), "{made:?}");
    let mut pipe = std::fs::OpenOptions::new().read(!write).write(write).open(&path).unwrap();
    let mut byte = [7];
    if write {
        pipe.write_all(&byte).unwrap();
    } else {
        byte = [0];
        pipe.read_exact(&mut byte).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
    byte[0]
}

/// Two tasks of which each waits for the other run at the same time, whatever else is under way. `MULTIPROC_LONG=1` repeats it
/// more often.
#[test]
fn tasks_that_wait_for_each_other_never_wait_for_a_third() {
    let rounds = if std::env::var_os("MULTIPROC_LONG").is_some() { 10_000 } else { 2_000 };
    on_each_pool(2, 240, |pool| {
        let journal = Journal::new();
        let path = |round: u32| format!("{}.pipe{round}", journal.path());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Short tasks, all the time.
            let short = scope.spawn(|| {
                let mut rounds = 0u64;
                while !over.load(Relaxed) {
                    assert_eq!(pool.map(|x: u64| x + 1, 0..20).unwrap().len(), 20);
                    rounds += 1;
                }
                rounds
            });
            let reader = scope.spawn(|| {
                for round in 0..rounds {
                    assert_eq!(pool.apply(meet, (path(round), false)).unwrap(), 7);
                }
            });
            for round in 0..rounds {
                assert_eq!(pool.apply(meet, (path(round), true)).unwrap(), 7);
            }
            reader.join().unwrap();
            over.store(true, Relaxed);
            assert!(short.join().unwrap() > 0);
        });
    });
}

/// Tasks of the same function that were short so far, and one that is not: the others do not wait behind it.
#[test]
fn a_long_task_among_short_ones_holds_nobody_up() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let work = |gate: &Event, n: u32| {
            if n == 500 {
                gate.wait();
            }
            n
        };
        for round in 0..8 {
            let gate = Event::new();
            let mut results = pool.with(&gate).tasks(work, 0..2000).chunksize(1).unordered();
            let before: HashSet<u32> = results.by_ref().take(1999).map(Result::unwrap).collect();
            assert!(before.len() == 1999 && !before.contains(&500), "round {round}");
            gate.set();
            assert_eq!(results.next().unwrap().unwrap(), 500);
        }
    });
}

/// A worker that is stopped between two tasks: what it has not begun, be it its oldest frame, is run by another.
#[test]
fn what_a_stopped_worker_has_not_begun_is_run_by_others() {
    // Over ipc-channel a frame that was sent cannot be had back.
    on_ring_pool(2, 60, |pool| {
        for round in 0..10 {
            let stopped = pool.worker_pids()[round % 2];
            // Not in the middle of a task of this call.
            stop(stopped);
            let values = pool.tasks(|x: u64| x + 1, 0..500).chunksize(10).run().unwrap();
            assert_eq!(values, (1..=500).collect::<Vec<_>>());
            for x in 0..5 {
                assert_ne!(pool.apply(|_: u64| std::process::id(), (x,)).unwrap(), stopped as u32);
            }
            assert!(send_signal(stopped, Signal::CONT));
            // It takes part again.
            let took_part = || {
                let pids = pool.tasks(
                    |_| {
                        std::thread::sleep(Duration::from_millis(1));
                        std::process::id()
                    },
                    [(); 4],
                );
                pids.chunksize(1).run().unwrap().contains(&(stopped as u32))
            };
            assert!(eventually(Duration::from_secs(20), took_part));
        }
        assert_eq!(pool.stats().restarts, 0);
    });
}

/// A task with a time limit that is cancelled before it has begun leaves its worker free.
#[test]
fn a_cancelled_task_takes_its_time_limit_along() {
    on_ring_pool(1, 60, |pool| {
        let worker = pool.worker_pids()[0];
        stop(worker);
        let waits = pool.task(|| 1, ()).timeout(Duration::from_secs(10_000)).submit().unwrap();
        assert!(waits.cancel() && waits.get().unwrap_err().is_cancelled());
        assert!(send_signal(worker, Signal::CONT));
        assert_eq!(pool.apply(|| 2, ()).unwrap(), 2);
        assert_eq!(pool.worker_pids(), [worker]);
    });
}
