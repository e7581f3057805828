//! tokio's `spawn_blocking`: threads, and a future for each task.

use crate::plan::{Plan, Sampler};
use crate::work::{WORKERS, burn, increment};
use ::tokio::runtime::{Builder, Runtime};
use ::tokio::task::spawn_blocking;
use std::time::Duration;

fn runtime() -> Runtime {
    Builder::new_current_thread().max_blocking_threads(WORKERS).build().expect("a runtime")
}

fn each(runtime: &Runtime, f: fn(u64) -> u64, items: impl Iterator<Item = u64>) {
    runtime.block_on(async {
        let tasks: Vec<_> = items.map(|x| spawn_blocking(move || f(x))).collect();
        for task in tasks {
            task.await.expect("a result");
        }
    });
}

pub(super) fn sampler(plan: &Plan) -> Option<Sampler> {
    let runtime = runtime();
    let call = |runtime: &Runtime, x| {
        runtime.block_on(async { spawn_blocking(move || increment(x)).await.expect("a result") })
    };
    Some(match &*plan.measure {
        "map_chunksize_1" => plan.rate(move |count| each(&runtime, increment, 0..count)),
        "apply" => plan.latency(Duration::ZERO, move |x| call(&runtime, x)),
        "apply_from_sleep" => plan.latency(Duration::from_millis(2), move |x| call(&runtime, x)),
        "tasks_5ms" | "tasks_20us" => {
            plan.efficiency(move |count, steps| each(&runtime, burn, std::iter::repeat_n(steps, count as usize)))
        }
        "first_result" => plan.latency(Duration::ZERO, move |x| {
            let runtime = self::runtime();
            call(&runtime, x);
            runtime
        }),
        _ => return None,
    })
}
