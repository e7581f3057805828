//! What can be seen of a pool: `stats`, progress, traces.

use super::common::links::{HANDLES, on_each_link, on_each_pool, on_nodes};
use super::common::proc::{self, eventually};
use super::common::scratch::Scratch;
use multiproc::{Event, PoolStats, Progress};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn sleep(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

const SOON: Duration = Duration::from_secs(20);

fn seconds(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn stats_tell_what_workers_have_done() {
    if on_nodes("an agent tells the memory of its workers with its beats, not at once") {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let fresh = pool.stats();
        assert_eq!((fresh.tasks, fresh.failed, fresh.retried, fresh.restarts), (0, 0, 0, 0));
        assert_eq!((fresh.queued, fresh.running, fresh.workers.len()), (0, 0, 2));
        let mut pids: Vec<_> = fresh.workers.iter().map(|worker| worker.pid.unwrap()).collect();
        let mut expected = pool.worker_pids();
        pids.sort();
        expected.sort();
        assert_eq!(pids, expected);
        for worker in &fresh.workers {
            assert!(worker.startup.unwrap() > Duration::ZERO && worker.startup.unwrap() < SOON);
            assert!(worker.memory.unwrap() > 100 << 10 && worker.tasks == 0 && worker.busy == Duration::ZERO);
        }

        pool.tasks(sleep, [50; 8]).chunksize(1).run().unwrap();
        pool.map_each(|x: u64| assert!(x % 2 == 0), 0..10);
        let stats = pool.stats();
        assert_eq!((stats.tasks, stats.failed, stats.queued, stats.running), (18, 5, 0, 0));
        assert_eq!(stats.workers.iter().map(|worker| worker.tasks).sum::<u64>(), 18);
        let busy: Duration = stats.workers.iter().map(|worker| worker.busy).sum();
        assert!(busy >= seconds(400) && busy < stats.uptime * 2, "{stats}");
        for worker in &stats.workers {
            // A worker cannot have been busy for longer than it lives.
            assert!(worker.busy + worker.idle <= stats.uptime, "{stats}");
        }
        std::thread::sleep(seconds(50));
        let later = pool.stats();
        assert!(later.workers.iter().zip(&stats.workers).all(|(now, then)| now.busy == then.busy), "{later}");
        assert!(later.workers.iter().zip(&stats.workers).all(|(now, then)| now.idle >= then.idle + seconds(50)));
    });
}

#[test]
fn stats_tell_what_is_under_way() {
    on_each_pool(2, 60, |pool| {
        let results = pool.tasks(sleep, [300; 7]).chunksize(1).submit().unwrap();
        assert!(eventually(SOON, || pool.stats().running == 2), "{}", pool.stats());
        let stats = pool.stats();
        assert_eq!(stats.queued + stats.running + stats.tasks, 7, "{stats}");
        std::thread::sleep(seconds(50));
        let busy: Duration = pool.stats().workers.iter().map(|worker| worker.busy).sum();
        assert!(busy > seconds(50), "a task that runs counts before it has ended: {}", pool.stats());
        assert!(results.cancel());
        assert!(results.get().unwrap_err().is_cancelled());
        assert!(eventually(SOON, || pool.stats().running == 0 && pool.stats().queued == 0), "{}", pool.stats());
    });
}

#[test]
fn stats_tell_what_each_worker_is_at() {
    on_each_pool(2, 60, |pool| {
        assert!(pool.stats().workers.iter().all(|worker| worker.current.is_none()));
        let results = pool.tasks(sleep, [60_000, 60_000, 1]).chunksize(1).submit().unwrap();
        let at = || -> Vec<_> { pool.stats().workers.into_iter().filter_map(|worker| worker.current).collect() };
        assert!(eventually(SOON, || at().len() == 2), "{}", pool.stats());
        let mut before = at();
        before.sort_by_key(|task| task.index);
        assert_eq!(before.iter().map(|task| task.index).collect::<Vec<_>>(), [0, 1]);
        assert!(before.iter().all(|task| task.function.ends_with("::sleep")), "{before:?}");
        assert!(pool.stats().to_string().contains("; at task 0 of "), "{}", pool.stats());
        std::thread::sleep(seconds(20));
        let mut after = at();
        after.sort_by_key(|task| task.index);
        assert!(before.iter().zip(&after).all(|(before, after)| after.elapsed >= before.elapsed + seconds(20)));
        results.kill();
        drop(results);
        assert!(eventually(SOON, || at().is_empty()), "{}", pool.stats());
    });
}

#[test]
fn a_worker_is_at_the_task_of_its_frame_that_runs() {
    if on_nodes("an agent does not say which task of a frame its worker is at") {
        return;
    }
    on_each_pool(1, 60, |pool| {
        let results = pool.tasks(sleep, [1, 1, 60_000, 1]).chunksize(4).submit().unwrap();
        let index = || pool.stats().workers[0].current.as_ref().map(|task| task.index);
        assert!(eventually(SOON, || index() == Some(2)), "{}", pool.stats());
        results.kill();
    });
}

#[test]
fn stats_tell_how_long_tasks_took() {
    on_each_pool(2, 60, |pool| {
        assert_eq!((pool.stats().run_times.count(), pool.stats().run_times.quantile(0.5)), (0, None));
        pool.tasks(sleep, [5; 9]).chunksize(1).run().unwrap();
        pool.tasks(sleep, [200]).run().unwrap();
        let times = pool.stats().run_times;
        assert_eq!(times.count(), 10);
        assert!(times.total() >= seconds(245), "{times:?}");
        assert!(
            times.quantile(0.5).unwrap() >= seconds(5) && times.quantile(0.99).unwrap() >= seconds(200),
            "{times:?}"
        );
        assert!(times.quantile(0.5) < times.quantile(1.0), "{times:?}");
    });
}

/// The value of each line of a page for Prometheus that is no comment. Checks the form of all lines.
fn exposed(text: &str) -> Vec<(&str, f64)> {
    let mut known = Vec::new();
    let mut values = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(kind == "HELP" || ["counter", "gauge", "histogram"].contains(&rest), "{line}");
            known.push(name);
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let name = key.split_once('{').unwrap().0;
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(known.contains(&name) || known.contains(&family), "{line} comes before its type");
        values.push((key, value.parse().unwrap()));
    }
    values
}

#[test]
fn stats_are_a_page_for_prometheus() {
    on_each_pool(2, 60, |pool| {
        pool.tasks(sleep, [5; 4]).chunksize(1).run().unwrap();
        pool.map_each(|x: u64| assert!(x > 0), [0]);
        let text = pool.stats().prometheus("a \"b\" \\ c\n");
        let values = exposed(&text);
        let label = r#"pool="a \"b\" \\ c\n""#;
        let value = |name: &str| values.iter().find(|it| it.0 == format!("multiproc_{name}{{{label}}}")).unwrap().1;
        assert_eq!((value("tasks_total"), value("tasks_failed_total"), value("workers")), (5.0, 1.0, 2.0));
        assert_eq!((value("tasks_queued"), value("tasks_running")), (0.0, 0.0));
        assert!(value("task_seconds_sum") >= 0.02 && value("task_seconds_count") == 5.0);
        let buckets: Vec<f64> = values.iter().filter(|it| it.0.contains("_bucket{")).map(|it| it.1).collect();
        assert!(buckets.is_sorted() && buckets.last() == Some(&5.0), "{text}");
        let of_workers = values.iter().filter(|it| it.0.starts_with("multiproc_worker_tasks_total{"));
        assert_eq!(of_workers.map(|it| it.1).sum::<f64>(), 5.0);
    });
}

#[test]
fn stats_tell_of_workers_that_were_lost_and_tasks_that_ran_again() {
    on_each_pool(1, 60, |pool| {
        pool.apply(|| (), ()).unwrap();
        let before = pool.stats().workers[0].pid.unwrap();
        assert!(proc::kill(before));
        assert!(eventually(SOON, || pool.stats().restarts == 1 && pool.worker_pids().len() == 1));
        let lost = pool.task(|| -> () { std::process::abort() }, ()).retries(2).run();
        assert!(lost.is_err());
        assert!(eventually(SOON, || pool.stats().restarts == 4 && pool.worker_pids().len() == 1));
        let stats = pool.stats();
        assert_eq!((stats.tasks, stats.failed, stats.retried), (2, 1, 2), "{stats}");
        assert!(stats.workers[0].pid != Some(before) && stats.workers[0].restarts == 4 && stats.workers[0].tasks == 0);
        pool.close();
        pool.join().unwrap();
        let stats = pool.stats();
        assert!(stats.workers[0].pid.is_none() && stats.to_string().contains("no process"), "{stats}");
        let json = serde_json::to_string(&stats).unwrap();
        let read: PoolStats = serde_json::from_str(&json).unwrap();
        assert_eq!(read.restarts, 4);
    });
}

/// Notes when, on which thread and with what it was called.
type Reports = Arc<Mutex<Vec<(Instant, String, Progress)>>>;

fn reports() -> (Reports, impl Fn(Progress) + Clone + Send + Sync + 'static) {
    let reports = Reports::default();
    let notes = Arc::clone(&reports);
    let note = move |progress| {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        notes.lock().unwrap().push((Instant::now(), thread, progress));
    };
    (reports, note)
}

/// Checks what holds of every call, and returns the last report.
fn check(reports: &Reports, is_own_thread: bool) -> Progress {
    let reports = std::mem::take(&mut *reports.lock().unwrap());
    let own = std::thread::current().name().unwrap_or_default().to_owned();
    let threads_fit = reports.iter().all(|(_, thread, _)| (*thread == own) == is_own_thread);
    assert!(threads_fit, "{reports:?}");
    assert!(reports.windows(2).all(|pair| pair[0].2.done <= pair[1].2.done && pair[0].2 != pair[1].2), "{reports:?}");
    // But for the last, which comes when all is done.
    let due = &reports[..reports.len() - 1];
    let gaps = due.windows(2).map(|pair| pair[1].0 - pair[0].0);
    let on_average = gaps.sum::<Duration>() / u32::try_from(due.len().max(2) - 1).unwrap();
    assert!(due.len() < 2 || on_average > seconds(40), "{reports:?}");
    reports.last().unwrap().2
}

#[test]
fn progress_is_told_now_and_then_and_at_the_end() {
    on_each_pool(2, 60, |pool| {
        let (told, note) = reports();
        pool.tasks(sleep, [20; 40]).chunksize(1).progress(note.clone()).run().unwrap();
        assert!(told.lock().unwrap().len() >= 4, "{told:?}");
        let last = check(&told, true);
        assert_eq!((last.done, last.failed, last.total), (40, 0, Some(40)));

        // The same listener once more, where some fail and the input does not know its length.
        let mut next = 0;
        let items = std::iter::from_fn(|| {
            next += 1;
            (next <= 100).then_some(next)
        });
        pool.tasks(|x: u64| assert!(x % 4 != 0), items).chunksize(1).progress(note.clone()).each();
        let last = check(&told, true);
        assert_eq!((last.done, last.failed, last.total), (100, 25, Some(100)));

        pool.tasks(sleep, [1]).progress(note.clone()).run().unwrap();
        assert_eq!(check(&told, true).total, Some(1));
        assert_eq!(pool.tasks(sleep, [20; 20]).chunksize(1).progress(note.clone()).iter().count(), 20);
        assert_eq!(check(&told, true).done, 20);
        pool.tasks(sleep, []).chunksize(1).progress(note).run().unwrap();
        assert_eq!(check(&told, true).done, 0);
    });
}

#[test]
fn progress_of_calls_that_nobody_waits_in_is_told_where_callbacks_run() {
    on_each_pool(2, 60, |pool| {
        let (told, note) = reports();
        let result = pool.tasks(sleep, [20; 40]).chunksize(1).progress(note.clone()).submit().unwrap();
        assert!(eventually(SOON, || !told.lock().unwrap().is_empty()), "nobody needs to wait for it");
        result.get().unwrap();
        assert!(eventually(SOON, || told.lock().unwrap().last().unwrap().2.done == 40));
        let last = check(&told, false);
        assert_eq!((last.done, last.failed, last.total), (40, 0, Some(40)));
        // Before the other callbacks.
        let (tell, is_there) = std::sync::mpsc::channel();
        let seen = Arc::clone(&told);
        let callback = move |_: &Vec<u64>| tell.send(seen.lock().unwrap().last().unwrap().2.done).unwrap();
        let call = pool.tasks(sleep, [1; 3]).chunksize(1).progress(note);
        let result = call.submit().unwrap().callback(callback);
        assert_eq!(is_there.recv_timeout(SOON), Ok(3));
        result.get().unwrap();
    });
}

#[test]
fn a_panic_in_a_progress_report_goes_to_the_caller() {
    on_each_pool(2, 60, |pool| {
        let call = || pool.tasks(|x: u64| x, 0..10).progress(|_| panic!("no more")).run();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "no more");
        assert_eq!(pool.map(|x: u64| x + 1, 0..3).unwrap(), [1, 2, 3]);
        let result = pool.tasks(|x: u64| x, 0..10).progress(|_| panic!("no more")).submit().unwrap();
        assert_eq!(result.get().unwrap().len(), 10);
    });
}

/// The events of a trace.
fn read_trace(path: &std::path::Path) -> Vec<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn crash_at(x: u64) -> u64 {
    if x == 70 {
        std::process::abort();
    }
    sleep(1)
}

#[test]
fn a_trace_shows_all_tasks_and_is_whole_although_a_worker_crashed() {
    on_each_link(60, |builder| {
        let path = Scratch::new("trace.json");
        let pool = builder().processes(2).trace_to(&path).build().unwrap();
        let start = Instant::now();
        pool.tasks(crash_at, 0..100).chunksize(10).each();
        let lasted = start.elapsed();
        pool.apply_async(sleep, (1,)).unwrap().get().unwrap();
        drop(pool);
        let events = read_trace(&path);
        let of = |kind: &str| events.iter().filter(|event| event["cat"] == kind).collect::<Vec<_>>();
        let (tasks, lost) = (of("tasks"), of("lost"));
        let count = |event: &serde_json::Value| event["args"]["count"].as_u64().unwrap();
        // What was done of the frame before the crash is answered, but the frame has not ended.
        let done = tasks.iter().map(|event| count(event)).sum::<u64>();
        assert!((90..=100).contains(&done), "{events:?}");
        assert_eq!((lost.len(), &lost[0]["args"]["first"]), (1, &70.into()), "{events:?}");
        assert!(lost[0]["name"].as_str().unwrap().ends_with("insight::crash_at"));
        assert_eq!(events.iter().filter(|event| event["name"] == "ready").count(), 3);
        let mut workers: Vec<i64> = tasks.iter().map(|event| event["tid"].as_i64().unwrap()).collect();
        workers.sort();
        workers.dedup();
        assert!((2..=3).contains(&workers.len()));
        for worker in workers {
            let own = tasks.iter().filter(|event| event["tid"] == worker);
            let times = own.map(|event| (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap()));
            let times: Vec<_> = times.collect();
            // One after the other, and not longer than it all took. (The times are rounded to a nanosecond.)
            assert!(times.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0 + 0.002), "{times:?}");
            assert!(times.iter().map(|(_, lasted)| lasted).sum::<f64>() < 2.0 * lasted.as_micros() as f64 + 5e4);
        }
        assert!(builder().processes(1).trace_to("/no such folder/trace.json").build().is_err());
    });
}

#[test]
fn a_call_tells_its_slowest_tasks() {
    on_each_pool(2, 60, |pool| {
        let nap = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
        pool.tasks(nap, [1, 400, 1, 700, 1, 200, 1, 1]).chunksize(1).run().unwrap();
        let stats = pool.stats();
        let call = stats.jobs.last().unwrap();
        assert!(call.function.contains("a_call_tells_its_slowest_tasks") && call.ended, "{call}");
        assert_eq!(call.tasks, 8);
        assert_eq!(call.slowest.iter().map(|slow| slow.index).collect::<Vec<_>>(), [3, 1, 5], "{call:?}");
        assert!(call.slowest[0].time >= Duration::from_millis(700) && call.busy >= Duration::from_millis(1305));
        assert!(call.elapsed >= Duration::from_millis(700) && call.elapsed <= stats.uptime);
        assert!(call.to_string().contains("8 tasks in ") && call.to_string().contains("(task 3)"), "{call}");

        if on_nodes(HANDLES) {
            return;
        }
        // One that is under way, and one of the background.
        let gate = Event::new();
        let later = pool.apply_async(|gate: Event| gate.wait(), (gate.clone(),)).unwrap();
        let running = pool.stats();
        assert!(running.jobs.iter().any(|call| !call.ended), "{running}");
        gate.set();
        later.get().unwrap();
        for _ in 0..40 {
            pool.apply(nap, (0,)).unwrap();
        }
        let stats = pool.stats();
        assert!(stats.jobs.len() == 16 && stats.jobs.iter().all(|call| call.ended && call.tasks == 1), "{stats}");
    });
}
