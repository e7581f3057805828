//! Calls that run once in every worker.

use super::common::links::{HANDLES, on_each_link, on_nodes, on_processes_and_threads};
use super::common::proc::{eventually, kill, own_pid, stop};
use super::common::watchdog::watchdog;
use super::errors::{Fickle, fickle};
use ipc_channel::ipc::{self, IpcSender};
use multiproc::{Event, Pool, RawArray, RawValue, Semaphore, TaskError, worker_number};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Says where it is, and waits for the gate.
fn hold(inside: Semaphore, gate: Event) -> usize {
    inside.release(1).unwrap();
    gate.wait();
    worker_number().unwrap()
}

fn acquire(inside: &Semaphore, times: usize) {
    (0..times).for_each(|_| inside.acquire().unwrap());
}

#[test]
fn every_worker_runs_it_once_the_busy_ones_after_their_task() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(3, 60, |pool| {
        let (inside, gate, runs) = (Semaphore::new(0), Event::new(), RawArray::<u32>::new(3));
        let busy: Vec<_> = (0..2).map(|_| pool.apply_async(hold, (inside.clone(), gate.clone())).unwrap()).collect();
        acquire(&inside, 2);
        let count = |runs: RawArray<u32>, by: u32| {
            let number = worker_number().unwrap();
            runs.fetch_add(number, by);
            number
        };
        let mut all = pool.on_each_worker(count, (runs.clone(), 5)).submit().unwrap();
        // The idle one does not wait for the others, and plain tasks go on beside.
        assert!(eventually(SOON, || (0..3).any(|at| runs.get(at) == 5)));
        assert_eq!(pool.map(|x: u32| x + 1, 0..100).unwrap().len(), 100);
        assert!(all.get_timeout(Duration::ZERO).is_none());
        gate.set();
        assert_eq!(all.get_timeout(SOON).unwrap().unwrap(), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!((0..3).map(|at| runs.get(at)).collect::<Vec<_>>(), [5, 5, 5]);
        let held: Vec<usize> = busy.into_iter().map(|result| result.get().unwrap()).collect();
        assert!(held[0] != held[1]);
    });
}

#[test]
fn it_sees_the_context_and_the_state() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).state(|start: u64| (start, worker_number()), (100,)).build().unwrap();
        pool.on_state().on_each_worker(|state: &mut (u64, Option<usize>)| state.0 += 1, ()).run().unwrap();
        let table = vec![10, 20];
        let look = |(table, state): (&Vec<u64>, &mut (u64, Option<usize>)), by: u64| {
            state.0 += table[state.1.unwrap()] * by;
            state.0
        };
        let first = pool.with(&table).on_state().on_each_worker(look, (1,)).run().unwrap();
        assert_eq!(first, [(0, 111), (1, 121)]);
        let second = pool.with(&table).on_state().on_each_worker(look, (2,)).run().unwrap();
        assert_eq!(second, [(0, 131), (1, 161)]);
        let total = pool.with(&table).on_each_worker(|table: &Vec<u64>| table.iter().sum::<u64>(), ()).run().unwrap();
        assert_eq!(total, [(0, 30), (1, 30)]);
    });
}

#[test]
fn an_error_is_that_of_its_worker_and_has_its_number() {
    on_processes_and_threads(3, 60, |pool| {
        let fail = |bad: usize| if worker_number() >= Some(bad) { Err(format!("not {bad}")) } else { Ok(7) };
        let error = pool.on_each_worker(fail, (1,)).fallible().run().unwrap_err();
        assert_eq!((error.task().unwrap().index(), error.task().unwrap().is_error()), (1, true), "{error}");
        let each = pool.on_each_worker(fail, (2,)).fallible().each().unwrap();
        assert_eq!(
            each.iter().map(|(number, result)| (*number, result.is_ok())).collect::<Vec<_>>(),
            [(0, true), (1, true), (2, false)]
        );
        assert_eq!(pool.on_each_worker(|| 1, ()).run().unwrap(), [(0, 1), (1, 1), (2, 1)]);
    });
}

#[test]
fn a_worker_that_dies_before_it_is_followed_by_one_that_runs_it_and_one_that_dies_of_it_is_lost() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        for round in 0..10 {
            let (inside, gate) = (Semaphore::new(0), Event::new());
            let busy: Vec<_> =
                (0..2).map(|_| pool.apply_async(hold, (inside.clone(), gate.clone())).unwrap()).collect();
            acquire(&inside, 2);
            let before = pool.worker_pids();
            let all = pool.on_each_worker(own_pid, ()).submit().unwrap();
            assert!(kill(before[round % 2]));
            gate.set();
            let pids: Vec<i32> = all.get().unwrap().into_iter().map(|(_, pid)| pid).collect();
            assert!(pids.contains(&before[1 - round % 2]) && !pids.contains(&before[round % 2]), "{pids:?} {before:?}");
            let lost = busy.into_iter().filter(|it| !it.wait_timeout(SOON) || it.successful() == Some(false)).count();
            assert_eq!(lost, 1);

            let die = || {
                if worker_number() == Some(1) {
                    std::process::abort()
                }
            };
            let each = pool.on_each_worker(die, ()).each().unwrap();
            assert!(each[0].1.is_ok() && each[1].1.as_ref().unwrap_err().is_worker_lost(), "{each:?}");
        }
    });
}

#[test]
fn a_place_that_goes_gives_its_call_back() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(3, 60, |pool| {
        let (inside, gate) = (Semaphore::new(0), Event::new());
        let busy: Vec<_> = (0..3).map(|_| pool.apply_async(hold, (inside.clone(), gate.clone())).unwrap()).collect();
        acquire(&inside, 3);
        let all = pool.on_each_worker(worker_number, ()).submit().unwrap();
        let each = std::thread::scope(|scope| {
            let each = scope.spawn(|| pool.on_each_worker(worker_number, ()).each().unwrap());
            // Handed in, but for the moment between: three tasks run, and three of each call wait.
            assert!(eventually(SOON, || pool.stats().queued == 6), "{}", pool.stats());
            pool.resize(1).unwrap();
            gate.set();
            each.join().unwrap()
        });
        assert_eq!(*each[0].1.as_ref().unwrap(), Some(0));
        assert!(each[1..].iter().all(|(_, result)| result.as_ref().unwrap_err().is_cancelled()), "{each:?}");
        assert_eq!(each.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
        let error = all.get().unwrap_err();
        assert!(error.is_cancelled() && error.index() == 1, "{error}");
        assert_eq!(pool.on_each_worker(worker_number, ()).run().unwrap(), [(0, Some(0))]);
        busy.into_iter().for_each(|result| assert!(result.get().is_ok()));
        pool.resize(2).unwrap();
        assert_eq!(pool.on_each_worker(worker_number, ()).run().unwrap(), [(0, Some(0)), (1, Some(1))]);
    });
}

#[test]
fn it_goes_on_beside_calls_of_all_kinds_whoever_is_replaced() {
    on_each_link(120, |builder| {
        let pool = builder().processes(2).max_tasks_per_child(50).build().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let maps = scope.spawn(|| {
                let mut rounds = 0u32;
                while !over.load(Relaxed) {
                    assert_eq!(pool.map(|x: u32| x + 1, 0..300).unwrap().len(), 300);
                    rounds += 1;
                }
                rounds
            });
            let later = scope.spawn(|| {
                while !over.load(Relaxed) {
                    assert_eq!(pool.map_async(|x: u32| x + 1, 0..30).unwrap().get().unwrap().len(), 30);
                }
            });
            for round in 0..100u32 {
                let pairs = pool.on_each_worker(|round: u32| (worker_number().unwrap(), round), (round,)).run();
                assert_eq!(pairs.unwrap(), [(0, (0, round)), (1, (1, round))]);
            }
            over.store(true, Relaxed);
            later.join().unwrap();
            assert!(maps.join().unwrap() > 0);
        });
        let stats = pool.stats();
        assert_eq!((stats.failed, stats.queued, stats.running), (0, 0, 0), "{stats}");
    });
}

#[test]
fn a_pool_that_ends_ends_it() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let (inside, gate) = (Semaphore::new(0), Event::new());
        let busy: Vec<_> = (0..2).map(|_| pool.apply_async(hold, (inside.clone(), gate.clone())).unwrap()).collect();
        acquire(&inside, 2);
        let closed = pool.on_each_worker(|| 1, ()).submit().unwrap();
        pool.close();
        assert!(pool.on_each_worker(|| 1, ()).run().unwrap_err().is_not_running());
        gate.set();
        assert_eq!(closed.get().unwrap(), [(0, 1), (1, 1)]);
        busy.into_iter().for_each(|result| assert!(result.get().is_ok()));
        pool.join().unwrap();

        let pool = builder().processes(1).build().unwrap();
        let gate = Event::new();
        let busy = pool.apply_async(hold, (inside.clone(), gate.clone())).unwrap();
        acquire(&inside, 1);
        let waiting = pool.on_each_worker(|| 1, ()).submit().unwrap();
        pool.terminate();
        assert!(waiting.get().unwrap_err().is_terminated() && busy.get().unwrap_err().is_terminated());

        let pool = builder().processes(1).build().unwrap();
        let busy = pool.apply_async(hold, (inside.clone(), gate.clone())).unwrap();
        acquire(&inside, 1);
        let waiting = pool.on_each_worker(|| 1, ()).submit().unwrap();
        assert!(waiting.cancel());
        gate.set();
        assert!(waiting.get().unwrap_err().is_cancelled() && busy.get().is_ok());
    });
}

#[test]
fn workers_that_have_left_for_want_of_work_are_not_called_back_for_it() {
    let _watchdog = watchdog(60);
    let pool = Pool::builder().processes(3).idle_timeout(Duration::from_millis(5)).build().unwrap();
    assert!(eventually(SOON, || pool.worker_pids().len() == 1));
    assert_eq!(pool.on_each_worker(own_pid, ()).run().unwrap().len(), 1);
}

#[test]
fn an_argument_that_cannot_be_serialised_fails_everywhere() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        let each = pool.on_each_worker(|_: Fickle| (), (fickle("refuse to leave"),)).each().unwrap();
        assert!(each.len() == 2 && each.iter().all(|(_, result)| result.as_ref().unwrap_err().is_encode()), "{each:?}");
    });
}

#[test]
fn all_get_the_same_sender_and_the_same_handle() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(3).build().unwrap();
        let (sender, receiver) = ipc::channel::<usize>().unwrap();
        let total = RawValue::new(0u64);
        let send = |sender: IpcSender<usize>, total: RawValue<u64>| {
            total.fetch_add(1);
            sender.send(worker_number().unwrap()).unwrap();
        };
        pool.on_each_worker(send, (sender, total.clone())).run().unwrap();
        let mut numbers: Vec<usize> = (0..3).map(|_| receiver.recv().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!((numbers, total.get()), (vec![0, 1, 2], 3));
    });
}

#[test]
fn a_time_limit_holds_at_a_worker_that_was_stopped() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(2).unwrap();
    let pids = pool.on_each_worker(own_pid, ()).run().unwrap();
    stop(pids[0].1);
    let results = pool.on_each_worker(worker_number, ()).timeout(Duration::from_secs(2)).each().unwrap();
    assert_eq!(*results[1].1.as_ref().unwrap(), Some(1));
    // Its worker was killed, and another one may have run it.
    assert!(results[0].1.as_ref().map_or_else(TaskError::is_timeout, |number| *number == Some(0)), "{:?}", results[0]);
    assert_eq!(pool.map(|x: u32| x + 1, 0..10).unwrap().len(), 10);
}
