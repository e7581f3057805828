//! Calls whose arguments are the results of other calls.

use super::common::links::{HANDLES, on_each_link, on_nodes, on_processes_and_threads};
use super::common::proc::{eventually, kill, own_pid};
use super::common::watchdog::watchdog;
use multiproc::{AsyncResult, Event, Pool, RawArray, RawValue, Retry, Semaphore};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn wait(gate: Event, value: u64) -> u64 {
    gate.wait();
    value
}

/// A call that waits for the gate, and then has a value.
fn held(pool: &Pool, gate: &Event, value: u64) -> AsyncResult<u64> {
    pool.apply_async(wait, (gate.clone(), value)).unwrap()
}

#[test]
fn results_of_all_kinds_become_arguments() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(2, 60, |pool| {
        for is_late in [true, false] {
            let gate = Event::new();
            let first = held(pool, &gate, 5);
            if !is_late {
                gate.set();
                first.wait();
            }
            // Numbers, text, large values that travel beside a link, several results at once, and nothing.
            let text = pool.apply_async(|x: u64| "é".repeat(x as usize), (3,)).unwrap();
            let large = pool.apply_async(|x: u64| vec![x as f64; 100_000], (7,)).unwrap();
            let many = pool.map_async(|x: u64| x * x, 0..4).unwrap();
            let nothing = pool.apply_async(|| (), ()).unwrap();
            let all = |a: u64, text: String, large: Vec<f64>, many: Vec<u64>, (): ()| {
                (a, text, large.len(), large.iter().sum::<f64>(), many)
            };
            let all = pool.task_after(all, (first, text, large, many, nothing)).submit().unwrap();
            let again = pool.task_after(|all: (u64, String, usize, f64, Vec<u64>)| (all.0 + 1, all), all).submit();
            let mut again = again.unwrap();
            assert!(!is_late || again.get_timeout(Duration::ZERO).is_none());
            gate.set();
            let (next, all) = again.get_timeout(SOON).unwrap().unwrap();
            assert_eq!((next, all), (6, (5, "ééé".to_owned(), 100_000, 700_000.0, vec![0, 1, 4, 9])));
        }
    });
}

#[test]
fn a_result_that_was_looked_at_before_is_an_argument_as_well() {
    on_processes_and_threads(2, 60, |pool| {
        let double = |x: u64| 2 * x;
        let waited = pool.apply_async(double, (1,)).unwrap();
        waited.wait();
        assert_eq!(waited.successful(), Some(true));
        let (tell, told) = mpsc::channel();
        let called = pool.apply_async(double, (2,)).unwrap().callback(move |value| tell.send(*value).unwrap());
        let sum = pool.task_after(|a: u64, b: u64| a + b, (waited, called)).submit().unwrap();
        assert_eq!((sum.get().unwrap(), told.recv().unwrap()), (6, 4));

        let mut taken = pool.apply_async(double, (1,)).unwrap();
        assert!(taken.get_timeout(SOON).is_some());
        assert!(pool.task_after(double, taken).submit().unwrap_err().is_invalid_argument());
    });
}

#[test]
fn the_callbacks_of_an_argument_get_it_first() {
    on_processes_and_threads(2, 60, |pool| {
        let double = |x: u64| 2 * x;
        let (tell, told) = mpsc::channel();
        // Whether its call has ended by then, and its callback has been called, is different from round to round.
        for round in 0..100 {
            let tell = tell.clone();
            let called = pool.apply_async(double, (round,)).unwrap().callback(move |value| tell.send(*value).unwrap());
            let later = pool.task_after(double, called).submit().unwrap();
            assert_eq!((later.get().unwrap(), told.recv().unwrap()), (4 * round, 2 * round));
        }
    });
}

#[test]
fn a_result_is_no_argument_in_its_own_callback() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = Arc::new(builder().processes(1).build().unwrap());
        let (hand, handed) = mpsc::channel::<AsyncResult<u64>>();
        let (tell, told) = mpsc::channel();
        let (gate, inside) = (Event::new(), Arc::clone(&pool));
        let result = held(&pool, &gate, 1).callback(move |_| {
            let own = handed.recv().unwrap();
            tell.send(inside.task_after(|x: u64| x, own).submit().unwrap().get().unwrap_err()).unwrap();
        });
        hand.send(result).unwrap();
        gate.set();
        let error = told.recv_timeout(SOON).expect("it has not waited for itself");
        assert!(error.is_deadlock(), "{error}");
    });
}

#[test]
fn handles_and_contexts_travel_along() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).state(|| 100u64, ()).build().unwrap();
        let other = builder().processes(1).build().unwrap();
        let make = |n: usize| RawArray::from(&vec![n as u64; n][..]);
        let array = pool.apply_async(make, (3,)).unwrap();
        let sum = other.task_after(|array: RawArray<u64>| array.read(..).iter().sum::<u64>(), array).submit().unwrap();
        let add = |(by, state): (&u64, &mut u64), sum: u64| sum + by + *state;
        assert_eq!(pool.with(&1000u64).on_state().task_after(add, sum).run().unwrap(), 1109);
    });
}

#[test]
fn an_error_goes_through_and_says_whose_it_is() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let runs = RawValue::new(0u32);
        let count = |runs: &RawValue<u32>, _: u64| runs.fetch_add(1);
        let chain = |first| {
            let second = pool.with(&runs).task_after(count, first).submit().unwrap();
            pool.task_after(|x: u32| x, second).submit().unwrap().get().unwrap_err()
        };
        let panics = pool.apply_async(|| -> u64 { panic!("no") }, ()).unwrap();
        let error = chain(panics);
        assert!(error.is_panic() && error.to_string().contains("an_error_goes_through"), "{error}");
        let fails = |x: u64| if x > 0 { Err::<u64, _>("bad".to_owned()) } else { Ok(x) };
        assert!(chain(pool.task(fails, (1,)).fallible().submit().unwrap()).is_error());
        assert!(chain(pool.apply_async(|| -> u64 { std::process::abort() }, ()).unwrap()).is_worker_lost());
        let sleeps = |ms: u64| {
            std::thread::sleep(Duration::from_millis(ms));
            ms
        };
        let late = pool.task(sleeps, (60_000,)).timeout(Duration::from_millis(50)).submit().unwrap();
        assert!(chain(late).is_timeout());
        let killed = pool.apply_async(sleeps, (60_000,)).unwrap();
        killed.kill();
        assert!(chain(killed).is_cancelled());
        assert_eq!(runs.get(), 0);

        // Its own failures, and its own options.
        let one = || pool.apply_async(|| 1u64, ()).unwrap();
        let die = pool.task_after(|_: u64| -> u64 { std::process::abort() }, one()).submit().unwrap();
        assert!(die.get().unwrap_err().is_worker_lost());
        let sleep = pool.task_after(move |x: u64| sleeps(60_000 * x), one()).timeout(Duration::from_millis(50));
        assert!(sleep.run().unwrap_err().task().unwrap().is_timeout());
        let flaky =
            |runs: &RawValue<u32>, x: u64| if runs.fetch_add(1) < 2 { Err("not yet".to_owned()) } else { Ok(x) };
        let again = pool.with(&runs).task_after(flaky, one()).fallible().retry(Retry::new(2));
        assert_eq!(again.run().unwrap(), 1);
    });
}

#[test]
fn cancelling_and_dropping_reach_what_is_waited_for() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(1, 60, |pool| {
        let runs = RawValue::new(0u64);
        let count = |runs: RawValue<u64>| runs.fetch_add(1);
        for way in 0..2 {
            let gate = Event::new();
            let first = held(pool, &gate, 1);
            // Waits behind the first, which has the only worker.
            let waiting = pool.apply_async(count, (runs.clone(),)).unwrap();
            let second = pool.task_after(|a: u64| a, waiting).submit().unwrap();
            let third = pool.task_after(|a: u64| a, second).submit().unwrap();
            if way == 0 {
                assert!(third.cancel());
                assert!(third.get().unwrap_err().is_cancelled());
            } else {
                drop(third);
            }
            assert!(eventually(SOON, || pool.stats().queued == 0), "{}", pool.stats());
            gate.set();
            assert_eq!((first.get().unwrap(), pool.apply(|| 2, ()).unwrap(), runs.get()), (1, 2, 0));
        }
    });
}

#[test]
fn the_end_of_a_pool_ends_what_waits() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        // Closing lets all of it happen.
        let pool = builder().processes(2).build().unwrap();
        let gate = Event::new();
        let second = pool.task_after(|x: u64| x + 1, held(&pool, &gate, 1)).submit().unwrap();
        pool.close();
        gate.set();
        pool.join().unwrap();
        assert_eq!(second.get().unwrap(), 2);

        // Draining ends what has not begun.
        let pool = builder().processes(2).build().unwrap();
        let (inside, gate) = (Semaphore::new(0), Event::new());
        let hold = |inside: Semaphore, gate: Event| {
            inside.release(1).unwrap();
            gate.wait();
            1u64
        };
        let first = pool.apply_async(hold, (inside.clone(), gate.clone())).unwrap();
        inside.acquire().unwrap();
        let second = pool.task_after(|x: u64| x + 1, first).submit().unwrap();
        std::thread::scope(|scope| {
            let drained = scope.spawn(|| pool.drain(SOON));
            assert!(second.get().unwrap_err().is_cancelled());
            gate.set();
            assert!(drained.join().unwrap());
        });

        let pool = builder().processes(2).build().unwrap();
        let second = pool.task_after(|x: u64| x + 1, held(&pool, &Event::new(), 1)).submit().unwrap();
        pool.terminate();
        assert!(second.get().unwrap_err().is_terminated());

        // The pool of the later call alone, or that of the first.
        let (pool, other) = (builder().processes(1).build().unwrap(), builder().processes(1).build().unwrap());
        let second = other.task_after(|x: u64| x + 1, held(&pool, &Event::new(), 1)).submit().unwrap();
        other.terminate();
        assert!(second.get().unwrap_err().is_terminated());
        let other = builder().processes(1).build().unwrap();
        let second = other.task_after(|x: u64| x + 1, held(&pool, &Event::new(), 1)).submit().unwrap();
        pool.terminate();
        assert!(second.get().unwrap_err().is_terminated());
    });
}

#[test]
fn many_calls_that_wait_for_each_other_lose_nothing_whoever_dies() {
    let _watchdog = watchdog(120);
    let pool = Pool::new(3).unwrap();
    let over = Event::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.wait_timeout(Duration::from_millis(20)) {
                pool.worker_pids().first().map(|pid| kill(*pid));
            }
        });
        for round in 0..20u64 {
            let mut layer: Vec<AsyncResult<u64>> =
                (0..16).map(|x| pool.apply_async(|x: u64| x, (x + round,)).unwrap()).collect();
            while layer.len() > 1 {
                let mut results = layer.into_iter();
                let mut next = Vec::new();
                while let (Some(a), Some(b)) = (results.next(), results.next()) {
                    next.push(pool.task_after(|a: u64, b: u64| a + b, (a, b)).retries(5).submit().unwrap());
                }
                layer = next;
            }
            match layer.pop().unwrap().get() {
                Ok(sum) => assert_eq!(sum, (0..16).map(|x| x + round).sum::<u64>()),
                // One of the first, which are not run again.
                Err(error) => assert!(error.is_worker_lost(), "{error}"),
            }
        }
        over.set();
    });
    let last = pool.apply_async(own_pid, ()).unwrap();
    assert!(pool.task_after(|pid: i32| pid > 0, last).run().unwrap());
}

#[test]
fn without_workers_it_runs_here() {
    let _watchdog = watchdog(60);
    let pool = Pool::builder().inline().build().unwrap();
    let here = std::process::id();
    let first = pool.apply_async(std::process::id, ()).unwrap();
    let second = pool.task_after(|pid: u32| (pid, std::process::id()), first).submit().unwrap();
    assert_eq!(second.get().unwrap(), (here, here));
}
