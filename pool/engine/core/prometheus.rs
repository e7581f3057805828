//! The counters of a pool as Prometheus reads them: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use crate::engine::core::stats::{PoolStats, WorkerStats};
use std::fmt::{Display, Write as _};

impl PoolStats {
    /// Returns all of it as text that Prometheus reads; `pool` is the value of the label of that name, which tells the pools of
    /// a program apart.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// pool.map(|x: u64| x + 1, 0..10)?;
    /// let text = pool.stats().prometheus("numbers");
    /// assert!(text.contains("multiproc_tasks_total{pool=\"numbers\"} 10\n"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// Serve it at `/metrics`. The counters are `multiproc_tasks_total`, `multiproc_tasks_failed_total`,
    /// `multiproc_tasks_retried_total` and `multiproc_worker_restarts_total`; the gauges `multiproc_tasks_queued`,
    /// `multiproc_tasks_running`, `multiproc_workers` and `multiproc_uptime_seconds`; with a label `worker` for each of them
    /// `multiproc_worker_tasks_total`, `multiproc_worker_busy_seconds_total` and `multiproc_worker_memory_bytes`; and the
    /// histogram `multiproc_task_seconds`.
    pub fn prometheus(&self, pool: &str) -> String {
        let mut page = Page { text: String::new(), pool: escaped(pool) };
        page.one("tasks_total", "counter", "Tasks that have an outcome.", self.tasks);
        page.one("tasks_failed_total", "counter", "Tasks whose outcome is an error.", self.failed);
        page.one("tasks_retried_total", "counter", "Failures behind which the task was run again.", self.retried);
        page.one("worker_restarts_total", "counter", "Workers that have ended and were replaced.", self.restarts);
        page.one("tasks_queued", "gauge", "Tasks that wait.", self.queued);
        page.one("tasks_running", "gauge", "Tasks that run.", self.running);
        page.one("workers", "gauge", "Places of workers.", self.workers.len());
        page.one("uptime_seconds", "gauge", "How old the pool is.", self.uptime.as_secs_f64());
        page.of_workers(self, "worker_tasks_total", "counter", "Tasks that the worker has run.", |it| {
            Some(it.tasks as f64)
        });
        page.of_workers(self, "worker_busy_seconds_total", "counter", "How long the worker has run tasks.", |it| {
            Some(it.busy.as_secs_f64())
        });
        page.of_workers(self, "worker_memory_bytes", "gauge", "Memory of its own that the worker has in use.", |it| {
            it.memory.map(|bytes| bytes as f64)
        });
        page.run_times(self);
        page.text
    }
}

struct Page {
    text: String,
    /// As it may stand between quotes.
    pool: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` does not fail; the same below.
        let _ = write!(self.text, "# HELP multiproc_{name} {help}\n# TYPE multiproc_{name} {kind}\n");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.text, "multiproc_{name}{{pool=\"{}\"}} {value}", self.pool);
    }

    fn of_workers(
        &mut self,
        stats: &PoolStats,
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&WorkerStats) -> Option<f64>,
    ) {
        self.head(name, kind, help);
        for (place, worker) in stats.workers.iter().enumerate() {
            if let Some(value) = value(worker) {
                let _ = writeln!(self.text, "multiproc_{name}{{pool=\"{}\",worker=\"{place}\"}} {value}", self.pool);
            }
        }
    }

    fn run_times(&mut self, stats: &PoolStats) {
        let (times, name) = (&stats.run_times, "multiproc_task_seconds");
        self.head("task_seconds", "histogram", "How long tasks took.");
        for (end, count) in times.by_doublings() {
            let end = end.as_secs_f64();
            let _ = writeln!(self.text, "{name}_bucket{{pool=\"{}\",le=\"{end}\"}} {count}", self.pool);
        }
        let (count, total) = (times.count(), times.total().as_secs_f64());
        let _ = writeln!(self.text, "{name}_bucket{{pool=\"{}\",le=\"+Inf\"}} {count}", self.pool);
        let _ =
            writeln!(self.text, "{name}_sum{{pool=\"{0}\"}} {total}\n{name}_count{{pool=\"{0}\"}} {count}", self.pool);
    }
}

/// The value of a label as it may stand between quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
