//! Tasks that fail and are run again: which, how often, after which pause, and what is told of it.

use super::common::journal::{Journal, Pen};
use super::common::links::{HANDLES, on_each_pool, on_nodes, on_processes_and_threads};
use super::common::proc::{kill, own_pid};
use multiproc::{Event, RawValue, Retry, TaskError, current_task};
use std::error::Error as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A task that kills its worker if it is the seventh.
fn deadly(x: u64) -> u64 {
    if x == 7 {
        kill(own_pid());
    }
    x
}

#[test]
fn a_task_that_kills_each_worker_is_set_aside_and_lists_its_attempts() {
    on_each_pool(2, 60, |pool| {
        let results = pool.tasks(deadly, 0..500).retries(3).each();
        for (x, result) in (0..).zip(&results) {
            match result {
                Ok(value) => assert!(*value == x && x != 7),
                Err(error) => {
                    assert!(x == 7 && error.is_worker_lost() && error.signal() == Some(9), "{error}");
                    let earlier = error.earlier_attempts();
                    assert_eq!(earlier.len(), 3);
                    assert!(earlier.iter().all(|it| it.is_worker_lost() && it.index() == 7));
                    // Four workers have died of it, each of them another one.
                    let mut workers: Vec<_> = earlier.iter().chain([error]).map(|it| it.worker().unwrap()).collect();
                    workers.sort_unstable();
                    workers.dedup();
                    assert_eq!(workers.len(), 4);
                    let text = error.to_string();
                    assert!(text.contains("set aside after 4 attempts"), "{text}");
                    assert_eq!(text.matches("SIGKILL").count(), 4, "{text}");
                }
            }
        }
        assert_eq!((pool.stats().retried, pool.stats().failed), (3, 1));
        // An error travels with its attempts.
        let back: TaskError =
            serde_json::from_str(&serde_json::to_string(results[7].as_ref().unwrap_err()).unwrap()).unwrap();
        assert_eq!(back.earlier_attempts().len(), 3);
    });
}

#[test]
fn a_task_that_is_run_again_for_long_keeps_the_errors_of_its_first_runs_alone() {
    on_each_pool(1, 60, |pool| {
        let fail = |_: u32| Err::<(), _>(current_task().unwrap().attempt().to_string());
        let results = pool.tasks(fail, [0]).fallible().retries(2_000).each();
        let error = results[0].as_ref().unwrap_err();
        // As many as were promised have run.
        assert_eq!(error.source().unwrap().to_string(), "2001");
        let earlier: Vec<String> = error.earlier_attempts().iter().map(|it| it.source().unwrap().to_string()).collect();
        assert_eq!(earlier, (1..=100).map(|attempt| attempt.to_string()).collect::<Vec<_>>());
        let text = error.to_string();
        assert!(text.contains("set aside after 2001 attempts") && text.ends_with("; and so on"), "{text}");
    });
}

#[test]
fn only_failures_that_count_are_repeated() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let tries = [RawValue::new(0u32), RawValue::new(0u32)];
        let fail = |tries: RawValue<u32>, by_death: bool| {
            tries.fetch_add(1);
            if by_death {
                kill(own_pid());
            }
            panic!("as it is")
        };
        let lost = || Retry::new(2).only(|error| error.is_worker_lost());
        let items = [(tries[0].clone(), true), (tries[1].clone(), false)];
        let call = || pool.star_tasks(fail, items.clone()).retry(lost());
        let runs: [(&str, Vec<Result<(), TaskError>>); 3] = [
            ("each", call().each()),
            ("unordered", {
                let mut all: Vec<_> = call().unordered().collect();
                all.sort_by_key(|result| result.as_ref().unwrap_err().index());
                all
            }),
            ("submit", {
                let later: Vec<_> =
                    items.iter().map(|item| pool.task(fail, item.clone()).retry(lost()).submit().unwrap()).collect();
                later.into_iter().map(|later| later.get()).collect()
            }),
        ];
        for (delivery, results) in &runs {
            let [dead, panicked] = [0, 1].map(|at| results[at].as_ref().unwrap_err());
            assert!(dead.is_worker_lost() && dead.earlier_attempts().len() == 2, "{delivery}: {dead}");
            assert!(panicked.is_panic() && panicked.earlier_attempts().is_empty(), "{delivery}: {panicked}");
        }
        assert_eq!(tries.map(|it| it.get()), [3 * 3, 3]);
    });
}

#[test]
fn a_predicate_may_wait_for_the_pool_and_may_panic() {
    on_processes_and_threads(1, 60, |pool| {
        let other = multiproc::Pool::new(1).unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        // What it asks runs on a pool of its own while the first one is not being driven by it.
        let other = Mutex::new(other);
        let retry = Retry::new(1).only(move |error| {
            count.fetch_add(1, Relaxed);
            other.lock().unwrap().apply(|| 1, ()).unwrap() == 1 && error.is_panic()
        });
        let results = pool.tasks(|x: u32| assert!(x != 1), 0..3).retry(retry).each();
        assert_eq!(results[1].as_ref().unwrap_err().earlier_attempts().len(), 1);
        assert!(results[0].is_ok() && results[2].is_ok());
        assert_eq!(asked.load(Relaxed), 1);

        let retry = Retry::new(5).only(|_| panic!("the predicate"));
        let results = pool.tasks(|x: u32| assert!(x != 1), 0..3).retry(retry).each();
        assert!(results[1].as_ref().unwrap_err().is_panic() && results[0].is_ok() && results[2].is_ok());
    });
}

#[test]
fn a_callback_may_wait_for_a_call_that_asks() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        let fail = |tries: RawValue<u32>| assert!(tries.fetch_add(1) == 2, "not yet");
        let flaky = || pool.task(fail, (RawValue::new(0u32),)).retry(Retry::new(2).only(TaskError::is_panic));
        // The thread where callbacks run waits for a call whose failures would be asked about there.
        let inner = Mutex::new(Some(flaky().submit().unwrap()));
        let (tell, told) = std::sync::mpsc::channel();
        let outer = pool.apply_async(|| 1, ()).unwrap().callback(move |_| {
            tell.send(inner.lock().unwrap().take().unwrap().get()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
        outer.get().unwrap();
        // And with nobody who waits.
        let (tell, told) = std::sync::mpsc::channel();
        let _kept = flaky().submit().unwrap().callback(move |()| tell.send(()).unwrap());
        told.recv_timeout(Duration::from_secs(30)).unwrap();
    });
}

#[test]
fn a_pause_lies_between_two_runs_and_holds_nobody_up() {
    on_processes_and_threads(1, 60, |pool| {
        let fail = |path: String, index: u32| {
            write(&path, index);
            assert!(index != 0, "always");
        };
        let journal = Journal::new();
        let retry = || Retry::new(3).backoff(Duration::from_millis(40)).max_backoff(Duration::from_millis(80));
        let start = Instant::now();
        let results = pool.star_tasks(fail, (0..20).map(|index| (journal.path(), index))).retry(retry()).each();
        assert!(start.elapsed() >= Duration::from_millis(40 + 80 + 80), "{:?}", start.elapsed());
        assert_eq!(results[0].as_ref().unwrap_err().earlier_attempts().len(), 3);
        assert!(results[1..].iter().all(Result::is_ok));
        // The others have run while the first one waited.
        let order: Vec<u64> = journal.read().iter().map(|entry| entry.task).collect();
        assert!(order[..2] != [0, 0] && order[order.len() - 2..] == [0, 0], "{order:?}");

        // With nobody who waits, and in a call that ends during a pause.
        let later = pool.task(fail, (journal.path(), 0)).retry(retry()).submit().unwrap();
        assert_eq!(later.get().unwrap_err().earlier_attempts().len(), 3);
        let before = pool.stats().retried;
        let long = Retry::new(3).backoff(Duration::from_secs(1000));
        let later = pool.task(fail, (journal.path(), 0)).retry(long.max_backoff(Duration::MAX)).submit().unwrap();
        while pool.stats().retried == before {
            std::thread::yield_now();
        }
        assert!(later.cancel());
        assert!(later.get().unwrap_err().is_cancelled());
        assert_eq!(pool.apply(|| 5, ()).unwrap(), 5);
    });
}

#[test]
fn a_pool_can_end_during_a_pause() {
    on_each_pool(1, 60, |pool| {
        let (tell, told) = std::sync::mpsc::channel();
        let retry =
            Retry::new(1).backoff(Duration::from_secs(1000)).max_backoff(Duration::from_secs(1000)).only(move |_| {
                tell.send(()).unwrap();
                true
            });
        let later = pool.task(|| panic!("once"), ()).retry(retry).submit().unwrap();
        told.recv().unwrap();
        pool.terminate();
        pool.join().unwrap();
        let later: Result<(), TaskError> = later.get();
        assert!(later.unwrap_err().is_terminated());
    });
}

fn write(path: &str, task: u32) {
    Pen::open(path).write(0, u64::from(task));
}

#[test]
fn nothing_of_a_call_that_is_over_is_run_again() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(1, 60, |pool| {
        let runs = RawValue::new(0u32);
        let (asked, answer) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let (tell, wait) = (asked.0, Mutex::new(answer.1));
        let retry = Retry::new(9).only(move |_| {
            tell.send(()).unwrap();
            let _ = wait.lock().unwrap().recv();
            true
        });
        let fail = |runs: RawValue<u32>| -> () {
            runs.fetch_add(1);
            panic!("always")
        };
        let results = pool.tasks(fail, [runs.clone()]).retry(retry).iter();
        // Nobody takes the results, so the question comes from where callbacks run.
        asked.1.recv().unwrap();
        drop(results);
        drop(answer.0);
        assert_eq!(pool.apply(|| 7, ()).unwrap(), 7);
        pool.close();
        pool.join().unwrap();
        assert_eq!(runs.get(), 1);
    });
}

#[test]
fn what_a_policy_holds_may_be_of_the_same_pool() {
    on_processes_and_threads(1, 60, |pool| {
        let gate = Event::new();
        let inner = Mutex::new(Some(pool.apply_async(|| 5, ()).unwrap()));
        let retry = Retry::new(1).only(move |_| inner.lock().unwrap().is_none());
        let held = |gate: Event| gate.wait();
        pool.task(held, (gate.clone(),)).retry(retry).submit().unwrap().detach();
        gate.set();
        // The last to know of the call is who drives the pool.
        for x in 0..100 {
            assert_eq!(pool.apply(|x: u32| x, (x,)).unwrap(), x);
        }
    });
}
