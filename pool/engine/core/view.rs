//! What those are told who look at a pool from outside, and what they may do there; `watch/view.rs` lets them in.

use crate::engine::call::job_stats::JobStats;
use crate::engine::core::state::Engine;
use crate::engine::core::stats::{PoolStats, RunningTask, WorkerStats};
use crate::engine::core::worker_slot::WorkerSlot;
use crate::engine::watch::histogram::{self, Histogram};
use crate::engine::watch::json::Object;
use crate::engine::watch::view::{self, View, Watched};
use crate::sys::look;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

impl Engine {
    /// Lets others of this user look at the pool.
    ///
    /// # Errors
    ///
    /// See [`view::open`].
    pub(crate) fn open_view(self: &Arc<Self>, name: &str) -> io::Result<View> {
        let watched: Weak<Engine> = Arc::downgrade(self);
        view::open(name, watched)
    }

    fn snapshot(&self) -> Object {
        let (state, target) = self.describe();
        let PoolStats {
            workers,
            jobs,
            tasks,
            failed,
            retried,
            restarts,
            queued,
            running,
            run_times,
            wait_times,
            uptime,
            warnings,
            ..
        } = self.stats();
        Object::new()
            .text("state", state)
            .plain("target", target)
            .seconds("uptime", uptime)
            .plain("tasks", tasks)
            .plain("failed", failed)
            .plain("retried", retried)
            .plain("restarts", restarts)
            .plain("queued", queued)
            .plain("running", running)
            .object("run", times(&run_times))
            .object("wait", times(&wait_times))
            .list("workers", workers.iter().map(worker))
            .list("calls", jobs.iter().map(call))
            .list("warnings", warnings.iter().map(|text| Object::new().text("text", text)))
    }

    /// The process of the worker at a place.
    fn process_at(&self, place: u64) -> Result<i32, String> {
        let core = self.core.lock();
        let worker = core.workers.at(place).ok_or("there is no such worker")?;
        match (&worker.host, worker.pid) {
            (Some(host), _) => Err(format!("the worker is on {host}")),
            (None, Some(pid)) => Ok(pid),
            (None, None) => Err("the worker has no process".to_owned()),
        }
    }

    /// What the threads of a worker are at.
    fn stacks(&self, place: u64) -> Result<Object, String> {
        let pid = self.process_at(place)?;
        let threads = look::at(pid).map_err(|error| error.to_string())?;
        let shown: String = threads.iter().map(|thread| format!("{thread}\n")).collect();
        Ok(Object::new().plain("pid", pid).text("stack", &shown))
    }

    /// Ends the task `index` that the process `pid` runs, by ending the worker.
    fn end_task(&self, place: u64, pid: u64, index: u64) -> Result<Object, String> {
        let core = self.core.lock();
        let is_meant = |worker: &&WorkerSlot| worker.pid.is_some_and(|now| u64::try_from(now) == Ok(pid));
        let worker = core.workers.at(place).filter(is_meant).ok_or("that worker is not there any more")?;
        let runs = worker.current(Instant::now()).is_some_and(|task| task.index == index);
        let (Some((seq, _)), true) = (worker.window.front(), runs) else {
            return Err("it does not run that task any more".to_owned());
        };
        let (Some(body), Some(link)) = (&worker.body, &worker.link) else { return Err("it has no process".to_owned()) };
        body.kill_if_running(&[seq], &**link);
        Ok(done())
    }
}

impl Watched for Engine {
    fn answer(self: Arc<Self>, what: &str, numbers: &[u64]) -> Result<Object, String> {
        match (what, numbers) {
            ("show", []) => Ok(self.snapshot()),
            ("stack", [place]) => self.stacks(*place),
            ("end", [place, pid, task]) => self.end_task(*place, *pid, *task),
            ("resize", [count]) => {
                let count = usize::try_from(*count).map_err(|error| error.to_string())?;
                self.resize(count).map(|()| done()).map_err(|error| error.to_string())
            }
            _ => Err(
                "there is no such request: show POOL, stack POOL WORKER, end POOL WORKER PID TASK, resize POOL COUNT"
                    .to_owned(),
            ),
        }
    }
}

fn done() -> Object {
    Object::new().plain("done", true)
}

fn times(times: &Histogram) -> Object {
    let count = times.count();
    let mean = histogram::mean(times.total(), count);
    let object = Object::new().plain("count", count).maybe("mean", mean, Object::seconds);
    let parts = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
    parts.into_iter().fold(object, |object, (name, part)| object.maybe(name, times.quantile(part), Object::seconds))
}

fn worker(worker: &WorkerStats) -> Object {
    let WorkerStats { pid, host, tasks, busy, idle, startup, memory, restarts, current } = worker;
    let state = match (pid, startup, current) {
        (None, None, _) => "vacant",
        (_, None, _) => "starting",
        (_, _, Some(_)) => "busy",
        _ => "idle",
    };
    Object::new()
        .text("state", state)
        .maybe("pid", *pid, Object::plain)
        .maybe("host", host.as_deref(), Object::text)
        .plain("tasks", tasks)
        .seconds("busy", *busy)
        .seconds("idle", *idle)
        .maybe("memory", *memory, Object::plain)
        .plain("restarts", restarts)
        .maybe("at", current.as_ref(), |object, name, task| object.object(name, at(task)))
}

fn at(task: &RunningTask) -> Object {
    let RunningTask { function, index, elapsed, progress } = task;
    Object::new()
        .text("function", function)
        .plain("task", index)
        .seconds("for", *elapsed)
        .maybe("done", progress.map(|(done, _)| done), Object::plain)
        .maybe("of", progress.map(|(_, of)| of), Object::plain)
}

fn call(call: &JobStats) -> Object {
    let JobStats { function, ended, tasks, waiting, busy, elapsed, slowest } = call;
    let longest: Option<Duration> = slowest.first().map(|slow| slow.time);
    Object::new()
        .text("function", function)
        .plain("ended", ended)
        .plain("tasks", tasks)
        .plain("waiting", waiting)
        .seconds("busy", *busy)
        .seconds("elapsed", *elapsed)
        .maybe("longest", longest, Object::seconds)
}
