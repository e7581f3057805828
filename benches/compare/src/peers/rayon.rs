//! rayon: threads that steal work from each other. What a process pool is held against.

use crate::plan::{Plan, Sampler};
use crate::work::{WORKERS, burn, floats, increment, sum};
use ::rayon::prelude::*;
use ::rayon::{ThreadPool, ThreadPoolBuilder};
use std::hint::black_box;
use std::time::Duration;

fn pool() -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(WORKERS).build().expect("a pool")
}

pub(super) fn sampler(plan: &Plan) -> Option<Sampler> {
    let pool = pool();
    Some(match &*plan.measure {
        "map" => plan.rate(move |count| {
            let results: Vec<u64> = pool.install(|| (0..count).into_par_iter().map(increment).collect());
            assert_eq!(black_box(results).len() as u64, count);
        }),
        "map_chunksize_1" => plan.rate(move |count| {
            let mut results = vec![0; count as usize];
            pool.scope(|scope| {
                for (result, x) in results.iter_mut().zip(0..) {
                    scope.spawn(move |_| *result = increment(x));
                }
            });
            black_box(results);
        }),
        "apply" => plan.latency(Duration::ZERO, move |x| pool.install(|| increment(x))),
        "apply_from_sleep" => plan.latency(Duration::from_millis(2), move |x| pool.install(|| increment(x))),
        // Both read in place: threads have no other way.
        "sum_8mib" | "sum_8mib_by_handle" => {
            let values: Vec<Vec<f64>> = (0..WORKERS).map(|at| floats(at as u64, plan.bytes)).collect();
            plan.bandwidth(
                |at, _| at as usize % WORKERS,
                move |items| {
                    let sums: Vec<f64> = pool.install(|| items.into_par_iter().map(|at| sum(&values[at])).collect());
                    black_box(sums);
                },
            )
        }
        "tasks_5ms" | "tasks_20us" => plan.efficiency(move |count, steps| {
            let tasks = (0..count).into_par_iter().map(|_| burn(steps));
            black_box(pool.install(|| tasks.collect::<Vec<u64>>()));
        }),
        "first_result" => plan.latency(Duration::ZERO, |x| {
            let pool = self::pool();
            assert_eq!(pool.install(|| increment(x)), x + 1);
            pool
        }),
        _ => return None,
    })
}
