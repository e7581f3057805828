//! `imap` and `imap_unordered`: lazily, in bounded memory.

use super::common::links::{HANDLES, on_each_link, on_each_pool, on_nodes, on_ring_pool};
use super::common::proc::kill;
use multiproc::{Event, RawValue};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

#[test]
fn results_come_one_by_one() {
    on_each_pool(2, 60, |pool| {
        let all: Vec<u64> = pool.imap(|x: u64| x * x, 0..1000).map(Result::unwrap).collect();
        assert_eq!(all, (0..1000).map(|x| x * x).collect::<Vec<_>>());
        for chunk in [1, 7, 100] {
            let squares = pool.tasks(|x: u64| x * x, 0..200).chunksize(chunk);
            let all: Vec<u64> = squares.iter().map(Result::unwrap).collect();
            assert_eq!(all, (0..200).map(|x| x * x).collect::<Vec<_>>());
            let mut all: Vec<u64> =
                pool.tasks(|x: u64| x, 0..200).chunksize(chunk).unordered().map(Result::unwrap).collect();
            all.sort();
            assert_eq!(all, (0..200).collect::<Vec<_>>());
        }
        let mut empty = pool.imap(|x: u64| x, []);
        assert!(empty.next().is_none() && empty.next().is_none());
        let mut texts = pool.imap(|text: String| text + "!", ["a".to_owned()]);
        assert_eq!(texts.next().unwrap().unwrap(), "a!");
        assert!(texts.next().is_none());
    });
}

#[test]
fn an_error_does_not_end_the_stream() {
    on_each_pool(2, 60, |pool| {
        let task = |x: u64| {
            assert!(x % 10 != 3, "three");
            if x == 15 {
                std::process::abort();
            }
            x
        };
        let all: Vec<_> = pool.tasks(task, 0..40).chunksize(4).iter().collect();
        assert_eq!(all.len(), 40);
        for (x, result) in (0..).zip(&all) {
            match result {
                Ok(value) => assert_eq!(*value, x),
                Err(error) if x == 15 => assert!(error.is_worker_lost(), "{error}"),
                Err(error) => assert!(x % 10 == 3 && error.is_panic() && error.index() == x, "{error}"),
            }
        }
        assert_eq!(all.iter().filter(|it| it.is_err()).count(), 5);
        let all: Vec<_> = pool.tasks(|x: u64| if x == 1 { Err("no") } else { Ok(x) }, 0..3).fallible().iter().collect();
        assert!(all[1].as_ref().unwrap_err().is_error());
        let all: Vec<_> = pool.imap_unordered(task, 0..40).collect();
        assert_eq!((all.len(), all.iter().filter(|it| it.is_err()).count()), (40, 5));
    });
}

#[test]
fn input_is_read_as_far_as_there_is_room() {
    on_each_pool(2, 60, |pool| {
        let read = Cell::new(0u64);
        let endless = (0u64..).inspect(|_| read.set(read.get() + 1));
        let mut results = pool.tasks(|x: u64| x, endless).buffersize(10).iter();
        std::thread::sleep(Duration::from_millis(50));
        assert!(read.get() <= 10, "{}", read.get());
        for x in 0..1000 {
            assert_eq!(results.next().unwrap().unwrap(), x);
            assert!(read.get() <= x + 11, "{} at {x}", read.get());
        }
        drop(results);
        assert_eq!(pool.apply(|x: u64| x, (1,)).unwrap(), 1);
    });
}

#[test]
fn dropping_a_stream_cancels_what_has_not_begun() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let (count, gate) = (RawValue::new(0u32), Event::new());
        let slow = |(count, gate): (RawValue<u32>, Event)| {
            // The first one ends at once, and the others have begun at most.
            if count.fetch_add(1) > 0 {
                gate.wait();
            }
        };
        let items = std::iter::repeat((count.clone(), gate.clone()));
        let mut results = pool.tasks(slow, items).chunksize(1).buffersize(50).iter();
        results.next().unwrap().unwrap();
        drop(results);
        gate.set();
        pool.apply(|| (), ()).unwrap();
        let begun = count.get();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(count.get(), begun);
        assert!(begun <= 2, "{begun}");
    });
}

#[test]
fn a_panic_in_the_input_comes_after_the_good_results() {
    on_each_pool(2, 60, |pool| {
        for chunk in [1, 4] {
            let input = (0..20u64).map(|x| if x == 7 { panic!("the input, on purpose") } else { x });
            let mut results = pool.tasks(|x: u64| x * x, input).chunksize(chunk).iter();
            for x in 0..7 {
                assert_eq!(results.next().unwrap().unwrap(), x * x);
            }
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.next()));
            assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"the input, on purpose"));
            assert!(results.next().is_none());
        }
        assert_eq!(pool.map(|x: u64| x, 0..3).unwrap(), [0, 1, 2]);
    });
}

#[test]
fn a_wait_for_the_next_result_can_time_out() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let (open, gate) = (Event::new(), Event::new());
        open.set();
        let mut results = pool.imap(|gate: Event| gate.wait(), [open.clone(), gate.clone(), open]);
        assert!(results.next().unwrap().is_ok());
        assert!(results.next_timeout(Duration::from_millis(10)).is_pending());
        gate.set();
        assert!(matches!(results.next_timeout(Duration::from_secs(30)), Poll::Ready(Some(Ok(_)))));
        assert!(results.next().unwrap().is_ok());
        assert!(matches!(results.next_timeout(Duration::ZERO), Poll::Ready(None)));
    });
}

#[test]
fn a_stream_ends_with_its_pool() {
    on_each_link(60, |builder| {
        let pool = builder().processes(1).build().unwrap();
        let results = pool.tasks(|_: u64| std::thread::sleep(Duration::from_secs(1000)), 0..).buffersize(5).iter();
        pool.terminate();
        let mut errors = 0;
        for result in results {
            assert!(result.unwrap_err().is_terminated());
            errors += 1;
        }
        assert!((1..=6).contains(&errors), "{errors}");
        let refused: Vec<_> = pool.imap(|x: u64| x, 0..5).collect();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].as_ref().unwrap_err().is_terminated());
    });
}

#[test]
fn a_slow_consumer_of_an_endless_input_keeps_memory_flat() {
    fn resident() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }
    on_ring_pool(2, 120, |pool| {
        let mut results = pool.imap(|x: u64| x, 0..);
        let mut early = 0;
        for count in 0..1_000_000u64 {
            assert_eq!(results.next().unwrap().unwrap(), count);
            if count == 10_000 {
                std::thread::sleep(Duration::from_millis(200));
                early = resident();
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        let late = resident();
        assert!(late < early + early / 10 + (8 << 20), "{early} bytes after 10,000 items, {late} after a million");
    });
}

#[test]
fn large_results_are_taken_by_one_thread_at_a_time() {
    // They are decoded without the pool's lock, while its own thread would like to be of use as well.
    on_each_pool(1, 60, |pool| {
        for round in 0..50 {
            let results = pool.imap(|x: u64| vec![x; 1000], 0..500);
            for (x, result) in (0..).zip(results) {
                let values = result.unwrap();
                assert!(values.len() == 1000 && values[999] == x, "{round}");
            }
        }
    });
}

#[test]
fn threads_share_a_pool_for_large_results() {
    on_each_pool(2, 60, |pool| {
        let large = |x: u64| vec![x; 1000];
        let check = |x: u64, values: Vec<u64>| assert!(values.len() == 1000 && values[0] == x && values[999] == x);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    for round in 0..10 {
                        let first = 1000 * thread + 100 * round;
                        let later = pool.map_async(large, first..first + 20).unwrap();
                        let streamed = pool.imap(large, first..first + 50).map(Result::unwrap);
                        (first..).zip(streamed).for_each(|(x, values)| check(x, values));
                        let together = pool.map(large, first..first + 50).unwrap();
                        (first..).zip(together).for_each(|(x, values)| check(x, values));
                        check(7, pool.apply(large, (7,)).unwrap());
                        (first..).zip(later.get().unwrap()).for_each(|(x, values)| check(x, values));
                    }
                });
            }
        });
    });
}

#[test]
fn a_stream_survives_the_death_of_workers() {
    on_each_pool(2, 100, |pool| {
        let work = |x: u64| {
            std::thread::sleep(Duration::from_micros(200));
            vec![x; 1000]
        };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut killed = 0;
                while !over.load(Relaxed) {
                    killed += pool.worker_pids().first().map_or(0, |pid| usize::from(kill(*pid)));
                    std::thread::sleep(Duration::from_millis(20));
                }
                assert!(killed > 0);
            });
            for ordered in [true, false] {
                let call = pool.tasks(work, 0..2000).chunksize(3);
                let results = if ordered { call.iter() } else { call.unordered() };
                let mut indices: Vec<u64> = results
                    .map(|result| match result {
                        Ok(values) => {
                            assert!(values.len() == 1000 && values[0] == values[999]);
                            values[0]
                        }
                        Err(error) => {
                            assert!(error.is_worker_lost() && error.signal() == Some(9), "{error}");
                            error.index()
                        }
                    })
                    .collect();
                if !ordered {
                    indices.sort();
                }
                assert!(indices.into_iter().eq(0..2000));
            }
            over.store(true, Relaxed);
        });
    });
}

#[test]
fn a_stream_of_a_pool_that_ended_does_not_end_as_if_it_were_complete() {
    on_each_pool(1, 60, |pool| {
        let mut results = pool.tasks(|x: u64| x, 0..).chunksize(1).buffersize(1).iter();
        for x in 0..3 {
            assert_eq!(results.next().unwrap().unwrap(), x);
        }
        pool.terminate();
        // Whether the next item was handed in or not.
        let last: Vec<_> = results.collect();
        assert!(last.last().unwrap().as_ref().unwrap_err().is_terminated());
    });
}
