//! The end of a service: what runs ends, the rest is given back.

use super::common::alone::alone;
use super::common::links::{HANDLES, on_each_link, on_each_pool, on_nodes, on_processes_and_threads};
use super::common::proc::{eventually, is_alive, kill, own_pid, send_signal};
use super::common::signals::on_sigusr1;
use super::common::watchdog::watchdog;
use multiproc::{Event, Pool, Process, RawValue, Semaphore, TaskError};
use rustix::process::Signal;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
const TERM: i32 = Signal::TERM.as_raw();

/// Says that it has begun, and waits for the gate.
fn hold((inside, gate): &(Semaphore, Event), n: u32) -> u32 {
    inside.release(1).unwrap();
    gate.wait();
    n
}

fn acquire(inside: &Semaphore, times: usize) {
    (0..times).for_each(|_| inside.acquire().unwrap());
}

/// How many went well and how many were cancelled; nothing else has happened.
fn tally(results: &[Result<u32, TaskError>]) -> (usize, usize) {
    let cancelled = results.iter().flat_map(|result| result.as_ref().err());
    let cancelled = cancelled.inspect(|error| assert!(error.is_cancelled(), "{error}")).count();
    (results.len() - cancelled, cancelled)
}

#[test]
fn what_runs_ends_and_the_rest_is_given_back_by_every_kind_of_call() {
    if on_nodes(HANDLES) {
        return;
    }
    on_processes_and_threads(3, 60, |pool| {
        let both = (Semaphore::new(0), Event::new());
        let later = pool.with(&both).tasks(hold, 0..10).chunksize(1).submit().unwrap();
        acquire(&both.0, 3);
        std::thread::scope(|scope| {
            let each = scope.spawn(|| pool.with(&both).tasks(hold, 0..10).chunksize(1).each());
            let run = scope.spawn(|| pool.with(&both).tasks(hold, 0..).chunksize(1).run());
            let iter =
                scope.spawn(|| pool.with(&both).tasks(hold, 0..).chunksize(1).buffersize(5).iter().collect::<Vec<_>>());
            let one = scope.spawn(|| pool.with(&both).task(hold, (7,)).run());
            // All have come.
            assert!(eventually(SOON, || pool.stats().jobs.len() == 5), "{}", pool.stats());
            let drain = scope.spawn(|| pool.drain(SOON));
            // Nothing that has not begun is waited for.
            assert_eq!(tally(&each.join().unwrap()), (0, 10));
            assert!(run.join().unwrap().unwrap_err().task().unwrap().is_cancelled());
            let (fine, cancelled) = tally(&iter.join().unwrap());
            assert!(fine == 0 && cancelled >= 1, "{cancelled}");
            assert!(one.join().unwrap().unwrap_err().task().unwrap().is_cancelled());
            assert!(pool.apply(|| 1, ()).unwrap_err().is_not_running());
            assert!(!later.ready() && !drain.is_finished());
            both.1.set();
            assert!(drain.join().unwrap());
        });
        let error = later.get().unwrap_err();
        assert!(error.is_cancelled() && error.index() == 3, "{error}");
        assert!(pool.worker_pids().is_empty() && pool.join().is_ok() && pool.drain(Duration::ZERO));
    });
}

#[test]
fn a_call_that_was_under_way_keeps_what_it_has() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let both = (Semaphore::new(0), Event::new());
        std::thread::scope(|scope| {
            let each = scope.spawn(|| pool.with(&both).tasks(hold, 0..100).chunksize(1).each());
            acquire(&both.0, 2);
            let complete = pool.map_async(|x: u32| x, 0..0).unwrap();
            let drain = scope.spawn(|| pool.drain(SOON));
            assert!(eventually(SOON, || pool.apply(|| (), ()).is_err_and(|error| error.is_not_running())));
            both.1.set();
            assert!(drain.join().unwrap());
            let results = each.join().unwrap();
            assert_eq!((tally(&results), results.len()), ((2, 98), 100));
            assert!(complete.get().unwrap().is_empty());
        });
    });
    // All tasks have begun, so nothing is lost.
    on_each_pool(2, 60, |pool| {
        let both = (Semaphore::new(0), Event::new());
        std::thread::scope(|scope| {
            let run = scope.spawn(|| pool.with(&both).tasks(hold, 0..2).chunksize(1).run());
            let whole = scope.spawn(|| pool.with(&both).tasks(hold, 0..0).run());
            acquire(&both.0, 2);
            let drain = scope.spawn(|| pool.drain(SOON));
            assert!(eventually(SOON, || pool.apply(|| (), ()).is_err()));
            both.1.set();
            assert!(drain.join().unwrap());
            assert_eq!(run.join().unwrap().unwrap(), [0, 1]);
            assert!(whole.join().unwrap().is_ok_and(|it| it.is_empty()) || pool.join().is_ok());
        });
    });
}

#[test]
fn patience_has_an_end() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let pool = builder().processes(2).grace(Duration::from_millis(50)).build().unwrap();
        let (inside, begin) = (Semaphore::new(0), Instant::now());
        let hang = |inside: Semaphore| {
            inside.release(1).unwrap();
            std::thread::sleep(SOON);
        };
        let stuck: Vec<_> = (0..3).map(|_| pool.apply_async(hang, (inside.clone(),)).unwrap()).collect();
        acquire(&inside, 2);
        let pids = pool.worker_pids();
        assert!(!pool.drain(Duration::from_millis(30)));
        assert!(begin.elapsed() < SOON && pids.iter().all(|pid| !is_alive(*pid)));
        let errors: Vec<TaskError> = stuck.into_iter().map(|result| result.get().unwrap_err()).collect();
        let cancelled = errors.iter().filter(|error| error.is_cancelled()).count();
        assert!(cancelled == 1 && errors.iter().all(|it| it.is_cancelled() || it.is_terminated()), "{errors:?}");
    });
}

#[test]
fn nothing_is_run_again_and_nobody_replaced() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        for round in 0..4 {
            let pool = builder().processes(2).build().unwrap();
            let (inside, gate, runs) = (Semaphore::new(0), Event::new(), RawValue::new(0u32));
            let fail = |(inside, gate): &(Semaphore, Event), runs: RawValue<u32>| {
                runs.fetch_add(1);
                inside.release(1).unwrap();
                gate.wait();
                panic!("of the task")
            };
            let both = (inside, gate);
            let call = || pool.with(&both).task(fail, (runs.clone(),)).retries(5).submit::<()>().unwrap();
            let (first, second) = (call(), call());
            let third = call();
            acquire(&both.0, 2);
            let pids = pool.worker_pids();
            std::thread::scope(|scope| {
                let drain = scope.spawn(|| pool.drain(SOON));
                assert!(third.get().unwrap_err().is_cancelled());
                if round % 2 == 0 {
                    assert!(kill(pids[0]) && kill(pids[1]));
                } else {
                    both.1.set();
                }
                assert!(drain.join().unwrap());
            });
            for error in [first.get().unwrap_err(), second.get().unwrap_err()] {
                assert!(if round % 2 == 0 { error.is_worker_lost() } else { error.is_panic() }, "{error}");
            }
            assert_eq!(runs.get(), 2);
        }
    });
}

#[test]
fn a_drain_at_any_moment_leaves_no_call_without_an_end() {
    on_each_link(120, |builder| {
        for round in 0..60u64 {
            let pool = builder().processes(2).max_tasks_per_child(20).build().unwrap();
            std::thread::scope(|scope| {
                let callers: Vec<_> = (0..3)
                    .map(|caller| {
                        let pool = &pool;
                        scope.spawn(move || {
                            let mut done = 0u64;
                            loop {
                                let results = match caller {
                                    0 => pool.map_each(|x: u64| x, 0..50),
                                    1 => pool.imap_unordered(|x: u64| x, 0..50).collect(),
                                    _ => pool
                                        .on_each_worker(|| 0u64, ())
                                        .each()
                                        .map(|all| all.into_iter().map(|(_, result)| result).collect())
                                        .unwrap_or_default(),
                                };
                                let fine = results.iter().flatten().count() as u64;
                                done += fine;
                                if fine < results.len() as u64 || results.is_empty() {
                                    let bad = |it: &TaskError| !it.is_cancelled() && !it.is_not_running();
                                    let bad = results.iter().filter_map(|it| it.as_ref().err()).find(|it| bad(it));
                                    assert!(bad.is_none(), "{bad:?}");
                                    return done;
                                }
                            }
                        })
                    })
                    .collect();
                std::thread::sleep(Duration::from_micros(round * 97));
                assert!(pool.drain(SOON));
                callers.into_iter().for_each(|caller| _ = caller.join().unwrap());
            });
        }
    });
}

#[test]
fn a_signal_drains_and_a_second_one_ends_at_once() {
    if !alone("drain::a_signal_drains_and_a_second_one_ends_at_once") {
        return;
    }
    let _watchdog = watchdog(60);
    let both = (Semaphore::new(0), Event::new());
    for seconds in [false, true] {
        let pool = Pool::builder().processes(2).drain_on(&[TERM]).build().unwrap();
        // One that nobody has told of signals goes on, and one that has is told as well.
        let bystander = Pool::new(1).unwrap();
        let other = Pool::builder().processes(1).drain_on(&[TERM, Signal::HUP.as_raw()]).build().unwrap();
        let running: Vec<_> = (0..3).map(|n| pool.with(&both).task(hold, (n,)).submit().unwrap()).collect();
        acquire(&both.0, 2);
        assert!(send_signal(own_pid(), Signal::TERM));
        for pool in [&pool, &other] {
            assert!(eventually(SOON, || pool.apply(|| (), ()).is_err_and(|error| error.is_not_running())));
        }
        assert_eq!(bystander.apply(|| 1, ()).unwrap(), 1);
        assert_eq!(running.iter().filter(|it| it.ready()).count(), 1);
        if seconds {
            assert!(send_signal(own_pid(), Signal::TERM));
            pool.join().unwrap();
            let ended = running.into_iter().map(|it| it.get().unwrap_err());
            assert_eq!(ended.filter(TaskError::is_terminated).count(), 2);
        } else {
            both.1.set();
            pool.join().unwrap();
            let results: Vec<_> = running.into_iter().map(|it| it.get()).collect();
            assert_eq!(tally(&results), (2, 1));
            both.1.clear();
        }
    }
}

#[test]
fn a_signal_has_its_former_effect_again() {
    let _watchdog = watchdog(60);
    let program = |keep: bool| {
        let first = Pool::builder().processes(1).drain_on(&[TERM]).build().unwrap();
        let second = Pool::builder().processes(1).drain_on(&[TERM]).build().unwrap();
        drop(first);
        let kept = keep.then_some(second);
        assert!(send_signal(own_pid(), Signal::TERM));
        // The signal has come by now, or is on its way to another thread.
        if let Some(pool) = kept {
            assert!(eventually(SOON, || pool.apply(|| (), ()).is_err()));
        } else {
            std::thread::sleep(SOON);
        }
        keep
    };
    assert!(Process::spawn(program, (true,)).unwrap().join().unwrap());
    assert_eq!(Process::spawn(program, (false,)).unwrap().join().unwrap_err().signal(), Some(TERM));
}

#[test]
fn the_handler_of_the_program_is_called_as_well() {
    if !alone("drain::the_handler_of_the_program_is_called_as_well") {
        return;
    }
    let _watchdog = watchdog(60);
    static COUNT: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        COUNT.fetch_add(1, Relaxed);
    }
    on_sigusr1(count);
    let pool = Pool::builder().processes(1).drain_on(&[Signal::USR1.as_raw()]).build().unwrap();
    assert!(send_signal(own_pid(), Signal::USR1));
    assert!(eventually(SOON, || pool.apply(|| (), ()).is_err() && COUNT.load(Relaxed) == 1));
    drop(pool);
    assert!(send_signal(own_pid(), Signal::USR1));
    assert!(eventually(SOON, || COUNT.load(Relaxed) == 2));
    let pool = Pool::builder().processes(1).drain_on(&[Signal::USR1.as_raw()]).build().unwrap();
    assert!(send_signal(own_pid(), Signal::USR1));
    assert!(eventually(SOON, || pool.apply(|| (), ()).is_err() && COUNT.load(Relaxed) == 3));
}

#[test]
fn signals_that_nobody_can_take_are_refused() {
    let _watchdog = watchdog(60);
    for signal in [0, -1, 65, 1_000, Signal::KILL.as_raw(), Signal::STOP.as_raw(), Signal::SEGV.as_raw()] {
        let error = Pool::builder().processes(1).drain_on(&[signal]).build().unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains(&signal.to_string()), "{error}");
    }
}
