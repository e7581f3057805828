//! How workers come, what they keep, and how they leave.

use crate::common::alone::alone;
use crate::common::links::{HANDLES, is_on_nodes, on_each_link, on_nodes};
use crate::common::proc::{children_of, eventually, kill, own_pid};
use multiproc::{Array, Pool, PoolBuilder, RawArray, RawValue, Value};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn pid() -> i32 {
    own_pid()
}

/// Whether the pool comes to have so many workers that are ready.
fn has_workers(pool: &Pool, count: usize) -> bool {
    eventually(SOON, || pool.worker_pids().len() == count)
}

#[test]
fn a_finalizer_runs_whenever_a_worker_leaves_in_order() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let done = Array::<u32>::new(4);
        let count = |done: Array<u32>, text: String| {
            assert_eq!(text, "bye");
            done.lock().unwrap()[0] += 1;
        };
        let with_finalizer = |builder: PoolBuilder| builder.finalizer(count, (done.clone(), "bye".to_owned()));
        let finished = || done.get(0).unwrap();

        let pool = with_finalizer(builder()).processes(3).build().unwrap();
        pool.map(|x: u32| x, 0..100).unwrap();
        assert_eq!(finished(), 0);
        pool.close();
        pool.join().unwrap();
        assert_eq!(finished(), 3);

        // After its share of tasks.
        let pool = with_finalizer(builder()).processes(1).max_tasks_per_child(2).build().unwrap();
        pool.tasks(|x: u32| x, 0..10).chunksize(1).run().unwrap();
        assert!(eventually(SOON, || finished() == 8), "{}", finished());
        drop(pool);

        // Killed or terminated workers do not get to it.
        let before = finished();
        let pool = with_finalizer(builder()).processes(2).build().unwrap();
        pool.worker_pids().into_iter().for_each(|pid| assert!(kill(pid)));
        assert!(eventually(SOON, || pool.apply(pid, ()).is_ok()));
        drop(pool);
        assert_eq!(finished(), before);
    });
}

#[test]
fn a_worker_that_starts_while_its_pool_is_terminated_runs_no_finalizer() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let done = Value::<u32>::new(0);
        let count = |done: Value<u32>| done.update(|it| *it += 1).unwrap();
        for round in 0..20u32 {
            let pool = builder().processes(1).finalizer(count, (done.clone(),)).build().unwrap();
            pool.resize(4).unwrap();
            std::thread::sleep(Duration::from_micros(u64::from(round) * 100));
            pool.terminate();
            pool.join().unwrap();
        }
        assert_eq!(done.get().unwrap(), 0);
    });
}

#[test]
fn a_finalizer_that_fails_hurts_nobody() {
    if !alone("life::a_finalizer_that_fails_hurts_nobody") {
        return;
    }
    on_each_link(60, |builder| {
        let fail = |how: u32| -> Result<(), &str> {
            match how {
                0 => panic!("no goodbye"),
                1 => std::process::exit(3),
                2 => std::process::abort(),
                _ => Err("nothing to say goodbye to"),
            }
        };
        for how in 0..4 {
            let pool = builder().processes(2).finalizer(fail, (how,)).max_tasks_per_child(3).build().unwrap();
            assert_eq!(pool.map(|x: u32| x + 1, 0..20).unwrap(), (1..21).collect::<Vec<_>>());
            pool.close();
            pool.join().unwrap();
        }
        // Agents end a moment after their pool.
        let within = Duration::from_secs(if is_on_nodes() { 20 } else { 0 });
        assert!(eventually(within, || children_of(own_pid()).is_empty()));
    });
}

/// Neither `Send` nor serialisable, and it says when it is dropped.
struct Counter {
    value: Rc<Cell<u32>>,
    drops: RawValue<u32>,
}

impl Counter {
    fn new(start: u32, made: RawValue<u32>, drops: RawValue<u32>) -> Counter {
        made.fetch_add(1);
        Counter { value: Rc::new(Cell::new(start)), drops }
    }

    fn add(&mut self, x: u32) -> u32 {
        assert!(x != 13, "thirteen");
        self.value.set(self.value.get() + x);
        self.value.get()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.drops.fetch_add(1);
    }
}

#[test]
fn tasks_share_the_state_of_their_worker() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let (made, drops) = (RawValue::new(0u32), RawValue::new(0u32));
        let args = (100, made.clone(), drops.clone());
        let pool = builder().processes(1).state(Counter::new, args.clone()).build().unwrap();
        let on = pool.on_state();
        assert_eq!(on.tasks(Counter::add, [1, 2, 3]).run().unwrap(), [101, 103, 106]);
        assert_eq!(on.tasks(|counter, x: u32| counter.add(x), [1]).run().unwrap(), [107]);
        assert_eq!(on.task(Counter::add, (1,)).run().unwrap(), 108);
        assert_eq!(on.star_tasks(Counter::add, [(1,), (1,)]).run().unwrap(), [109, 110]);
        assert_eq!(on.task(Counter::add, (1,)).submit().unwrap().get().unwrap(), 111);
        assert_eq!(on.tasks(Counter::add, [1, 1]).submit().unwrap().get().unwrap(), [112, 113]);
        let endless = on.tasks(Counter::add, std::iter::repeat(1)).iter().take(3);
        assert_eq!(endless.map(Result::unwrap).collect::<Vec<_>>(), [114, 115, 116]);
        assert_eq!(on.tasks(Counter::add, [0]).unordered().map(Result::unwrap).count(), 1);
        let parse = |counter: &mut Counter, text: String| text.parse().map(|x| counter.add(x));
        on.tasks(parse, ["1".to_owned(), "x".to_owned()]).fallible().run().unwrap_err();
        on.task(parse, ("1".to_owned(),)).fallible().run().unwrap();
        // Tasks without it are run as ever.
        assert_eq!(pool.map(|x: u32| x, [1, 2]).unwrap(), [1, 2]);
        assert_eq!((made.get(), drops.get()), (1, 0));
        assert_eq!(pool.on_state().tasks(Counter::add, [0, 0]).chunksize(2).each().len(), 2);
        pool.close();
        pool.join().unwrap();
        assert_eq!((made.get(), drops.get()), (1, 1));

        // Each worker has its own, which is there when the initializer has run.
        let pool = builder()
            .processes(3)
            .initializer(|made: RawValue<u32>| assert!(made.fetch_add(100) < 1000), (made.clone(),));
        let pool = pool.state(|made: RawValue<u32>| made.get() / 100, (made.clone(),)).build().unwrap();
        let seen = pool.on_state().tasks(|state, _: u32| *state, 0..100).run().unwrap();
        assert!(seen.iter().all(|seen| (1..=3).contains(seen)), "{seen:?}");
    });
}

#[test]
fn a_state_is_made_again_after_a_panic() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let (made, drops) = (RawValue::new(0u32), RawValue::new(0u32));
        let args = (0, made.clone(), drops.clone());
        let pool = builder().processes(1).state(Counter::new, args).build().unwrap();
        let results = pool.on_state().tasks(Counter::add, [1, 2, 13, 1, 2, 13]).chunksize(10).each();
        let values: Vec<Option<u32>> = results.iter().map(|it| it.as_ref().ok().copied()).collect();
        assert_eq!(values, [Some(1), Some(3), None, Some(1), Some(3), None]);
        assert_eq!(results[2].as_ref().unwrap_err().message(), Some("thirteen"));
        assert_eq!((made.get(), drops.get()), (3, 2));
        // Not after one that did not have it.
        pool.apply(|| panic!("mine"), ()).map(|(): ()| ()).unwrap_err();
        assert_eq!(made.get(), 3);
        // And in the next worker.
        pool.worker_pids().into_iter().for_each(|pid| assert!(kill(pid)));
        assert!(eventually(SOON, || pool.on_state().task(Counter::add, (5,)).run().is_ok_and(|sum| sum == 5)));
        assert_eq!(made.get(), 4);
    });
}

#[test]
fn a_state_that_cannot_be_made_is_an_error_and_not_a_loop() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(60, |builder| {
        let error = builder().processes(2).state(|| panic!("no state"), ()).build().map(|_: Pool<()>| ()).unwrap_err();
        assert!(error.is_initializer(), "{error}");
        assert_eq!(error.task().unwrap().message(), Some("no state"));
        let open = |path: String| std::fs::File::open(path);
        let error = builder().try_state(open, ("/no/such/file".to_owned(),)).build().map(|_| ()).unwrap_err();
        assert!(error.is_initializer() && error.task().unwrap().is_error(), "{error}");
        let refuse = |refuses: bool| if refuses { Err("it refuses") } else { Ok(7) };
        let error = builder().processes(1).initializer(refuse, (true,)).build().unwrap_err();
        assert!(error.is_initializer() && error.task().unwrap().is_error(), "{error}");
        let pool = builder().processes(1).initializer(refuse, (false,)).build().unwrap();
        assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);

        // Good at first, and then no more: the worker leaves, and the next ones cannot start.
        let fail = |_: &mut u32, x: u32| if x == 0 { panic!("broken") } else { x };
        let attempts = RawValue::new(0u32);
        let once = |attempts: RawValue<u32>| {
            let attempt = attempts.fetch_add(1);
            assert!(attempt == 0, "used up");
            attempt
        };
        let pool = builder().processes(1).state(once, (attempts.clone(),)).build().unwrap();
        let results = pool.on_state().tasks(fail, [1, 0, 1]).chunksize(3).each();
        assert_eq!(*results[0].as_ref().unwrap(), 1);
        assert!(results[1].as_ref().unwrap_err().is_panic());
        assert!(results[2].as_ref().unwrap_err().is_broken(), "{:?}", results[2]);
        assert_eq!(attempts.get(), 2 + 5);

        // Good again in another process.
        attempts.set(0);
        let not_twice = |attempts: RawValue<u32>| {
            let attempt = attempts.fetch_add(1);
            assert!(attempt != 1, "not now");
            attempt
        };
        let pool = builder().processes(1).state(not_twice, (attempts.clone(),)).build().unwrap();
        let results = pool.on_state().tasks(fail, [1, 0, 1]).chunksize(3).each();
        let values: Vec<Option<u32>> = results.iter().map(|it| it.as_ref().ok().copied()).collect();
        assert_eq!((values, attempts.get()), (vec![Some(1), None, Some(1)], 3));
    });
}

#[test]
fn a_pool_grows_and_shrinks_and_loses_nothing() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(120, |builder| {
        let pool = builder().processes(1).build().unwrap();
        assert!(pool.resize(0).unwrap_err().is_invalid_argument());
        pool.resize(3).unwrap();
        assert_eq!(pool.processes(), 3);
        assert!(has_workers(&pool, 3));
        pool.resize(1).unwrap();
        assert!(has_workers(&pool, 1));
        assert_eq!(pool.processes(), 1);
        let ran = Array::<u32>::new(3000);
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let task = |ran: &Array<u32>, x: u64| {
                    ran.set(x as usize, ran.get(x as usize).unwrap() + 1).unwrap();
                    std::thread::sleep(Duration::from_micros(200));
                    x
                };
                pool.with(&ran).tasks(task, 0..3000).run().unwrap()
            });
            for size in [4, 2, 5, 1, 3, 1, 6, 2].iter().cycle().take(40) {
                pool.resize(*size).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(work.join().unwrap(), (0..3000).collect::<Vec<_>>());
        });
        assert_eq!(ran.read(..).unwrap(), [1; 3000]);
        assert!(has_workers(&pool, 2));
        // With nobody waiting in a call.
        let later = pool.map_async(|x: u64| x, 0..10_000).unwrap();
        pool.resize(1).unwrap();
        pool.resize(4).unwrap();
        assert_eq!(later.get().unwrap(), (0..10_000).collect::<Vec<_>>());
        pool.close();
        assert!(pool.resize(2).unwrap_err().is_not_running());
        pool.join().unwrap();
        assert!(builder().processes(1).build().map(|pool| (pool.terminate(), pool.resize(2)).1).unwrap().is_err());
    });
}

#[test]
fn what_waits_at_a_worker_that_is_too_many_goes_elsewhere() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).build().unwrap();
        // It learns that these are short, so that several wait at a worker.
        let nap = |ms: u64| {
            std::thread::sleep(Duration::from_millis(ms));
            pid()
        };
        pool.tasks(nap, vec![0; 200]).chunksize(1).run().unwrap();
        let items = (0..20).map(|at| if at < 2 { 300 } else { 0 });
        let later = pool.tasks(nap, items).chunksize(1).submit().unwrap();
        pool.resize(1).unwrap();
        let pids = later.get().unwrap();
        let mut count: HashMap<i32, usize> = HashMap::new();
        pids.iter().for_each(|pid| *count.entry(*pid).or_default() += 1);
        assert_eq!(count.values().sum::<usize>(), 20);
        assert!(has_workers(&pool, 1));
    });
}

/// Keeps so many bytes for ever, all of them used.
fn leak(bytes: usize) -> i32 {
    std::mem::forget(vec![1u8; bytes]);
    pid()
}

#[test]
fn a_worker_that_has_grown_is_replaced() {
    on_each_link(60, |builder| {
        let pool = builder().processes(1).max_memory_per_child(40 << 20).build().unwrap();
        let pids: Vec<i32> = [1 << 20, 16 << 20, 1 << 20, 48 << 20].map(|n| pool.apply(leak, (n,)).unwrap()).into();
        assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 1);
        let next = pool.apply(leak, (1 << 20,)).unwrap();
        assert_ne!(next, pids[0]);
        // Whatever waited there is run elsewhere, once.
        let sizes = (0..40).map(|at| if at % 4 == 0 { 50 << 20 } else { 1 << 10 });
        let pids = pool.tasks(leak, sizes).chunksize(1).run().unwrap();
        assert!(pids.iter().collect::<HashSet<_>>().len() >= 10);
        // A limit below what a worker has to begin with is slow, but no trap.
        let pool = builder().processes(2).max_memory_per_child(1).build().unwrap();
        assert_eq!(pool.tasks(|x: u32| x, 0..20).chunksize(1).run().unwrap(), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn memory_has_a_hard_limit() {
    on_each_link(60, |builder| {
        let pool = builder().processes(2).memory_limit(64 << 20).build().unwrap();
        let results = pool.tasks(|n: usize| vec![1u8; n].len(), [1 << 20, 200 << 20, 32 << 20]).chunksize(1).each();
        assert_eq!((*results[0].as_ref().unwrap(), *results[2].as_ref().unwrap()), (1 << 20, 32 << 20));
        let error = results[1].as_ref().unwrap_err();
        assert!(error.is_worker_lost() && error.signal() == Some(6), "{error}");
        assert!(error.to_string().contains("its memory is limited to 64 MiB"), "{error}");
        // Other deaths do not speak of memory.
        let error = pool.apply(|| std::process::exit(3), ()).map(|(): ()| ()).unwrap_err();
        assert!(!error.to_string().contains("limited"), "{error}");
        // Also for initializers.
        let error = builder()
            .processes(1)
            .memory_limit(16 << 20)
            .initializer(|bytes: usize| assert_eq!(leak(bytes), pid()), (64 << 20,))
            .build()
            .unwrap_err();
        assert!(error.is_start(), "{error}");
    });
}

#[test]
fn workers_with_nothing_to_do_leave_and_come_back() {
    if on_nodes(HANDLES) {
        return;
    }
    on_each_link(120, |builder| {
        let pool = builder().processes(4).idle_timeout(Duration::from_millis(30)).build().unwrap();
        for _ in 0..3 {
            assert!(has_workers(&pool, 1));
            assert_eq!(pool.processes(), 4);
            let nap = |ms: u64| {
                std::thread::sleep(Duration::from_millis(ms));
                pid()
            };
            let pids = pool.tasks(nap, vec![20; 40]).chunksize(1).run().unwrap();
            assert!(pids.iter().collect::<HashSet<_>>().len() > 1, "{pids:?}");
        }
        // A task that waits for another, of which there is a worker less than needed at first.
        assert!(has_workers(&pool, 1));
        for _ in 0..20 {
            let flag = RawValue::new(0u32);
            let wait = |flag: RawValue<u32>| {
                while flag.get() == 0 {
                    std::thread::sleep(Duration::from_micros(100));
                }
            };
            let waits = pool.apply_async(wait, (flag.clone(),)).unwrap();
            pool.apply_async(|flag: RawValue<u32>| flag.set(1), (flag,)).unwrap().get().unwrap();
            waits.get().unwrap();
        }
        pool.resize(2).unwrap();
        assert!(has_workers(&pool, 1));
        pool.close();
        pool.join().unwrap();
    });
}

/// Everything that makes workers come and go, at once, on top of tasks that panic and workers that are killed.
#[test]
fn whatever_makes_workers_leave_each_task_has_one_outcome() {
    if on_nodes(HANDLES) {
        return;
    }
    const TASKS: u32 = 1600;
    on_each_link(120, |builder| {
        let builder = builder().processes(3).max_tasks_per_child(50).max_memory_per_child(64 << 20);
        let builder = builder.idle_timeout(Duration::from_millis(2)).finalizer(|| println!("bye"), ());
        let pool = builder.on_output(|_| ()).state(|| 0u32, ()).build().unwrap();
        let started = RawArray::<u32>::new(TASKS as usize);
        let task = |state: &mut u32, started: RawArray<u32>, x: u32| {
            started.fetch_add(x as usize, 1);
            *state += 1;
            assert!(x % 97 != 0, "a panic");
            if x % 50 == 0 {
                leak(16 << 20);
            }
            std::thread::sleep(Duration::from_micros(u64::from(x % 7) * 50));
            println!("task {x}, {state} of this worker");
            x
        };
        let done = AtomicBool::new(false);
        let (mut lost, mut panicked) = (Vec::new(), 0);
        std::thread::scope(|scope| {
            let size = scope.spawn(|| {
                for size in [1, 4, 2, 3].iter().cycle() {
                    if done.load(Relaxed) {
                        break;
                    }
                    pool.resize(*size).unwrap();
                    std::thread::sleep(Duration::from_millis(7));
                    pool.worker_pids().first().map(|pid| kill(*pid));
                }
            });
            for call in 0..8 {
                let items = (0..TASKS / 8).map(|n| (started.clone(), call * TASKS / 8 + n));
                let results: Vec<_> = items.map(|args| pool.on_state().task(task, args).submit().unwrap()).collect();
                std::thread::sleep(Duration::from_millis(5));
                for (n, result) in results.into_iter().enumerate() {
                    match result.get() {
                        Ok(x) => assert_eq!(x, call * TASKS / 8 + n as u32),
                        Err(error) if error.is_panic() => panicked += 1,
                        Err(error) => {
                            assert!(error.is_worker_lost(), "{error}");
                            lost.push(call * TASKS / 8 + n as u32);
                        }
                    }
                }
            }
            done.store(true, Relaxed);
            size.join().unwrap();
        });
        for x in 0..TASKS {
            let count = started.get(x as usize);
            // A worker may be killed on the way into the function.
            assert!(count == 1 || count == 0 && lost.contains(&x), "task {x} was run {count} times");
        }
        assert!(panicked + lost.len() >= TASKS.div_ceil(97) as usize, "{panicked} {}", lost.len());
        pool.close();
        pool.join().unwrap();
    });
}

#[test]
fn routines_take_arguments_of_any_length() {
    on_each_link(60, |builder| {
        for len in [1_000, 8_192, 20_000, 1_000_000] {
            let numbers = || (vec![0.5f64; len],);
            let pool = builder().processes(1).state(|numbers: Vec<f64>| numbers, numbers());
            let pool = pool.initializer(|_: Vec<f64>| (), numbers()).finalizer(|_: Vec<f64>| (), numbers());
            let pool = pool.build().unwrap();
            assert_eq!(pool.on_state().task(|numbers: &mut Vec<f64>| numbers.len(), ()).run().unwrap(), len);
        }
    });
}
