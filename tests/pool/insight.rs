//! What can be seen of a pool: `stats`, progress, traces.

use super::common::links::on_each_pool;
use super::common::proc::{self, eventually};
use multiproc::PoolStats;
use std::time::Duration;

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

        pool.job().chunksize(1).map(sleep, [50; 8]).unwrap();
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
        let results = pool.job().chunksize(1).map_async(sleep, [300; 7]).unwrap();
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
fn stats_tell_of_workers_that_were_lost_and_tasks_that_ran_again() {
    on_each_pool(1, 60, |pool| {
        pool.apply(|| (), ()).unwrap();
        let before = pool.stats().workers[0].pid.unwrap();
        assert!(proc::kill(before));
        assert!(eventually(SOON, || pool.stats().restarts == 1 && pool.worker_pids().len() == 1));
        let lost = pool.job().retries(2).apply(|| -> () { std::process::abort() }, ());
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
