//! Workers that are copies of a template: what they share, what is their own, and who dies.

use crate::common::alone::alone;
use crate::common::journal::Journal;
use crate::common::proc::{self, children_of, eventually, holdings, kill, own_pid};
use crate::common::watchdog::watchdog;
use multiproc::{
    Lock, Pool, PoolBuilder, RawValue, StartMethod, Value, current_process, parent_process, worker_number,
};
use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn builder() -> PoolBuilder {
    Pool::builder().start_method(StartMethod::Template)
}

/// The template of the pool of this name, which no other test has; other tests may have pools at the same time.
fn template_of(name: &str) -> Option<i32> {
    let is_template = |pid: &i32| proc::name_of(*pid).is_some_and(|it| it == format!("{name}-template"));
    children_of(own_pid()).into_iter().find(is_template)
}

static MADE: OnceLock<(i32, Vec<u64>)> = OnceLock::new();

/// Counts how often it runs, and makes what all workers share.
fn make(runs: RawValue<u32>) {
    runs.fetch_add(1);
    MADE.set((own_pid(), (0..100_000).collect())).unwrap();
}

#[test]
fn the_initializer_runs_once_for_all_workers_and_their_replacements() {
    let _watchdog = watchdog(60);
    let runs = RawValue::new(0u32);
    let pool =
        builder().name("once").processes(3).initializer(make, (runs.clone(),)).max_tasks_per_child(2).build().unwrap();
    let look = |at: usize| {
        let (maker, numbers) = MADE.get().unwrap();
        (own_pid(), *maker, numbers[at])
    };
    let seen = pool.tasks(look, 0..60).chunksize(1).run().unwrap();
    assert!(seen.iter().enumerate().all(|(at, (_, _, number))| *number == at as u64));
    let makers: HashSet<i32> = seen.iter().map(|(_, maker, _)| *maker).collect();
    let workers: HashSet<i32> = seen.iter().map(|(worker, _, _)| *worker).collect();
    assert_eq!((makers.len(), runs.get()), (1, 1));
    assert!(workers.len() >= 30 && workers.is_disjoint(&makers), "{workers:?}");
    assert_eq!(pool.stats().warnings, Vec::<String>::new());
    for pid in pool.worker_pids() {
        kill(pid);
    }
    assert!(eventually(SOON, || pool.apply(look, (7,)).is_ok()));
    assert_eq!(runs.get(), 1);
}

#[test]
fn a_copy_is_who_it_is() {
    let _watchdog = watchdog(60);
    let pool = builder().name("who").processes(2).build().unwrap();
    let who = |_: u32| {
        std::thread::sleep(Duration::from_millis(20));
        let parent = parent_process().unwrap();
        let named = (current_process().name().to_owned(), current_process().pid());
        // The kernel's word for the first thread, and what the C library has kept of it.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let signal = status.lines().find_map(|it| it.strip_prefix("PPid:")).unwrap().trim().to_owned();
        (named, own_pid(), (parent.pid(), parent.name().to_owned(), parent.is_alive()), signal)
    };
    let seen = pool.tasks(who, 0..8).chunksize(1).run().unwrap();
    let template = template_of("who").unwrap();
    for ((name, by_name), pid, parent, of_kernel) in seen {
        assert!(pool.worker_pids().contains(&pid) && pid != template && by_name == pid);
        assert!(["who-1", "who-2"].contains(&name.as_str()), "{name}");
        assert_eq!(parent, (own_pid(), "MainProcess".to_owned(), true));
        assert_eq!(of_kernel, own_pid().to_string());
        assert_eq!(proc::name_of(pid), Some(name));
    }
}

#[test]
fn a_copy_has_what_its_worker_was_given() {
    let _watchdog = watchdog(60);
    let written = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let lines = std::sync::Arc::clone(&written);
    let pool = builder().name("given").processes(2).cpu_affinity(true).env("OF_ALL", "all");
    let pool = pool.env_each(|number| [("OF_EACH", number.to_string())]);
    let pool = pool.on_output(move |line| lines.lock().unwrap().push(line.to_string()));
    let pool = pool.initializer(|| print!("begun, and not ended"), ()).build().unwrap();
    let look = |_: u32| {
        println!("from a task");
        std::thread::sleep(Duration::from_millis(20));
        let variable = |name| std::env::var(name).ok();
        (worker_number().unwrap(), variable("OF_ALL"), variable("OF_EACH"), multiproc::cpu_count())
    };
    for (number, of_all, of_each, cpus) in pool.tasks(look, 0..8).chunksize(1).run().unwrap() {
        assert_eq!((of_all.as_deref(), of_each, cpus), (Some("all"), Some(number.to_string()), 1));
    }
    pool.close();
    pool.join().unwrap();
    let lines = written.lock().unwrap();
    // What the template had not written yet when it made copies is written once.
    assert_eq!(lines.iter().filter(|line| line.contains("begun")).count(), 1, "{lines:?}");
    assert!(lines.iter().any(|line| line == "[given-template] begun, and not ended"), "{lines:?}");
    let of_tasks = |line: &&String| ["[given-1] from a task", "[given-2] from a task"].contains(&line.as_str());
    assert_eq!(lines.iter().filter(of_tasks).count(), 8, "{lines:?}");
}

#[test]
fn a_template_that_is_killed_is_made_again_and_its_workers_live_on() {
    let _watchdog = watchdog(120);
    let runs = RawValue::new(0u32);
    let pool = builder().name("again").processes(2).initializer(make, (runs.clone(),)).build().unwrap();
    for round in 2..6u32 {
        let (workers, template) = (pool.worker_pids(), template_of("again").unwrap());
        assert!(kill(template));
        assert!(eventually(SOON, || !children_of(own_pid()).contains(&template)), "it is reaped");
        assert_eq!(pool.map(|x: u64| x + 1, 0..100).unwrap().len(), 100);
        assert_eq!(pool.worker_pids(), workers);
        // The next replacement needs it.
        assert!(kill(workers[0]));
        let replaced = || pool.worker_pids().len() == 2 && !pool.worker_pids().contains(&workers[0]);
        assert!(eventually(SOON, replaced), "{round}");
        assert_eq!(pool.map(|x: u64| x + 1, 0..100).unwrap().len(), 100);
        assert_eq!(runs.get(), round);
    }
}

#[test]
fn a_template_killed_at_any_time_costs_no_task_and_no_hang() {
    let _watchdog = watchdog(120);
    let pool = builder().name("kills").processes(2).max_tasks_per_child(1).build().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wait = 1;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                template_of("kills").map(kill);
                wait = wait * 7 % 41;
                std::thread::sleep(Duration::from_millis(5 + wait));
            }
        });
        for round in 0..20u64 {
            let sum: u64 = pool.tasks(|x: u64| x, 0..20).chunksize(1).run().unwrap().into_iter().sum();
            assert_eq!(sum, 190, "{round}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(pool);
    // A copy may have been made and have lost its template before anybody heard of it.
    let is_zombie =
        |pid: &i32| proc::name_of(*pid).is_some_and(|name| name.starts_with("kills-")) && !proc::is_alive(*pid);
    assert!(eventually(SOON, || !children_of(own_pid()).iter().any(is_zombie)));
}

#[test]
fn shared_objects_of_the_initializer_are_each_workers_own_to_hold() {
    static KEPT: OnceLock<(Lock, Value<u64>)> = OnceLock::new();
    let _watchdog = watchdog(120);
    let (lock, sum, runs) = (Lock::new(), Value::new(0u64), RawValue::new(0u32));
    let keep = |lock: Lock, sum: Value<u64>, runs: RawValue<u32>| {
        runs.fetch_add(1);
        assert!(KEPT.set((lock, sum)).is_ok());
    };
    let pool = builder()
        .name("held")
        .processes(3)
        .initializer(keep, (lock.clone(), sum.clone(), runs.clone()))
        .build()
        .unwrap();
    let add = |x: u64| {
        let (lock, sum) = KEPT.get().unwrap();
        let _guard = lock.lock().unwrap();
        // Not in one step.
        let before = sum.get().unwrap();
        std::thread::yield_now();
        sum.set(before + x).unwrap();
    };
    pool.tasks(add, vec![1u64; 300]).chunksize(1).run().unwrap();
    assert_eq!(sum.get().unwrap(), 300);
    // The template dies, which held them first: its copies hold them, too, and others can be made.
    assert!(kill(template_of("held").unwrap()));
    pool.tasks(add, vec![1u64; 300]).chunksize(1).run().unwrap();
    assert_eq!((sum.get().unwrap(), runs.get()), (600, 1));
    // One that dies while it holds the lock is found out, and the lock with it.
    let die = || {
        let _guard = KEPT.get().unwrap().0.lock().unwrap();
        kill(own_pid());
    };
    assert!(pool.apply(die, ()).unwrap_err().task().unwrap().is_worker_lost());
    assert!(lock.lock().is_err_and(|error| error.is_owner_died()));
    lock.lock_poisoned().unwrap().clear_poison();
    pool.tasks(add, vec![1u64; 300]).chunksize(1).run().unwrap();
    assert_eq!(sum.get().unwrap(), 900);
    assert!(eventually(SOON, || runs.get() == 2));
}

#[test]
fn an_initializer_that_leaves_threads_behind_is_named_and_workers_are_spawned() {
    let _watchdog = watchdog(60);
    let runs = RawValue::new(0u32);
    let start = |runs: RawValue<u32>| {
        runs.fetch_add(1);
        std::thread::Builder::new().name("left behind".to_owned()).spawn(std::thread::park).unwrap();
    };
    let pool = builder().name("threads").processes(2).initializer(start, (runs.clone(),)).build().unwrap();
    assert_eq!(pool.map(|x: u64| x + 1, 0..100).unwrap().len(), 100);
    let warnings = pool.stats().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("left behind"), "{warnings:?}");
    assert!(pool.stats().to_string().contains("warning: the initializer has left threads behind (left behind)"));
    // Once in the template, and once in each worker.
    assert_eq!(runs.get(), 3);
    kill(pool.worker_pids()[0]);
    assert!(eventually(SOON, || runs.get() == 4));
    // One that has ended its threads is fine.
    let join = || std::thread::spawn(|| 7).join().map(drop).unwrap();
    let pool = builder().name("threads").processes(2).initializer(join, ()).build().unwrap();
    assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
    assert_eq!(pool.stats().warnings, Vec::<String>::new());
}

#[test]
fn a_template_whose_initializer_fails_fails_the_pool() {
    let _watchdog = watchdog(60);
    let error = builder().processes(2).initializer(|| Err::<(), _>("no model"), ()).build().unwrap_err();
    assert!(error.is_initializer() && error.to_string().contains("no model"), "{error}");
    let error = builder().processes(2).initializer(|| -> () { panic!("not today") }, ()).build().unwrap_err();
    assert!(error.is_initializer() && error.to_string().contains("not today"), "{error}");
    let error = builder().processes(2).initializer(|| -> () { std::process::exit(3) }, ()).build().unwrap_err();
    assert!(error.is_start() && error.to_string().contains("exited with code 3 before it was ready"), "{error}");
    let error = builder().processes(2).initializer(|| _ = kill(own_pid()), ()).build().unwrap_err();
    assert!(error.is_start() && error.to_string().contains("SIGKILL"), "{error}");
}

#[test]
fn a_pool_is_ended_while_its_template_is_busy() {
    let _watchdog = watchdog(60);
    let journal = Journal::new();
    let stuck = |path: String| {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        // The second one is stuck for good.
        file.write_all(b"x").unwrap();
        if file.metadata().unwrap().len() > 1 {
            std::thread::sleep(Duration::from_secs(1000));
        }
    };
    let pool = builder().name("busy").processes(2).initializer(stuck, (journal.path(),)).build().unwrap();
    let (template, workers) = (template_of("busy").unwrap(), pool.worker_pids());
    assert!(kill(template));
    assert!(eventually(SOON, || !children_of(own_pid()).contains(&template)));
    assert!(kill(workers[0]));
    assert!(eventually(SOON, || template_of("busy").is_some() && pool.worker_pids().len() == 1));
    let start = std::time::Instant::now();
    pool.terminate();
    pool.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn nothing_is_left_of_a_pool_with_a_template() {
    if !alone("template::nothing_is_left_of_a_pool_with_a_template") {
        return;
    }
    let _watchdog = watchdog(120);
    let round = |how: u32| {
        let shared = Value::new(0u32);
        let pool = builder().processes(2).initializer(|_: Value<u32>| (), (shared.clone(),)).build().unwrap();
        pool.map(|x: u64| x, 0..10).unwrap();
        match how {
            0 => drop(pool),
            1 => {
                pool.close();
                pool.join().unwrap();
            }
            _ => {
                children_of(own_pid()).into_iter().for_each(|pid| _ = kill(pid));
                pool.terminate();
                pool.join().unwrap();
            }
        }
    };
    let first = holdings();
    round(0);
    assert!(eventually(SOON, || holdings().has_no_children_since(&first)), "{:?}", holdings());
    let before = holdings();
    for how in [0, 1, 2] {
        round(how);
        assert!(eventually(SOON, || holdings().has_no_children_since(&before)), "{how}: {:?} {before:?}", holdings());
    }
}
