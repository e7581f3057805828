//! Which call goes first.

use super::common::journal::Journal;
use super::common::links::{HANDLES, on_each_link, on_nodes, on_processes_and_threads};
use multiproc::{Event, Pool, RawValue, Semaphore};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

fn hold((inside, gate): &(Semaphore, Event)) {
    inside.release(1).unwrap();
    gate.wait();
}

/// Takes the next number.
fn next(order: &RawValue<u32>, _: u32) -> u32 {
    order.fetch_add(1)
}

#[test]
fn higher_calls_go_first_whoever_came_first_and_however_they_are_made() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(1, 120, |pool| {
        let (mut rounds, mut tries, mut ahead) = (0, 0, 0);
        while rounds < 5 {
            tries += 1;
            assert!(tries <= 60, "this machine is too busy: no round takes less than a second");
            let (both, order) = ((Semaphore::new(0), Event::new()), RawValue::new(0u32));
            let held = pool.with(&both).task(hold, ()).submit().unwrap();
            both.0.acquire().unwrap();
            let start = Instant::now();
            let call = |priority| pool.with(&order).tasks(next, 0..20).chunksize(1).priority(priority);
            let low = call(-128).submit().unwrap();
            let (middle, other) = (call(0).submit().unwrap(), call(0).submit().unwrap());
            let (high, highest) = std::thread::scope(|scope| {
                // A call that blocks. Its thread has to be there when it is its turn, so others may go before it.
                let high = scope.spawn(|| call(60).run().unwrap());
                let highest = call(127).submit().unwrap();
                while pool.stats().jobs.iter().filter(|job| job.tasks == 0).count() < 6 {
                    std::thread::yield_now();
                }
                both.1.set();
                (high.join().unwrap(), highest.get().unwrap())
            });
            let low = low.get().unwrap();
            let mut middle = middle.get().unwrap();
            middle.extend(other.get().unwrap());
            held.get().unwrap();
            assert_eq!(high.len(), 20);
            let earliest_low = *low.iter().min().unwrap();
            ahead += high.iter().filter(|number| **number < earliest_low).count();
            // What has waited for long goes before higher ones: such a round says nothing.
            if start.elapsed() > Duration::from_secs(1) {
                continue;
            }
            rounds += 1;
            let latest = |numbers: &[u32]| *numbers.iter().max().unwrap();
            let earliest = |numbers: &[u32]| *numbers.iter().min().unwrap();
            assert_eq!(latest(&highest), 19, "{highest:?}");
            assert!(latest(&middle) < earliest(&low), "{middle:?} {low:?}");
        }
        // Its thread may be late in one round, and not in all.
        assert!(ahead > 0, "a call of priority 60 is behind one of -128");
    });
}

#[test]
fn nothing_starves() {
    on_each_link(120, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let (over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    // More of them than the workers can take, all the time.
                    while !over.load(Relaxed) {
                        let busy = |_: u32| std::thread::sleep(Duration::from_micros(300));
                        assert_eq!(pool.tasks(busy, 0..100).chunksize(1).priority(20).run().unwrap().len(), 100);
                        rounds.fetch_add(1, Relaxed);
                    }
                });
            }
            let mut submitted = pool.tasks(|x: u32| x, 0..3).chunksize(1).priority(-1).submit().unwrap();
            assert_eq!(submitted.get_timeout(SOON).expect("it has its turn").unwrap(), [0, 1, 2]);
            assert_eq!(pool.tasks(|x: u32| x, 0..3).chunksize(1).run().unwrap(), [0, 1, 2]);
            assert_eq!(pool.tasks(|x: u32| x, 0..3).chunksize(1).iter().flatten().count(), 3);
            assert_eq!(pool.on_each_worker(|| 1, ()).run().unwrap().len(), 2);
            over.store(true, Relaxed);
        });
        assert!(rounds.load(Relaxed) > 0);
    });
}

#[test]
fn calls_of_all_priorities_end_whatever_dies() {
    on_each_link(120, |builder| {
        let pool = builder().processes(2).max_tasks_per_child(40).build().unwrap();
        let journal = Journal::new();
        std::thread::scope(|scope| {
            for thread in 0..4i8 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..20i8 {
                        let work = |x: u32| if x == 7 { std::process::abort() } else { x };
                        let call = pool.tasks(work, 0..20).priority((thread * 7 + round) % 5 - 2);
                        let results = match round % 3 {
                            0 => call.each(),
                            1 => call.unordered().collect(),
                            _ => {
                                let last = call.submit().unwrap().get().unwrap_err();
                                assert!(last.is_worker_lost() && last.index() == 7, "{last}");
                                continue;
                            }
                        };
                        assert_eq!(results.iter().flatten().count(), 19);
                    }
                });
            }
        });
        drop(journal);
        let stats = pool.stats();
        assert_eq!((stats.failed, stats.queued, stats.running), (80, 0, 0), "{stats}");
    });
}

#[test]
fn a_higher_call_that_is_busy_with_its_input_stops_nobody() {
    on_each_link(60, |builder| {
        let pool: Pool = builder().processes(1).build().unwrap();
        let (low, high) = std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let pool = &pool;
            let high = scope.spawn(move || {
                // Its third item comes only when the low call is done.
                let items = (0..3u32).inspect(|n| {
                    if *n == 2 {
                        told.recv_timeout(SOON).unwrap();
                    }
                });
                pool.tasks(|x: u32| x, items).chunksize(1).priority(100).run().unwrap()
            });
            let low = pool.tasks(|x: u32| x, 0..50).priority(-100).run().unwrap();
            tell.send(()).unwrap();
            (low.len(), high.join().unwrap())
        });
        assert_eq!((low, high), (50, vec![0, 1, 2]));
    });
}
