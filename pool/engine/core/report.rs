//! The report of a pool, which is written when it is over.

use crate::engine::core::state::Engine;
use crate::engine::core::worker_slot::WorkerSlot;
use crate::engine::watch::report::Totals;

impl Engine {
    /// Writes the report, once, if somebody wants one: all workers have ended. Not under the lock, since names of functions
    /// are looked up for it.
    pub(super) fn write_report(&self) {
        let mut core = self.core.lock();
        let Some(report) = core.observers.take_report() else { return };
        let totals = *core.observers.totals();
        let (run_times, wait_times) = (core.observers.run_times().clone(), core.observers.wait_times().clone());
        let restarts = core.workers.iter().map(WorkerSlot::restarts).sum();
        drop(core);
        report.finish(&Totals {
            tasks: totals.tasks,
            failed: totals.failed,
            retried: totals.retried,
            restarts,
            run_times: &run_times,
            wait_times: &wait_times,
        });
    }
}
