//! This library.

use crate::common::race::processes;
use crate::plan::{Plan, Sample, Sampler, sampler as sample};
use crate::work::{KILLED_AMONG, WORKERS, burn, bytes, echo, floats, increment, increment_or_die, sum, sum_of};
use multiproc::{Array, Lock, Pool, Process};
use std::hint::black_box;
use std::time::Duration;

fn pool() -> Pool {
    Pool::new(WORKERS).expect("a pool")
}

/// One array for each worker, so that they need not wait for each other's lock.
fn arrays(bytes: usize) -> Vec<Array<f64>> {
    (0..WORKERS).map(|at| Array::from(&floats(at as u64, bytes)[..])).collect()
}

pub(super) fn sampler(plan: &Plan) -> Option<Sampler> {
    let apply = |pause| {
        let pool = pool();
        plan.latency(pause, move |x| assert_eq!(pool.apply(increment, (x,)).expect("apply"), x + 1))
    };
    let efficiency = || {
        let pool = pool();
        plan.efficiency(move |count, steps| {
            black_box(pool.map(burn, std::iter::repeat_n(steps, count as usize)).expect("map"));
        })
    };
    Some(match &*plan.measure {
        "map" => {
            let pool = pool();
            plan.rate(move |count| assert_eq!(pool.map(increment, 0..count).expect("map").len() as u64, count))
        }
        "map_chunksize_1" => {
            let pool = pool();
            plan.rate(move |count| {
                let results = pool.tasks(increment, 0..count).chunksize(1).run().expect("map");
                assert_eq!(results.len() as u64, count);
            })
        }
        "apply" => apply(Duration::ZERO),
        "apply_from_sleep" => apply(Duration::from_millis(2)),
        "echo_8mib" => {
            let pool = pool();
            plan.bandwidth(bytes, move |items| drop(black_box(pool.map(echo, items).expect("map"))))
        }
        "sum_8mib" => {
            let pool = pool();
            plan.bandwidth(floats, move |items| drop(black_box(pool.map(sum_of, items).expect("map"))))
        }
        "sum_8mib_by_handle" => {
            let (pool, arrays) = (pool(), arrays(plan.bytes));
            let read = |array: Array<f64>| sum(&array.lock().expect("lock"));
            plan.bandwidth(
                move |at, _| arrays[at as usize % WORKERS].clone(),
                move |items| drop(black_box(pool.map(read, items).expect("map"))),
            )
        }
        "echo_64mib" | "echo_1gib" => {
            let pool = pool();
            plan.large(move |bytes| pool.apply(echo, (bytes,)).expect("apply"))
        }
        "tasks_5ms" | "tasks_20us" => efficiency(),
        "first_result" => plan.latency(Duration::ZERO, |x| {
            let pool = pool();
            assert_eq!(pool.apply(increment, (x,)).expect("apply"), x + 1);
            pool
        }),
        "start_and_join" => plan.latency(Duration::ZERO, |x| {
            assert_eq!(Process::spawn(increment, (x,)).expect("spawn").join().expect("join"), x + 1);
        }),
        "idle_worker_pss" => {
            let pool = pool();
            pool.map(increment, 0..100).expect("map");
            sample(move || super::pss(&pool.worker_pids()))
        }
        "lock_pair" => {
            let lock = Lock::new();
            plan.pair(move || drop(black_box(lock.lock().expect("lock"))))
        }
        "lock_contended" => sample(|| processes(WORKERS as u32).0 * 1e6),
        // Of the even share, which is a half.
        "lock_fairness" => sample(|| processes(WORKERS as u32).1 / WORKERS as f64),
        "worker_killed" => {
            let pool = pool();
            pool.map(increment, 0..100).expect("map");
            Box::new(move || {
                let (mut lost, mut results) = (0, 0);
                let took = crate::work::seconds(|| {
                    for result in pool.map_each(increment_or_die, 0..KILLED_AMONG) {
                        match result {
                            Ok(_) => results += 1,
                            Err(error) => lost += u64::from(error.is_worker_lost()),
                        }
                    }
                });
                Sample::of_a_kill(took, results, lost)
            })
        }
        _ => return None,
    })
}
