//! procspawn: a pool of processes that are this program, without `map`.

use crate::plan::{Plan, Sample, Sampler, sampler as sample};
use crate::work::{KILLED_AMONG, WORKERS, burn, bytes, echo, floats, increment, increment_or_die, seconds, sum_of};
use ::procspawn::{JoinHandle, Pool};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::time::Duration;

/// So many tasks wait at once: each takes three descriptors.
const WINDOW: usize = 64;

fn pool() -> Pool {
    let pool = Pool::new(WORKERS).expect("a pool");
    each(&pool, increment, 0..100);
    pool
}

/// One task per item, joined in their order.
fn each<A, R>(pool: &Pool, f: fn(A) -> R, items: impl IntoIterator<Item = A>)
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let mut waiting: VecDeque<JoinHandle<R>> = VecDeque::new();
    for item in items {
        if waiting.len() == WINDOW {
            waiting.pop_front().map(|it| it.join().expect("a result"));
        }
        waiting.push_back(pool.spawn(item, f));
    }
    waiting.into_iter().for_each(|it| _ = it.join().expect("a result"));
}

/// The processes that this one has started.
fn children() -> Vec<i32> {
    let mut pids = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task").expect("the threads").flatten() {
        let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        pids.extend(text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    pids
}

pub(super) fn sampler(plan: &Plan) -> Option<Sampler> {
    let apply = |pause| {
        let pool = pool();
        plan.latency(pause, move |x| assert_eq!(pool.spawn(x, increment).join().expect("a result"), x + 1))
    };
    Some(match &*plan.measure {
        "map_chunksize_1" => {
            let pool = pool();
            plan.rate(move |count| each(&pool, increment, 0..count))
        }
        "apply" => apply(Duration::ZERO),
        "apply_from_sleep" => apply(Duration::from_millis(2)),
        "echo_8mib" => {
            let pool = pool();
            plan.bandwidth(bytes, move |items| each(&pool, echo, items))
        }
        "sum_8mib" => {
            let pool = pool();
            plan.bandwidth(floats, move |items| each(&pool, sum_of, items))
        }
        "tasks_5ms" | "tasks_20us" => {
            let pool = pool();
            plan.efficiency(move |count, steps| each(&pool, burn, std::iter::repeat_n(steps, count as usize)))
        }
        "first_result" => plan.latency(Duration::ZERO, |x| {
            let pool = Pool::new(WORKERS).expect("a pool");
            assert_eq!(pool.spawn(x, increment).join().expect("a result"), x + 1);
            pool
        }),
        "start_and_join" => plan.latency(Duration::ZERO, |x| {
            assert_eq!(::procspawn::spawn(x, increment).join().expect("a result"), x + 1);
        }),
        "idle_worker_pss" => {
            let _pool = pool();
            let pss = super::pss(&children());
            sample(move || pss)
        }
        "worker_killed" => {
            let pool = pool();
            Box::new(move || {
                let mut results = 0;
                let took = seconds(|| {
                    let all: Vec<_> = (0..KILLED_AMONG).map(|x| pool.spawn(x, increment_or_die)).collect();
                    results = all.into_iter().filter_map(|it| it.join().ok()).count() as u64;
                });
                Sample::of_a_kill(took, results, KILLED_AMONG - results)
            })
        }
        _ => return None,
    })
}
