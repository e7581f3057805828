//! Events of tasks come to the subscriber of the program, with the spans that they belong to.
//!
//!     cargo run --release --example tracing --features tracing
//!
//! Each line names the span in which the call was made, the task (its function and number, which worker, which process), and
//! the spans of the task itself. The last worker dies behind what it has said, which is not lost.

use multiproc::Pool;
use tracing::{error, info, info_span};

fn load(size: u64) -> u64 {
    let span = info_span!("load", size);
    let _entered = span.enter();
    let sum = (0..size).sum::<u64>();
    info!(sum, "loaded");
    if size == 3000 {
        error!("about to die");
        std::process::abort();
    }
    sum
}

fn main() -> multiproc::Result<()> {
    // As in any program. A pool looks what is wanted when it starts a worker.
    tracing_subscriber::fmt().with_ansi(false).without_time().init();
    let pool = Pool::builder().processes(2).name("loader").build()?;
    let request = info_span!("request", id = 7);
    for result in request.in_scope(|| pool.map_each(load, [1000, 2000, 3000])) {
        match result {
            Ok(sum) => info!(sum, "result"),
            Err(error) => info!(index = error.index(), lost = error.is_worker_lost(), "no result"),
        }
    }
    Ok(())
}
