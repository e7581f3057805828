//! Numbers that nobody means: what cannot be had is refused before anything starts, and what is larger than any clock, machine
//! or input means no limit.

use super::common::links::on_each_link;
use super::common::watchdog::watchdog;
use super::later::{Chain, chain};
use multiproc::{Pool, PoolBuilder, Process};
use std::task::Poll;
use std::time::Duration;

const NO_TIME: [Duration; 2] = [Duration::ZERO, Duration::from_nanos(1)];
const ALL_TIME: [Duration; 2] = [Duration::MAX, Duration::from_secs(u64::MAX / 1_000)];

fn works(pool: &Pool) {
    assert_eq!(pool.map(|x: u64| x + 1, 0..10).unwrap(), (1..=10).collect::<Vec<_>>());
}

fn sleep(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

/// Options of a pool that make sense, however odd they are.
#[test]
fn limits_of_workers_beyond_all_measure() {
    on_each_link(120, |builder| {
        let odd: [fn(PoolBuilder) -> PoolBuilder; 8] = [
            |pool| pool.grace(Duration::ZERO).idle_timeout(Duration::MAX),
            |pool| pool.grace(Duration::MAX).idle_timeout(Duration::ZERO),
            |pool| pool.max_tasks_per_child(u32::MAX as usize),
            // A worker that is larger than this after each task: each task has a worker of its own.
            |pool| pool.max_memory_per_child(0),
            |pool| pool.max_memory_per_child(u64::MAX),
            |pool| pool.memory_limit(u64::MAX),
            |pool| pool.max_result_bytes(u64::MAX),
            |pool| pool.thread_env(usize::MAX),
        ];
        for (at, change) in odd.into_iter().enumerate() {
            println!("option {at}");
            let pool = change(builder().processes(2)).build().unwrap();
            works(&pool);
            pool.terminate();
            pool.join().unwrap();
        }
        // What cannot be is the error of the start, or of the task.
        let error = builder().processes(1).cpu_affinity([usize::MAX]).build().unwrap_err();
        assert!(error.is_invalid_argument() || error.is_start(), "{error}");
        let pool = builder().processes(1).max_result_bytes(0).build().unwrap();
        let error = pool.apply(|| vec![1u8; 1000], ()).unwrap_err();
        assert!(error.task().unwrap().is_encode(), "{error}");
        works(&pool);
        // Without memory of its own a worker can start or not, but nothing waits for it.
        if let Ok(pool) = builder().processes(1).memory_limit(0).build() {
            let _ = pool.apply(|| vec![1u8; 100], ());
        }
    });
}

#[test]
fn options_of_calls_beyond_all_measure() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let call = || pool.tasks(|x: u64| x + 1, 0..10);
        let all: Vec<u64> = (1..=10).collect();
        for call in [
            call().chunksize(1 << 30),
            call().buffersize(usize::MAX),
            call().retries(u32::MAX),
            call().timeout(ALL_TIME[0]),
            call().timeout(ALL_TIME[1]),
        ] {
            assert_eq!(call.run().unwrap(), all);
        }
        let mut streamed: Vec<u64> = call().buffersize(usize::MAX).unordered().map(Result::unwrap).collect();
        streamed.sort_unstable();
        assert_eq!(streamed, all);
        for limit in NO_TIME {
            // A task may be faster than the clock.
            for result in call().timeout(limit).each() {
                assert!(result.is_ok() || result.unwrap_err().is_timeout());
            }
        }
        works(&pool);
    });
}

#[test]
fn waits_of_no_time_end_and_waits_of_all_time_do_not() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    for (none, all) in NO_TIME.into_iter().zip(ALL_TIME) {
        let mut later = pool.apply_async(sleep, (100,)).unwrap();
        assert!(later.get_timeout(none).is_none() && !later.wait_timeout(none));
        assert!(later.wait_timeout(all));
        assert_eq!(later.get_timeout(all).unwrap().unwrap(), 100);
        let mut stream = pool.imap(sleep, [100]);
        assert!(stream.next_timeout(none).is_pending());
        assert!(matches!(stream.next_timeout(all), Poll::Ready(Some(Ok(100)))));
    }
    for (none, all) in NO_TIME.into_iter().zip(ALL_TIME) {
        let pool = Pool::new(1).unwrap();
        let running = pool.apply_async(sleep, (100,)).unwrap();
        pool.close();
        assert!(pool.join_timeout(none).is_none());
        pool.join_timeout(all).unwrap().unwrap();
        assert_eq!(running.get().unwrap(), 100);
    }
}

/// Runs this on a thread with a stack of so many bytes.
fn with_stack<R: Send>(bytes: usize, work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(bytes).spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

/// A value that nests deeper than the stack of the thread that reads it, wherever that is.
#[test]
fn values_nested_beyond_any_stack() {
    on_each_link(120, |builder| {
        let pool = builder().processes(1).build().unwrap();
        // A worker makes it with ease, and a thread with a small stack asks for it.
        let error = with_stack(256 << 10, || pool.apply(chain, (4_000,)).err().unwrap());
        assert!(error.task().unwrap().is_decode(), "{error}");
        assert!(with_stack(64 << 20, || pool.apply(chain, (4_000,)).is_ok()));
        let process = Process::spawn(chain, (4_000,)).unwrap();
        assert!(with_stack(256 << 10, || process.join().is_err()));
        // A thread with a large stack makes it, and a worker has to read it.
        let depth = |_: Chain| 1;
        let results = with_stack(1 << 30, || pool.map_each(depth, [chain(200_000), chain(10)]));
        let error = results[0].as_ref().unwrap_err();
        assert!(error.is_decode() || error.is_encode(), "{error}");
        assert_eq!(*results[1].as_ref().unwrap(), 1);
    });
}
