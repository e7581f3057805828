//! What the machine gives at best.

use crate::plan::{Plan, Sampler};
use crate::work::{WORKERS, bytes};
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::Duration;

/// One copy there and one back, by as many threads as there are workers, each into memory of its own that is ready.
pub(super) fn memcpy(plan: &Plan) -> Option<Sampler> {
    let size = plan.bytes;
    let mut buffers: Vec<_> = (0..WORKERS as u64).map(|at| (bytes(at, size), bytes(at + 9, size))).collect();
    let run = move |items: Vec<()>| {
        std::thread::scope(|scope| {
            for (here, there) in &mut buffers {
                scope.spawn(|| {
                    for _ in 0..items.len() / WORKERS {
                        there.copy_from_slice(black_box(here));
                        here.copy_from_slice(black_box(there));
                    }
                });
            }
        });
    };
    (plan.measure == "echo_8mib").then(|| plan.bandwidth(|_, _| (), run))
}

/// A program that ends at once: this one with an argument that it does not know.
pub(super) fn exec_and_wait(plan: &Plan) -> Option<Sampler> {
    let program = std::env::current_exe().expect("a path");
    let run = move |_| {
        let mut command = Command::new(&program);
        let status = command.arg(crate::NOTHING).stdin(Stdio::null()).status();
        assert!(status.expect("exec").success());
    };
    (plan.measure == "start_and_join").then(|| plan.latency(Duration::ZERO, run))
}
