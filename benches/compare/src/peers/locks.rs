//! The locks of one process, and the C library's robust mutex, which processes could share: all taken by threads.

use crate::common::race::threads;
use crate::common::robust::Robust;
use crate::plan::{Plan, Sampler, sampler as sample};
use crate::work::WORKERS;
use std::hint::black_box;
use std::sync::Arc;

pub(super) fn std(plan: &Plan) -> Option<Sampler> {
    let mutex = Arc::new(std::sync::Mutex::new(()));
    sampler(plan, move || drop(black_box(mutex.lock())))
}

pub(super) fn parking_lot(plan: &Plan) -> Option<Sampler> {
    let mutex = Arc::new(::parking_lot::Mutex::new(()));
    sampler(plan, move || drop(black_box(mutex.lock())))
}

pub(super) fn robust(plan: &Plan) -> Option<Sampler> {
    let mutex = Arc::new(Robust::new());
    sampler(plan, move || mutex.with(|| ()))
}

fn sampler(plan: &Plan, pair: impl Fn() + Clone + Send + Sync + 'static) -> Option<Sampler> {
    Some(match &*plan.measure {
        "lock_pair" => plan.pair(pair),
        "lock_contended" => sample(move || threads(WORKERS as u32, pair.clone()).0 * 1e6),
        "lock_fairness" => sample(move || threads(WORKERS as u32, pair.clone()).1 / WORKERS as f64),
        _ => return None,
    })
}
